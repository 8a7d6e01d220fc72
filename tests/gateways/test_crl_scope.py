# SPDX-License-Identifier: GPL-3.0-or-later
"""What gateways make of CRLs with an issuingDistributionPoint, measured beside what we judge.

Each cell of the table is a set of CRLs on a running gateway. Sets that are judged fit are switched
by the transaction; the others would never get there, so they are put there by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from gateways import asking
from gateways.products import Product
from gateways.servers import serving
from integration import gateway_world as gw
from integration.gateway_world import Authorities, World
from pki import crl_fitness, revocation
from pki.crl_fitness import Leaves
from pki.trust_files import Ca, LoadedTrust
from pki_host import files, transaction
from unit import pki_factory as factory

pytestmark = pytest.mark.integration

URLS = {"issuing": "http://crl.example/issuing.crl", "root": "http://crl.example/root.crl"}
OTHER = "http://other.example/x.crl"
KINDS = ("no IDP", "URI = CDP", "URI other", "onlyUser", "onlyCA")
CELLS = [(kind, "no IDP") for kind in KINDS] + [("no IDP", kind) for kind in KINDS[1:]]
CLIENTS = ("good, CDP", "good, no CDP", "revoked, CDP", "revoked, no CDP")


def idp_of(kind: str, issuer: str) -> tuple[x509.ExtensionType, bool] | None:
    return {
        "no IDP": None,
        "URI = CDP": factory.idp(URLS[issuer]),
        "URI other": factory.idp(OTHER),
        "onlyUser": factory.idp(only_contains_user_certs=True),
        "onlyCA": factory.idp(only_contains_ca_certs=True),
    }[kind]


def certificate(
    common_name: str, label: str, issuer: str, *, ca: bool = False, cdp: str = ""
) -> x509.Certificate:
    """As :func:`gateway_world.issue`, with the address of its CRL."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(gw.name(common_name))
        .issuer_name(gw.name(issuer))
        .public_key(gw.key(label).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(gw.NOW - timedelta(days=1))
        .not_valid_after(gw.NOW + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if cdp:
        points = x509.CRLDistributionPoints([factory.point(cdp)])
        builder = builder.add_extension(points, critical=False)
    return builder.sign(gw.key(issuer), hashes.SHA256())


class Pointing(Authorities):
    """The CAs of every world, but that certificates say where their CRLs are. The root does not."""

    def __post_init__(self) -> None:
        self.issuing = certificate("issuing", "issuing", "root", ca=True, cdp=URLS["root"])
        self.sibling = self.issuing

    def leaf(self, common_name: str, label: str, *, by: str = "issuing") -> x509.Certificate:
        return certificate(common_name, label, by, cdp=URLS["issuing"])

    def scoped(self, issuer: str, kind: str, *revoked: x509.Certificate) -> str:
        """The CRL of a CA with an issuingDistributionPoint of some kind."""
        plain = x509.load_pem_x509_crl(self.crl(issuer, *revoked).encode())
        found = idp_of(kind, issuer)
        if found is None:
            return plain.public_bytes(Encoding.PEM).decode()
        builder = x509.CertificateRevocationListBuilder().issuer_name(plain.issuer)
        builder = builder.last_update(plain.last_update_utc)
        builder = builder.next_update(plain.next_update_utc or gw.NOW)
        for entry in plain:
            builder = builder.add_revoked_certificate(entry)
        signed = builder.add_extension(*found).sign(gw.key(issuer), hashes.SHA256())
        return signed.public_bytes(Encoding.PEM).decode()


@dataclass
class Scene:
    """A gateway whose clients know, or do not know, where the CRL of their issuer is."""

    world: World
    pointing: Pointing
    leaves: dict[str, x509.Certificate]

    def trust(self) -> LoadedTrust:
        def ca(one: x509.Certificate, issuer: str) -> Ca:
            der = one.public_bytes(Encoding.DER)
            digest = one.fingerprint(hashes.SHA256()).hex()
            return Ca(der, gw.pem(one).encode(), digest, issuer, (URLS[issuer],))

        root, issuing = ca(self.pointing.root, "root"), ca(self.pointing.issuing, "issuing")
        return LoadedTrust("dip-nonprod", (root,), (issuing,))

    def crls(self, issuing: str, root: str) -> str:
        revoked = [one for kind, one in self.leaves.items() if kind.startswith("revoked")]
        return self.pointing.scoped("issuing", issuing, *revoked) + self.pointing.scoped(
            "root", root
        )

    def fit(self, text: str, points: frozenset[Any]) -> bool:
        """What we say of a set, for clients that name these addresses."""
        trust = self.trust()
        leaves = {trust.issuers[0].sha256: Leaves((points,), "as ours do")}
        crls = revocation.parse_crls(text.encode())
        product = self.world.product
        whole = product.adapter.whole_chain_crls
        return not crl_fitness.judge(trust, crls, leaves, product.product, whole_chain=whole)

    def put(self, text: str, *, judged_fit: bool) -> None:
        crl_set = self.world.stage_crl_text(text)
        if judged_fit:
            self.world.crl_set = crl_set
            transaction.run(self.world.desired(), check=False)
            return
        switch(crl_set["link"]["path"], crl_set["link"]["target"])
        self.world.daemon().reload()

    def ask(self, client: str) -> int:
        path = self.world.client(self.leaves[client], "peer")
        return asking.ask(self.world.ingress, asking.context(path)).status


def switch(path: str, target: str) -> None:
    os.symlink(target, f"{path}.new")
    os.replace(f"{path}.new", path)


def named(client: str) -> str:
    """The address that a client's certificate names."""
    return "" if client.endswith("no CDP") else URLS["issuing"]


@pytest.fixture(scope="module")
def scene(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    world, pointing = World(tmp_path_factory.mktemp("scope"), product), Pointing()
    world.authorities = pointing
    world.certificate = pointing.leaf(gw.OURS, "ours")
    world.release = world.stage_release(1, world.certificate)
    world.crl_set = world.stage_crls()
    leaves = {
        client: certificate(gw.PEER, "peer", "issuing", cdp=named(client)) for client in CLIENTS
    }
    with serving(world.app):
        try:
            transaction.run(world.desired(), check=False)
            yield Scene(world, pointing, leaves)
        finally:
            world.stop()


def test_judgement_and_measurement_agree_for_every_set_of_crls(scene: Scene) -> None:
    rows, wrong = [], []
    for issuing, root in CELLS:
        text = scene.crls(issuing, root)
        fit = {"CDP": scene.fit(text, frozenset({URLS["issuing"]}))}
        fit["no CDP"] = scene.fit(text, frozenset())
        scene.put(text, judged_fit=fit["CDP"])
        seen = {client: scene.ask(client) for client in CLIENTS}
        words = {kind: "fit" if good else "refused" for kind, good in fit.items()}
        rows.append(
            f"{issuing:10} {root:10} "
            + " ".join(f"{words[kind]:8}" for kind in fit)
            + " ".join(f"{seen[client]:>6}" for client in CLIENTS)
        )
        for kind, good in fit.items():
            found = (seen[f"good, {kind}"], seen[f"revoked, {kind}"])
            # Some products end the connection instead, whatever they do about other refusals.
            if found != (200, 403) if good else set(found) - {403, 0}:
                wrong.append(rows[-1])
    head = f"{scene.world.product}: CRL of issuing CA, of root; judged; {'; '.join(CLIENTS)}"
    table = "\n".join([head, *rows])
    print(table)
    assert not wrong, table


def test_openssl_itself_says_the_same(tmp_path: Path) -> None:
    pointing = Pointing()
    (tmp_path / "ca.pem").write_text(gw.pem(pointing.root) + gw.pem(pointing.issuing))
    leaves = {
        "with": (pointing.leaf(gw.PEER, "peer"), frozenset({URLS["issuing"]})),
        "without": (certificate(gw.PEER, "peer", "issuing"), frozenset[str]()),
    }
    scene = Scene(World(tmp_path), pointing, {})
    for issuing, root in CELLS:
        text = scene.crls(issuing, root)
        (tmp_path / "crl.pem").write_text(text)
        for name, (leaf, points) in leaves.items():
            (tmp_path / "leaf.pem").write_text(gw.pem(leaf))
            command = "openssl verify -crl_check_all -CAfile ca.pem -CRLfile crl.pem leaf.pem"
            done = subprocess.run(
                command.split(), cwd=tmp_path, capture_output=True, text=True, check=False
            )
            fit = scene.fit(text, points)
            assert (done.returncode == 0) is fit, (issuing, root, name, done.stderr)
            assert fit or "error 44" in done.stderr


def test_an_intermediate_in_the_bundle_is_no_end_of_a_chain(scene: Scene) -> None:
    config = scene.world.root / scene.world.product.config_file
    (bundle,) = (scene.world.root / "trust").glob("*.pem")
    before = {path: path.read_text() for path in (config, bundle)}
    foreign = gw.issue(gw.name("foreign"), "foreign", gw.name("foreign"), "foreign", ca=True)
    # Without CRLs, so that nothing but the missing root can be the reason.
    without_crls = re.sub(r"\n *(?:proxy_)?ssl_crl [^;]*;| crl-file \S+", "", before[config])
    assert without_crls != before[config]
    try:
        put(scene, {config: without_crls})
        assert scene.ask("good, CDP") == 200
        put(scene, {bundle: gw.pem(foreign) + gw.pem(scene.pointing.issuing)})
        assert scene.ask("good, CDP") == 403
    finally:
        put(scene, before)


def put(scene: Scene, contents: dict[Path, str]) -> None:
    for path, text in contents.items():
        files.write(str(path), text.encode(), files.PUBLIC)
    scene.world.daemon().reload()
