# SPDX-License-Identifier: GPL-3.0-or-later
"""One request and its answer over http or https, against a clock that no server can stop.

A time limit of a socket begins anew with every byte. Here each wait, for a name, a connection, a
handshake, a header line or a piece of the body, also ends with the whole transfer's time.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

HTTP, HTTPS = "http", "https"
_PORTS = {HTTP: 80, HTTPS: 443}
_PRINTABLE = re.compile(r"[!-~]+")
_CREDENTIALS = re.compile(r"//[^/?#]*@")
_CORRECT = "correct the address where it is declared"


class Fault(Exception):
    """Why there is no answer: what was seen, what helps, and whether it may pass by itself.

    ``wait_seconds`` is what the server asked to be left alone for.
    """

    def __init__(
        self, found: str, next_step: str, *, passing: bool = False, wait_seconds: float = 0.0
    ) -> None:
        super().__init__(found)
        self.found = found
        self.next_step = next_step
        self.passing = passing
        self.wait_seconds = wait_seconds


class Clock:
    """How long one wait may last, and all of them together; seconds."""

    def __init__(self, each: float, total: float) -> None:
        self._each = each
        self._total = total
        self._end = time.monotonic() + total

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def wait(self) -> float:
        """The longest that the next wait may last; Fault when the time is over."""
        if self.left <= 0:
            raise self.over()
        return min(self._each, self.left)

    def over(self) -> Fault:
        """A wait has ended without anything."""
        step = "see whether a firewall or a proxy holds the connection up"
        if self.left <= 0:
            return Fault(f"not complete after {self._total:g} s", step)
        return Fault(f"no byte for {self._each:g} s", step, passing=True)


def without_credentials(url: str) -> str:
    """The address as it may be shown and kept."""
    return _CREDENTIALS.sub("//...@", url)


@dataclass(frozen=True)
class Target:
    """An address that may be asked."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Fault for anything but a plain http or https address without credentials."""
        if not _PRINTABLE.fullmatch(url):
            raise Fault("an address with a blank or another character out of place", _CORRECT)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Fault("an address that cannot be read", _CORRECT) from None
        scheme = parts.scheme.lower()
        if scheme not in _PORTS:
            raise Fault(
                f"an address of the kind {scheme or 'none'}:, not http: or https:", _CORRECT
            )
        if not host:
            raise Fault("an address without a host", _CORRECT)
        if "@" in parts.netloc:
            raise Fault("an address with credentials in it", "take the credentials out of it")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        clean = url.split("#", 1)[0]
        return cls(clean, scheme, host, _PORTS[scheme] if port is None else port, path)

    @property
    def authority(self) -> str:
        """As the Host header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@contextlib.contextmanager
def told(clock: Clock) -> Iterator[None]:
    """What the network, TLS or HTTP refuse, as a Fault."""
    try:
        yield
    except socket.timeout:
        raise clock.over() from None
    except ssl.SSLCertVerificationError as exc:
        raise Fault(
            f"TLS: {exc.verify_message}",
            "correct the address, or give this host the CA of that server; "
            "never switch verification off",
        ) from None
    except (http.client.IncompleteRead, ssl.SSLEOFError):
        raise _cut_short() from None
    except ssl.SSLError as exc:
        words = exc.reason or exc.strerror or "failed"
        raise Fault(f"TLS: {words}", "see whether that port speaks TLS") from None
    except http.client.RemoteDisconnected:
        raise Fault(
            "the connection was closed without an answer", "see that server's log", passing=True
        ) from None
    except (http.client.HTTPException, ValueError) as exc:
        raise Fault(
            f"not an HTTP answer ({type(exc).__name__})", "see what listens at that address"
        ) from None
    except OSError as exc:
        raise Fault(
            exc.strerror or type(exc).__name__, "see that server's log", passing=True
        ) from None


def _cut_short() -> Fault:
    return Fault("the answer was cut short", "see that server's log", passing=True)


class Answering:
    """An answer whose header has come: its status, header fields and body."""

    def __init__(self, response: http.client.HTTPResponse, clock: Clock) -> None:
        self._response = response
        self._clock = clock
        self.status = response.status

    def header(self, name: str) -> str:
        """The field's value, or nothing when it is absent or no plain text."""
        value = self._response.headers.get(name, "").strip()
        return value if value.isascii() and value.isprintable() else ""

    @property
    def announced(self) -> int | None:
        """The size that the server says the body has, if it says one."""
        return self._response.length

    def parts(self, size: int) -> Iterator[bytes]:
        """The body in pieces of at most ``size`` bytes; Fault when less came than announced."""
        while True:
            with told(self._clock):
                part = self._response.read1(size)
            if not part:
                break
            self._clock.wait()
            yield part
        if self._response.length:
            raise _cut_short()


@contextlib.contextmanager
def exchange(
    target: Target,
    clock: Clock,
    *,
    proxy: str = "",
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Iterator[Answering]:
    """Ask once: GET, or POST of a ``body``. The connection ends with the context. Raises Fault.

    ``proxy`` is an http address, or nothing; what the environment says of proxies is not read.
    """
    with contextlib.ExitStack() as open_now:
        by = _proxy(proxy) if proxy else None
        near = _reach(by or target, clock)
        open_now.callback(near.close)
        with told(clock):
            if target.scheme == HTTPS:
                near = _secured(near, target, clock, by)
                open_now.callback(near.close)
            connection = http.client.HTTPConnection(target.host, target.port)
            # From here http.client only ever calls sendall() and makefile() of it.
            connection.sock = cast("socket.socket", _Timed(near, clock))
            path = target.url if by and target.scheme == HTTP else target.path
            fields = {"Host": target.authority, "Connection": "close", **headers}
            connection.request("GET" if body is None else "POST", path, body, fields)
            response = connection.getresponse()
        open_now.callback(response.close)
        yield Answering(response, clock)


def _proxy(address: str) -> Target:
    try:
        proxy = Target.of(address)
    except Fault as fault:
        raise Fault(f"the proxy is {fault.found}", "correct the proxy's address") from None
    if proxy.scheme != HTTP:
        raise Fault("the proxy is an https: address", "give the proxy as http://host:port")
    return proxy


def _secured(near: socket.socket, target: Target, clock: Clock, by: Target | None) -> socket.socket:
    if by:
        _tunnel(near, target, clock)
    near.settimeout(clock.wait())
    # The socket's time bounds the whole handshake, not one read of it.
    return ssl.create_default_context().wrap_socket(near, server_hostname=target.host)


def _tunnel(near: socket.socket, target: Target, clock: Clock) -> None:
    host = f"[{target.host}]" if ":" in target.host else target.host
    there = f"{host}:{target.port}"
    timed = _Timed(near, clock)
    timed.sendall(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n".encode("ascii"))
    answer = http.client.HTTPResponse(cast("socket.socket", timed), method="CONNECT")
    answer.begin()
    if answer.status != http.client.OK:
        raise Fault(
            f"the proxy said {said(answer.status)} to {there}",
            "have the proxy let this host through to it",
            passing=answer.status >= http.client.INTERNAL_SERVER_ERROR,
        )


def said(status: int) -> str:
    """A status with its standard words; not the server's own."""
    return f"HTTP {status} {http.client.responses.get(status, '')}".strip()


def _reach(peer: Target, clock: Clock) -> socket.socket:
    """A connection to the first address of the host that takes one."""
    refused = []
    for family, kind, protocol, _, address in _addresses(peer, clock):
        longest = clock.wait()
        near = None
        try:
            near = socket.socket(family, kind, protocol)
            near.settimeout(longest)
            near.connect(address)
        except OSError as exc:
            if near is not None:
                near.close()
            words = "no answer" if isinstance(exc, socket.timeout) else exc.strerror
            refused.append(f"{address[0]} port {peer.port}: {words}")
        else:
            return near
    raise Fault(
        "; ".join(refused) or "a name without an address",
        f"let this host reach {peer.host} port {peer.port}, or name a proxy that does",
        passing=True,
    )


def _addresses(peer: Target, clock: Clock) -> list[Any]:
    """Every address of the name, in the order the system wants them tried."""
    found: list[Any] = []
    refused: list[str] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            refused.append(getattr(exc, "strerror", None) or "not a name")

    # The resolver knows no time limit of ours: it is left behind when it hangs.
    looking = threading.Thread(target=look_up, daemon=True)
    looking.start()
    looking.join(clock.wait())
    if found:
        return found
    reason = refused[0] if refused else "the name service did not answer"
    step = f"see whether this host can resolve {peer.host}, or name a proxy that can"
    raise Fault(f"{peer.host}: {reason}", step, passing=True)


class _Timed:
    """A connected socket as http.client uses one, each use of it within the clock."""

    def __init__(self, near: socket.socket, clock: Clock) -> None:
        self._near = near
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        # Since Python 3.5 the time bounds the sending of all the data.
        self._near.settimeout(self._clock.wait())
        self._near.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._near, self._clock))

    def close(self) -> None:
        """Whoever opened the socket closes it."""


class _Reader(io.RawIOBase):
    def __init__(self, near: socket.socket, clock: Clock) -> None:
        super().__init__()
        self._near = near
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._near.settimeout(self._clock.wait())
        return self._near.recv_into(buffer)
