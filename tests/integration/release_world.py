# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory with one accepted certificate whose key lives in a real OpenBao, and a host."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.openbao_server import TLS_MOUNT, OpenBao
from kept_payloads.session import kept_environment
from pki import crl_cache, keystores, public_state, request_stage, session
from unit import pki_factory, ready

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass
class Ran:
    """One run of ansible-playbook: exit code and everything it printed."""

    code: int
    output: str

    @property
    def changed(self) -> bool:
        return "changed=1" in self.output


class ReleaseWorld:
    """Files below ``base``: ca/, certificates/, cache/, host/ (the release root)."""

    def __init__(self, base: Path, openbao: OpenBao) -> None:
        self.base = base
        self.openbao = openbao
        # Of its own: worlds of other tests share the key server.
        self.name = f"dip-{secrets.token_hex(4)}"
        self.deploy = {
            "kind": "deploy", "certificate": self.name, "version": 1, "hosts": "gateways",
        }  # fmt: skip
        #: What the plan wants of the hosts.
        self.actions: list[dict[str, Any]] = [self.deploy]
        self.root = pki_factory.authority("Release Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority("Release Issuing", start=NOW - DAY, end=NOW + 800 * DAY)
        self.inputs = session.load(self.parameters())
        self.certificate = self.inputs.declared.certificates[self.name]
        self._request()
        self._reply()
        self._crls()

    @property
    def release_root(self) -> Path:
        return self.base / "host"

    @property
    def key_path(self) -> str:
        return f"{TLS_MOUNT}/export/signing-key/{self.name}/1"

    @property
    def directory(self) -> Path:
        (found,) = (self.release_root / self.name / "releases").iterdir()
        return found

    # -- the controller's side ---------------------------------------------------------

    def parameters(self) -> dict[str, Any]:
        (self.base / "ca").mkdir(exist_ok=True)
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            (self.base / "ca" / f"{label}.pem").write_bytes(ca.pem)
            url = f"http://crl.example/{label}"
            pinned[label] = [{"file": f"ca/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        return {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [ready.admin("A", "a@a.example")],
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
                    "key": {"store": "transit", "delivery": "wrapped"},
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
            "policy_dir": str(PROJECT / "policies"),
            "base_dir": str(self.base),
            "certificates_dir": str(self.base / "certificates"),
            "crl_cache_dir": str(self.base / "cache"),
        }

    def _request(self) -> None:
        rules = self.inputs.policies["mhhs-dip"]
        with self.openbao.client("pipeline") as client:
            store = keystores.Stores(client, self.inputs.policies).of(self.certificate)
            record = store.ensure(self.name, 1)
            written = request_stage.build(
                self.certificate, rules, store, record, 1, self.base / "certificates"
            )
        self.public_key = load_der_public_key(record.versions[1].spki_der)
        public_state.write(written.directory, written.contents)

    def _reply(self) -> None:
        self.leaf = self.issuing.leaf(
            self.certificate.common_name,
            public=self.public_key,
            start=NOW - timedelta(hours=1),
            end=NOW + 397 * DAY,
        )
        self.reply = pki_factory.pem(self.leaf) + self.issuing.pem
        public_state.write(self.base / "certificates" / self.name / "1", {"reply.pem": self.reply})

    def _crls(self) -> None:
        window = {"start": NOW - timedelta(hours=1), "end": NOW + DAY}
        crls = {"root": self.root.crl(**window), "issuing": self.issuing.crl(**window)}
        crl_cache.refresh(
            self.inputs.trust["dip-nonprod"],
            self.base / "cache",
            now=NOW,
            max_age=DAY,
            fetch=lambda url: crls[url.rsplit("/", 1)[-1]],
        )

    # -- one run -----------------------------------------------------------------------

    def play(self, *arguments: str, pipelining: bool = True, **environment: str) -> Ran:
        """The release role on one local host, as site.yml would run it."""
        return self.ansible({"gw1": {}}, {}, *arguments, pipelining=pipelining, **environment)

    def values(self) -> dict[str, Any]:
        """The role's options."""
        elsewhere = {"kind": "deploy", "certificate": self.name, "version": 7, "hosts": "elsewhere"}
        return {
            **{k: v for k, v in self.parameters().items() if not k.endswith("_dir")},
            "release_root": str(self.release_root),
            "release_actions": [*self.actions, elsewhere],
            "release_policy_dir": str(PROJECT / "policies"),
            "release_base_dir": str(self.base),
            "release_certificates_dir": str(self.base / "certificates"),
            "release_crl_cache_dir": str(self.base / "cache"),
            "release_vault": self.openbao.options("release"),
        }

    def ansible(
        self,
        hosts: dict[str, dict[str, Any]],
        changes: dict[str, Any],
        *arguments: str,
        pipelining: bool = True,
        serial: int = 0,
        **environment: str,
    ) -> Ran:
        """The release role on local hosts, given with their own variables."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"gateways": {"hosts": {name: {**local, **own} for name, own in hosts.items()}}}
        values = {**self.values(), **changes}
        play: dict[str, Any] = {"hosts": "gateways", "gather_facts": False, "roles": ["release"]}
        if serial:
            play["serial"] = serial
        (self.base / "hosts.yml").write_text(json.dumps(inventory))
        (self.base / "values.json").write_text(json.dumps(values))
        (self.base / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base / "hosts.yml"), "-e", f"@{self.base / 'values.json'}"),
                *arguments,
                str(self.base / "play.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_PIPELINING": str(pipelining),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                **environment,
            },
            cwd=self.base,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    def logins(self) -> int:
        """How often anybody has logged in so far, by the server's audit log."""
        lines = self.openbao.audit_log.read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return sum(
            entry["type"] == "response" and entry["request"]["path"] == "auth/approle/login"
            for entry in entries
        )

    def certificate_pem(self) -> bytes:
        return pki_factory.pem(self.leaf)
