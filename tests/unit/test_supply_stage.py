# SPDX-License-Identifier: GPL-3.0-or-later
"""A device's own request: taken in as it is, judged as ours, and never two at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.x509.oid import AttributeOID
from pki import csr, desk, names, public_state, supply_stage
from pki.errors import PkiError
from pki.request_stage import Written
from unit import pki_factory as factory
from unit.controller_world import NAME, OTHER, World, certificate_entry, tree, whole
from unit.pki_factory import CN, NOW, SUBJECT


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.certificates[0]["key"] = {"store": "external"}
    return world


def request(name: str = "device", cn: str = CN, **subject: str) -> bytes:
    return csr.build(factory.key(name, 4096), cn, {**SUBJECT, **subject})


def supply(world: World, data: bytes, *, later: timedelta = timedelta()) -> Written:
    return supply_stage.take_in(desk.of(world.inputs(NOW + later), NAME, "TEST"), data)


def refused(world: World, data: bytes) -> PkiError:
    before = tree(world.base)
    with pytest.raises(PkiError) as caught:
        supply(world, data)
    assert tree(world.base) == before
    return whole(caught.value)


def test_its_record_says_external_what_the_key_is_and_when_it_was_supplied(world: World) -> None:
    written = supply(world, request())
    assert written.version == 1
    record = yaml.safe_load(written.contents["request.yml"])
    assert record["created"] == "2026-11-21T12:00:00Z"
    assert record["key"] == {
        "store": "external",
        "name": NAME,
        "version": 1,
        "type": "rsa-4096",
        "spki_sha256": csr.parse(request()).spki_sha256,
    }


FORMS = {
    "PEM": request,
    "DER": lambda: x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER),
    "the older label": lambda: request().replace(b" CERTIFICATE", b" NEW CERTIFICATE"),
    "text around it": lambda: b"Certificate Request:\n  Data: ...\n" + request() + b"\nbye\n",
    "Windows line ends": lambda: request().replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_form_it_comes_in_it_is_kept_as_one_plain_block(world: World, form: str) -> None:
    assert supply(world, FORMS[form]()).contents["request.csr"] == request()


@pytest.mark.parametrize("form", FORMS)
def test_the_same_request_again_changes_nothing(world: World, form: str) -> None:
    first = supply(world, request())
    public_state.write(first.directory, first.contents)
    again = supply(world, FORMS[form](), later=timedelta(days=9))
    assert again.contents == first.contents
    assert again.missing == ()


@pytest.mark.parametrize("left", [1, 2])
def test_an_interrupted_run_is_completed(world: World, left: int) -> None:
    first = supply(world, request())
    public_state.write(first.directory, dict(list(first.contents.items())[:left]))
    again = supply(world, request(), later=timedelta(days=9))
    assert "request.yml" in again.missing
    assert again.contents["request.csr"] == first.contents["request.csr"]


def test_another_request_is_refused_while_one_is_open(world: World) -> None:
    first = supply(world, request())
    public_state.write(first.directory, first.contents)
    error = refused(world, request("another"))
    assert "request v1 is open, and is another one" in error.message
    assert "outcome=withdrawn" in error.next_step


def test_after_one_came_to_nothing_the_next_needs_another_key(world: World) -> None:
    first = supply(world, request())
    record = {"schema": 1, "outcome": "withdrawn", "date": "2026-11-20T12:00:00Z"}
    outcome = {"outcome.yml": public_state.dump(record)}
    public_state.write(first.directory, {**first.contents, **outcome})
    assert refused(world, request()).rule == "REQUEST-KEY"
    assert supply(world, request("another")).version == 2


def test_a_key_of_another_entry_is_refused(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request(1, OTHER, key_name="leaf")
    with pytest.raises(PkiError) as caught:
        supply(world, factory.request(key_name="leaf"))
    assert f"{OTHER} v1" in caught.value.found


def foreign(*, digest: hashes.HashAlgorithm, challenge: bool = False) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject(CN, SUBJECT))
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
    return builder.sign(factory.key("device", 4096), digest).public_bytes(Encoding.PEM)


def elliptic() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject(CN, SUBJECT))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def forged() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return bytes(der)


def a_private_key() -> bytes:
    plain = serialization.NoEncryption()
    return factory.key("device", 4096).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain)


JUDGED = {
    "another name": (lambda: request(cn="energydip.example-energy.co.uk"), "DIP-6.1.2-CN"),
    "another organisation": (lambda: request(O="Somebody Else"), "DIP-6.1.2-ORG"),
    "a challenge password": (
        lambda: foreign(digest=hashes.SHA256(), challenge=True),
        "DIP-7.1.2-CONFIDENTIAL",
    ),
    "SHA-512": (lambda: foreign(digest=hashes.SHA512()), ""),
    "a small key": (factory.request, "DIP-7.1.2-RSA4096"),
    "an elliptic key": (elliptic, "DIP-7.1.2-RSA4096"),
    "a forged signature": (forged, "DIP-6.1.1-PKCS10"),
    "no request": (lambda: b"hello", "DIP-6.1.1-PKCS10"),
    "a cut request": (lambda: request()[:700], "DIP-6.1.1-PKCS10"),
    "a private key beside it": (lambda: request() + a_private_key(), "SUPPLY"),
    "two requests": (lambda: request() + request("another"), "SUPPLY"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_what_the_policy_refuses_of_ours_it_refuses_of_theirs(world: World, name: str) -> None:
    make, rule = JUDGED[name]
    error = refused(world, make())
    assert error.rule.startswith(rule or "DIP-")
    assert "PRIVATE KEY-----" not in str(error)


def test_an_entry_whose_key_we_make_takes_no_request(world: World) -> None:
    world.certificates[0]["key"] = {"store": "transit"}
    error = refused(world, request())
    assert error.rule == "SUPPLY"
    assert "playbooks/site.yml" in error.next_step
