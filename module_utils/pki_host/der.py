# SPDX-License-Identifier: GPL-3.0-or-later
"""The one field of a certificate that is asked for in every run, read without a program."""

from __future__ import annotations

import hashlib
import ssl

_SEQUENCE, _VERSION = 0x30, 0xA0
# tbsCertificate (RFC 5280, 4.1): serial number, signature, issuer, validity, subject, key.
_BEFORE_KEY = 5


def spki_sha256(pem: bytes) -> str:
    """SHA-256 of the first certificate's SubjectPublicKeyInfo; empty when it cannot be read."""
    begin, end = pem.find(b"-----BEGIN CERTIFICATE-----"), pem.find(b"-----END CERTIFICATE-----")
    try:
        block = pem[begin : end + len(b"-----END CERTIFICATE-----")].decode("ascii")
        der = ssl.PEM_cert_to_DER_cert(block)
        _, at, _ = _element(der, 0)
        _, at, _ = _element(der, at)
        tag, _, after = _element(der, at)
        at = after if tag == _VERSION else at
        for _ in range(_BEFORE_KEY):
            _, _, at = _element(der, at)
        tag, _, after = _element(der, at)
    except (ValueError, IndexError):
        return ""
    return hashlib.sha256(der[at:after]).hexdigest() if tag == _SEQUENCE else ""


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the element at ``at``, where its content begins, and where it ends."""
    length, begin = data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    if begin + length > len(data):
        raise ValueError("an element that is longer than the rest")
    return data[at], begin, begin + length
