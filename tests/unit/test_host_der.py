# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of a certificate, read without a program, is the one that openssl tells."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from pki_host import der, openssl

NOW = datetime.now(UTC)
KEYS = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "a curve": ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def pem(kind: str, common_name: str = "x", extensions: int = 0) -> bytes:
    key = KEYS[kind]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), NOW, NOW + timedelta(1)
    )
    for number in range(extensions):
        oid = x509.ObjectIdentifier(f"1.2.3.{number + 4}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"x" * 90), critical=False)
    digest = None if kind == "Ed25519" else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("kind", KEYS)
def test_the_digest_is_that_of_the_ledgers(kind: str) -> None:
    certificate = pem(kind, extensions=3)
    public = openssl.public_key_of_certificate(certificate)
    assert der.spki_sha256(certificate) == openssl.spki_sha256(public) != ""


def test_the_first_certificate_of_a_chain_counts() -> None:
    first, second = pem("RSA"), pem("a curve")
    assert der.spki_sha256(b"# text\n" + first + second) == der.spki_sha256(first)


@given(st.text(min_size=1, max_size=16), st.integers(0, 20))
def test_names_and_extensions_of_any_length_do_not_move_the_key(name: str, more: int) -> None:
    expected = KEYS["a curve"].public_key()
    encoded = expected.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    found = der.spki_sha256(pem("a curve", name, more))
    assert found == hashlib.sha256(encoded).hexdigest()


@given(st.binary(max_size=300))
def test_what_is_no_certificate_has_no_digest(data: bytes) -> None:
    block = b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"
    assert der.spki_sha256(data) == "" == der.spki_sha256(block)


@given(st.integers(0, 400))
def test_a_certificate_that_was_cut_off_has_no_digest(kept: int) -> None:
    assert der.spki_sha256(pem("a curve")[:kept]) == ""
