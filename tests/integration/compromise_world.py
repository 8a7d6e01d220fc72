# SPDX-License-Identifier: GPL-3.0-or-later
"""Two gateway hosts of one lab, and what a night with a compromised key costs people.

The first host's gateway serves two certificates, the second one's only that whose key leaks. What
a person does is counted where it is done: a command that is typed, a text that is sent, a reply
that is carried over, a commit.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from integration.lab_fixture import REPOSITORY, running_lab
from integration.own_ports import free_ports
from integration.test_make_lab import Clone, Run, copy_of_the_repository
from integration.test_readme import blocks
from pki import probe
from pki.csr import key_digest

NAME, OTHER = "dip-nonprod", "dip-second"
DOMAIN, OTHER_DOMAIN = "example-energy.co.uk", "second.example-energy.co.uk"
OWN_CN, OTHER_CN = f"energydip-nonprod.{DOMAIN}", f"energydip-nonprod.{OTHER_DOMAIN}"
HOSTS = ("gw1", "gw2")
TYPED = "typed:"  # by a person in that night; the other runs are the tests' and the CA's


@dataclass
class Night:
    """What was done between the alarm and the end of it."""

    acts: list[str] = field(default_factory=list)
    stages: list[tuple[str, float]] = field(default_factory=list)

    def act(self, what: str) -> None:
        self.acts.append(what)

    def told(self) -> str:
        """The account that a closing note wants."""
        seconds = sum(taken for name, taken in self.stages if name.startswith(TYPED))
        lines = [f"{taken:7.1f} s  {name}" for name, taken in self.stages]
        lines += [f"{number:>7}.    {what}" for number, what in enumerate(self.acts, start=1)]
        spent = f"{seconds:.0f} s of typed commands, {len(self.acts)} acts of people"
        return "\n".join([f"compromise walk: {spent}", *lines])


@dataclass
class World:
    """One checkout, its lab, and ports of listeners by what they are for."""

    clone: Clone
    ports: dict[str, int]
    night: Night = field(default_factory=Night)
    kept: Path = Path()

    # --- commands -------------------------------------------------------------------------

    def play(self, playbook: str, *arguments: str, expected: int = 0, **values: Any) -> Run:
        """One command, timed; ``values`` are extra variables."""
        started = time.monotonic()
        extra = ("-e", json.dumps(values)) if values else ()
        run = self.clone.play(playbook, *extra, *arguments, expected=expected)
        self.night.stages.append((playbook, time.monotonic() - started))
        return run

    def typed(self, number: int, expected: int = 0) -> Run:
        """A command of the page for such a night, as it stands there but for the inventory."""
        words = shlex.split(page()[number].replace("inventories/nonprod", "inventories/lab"))
        self.night.act(" ".join(word for word in words[3:] if word != "-e"))
        started = time.monotonic()
        run = self.clone.run(str(self.clone.root / words[0]), *words[1:], expected=expected)
        self.night.stages.append((f"{TYPED} {Path(words[3]).stem}", time.monotonic() - started))
        return run

    def tagged(self, tag: str, **values: Any) -> Run:
        """The others: the stand-in CA and whoever works at it."""
        return self.play("lab", "--tags", tag, **values)

    def commit(self, what: str, *paths: Path) -> None:
        """What a person commits: these files, or everything beside the inventory."""
        self.git("add", "-A", "--", *(str(path) for path in paths or (self.inventory,)))
        self.git("commit", "-q", "-m", what)

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Alex Example", "-c", "user.email=alex@example.org")
        done = subprocess.run(
            ("git", *identity, *arguments),
            cwd=self.clone.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    # --- what there is ----------------------------------------------------------------------

    @property
    def inventory(self) -> Path:
        return self.clone.root / "inventories/lab"

    @property
    def ledger(self) -> Path:
        return self.inventory / "compromised.yml"

    def version(self, number: int, name: str = NAME) -> Path:
        return self.inventory / "certificates" / name / str(number)

    def serial(self, number: int, name: str = NAME) -> str:
        pem = (self.version(number, name) / "certificate.pem").read_bytes()
        return f"{x509.load_pem_x509_certificate(pem).serial_number:x}"

    def spki(self, number: int) -> str:
        return key_digest((self.version(number) / "request.csr").read_bytes())

    def status(self, name: str = NAME) -> dict[str, Any]:
        document = json.loads((self.clone.home / "status.json").read_text())
        (entry,) = [one for one in document["certificates"] if one["name"] == name]
        return dict(entry)

    def releases(self, host: str, name: str = NAME) -> Path:
        return self.clone.home / "hosts" / host / "tls" / name

    def keys(self, host: str, name: str = NAME) -> list[Path]:
        """Private keys of a certificate that a host holds, whatever they are called."""
        marker = b"PRIVATE KEY-----"
        files = [
            path
            for path in self.releases(host, name).rglob("*")
            if path.is_file() and not path.is_symlink()
        ]
        return [path for path in files if marker in path.read_bytes()]

    def vault_key(self, name: str = NAME) -> dict[str, Any]:
        with self.clone.lab.client("auditor") as client:
            return client.read(f"transit-nonprod-tls/keys/{name}") or {}

    def vault_ledger(self) -> list[str]:
        with self.clone.lab.client("pipeline") as client:
            return sorted(client.list("kv-nonprod/metadata/compromised"))

    # --- connections ------------------------------------------------------------------------

    def peer(self, name: str = "dip-client") -> probe.ClientIdentity:
        folder = self.clone.home / "peers" / name
        return probe.ClientIdentity(str(folder / "fullchain.pem"), str(folder / "key.pem"))

    def thief(self) -> probe.ClientIdentity:
        """Whoever has the copy that the tests kept of the key in service."""
        return probe.ClientIdentity(str(self.kept / "chain.pem"), str(self.kept / "key.pem"))

    def ask(
        self, listener: str, client: probe.ClientIdentity | None = None, own: str = ""
    ) -> probe.Observation:
        """One request to a listener, as a party of the DIP; its certificate is verified."""
        anchors = (self.clone.home / "ca/root.pem").read_text()
        name = own or (OTHER_CN if listener == "second" else OWN_CN)
        return probe.connect(
            "127.0.0.1",
            self.ports[listener],
            server_name=name,
            anchors_pem=anchors,
            client=client or self.peer(),
        )

    def send(self, listener: str) -> probe.Observation:
        """One request through an egress listener: plain http on this side."""
        return probe.request("127.0.0.1", self.ports[listener], host="api.nonprod.dip.example")

    def judged(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and verdicts about revocations of ``make policy``, from committed files."""
        reports = self.clone.root.parent / "reports"
        program = (sys.executable, "-m", "pki.check")
        done = subprocess.run(
            (*program, "--inventory", str(self.inventory), "--report-dir", str(reports)),
            cwd=self.clone.root,
            env={"PYTHONPATH": str(self.clone.root / "module_utils")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stdout[-4000:]
        result = json.loads((reports / "result.json").read_text())
        found = [one for one in result["verdicts"] if one["kind"] == "revocation_request"]
        return done.returncode, found

    def keep_the_key(self) -> None:
        """What the thief took: key and chain of the release in service on the first host."""
        self.kept = self.clone.root.parent / "thief"
        self.kept.mkdir(mode=0o700)
        current = self.releases("gw1") / "current"
        shutil.copy2(current / "key.pem", self.kept / "key.pem")
        leaf, chain = (current / "certificate.pem").read_text(), (current / "chain.pem").read_text()
        whole = chain if chain.startswith(leaf) else leaf + chain
        (self.kept / "chain.pem").write_text(whole)
        (self.kept / "leaf.pem").write_text(leaf)


def page() -> list[str]:
    """The playbook runs of docs/compromise.md, in order."""
    text = (REPOSITORY / "docs/compromise.md").read_text()
    return [line for block in blocks(text) for line in block if "ansible-playbook" in line]


def plain(document: Any) -> str:
    """YAML as people write it, without an alias."""
    return yaml.safe_dump(json.loads(json.dumps(document)))


def write_inventory(clone: Clone, ports: dict[str, int], record: dict[str, Any]) -> None:
    """A second host and a second certificate, which only the first host's gateway uses.

    With requests and records beside the inventory, and values where the lab's own has expressions,
    so that it can be judged as it is committed.
    """
    base = clone.root / "inventories/lab"
    everywhere = base / "group_vars/all"
    path = everywhere / "lab.yml"
    beside = '"{{ inventory_dir }}/certificates"'
    text = path.read_text().replace('"{{ lab_dir }}/certificates"', beside)
    path.write_text(f"{text}lab_certificates_dir: {beside}\n")
    path = everywhere / "trust.yml"
    trust = yaml.safe_load(path.read_text())
    trust["trust"][NAME].update(record["trust"])
    path.write_text(plain(trust))
    hosts = yaml.safe_load((base / "hosts.yml").read_text())
    here = {
        "release_root": "{{ lab_dir }}/hosts/gw2/tls",
        "crl_cache_root": "{{ lab_dir }}/hosts/gw2/crl",
        "gateway_root": "{{ lab_dir }}/hosts/gw2/gateway",
    }
    groups = hosts["all"]["children"]
    groups["gateways"]["hosts"] = {"gw1": None, "gw2": here}
    groups["first"] = {"hosts": {"gw1": None}}
    groups["second"] = {"hosts": {"gw2": None}}
    (base / "hosts.yml").write_text(plain(hosts))

    path = everywhere / "certificates.yml"
    declared = yaml.safe_load(path.read_text())
    one = declared["certificates"][0]
    declared["certificates"].append(
        {**one, "name": OTHER, "domain": OTHER_DOMAIN, "hosts": "first"}
    )
    path.write_text(plain(declared))

    path = everywhere / "gateways.yml"
    text = path.read_text()
    for name, number in record["ports"].items():
        text = text.replace(f"{{{{ lab_record.ports.{name} }}}}", str(number))
    text = text.replace("{{ lab_dir }}", str(clone.home))
    declared = yaml.safe_load(text)
    first = declared["gateways"][0]
    first["hosts"] = "first"
    (ingress,) = first["ingress"]
    # The thief's certificate has the name of our own; this listener would take it.
    first["ingress"] = [
        ingress,
        {
            **ingress,
            "name": "second-webhook",
            "listen": f"127.0.0.1:{ports['second']}",
            "server_name": OTHER_CN,
            "certificate": OTHER,
            "peers": [*ingress["peers"], {"CN": OWN_CN}],
        },
    ]
    first["egress"] = first["egress"][:1]
    second = {
        **first,
        "name": "dip-far",
        "hosts": "second",
        "ingress": [{**ingress, "name": "far-webhook", "listen": f"127.0.0.1:{ports['far']}"}],
        "egress": [
            {**first["egress"][0], "name": "far-api", "listen": f"127.0.0.1:{ports['far_egress']}"}
        ],
    }
    declared["gateways"] = [first, second]
    path.write_text(plain(declared))


@contextmanager
def compromise_world(base: Path) -> Iterator[World]:
    """A lab that is up, with everything deployed to both hosts and committed."""
    clone = Clone(copy_of_the_repository(base / "desk"))
    (clone.root / ".venv").symlink_to(sys.prefix)
    own = dict(zip(("second", "far", "far_egress"), free_ports(3), strict=True))
    with running_lab(clone.home) as lab:
        write_inventory(clone, own, lab.record())
        ports = {**own, "ingress": lab.port("ingress"), "egress": lab.port("egress")}
        world = World(clone, ports)
        world.play("site")
        world.tagged("sign")
        world.play("site")
        world.git("init", "-q")
        world.commit("Before the night")
        world.keep_the_key()
        world.night.stages.clear()
        yield world
