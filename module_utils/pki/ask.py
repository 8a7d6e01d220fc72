# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a certificate says that its revocation can be asked for. Addresses only, no network.

Anybody can write an address into a certificate. Only those of a certificate whose path was
verified may be opened; whoever makes an :class:`Ask` of another must not.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from . import names
from .certs import DECODE_ERRORS, to_der

MOST = 4  # addresses of each kind that a certificate may make us open
LONGEST = 2000  # characters of an address
_WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Ask:
    """A certificate without an answer, its issuer (both DER), and whom one could ask.

    ``crl_urls`` and ``ocsp_urls`` are http or https, in the certificate's order and the first
    few only. ``not_tried`` are its other addresses, fit to be shown.
    """

    certificate: bytes
    issuer: bytes
    crl_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    not_tried: tuple[str, ...] = ()

    @classmethod
    def of(cls, certificate: x509.Certificate, issuer: x509.Certificate) -> Ask:
        """What the certificate says; extensions that cannot be read say nothing."""
        crl, ocsp = _crl_addresses(certificate), ocsp_addresses(certificate)
        crl_urls, ocsp_urls = _usable(crl), _usable(ocsp)
        used = {*crl_urls, *ocsp_urls}
        return cls(
            certificate=to_der(certificate),
            issuer=to_der(issuer),
            crl_urls=crl_urls,
            ocsp_urls=ocsp_urls,
            not_tried=tuple(names.printable(url, 200) for url in (*crl, *ocsp) if url not in used)[
                : 2 * MOST
            ],
        )


def ocsp_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every URI of an OCSP responder in the authority information access."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (*DECODE_ERRORS, x509.ExtensionNotFound):
        return ()
    return tuple(
        one.access_location.value
        for one in found.value
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )


def _crl_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URIs of the distribution points for all reasons and of the issuer's own CRL."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    except (*DECODE_ERRORS, x509.ExtensionNotFound):
        return ()
    return tuple(
        name.value
        for point in found.value
        if not point.reasons and not point.crl_issuer
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


def _usable(addresses: tuple[str, ...]) -> tuple[str, ...]:
    web = [url for url in addresses if url.lower().startswith(_WEB) and len(url) <= LONGEST]
    return tuple(dict.fromkeys(web))[:MOST]
