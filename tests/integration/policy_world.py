# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenBao with the shipped policies of one class, things of both, and raw requests.

Raw, because the product's own client refuses odd paths by itself: here the server is asked what
somebody else's client would ask.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from integration.openbao_server import PULL, OpenBao

CLASSES = ("nonprod", "prod")
#: Identities, each with the policy of its name.
ROLES = ("pipeline", "release", "retire", "import", "auditor", "backup", "export", PULL)
KEY = "acl-key"
OWN = "acl-host-key"
DIGEST = "ab" * 32


@dataclass(frozen=True)
class Said:
    """An answer; ``text`` is its whole body."""

    status: int
    text: str = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def denied(self) -> bool:
        """Refused by policy, and by nothing else."""
        return self.status == 403 and "permission denied" in self.text

    @property
    def done(self) -> bool:
        return self.status in (200, 204)


class PolicyWorld:
    """``token(role)`` is an identity's token; ``heard`` is every answer since it was emptied."""

    def __init__(self, directory: Path) -> None:
        self.openbao = OpenBao(directory)
        self.openbao.prepare()
        self.openbao.start()
        context = ssl.create_default_context(cafile=str(self.openbao.ca_cert))
        self._http = http.client.HTTPSConnection("127.0.0.1", self.openbao.port, context=context)
        self._tokens: dict[str, str] = {}
        self._tried: dict[str, str] = {}
        self._imports: dict[str, dict[str, Any]] = {}
        self.heard: list[str] = []
        self._furnish()

    def close(self) -> None:
        self._http.close()
        self.openbao.stop()

    # -- asking ------------------------------------------------------------------------

    def ask(
        self,
        role: str,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """One request exactly as given, without following anything. Role ``""``: no token."""
        own = {"X-Vault-Request": "true", "X-Vault-Token": self.token(role)} if role else {}
        data = None if body is None else json.dumps(body)
        target = path if path.startswith("/") else f"/v1/{path}"
        try:
            self._http.request(method, target, data, {**own, **(headers or {})})
            answer = self._http.getresponse()
            said = Said(answer.status, answer.read().decode("utf-8", "replace"))
        except (http.client.HTTPException, OSError):
            self._http.close()
            raise
        self.heard.append(said.text)
        return said

    def operate(self, method: str, path: str, body: object = None) -> Said:
        """As the tests' own operator; it has to work."""
        said = self.ask("operator", method, path, body)
        assert said.done, f"{method} {path}: {said.status} {said.text}"
        return said

    def token(self, role: str) -> str:
        if role not in self._tokens:
            self._tokens[role] = self.login(role)
        return self._tokens[role]

    def login(self, role: str) -> str:
        said = self.ask("", "POST", "auth/approle/login", self.credentials(role))
        return str(said.document["auth"]["client_token"])

    def credentials(self, role: str) -> dict[str, str]:
        parts = ("role_id", "secret_id")
        return {p: (self.openbao.directory / f"{role}.{p}").read_text().strip() for p in parts}

    def _host(self) -> str:
        """A host that pulls one key, by an AppRole of its own."""
        role = "auth/approle/role/acl-host"
        self.operate("POST", role, {"token_policies": [PULL], "token_ttl": "20m"})
        role_id = self.operate("GET", f"{role}/role-id").document["data"]["role_id"]
        secret = self.operate("POST", f"{role}/secret-id", {}).document["data"]["secret_id"]
        entity = {"name": "acl-host", "metadata": {"mtls_key_nonprod_1": OWN}}
        made = self.operate("POST", "identity/entity", entity).document["data"]["id"]
        accessor = self.operate("GET", "sys/auth").document["data"]["approle/"]["accessor"]
        alias = {"name": role_id, "canonical_id": made, "mount_accessor": accessor}
        self.operate("POST", "identity/entity-alias", alias)
        login = {"role_id": role_id, "secret_id": secret}
        said = self.ask("", "POST", "auth/approle/login", login)
        return str(said.document["auth"]["client_token"])

    # -- what is there -----------------------------------------------------------------

    def _furnish(self) -> None:
        """Keys and entries of both classes; the policies speak of the first one only."""
        for name in ("tls", "signing"):
            self.operate("POST", f"sys/mounts/transit-prod-{name}", {"type": "transit"})
        kv = {"type": "kv", "options": {"version": "2"}}
        self.operate("POST", "sys/mounts/kv-prod", kv)
        for environment_class in CLASSES:
            for kind in ("tls", "signing"):
                self.make(f"transit-{environment_class}-{kind}", KEY)
            for folder in ("compromised", "passphrases", "exports", "passphrases/used", "api-keys"):
                path = f"kv-{environment_class}/data/{folder}/{DIGEST}"
                self.operate("POST", path, {"data": {"passphrase": "ab" * 32}})
            salt = f"kv-{environment_class}/data/passphrases/used/salt"
            self.operate("POST", salt, {"data": {"hex": "cd" * 32}})
        self.make("transit-nonprod-tls", OWN)
        self.make("transit-prod-tls", OWN)
        self._tokens[PULL] = self._host()
        # Its own entity every token may look at.
        self.operate("POST", "identity/entity", {"name": "acl-other"})

    def make(self, mount: str, name: str = "", versions: int = 2) -> str:
        """A key, made by the operator; its name."""
        name = name or f"acl-{secrets.token_hex(6)}"
        kind = {"type": "rsa-2048", "exportable": mount.endswith("-tls")}
        self.operate("POST", f"{mount}/keys/{name}", kind)
        for _ in range(versions - 1):
            self.operate("POST", f"{mount}/keys/{name}/rotate")
        return name

    def tried(self, mount: str) -> str:
        """A key that the operator may do anything to; nobody else is tried on it."""
        if mount not in self._tried:
            self._tried[mount] = self.make(mount)
        return self._tried[mount]

    def spare(self, mount: str) -> str:
        """A key whose first version is withdrawn."""
        name = self.make(mount)
        bounds = {"min_decryption_version": 2, "min_encryption_version": 2}
        self.operate("POST", f"{mount}/keys/{name}/config", bounds)
        return name

    def private_keys(self, mount: str, name: str) -> list[str]:
        """The PEM of every version, as only the operator may see it."""
        path = f"{mount}/export/signing-key/{name}"
        return list(self.operate("GET", path).document["data"]["keys"].values())

    def wrapped_import(self, mount: str) -> dict[str, Any]:
        """The body of an import of a key that we know; the same one for every name."""
        if mount not in self._imports:
            self._imports[mount] = self._wrapped(mount)
        return dict(self._imports[mount])

    def _wrapped(self, mount: str) -> dict[str, Any]:
        answer = self.operate("GET", f"{mount}/wrapping_key").document
        wrapping = serialization.load_pem_public_key(answer["data"]["public_key"].encode())
        assert isinstance(wrapping, rsa.RSAPublicKey)
        inner = os.urandom(32)
        digest = hashes.SHA256()
        oaep = padding.OAEP(padding.MGF1(digest), digest, None)
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        blob = wrapping.encrypt(inner, oaep) + aes_key_wrap_with_padding(inner, key)
        return {
            "type": "rsa-2048",
            "hash_function": "SHA256",
            "exportable": mount.endswith("-tls"),
            "allow_rotation": True,
            "ciphertext": base64.b64encode(blob).decode(),
        }
