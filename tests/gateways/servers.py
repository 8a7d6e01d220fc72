# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands on the other side of a gateway: applications and far ends that take notes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """What a server saw.

    Attributes:
        connections: how many were opened to it.
        handshakes: for each that came to TLS, whether a session was taken up again.
        requests: method, path and connection number of every request, also unanswered ones.
    """

    connections: int = 0
    handshakes: list[bool] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def count(self, method: str, path: str) -> int:
        return sum(one[:2] == (method, path) for one in self.requests)


class Server:
    """A small HTTP/1.1 server that answers with what it was sent, as JSON.

    ``context`` makes it speak TLS. ``drops`` is how many requests, each the second one or a later
    one of its connection, are read and then not answered: the connection is cut.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.notes = Notes()
        self.drops = 0
        self._context = context
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def cut(self) -> None:
        """End every connection, as a far end does that was restarted, and let that be noticed."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        time.sleep(0.1)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.notes.connections += 1
                number = self.notes.connections
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        self._open.add(plain)
        connection = plain
        try:
            with contextlib.suppress(OSError, ValueError):
                if self._context is not None:
                    connection = self._context.wrap_socket(plain, server_side=True)
                    self._open.add(connection)  # the plain one has given its descriptor away
                    self.notes.handshakes.append(bool(connection.session_reused))
                self._answer(connection, number)
        finally:
            self._open -= {plain, connection}
            connection.close()

    def _answer(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rwb") as stream:
            served = 0
            while request := _read(stream):
                self.notes.requests.append((request["method"], request["path"], number))
                if served and self.drops:
                    self.drops -= 1
                    return
                served += 1
                body = json.dumps(request).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                stream.write(head.encode() + (b"" if request["method"] == "HEAD" else body))
                stream.flush()


def _read(stream: Any) -> dict[str, Any]:
    """The next request, empty at the end: method, path, headers as a list of pairs, and size."""
    words = stream.readline().decode("latin-1").split()
    if len(words) != 3:
        return {}
    headers: list[tuple[str, str]] = []
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name.strip().lower(), value.strip()))
    known = dict(headers)
    size = len(stream.read(int(known.get("content-length", 0))))
    while known.get("transfer-encoding") == "chunked":
        length = int(stream.readline(), 16)
        stream.read(length + 2)
        size += length
        if not length:
            break
    return {"method": words[0], "path": words[1], "headers": headers, "size": size}


@contextlib.contextmanager
def serving(port: int, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(port, context)
    try:
        yield server
    finally:
        server.close()
