# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of one entry, real CAs, a real key server, and whoever types commands there."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.openbao_server import TLS_MOUNT, OpenBao
from kept_payloads.session import kept_environment
from pki import csr
from unit import controller_world, pki_factory, ready

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
DOMAIN = "example-energy.co.uk"
CN = f"energydip-nonprod.{DOMAIN}"


@dataclass(frozen=True)
class Ran:
    """One run of ansible-playbook: everything it printed, and how many tasks changed something."""

    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))


@dataclass
class Desk:
    """``base`` is the inventory, ``store`` where the entry's key is kept."""

    home: Path
    openbao: OpenBao
    web: controller_world.Web
    store: str = "transit"
    name: str = field(default_factory=lambda: f"dip-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.base = self.home / "inventory"
        self.root = pki_factory.authority("Desk Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority(
            "Desk Issuing", path_length=0, start=NOW - DAY, end=NOW + 800 * DAY
        )
        folder = self.base / "group_vars" / "all"
        folder.mkdir(parents=True)
        for variable, value in self.values().items():
            (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"all": {"hosts": {"localhost": here}, "children": {"gateways": {"hosts": {}}}}}
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))
        (self.home / "brought").mkdir(mode=0o700)

    def values(self) -> dict[str, Any]:
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            file = self.base / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            crl = ca.crl(start=NOW - timedelta(hours=1), end=NOW + DAY)
            url = self.web.serve(f"/{self.name}/{label}", controller_world.content(crl))
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        return {
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
                    "domain": DOMAIN,
                    "purposes": ["mtls", "signing"],
                    "key": {"store": self.store},
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
            "certificates_vault": self.openbao.options("pipeline"),
            "certificates_import_vault": self.openbao.options("import"),
        }

    def play(self, playbook: str, *arguments: str, code: int = 0, **extra: object) -> Ran:
        """A playbook; ``code`` is the exit code it must have."""
        given = [part for name, value in extra.items() for part in ("-e", f"{name}='{value}'")]
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base), *given, *arguments),
                str(PROJECT / "playbooks" / f"{playbook}.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                "no_proxy": "127.0.0.1",
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
        return Ran(done.stdout)

    def bring(self, name: str, content: bytes, mode: int = 0o600) -> Path:
        """A file that somebody has at hand."""
        path = self.home / "brought" / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def leaf(self, key: rsa.RSAPrivateKey, **changes: Any) -> bytes:
        """A certificate of a key, DER, as the entry's CA issues it."""
        options = {"cn": CN, "start": NOW - timedelta(hours=2), "end": NOW + 300 * DAY, **changes}
        issued = {"cdp": None, "public": key.public_key(), **options}
        return self.issuing.leaf(**issued)

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Everything beside the inventory: bytes, mode and time of each file."""
        folder = self.base / "certificates"
        return {
            str(path.relative_to(folder)): (
                path.read_bytes(),
                path.stat().st_mode,
                path.stat().st_mtime_ns,
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def read(self, version: int, name: str) -> bytes:
        return (self.base / "certificates" / self.name / str(version) / name).read_bytes()

    def record(self, version: int, name: str = "request.yml") -> dict[str, Any]:
        return dict(yaml.safe_load(self.read(version, name)))

    def request(self, version: int) -> csr.Request:
        return csr.parse(self.read(version, "request.csr"))

    def key(self) -> dict[str, Any]:
        """The entry's key as the server describes it; empty without one."""
        with self.openbao.client("pipeline") as client:
            return client.read(f"{TLS_MOUNT}/keys/{self.name}") or {}
