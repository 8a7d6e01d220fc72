# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a gateway as its peers do, byte by byte, and tells how that ended."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = {"TLSv1.2": TLS12, "TLSv1.3": TLS13}
GET = b"GET / HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """Status of the first answer and everything after the head; 0 when the connection ended."""

    status: int
    head: str = ""
    body: bytes = b""
    version: str = ""
    cipher: str = ""
    closed: bool = False

    @property
    def seen(self) -> dict[str, Any]:
        """What the application says it was sent."""
        return dict(json.loads(self.body))

    def header(self, name: str) -> list[str]:
        """Values that the application got for a header."""
        return [value for key, value in self.seen["headers"] if key == name.lower()]


def context(
    identity: Path | None,
    *,
    version: ssl.TLSVersion | None = None,
    ciphers: str = "",
) -> ssl.SSLContext:
    """A client that does not look at the gateway's certificate: others do that."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    if identity is not None:
        made.load_cert_chain(identity)
    return made


@contextlib.contextmanager
def connected(port: int, tls: ssl.SSLContext | None, session: ssl.SSLSession | None = None) -> Any:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        if tls is None:
            yield plain
            return
        with tls.wrap_socket(plain, server_hostname="gateway.example", session=session) as wrapped:
            yield wrapped


def ask(port: int, tls: ssl.SSLContext | None, raw: bytes = GET) -> Answer:
    """One connection, one request; a connection that ends early is status 0."""
    with connected(port, tls) as connection:
        version = cipher = ""
        if isinstance(connection, ssl.SSLSocket):
            version, cipher = str(connection.version()), str((connection.cipher() or ("",))[0])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            connection.sendall(raw)
        answer = receive(connection)
        return Answer(answer.status, answer.head, answer.body, version, cipher, answer.closed)


def receive(connection: socket.socket) -> Answer:
    """The next answer on a connection, whole; ``closed`` says that the connection ends after it."""
    data, closed = b"", False
    while not closed and not _whole(data):
        try:
            more = connection.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            more = b""
        data, closed = data + more, not more
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    text = head.decode("latin-1")
    closed = closed or "connection: close" in text.lower()
    return Answer(status, text, body, closed=closed)


def _whole(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    lines = [line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:]]
    lengths = [int(line[1]) for line in lines if line[0] == b"content-length"]
    return bool(lengths) and len(body) >= lengths[0]


def request(
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    close: bool = False,
) -> bytes:
    """A request as bytes; the length is said unless the headers say how the body ends."""
    said = {"Host": "gateway.example", **(headers or {})}
    if body and "Transfer-Encoding" not in said and "Content-Length" not in said:
        said["Content-Length"] = str(len(body))
    if close:
        said["Connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def openssl(port: int, *options: str, feed: bytes = b"", seconds: float = 10) -> str:
    """All that ``openssl s_client`` says, with what is typed into it."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        input=feed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")
