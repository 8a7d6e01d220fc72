# SPDX-License-Identifier: GPL-3.0-or-later
"""A participant with a signing certificate for its provider, and a real key server."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.bringing_desk import PROJECT, Ran
from integration.openbao_server import KV_MOUNT, OpenBao
from kept_payloads.session import kept_environment
from pki import csr, public_state
from unit import controller_world, pki_factory, ready

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
DOMAIN = "example-energy.co.uk"
ADMIN, OTHER_ADMIN = "Ada Admin", "Bob Admin"
HANDED = {"store": "transit", "handover": True}


@dataclass
class ExportWorld:
    """``base`` is the participant's inventory, ``out`` where exported files go."""

    home: Path
    openbao: OpenBao
    web: controller_world.Web
    name: str = field(default_factory=lambda: f"sign-{secrets.token_hex(4)}")
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base, self.out = self.home / "inventory", self.home / "out"
        self.root = pki_factory.authority("Export Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority(
            "Export Issuing", path_length=0, start=NOW - DAY, end=NOW + 800 * DAY
        )
        self.folder = self.base / "group_vars" / "all"
        self.folder.mkdir(parents=True)
        for variable, value in self.values().items():
            self.set(variable, value)
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"all": {"hosts": {"localhost": here}, "children": {"gateways": {"hosts": {}}}}}
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))
        smaller = {
            "value": 2048, "reason": "tests make many keys", "approver": "the tests",
            "expires": f"{NOW + 300 * DAY:%Y-%m-%d}",
        }  # fmt: skip
        (self.base / "policy").mkdir()
        overlay = {"parameters": {"key_bits": smaller}}
        (self.base / "policy" / "mhhs-dip.yml").write_text(yaml.safe_dump(overlay))

    def set(self, variable: str, value: object) -> None:
        (self.folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))

    def entry(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": self.name,
            "organisation": "supplier-b",
            "policy": "mhhs-dip",
            "environment": "nonprod",
            "domain": DOMAIN,
            "domain_verified": "2026-01-02",
            "purposes": ["signing"],
            "key": HANDED,
            "provider": "provider-x",
            "hosts": "gateways",
            "owner": {"name": "Olive Owner", "accepted": "2026-01-02"},
            **self.changes,
            **changes,
        }

    def values(self) -> dict[str, Any]:
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            file = self.base / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            url = self.publish(label)
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        people = [
            {"name": name, "email": f"{name[:3].lower()}@a.example", "role": "certificate_admin",
             "permanent": True}
            for name in (ADMIN, OTHER_ADMIN)
        ]  # fmt: skip
        gone = {**people[0], "name": "Gone Admin", "email": "g@a.example", "left": "2026-02-03"}
        dates = {**ready.organisation(), "quota": 20}
        subject = dict(pki_factory.SUBJECT)
        return {
            "organisations": {
                "supplier-b": {
                    "party": "market_participant_non_active",
                    "subject": subject,
                    "roster": [*people, gone],
                    **dates,
                },
                **{
                    f"provider-{letter}": {
                        "party": "dip_connection_provider",
                        "subject": {**subject, "O": f"Provider {letter.upper()} Ltd"},
                    }
                    for letter in "xy"
                },
            },
            "certificates": [self.entry()],
            "trust": {
                "dip-nonprod": {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned["root"],
                    "issuers": pinned["issuing"],
                }
            },
            "certificates_vault": self.openbao.options("pipeline"),
            "export_vault": self.openbao.options("export"),
        }

    def publish(self, label: str, revoked: Sequence[int] = ()) -> str:
        """The CRL of one of the CAs as it is served from now on, and where."""
        ca = self.root if label == "root" else self.issuing
        number = 2 if revoked else 1
        crl = ca.crl(revoked, start=NOW - timedelta(hours=1), end=NOW + DAY, number=number)
        return self.web.serve(f"/{self.name}/{label}", controller_world.content(crl))

    # -- the certificate ---------------------------------------------------------------

    def version(self, number: int = 1) -> Path:
        return self.base / "certificates" / self.name / str(number)

    def answer(self, number: int = 1, **changes: Any) -> None:
        """The CA's answer to a request, saved beside it."""
        request = csr.parse((self.version(number) / "request.csr").read_bytes())
        options = {"start": NOW - timedelta(hours=2), "end": NOW + 397 * DAY, **changes}
        leaf = self.issuing.leaf(
            request.common_name, public=load_der_public_key(request.spki_der), **options
        )
        reply = pki_factory.pem(leaf) + self.issuing.pem
        public_state.write(self.version(number), {"reply.pem": reply})

    def accepted(self) -> None:
        """A request, its answer, and its acceptance."""
        self.play("site")
        self.answer()
        self.play("site")
        assert (self.version() / "accepted.yml").exists()

    # -- commands ----------------------------------------------------------------------

    def export(self, *arguments: str, code: int = 0, **extra: object) -> Ran:
        given = {
            "certificate": self.name, "recipient": "provider-x", "by": ADMIN,
            "destination": self.out, **extra,
        }  # fmt: skip
        return self.play("export", *arguments, code=code, **given)

    def play(self, playbook: str, *arguments: str, code: int = 0, **extra: object) -> Ran:
        """A playbook; ``code`` is the exit code it must have."""
        done = subprocess.run(
            self.command(playbook, *arguments, **extra),
            env=self.environment,
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return Ran(done.stdout)

    def command(self, playbook: str, *arguments: str, **extra: object) -> list[str]:
        given = [part for name, value in extra.items() for part in ("-e", f"{name}='{value}'")]
        return [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(self.base), *given, *arguments),
            str(PROJECT / "playbooks" / f"{playbook}.yml"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **kept_environment("PATH", "HOME"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "no_proxy": "127.0.0.1",
        }

    # -- what is there -----------------------------------------------------------------

    def exports(self, number: int = 1) -> list[dict[str, Any]]:
        path = self.version(number) / "exports.yml"
        return list(yaml.safe_load(path.read_text())["exports"]) if path.exists() else []

    def files(self) -> list[str]:
        return sorted(os.listdir(self.out)) if self.out.exists() else []

    def passphrase(self, export: Mapping[str, Any]) -> str:
        """As the receiver reads it."""
        with self.openbao.client("operator") as client:
            read = client.read(str(export["passphrase_in"])) or {}
        return str(read["data"]["passphrase"])

    def key(self, number: int = 1) -> str:
        """The private key, as only the tests' operator may see it."""
        path = f"transit-nonprod-tls/export/signing-key/{self.name}/{number}"
        with self.openbao.client("operator") as client:
            return str((client.read(path) or {})["keys"][str(number)])

    def in_vault(self) -> set[str]:
        with self.openbao.client("operator") as client:
            listed = client.list(f"{KV_MOUNT}/metadata/exports")
        return {name for name in listed if name.startswith(self.name)}
