# SPDX-License-Identifier: GPL-3.0-or-later
"""A running gateway with an application, a far end, and every kind of client that there is."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from gateways import asking
from gateways.asking import Answer
from gateways.products import Product
from gateways.servers import Server, serving
from integration import gateway_world as gw
from integration.gateway_world import Authorities, World
from pki_host import files, transaction

HOST = "api.dip.example"
#: Limits that a test can reach without waiting or sending much.
TIGHT = {
    "body_bytes": 65536,
    "header_bytes": 4096,
    "requests_per_second": 5,
    "request_burst": 4,
    "connections": 100,
}
#: Our own calls have no rate.
OF_BOTH = ("body_bytes", "header_bytes", "connections")
TIGHT_SECONDS = {"connection_seconds": 2, "idle_seconds": 1}


@cache
def authorities() -> Authorities:
    """One set of CAs for all products of a process: keys take their time to make."""
    known = Authorities()
    known.root = _whole("root", "root", ca=True)
    known.issuing = _whole("issuing", "root", ca=True)
    return known


def _whole(label: str, by: str, *, ca: bool = False, host: str = "") -> x509.Certificate:
    """A certificate with all that strict validators ask for, the outside judge's among them."""
    public, above = gw.key(label).public_key(), gw.key(by).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(gw.name(host or label))
        .issuer_name(gw.name(by))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(gw.NOW - timedelta(days=1))
        .not_valid_after(gw.NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
        .add_extension(_usage(ca), critical=True)
    )
    if host:
        uses = x509.ExtendedKeyUsage([Usage.SERVER_AUTH, Usage.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        builder = builder.add_extension(uses, critical=False).add_extension(names, critical=False)
    return builder.sign(gw.key(by), hashes.SHA256())


def _usage(ca: bool) -> x509.KeyUsage:
    never = dict.fromkeys(
        (
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(
        digital_signature=not ca, key_encipherment=not ca, key_cert_sign=ca, crl_sign=ca, **never
    )


class TightWorld(World):
    """The same inventory with small limits, and times below what a policy would say."""

    def gateways(self) -> list[dict[str, Any]]:
        (entry,) = super().gateways()
        for side in ("ingress", "egress"):
            limits = TIGHT if side == "ingress" else {name: TIGHT[name] for name in OF_BOTH}
            entry[side] = [{**one, "limits": limits} for one in entry[side]]
        return [entry]

    def model(self) -> dict[str, Any]:
        model = super().model()
        model["limits"] = {**model["limits"], **TIGHT_SECONDS}
        return model


@dataclass
class Stand:
    """One gateway, what is behind it, and what is before it."""

    world: World
    application: Server
    far_end: Server

    @property
    def product(self) -> Product:
        return self.world.product

    # -- callers of the ingress --------------------------------------------------------

    @cached_property
    def revoked(self) -> x509.Certificate:
        return authorities().leaf(gw.PEER, "revoked")

    @cached_property
    def revoked_far_end(self) -> x509.Certificate:
        return far_certificate()

    @cached_property
    def clients(self) -> dict[str, Path | None]:
        """What each kind of client shows."""
        known, peer, issuing = authorities(), gw.name(gw.PEER), gw.name("issuing")
        foreign = gw.issue(gw.name("foreign"), "foreign", gw.name("foreign"), "foreign", ca=True)
        kinds = {
            "ok": (known.leaf(gw.PEER, "peer"), known.issuing),
            "uit": (known.leaf("energydip-uit.dip.example", "peer"), known.issuing),
            "rev": (self.revoked, known.issuing),
            "exp": (gw.issue(peer, "peer", issuing, "issuing", days=(-9, -2)), known.issuing),
            "bad": (gw.issue(peer, "peer", gw.name("foreign"), "foreign"), foreign),
            "self": (gw.issue(peer, "peer", peer, "peer"), None),
            "sib": (gw.issue(peer, "peer", gw.name("sibling"), "sibling"), known.sibling),
            "subrev": (gw.issue(peer, "peer", gw.name("fallen"), "fallen"), self.fallen),
            "srvuse": (
                gw.issue(peer, "peer", issuing, "issuing", use=Usage.SERVER_AUTH),
                known.issuing,
            ),
        }
        labels = {"rev": "revoked"}
        shown: dict[str, Path | None] = {
            kind: identity(self.world, leaf, labels.get(kind, "peer"), above)
            for kind, (leaf, above) in kinds.items()
        }
        return {**shown, "none": None}

    @cached_property
    def fallen(self) -> x509.Certificate:
        """A CA below the root that the root has revoked."""
        root = authorities().root.subject
        return gw.issue(gw.name("fallen"), "fallen", root, "root", ca=True)

    def crls(self) -> str:
        """CRLs of every CA that may stand in a chain, the sibling's and the fallen one's too.

        With these, nothing but the rule about issuers keeps the sibling's clients out.
        """
        known = authorities()
        return (
            known.crl("issuing", self.revoked, self.revoked_far_end)
            + known.crl("root", self.fallen)
            + known.crl("sibling")
            + known.crl("fallen")
        )

    def crls_of_the_allowed(self) -> str:
        """The CRLs that a set of ours has: those of the allowed CA and of what is above it."""
        known = authorities()
        return known.crl("issuing", self.revoked) + known.crl("root", self.fallen)

    @contextlib.contextmanager
    def crls_in_place(self, text: str) -> Iterator[None]:
        """Other CRLs for a while, put into service as every set is."""
        before = self.world.crl_set
        self.world.crl_set = self.world.stage_crl_text(text)
        try:
            transaction.run(self.world.desired(), check=False)
            yield
        finally:
            self.world.crl_set = before
            transaction.run(self.world.desired(), check=False)

    def ask(self, kind: str, raw: bytes = asking.GET, **tls: Any) -> Answer:
        """A request through the ingress."""
        return asking.ask(self.world.ingress, asking.context(self.clients[kind], **tls), raw)

    def call(self, raw: bytes = asking.GET) -> Answer:
        """A request through the egress."""
        return asking.ask(self.world.egress, None, raw)

    # -- far ends ----------------------------------------------------------------------

    def far_context(
        self,
        certificate: x509.Certificate,
        *,
        above: x509.Certificate | None = None,
        label: str = "far",
    ) -> ssl.SSLContext:
        return far_context(self.world, certificate, above=above, label=label)

    @contextlib.contextmanager
    def other_far_end(self, context: ssl.SSLContext) -> Iterator[Server]:
        """Another far end at the same address for a while; pooled connections do not outlive it."""
        self.far_end.close()
        try:
            with serving(self.world.dip, context) as server:
                yield server
        finally:
            self.far_end = Server(self.world.dip, self.far_context(far_certificate()))

    # -- logs --------------------------------------------------------------------------

    def log(self, *, after: int = 0, lines: int = 1) -> list[dict[str, Any]]:
        """What was logged after so many bytes, once there are so many lines."""
        path = Path(self.product.adapter.access_log(str(self.world.root)))
        deadline = time.monotonic() + 5
        while True:
            found = path.read_bytes()[after:].decode().splitlines()
            # What the program says of itself is no line of a request.
            told = [json.loads(line) for line in found if line.startswith("{")]
            if len(told) >= lines or time.monotonic() > deadline:
                return told
            time.sleep(0.02)

    def log_size(self) -> int:
        return Path(self.product.adapter.access_log(str(self.world.root))).stat().st_size


def identity(
    world: World, leaf: x509.Certificate, label: str, above: x509.Certificate | None
) -> Path:
    """A certificate, the one above it if any, and its key in one file."""
    chain = gw.pem(leaf) + (gw.pem(above) if above else "")
    path = world.base / f"client-{leaf.serial_number}.pem"
    files.write(str(path), (chain + gw.key_pem(label)).encode(), files.PRIVATE)
    return path


def far_context(
    world: World,
    certificate: x509.Certificate,
    *,
    above: x509.Certificate | None = None,
    label: str = "far",
) -> ssl.SSLContext:
    """A far end that asks for a certificate of ours and shows this one of its own."""
    known = authorities()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity(world, certificate, label, above or known.issuing))
    context.load_verify_locations(cadata=gw.pem(known.root) + gw.pem(known.issuing))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def far_certificate(common_name: str = HOST, **changes: Any) -> x509.Certificate:
    """The certificate of a far end as it should be, but for what is changed."""
    said = {"host": HOST, **changes}
    return gw.issue(gw.name(common_name), "far", gw.name("issuing"), "issuing", **said)


@contextlib.contextmanager
def running(base: Path, product: Product, *, tight: bool = False) -> Iterator[Stand]:
    """A gateway that is started, and ended again with everything around it."""
    world = (TightWorld if tight else World)(base, product)
    world.authorities = authorities()
    world.certificate = _whole("ours", "issuing", host=gw.OURS)
    world.release = world.stage_release(1, world.certificate)
    with serving(world.app) as application:
        stand = Stand(world, application, application)
        stand.far_end = Server(world.dip, stand.far_context(far_certificate()))
        world.crl_set = world.stage_crl_text(stand.crls())
        try:
            transaction.run(world.desired(), check=False)
            yield stand
        finally:
            world.stop()
            stand.far_end.close()
