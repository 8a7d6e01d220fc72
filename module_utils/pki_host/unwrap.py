# SPDX-License-Identifier: GPL-3.0-or-later
"""Unwrap one private key on the host it is meant for.

The token is the only credential. It is single-use, so a failing unwrap means somebody
else was faster or the token is too old: that is an alarm, not a retry. Before the token
is spent, the server is asked what it was made for; a token exchanged on its way for
another one would otherwise install a stranger's key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import HostError
from .vault_http import OK, SEALED, VaultAddress, call, private_key

_WRAP_LOST = (400, 404)
_PASSPHRASE = re.compile(r"[0-9a-f]{64}")


def unwrap_key(vault: VaultAddress, token: str, key_path: str) -> bytes:
    """The PEM private key behind ``token``.

    ``key_path`` is ``<mount>/export/signing-key/<name>/<version>`` and must be the very
    path the token was created on. Raises HostError VAULT-WRAP-USED, VAULT-WRAP-PATH,
    VAULT-UNREACHABLE, VAULT-TLS or VAULT-ANSWER; no error carries the token or the key.
    """
    return private_key(_unwrapped(vault, token, key_path), key_path, vault.address)


def unwrap_passphrase(vault: VaultAddress, token: str, path: str) -> str:
    """The passphrase behind ``token``, made on ``path``: ``<kv mount>/data/passphrases/<key>``.

    The same errors as :func:`unwrap_key`; none carries the token or the passphrase.
    """
    answer = _unwrapped(vault, token, path)
    try:
        passphrase = answer["data"]["data"]["passphrase"]
    except (KeyError, TypeError):
        passphrase = None
    if isinstance(passphrase, str) and _PASSPHRASE.fullmatch(passphrase):
        return passphrase
    raise HostError(
        "the unwrapped secret is not a passphrase",
        rule="VAULT-ANSWER",
        found="an answer of another shape",
        expected="64 hexadecimal digits, as they were made for this key",
        where=f"{vault.address} {path}",
        next_step="find out who wrote to that path; keys that were encrypted with what stood "
        "there before need it back",
    )


def unwrap_entry(vault: VaultAddress, token: str, path: str) -> tuple[Mapping[str, Any], str]:
    """An entry of a KV engine, version 2, made on ``path``: its fields, and ``<version> <date>``.

    What the fields should hold is the caller's to say. The same errors as :func:`unwrap_key`; none
    carries the token or a field. VAULT-ANSWER, too, for what is no entry.
    """
    answer = _unwrapped(vault, token, path)
    try:
        fields, about = answer["data"]["data"], answer["data"]["metadata"]
        written = "%d %s" % (about["version"], about["created_time"])
    except (KeyError, TypeError):
        fields, written = None, ""
    if isinstance(fields, dict):
        return fields, written
    raise HostError(
        "the unwrapped secret is not an entry of a KV engine",
        rule="VAULT-ANSWER",
        found="an answer of another shape",
        expected="the fields of an entry, and which version of it they are",
        where=f"{vault.address} {path}",
        next_step="see that the mount is a KV engine of version 2; nothing was written",
    )


def _unwrapped(vault: VaultAddress, token: str, path: str) -> Mapping[str, Any]:
    """What is behind a token that was made on ``path``, and on no other."""
    created = _lookup(vault, token, path)
    if created != path:
        raise HostError(
            "the delivered token was made for another secret: possible interception",
            rule="VAULT-WRAP-PATH",
            found=created,
            expected=path,
            where=vault.address,
            next_step="treat it as an exchanged token: search the audit log for who wrapped "
            "the path found, then deliver again",
        )
    return _post(vault, "sys/wrapping/unwrap", token, None, path)


def _lookup(vault: VaultAddress, token: str, key_path: str) -> str:
    answer = _post(vault, "sys/wrapping/lookup", None, {"token": token}, key_path)
    data = answer.get("data")
    return str(data.get("creation_path", "")) if isinstance(data, dict) else ""


def _post(
    vault: VaultAddress,
    path: str,
    token: str | None,
    body: dict[str, str] | None,
    key_path: str,
) -> Mapping[str, Any]:
    answer = call(vault, path, token=token, body=body)
    if answer.status != OK:
        raise _refused(vault, path, key_path, answer.status)
    return answer.document


def _refused(vault: VaultAddress, path: str, key_path: str, status: int) -> HostError:
    if status in _WRAP_LOST:
        return HostError(
            "the wrapped key was already taken or its token has expired: possible interception",
            rule="VAULT-WRAP-USED",
            found=f"status {status} from {path}",
            expected="a token nobody used before this host",
            where=f"{vault.address} {key_path}",
            next_step="have the server's audit log looked at: ansible-playbook -i INVENTORY "
            'playbooks/verify.yml -e \'{"verify_audit_log": ["FILE"]}\'. A use from another '
            "address means that the key is compromised (playbooks/revoke.yml); none means "
            "that the token expired on its way, so run again",
        )
    reasons = {403: "the server refused", 503: "the server is sealed or not active"}
    return HostError(
        "the key server did not hand over the key",
        rule="VAULT-SEALED" if status == SEALED else "VAULT-ANSWER",
        found=f"{reasons.get(status, 'unexpected')}: status {status} from {path}",
        expected="status 200",
        where=f"{vault.address} {key_path}",
        next_step="unseal the server"
        if status == SEALED
        else "read the server's log for this path",
    )
