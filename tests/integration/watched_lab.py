# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose every run is kept as text, and whose every secret is known.

Between the product and OpenBao stands a tap that learns tokens and keys. The runs have a
home, a temporary directory and a log of their own, so that what they leave behind is
theirs. Everything is printed as loudly as Ansible can.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration.canary import Finding, Scanner
from integration.own_ports import free_port
from integration.vault_tap import Tap
from pki.vault import Client, Settings

PROJECT = Path(__file__).resolve().parents[2]
ROLES = ("pipeline", "release", "auditor", "lab-ca")
PIPELINING, COPYING = "1", "0"


@dataclass(frozen=True)
class Run:
    """One ansible-playbook and all it printed."""

    label: str
    returncode: int
    text: str

    def section(self, task: str) -> str:
        """What was printed from a task's header to the next one's."""
        parts = self.text.split(f"TASK [{task}]", 1)
        assert len(parts) == 2, f"no task {task!r} in {self.label}\n{self.text[-3000:]}"
        return parts[1].split("\nTASK [", 1)[0].split("\nPLAY RECAP", 1)[0]


@dataclass
class WatchedLab:
    """``home`` is the lab's directory; ``work`` everything else of these runs."""

    base: Path
    tap: Tap
    runs: list[Run] = field(default_factory=list)
    planted: dict[str, str] = field(default_factory=dict)
    vault_port: int = 0

    @property
    def home(self) -> Path:
        return self.base / "lab"

    @property
    def work(self) -> Path:
        return self.base / "work"

    @property
    def library(self) -> Path:
        """Modules that tests write themselves."""
        return self.work / "library"

    @property
    def log(self) -> Path:
        return self.work / "ansible.log"

    # -- running -----------------------------------------------------------------------

    def environment(self, pipelining: str = PIPELINING, **more: str) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")
        }
        return {
            **inherited,
            "LAB_DIR": str(self.home),
            "HOME": str(self.work / "user"),
            "TMPDIR": str(self.work / "tmp"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOG_PATH": str(self.log),
            "ANSIBLE_PIPELINING": pipelining,
            "ANSIBLE_DISPLAY_TRACEBACK": "always",
            **more,
        }

    def play(
        self,
        label: str,
        *arguments: str,
        pipelining: str = PIPELINING,
        expect: int | None = 0,
        before: Sequence[str] = (),
        umask: int = -1,
        **environment: str,
    ) -> Run:
        """Run a playbook as loudly as can be; ``before`` is a program that runs it."""
        done = subprocess.run(
            [
                *before,
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                str(PROJECT / "inventories/lab"),
                *arguments,
                "-vvvv",
                "--diff",
            ],
            cwd=PROJECT,
            env=self.environment(pipelining, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
            umask=umask,
        )
        run = Run(label, done.returncode, done.stdout)
        self.runs.append(run)
        if expect is not None:
            assert done.returncode == expect, f"{label}\n{done.stdout[-6000:]}"
        return run

    def lab(self, tag: str, **options: Any) -> Run:
        extra = {
            "lab_ports": {"vault": self.vault_port},
            "__lab_vault_login": self.login("lab-ca"),
        }
        return self.play(
            f"lab {tag}", "playbooks/lab.yml", "-t", tag, "-e", json.dumps(extra), **options
        )

    def play_tasks(self, label: str, tasks: list[dict[str, Any]], **options: Any) -> Run:
        """Run tasks on the lab's gateway host; modules of the lab and of ``library`` serve too.

        JSON is YAML.
        """
        playbook = self.work / f"{label}.json"
        play = {"name": label, "hosts": "gateways", "gather_facts": False, "tasks": tasks}
        playbook.write_text(json.dumps([play], indent=1))
        found = [self.library, PROJECT / "library", PROJECT / "roles/lab/library"]
        utilities = [PROJECT / "module_utils", PROJECT / "roles/lab/module_utils"]
        options.setdefault("ANSIBLE_LIBRARY", ":".join(map(str, found)))
        options.setdefault("ANSIBLE_MODULE_UTILS", ":".join(map(str, utilities)))
        return self.play(label, str(playbook), **options)

    # -- the key server ----------------------------------------------------------------

    def login(self, role: str, tap: Tap | None = None) -> dict[str, str]:
        tap = tap or self.tap
        return {
            "address": tap.address,
            "ca_cert": str(tap.ca_cert),
            "auth_method": "approle",
            "role_id_file": str(self.home / f"secrets/{role}.role_id"),
            "secret_id_file": str(self.home / f"secrets/{role}.secret_id"),
        }

    def client(self, role: str) -> Client:
        return Client(Settings.resolve(self.login(role), {}))

    def exports(self) -> int:
        """How many requests for a private key the server's audit log knows."""
        log = (self.home / "vault/log/audit.log").read_text(encoding="utf-8")
        entries = (json.loads(line) for line in log.splitlines())
        return sum(
            1
            for entry in entries
            if entry["type"] == "request" and "/export/" in entry["request"]["path"]
        )

    # -- deliveries --------------------------------------------------------------------

    def deployed(self) -> dict[str, Any]:
        """The release on the host, as the controller handed it over."""
        (directory,) = self.home.glob("hosts/gw1/tls/dip-nonprod/releases/v1-*")
        names = ("certificate.pem", "chain.pem", "fullchain.pem", "release.json")
        return {
            "certificate": "dip-nonprod",
            "version": 1,
            "id": directory.name,
            "key_path": "transit-nonprod-tls/export/signing-key/dip-nonprod/1",
            "files": {name: (directory / name).read_text() for name in names},
        }

    def delivery(self, root: Path, **changes: Any) -> dict[str, Any]:
        """Arguments of a whole delivery by the action, into a release root of its own."""
        return {
            "release_root": str(root),
            "actions": [
                {
                    "kind": "deploy",
                    "certificate": "dip-nonprod",
                    "version": 1,
                    "hosts": "gateways",
                }
            ],
            "organisations": "{{ organisations }}",
            "certificates": "{{ certificates }}",
            "trust": "{{ trust }}",
            "policy_dir": str(PROJECT / "policies"),
            "base_dir": str(PROJECT / "inventories/lab"),
            "certificates_dir": str(self.home / "certificates"),
            "crl_cache_dir": str(self.home / "cache"),
            "vault": self.login("release"),
            "wrap_ttl": 60,
            "host_vault": self.host_vault(),
            **changes,
        }

    def host_vault(self, tap: Tap | None = None) -> dict[str, str]:
        tap = tap or self.tap
        return {"address": tap.address, "ca_pem": tap.ca_cert.read_text()}

    # -- looking -----------------------------------------------------------------------

    def plant(self, name: str, secret: str) -> str:
        """Let the scanner know one more secret."""
        self.planted[name] = secret
        return secret

    def scanner(self) -> Scanner:
        """Knows every secret there has been so far: of files, of the wire, and planted ones."""
        scanner = Scanner()
        for path in [*sorted(self.home.rglob("key.pem")), self.home / "vault/tls/server.key"]:
            if not path.is_symlink():
                scanner.add_key(f"key {path.relative_to(self.home)}", path.read_bytes())
        for number, key in enumerate(sorted(self.tap.keys)):
            scanner.add_key(f"key {number} of the wire", key)
        for number, token in enumerate(sorted(self.tap.tokens)):
            scanner.add_text(f"token {number} of the wire", token)
        for role in ROLES:
            path = self.home / f"secrets/{role}.secret_id"
            scanner.add_text(f"secret_id of {role}", path.read_text().strip())
        scanner.add_text("unseal key", (self.home / "vault/unseal.key").read_bytes())
        for name, secret in self.planted.items():
            if "PRIVATE KEY" in secret:
                scanner.add_key(name, secret)
            else:
                scanner.add_text(name, secret)
        return scanner

    def printed(self, scanner: Scanner) -> tuple[Finding, ...]:
        """What has been found in everything printed and logged."""
        found = [one for run in self.runs for one in scanner.scan_text(run.text, run.label)]
        return (*found, *scanner.scan_file(self.log))


@contextlib.contextmanager
def living_lab(base: Path) -> Iterator[WatchedLab]:
    """A lab that has been through its whole first life, recorded, and is taken down at the end."""
    port = free_port()
    lab = WatchedLab(base, Tap(base / "tap", (port, base / "lab/vault/tls/ca.pem")).start())
    lab.vault_port = port
    for name in ("user", "tmp", "library"):
        (lab.work / name).mkdir(parents=True)
    try:
        lab.lab("up", pipelining=COPYING)
        lab.play("site, checked on a virgin host", "playbooks/site.yml", "--check")
        lab.play("site, first", "playbooks/site.yml", pipelining=COPYING)
        lab.lab("sign")
        lab.play("site, checked", "playbooks/site.yml", "--check", pipelining=COPYING)
        lab.play("site, second", "playbooks/site.yml")
        yield lab
    finally:
        try:
            lab.lab("down", pipelining=COPYING)
        finally:
            lab.tap.stop()
