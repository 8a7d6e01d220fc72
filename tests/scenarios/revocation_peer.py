# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host of another party: calls a gateway in three ways until it is refused in all.

``revocation_peer.py GATEWAY-ADDRESS PORT NAME DIRECTORY-OF-THE-PEER CA-FILE SECONDS`` writes a JSON
object: for each way the moment (epoch seconds) of its last answer 200, and how often it was let in.
A way counts as ended when it was refused for two seconds on end. Python 3.9 and its library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

ENOUGH = 2.0  # seconds of refusals
PAUSE = 0.2


class Peer:
    """One party: its certificate, and whom it calls."""

    def __init__(self, address: str, port: int, name: str, directory: str, ca: str) -> None:
        self.where, self.name = (address, port), name
        # Sessions of TLS 1.2 are resumed in the handshake itself, so that refusal is seen there.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_verify_locations(ca)
        self.context.load_cert_chain(f"{directory}/fullchain.pem", f"{directory}/key.pem")

    def connect(self, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(self.where, timeout=5)
        try:
            return self.context.wrap_socket(plain, server_hostname=self.name, session=session)
        except BaseException:
            plain.close()
            raise

    def ask(self, channel: ssl.SSLSocket) -> int:
        """The status of one request on an open connection."""
        channel.sendall(f"GET / HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(channel, method="GET")
        answer.begin()
        answer.read()
        return answer.status


class New:
    """A connection and a handshake for each request."""

    resumed = 0

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def __call__(self) -> int:
        with self.peer.connect() as channel:
            return self.peer.ask(channel)


class Resumed(New):
    """A handshake that resumes the session of the last one that was let in."""

    session: ssl.SSLSession | None = None

    def __call__(self) -> int:
        with self.peer.connect(self.session) as channel:
            status = self.peer.ask(channel)
            if status == 200:
                self.resumed += channel.session_reused
                self.session = channel.session
            return status


class Live(New):
    """One connection, used as long as it lasts, and another when it ended."""

    channel: ssl.SSLSocket | None = None

    def __call__(self) -> int:
        try:
            if self.channel is None:
                self.channel = self.peer.connect()
            return self.peer.ask(self.channel)
        except BaseException:
            if self.channel is not None:
                self.channel.close()
            self.channel = None
            raise


def follow(way: New, until: float, told: dict[str, Any]) -> None:
    """Ask again and again; ends when everything was refused for a while."""
    last, count = 0.0, 0
    while time.time() < until and not (last and time.time() - last > ENOUGH):
        try:
            if way() == 200:
                last, count = time.time(), count + 1
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(PAUSE)
    told.update(last=last, count=count, resumed=way.resumed, ended=time.time() < until)


def main(address: str, port: str, name: str, directory: str, ca: str, seconds: str) -> None:
    peer = Peer(address, int(port), name, directory, ca)
    ways: dict[str, Callable[[Peer], New]] = {"new": New, "resumed": Resumed, "live": Live}
    told: dict[str, dict[str, Any]] = {way: {} for way in ways}
    until = time.time() + float(seconds)
    threads = [
        threading.Thread(target=follow, args=(made(peer), until, told[way]))
        for way, made in ways.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
