# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a gateway can use a set of CRLs without refusing every good peer. Pure.

A gateway hands the whole set to its TLS library, and the library looks for a CRL that speaks for
each certificate of a peer's chain. One that checks the whole chain (OpenSSL with CRL_CHECK_ALL)
wants one for the *root itself*, too, and finds none whose issuingDistributionPoint names an address
that this very certificate does not name (error 44, X509_V_ERR_DIFFERENT_CRL_SCOPE). No gateway says
so when it loads the file; afterwards it refuses everybody. So it is said here, before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import certs, crl_scope
from .crl import Crl
from .crl_scope import Point
from .errors import PkiError
from .trust_files import Ca, LoadedTrust

RULE = "CRL-SCOPE"


@dataclass(frozen=True, slots=True)
class Leaves:
    """Where the end entity certificates of an issuing CA say that its CRL is.

    ``points`` has one entry a kind of certificate: the addresses it names, none for one without
    cRLDistributionPoints. ``source`` says in words how this is known.
    """

    points: tuple[frozenset[Point], ...]
    source: str
    declared: bool = False


@dataclass(frozen=True, slots=True)
class _Covered:
    """What a CRL has to speak for: one certificate, or those of one kind."""

    what: str
    authority: bool
    points: frozenset[Point]
    verb: str = "names"
    source: str = ""
    declared: bool = False


def judge(
    trust: LoadedTrust,
    crls: Sequence[Crl],
    leaves: Mapping[str, Leaves],
    product: str,
    *,
    whole_chain: bool = True,
) -> tuple[PkiError, ...]:
    """Why gateways of this product would refuse good peers with these CRLs; empty if they do not.

    ``whole_chain``: its TLS library wants a CRL for every CA certificate of a chain, the root
    included; one that does not looks at the leaf only. ``leaves`` is by SHA-256 of the issuing CA;
    of one that is not there, its ``crl_urls`` count as what its certificates name. A CA without CRL
    is not spoken of here: the set is incomplete then.
    """
    unique = {ca.sha256: ca for ca in trust.authorities}
    faults = (
        _fault_of(ca, crl, list(_covered(ca, trust, leaves, whole_chain)), product)
        for ca in unique.values()
        for crl in crls
        if not crl.fault_of(ca.certificate)
    )
    return tuple(fault for fault in faults if fault is not None)


def matters(crls: Sequence[Crl]) -> bool:
    """Whether any of them leaves certificates out at all: most do not, and cost nothing."""
    return any(crl.silent or crl.idp is not None for crl in crls)


def _covered(
    ca: Ca, trust: LoadedTrust, leaves: Mapping[str, Leaves], whole_chain: bool
) -> Iterator[_Covered]:
    """Everything that the CRL of a CA is looked at for."""
    if any(one.sha256 == ca.sha256 for one in trust.issuers):
        known = leaves.get(ca.sha256) or declared(ca)
        what, source = "certificates it issues", f" ({known.source})"
        for points in known.points:
            yield _Covered(what, False, points, "name", source, known.declared)
    if not whole_chain:
        return
    for other in {one.sha256: one for one in trust.authorities}.values():
        if not certs.issued_by(other.certificate, ca.certificate):
            continue
        own = other.sha256 == ca.sha256
        what = "the certificate of the root itself" if own else f"the CA {other.common_name}"
        yield _Covered(what, True, crl_scope.points_of(other.certificate))


def declared(ca: Ca) -> Leaves:
    """What the inventory says that the certificates of a CA name: its ``crl_urls``."""
    return Leaves((frozenset(ca.crl_urls),), "by crl_urls in trust.yml", declared=True)


def _fault_of(ca: Ca, crl: Crl, covered: Sequence[_Covered], product: str) -> PkiError | None:
    if crl.silent:
        return _error(ca, crl, product, f"it {crl.silent}", _ASK_FULL)
    for one in covered:
        why = crl_scope.outside(crl.idp, one.authority, one.points)
        if not why:
            continue
        step = _NAME_URLS if one.declared and _elsewhere(why) else _ASK_FULL
        return _error(ca, crl, product, f"it {_said(crl, one, why)}", step)
    return None


def _elsewhere(why: str) -> bool:
    return "another distribution point" in why


def _said(crl: Crl, one: _Covered, why: str) -> str:
    if not _elsewhere(why):
        return f"{why}, and {one.what} would have none"
    where = ", ".join(crl.distribution_points[:3]) or "a directory name"
    named = ", ".join(sorted(map(_shown, one.points))[:3]) or "no address"
    return f"speaks for {where} only, and {one.what} {one.verb} {named}{one.source}"


def _shown(point: Point) -> str:
    return point if isinstance(point, str) else "a directory name"


_ASK_FULL = (
    "ask the CA for a full CRL without an address in its issuingDistributionPoint, and put its "
    "location under crl_urls; or use a gateway whose library checks the CRL of the leaf only"
)
_NAME_URLS = (
    "put the addresses that the CA's certificates name in cRLDistributionPoints under crl_urls in "
    "trust.yml; if the CRL is for none of them, ask the CA for a full CRL"
)


def _error(ca: Ca, crl: Crl, product: str, found: str, next_step: str) -> PkiError:
    return PkiError(
        f"with the CRL of {ca.common_name}, {product} would refuse every good peer",
        rule=RULE,
        found=f"{crl.describe()}; {found}",
        expected=f"a CRL that its TLS library takes for every certificate that {ca.common_name} "
        "issued: complete, and without an issuingDistributionPoint or with the address that "
        "each of them names",
        where=f"CRL of {ca.common_name}",
        next_step=f"{next_step}; the gateways keep the CRLs they have",
    )
