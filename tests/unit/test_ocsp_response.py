# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may sign an OCSP response for a CA, and what in a response makes it say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import der, path, revocation
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
LEAF = ISSUING.leaf()
GOOD = ISSUING.ocsp(LEAF)


def verdict(response: bytes) -> str:
    return revocation.check([LEAF, ISSUING.der], (), NOW, ocsp=[response])[0].verdict


def appointed(private: Any = None, **options: Any) -> bytes:
    """A good response of a responder that the issuing CA appointed."""
    private = private or factory.key("responder")
    certificate = ISSUING.leaf(
        "Responder",
        {},
        public=private.public_key(),
        **{"eku": [ExtendedKeyUsageOID.OCSP_SIGNING], **options},
    )
    responder = x509.load_der_x509_certificate(certificate)
    return ISSUING.ocsp(LEAF, responder=responder, signer=private)


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, "good"),
        ({"key_usage": ()}, "good"),
        ({"key_usage": ("digital_signature",)}, "good"),
        ({"key_usage": ("content_commitment",)}, "good"),
        ({"key_usage": ("key_encipherment",)}, "unknown"),
        ({"key_usage": ("crl_sign",)}, "unknown"),
        ({"extra": [(x509.OCSPNoCheck(), False)]}, "good"),
        ({"extra": [(x509.OCSPNoCheck(), True)]}, "good"),
        ({"extra": [(UNKNOWN, False)]}, "good"),
        ({"extra": [(UNKNOWN, True)]}, "unknown"),
        ({"eku": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]}, "unknown"),
        ({"end": NOW}, "good"),
        ({"end": NOW - factory.SECOND}, "unknown"),
        ({"start": NOW + factory.SECOND}, "unknown"),
    ],
)
def test_a_responder_signs_only_what_its_certificate_lets_it(
    options: dict[str, Any], answer: str
) -> None:
    assert verdict(appointed(**options)) == answer


@pytest.mark.parametrize(
    ("private", "answer"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "good"),
        (ec.generate_private_key(ec.SECP256K1()), "unknown"),
        (rsa.generate_private_key(65537, 1024), "unknown"),
    ],
    ids=["P-256", "secp256k1", "RSA-1024"],
)
def test_a_responder_with_a_weak_key_answers_nothing(private: Any, answer: str) -> None:
    assert verdict(appointed(private)) == answer


def opened(response: bytes) -> tuple[list[bytes], list[bytes], int]:
    """Envelope (status, kind, algorithm), the signed fields, and which of those is the parts."""
    status, wrapped = der.elements(der.element(response).content)
    kind, octets = der.elements(der.element(wrapped.content).content)
    basic = tuple(der.elements(der.element(octets.content).content))
    signed = [one.raw for one in der.elements(basic[0].content)]
    place = next(number for number, one in enumerate(signed) if one[0] == der.SEQUENCE)
    return [status.raw, kind.raw, basic[1].raw], signed, place


def parts_of(response: bytes) -> list[bytes]:
    _, signed, place = opened(response)
    return [one.raw for one in der.elements(der.element(signed[place]).content)]


def rebuilt(parts: Sequence[bytes]) -> bytes:
    """``GOOD`` with other parts, signed again by the issuing CA."""
    (status, kind, algorithm), fields, place = opened(GOOD)
    fields[place] = sequence(parts)
    signed = sequence(fields)
    signature = ISSUING.private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    basic = sequence([signed, algorithm, factory.tlv(der.BIT_STRING, b"\0" + signature)])
    return sequence(
        [status, factory.tlv(0xA0, sequence([kind, factory.tlv(der.OCTET_STRING, basic)]))]
    )


def sequence(parts: Sequence[bytes]) -> bytes:
    return factory.tlv(der.SEQUENCE, b"".join(parts))


def with_extension(part: bytes, critical: bool) -> bytes:
    """A part of a response with an extension of its own, 1.2.3.4.5."""
    flag = [factory.tlv(0x01, b"\xff")] if critical else []
    extension = sequence(
        [b"\x06\x04\x2a\x03\x04\x05", *flag, factory.tlv(der.OCTET_STRING, b"\x05\x00")]
    )
    inside = [one.raw for one in der.elements(der.element(part).content)]
    return sequence([*inside, factory.tlv(0xA1, sequence([extension]))])


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("critical", "answer"), [(False, "good"), (True, "unknown")])
def test_a_critical_extension_of_a_part_makes_the_response_say_nothing(
    several: bool, critical: bool, answer: str
) -> None:
    (part,) = parts_of(GOOD)
    assert (
        verdict(rebuilt([*([part] if several else []), with_extension(part, critical)])) == answer
    )


def test_a_response_may_speak_of_a_certificate_twice_and_the_worse_word_counts() -> None:
    good, worse = parts_of(GOOD), parts_of(ISSUING.ocsp(LEAF, ocsp.OCSPCertStatus.REVOKED))
    assert verdict(rebuilt(good)) == "good"
    assert verdict(rebuilt([*good, *good])) == "good"
    assert verdict(rebuilt([*good, *worse])) == "revoked"
    assert verdict(rebuilt([*worse, *good])) == "revoked"
    assert verdict(rebuilt([])) == "unknown"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_response_cut_or_changed_anywhere_is_an_answer_or_none_but_never_a_crash(
    data: st.DataObject,
) -> None:
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    response = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    statuses = revocation.check([LEAF, ISSUING.der, ROOT.der], [ROOT.crl()], NOW, ocsp=[response])
    assert statuses[0].verdict in ("good", "unknown")
    assert statuses[0].source or statuses[0].why
    assert statuses[1].verdict == "good"


def test_a_response_answers_where_a_crl_is_missing_and_each_certificate_needs_one() -> None:
    ask = {"now": NOW + DAY / 24}
    leaf_only = {"crls": [], "ocsp": [GOOD]}
    with pytest.raises(PkiError) as caught:
        path.validate(LEAF, [ISSUING.der], [ROOT.der], **leaf_only, **ask)  # type: ignore[arg-type]
    assert "Example Issuing" in caught.value.message
    both = {"ocsp": [GOOD, ROOT.ocsp(ISSUING.der)]}
    assert path.validate(LEAF, [ISSUING.der], [ROOT.der], **both, **ask)  # type: ignore[arg-type]
