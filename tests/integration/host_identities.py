# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that log in to a real OpenBao as themselves, as an operator sets them up."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration.openbao_server import PULL, OpenBao, write_secret
from integration.vault_access import ClientCa
from pki.vault import Client


@dataclass
class Hosts:
    """Identities of hosts; ``secrets`` are all credentials that were made."""

    openbao: OpenBao
    folder: Path
    made: dict[str, str] = field(default_factory=dict, repr=False)

    def approle(self, host: str, keys: dict[str, str], **secret: Any) -> dict[str, str]:
        """``host_vault.auth`` of a host with its own AppRole, whose entity has these keys.

        ``keys``: metadata by name; ``secret``: limits of the secret id.
        """
        name = f"{host}-{secrets.token_hex(4)}"
        with self.openbao.client("operator") as operator:
            role = f"auth/approle/role/{name}"
            operator.write(role, {"token_policies": [PULL], "token_ttl": "5m"})
            role_id = str((operator.read(f"{role}/role-id") or {})["role_id"])
            secret_id = str(operator.write(f"{role}/secret-id", secret)["secret_id"])
            self._entity(operator, name, keys, "approle", role_id)
        self.made |= {f"role id of {name}": role_id, f"secret id of {name}": secret_id}
        return {
            "method": "approle",
            "role_id_file": self._file(f"{name}.role_id", role_id),
            "secret_id_file": self._file(f"{name}.secret_id", secret_id),
        }

    def certificate(self, host: str, keys: dict[str, str]) -> dict[str, str]:
        """The same with a TLS certificate of a CA that stands for the hosts' own."""
        mount, name = f"cert-{secrets.token_hex(4)}", f"{host}-{secrets.token_hex(4)}.example"
        ca = ClientCa(self.folder)
        with self.openbao.client("operator") as operator:
            ca.trust(operator, mount, "hosts", token_policies=[PULL], allowed_common_names=[name])
            self._entity(operator, name, keys, mount, name)
        return {"method": "cert", "mount": mount, "role": "hosts", **ca.issue(name)}

    def map(self, auth: dict[str, str], keys: dict[str, str]) -> None:
        """Give the entity of an AppRole other keys."""
        name = Path(auth["role_id_file"]).stem
        with self.openbao.client("operator") as operator:
            operator.write(f"identity/entity/name/{name}", {"metadata": keys})

    def _entity(
        self, operator: Client, name: str, keys: dict[str, str], mount: str, alias: str
    ) -> None:
        entity = operator.write("identity/entity", {"name": name, "metadata": keys})["id"]
        accessor = (operator.read("sys/auth") or {})[f"{mount}/"]["accessor"]
        body = {"name": alias, "canonical_id": entity, "mount_accessor": accessor}
        operator.write("identity/entity-alias", body)

    def _file(self, name: str, word: str) -> str:
        path = self.folder / name
        write_secret(path, word.encode() + b"\n")
        return str(path)
