# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that asks the responder of a caller's certificate, besides the CRL, and its limits.

Our own certificate, with which the gateway is probed, has to name a responder that calls it good,
as every caller's has to.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from gateways import asking
from gateways.products import PRODUCTS, Product
from gateways.servers import serving
from gateways.stand import authorities, identity
from integration import gateway_world as gw
from integration.gateway_world import World
from pki_host import transaction

pytestmark = pytest.mark.integration

#: Those that are able to; of the others `cannot` and `lacks` tell.
ABLE = [
    one
    for one in PRODUCTS
    if "client_ocsp" not in one.adapter.cannot and "ssl_ocsp" not in one.adapter.lacks
]


class Responder:
    """A responder of the issuing CA: ``says`` is its answer about callers, None is silence.

    Of our own certificate it always says good. ``asked`` counts questions about callers.
    """

    def __init__(self) -> None:
        self.says: ocsp.OCSPCertStatus | None = ocsp.OCSPCertStatus.GOOD
        self.asked = 0
        self.known: dict[int, x509.Certificate] = {}
        self.own = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                encoded = urllib.parse.unquote(self.path.removeprefix("/"))
                body = outer.answer(base64.b64decode(encoded))
                self.send_response(200 if body else 503)
                self.send_header("Content-Type", "application/ocsp-response")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"

    def answer(self, question: bytes) -> bytes:
        serial = ocsp.load_der_ocsp_request(question).serial_number
        says: ocsp.OCSPCertStatus | None = ocsp.OCSPCertStatus.GOOD
        if serial != self.own:
            says = self.says
            self.asked += 1
        if says is None:
            return b""
        now = datetime.now(UTC).replace(tzinfo=None)
        revoked = says is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            self.known[serial], authorities().issuing, hashes.SHA1(), says,
            now - timedelta(minutes=1), now + timedelta(hours=1),
            now - timedelta(hours=1) if revoked else None, None,
        )  # fmt: skip
        encoding = ocsp.OCSPResponderEncoding.HASH
        signed = builder.responder_id(encoding, authorities().issuing)
        return signed.sign(gw.key("issuing"), hashes.SHA256()).public_bytes(Encoding.DER)


class AskingWorld(World):
    """A gateway whose policy wants responders to be asked."""

    def model(self) -> dict[str, Any]:
        return {**super().model(), "ocsp": {"ask": True, "resolvers": ["127.0.0.1"]}}


def leaf(responder: Responder, common_name: str = gw.PEER, label: str = "peer") -> x509.Certificate:
    """A good certificate that names a responder."""
    place = x509.AccessDescription(
        x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder.url)
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(gw.name(common_name))
        .issuer_name(gw.name("issuing"))
        .public_key(gw.key(label).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(gw.NOW - timedelta(days=1))
        .not_valid_after(gw.NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityInformationAccess([place]), critical=False)
    )
    made = builder.sign(gw.key("issuing"), hashes.SHA256())
    responder.known[made.serial_number] = made
    return made


@pytest.fixture(params=ABLE, ids=str)
def able(request: pytest.FixtureRequest) -> Product:
    row: Product = request.param
    assert not row.missing, row.missing
    return row


@pytest.fixture
def responder() -> Iterator[Responder]:
    found = Responder()
    yield found
    found.server.shutdown()
    found.server.server_close()


@contextlib.contextmanager
def gateway(base: Path, product: Product, responder: Responder) -> Iterator[World]:
    world = AskingWorld(base, product)
    world.authorities = authorities()
    world.certificate = leaf(responder, gw.OURS, "ours")
    responder.own = world.certificate.serial_number
    world.release = world.stage_release(1, world.certificate)
    world.crl_set = world.stage_crl_text(authorities().crl("issuing") + authorities().crl("root"))
    with serving(world.app):
        try:
            transaction.run(world.desired(), check=False)
            yield world
        finally:
            world.stop()


def caller(world: World, certificate: x509.Certificate) -> Path:
    return identity(world, certificate, "peer", authorities().issuing)


def status(world: World, shown: Path) -> int:
    return asking.ask(world.ingress, asking.context(shown)).status


def test_callers_are_refused_unless_their_responder_calls_them_good(
    able: Product, tmp_path: Path, responder: Responder
) -> None:
    """Also when it is silent: that is why the policy has it off. The CRL says good of each."""
    with gateway(tmp_path, able, responder) as world:
        assert status(world, caller(world, leaf(responder))) == 200
        assert responder.asked == 1
        # Of one that names no responder nobody can be asked.
        assert status(world, caller(world, authorities().leaf(gw.PEER, "peer"))) == 403
        for says in (ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN, None):
            responder.says = says
            assert status(world, caller(world, leaf(responder))) == 403, says


def test_an_answer_is_remembered_across_a_reload_until_it_ends(
    able: Product, tmp_path: Path, responder: Responder
) -> None:
    with gateway(tmp_path, able, responder) as world:
        shown = caller(world, leaf(responder))
        assert status(world, shown) == 200
        responder.says = ocsp.OCSPCertStatus.REVOKED
        world.crl_set = world.stage_crl_text(
            authorities().crl("issuing") + authorities().crl("root") + authorities().crl("sibling")
        )
        transaction.run(world.desired(), check=False)
        assert status(world, shown) == 200
        assert responder.asked == 1
