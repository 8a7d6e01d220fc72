# SPDX-License-Identifier: GPL-3.0-or-later
"""One whole TLS handshake and perhaps one request, and everything that was seen on the way.

The peer is not verified on purpose: what it presents is carried away as bytes and judged
elsewhere. What is read of the handshake itself comes from the library's trace of messages.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import warnings
from dataclasses import dataclass, field
from typing import Any

SECONDS = 5.0
_CERTIFICATE, _CERTIFICATE_REQUEST = 11, 13
_ALERT, _HANDSHAKE = 21, 22
_MOST = 12  # certificates of a chain that are kept


@dataclass
class Seen:
    """What one connection showed; ``alert`` is -1 and ``status`` 0 when there was none."""

    completed: bool = False
    protocol: str = ""
    chain: list[bytes] = field(default_factory=list)
    requested: bool = False
    resumed: bool = False
    alert: int = -1
    status: int = 0
    problem: str = ""
    session: Any = None


@dataclass(frozen=True)
class Identity:
    """Paths of a client's PEM chain and key."""

    certificate: str
    key: str


def context_of(version: int = 0, identity: Identity | None = None) -> ssl.SSLContext:
    """A client that verifies nobody; ``version`` is the only one it speaks, 0 for any.

    Raises:
        OSError: the identity cannot be read, or is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.maximum_version = ssl.TLSVersion(version)
            context.minimum_version = ssl.TLSVersion(version)
    if identity is not None:
        # A passphrase is never asked for at a terminal.
        context.load_cert_chain(identity.certificate, identity.key, lambda: "")
    return context


def connect(
    context: ssl.SSLContext,
    address: str,
    port: int,
    name: str,
    *,
    ask: bool = True,
    session: Any = None,
    seconds: float = SECONDS,
) -> Seen:
    """Handshake, with ``ask`` one GET, and close. Never raises for what the peer does."""
    seen = Seen()
    context._msg_callback = _listener(seen)  # type: ignore[attr-defined]
    try:
        with socket.create_connection((address, port), timeout=seconds) as plain:
            _speak(context, plain, name, ask, session, seen)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        if not seen.problem and seen.alert < 0:
            seen.problem = _why(exc)
    return seen


def _speak(
    context: ssl.SSLContext, plain: socket.socket, name: str, ask: bool, session: Any, seen: Seen
) -> None:
    with context.wrap_socket(plain, server_hostname=name or None, session=session) as tls:
        seen.completed = True
        seen.protocol = tls.version() or ""
        seen.resumed = bool(tls.session_reused)
        if ask:
            try:
                seen.status = request(tls, name)
            finally:
                # Tickets of TLS 1.3 come with the first data, whatever that says.
                seen.session = tls.session


def request(connection: Any, name: str) -> int:
    """Send one GET over a socket and return the status of the answer; 0 when there is none."""
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode("ascii", "ignore")
    )
    response = http.client.HTTPResponse(connection)
    with contextlib.closing(response):
        try:
            response.begin()
            response.read(1 << 16)
        except http.client.HTTPException:
            return int(getattr(response, "status", 0) or 0) if response.headers else 0
        return int(response.status)


def call(address: str, port: int, name: str, seconds: float = SECONDS) -> int:
    """One GET over plain http; 0 when nobody answers."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as plain:
            return request(plain, name)
    except OSError:
        return 0


def _listener(seen: Seen) -> Any:
    def hear(
        _connection: Any, direction: str, _version: Any, content: Any, kind: Any, data: bytes
    ) -> None:
        if direction != "read":
            return
        if int(content) == _ALERT and len(data) >= 2 and data[1] != 0:  # 0 is a polite goodbye
            seen.alert = data[1]
        if int(content) == _HANDSHAKE and int(kind) == _CERTIFICATE_REQUEST:
            seen.requested = True
        if int(content) == _HANDSHAKE and int(kind) == _CERTIFICATE:
            seen.chain = certificates(data)

    return hear


def certificates(message: bytes) -> list[bytes]:
    """The certificates (DER) of a Certificate message, of TLS 1.3 or before; leaf first."""
    body = message[4:]
    # The list's length fills the rest exactly; in TLS 1.3 one byte of context goes before.
    if len(body) >= 3 and int.from_bytes(body[:3], "big") == len(body) - 3:
        return _certificates(body[3:], False)
    context = body[0] + 1 if body else 0
    return _certificates(body[context + 3 :], True)


def _certificates(data: bytes, modern: bool) -> list[bytes]:
    found: list[bytes] = []
    while len(data) >= 3 and len(found) < _MOST:
        length = int.from_bytes(data[:3], "big")
        found.append(data[3 : 3 + length])
        data = data[3 + length :]
        if modern:
            data = data[2 + int.from_bytes(data[:2], "big") :]
    return found


def _why(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return str(exc.reason or "TLS failed")
    if isinstance(exc, socket.timeout):
        return "timed out"
    return str(getattr(exc, "strerror", "") or type(exc).__name__)
