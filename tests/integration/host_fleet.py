# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on this machine that keep their own keys, and whoever types commands for them."""

from __future__ import annotations

import re
import secrets
import stat
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.openbao_server import KV_MOUNT, OpenBao
from integration.vault_tap import Tap
from kept_payloads.session import kept_environment
from pki import csr
from unit import controller_world, pki_factory, ready

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOSTS = ("gw1", "gw2")
REQUEST = {"request.csr", "request.yml", "submission.txt"}


@dataclass
class Ran:
    """One run of ansible-playbook: exit code and everything it printed."""

    code: int
    output: str

    def section(self, task: str) -> str:
        """What was printed from a task's name to the next one's that has a name in brackets."""
        parts = re.split(r"^TASK \[([^\]]*)\]", self.output, flags=re.MULTILINE)
        return "".join(
            text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name == task
        )

    def changed(self, host: str) -> int:
        (number,) = re.findall(rf"^{host} .*\bchanged=(\d+)", self.output, re.MULTILINE)
        return int(number)


class Fleet:
    """Hosts on this machine, each with a certificate whose key it keeps.

    Whoever gives a ``tap`` has every call to the key server go through it.
    """

    def __init__(
        self,
        base: Path,
        openbao: OpenBao,
        web: Any,
        *,
        encrypted: bool,
        hosts: tuple[str, ...] = HOSTS,
        tap: Tap | None = None,
    ) -> None:
        self.base = base
        # The hosts' own directories are not below the inventory, whose files Ansible reads.
        self.inventory = base / "inventory"
        self.inventory.mkdir()
        self.hosts = hosts
        self.tap = tap
        self.openbao = openbao
        self.encrypted = encrypted
        self.name = f"dip-{secrets.token_hex(4)}"
        self.root = pki_factory.authority("Fleet Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority("Fleet CA", start=NOW - DAY, end=NOW + 800 * DAY)
        self.runs: list[Ran] = []
        self._write(web)

    def _write(self, web: Any) -> None:
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            file = self.inventory / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            crl = ca.crl(start=NOW - timedelta(hours=1), end=NOW + DAY)
            url = web.serve(f"/{self.name}/{label}", controller_world.content(crl))
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        values: dict[str, Any] = {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [ready.admin()],
                    **ready.organisation(),
                }
            },
            "certificates": [
                {
                    "name": self.name,
                    "policy": "mhhs-dip",
                    "environment": "nonprod",
                    "domain": "example-energy.co.uk",
                    "purposes": ["mtls", "signing"],
                    "key": {"store": "host", "encrypted": self.encrypted},
                    "per_host": True,
                    "hosts": "gateways",
                }
            ],
            "trust": {
                "dip-nonprod": {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned["root"],
                    "issuers": pinned["issuing"],
                }
            },
            "gateways": [],
            "firewall_manage": False,
            "certificates_vault": self.login("pipeline"),
            "release_vault": self.login("release"),
            "release_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/tls",
            "crl_cache_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/crl",
            "gateway_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/gateway",
        }
        folder = self.inventory / "group_vars" / "all"
        folder.mkdir(parents=True)
        for variable, value in values.items():
            (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))
        self._write_hosts(self.inventory / "hosts.yml")

    def _write_hosts(self, path: Path, away: str = "") -> None:
        """The inventory's hosts; one that is ``away`` has a connection that never opens."""
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        gateways: dict[str, Any] = {host: dict(here) for host in self.hosts}
        if away:
            shut = self.base / "no-ssh"
            shut.write_text("#!/bin/sh\nexit 255\n")
            shut.chmod(0o755)
            gateways[away] = {"ansible_connection": "ssh", "ansible_ssh_executable": str(shut)}
        groups = {"gateways": {"hosts": gateways}}
        path.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": here}, "children": groups}}))

    def login(self, role: str) -> dict[str, str]:
        through = {}
        if self.tap is not None:
            through = {"address": self.tap.address, "ca_cert": str(self.tap.ca_cert)}
        return {**self.openbao.options(role), **through}

    def play(
        self, playbook: str, *arguments: str, code: int = 0, away: str = "", **environment: str
    ) -> Ran:
        self._write_hosts(self.inventory / "hosts.yml", away)
        shipped = PROJECT / "playbooks" / f"{playbook}.yml"
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.inventory), *arguments),
                str(shipped if shipped.exists() else self.base / playbook),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                "no_proxy": "127.0.0.1",
                **environment,
            },
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout
        ran = Ran(done.returncode, done.stdout)
        self.runs.append(ran)
        return ran

    def host(self, name: str) -> Path:
        return self.base / "hosts" / name / "tls" / self.name

    def key(self, name: str, version: int = 1) -> Path:
        return self.host(name) / "keys" / str(version) / "key.pem"

    def keys(self) -> dict[str, dict[str, tuple[bytes, int, int]]]:
        return {host: everything(self.host(host) / "keys") for host in self.hosts}

    def version(self, host: str, number: int = 1) -> Path:
        return self.inventory / "certificates" / self.name / host / str(number)

    def request(self, host: str, number: int = 1) -> csr.Request:
        return csr.parse((self.version(host, number) / "request.csr").read_bytes())

    def answer(self, host: str, number: int = 1) -> None:
        """The CA says yes."""
        request = self.request(host, number)
        public = serialization.load_der_public_key(request.spki_der)
        window = {"start": NOW - timedelta(hours=1), "end": NOW + 397 * DAY}
        leaf = self.issuing.leaf(request.common_name, public=public, **window)
        reply = pki_factory.pem(leaf) + self.issuing.pem
        (self.version(host, number) / "reply.pem").write_bytes(reply)

    def private(self, host: str, version: int = 1) -> rsa.RSAPrivateKey:
        """The key as only its host can have it."""
        passphrase = self.passphrase(host).encode() if self.encrypted else None
        data = self.key(host, version).read_bytes()
        loaded = serialization.load_pem_private_key(data, passphrase)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded

    def passphrase(self, host: str) -> str:
        with self.openbao.client("operator") as client:
            path = f"{KV_MOUNT}/data/passphrases/{self.name}_{host}"
            return str((client.read(path) or {})["data"]["passphrase"])


def everything(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file with bytes, mode and time: equal before and after means untouched."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
