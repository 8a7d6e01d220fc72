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
from cryptography.x509.oid import AuthorityInformationAccessOID

from .download import Patience, download
from .errors import PkiError

_TYPE = "application/ocsp-request"
_MOST = 3


def responders(certificate: x509.Certificate) -> tuple[str, ...]:
    """The http addresses of a certificate's OCSP responders, the first few of them."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return ()
    named = [
        one.access_location.value
        for one in found.value
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]
    return tuple(url for url in named if url.startswith(("http://", "https://")))[:_MOST]


def ask(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    addresses: Sequence[str],
    patience: Patience,
) -> list[bytes]:
    """The first responder's answer that comes; PkiError of the last one when none does."""
    # SHA-1 here is a name for a key and protects nothing; responders are bound to know it only.
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())
    body = builder.build().public_bytes(Encoding.DER)
    error: PkiError | None = None
    for address in addresses:
        try:
            return [download(address, patience, body=body, content_type=_TYPE)]
        except PkiError as exc:
            error = exc
    if error is None:
        return []
    raise error
