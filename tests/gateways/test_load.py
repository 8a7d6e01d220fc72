# SPDX-License-Identifier: GPL-3.0-or-later
"""The callers that count failures tell them apart: each kind is made to happen to them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateways.load import OK, Load, Settings
from integration.gateway_world import OURS, PEER, Authorities, key_pem, pem
from integration.own_ports import free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Behaviour = Callable[[socket.socket, int], None]


@dataclass(frozen=True)
class Files:
    """What both sides load: a CA, a server's and a client's chain with key, another CA."""

    root: str
    server: str
    client: str
    stranger: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    base, authorities = tmp_path_factory.mktemp("load"), Authorities()

    def write(name: str, text: str) -> str:
        path = Path(base, name)
        path.write_text(text)
        return str(path)

    def identity(common_name: str, label: str) -> str:
        chain = pem(authorities.leaf(common_name, label)) + pem(authorities.issuing)
        return write(f"{label}.pem", chain + key_pem(label))

    root = write("root.pem", pem(authorities.root))
    stranger = write("stranger.pem", pem(authorities.leaf("stranger", "stranger")))
    return Files(root, identity(OURS, "ours"), identity(PEER, "peer"), stranger)


@contextlib.contextmanager
def server(files: Files, behave: Behaviour, *, trusts: str = "") -> Iterator[int]:
    """Hands each connection to ``behave``, with its number; over TLS it wants a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusts or files.root)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # as a gateway without resumption: nothing comes before the answer
    context.load_cert_chain(files.server)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(number: int, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as one:
            behave(one, number)

    def accept() -> None:
        with contextlib.suppress(OSError):
            for number in range(1 << 30):
                raw, _ = listener.accept()
                threading.Thread(target=serve, args=(number, raw), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answers(one: socket.socket, number: int) -> None:
    while one.recv(1 << 16):
        one.sendall(ANSWER)


def ends(one: socket.socket, number: int) -> None:
    one.recv(1 << 16)


def resets(one: socket.socket, number: int) -> None:
    one.recv(1 << 16)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_silent(one: socket.socket, number: int) -> None:
    one.recv(1 << 16)
    threading.Event().wait(2)


def breaks_off(one: socket.socket, number: int) -> None:
    one.recv(1 << 16)
    one.sendall(ANSWER[:-1])


def refuses(one: socket.socket, number: int) -> None:
    one.recv(1 << 16)
    one.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def seen(port: int, files: Files, *, new: int = 1, kept: int = 0) -> Load:
    """The callers, once they have seen something."""
    load = Load(Settings(port, files.root, files.client, new, kept, timeout=0.5))
    load.start()
    for _ in range(500):
        if load.count >= 4 * new and load.connections >= 4 * kept:
            break
        threading.Event().wait(0.01)
    return load


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        (answers, OK),
        (ends, "closed"),
        (resets, "reset"),
        (is_silent, "timeout"),
        (breaks_off, "cut off"),
        (refuses, "status 403"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_new_connection_that_fails_is_named_by_how(
    files: Files, behave: Behaviour, outcome: str
) -> None:
    with server(files, behave) as port:
        told = seen(port, files).stop()
    assert {one["outcome"] for one in told["new"]} == {outcome}


def test_nobody_listening_is_a_refusal(files: Files) -> None:
    told = seen(free_port(), files).stop()
    assert {one["outcome"] for one in told["new"]} == {"refused"}


def test_a_refused_certificate_is_an_alert_unless_the_server_is_gone_first(files: Files) -> None:
    with server(files, answers, trusts=files.stranger) as port:
        told = seen(port, files).stop()
    outcomes = {one["outcome"] for one in told["new"]}
    assert any("ALERT_UNKNOWN_CA" in one for one in outcomes), outcomes
    # With TLS 1.3 the request is on its way before the server looks at the certificate.
    assert {one for one in outcomes if "ALERT_UNKNOWN_CA" not in one} <= {"closed", "reset"}


def test_a_kept_connection_that_was_ended_in_silence_loses_nothing(files: Files) -> None:
    def polite(one: socket.socket, number: int) -> None:
        for _ in range(3):
            one.recv(1 << 16)
            one.sendall(ANSWER)

    with server(files, polite) as port:
        kept = seen(port, files, new=0, kept=1).stop()["kept"]
    assert (kept["lost"], kept["failed"]) == ((), ())
    assert kept["connections"] > 1


def test_a_request_without_an_answer_is_lost_and_asked_once_more(files: Files) -> None:
    def drops_the_second(one: socket.socket, number: int) -> None:
        one.recv(1 << 16)
        one.sendall(ANSWER)
        one.recv(1 << 16)

    with server(files, drops_the_second) as port:
        kept = seen(port, files, new=0, kept=1).stop()["kept"]
    assert kept["lost"]
    assert {(one["outcome"], one["received"], one["again"]) for one in kept["lost"]} == {
        ("closed", 0, OK)
    }
