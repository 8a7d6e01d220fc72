# SPDX-License-Identifier: GPL-3.0-or-later
"""Unwrap one private key on the host it is meant for.

The token is the only credential. It is single-use, so a failing unwrap means somebody
else was faster or the token is too old: that is an alarm, not a retry. Before the token
is spent, the server is asked what it was made for; a token exchanged on its way for
another one would otherwise install a stranger's key.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from .errors import HostError

_WRAP_LOST = (400, 404)
_MAX_ANSWER = 1 << 20
_PASSPHRASE = re.compile(r"[0-9a-f]{64}")
_ONE_PRIVATE_KEY = re.compile(
    rb"\s*-----BEGIN (RSA )?PRIVATE KEY-----\s[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----\s*"
)


@dataclass(frozen=True)
class VaultAddress:
    """Where the host reaches the key server, and the CA that vouches for it (PEM text)."""

    address: str
    ca_pem: str
    namespace: str = ""
    timeout_seconds: float = 30.0


def unwrap_key(vault: VaultAddress, token: str, key_path: str) -> bytes:
    """The PEM private key behind ``token``.

    ``key_path`` is ``<mount>/export/signing-key/<name>/<version>`` and must be the very
    path the token was created on. Raises HostError VAULT-WRAP-USED, VAULT-WRAP-PATH,
    VAULT-UNREACHABLE, VAULT-TLS or VAULT-ANSWER; no error carries the token or the key.
    """
    answer = _unwrapped(vault, token, key_path)
    version = key_path.rsplit("/", 1)[-1]
    try:
        pem: bytes = answer["data"]["keys"][version].encode("ascii")
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        pem = b""
    if not _ONE_PRIVATE_KEY.fullmatch(pem):
        raise HostError(
            "the unwrapped secret is not one private key",
            rule="VAULT-ANSWER",
            found="an answer of another shape",
            expected=f"version {version} as one unencrypted PEM private key",
            where=f"{vault.address} {key_path}",
            next_step="check that the export path is that of a transit key",
        )
    return pem if pem.endswith(b"\n") else pem + b"\n"


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


def _unwrapped(vault: VaultAddress, token: str, path: str) -> dict[str, Any]:
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
) -> dict[str, Any]:
    request = urllib.request.Request(
        "{}/v1/{}".format(vault.address.rstrip("/"), path),
        data=json.dumps(body or {}).encode(),
        headers={"Content-Type": "application/json", "X-Vault-Request": "true"},
        method="POST",
    )
    if token is not None:
        request.add_unredirected_header("X-Vault-Token", token)
    if vault.namespace:
        request.add_header("X-Vault-Namespace", vault.namespace)
    try:
        with _opener(vault).open(request, timeout=vault.timeout_seconds) as response:
            answer = json.loads(response.read(_MAX_ANSWER))
    except urllib.error.HTTPError as exc:
        status = exc.code
        exc.close()
        raise _refused(vault, path, key_path, status) from None
    except (OSError, ValueError) as exc:
        raise _unreachable(vault, exc) from None
    if not isinstance(answer, dict):
        raise _unreachable(vault, ValueError())
    return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token must not travel to an address the inventory does not name."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def _opener(vault: VaultAddress) -> urllib.request.OpenerDirector:
    if not vault.address.startswith("https://"):
        raise HostError(
            "keys are fetched over TLS only",
            rule="VAULT-TLS",
            found=vault.address,
            expected="an address beginning with https://",
            where="the host's vault address",
            next_step="correct the address in the inventory",
        )
    try:
        context = ssl.create_default_context(cadata=vault.ca_pem or None)
    except ssl.SSLError:
        raise HostError(
            "the CA file of the key server holds no certificate",
            rule="VAULT-TLS",
            found="text that is not PEM",
            expected="the PEM certificate of the CA that issued the server's certificate",
            where=vault.address,
            next_step="correct the CA file option; never switch verification off",
        ) from None
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # the environment's proxy has no business here
        urllib.request.HTTPSHandler(context=context),
        _NoRedirect(),
    )


def _refused(vault: VaultAddress, path: str, key_path: str, status: int) -> HostError:
    if status in _WRAP_LOST:
        return HostError(
            "the wrapped key was already taken or its token has expired: possible interception",
            rule="VAULT-WRAP-USED",
            found=f"status {status} from {path}",
            expected="a token nobody used before this host",
            where=f"{vault.address} {key_path}",
            next_step="look in the server's audit log for sys/wrapping/unwrap since this run "
            "began: an unwrap from another address means the key is compromised (revoke and "
            "reissue); none means the token expired on its way, so run again",
        )
    reasons = {403: "the server refused", 503: "the server is sealed or not active"}
    return HostError(
        "the key server did not hand over the key",
        rule="VAULT-SEALED" if status == 503 else "VAULT-ANSWER",
        found=f"{reasons.get(status, 'unexpected')}: status {status} from {path}",
        expected="status 200",
        where=f"{vault.address} {key_path}",
        next_step="unseal the server" if status == 503 else "read the server's log for this path",
    )


def _unreachable(vault: VaultAddress, exc: Exception) -> HostError:
    reason = getattr(exc, "reason", exc)
    if isinstance(reason, ssl.SSLError):
        return HostError(
            "the key server's certificate is not trusted by this host",
            rule="VAULT-TLS",
            found=str(getattr(reason, "verify_message", "")) or "TLS failed",
            expected="a certificate of the configured CA for this name",
            where=vault.address,
            next_step="correct the CA file or the address; never switch verification off",
        )
    return HostError(
        "this host cannot reach the key server",
        rule="VAULT-UNREACHABLE",
        found=str(getattr(reason, "strerror", "") or type(reason).__name__),
        expected=f"an answer within {vault.timeout_seconds:.0f} s",
        where=vault.address,
        next_step="open the way from this host to that address, then run again",
    )
