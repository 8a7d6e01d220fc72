# SPDX-License-Identifier: GPL-3.0-or-later
"""What a live endpoint really does, seen from the client's side of one connection.

A configuration file says what somebody wanted; only a handshake says what is served. An
ordinary refusal (an alert, a closed connection, nobody listening) is an observation and
never an exception: callers compare observations with what they expected.

Refusals by the peer and refusals by ourselves are kept apart. ``alert`` is a number the
*peer* sent; ``local_error`` is why *we* gave up. A test that wants to see TLS 1.0 refused
would otherwise be satisfied by a client that cannot speak TLS 1.0.

All times are seconds; every connection ends before its ``timeout`` and is closed.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography import x509

from .errors import PkiError

BODY_LIMIT = 64 * 1024
"""Bytes of an answer that are kept; the rest is not read."""

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""Version names as OpenSSL reports a connection's protocol."""

# OpenSSL names the reason of a failure; these are the names it gives to alerts it has
# *received* (RFC 8446 section 6 and its predecessors). A name that is not here is ours.
ALERTS = {
    "SSLV3_ALERT_CLOSE_NOTIFY": 0,
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": 10,
    "SSLV3_ALERT_BAD_RECORD_MAC": 20,
    "TLSV1_ALERT_DECRYPTION_FAILED": 21,
    "TLSV1_ALERT_RECORD_OVERFLOW": 22,
    "SSLV3_ALERT_DECOMPRESSION_FAILURE": 30,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 40,
    "SSLV3_ALERT_NO_CERTIFICATE": 41,
    "SSLV3_ALERT_BAD_CERTIFICATE": 42,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 43,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": 44,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 45,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 46,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": 47,
    "TLSV1_ALERT_UNKNOWN_CA": 48,
    "TLSV1_ALERT_ACCESS_DENIED": 49,
    "TLSV1_ALERT_DECODE_ERROR": 50,
    "TLSV1_ALERT_DECRYPT_ERROR": 51,
    "TLSV1_ALERT_EXPORT_RESTRICTION": 60,
    "TLSV1_ALERT_PROTOCOL_VERSION": 70,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 71,
    "TLSV1_ALERT_INTERNAL_ERROR": 80,
    "TLSV1_ALERT_INAPPROPRIATE_FALLBACK": 86,
    "TLSV1_ALERT_USER_CANCELLED": 90,
    "TLSV1_ALERT_NO_RENEGOTIATION": 100,
    "TLSV13_ALERT_MISSING_EXTENSION": 109,
    "TLSV1_UNSUPPORTED_EXTENSION": 110,
    "TLSV1_CERTIFICATE_UNOBTAINABLE": 111,
    "TLSV1_UNRECOGNIZED_NAME": 112,
    "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE": 113,
    "TLSV1_BAD_CERTIFICATE_HASH_VALUE": 114,
    "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY": 115,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": 116,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": 120,
}


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """Paths of a client's PEM chain (leaf first) and of its key."""

    certificate_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session to offer again. OpenSSL resumes only inside the context that made it."""

    context: ssl.SSLContext = field(repr=False)
    value: ssl.SSLSession = field(repr=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one connection showed.

    Attributes:
        reached: a TCP connection was made.
        protocol: "TLSv1.2" and the like once a handshake completed, else None.
        cipher: OpenSSL's name of the cipher suite.
        alert: number of the alert the peer sent, None if it sent none.
        local_error: why this side gave up, "" if it did not.
        closed: the peer closed the connection before any answer.
        http_status: status of the HTTP answer.
        peer_serial: serial of the peer's leaf, lower-case hex without leading zeros.
        peer_sha256: SHA-256 of the peer's leaf (DER), lower-case hex.
        peer_not_after: end of the peer's leaf (aware UTC).
        resumed: the handshake was an abbreviated one.
        body: the answer's body, at most BODY_LIMIT bytes.
        session: what to offer to resume, None if the peer gave nothing.
    """

    reached: bool = False
    protocol: str | None = None
    cipher: str | None = None
    alert: int | None = None
    local_error: str = ""
    closed: bool = False
    http_status: int | None = None
    peer_serial: str | None = None
    peer_sha256: str | None = None
    peer_not_after: datetime | None = None
    resumed: bool = False
    body: bytes = b""
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The certificate an endpoint serves, or why none was seen. See :class:`Observation`."""

    sha256: str | None
    serial: str | None
    not_after: datetime | None
    error: str = ""


def connect(
    address: str,
    port: int,
    *,
    server_name: str,
    anchors_pem: str | None = None,
    client: ClientIdentity | None = None,
    minimum: str | None = None,
    maximum: str | None = None,
    session: Session | None = None,
    legacy: bool = False,
    request_path: str = "/",
    timeout: float = 5.0,
) -> Observation:
    """Handshake, send one GET, read the answer, close.

    An answer is read before anything is judged: in TLS 1.3 the client's handshake is over
    before the server has looked at the client's certificate.

    Args:
        server_name: name sent as SNI and Host and, with anchors, required of the peer.
        anchors_pem: PEM text to verify the peer against; None accepts any peer.
        minimum, maximum: keys of VERSIONS.
        session: offer this session; its context brings trust, identity and versions along.
        legacy: speak TLS 1.0 and 1.1 (unless bounded otherwise) with OpenSSL's security
            level 0, without which OpenSSL 3 refuses by itself.

    Raises:
        PkiError: the client's own material cannot be loaded (PROBE-CLIENT) or a version is
            unknown (PROBE-VERSION). Never for what the peer does.
    """
    if session is not None:
        context = session.context
    else:
        context = _context(anchors_pem, client, minimum, maximum, legacy)
    return _tls(address, port, server_name, context, session, request_path, timeout)


def request(
    address: str, port: int, *, host: str, request_path: str = "/", timeout: float = 5.0
) -> Observation:
    """One GET over plain HTTP: the loopback side of an egress gateway."""
    deadline = time.monotonic() + timeout
    raw, observation = _dial(address, port, deadline)
    if raw is None:
        return observation
    with contextlib.closing(raw):
        return _exchange(raw, raw.sendall, host, request_path, deadline, observation)


def served(address: str, port: int, server_name: str, *, timeout: float = 5.0) -> Served:
    """The leaf certificate an endpoint serves, whoever signed it. No request is sent."""
    context = _context(None, None, None, None, False)
    seen = _tls(address, port, server_name, context, None, None, timeout)
    if seen.peer_sha256 is not None:
        return Served(seen.peer_sha256, seen.peer_serial, seen.peer_not_after)
    if seen.alert is not None:
        return Served(None, None, None, f"TLS alert {seen.alert}")
    return Served(None, None, None, seen.local_error or "closed during the handshake")


def _context(
    anchors_pem: str | None,
    client: ClientIdentity | None,
    minimum: str | None,
    maximum: str | None,
    legacy: bool,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if anchors_pem is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context.load_verify_locations(cadata=anchors_pem)
        except (ssl.SSLError, ValueError) as exc:
            raise PkiError(
                "the probe's trust anchors cannot be read",
                rule="PROBE-CLIENT",
                found=type(exc).__name__,
                expected="one or more CA certificates in PEM",
                next_step="check the anchors that the probe was given",
            ) from None
    if legacy:
        context.set_ciphers("ALL:@SECLEVEL=0")
        minimum, maximum = minimum or "TLSv1", maximum or "TLSv1.1"
    # Python warns about TLS 1.0/1.1; proving that a peer refuses them is the purpose here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # Widest first: a minimum above the present maximum would be refused.
        context.maximum_version = _version(maximum) if maximum else ssl.TLSVersion.MAXIMUM_SUPPORTED
        if minimum:
            context.minimum_version = _version(minimum)
    if client is not None:
        _load_identity(context, client)
    return context


def _version(name: str) -> ssl.TLSVersion:
    if name not in VERSIONS:
        raise PkiError(
            f"{name!r} is not a TLS version the probe knows",
            rule="PROBE-VERSION",
            found=name,
            expected=", ".join(VERSIONS),
            next_step="use one of the names above",
        )
    return VERSIONS[name]


def _load_identity(context: ssl.SSLContext, client: ClientIdentity) -> None:
    def no_passphrase() -> str:
        # Without a callback OpenSSL asks at the terminal and a pipeline hangs for ever.
        raise ValueError("encrypted key")

    try:
        context.load_cert_chain(client.certificate_file, client.key_file, no_passphrase)
    except (OSError, ValueError) as exc:
        # ssl.SSLError is an OSError. Only its type is told: the text is about a key file.
        raise PkiError(
            "the probe's client certificate or key cannot be loaded",
            rule="PROBE-CLIENT",
            found=type(exc).__name__,
            expected="a PEM certificate chain and the unencrypted PEM key that belongs to it",
            where=f"{client.certificate_file}, {client.key_file}",
            next_step="check that both files exist, can be read and belong together",
        ) from None


def _remaining(deadline: float) -> float:
    # Zero would mean "non-blocking" to a socket, so an expired deadline stays a timeout.
    return max(0.001, deadline - time.monotonic())


def _dial(address: str, port: int, deadline: float) -> tuple[socket.socket | None, Observation]:
    try:
        raw = socket.create_connection((address, port), timeout=_remaining(deadline))
    except OSError as exc:
        return None, Observation(local_error=f"no TCP connection: {_why(exc)}")
    return raw, Observation(reached=True)


def _tls(
    address: str,
    port: int,
    server_name: str,
    context: ssl.SSLContext,
    session: Session | None,
    request_path: str | None,
    timeout: float,
) -> Observation:
    deadline = time.monotonic() + timeout
    raw, observation = _dial(address, port, deadline)
    if raw is None:
        return observation
    with contextlib.closing(raw):
        raw.settimeout(_remaining(deadline))
        try:
            tls = context.wrap_socket(
                raw,
                server_hostname=server_name,
                session=session.value if session else None,
            )
        except (OSError, ValueError) as exc:  # ValueError: a name OpenSSL cannot send
            return _refused(observation, exc)
    with contextlib.closing(tls):
        observation = _established(tls, observation)
        if request_path is None:
            return observation
        observation = _exchange(tls, tls.sendall, server_name, request_path, deadline, observation)
        # Tickets of TLS 1.3 come after the handshake, with the first data.
        kept = tls.session
        return replace(observation, session=Session(context, kept) if kept else None)


def _established(tls: ssl.SSLSocket, observation: Observation) -> Observation:
    der = tls.getpeercert(binary_form=True) or b""
    cipher = tls.cipher()
    serial, not_after = _leaf(der)
    return replace(
        observation,
        protocol=tls.version(),
        cipher=cipher[0] if cipher else None,
        resumed=bool(tls.session_reused),
        peer_sha256=sha256(der).hexdigest() if der else None,
        peer_serial=serial,
        peer_not_after=not_after,
    )


def _leaf(der: bytes) -> tuple[str | None, datetime | None]:
    try:
        leaf = x509.load_der_x509_certificate(der)
        return format(leaf.serial_number, "x"), leaf.not_valid_after_utc
    except ValueError:
        # A stranger may serve anything; its digest still tells what it was.
        return None, None


def _exchange(
    connection: socket.socket,
    send: Callable[[bytes], None],
    host: str,
    request_path: str,
    deadline: float,
    observation: Observation,
) -> Observation:
    head = f"GET {request_path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    received = bytearray()
    try:
        connection.settimeout(_remaining(deadline))
        send(head.encode("latin-1"))
    except OSError as exc:
        # The peer may have refused and hung up already. What it said is still to be read.
        observation = _refused(observation, exc)
    try:
        while len(received) < BODY_LIMIT and not _complete(bytes(received)):
            connection.settimeout(_remaining(deadline))
            data = connection.recv(16 * 1024)
            if not data:
                break
            received += data
    except OSError as exc:
        if not received:
            observation = _refused(observation, exc)
    if not received:
        nothing_said = observation.alert is None and not observation.local_error
        return replace(observation, closed=observation.closed or nothing_said)
    status, body = _answer(bytes(received))
    if status is None:
        return replace(observation, local_error="the answer is not HTTP")
    return replace(observation, http_status=status, body=body, closed=False, local_error="")


def _complete(received: bytes) -> bool:
    """Whether the announced length has arrived; a peer may leave the connection open."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


class _Replay:
    """The bytes already read, in the one shape http.client accepts."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _answer(received: bytes) -> tuple[int | None, bytes]:
    response = http.client.HTTPResponse(_Replay(received))  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read(BODY_LIMIT)
    except http.client.IncompleteRead as exc:
        body = exc.partial
    except (http.client.HTTPException, ValueError, OSError):
        return None, b""
    return response.status, body[:BODY_LIMIT]


def serials(endpoints: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str | None]]:
    """Serial that each endpoint presents, by certificate and host; None if it does not answer.

    ``endpoints`` are maps of certificate, host, address, port and server_name.
    """
    found: dict[str, dict[str, str | None]] = {}
    for endpoint in endpoints:
        seen = served(endpoint["address"], endpoint["port"], endpoint["server_name"])
        hosts = found.setdefault(str(endpoint["certificate"]), {})
        hosts[str(endpoint["host"])] = seen.serial or None
    return found


def _refused(observation: Observation, exc: Exception) -> Observation:
    """File a failure under the peer's alert, the peer's hanging up, or our own refusal."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return replace(observation, local_error=f"peer not trusted: {exc.verify_message}")
    if isinstance(exc, ssl.SSLEOFError | ConnectionError):
        return replace(observation, closed=True)
    if isinstance(exc, ssl.SSLError):
        reason = exc.reason or ""
        if reason in ALERTS:
            return replace(observation, alert=ALERTS[reason])
        if reason == "UNEXPECTED_EOF_WHILE_READING":
            return replace(observation, closed=True)
        return replace(observation, local_error=reason or "TLS failed")
    return replace(observation, local_error=_why(exc))


def _why(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return type(exc).__name__
