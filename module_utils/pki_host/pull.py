# SPDX-License-Identifier: GPL-3.0-or-later
"""A host fetches its own keys: it logs in as itself and reads what its identity is mapped to.

The answer is not wrapped: over TLS, to the identity that may read the key anyway, a wrapping adds
two calls and keeps nothing from anybody. The audit log names the host's entity, its address and
the key in the one line of the read, and never the key's content.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

from .errors import HostError
from .vault_http import FORBIDDEN, OK, SEALED, Answer, ClientCertificate, VaultAddress, call
from .vault_http import private_key as exported

_REFUSED_LOGIN = (400, 401, FORBIDDEN, 404)
# What the engine says to the number of a version that it does not hand out (any more).
_NO_VERSION = ("version does not exist", "below minimum decryption version")
_NOT_FOUND = 404
_TOKEN = re.compile(r"[!-~]+")  # anything else would break the header, or out of it
_ENTITY = re.compile(r"[0-9a-f-]{36}")
_MAX_SECRET_BYTES = 65536
NEEDS = {
    "approle": ("role_id_file", "secret_id_file"),
    "cert": ("client_cert", "client_key"),
}


@dataclass(frozen=True)
class Auth:
    """How a host logs in: places on the host, no secrets.

    ``mount`` is where the method is mounted, ``role`` the certificate role to use (empty: any).
    """

    method: str
    mount: str = ""
    role: str = ""
    role_id_file: str = ""
    secret_id_file: str = ""
    client_cert: str = ""
    client_key: str = ""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Auth:
        """From module parameters. Raises HostError VAULT-SETTINGS for what is missing."""
        auth = Auth(**{one.name: str(raw.get(one.name) or "") for one in fields(Auth)})
        missing = [name for name in NEEDS.get(auth.method, ("method",)) if not getattr(auth, name)]
        if missing:
            raise HostError(
                "this host's login to the key server lacks a part",
                rule="VAULT-SETTINGS",
                found="no " + " and no ".join(missing),
                expected="; ".join(f"{k}: {' and '.join(v)}" for k, v in NEEDS.items()),
                where="host_vault.auth",
                next_step="name the files on the host; never put a secret itself into an option",
            )
        return auth

    @property
    def path(self) -> str:
        return f"auth/{(self.mount or self.method).strip('/')}/login"


class Session:
    """One login of a host, made when the first key is wanted and ended with its token."""

    def __init__(self, vault: VaultAddress, auth: Auth) -> None:
        self._vault = vault
        self._auth = auth
        self._token = ""

    def key(self, key_path: str) -> bytes:
        """The PEM private key at ``<mount>/export/signing-key/<name>/<version>``.

        Raises HostError VAULT-LOGIN, VAULT-DENIED, VAULT-NOT-FOUND, VAULT-SEALED,
        VAULT-CREDENTIALS, VAULT-UNREACHABLE, VAULT-TLS or VAULT-ANSWER; none carries a
        credential, the token or the key.
        """
        if not self._token:
            self._token = self._login()
        answer = call(self._vault, key_path, token=self._token, method="GET")
        if answer.status != OK:
            raise self._not_handed_over(answer, key_path)
        return exported(answer.document, key_path, self._vault.address)

    def close(self) -> None:
        """Revoke the token, as far as the server listens; it ends by itself soon enough."""
        if self._token:
            with contextlib.suppress(HostError):
                call(self._vault, "auth/token/revoke-self", token=self._token)
            self._token = ""

    def _login(self) -> str:
        auth, client = self._auth, None
        if auth.method == "approle":
            body = {
                "role_id": _secret(auth.role_id_file, "role_id_file"),
                "secret_id": _secret(auth.secret_id_file, "secret_id_file"),
            }
        else:
            _opened(auth.client_key, "client_key").close()
            body = {"name": auth.role} if auth.role else {}
            client = ClientCertificate(auth.client_cert, auth.client_key)
        answer = call(self._vault, auth.path, body=body, client=client)
        if answer.status != OK:
            raise self._refused_login(answer.status)
        login = answer.document.get("auth")
        token = login.get("client_token") if isinstance(login, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._odd("a login answer without a token", self._auth.path)
        return token

    def _where(self, path: str) -> str:
        return f"{self._vault.address} {path}"

    def _refused_login(self, status: int) -> HostError:
        path = self._auth.path
        if status == SEALED:
            return self._sealed(path)
        if status not in _REFUSED_LOGIN:
            return self._odd(f"status {status}", path)
        if self._auth.method == "approle":
            expected = "a role id and a secret id that belong together and are still valid"
            hint = "is the secret id expired, used up or bound to another address? Issue a new one "
            hint += f"into {self._auth.secret_id_file}"
        else:
            expected = "a certificate that a role of this login trusts, and is not expired"
            hint = f"look at {self._auth.client_cert} and at the roles of auth/"
            hint += self._auth.path.split("/")[1] + "/certs"
        return HostError(
            "the key server refused this host's login",
            rule="VAULT-LOGIN",
            found=f"status {status}, method {self._auth.method}",
            expected=expected,
            where=self._where(path),
            next_step=f"{hint}; is the method mounted there? Nothing was written",
        )

    def _not_handed_over(self, answer: Answer, key_path: str) -> HostError:
        if answer.status == SEALED:
            return self._sealed(key_path)
        if answer.status == FORBIDDEN or answer.words == "forbidden":
            return self._denied(answer.status, key_path)
        known = any(words in answer.words for words in _NO_VERSION)
        if answer.status == _NOT_FOUND or known:
            return HostError(
                "the key server does not hand out this version of the key",
                rule="VAULT-NOT-FOUND",
                found=f"status {answer.status}: "
                + ("no such version, or one that was withdrawn" if known else "no such key"),
                expected="a version that is there and not withdrawn",
                where=self._where(key_path),
                next_step="compare it with the key's versions and min_decryption_version; a "
                "withdrawn version is not deployed again. Nothing was written",
            )
        return self._odd(f"status {answer.status}", key_path)

    def _denied(self, status: int, key_path: str) -> HostError:
        mount, _, _, name, _ = key_path.split("/")
        environment_class = mount.split("-")[1] if mount.count("-") > 1 else "<class>"
        return HostError(
            "this host's identity may not read the key",
            rule="VAULT-DENIED",
            found=f"status {status}; logged in as {self._identity()}",
            expected=f"an entity with the metadata mtls_key_{environment_class}_<n>={name}, and "
            "the policy for hosts that pull",
            where=self._where(key_path),
            next_step="is it this host's own identity? Then map the key to its entity (see "
            "docs/vault.md); names with + * / in any of the metadata shut out the whole identity. "
            "Nothing was written",
        )

    def _identity(self) -> str:
        """Who the server thinks we are, in words that are no secret."""
        with contextlib.suppress(HostError):
            data = call(self._vault, "auth/token/lookup-self", token=self._token, method="GET").data
            policies, entity = data.get("policies"), str(data.get("entity_id"))
            if isinstance(policies, list):
                # A server may answer anything, our own token as well.
                names = [str(name) for name in policies if self._token not in str(name)]
                known = entity if _ENTITY.fullmatch(entity) else "unknown"
                return f"entity {known}, policies {', '.join(names)}"
        return "somebody the server does not tell"

    def _sealed(self, path: str) -> HostError:
        return HostError(
            "the key server is sealed or not active",
            rule="VAULT-SEALED",
            found=f"status {SEALED}",
            expected="an unsealed, active server",
            where=self._where(path),
            next_step="unseal the server, then run again; nothing was written",
        )

    def _odd(self, found: str, path: str) -> HostError:
        return HostError(
            "the key server did not hand over the key",
            rule="VAULT-ANSWER",
            found=found,
            expected=f"status {OK} and what was asked for",
            where=self._where(path),
            next_step="read the server's log for this path; nothing was written",
        )


@contextlib.contextmanager
def session(vault: VaultAddress | None, auth: Mapping[str, Any] | None) -> Iterator[Session | None]:
    """A session for the time of a block; None where the host has no login of its own."""
    if vault is None or not auth:
        yield None
        return
    opened = Session(vault, Auth.of(auth))
    try:
        yield opened
    finally:
        opened.close()


def _secret(path: str, option: str) -> str:
    """The one word of a credential file."""
    with _opened(path, option) as stream:
        data = stream.read(_MAX_SECRET_BYTES + 1)
    word = data.decode("ascii", "replace").strip()
    whole = word.isascii() and word.isprintable() and len(word.split()) == 1
    if len(data) > _MAX_SECRET_BYTES or not whole:
        raise _unusable(path, option, f"{len(word.split())} words of text")
    return word


def _opened(path: str, option: str) -> BinaryIO:
    """The file, open, and nobody else's to read: what is checked is what is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise _unusable(path, option, exc.strerror or "unreadable") from None
    status = os.fstat(descriptor)
    found = ""
    if not stat.S_ISREG(status.st_mode):
        found = "not a regular file"
    elif status.st_mode & 0o077:
        found = f"mode {stat.S_IMODE(status.st_mode):04o}: others on this host could read it"
    elif status.st_uid not in (os.geteuid(), 0):
        found = f"owned by user id {status.st_uid}"
    if found:
        os.close(descriptor)
        raise _unusable(path, option, found)
    return os.fdopen(descriptor, "rb")


def _unusable(path: str, option: str, found: str) -> HostError:
    return HostError(
        "this host's credential for the key server cannot be used",
        rule="VAULT-CREDENTIALS",
        found=found,
        expected="a regular file of mode 0600, of root or of the user Ansible becomes",
        where=f"{path} ({option})",
        next_step="put the credential there; nothing was sent and nothing was written",
    )
