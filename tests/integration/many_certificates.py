# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of many certificates on a real key server, and whoever types commands for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kept_payloads.session import kept_environment
from unit import pki_factory, ready

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: RSA-4096 keys take seconds to make; where the size does not matter these do.
SMALL_KEYS = {
    "parameters": {
        "key_bits": {
            "value": 2048,
            "reason": "a world for tests",
            "approver": "Olive Owner",
            "expires": "2999-01-01",
        }
    },
}
REQUEST = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: certificates
        tasks_from: request
"""
SUMMARY = """\
    - ansible.builtin.import_role:
        name: certificates
        tasks_from: summary
"""


@dataclass(frozen=True)
class Ran:
    """One run of a program: exit code and everything it printed."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))


class Office:
    """``base`` is the inventory's directory; ``certificates`` are its entries.

    Args:
        vault: the options for the key server.
        small: keys of 2048 bits instead of the policy's own size.
    """

    def __init__(
        self,
        base: Path,
        vault: Mapping[str, Any],
        certificates: Sequence[Mapping[str, Any]],
        *,
        small: bool = True,
    ) -> None:
        self.base = base
        base.mkdir(parents=True, exist_ok=True)
        root = pki_factory.authority("Office Root")
        issuing = root.authority("Office Issuing")
        pinned = {}
        (base / "trust").mkdir()
        for label, ca in (("root", root), ("issuing", issuing)):
            (base / "trust" / f"{label}.pem").write_bytes(ca.pem)
            file = {"file": f"trust/{label}.pem", "sha256": ca.sha256}
            pinned[label] = [{**file, "crl_urls": [f"http://127.0.0.1:9/{label}"]}]
        self._write("organisations", {"example-energy": organisation(ready.admin())})
        self._write("certificates", [dict(entry) for entry in certificates])
        self._write("certificates_vault", dict(vault))
        trust_set = {"policy": "mhhs-dip", "environment_class": "nonprod"}
        trust_set |= {"anchors": pinned["root"], "issuers": pinned["issuing"]}
        self._write("trust", {"dip-nonprod": trust_set})
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"hosts": {"localhost": here}, "children": {"gateways": {"hosts": {}}}}
        (base / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}))
        if small:
            (base / "policy").mkdir()
            (base / "policy" / "mhhs-dip.yml").write_text(yaml.safe_dump(SMALL_KEYS))
        # Not beside the inventory, where Ansible reads whatever lies there.
        self.plays = base.parent / "plays"
        self.plays.mkdir()
        (self.plays / "request.yml").write_text(REQUEST)
        (self.plays / "whole.yml").write_text(REQUEST + SUMMARY)

    def _write(self, variable: str, value: object) -> None:
        folder = self.base / "group_vars" / "all"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))

    def command(self, playbook: str, *arguments: str) -> list[str]:
        return [
            str(BIN / "ansible-playbook"),
            *("-i", str(self.base), *arguments),
            str(self.plays / f"{playbook}.yml"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **kept_environment("PATH", "HOME"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }

    def play(self, *arguments: str, code: int = 0, playbook: str = "request") -> Ran:
        done = subprocess.run(
            self.command(playbook, *arguments),
            env=self.environment,
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return Ran(done.returncode, done.stdout)

    def files(self) -> dict[str, bytes]:
        """Everything below the certificates' directory."""
        folder = self.base / "certificates"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


def organisation(admin: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "party": "market_participant_active",
        "subject": dict(pki_factory.SUBJECT),
        "roster": [dict(admin)],
        **ready.organisation(),
    }


def entry(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "policy": "mhhs-dip",
        "environment": "nonprod",
        "domain": f"{name}.example.co.uk",
        "purposes": ["mtls", "signing"],
        "key": {"store": "transit", "delivery": "wrapped"},
        "hosts": "gateways",
        **changes,
    }
