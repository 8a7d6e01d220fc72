# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of what is looked at, and impostors that are right in all but one thing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from pki import der, path, reading, reply, revocation
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
LEAF = ISSUING.leaf()
SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


def accept(files: Sequence[bytes]) -> reply.Accepted:
    return reply.accept(
        files,
        csr=factory.request(),
        expectation=reply.Expectation(
            CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod"
        ),
        trust=reply.Trust([ROOT.der], [ISSUING.der]),
        revocation=reply.Revocation([ISSUING.crl(), ROOT.crl()]),
        now=NOW,
    )


def test_a_reply_has_at_most_sixty_four_files() -> None:
    assert accept([LEAF] * 64)
    with pytest.raises(PkiError) as caught:
        accept([LEAF] * 65)
    assert "65 files" in caught.value.found


def test_certificates_are_counted_across_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_CERTIFICATES", 2)
    pem = factory.pem(LEAF)
    assert len(reading.read([pem, pem, ISSUING.pem, pem])) == 2
    with pytest.raises(PkiError) as caught:
        reading.read([pem, ISSUING.pem, ROOT.pem])
    assert "more than 2 certificates" in caught.value.found


def self_signed(count: int) -> list[bytes]:
    """Certificates of the request's key that lead nowhere, each newer than the good one."""
    own = factory.Authority(x509.load_der_x509_certificate(LEAF), factory.key("leaf"))
    return [own.leaf(start=NOW - n * SECOND) for n in range(count)]


def test_the_eight_newest_certificates_of_the_key_are_tried() -> None:
    assert accept([LEAF, *self_signed(7)]).chain[0] == LEAF
    with pytest.raises(PkiError) as caught:
        accept([LEAF, *self_signed(8)])
    assert caught.value.rule == path.RULE_CHAIN


def test_a_crl_of_another_name_is_not_this_cas_though_they_share_a_key() -> None:
    alias = ROOT.authority("Alias", key_name="Example Issuing")
    with pytest.raises(PkiError) as caught:
        revocation.verify_crl(alias.crl(), ISSUING.der, NOW)
    assert "is not issued by Example Issuing" in caught.value.found


def elliptic() -> factory.Authority:
    """An issuing CA with a key on P-256: of RSA the identifier gives SHA-1 away as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ("key_cert_sign", "crl_sign")
    data = ROOT.leaf("Curved", {}, public=key.public_key(), ca=True, key_usage=usage, eku=())
    return factory.Authority(x509.load_der_x509_certificate(data), key)  # type: ignore[arg-type]


@pytest.mark.parametrize("authority", [ISSUING, elliptic()], ids=["RSA", "EC"])
@pytest.mark.parametrize(("digest", "verdict"), [(SHA1, "unknown"), (SHA256, "good")])
def test_an_answer_signed_with_sha1_is_no_answer(
    authority: factory.Authority, digest: hashes.HashAlgorithm, verdict: str
) -> None:
    leaf = authority.leaf()
    response = same_again(authority.ocsp(leaf), authority, digest)
    status = revocation.check([leaf, authority.der, ROOT.der], [], NOW, ocsp=[response])[0]
    assert status.verdict == verdict


def same_again(
    response: bytes, signer: factory.Authority, digest: hashes.HashAlgorithm, *more: bytes
) -> bytes:
    """The response signed again; ``more`` are responses whose answers are added to it."""
    status, wrapped = der.elements(der.element(response).content)
    parts = tbs(response)
    answers = b"".join(part.content for one in (response, *more) for part in tbs(one)[-1:])
    parts[-1] = der.element(hostile.tlv(hostile.SEQUENCE, answers))
    data = hostile.tlv(hostile.SEQUENCE, *(part.raw for part in parts))
    identifier, signature = signed(data, signer.private, digest)
    basic = hostile.tlv(
        hostile.SEQUENCE, data, identifier, hostile.tlv(hostile.BIT_STRING, b"\0", signature)
    )
    kind = next(der.elements(der.element(wrapped.content).content))
    inner = hostile.tlv(hostile.SEQUENCE, kind.raw, hostile.tlv(hostile.OCTETS, basic))
    return hostile.tlv(hostile.SEQUENCE, status.raw, hostile.tlv(wrapped.tag, inner))


def signed(data: bytes, key: object, digest: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """An algorithm identifier and a signature of it."""
    weak = isinstance(digest, hashes.SHA1)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        kind = hostile.oid("1.2.840.10045.4.1" if weak else "1.2.840.10045.4.3.2")
        return hostile.tlv(hostile.SEQUENCE, kind), key.sign(data, ec.ECDSA(digest))
    assert isinstance(key, rsa.RSAPrivateKey)
    kind = hostile.oid(f"1.2.840.113549.1.1.{5 if weak else 11}")
    return (
        hostile.tlv(hostile.SEQUENCE, kind, b"\x05\x00"),
        key.sign(data, padding.PKCS1v15(), digest),
    )


def tbs(response: bytes) -> list[der.Element]:
    """The parts of what a response without extensions has signed; the last are its answers."""
    _, wrapped = der.elements(der.element(response).content)
    _, octets = der.elements(der.element(wrapped.content).content)
    body = next(der.elements(der.element(octets.content).content))
    return list(der.elements(body.content))


def test_a_response_about_two_certificates_is_heard_of_each() -> None:
    other = ISSUING.leaf("other.example", {})
    revoked = ISSUING.ocsp(other, ocsp.OCSPCertStatus.REVOKED)
    for response in (
        same_again(ISSUING.ocsp(LEAF), ISSUING, SHA256, revoked),
        same_again(revoked, ISSUING, SHA256, ISSUING.ocsp(LEAF)),
    ):
        verdicts = [
            revocation.check([leaf, ISSUING.der, ROOT.der], [], NOW, ocsp=[response])[0].verdict
            for leaf in (LEAF, other)
        ]
        assert verdicts == ["good", "revoked"]


def test_a_path_length_counts_the_cas_below_and_not_the_leaf() -> None:
    above = ROOT.authority("Above", path_length=1)
    below = above.authority("Below", path_length=0)
    chain = path.validate(below.leaf(), [above.der, below.der], [ROOT.der], now=NOW)
    assert chain[1:] == [below.der, above.der, ROOT.der]


def test_of_two_paths_the_one_whose_ca_lasts_longest_is_taken() -> None:
    twins = [
        ROOT.authority("Example Issuing", path_length=0, end=NOW + days * DAY)
        for days in (10, 30, 20)
    ]
    chain = path.validate(LEAF, [twin.der for twin in twins], [ROOT.der], now=NOW)
    assert chain[1] == twins[1].der


@pytest.mark.parametrize("place", [0, 1], ids=["leaf", "intermediate"])
def test_no_certificate_of_a_path_has_unused_bits_in_its_signature(place: int) -> None:
    """The octet that counts them is not signed, so a copy could differ and still verify."""
    for serial in range(1, 20):
        above = ROOT.authority("Example Issuing", path_length=0, serial=serial)
        chain = [above.leaf(serial=serial), above.der]
        assert path.validate(chain[0], chain[1:], [ROOT.der], now=NOW)
        changed = bytearray(chain[place])
        changed[-257] = 1
        chain[place] = bytes(changed)
        with pytest.raises(PkiError):
            path.validate(chain[0], chain[1:], [ROOT.der], now=NOW)


def test_a_ca_certificate_is_no_client_though_its_key_usage_would_let_it() -> None:
    usage = ("key_cert_sign", "digital_signature")
    above = ROOT.authority("Above", key_usage=usage)
    below = above.leaf(ca=True, key_usage=usage)
    assert path.validate(below, [above.der], [ROOT.der], now=NOW)
    with pytest.raises(PkiError) as caught:
        path.validate(below, [above.der], [ROOT.der], purpose="clientAuth", now=NOW)
    assert caught.value.found == "a CA certificate"
