# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates a CRL's issuingDistributionPoint leaves out (RFC 5280, 5.2.5 and 6.3.3). Pure.

One answer for two who ask: our own judgement of a chain, and the question what a gateway's TLS
library will make of the CRL.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from .crl import extension

#: A name of a distribution point as it is compared: a URI by character, a directory name by DER.
Point = str | bytes


def outside(
    idp: x509.IssuingDistributionPoint | None, authority: bool, points: frozenset[Point]
) -> str:
    """Why a certificate is left out, or empty.

    ``authority``: whether it is a CA's. ``points``: the names of its distribution points, as
    :func:`points_of` reads them.
    """
    if idp is None:
        return ""
    if idp.only_contains_user_certs and authority:
        return "covers user certificates only"
    if idp.only_contains_ca_certs and not authority:
        return "covers CA certificates only"
    if idp.full_name is None or encoded(idp.full_name) & points:
        return ""
    return "is for another distribution point than the certificate names"


def points_of(certificate: x509.Certificate) -> frozenset[Point]:
    """Names of a certificate's distribution points that speak for all reasons and for its issuer.

    Raises:
        DECODE_ERRORS: an extension cannot be read.
    """
    found = extension(certificate.extensions, x509.CRLDistributionPoints)
    usable = [point for point in found or () if not point.reasons and not point.crl_issuer]
    return frozenset(name for point in usable for name in encoded(point.full_name))


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is a CA's certificate; raises DECODE_ERRORS."""
    constraints = extension(certificate.extensions, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def encoded(general: Iterable[x509.GeneralName] | None) -> frozenset[Point]:
    """The names among general names that are compared."""
    return frozenset(
        one.value.public_bytes() if isinstance(one, x509.DirectoryName) else one.value
        for one in general or ()
        if isinstance(one, x509.DirectoryName | x509.UniformResourceIdentifier)
    )
