# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of what is looked at, and impostors that are right in all but one thing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509 import ocsp
from pki import der, path, reading, reply, revocation
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
LEAF = ISSUING.leaf()


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


def test_an_answer_signed_with_sha1_is_no_answer() -> None:
    chain = [LEAF, ISSUING.der, ROOT.der]
    sound = ISSUING.ocsp(LEAF)
    assert revocation.check(chain, [], NOW, ocsp=[sound])[0].verdict == "good"
    assert revocation.check(chain, [], NOW, ocsp=[same_again(sound, 11)])[0].verdict == "good"
    assert revocation.check(chain, [], NOW, ocsp=[same_again(sound, 5)])[0].verdict == "unknown"


def same_again(response: bytes, algorithm: int, *more: bytes) -> bytes:
    """The response signed again, by the last arc of an RSA algorithm (5 is SHA-1, 11 SHA-256).

    ``more`` are responses whose answers are added to it.
    """
    status, wrapped = der.elements(der.element(response).content)
    parts = tbs(response)
    answers = b"".join(part.content for one in (response, *more) for part in tbs(one)[-1:])
    parts[-1] = der.element(hostile.tlv(hostile.SEQUENCE, answers))
    data = hostile.tlv(hostile.SEQUENCE, *(part.raw for part in parts))
    digest = hashes.SHA1() if algorithm == 5 else hashes.SHA256()
    signature = ISSUING.private.sign(data, padding.PKCS1v15(), digest)
    identifier = hostile.tlv(
        hostile.SEQUENCE, hostile.oid(f"1.2.840.113549.1.1.{algorithm}"), b"\x05\x00"
    )
    basic = hostile.tlv(
        hostile.SEQUENCE, data, identifier, hostile.tlv(hostile.BIT_STRING, b"\0", signature)
    )
    kind = next(der.elements(der.element(wrapped.content).content))
    inner = hostile.tlv(hostile.SEQUENCE, kind.raw, hostile.tlv(hostile.OCTETS, basic))
    return hostile.tlv(hostile.SEQUENCE, status.raw, hostile.tlv(wrapped.tag, inner))


def tbs(response: bytes) -> list[der.Element]:
    """The parts of what a response without extensions has signed; the last are its answers."""
    _, wrapped = der.elements(der.element(response).content)
    _, octets = der.elements(der.element(wrapped.content).content)
    signed = next(der.elements(der.element(octets.content).content))
    return list(der.elements(signed.content))


def test_a_response_about_two_certificates_is_heard_of_each() -> None:
    other = ISSUING.leaf("other.example", {})
    revoked = ISSUING.ocsp(other, ocsp.OCSPCertStatus.REVOKED)
    for response in (
        same_again(ISSUING.ocsp(LEAF), 11, revoked),
        same_again(revoked, 11, ISSUING.ocsp(LEAF)),
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
