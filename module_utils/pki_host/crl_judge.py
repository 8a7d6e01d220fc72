# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a CRL may be used on this host: who vouches for it, for whom it speaks, and when.

The rules are the controller's (RFC 5280, 6.3.3), for a host that asks nobody: one full CRL of the
pinned CA itself, in time, of the right scope, and never older than the one in use.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Protocol

from . import crl_der, crl_signature
from .crl_der import CrlFacts
from .crl_signature import Issuer
from .crl_tlv import Malformed
from .crl_watch import Authority
from .errors import HostError

CONTROLLER = "controller"
_URL = "://"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_AGAIN = "fetch it again later, or ask the CA; the CRL in use stays"
_ASK = "ask the CA for a full CRL of its own; the CRL in use stays"


class Dated(Protocol):
    """What tells which of two CRLs of one CA is the older one; seconds of the epoch."""

    @property
    def number(self) -> int | None: ...
    @property
    def this_update(self) -> int: ...


def judge(
    der: str,
    facts: CrlFacts,
    authority: Authority,
    *,
    source: str,
    now: float,
    previous: Dated | None,
    tolerance: int = 0,
) -> None:
    """Refuse a CRL that this host must not use for the certificates of ``authority``.

    Args:
        der: path of the CRL, DER; ``facts`` are what :func:`crl_der.read` made of it.
        source: the URL it was fetched from; anything else means that somebody brought it.
        previous: the CRL of this CA that is in use, if there is one.
        tolerance: seconds that the CA's clock may be ahead of this host's.

    Raises:
        HostError: CRL-ISSUER, CRL-ALGORITHM, CRL-SIGNATURE, CRL-DELTA, CRL-INDIRECT, CRL-CRITICAL,
            CRL-SCOPE, CRL-PARTITION, CRL-NO-END, CRL-NOT-YET, CRL-EXPIRED, CRL-OLDER; the first
            that holds, in this order. CRL-UNREADABLE where the file is not what it was.
    """
    case = _Case(authority.name, source)
    _require_issuer(case, der, facts, authority)
    _require_whole(case, facts)
    _require_scope(case, facts, authority)
    _require_dates(case, facts, now, tolerance)
    if previous is not None:
        _require_newer(case, facts, previous)


class _Case:
    """Makes the refusals of one CRL."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self.source = name, source

    def refusal(self, rule: str, says: str, found: str, expected: str, next_step: str) -> HostError:
        return HostError(
            f"the CRL of {self._name} {says}",
            rule=rule,
            found=found,
            expected=expected,
            where=self.source,
            next_step=next_step,
        )


def _require_issuer(case: _Case, der: str, facts: CrlFacts, authority: Authority) -> None:
    issuer = _issuer(case, authority)
    if facts.issuer != issuer.subject:
        raise case.refusal(
            "CRL-ISSUER",
            "is of somebody else",
            "the name of another issuer",
            f"the name of {authority.name}, octet by octet",
            "correct the URL that is configured for this CA",
        )
    if not issuer.may_sign_crls:
        raise case.refusal(
            "CRL-ISSUER",
            "is of a CA that may not sign CRLs",
            "a key usage without cRLSign",
            "a CA certificate with cRLSign",
            "pin the certificate that the CA signs its CRLs with",
        )
    with crl_der.opened(der) as source:
        frame = crl_der.frame(source)
        scheme = crl_signature.scheme_of(frame.inner)
        if scheme is None or frame.inner != frame.outer:
            raise case.refusal(
                "CRL-ALGORITHM",
                "is signed in a way that proves nothing",
                f"algorithm {facts.algorithm}"
                + ("" if frame.inner == frame.outer else ", and another one outside"),
                "RSA or ECDSA with SHA-256, SHA-384 or SHA-512, the same inside and outside",
                _ASK,
            )
        signed = crl_signature.signed_by(source, frame, scheme, issuer)
    if not signed:
        raise case.refusal(
            "CRL-SIGNATURE",
            "is not signed by it",
            "a signature of another key, or of other octets",
            f"a signature by the key of {authority.name}",
            _AGAIN,
        )


def _issuer(case: _Case, authority: Authority) -> Issuer:
    try:
        return crl_signature.issuer_of(authority.pem)
    except Malformed as exc:
        found = str(exc)
    raise case.refusal(
        "CRL-ISSUER",
        "cannot be judged",
        found,
        "the CA's certificate, PEM",
        "run the playbooks again; they write what this host watches",
    )


def _require_whole(case: _Case, facts: CrlFacts) -> None:
    if facts.delta:
        raise case.refusal("CRL-DELTA", "is a delta CRL", "a deltaCRLIndicator", "a full CRL", _ASK)
    if facts.indirect:
        raise case.refusal(
            "CRL-INDIRECT",
            "is an indirect CRL",
            "entries of several issuers",
            "entries of this CA only",
            _ASK,
        )
    if facts.unknown_critical:
        raise case.refusal(
            "CRL-CRITICAL",
            "has critical extensions that nobody here understands",
            ", ".join(facts.unknown_critical),
            "no critical extension but issuingDistributionPoint",
            _ASK,
        )


def _require_scope(case: _Case, facts: CrlFacts, authority: Authority) -> None:
    if facts.scope not in (crl_der.ALL, authority.needs):
        raise case.refusal(
            "CRL-SCOPE",
            "does not cover the certificates that it is needed for",
            f"scope {facts.scope}",
            f"scope {crl_der.ALL} or {authority.needs}",
            "configure the URL of the CRL that covers them",
        )
    if not facts.named:
        return
    fetched = _URL in case.source
    allowed = (case.source,) if fetched else authority.urls
    if allowed and not set(allowed) & set(facts.idp_uris):
        raise case.refusal(
            "CRL-PARTITION",
            "is a part for another distribution point",
            f"it names {', '.join(facts.idp_uris) or 'no URL'}",
            f"it names {'the URL it came from' if fetched else ' or '.join(allowed)}",
            "configure the URL that the CRL names, as certificates name it",
        )


def _require_dates(case: _Case, facts: CrlFacts, now: float, tolerance: int) -> None:
    if facts.next_update is None:
        raise case.refusal(
            "CRL-NO-END", "has no end", "no nextUpdate", "a nextUpdate (RFC 5280, 5.1.2.5)", _ASK
        )
    if facts.this_update > now + tolerance:
        raise case.refusal(
            "CRL-NOT-YET",
            "is not valid yet",
            f"valid only from {_stamp(facts.this_update)}",
            f"valid at {_stamp(now)}",
            "compare this host's clock with the CA's",
        )
    if facts.next_update < now:
        raise case.refusal(
            "CRL-EXPIRED",
            "is no longer valid",
            f"stale since {_stamp(facts.next_update)}",
            f"valid at {_stamp(now)}",
            "tell the CA that its distribution point serves an old CRL",
        )


def _require_newer(case: _Case, facts: CrlFacts, previous: Dated) -> None:
    numbers = (facts.number, previous.number)
    if facts.number is not None and previous.number is not None and facts.number < previous.number:
        found, expected = (f"number {one}" for one in numbers)
    elif facts.this_update < previous.this_update:
        found, expected = (_stamp(one.this_update) for one in (facts, previous))
    else:
        return
    raise case.refusal(
        "CRL-OLDER",
        "is older than the one in use",
        found,
        f"{expected} or later",
        "ask the CA why it went back; the CRL in use stays",
    )


def _stamp(seconds: float) -> str:
    # Not fromtimestamp(): it fails for years that a CRL may name.
    return (_EPOCH + timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")
