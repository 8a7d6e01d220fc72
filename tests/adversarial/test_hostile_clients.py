# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in by the really running gateway, and whether anybody else reaches what is behind.

Certificates are of the allowed CA and not revoked: only their subject is odd. Requests are as
a client can send them byte by byte, after a handshake that must not let them through.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from integration import gateway_world as gw
from integration.gateway_world import World
from pki_host import transaction

pytestmark = pytest.mark.integration

CN, O, OU = (gw.Name.COMMON_NAME, gw.Name.ORGANIZATION_NAME, gw.Name.ORGANIZATIONAL_UNIT_NAME)  # noqa: E741
UNKNOWN = x509.ObjectIdentifier("1.2.3.4")
Part = tuple[x509.ObjectIdentifier, str]
#: One relative name an item; several parts in one item make it multi-valued.
Subject = list[list[Part]]

LET_IN: dict[str, Subject] = {
    "the name alone": [[(CN, gw.PEER)]],
    "the name first": [[(CN, gw.PEER)], [(O, "x")]],
    "the name last": [[(O, "x")], [(CN, gw.PEER)]],
    "beside an attribute nobody knows": [[(UNKNOWN, "x")], [(CN, gw.PEER)]],
    "beside every special character": [[(O, ' #,+"\\<>;= ')], [(CN, gw.PEER)]],
    "beside letters of other scripts": [[(O, "\u0435\u00e9\u2028\x80")], [(CN, gw.PEER)]],
}
REFUSED: dict[str, Subject] = {
    "nobody": [],
    "an empty name": [[(CN, "")]],
    "a second name before": [[(CN, "bad")], [(CN, gw.PEER)]],
    "a second name after": [[(CN, gw.PEER)], [(CN, "bad")]],
    "the name twice": [[(CN, gw.PEER)], [(CN, gw.PEER)]],
    "two names in one": [[(CN, gw.PEER), (CN, "bad")]],
    "a name joined with a unit": [[(CN, gw.PEER), (OU, "x")]],
    "a comma and the name": [[(O, f"x,CN={gw.PEER}")], [(CN, "bad")]],
    "a comma and the name, alone": [[(O, f"x,CN={gw.PEER}")]],
    "an escaped comma": [[(O, f"x\\,CN={gw.PEER}")]],
    "a plus and the name": [[(O, f"x+CN={gw.PEER}")]],
    "a line feed and the name": [[(O, f"x\nCN={gw.PEER}")]],
    "quotes and the name": [[(O, f'x";CN={gw.PEER};"')]],
    "the name as a unit": [[(OU, gw.PEER)]],
    "CN= in an unknown attribute": [[(UNKNOWN, f"CN={gw.PEER}")]],
    "a NUL and more": [[(CN, f"{gw.PEER}\0.evil.example")]],
    "a NUL": [[(CN, f"{gw.PEER}\0")]],
    "a dot at the end": [[(CN, f"{gw.PEER}.")]],
    "upper case": [[(CN, gw.PEER.upper())]],
    "one letter in upper case": [[(CN, gw.PEER.capitalize())]],
    "a space before": [[(CN, f" {gw.PEER}")]],
    "a space after": [[(CN, f"{gw.PEER} ")]],
    "a line feed after": [[(CN, f"{gw.PEER}\n")]],
    "a letter that looks alike": [[(CN, gw.PEER.replace("e", "\u0435", 1))]],
    "any letter for a dot": [[(CN, gw.PEER.replace(".", "x"))]],
    "more in front": [[(CN, f"x{gw.PEER}")]],
    "more behind": [[(CN, f"{gw.PEER}.evil.example")]],
    "thousands of commas": [[(O, ",CN=" * 4000)], [(CN, "bad")]],
    "hundreds of parts": [*[[(O, "A=B")]] * 400, [(CN, "bad")]],
}

HOST = b"Host: " + gw.OURS.encode() + b"\r\n"
CLOSE = b"Connection: close\r\n\r\n"
TRICKS: dict[str, bytes] = {
    "plain": b"GET / HTTP/1.1\r\n" + HOST + CLOSE,
    "pipelined": (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n") * 2
    + b"GET /c HTTP/1.1\r\n"
    + HOST
    + CLOSE,
    "request in a body": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 6\r\n\r\nGET /s"
    + b" HTTP/1.1\r\n"
    + HOST
    + CLOSE,
    "two lengths": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n"
    + HOST
    + CLOSE,
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0 kept alive": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    + b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + CLOSE,
    "absolute address": b"GET http://app/ HTTP/1.1\r\n" + HOST + CLOSE,
    "the page of refusals": b"GET /@denied HTTP/1.1\r\n" + HOST + CLOSE,
    "upgrade": b"GET / HTTP/1.1\r\n"
    + HOST
    + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
    "asking to go on": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Expect: 100-continue\r\nContent-Length: 2\r\n"
    + CLOSE
    + b"xx",
    "long header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 40_000 + b"\r\n" + CLOSE,
    "line feeds only": b"GET / HTTP/1.1\nHost: x\nConnection: close\n\n",
    "our own headers": b"GET / HTTP/1.1\r\n"
    + HOST
    + b"X-Client-Verify: SUCCESS\r\nX-Client-DN: CN="
    + gw.PEER.encode()
    + b"\r\n"
    + CLOSE,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("clients"))
    try:
        transaction.run(world.desired(), check=False)
        yield world
    finally:
        world.stop()


def client(world: World, subject: Subject) -> Path:
    names = [
        x509.RelativeDistinguishedName(
            x509.NameAttribute(oid, text, _ASN1Type.UTF8String, _validate=False)
            for oid, text in parts
        )
        for parts in subject
    ]
    leaf = gw.issue(x509.Name(names), "peer", gw.name("issuing"), "issuing")
    return world.client(leaf, "peer")


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_exactly_one_name_that_is_the_peers_lets_in_whatever_stands_beside_it(
    world: World,
) -> None:
    with gw.echo_app(world.app):
        seen = {label: world.get(client(world, name)).status for label, name in LET_IN.items()}
    assert seen == dict.fromkeys(LET_IN, 200)


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_subject_that_only_looks_like_the_peers_is_refused(world: World) -> None:
    with gw.echo_app(world.app):
        seen = {label: world.get(client(world, name)).status for label, name in REFUSED.items()}
    assert seen == dict.fromkeys(REFUSED, 403)


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("encoding", ["PrintableString", "BMPString", "T61String", "IA5String"])
def test_the_same_letters_in_another_encoding_are_the_same_name(
    world: World, encoding: str
) -> None:
    attribute = x509.NameAttribute(CN, gw.PEER, getattr(_ASN1Type, encoding), _validate=False)
    leaf = gw.issue(x509.Name([attribute]), "peer", gw.name("issuing"), "issuing")
    with gw.echo_app(world.app):
        assert world.get(world.client(leaf, "peer")).status == 200


@contextlib.contextmanager
def counted(port: int) -> Iterator[list[int]]:
    """Something that listens where the application would, and counts who comes."""
    came: list[int] = []
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    came.append(1)
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield came
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def send(world: World, identity: Path | None, raw: bytes) -> bytes:
    """All that comes back; the listener's own certificate is not of interest here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity)
    said = b""
    with (
        contextlib.suppress(TimeoutError, OSError),
        socket.create_connection(("127.0.0.1", world.ingress), timeout=2) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(raw)
        while part := tls.recv(65536):
            said += part
    return said


def test_the_right_client_does_reach_what_the_others_must_not(world: World) -> None:
    identity = client(world, LET_IN["the name last"])
    with counted(world.app) as came:
        assert send(world, identity, TRICKS["plain"]).startswith(b"HTTP/1.1 200")
    assert came == [1]


@pytest.mark.parametrize("who", ["nobody", "sibling", "another name"])
def test_no_request_of_a_refused_client_reaches_the_application(world: World, who: str) -> None:
    sibling = world.authorities.leaf(gw.PEER, "peer", by="sibling")
    identities = {
        "nobody": lambda: None,
        "sibling": lambda: world.client(sibling, "peer", by="sibling"),
        "another name": lambda: client(world, [[(CN, "energydip-prod.dip.example")]]),
    }
    identity = identities[who]()
    with counted(world.app) as came:
        answers = {label: send(world, identity, raw) for label, raw in TRICKS.items()}
    assert not came
    assert not [label for label, said in answers.items() if b" 200 " in said or b" 100 " in said]
    assert answers["plain"].startswith(b"HTTP/1.1 403")
