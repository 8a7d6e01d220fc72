# SPDX-License-Identifier: GPL-3.0-or-later
"""What every judge of certificates needs: exact bytes, digests, dates and words for them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from . import der, names

# What a hostile or damaged certificate makes the library raise when a part is first read.
DECODE_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_ORDINARY_BYTES = 16 * 1024


def in_seconds(now: datetime) -> datetime:
    """``now`` in whole seconds of UTC: certificates and CRLs know nothing finer.

    Raises:
        ValueError: a naive time, which is a fault of the caller and not of the reply.
    """
    if now.tzinfo is None:
        raise ValueError("the clock must be an aware time")
    return now.astimezone(UTC).replace(microsecond=0)


def load(encoded: bytes) -> x509.Certificate:
    """A certificate from its DER; raises one of DECODE_ERRORS.

    A batch has a few CAs in many chains: what was parsed lately is the same value again, which
    keeps the parts it has decoded. Longer ones than certificates ordinarily are come anew.
    """
    if len(encoded) > _ORDINARY_BYTES:
        return x509.load_der_x509_certificate(encoded)
    return _remembered(bytes(encoded))


@lru_cache(maxsize=256)
def _remembered(encoded: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(encoded)


def to_der(certificate: x509.Certificate) -> bytes:
    """The certificate's exact bytes."""
    return certificate.public_bytes(Encoding.DER)


def sha256(certificate: x509.Certificate) -> str:
    """Fingerprint: SHA-256 of the DER, lower-case hexadecimal."""
    return hashlib.sha256(to_der(certificate)).hexdigest()


def name_bytes(certificate: x509.Certificate, field: str) -> bytes:
    """DER of subject or issuer; a name that cannot be decoded equals no other."""
    try:
        name = certificate.subject if field == "subject" else certificate.issuer
        return name.public_bytes()
    except DECODE_ERRORS:
        return b"unreadable:" + field.encode() + to_der(certificate)


def subject_of(certificate: x509.Certificate) -> str:
    """Whom a certificate names, for messages; the name may be damaged and is read only now."""
    try:
        return names.display(certificate.subject)
    except DECODE_ERRORS:
        return "(unreadable name)"


def issuer_of(certificate: x509.Certificate) -> str:
    """Whom a certificate names as its issuer, for messages."""
    try:
        return names.display(certificate.issuer)
    except DECODE_ERRORS:
        return "(unreadable name)"


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*DECODE_ERRORS, InvalidSignature):
        return False
    return True


def check_signature_octets(signed: bytes) -> None:
    """Refuse a certificate or CRL whose signature has unused bits.

    No algorithm here makes such a signature, and the library ignores the octet: one bit
    of a signed object could be changed and it would still verify.

    Raises:
        ValueError: unused bits, or not the outer shape of a signed object.
    """
    # Places instead of elements: a CRL may be as long as a memory is not.
    whole = der.span(signed)
    first = der.span(signed, whole.start)
    second = der.span(signed, first.end)
    third = der.span(signed, second.end)
    octets = third.tag == der.BIT_STRING and signed[third.start : third.start + 1] == b"\0"
    if third.end != whole.end or not octets:
        raise der.Malformed("the signature is not a whole number of octets")


def short(digest: str) -> str:
    """A digest shortened for the eye, as in 3f9a…c1."""
    return f"{digest[:4]}…{digest[-2:]}"


def stamp(moment: datetime) -> str:
    """A moment for messages, in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
