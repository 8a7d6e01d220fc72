# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed CRLs with as many entries as a test or a benchmark wants, made in a second.

The builder of the library makes an object an entry and needs minutes and gigabytes for a million.
Here the entries are written as bytes, and the whole is signed like any other CRL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509 import CRLNumber

from .pki_factory import NOW, Authority, tlv

# Serials of a large list: nine octets, far from any that a test has of its own.
FIRST_SERIAL = 0x40 << 64
_STEP = 0x9E3779B97F4A7C15  # odd, so that the serials differ and look like anybody's
_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


def serial(number: int) -> int:
    """The serial of the entry of that number."""
    return FIRST_SERIAL + (number * _STEP) % (1 << 64)


def entry(value: int, extensions: bytes = b"", when: datetime = NOW) -> bytes:
    """One entry; ``extensions`` are encoded Extension values."""
    content = tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    content += tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x30, content + (tlv(0x30, extensions) if extensions else b""))


def extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    """One encoded Extension."""
    name = x509.ObjectIdentifier(oid)
    encoded = x509.CertificatePolicies([x509.PolicyInformation(name, None)]).public_bytes()[4:]
    return tlv(0x30, encoded + (b"\x01\x01\xff" if critical else b"") + tlv(0x04, value))


def reason(code: int, critical: bool = False) -> bytes:
    """The reason of an entry by its number: 1 is keyCompromise, 8 removeFromCRL."""
    return extension("2.5.29.21", b"\x0a\x01" + bytes([code]), critical)


def crl(
    issuer: Authority,
    entries: Sequence[bytes],
    *,
    start: datetime = NOW,
    end: datetime | None = None,
    number: int | None = 1,
    extensions: bytes = b"",
) -> bytes:
    """A CRL of exactly these entries. Without number and extensions it is one of version 1."""
    if number is not None:
        extensions += extension("2.5.29.20", CRLNumber(number).public_bytes())
    end = end or start.replace(year=start.year + 1)
    parts = [
        tlv(0x02, b"\x01") if extensions else b"",
        _SHA256_RSA,
        issuer.certificate.subject.public_bytes(),
        *(tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode()) for moment in (start, end)),
        tlv(0x30, b"".join(entries)) if entries else b"",
        tlv(0xA0, tlv(0x30, extensions)) if extensions else b"",
    ]
    signed = tlv(0x30, b"".join(parts))
    signature = issuer.private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return tlv(0x30, signed + _SHA256_RSA + tlv(0x03, b"\0" + signature))


def large(issuer: Authority, size: int, more: Sequence[bytes] = ()) -> bytes:
    """A CRL of ``size`` entries of 28 octets and then ``more``: a million are 27 MiB."""
    when = tlv(0x17, NOW.strftime("%y%m%d%H%M%SZ").encode())
    head = bytes([0x30, 11 + len(when), 0x02, 9])
    octets: Callable[[int], bytes] = lambda number: serial(number).to_bytes(9, "big")  # noqa: E731
    return crl(issuer, [*(head + octets(number) + when for number in range(size)), *more])
