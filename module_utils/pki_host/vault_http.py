# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP from a host to the key server: what unwrapping a key and fetching one have in common.

No error carries a token, a credential or a word of the server's: it may send back what it got.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import HostError

OK, FORBIDDEN, SEALED = 200, 403, 503
_NO_CONTENT = 204
_MAX_ANSWER = 1 << 20
_ONE_PRIVATE_KEY = re.compile(
    rb"\s*-----BEGIN (RSA )?PRIVATE KEY-----\s[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----\s*"
)


@dataclass(frozen=True)
class VaultAddress:
    """Where the host reaches the key server, and the CA that vouches for it (PEM text).

    ``address`` may be several, separated by commas: the next one is asked when one cannot be
    reached or is sealed.
    """

    address: str
    ca_pem: str
    namespace: str = ""
    timeout_seconds: float = 30.0

    @property
    def each(self) -> tuple[str, ...]:
        return tuple(one.strip().rstrip("/") for one in self.address.split(",") if one.strip())


@dataclass(frozen=True)
class ClientCertificate:
    """Files of the host's own TLS identity, which it shows to the key server."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Answer:
    """What the server said. ``words`` are its errors in lower case: to be compared, not shown."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    words: str = field(default="", repr=False)

    @property
    def data(self) -> Mapping[str, Any]:
        data = self.document.get("data")
        return data if isinstance(data, dict) else {}


def call(
    vault: VaultAddress,
    path: str,
    *,
    token: str | None = None,
    body: Mapping[str, str] | None = None,
    client: ClientCertificate | None = None,
    method: str = "POST",
) -> Answer:
    """One request; an answer of any HTTP status is returned.

    Raises HostError VAULT-UNREACHABLE, VAULT-TLS or VAULT-CREDENTIALS.
    """
    unreachable: HostError | None = None
    sealed: Answer | None = None
    for address in vault.each or ("",):
        try:
            answer = _ask(
                vault, address, _request(vault, address, path, token, body, method), client
            )
        except _NotSent as exc:
            # Only what never reached a server may be sent again: a token serves once.
            unreachable = exc.error
            continue
        if answer.status != SEALED:
            return answer
        sealed = answer
    if sealed is not None:
        return sealed
    assert unreachable is not None
    raise unreachable


class _NotSent(Exception):
    """The request did not get to the server."""

    def __init__(self, error: HostError) -> None:
        super().__init__()
        self.error = error


def _request(
    vault: VaultAddress,
    address: str,
    path: str,
    token: str | None,
    body: Mapping[str, str] | None,
    method: str,
) -> urllib.request.Request:
    request = urllib.request.Request(
        f"{address}/v1/{path}",
        data=json.dumps(dict(body or {})).encode() if method == "POST" else None,
        headers={"Content-Type": "application/json", "X-Vault-Request": "true"},
        method=method,
    )
    if token is not None:
        request.add_unredirected_header("X-Vault-Token", token)
    if vault.namespace:
        request.add_header("X-Vault-Namespace", vault.namespace)
    return request


def _ask(
    vault: VaultAddress,
    address: str,
    request: urllib.request.Request,
    client: ClientCertificate | None,
) -> Answer:
    opener = _opener(vault, address, client)
    sent = True
    try:
        with opener.open(request, timeout=vault.timeout_seconds) as response:
            if response.status == _NO_CONTENT:
                return Answer(OK, {})
            document = json.loads(response.read(_MAX_ANSWER))
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(exc.code, {}, _words(exc))
    except urllib.error.URLError as exc:
        # Connecting, the handshake and sending: what comes after them is raised as it is.
        sent, error = False, _unreachable(vault, address, exc)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        error = _unreachable(vault, address, exc)
    else:
        if isinstance(document, dict):
            return Answer(OK, document)
        error = _unreachable(vault, address, ValueError())
    # Outside the except blocks: the error of the HTTP library knows the request.
    raise error if sent else _NotSent(error)


def _words(exc: urllib.error.HTTPError) -> str:
    try:
        errors = json.loads(exc.read(_MAX_ANSWER)).get("errors")
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return ""
    return " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""


def private_key(document: Mapping[str, Any], key_path: str, address: str) -> bytes:
    """The one PEM private key in the answer of an export.

    ``key_path`` is ``<mount>/export/signing-key/<name>/<version>``. Raises HostError VAULT-ANSWER
    for anything else.
    """
    version = key_path.rsplit("/", 1)[-1]
    try:
        pem: bytes = document["data"]["keys"][version].encode("ascii")
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        pem = b""
    if not _ONE_PRIVATE_KEY.fullmatch(pem):
        raise HostError(
            "the secret that came is not one private key",
            rule="VAULT-ANSWER",
            found="an answer of another shape",
            expected=f"version {version} as one unencrypted PEM private key",
            where=f"{address} {key_path}",
            next_step="check that the export path is that of a transit key",
        )
    return pem if pem.endswith(b"\n") else pem + b"\n"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token must not travel to an address the inventory does not name."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def _opener(
    vault: VaultAddress, address: str, client: ClientCertificate | None
) -> urllib.request.OpenerDirector:
    if not address.startswith("https://"):
        raise HostError(
            "keys are fetched over TLS only",
            rule="VAULT-TLS",
            found=address,
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
            where=address,
            next_step="correct the CA file option; never switch verification off",
        ) from None
    if client is not None:
        _show(context, client)
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # the environment's proxy has no business here
        urllib.request.HTTPSHandler(context=context),
        _NoRedirect(),
    )


def _show(context: ssl.SSLContext, client: ClientCertificate) -> None:
    try:
        # Without a password an encrypted key would make Python ask for one on the terminal.
        context.load_cert_chain(client.certificate, client.key, password="")
    except (OSError, ValueError):  # SSLError is an OSError
        pass
    else:
        return
    raise HostError(
        "this host's own TLS identity cannot be used",
        rule="VAULT-CREDENTIALS",
        found="no PEM certificate with its unencrypted private key",
        expected="two readable PEM files that belong together",
        where=f"{client.certificate} and {client.key}",
        next_step="correct client_cert and client_key of the host's login; nothing was sent",
    )


def _unreachable(vault: VaultAddress, address: str, exc: Exception) -> HostError:
    reason = getattr(exc, "reason", exc)
    if isinstance(reason, ssl.SSLError):
        return HostError(
            "the key server's certificate is not trusted by this host",
            rule="VAULT-TLS",
            found=str(getattr(reason, "verify_message", "")) or "TLS failed",
            expected="a certificate of the configured CA for this name",
            where=address,
            next_step="correct the CA file or the address; never switch verification off",
        )
    return HostError(
        "this host cannot reach the key server",
        rule="VAULT-UNREACHABLE",
        found=str(getattr(reason, "strerror", "") or type(reason).__name__),
        expected=f"an answer within {vault.timeout_seconds:.0f} s",
        where=address,
        next_step="open the way from this host to that address, then run again",
    )
