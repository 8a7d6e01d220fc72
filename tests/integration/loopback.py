# SPDX-License-Identifier: GPL-3.0-or-later
"""Loopback peers that misbehave on purpose, as no healthy OpenBao can be made to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What a scripted server says to everything. ``status`` 0: it hangs up instead."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Peer:
    address: str
    seen: list[str] = field(default_factory=list)


@contextlib.contextmanager
def scripted(answer: Answer) -> Iterator[Peer]:
    """A plain http server that gives one answer; ``seen`` lists the requests it got."""
    peer = Peer("")

    class Handler(BaseHTTPRequestHandler):
        def answer_anything(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            peer.seen.append(f"{self.command} {self.path}")
            if not answer.status:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_LIST = answer_anything

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the requests are in ``seen``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    peer.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Relay:
    """Passes TCP on to a server and can lose answers, the requests having arrived.

    ``lose_next_answer``: the connection breaks instead of the next answer.
    ``withhold_answers``: nothing comes back and the connection stays, as from a server
    that is busy for longer than its client waits.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.lose_next_answer = threading.Event()
        self.withhold_answers = threading.Event()
        self.address = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _peer = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, answers), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers and self.lose_next_answer.is_set():
                    self.lose_next_answer.clear()
                    break
                if not (answers and self.withhold_answers.is_set()):
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
