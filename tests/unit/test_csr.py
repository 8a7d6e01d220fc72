# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: what is in them, that they are the same bytes each time, and reading them back."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from typing import Any, NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import csr
from pki.errors import PkiError
from unit import pki_factory as factory


class RemoteKey(rsa.RSAPrivateKey):
    """A key whose private half is elsewhere: it can sign with PKCS #1 v1.5 and nothing else."""

    def __init__(self, elsewhere: rsa.RSAPrivateKey) -> None:
        self._elsewhere = elsewhere
        self.calls: list[tuple[str, str]] = []

    @property
    def key_size(self) -> int:
        return self._elsewhere.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._elsewhere.public_key()

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        self.calls.append((type(padding).__name__, algorithm.name))
        return self._elsewhere.sign(data, padding, algorithm)

    def _never(self, *args: object, **options: object) -> NoReturn:
        raise AssertionError("a remote key cannot do this")

    decrypt = private_numbers = private_bytes = _never

    def __copy__(self) -> RemoteKey:
        return self

    def __deepcopy__(self, memo: object) -> RemoteKey:
        return self


def built(**options: Any) -> bytes:
    return csr.build(factory.key("leaf"), factory.CN, factory.SUBJECT, **options)


def test_openssl_reads_the_request_and_verifies_its_signature() -> None:
    run = subprocess.run(
        ["openssl", "req", "-noout", "-verify", "-text", "-nameopt", "RFC2253"],
        input=built(),
        capture_output=True,
        check=True,
    )
    text = run.stdout.decode()
    assert f"Subject: CN={factory.CN},O=Example Energy Ltd,L=London,ST=London,C=GB" in text
    assert "sha256WithRSAEncryption" in text
    assert "X509v3" not in text, "no extension is requested unless somebody asks for one"
    assert b"verify ok" in (run.stderr + run.stdout).lower()


def test_the_same_key_and_subject_give_the_same_bytes() -> None:
    assert built() == built()


def test_a_key_that_never_leaves_its_engine_signs_the_same_request() -> None:
    remote = RemoteKey(factory.key("leaf"))
    assert csr.build(remote, factory.CN, factory.SUBJECT) == built()
    assert remote.calls == [("PKCS1v15", "sha256")]


def test_the_request_is_pem_with_line_feeds_and_the_standard_label() -> None:
    lines = built().split(b"\n")
    assert lines[0] == b"-----BEGIN CERTIFICATE REQUEST-----"
    assert lines[-2:] == [b"-----END CERTIFICATE REQUEST-----", b""]
    assert max(map(len, lines[1:-2])) == 64
    assert b"\r" not in built()


def test_a_san_is_there_only_when_asked_for() -> None:
    assert csr.parse(built()).san == ()
    assert csr.parse(built(san=["a.example", "b.example"])).san == ("a.example", "b.example")


def test_a_san_that_is_no_host_name_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        built(san=["A.example"])
    assert caught.value.where == "san"


def test_a_request_reads_back_as_it_was_built() -> None:
    request = csr.parse(built())
    public = factory.key("leaf").public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert request.common_name == factory.CN
    assert request.subject == factory.SUBJECT
    assert request.subject_order == ("C", "ST", "L", "O", "CN")
    assert request.spki_der == spki
    assert request.spki_sha256 == hashlib.sha256(spki).hexdigest()
    assert (request.algorithm, request.bits, request.exponent) == ("RSA", 2048, 65537)
    assert (request.signature_hash, request.signature_valid) == ("sha256", True)
    assert (request.attributes, request.extensions) == ((), ())


def test_der_and_keytools_label_are_read_too() -> None:
    pem = built()
    der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
    keytool = pem.replace(b" CERTIFICATE REQUEST", b" NEW CERTIFICATE REQUEST")
    crlf = keytool.replace(b"\n", b"\r\n")
    assert csr.parse(der) == csr.parse(pem) == csr.parse(keytool) == csr.parse(crlf)


def test_a_request_whose_signature_was_changed_is_not_valid() -> None:
    der = bytearray(x509.load_pem_x509_csr(built()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    assert csr.parse(bytes(der)).signature_valid is False


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x30\x82\xff\xff", b"hello", b"0" * 70_000],
    ids=["nothing", "a tag", "a header", "text", "too much"],
)
def test_what_is_no_request_is_refused_with_its_rule(data: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        csr.parse(data)
    assert caught.value.rule == "DIP-6.1.1-PKCS10"
    assert caught.value.found
    assert caught.value.next_step


def test_a_request_larger_than_any_is_not_parsed() -> None:
    with pytest.raises(PkiError) as caught:
        csr.parse(built() + b"\n" * 70_000)
    assert caught.value.expected == "at most 65536 bytes"


def test_a_certificate_is_not_a_request() -> None:
    with pytest.raises(PkiError):
        csr.parse(factory.authority("root").pem)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_request_raises_nothing_but_our_own_error(data: st.DataObject) -> None:
    der = bytearray(x509.load_pem_x509_csr(built()).public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PkiError):
        request = csr.parse(bytes(der))
        assert request.algorithm
