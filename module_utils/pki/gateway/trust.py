# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listener trusts: the bundle of pinned CAs, their names, and how long a chain may be."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509

from .. import names
from ..trust_files import Ca, LoadedTrust


def verify_depth(trust: LoadedTrust) -> int:
    """How many CA certificates may stand between a leaf and an anchor, at most.

    The longest way from an allowed issuing CA up to an anchor through the pinned CAs:
    nothing that is not pinned may lengthen a chain.
    """
    by_subject = {_certificate(ca).subject: ca for ca in trust.authorities}
    anchors = {ca.sha256 for ca in trust.anchors}
    return max(_steps(ca, by_subject, anchors) for ca in trust.issuers)


def _steps(ca: Ca, by_subject: Mapping[x509.Name, Ca], anchors: set[str]) -> int:
    steps, seen = 0, set()
    while ca.sha256 not in anchors and ca.sha256 not in seen:
        seen.add(ca.sha256)
        steps += 1
        parent = by_subject.get(_certificate(ca).issuer)
        if parent is None:
            # Its issuer is not pinned: one step more to whatever anchor signed it.
            break
        ca = parent
    return steps


def issuers(trust: LoadedTrust) -> dict[str, list[str]]:
    """The names of the issuing CAs as gateways print them (RFC 2253), once each, by common name.

    Two generations of a CA may share a common name, or even the whole name.
    """
    found: dict[str, list[str]] = {}
    for ca in trust.issuers:
        subject = _certificate(ca).subject
        same = found.setdefault(names.common_names(subject), [])
        text = names.rfc2253(subject)
        if text not in same:
            same.append(text)
    return found


def bundle(trust: LoadedTrust) -> str:
    """Anchors and issuing CAs in one PEM text, each once."""
    unique = {ca.sha256: ca.pem.decode("ascii") for ca in (*trust.anchors, *trust.issuers)}
    return "".join(pem if pem.endswith("\n") else f"{pem}\n" for pem in unique.values())


def _certificate(ca: Ca) -> x509.Certificate:
    return x509.load_der_x509_certificate(ca.der)
