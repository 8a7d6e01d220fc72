# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the OCSP responders that a certificate names. An edge: network.

Only for a certificate whose path to a pinned anchor was verified: an address that anybody
could have written is not opened. What comes back is judged by :mod:`.revocation`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from .ask import Ask
from .download import Patience, download
from .errors import PkiError

TYPE = "application/ocsp-request"


def responders(certificate: x509.Certificate) -> tuple[str, ...]:
    """The http addresses of a certificate's OCSP responders, the first few of them."""
    return Ask.of(certificate, certificate).ocsp_urls


def request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The DER of the question about one certificate."""
    # SHA-1 here is a name for a key and protects nothing; responders are bound to know it only.
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())
    return builder.build().public_bytes(Encoding.DER)


def ask(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    addresses: Sequence[str],
    patience: Patience,
) -> list[bytes]:
    """The first responder's answer that comes; PkiError of the last one when none does."""
    body = request(certificate, issuer)
    error: PkiError | None = None
    for address in addresses:
        try:
            return [download(address, patience, body=body, content_type=TYPE)]
        except PkiError as exc:
            error = exc
    if error is None:
        return []
    raise error
