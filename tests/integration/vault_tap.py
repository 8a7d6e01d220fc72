# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in front of a real OpenBao and learns every secret that passes.

The audit log holds only digests of tokens, so a search for leaked tokens has to know them
from elsewhere: this tap ends TLS with a certificate of its own, passes every request on to
the real server, and remembers credentials, tokens and keys. It can also alter an answer,
to be a server (or a proxy in between) that says what no healthy one would.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from integration.openbao_server import make_tls

MARK = b"-----BEGIN"


@dataclass(frozen=True)
class Exchange:
    """One request and what the real server said to it; ``began`` and ``ended`` in seconds of
    ``time.monotonic``."""

    method: str
    path: str
    token: str
    status: int
    body: bytes
    began: float = 0.0
    ended: float = 0.0


Alter = Callable[[Exchange], tuple[int, bytes] | None]


@dataclass
class Tap:
    """``address`` and ``ca_cert`` replace the real server's in a client's settings.

    ``upstream`` is the real server's port and its CA file, which may come to be later.
    ``alter`` may replace an answer; None passes the real one on. ``connections`` counts those
    that clients opened.
    """

    directory: Path
    upstream: tuple[int, Path]
    alter: Alter = lambda _exchange: None
    tokens: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    seen: list[Exchange] = field(default_factory=list)
    connections: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.server_port

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_cert(self) -> Path:
        return self.directory / "ca.pem"

    def start(self) -> Tap:
        self.directory.mkdir(mode=0o700)
        make_tls(self.directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Ask the real server and learn from what is asked and answered."""
        port, ca_cert = self.upstream
        context = ssl.create_default_context(cafile=str(ca_cert))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=300, context=context)
        began = time.monotonic()
        try:
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        token = headers.get("X-Vault-Token", "")
        exchange = Exchange(method, path, token, response.status, answer, began, time.monotonic())
        self._learn(exchange)
        return exchange

    def _learn(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        if exchange.token:
            self.tokens.add(exchange.token)
        try:
            document = json.loads(exchange.body)
        except ValueError:
            return
        for name, value in _strings(document):
            if name in ("client_token", "token"):
                self.tokens.add(value)
            elif "PRIVATE KEY-----" in value:
                self.keys.add(value)


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON document with the name of the field it stands in."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
    elif isinstance(value, str) and value:
        yield name, value


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS begins in the connection's own thread: a stuck client delays nobody."""
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:  # a client that does not trust the tap, or only looked if it listens
            return
        super().finish_request(secured, client_address)
        secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up as they like; what matters is what they print."""


def _handler(tap: Tap) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with tap.counting:
                tap.connections += 1

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # As text of one spelling: header names have no case, our look-ups do.
            headers = {
                "-".join(part.capitalize() for part in name.split("-")): value
                for name, value in self.headers.items()
                if name.lower() not in ("host", "connection", "content-length")
            }
            try:
                exchange = tap.forward(self.command, self.path, headers, body)
            except OSError:  # the real server is not up: nor is what stands before it
                self.close_connection = True
                return
            status, answer = tap.alter(exchange) or (exchange.status, exchange.body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = do_HEAD = pass_on

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
