# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server for CRLs that breaks on demand, and the CRLs it serves, made at test time.

``/<behaviour>`` shows that behaviour; ``switch()`` gives any other path one. Behaviours are the
names of ``CRLS`` (a CRL that is right or wrong, served well) and of ``MANNERS`` (a right CRL,
served badly).
"""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import hashlib
import http.server
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from unit import pki_factory as factory

HOUR = timedelta(hours=1)
#: The CRL number of what is there before anything breaks, and of what a right answer brings.
OLD, NEW = 10, 11
REVOKED, REVOKED_LATER = 0x1001, 0x1002
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
HTML = b"<!DOCTYPE html>\n<html><body>Please accept our cookies</body></html>\n"


@dataclass(frozen=True)
class Material:
    """A CA that publishes the CRLs, another one, and the moment around which they are made."""

    authority: factory.Authority
    other: factory.Authority
    now: datetime

    @classmethod
    def made(cls, now: datetime | None = None) -> Material:
        now = now or datetime.now(UTC).replace(microsecond=0)
        return cls(*(cls._authority(cn, now) for cn in ("Broken CA", "Other CA")), now)

    @staticmethod
    def _authority(cn: str, now: datetime) -> factory.Authority:
        return factory.authority(cn, start=now - 100 * factory.DAY, end=now + 3000 * factory.DAY)

    def crl(self, **changes: Any) -> bytes:
        """The DER of a CRL that is right, but for the changes."""
        plain = {
            "revoked": (REVOKED, REVOKED_LATER),
            "start": self.now - HOUR,
            "end": self.now + 23 * HOUR,
            "number": NEW,
            "revoked_at": self.now - 3 * HOUR,
        }
        return self.authority.crl(**{**plain, **changes})

    def old(self) -> bytes:
        """What is in use before the server breaks."""
        return self.crl(revoked=(REVOKED,), start=self.now - 2 * HOUR, number=OLD)

    def of(self, name: str) -> bytes:
        return CRLS[name](self)


def pem(der: bytes) -> bytes:
    """A CRL as PEM."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


CRLS: dict[str, Callable[[Material], bytes]] = {
    "old": Material.old,
    "der": Material.crl,
    "pem": lambda make: pem(make.crl()),
    "wrong_issuer": lambda make: make.other.crl(
        start=make.now - HOUR, end=make.now + 23 * HOUR, number=NEW
    ),
    "bad_signature": lambda make: make.crl(signer=make.other.private),
    "expired": lambda make: make.crl(start=make.now - 1.5 * HOUR, end=make.now - HOUR),
    "future": lambda make: make.crl(start=make.now + 2 * HOUR, end=make.now + 26 * HOUR),
    "no_end": lambda make: factory.without_next_update(make.crl(), make.authority.private),
    "sha1": lambda make: factory.with_sha1(make.crl(), make.authority.private),
    "older": lambda make: make.crl(start=make.now - 3 * HOUR, number=OLD - 1),
    "older_number": lambda make: make.crl(number=OLD - 1),
    # What is new since the full one, and no more.
    "delta": lambda make: make.crl(
        revoked=(REVOKED_LATER,), extensions=[(x509.DeltaCRLIndicator(OLD), True)]
    ),
    "indirect": lambda make: make.crl(extensions=[factory.idp(indirect_crl=True)]),
    "other_partition": lambda make: make.crl(
        extensions=[factory.idp("http://crl.example/partition-2.crl")]
    ),
    "other_scope": lambda make: make.crl(extensions=[factory.idp(only_contains_ca_certs=True)]),
    "unknown_critical": lambda make: make.crl(extensions=[(UNKNOWN, True)]),
    "serial_gone": lambda make: make.crl(revoked=(REVOKED_LATER,)),
    "html": lambda _: HTML,
    "empty": lambda _: b"",
}


@dataclass
class Request:
    """What somebody asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Pace:
    """Seconds and bytes of the slow manners; a test gives its own."""

    drip_seconds: float = 0.2
    hold_seconds: float = 30.0
    endless_bytes_per_second: int = 8_000_000
    fails_before_good: int = 1
    retry_after: str = "1"


@dataclass
class BrokenCrlServer:
    """``with BrokenCrlServer(material).running() as server:``; ``server.url("stall")``."""

    material: Material
    pace: Pace = field(default_factory=Pace)
    tls: ssl.SSLContext | None = None
    seen: list[Request] = field(default_factory=list)
    #: Where manners that redirect to another scheme lead.
    elsewhere: str = "127.0.0.1:9"
    #: What ``raw`` says instead of an HTTP answer.
    raw: bytes = b""
    #: The host that CONNECT leads to, whatever it asks for.
    tunnel_to: tuple[str, int] | None = None
    _plays: dict[str, str] = field(default_factory=dict)
    _cache: dict[str, bytes] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _server: _Server | None = None
    port: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[BrokenCrlServer]:
        self.up()
        try:
            yield self
        finally:
            self.down()

    def up(self) -> None:
        """Listen; at the same port as before, if there was one."""
        self._ended.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.broken = self
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Close the port, and let go of whoever is held."""
        self._ended.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/{path}"

    def switch(self, path: str, behaviour: str) -> None:
        """From now on ``path`` shows this behaviour."""
        assert behaviour in BEHAVIOURS, behaviour
        self._plays[path] = behaviour
        self._counts.pop(path, None)

    def behaviour(self, path: str) -> str:
        return self._plays.get(path, path.partition("/")[0])

    def content(self, name: str) -> bytes:
        """The bytes of a CRL of ``CRLS``; the same ones each time."""
        if name not in self._cache:
            self._cache[name] = self.material.of(name)
        return self._cache[name]

    def publish(self, name: str, content: bytes) -> None:
        """From now on the CRL of this name is these bytes."""
        self._cache[name] = content

    def count(self, path: str) -> int:
        """How often this was asked for the path before."""
        self._counts[path] = self._counts.get(path, 0) + 1
        return self._counts[path] - 1

    def pause(self, seconds: float) -> bool:
        """Wait; True when the server is going down."""
        return self._ended.wait(seconds)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    broken: BrokenCrlServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what these tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @property
    def broken(self) -> BrokenCrlServer:
        return self.server.broken

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.broken.seen.append(Request(self.command, self.path, headers, body))
        # A proxy is asked for the whole address.
        path = urlsplit(self.path).path.lstrip("/")
        behaviour = self.broken.behaviour(path)
        with contextlib.suppress(OSError):
            if behaviour in MANNERS:
                MANNERS[behaviour](self)
            elif behaviour in CRLS:
                self.whole(self.broken.content(behaviour))
            else:
                self.whole(b"no such behaviour\n", 404)

    do_GET = do_HEAD = do_POST = _answer

    def do_CONNECT(self) -> None:
        self.close_connection = True
        self.broken.seen.append(Request("CONNECT", self.path, {}))
        if self.broken.tunnel_to is None:
            self.whole(b"no\n", 403)
            return
        with socket.create_connection(self.broken.tunnel_to) as far:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            _splice(self.connection, far)

    def head(self, status: int = 200, **fields: str) -> None:
        """Status line and header; a name's underscores become hyphens."""
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()

    def whole(self, data: bytes, status: int = 200, **fields: str) -> None:
        self.head(status, **validators(data), Content_Length=str(len(data)), **fields)
        if self.command != "HEAD":
            self.wfile.write(data)

    def redirect(self, place: str) -> None:
        self.head(302, Location=place, Content_Length="0")

    def hold(self) -> None:
        """Say nothing more until the client gives up or the server ends."""
        end = time.monotonic() + self.broken.pace.hold_seconds
        while time.monotonic() < end and not self.broken.pause(0.05):
            if select.select([self.connection], [], [], 0)[0]:
                return  # it went away

    def good(self) -> bytes:
        return self.broken.content("der")

    @property
    def plain_path(self) -> str:
        return urlsplit(self.path).path.lstrip("/")


def validators(data: bytes) -> dict[str, str]:
    """ETag and date of these bytes; the date is that of their publication for a CRL."""
    with contextlib.suppress(ValueError):
        made = x509.load_der_x509_crl(data).last_update_utc
        # A wrong CRL must look like a newer one from outside.
        number = int(hashlib.sha256(data).hexdigest()[:4], 16) % 600
        stamp = email.utils.format_datetime(made + timedelta(seconds=number), usegmt=True)
        return {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"', "Last_Modified": stamp}
    return {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}


def _splice(near: socket.socket, far: socket.socket) -> None:
    while True:
        for ready in select.select([near, far], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (far if ready is near else near).sendall(data)


def _drip(handler: _Handler) -> None:
    data = handler.good()
    handler.head(Content_Length=str(len(data)))
    for octet in data:
        if handler.broken.pause(handler.broken.pace.drip_seconds):
            return
        handler.wfile.write(bytes([octet]))


def _drip_header(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.broken.pause(handler.broken.pace.drip_seconds):
        handler.wfile.write(b"X")


def _stall(handler: _Handler) -> None:
    data = handler.good()
    handler.head(Content_Length=str(len(data)))
    if handler.command != "HEAD":
        handler.wfile.write(data[: len(data) // 2])
        handler.hold()


def _endless(handler: _Handler) -> None:
    handler.head()
    if handler.command == "HEAD":
        return
    # It begins like a CRL; paced, so that whoever reads on does not eat the machine.
    part = handler.good() + bytes(handler.broken.pace.endless_bytes_per_second // 20)
    while not handler.broken.pause(0.05):
        handler.wfile.write(part)


def _truncated(handler: _Handler) -> None:
    data = handler.good()
    handler.head(Content_Length=str(len(data)), **validators(data))
    if handler.command != "HEAD":
        handler.wfile.write(data[: len(data) // 2])


def _truncated_chunks(handler: _Handler) -> None:
    handler.head(Transfer_Encoding="chunked")
    handler.wfile.write(b"1000\r\n" + handler.good()[:100])


def _cut_without_length(handler: _Handler) -> None:
    data = handler.good()
    handler.head(**validators(data))
    if handler.command != "HEAD":
        handler.wfile.write(data[: len(data) // 2])


def _short_length(handler: _Handler) -> None:
    data = handler.good()
    handler.head(Content_Length=str(len(data) // 2))
    if handler.command != "HEAD":
        handler.wfile.write(data)


def _huge_length(handler: _Handler) -> None:
    handler.head(Content_Length=str(10**10))
    if handler.command != "HEAD":
        handler.wfile.write(handler.good())


def _chunked(handler: _Handler) -> None:
    data = handler.good()
    handler.head(Transfer_Encoding="chunked")
    if handler.command != "HEAD":
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))


def _without_length(handler: _Handler) -> None:
    handler.head()
    if handler.command != "HEAD":
        handler.wfile.write(handler.good())


def _fails_then_good(handler: _Handler) -> None:
    if (
        handler.command == "HEAD"
        or handler.broken.count(handler.plain_path) < handler.broken.pace.fails_before_good
    ):
        handler.whole(b"oops\n", 500)
    else:
        handler.whole(handler.good())


def _busy_then_good(handler: _Handler) -> None:
    if (
        handler.command == "HEAD"
        or handler.broken.count(handler.plain_path) < handler.broken.pace.fails_before_good
    ):
        handler.whole(b"later\n", 429, Retry_After=handler.broken.pace.retry_after)
    else:
        handler.whole(handler.good())


def _conditional(handler: _Handler) -> None:
    """304 for who holds the CRL, as a well-behaved server answers."""
    data = handler.broken.content("old")
    fields = validators(data)
    asked = handler.headers.get("If-None-Match"), handler.headers.get("If-Modified-Since")
    if asked[0] == fields["ETag"] or (not asked[0] and asked[1] == fields["Last_Modified"]):
        handler.head(304, **fields)
    else:
        handler.whole(data)


def _chain(handler: _Handler) -> None:
    """``chain/5``: that many redirects, then the CRL."""
    name, _, left = handler.plain_path.partition("/")
    number = int(left or 5)
    handler.redirect(f"/{name}/{number - 1}" if number > 1 else "/der")


def _status(code: int, **fields: str) -> Callable[[_Handler], None]:
    return lambda handler: handler.whole(b"<html>no</html>\n", code, **fields)


def _gzip(handler: _Handler) -> None:
    handler.whole(gzip.compress(handler.good()), Content_Encoding="gzip")


def _raw(data: bytes) -> Callable[[_Handler], None]:
    return lambda handler: handler.wfile.write(data) and None


MANNERS: dict[str, Callable[[_Handler], None]] = {
    "drip": _drip,
    "drip_header": _drip_header,
    "stall": _stall,
    "stall_header": _Handler.hold,
    "not_found": _status(404),
    "gone": _status(410),
    "partial": _status(206),
    "fails": _status(500),
    "unavailable": _status(503),
    "fails_then_good": _fails_then_good,
    "busy_then_good": _busy_then_good,
    "truncated": _truncated,
    "truncated_chunks": _truncated_chunks,
    "cut_without_length": _cut_without_length,
    "short_length": _short_length,
    "huge_length": _huge_length,
    "chunked": _chunked,
    "without_length": _without_length,
    "endless": _endless,
    "redirect": lambda handler: handler.redirect("/der"),
    "redirect_loop": lambda handler: handler.redirect("/redirect_back"),
    "redirect_back": lambda handler: handler.redirect("/redirect_loop"),
    "redirect_nowhere": lambda handler: handler.head(302, Content_Length="0"),
    "redirect_ftp": lambda handler: handler.redirect(f"ftp://{handler.broken.elsewhere}/x.crl"),
    "redirect_file": lambda handler: handler.redirect("file:///etc/hostname"),
    "redirect_plain": lambda handler: handler.redirect(f"http://{handler.broken.elsewhere}/der"),
    "redirect_credentials": lambda handler: handler.redirect("http://u:s3cr3t@127.0.0.1/der"),
    "redirect_garbage": lambda handler: handler.redirect("http://[::1/x"),
    "chain": _chain,
    "conditional": _conditional,
    "not_modified": lambda handler: handler.head(304),
    "gzip": _gzip,
    "closes": lambda _: None,
    "not_http": _raw(b"220 mail.example ESMTP\r\n"),
    "raw": lambda handler: handler.wfile.write(handler.broken.raw) and None,
    "endless_header": _raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000),
}
BEHAVIOURS = frozenset(CRLS) | frozenset(MANNERS)


def tls_context(authority: factory.Authority, folder: Any, host: str = "127.0.0.1") -> Any:
    """A server's TLS context with a certificate of ``authority`` for an address on loopback."""
    import ipaddress

    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    now = datetime.now(UTC)
    der = authority.leaf(
        "crl server", extra=[(names, False)], start=now - HOUR, end=now + factory.DAY, cdp=None
    )
    pem = factory.pem(der) + factory.key("leaf").private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
