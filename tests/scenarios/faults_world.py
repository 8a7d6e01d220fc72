# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployed scenario as faults meet it: work to be done, and what must hold afterwards.

New work is an edit of the inventory, given as extra variables, or something lost on a host. An
edit stays for all later runs, as a person's would.
"""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from scenarios.calls import PORT
from scenarios.faults_controller import ControllerRun, changed
from scenarios.scenario import REPOSITORY, Done, Scenario
from scenarios.steps import GATEWAYS

SITE = "playbooks/site.yml"
CERTIFICATE = "dip-nonprod"
KEY = f"transit-nonprod-tls/keys/{CERTIFICATE}"
RELEASES = f"/etc/pki/mtls/{CERTIFICATE}"
# A killed run leaves rules that nobody confirmed; the next one waits for their timer.
CONFIRM_SECONDS = 20

_INVENTORY = REPOSITORY / "molecule/shared/inventory/group_vars/all"
_EDITED = ("certificates", "gateways")

# One line a directory: itself, its release, and the digests of both public keys.
_PAIRS = f"""
digest() {{ sha256sum | cut -c1-16; }}
for directory in {RELEASES}/current {RELEASES}/releases/v*; do
  key=-; certificate=-
  [ ! -e $directory/key.pem ] || key=$(openssl pkey -in $directory/key.pem -pubout | digest)
  [ ! -e $directory/certificate.pem ] ||
    certificate=$(openssl x509 -in $directory/certificate.pem -noout -pubkey | digest)
  echo $directory $(basename $(readlink -f $directory)) $key $certificate
done
"""


@dataclass(frozen=True)
class Pair:
    """A release directory: whose key lies there, and whose certificate. ``-`` for none."""

    directory: str
    release: str
    key: str
    certificate: str

    @property
    def version(self) -> int:
        return int(self.release.partition("-")[0].removeprefix("v"))

    @property
    def mixed(self) -> bool:
        return "-" not in (self.key, self.certificate) and self.key != self.certificate

    @property
    def whole(self) -> bool:
        return self.key == self.certificate != "-"


class FaultyWorld:
    """A deployed scenario, its edits so far, and how many versions there must be."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        self.scenario = scenario
        self.dice = dice
        self.versions = len(self.requests())
        self._edits: dict[str, Any] = {
            name: yaml.safe_load((_INVENTORY / f"{name}.yml").read_text())[name] for name in _EDITED
        }
        newest = self._requests / str(self.versions) / "request.yml"
        self._edits["certificates"][0]["purposes"] = yaml.safe_load(newest.read_text())["purposes"]
        self._edits.update(firewall_in=[], firewall_confirm_seconds=CONFIRM_SECONDS)

    # -- runs ----------------------------------------------------------------------

    @property
    def _edits_file(self) -> Path:
        return self.scenario.state / "edits.json"

    def command(self, playbook: str = SITE, *arguments: str) -> list[str]:
        """The command line of a run with the inventory as it was edited."""
        self._edits_file.write_text(json.dumps(self._edits, indent=1))
        edits = ("-e", f"@{self._edits_file}")
        return self.scenario.playbook_command(playbook, *edits, *arguments)

    def start(self, *arguments: str, **environment: str) -> ControllerRun:
        return ControllerRun(self.scenario, self.command(SITE, *arguments), environment)

    def run(self, playbook: str = SITE, *arguments: str) -> Done:
        return ControllerRun(self.scenario, self.command(playbook, *arguments)).done()

    def sign(self) -> None:
        """The human and the CA answer what waits."""
        self.run("molecule/shared/sign.yml").succeeded()

    def heal(self) -> Done:
        """A run that must put everything right, and one that must find nothing left to do."""
        healed = self.run().succeeded()
        again = self.run().succeeded()
        assert not any(changed(again).values()), again.output[-12000:]
        return healed

    # -- work ----------------------------------------------------------------------

    def ask_for_a_new_version(self) -> None:
        """The entry asks for other purposes: a new key and request beside the live one."""
        if self.waiting():
            self.sign()
            self.run().succeeded()
        (entry,) = self._edits["certificates"]
        entry["purposes"] = ["mtls"] if "signing" in entry["purposes"] else ["mtls", "signing"]
        self.versions += 1

    def have_a_new_version_signed(self) -> None:
        """A reply lies beside a request; an earlier request if one is still open."""
        if not self.waiting():
            self.ask_for_a_new_version()
            self.run().succeeded()
        self.sign()

    def let_one_more_in(self) -> None:
        """Another name among the peers of the ingress: a new gateway configuration."""
        (listener,) = self._edits["gateways"][0]["ingress"]
        number = len(listener["peers"])
        listener["peers"].append({"CN": f"energydip-nonprod.peer{number}.example"})

    def open_one_more_port(self) -> None:
        """Another flow for the packet filter. Nobody listens there."""
        number = len(self._edits["firewall_in"])
        client = self.scenario.addresses["hosts"]["client"]
        flow = {"name": f"extra-{number}", "protocol": "tcp", "port": 20000 + number}
        self._edits["firewall_in"].append({**flow, "from": [client]})

    def publish_new_crls(self) -> None:
        """The CA issues its list again, and the controller has lost its copies."""
        with self.scenario.lab.client("lab-ca") as ca:
            ca.read("pki-dca/crl/rotate")
        self.lose_the_crl_cache()

    def lose_the_crl_cache(self) -> None:
        for path in sorted((self.scenario.lab.home / "cache").rglob("*")):
            if path.is_file():
                path.unlink()

    def lose_the_key(self, *hosts: str) -> None:
        """Somebody removed the private key in service; the running gateway has it in memory."""
        for name in hosts or GATEWAYS:
            self.scenario.host(name).run_expect([0], f"rm {RELEASES}/current/key.pem")

    # -- what holds ------------------------------------------------------------------

    @property
    def _requests(self) -> Path:
        return self.scenario.lab.home / "certificates" / CERTIFICATE

    def requests(self) -> list[int]:
        """The versions that have a directory beside the inventory."""
        return sorted(int(path.name) for path in self._requests.iterdir())

    def accepted(self) -> int:
        """The newest version with an accepted certificate."""
        return max(int(path.parent.name) for path in self._requests.glob("*/accepted.yml"))

    def waiting(self) -> bool:
        """Whether the newest request has no accepted certificate yet."""
        return self.accepted() < max(self.requests())

    def key_versions(self) -> int:
        with self.scenario.lab.client("auditor") as auditor:
            return int((auditor.read(KEY) or {})["latest_version"])

    def pairs(self, host: str) -> list[Pair]:
        lines = self.scenario.host(host).check_output(_PAIRS).splitlines()
        return [Pair(*line.split()) for line in lines]

    def current(self, host: str) -> Pair:
        (found,) = [pair for pair in self.pairs(host) if pair.directory.endswith("/current")]
        return found

    def require_no_mixed_pair(self) -> None:
        """Holds at every moment: no release has the key of one and the certificate of another."""
        for name in GATEWAYS:
            pairs = self.pairs(name)
            assert len(pairs) > 1, f"{name} has no release"
            assert [pair for pair in pairs if pair.mixed] == [], name

    def require_one_version_each(self) -> None:
        """A killed run did not lead to a second key or a second request."""
        assert self.requests() == list(range(1, self.versions + 1))
        assert self.key_versions() == self.versions

    def require_in_service(self, version: int) -> None:
        """Both gateways serve this version, from a whole release."""
        for name in GATEWAYS:
            current = self.current(name)
            assert current.whole, (name, current)
            assert current.version == version, (name, current)
            assert self.served(name) == current.certificate, name

    def files_with(self, host: str, line: str) -> list[str]:
        """The files of a host that hold this line. It goes in by standard input: a command line
        is no place for a part of a key."""
        searched = ("/etc", "/var", "/root", "/home", "/tmp", "/run", "/opt", "/srv", "/usr/local")
        searcher = ("grep", "-rlsF", "-f", "-", "--exclude=bao", "--")
        done = subprocess.run(
            ["podman", "exec", "-i", self.scenario.container(host), *searcher, *searched],
            env=self.scenario.environment,
            input=f"{line}\n",
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return sorted(done.stdout.split())

    def served(self, host: str) -> str:
        """Digest of the public key that the client is shown."""
        address = f"{self.scenario.addresses['hosts'][host]}:{PORT}"
        return str(
            self.scenario.host("client").check_output(
                f"openssl s_client -connect {address} </dev/null 2>/dev/null"
                " | openssl x509 -noout -pubkey | sha256sum | cut -c1-16"
            )
        )
