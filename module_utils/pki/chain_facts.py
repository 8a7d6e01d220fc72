# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of kind ``chain``: the path of a certificate to a pinned anchor.

Pure. ``reply.accept`` has the path already; :func:`find` builds it for whoever only observes,
and sees past dates, so that an expired CA is a date and not a broken path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509

from . import certificate_facts, csr, names, observed, path, revocation, x509_der
from .certificate_facts import PENDING, Revocation
from .certs import DECODE_ERRORS, to_der
from .errors import PkiError
from .expectation import Expectation

_NONE = Revocation("none")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A CA that the inventory pins."""

    common_name: str
    name: str
    sha256: str

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Pinned:
        """How facts name a CA certificate."""
        der = to_der(certificate)
        return cls(
            observed.text(names.common_names(certificate.subject)),
            observed.text(names.rfc2253(certificate.subject), 4000),
            hashlib.sha256(der).hexdigest(),
        )

    def as_fact(self) -> dict[str, str]:
        """The CA as an entry of a document's list."""
        return {"common_name": self.common_name, "name": self.name, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Found:
    """A path, leaf first and anchor last, or the leaf alone and why there is none.

    ``verified`` says that names, signatures and constraints hold, dates apart.
    """

    certificates: path.Chain
    verified: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Around:
    """What a path's facts need besides its certificates.

    ``answers`` are about the certificates below the anchor, in their order; without any the
    revocation is pending. ``at_hand`` says whether anything could be asked.
    """

    expectation: Expectation
    now: datetime
    anchors: Sequence[Pinned]
    issuers: Sequence[Pinned]
    state: str = "presented"
    answers: Sequence[Revocation] = ()
    at_hand: bool = False


def answers(statuses: Sequence[revocation.Status], *, pending: bool) -> tuple[Revocation, ...]:
    """Answers of :func:`.revocation.check` as facts.

    ``pending`` is for whoever had nothing to ask: what has no answer is then pending instead
    of unknown, which rules about revocation leave alone.
    """
    return tuple(
        PENDING
        if pending and status.verdict == "unknown"
        else Revocation(status.verdict, status.reason or status.why)
        for status in statuses
    )


def find(
    leaf: x509.Certificate,
    pool: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> Found:
    """The path of ``leaf`` to one of ``anchors``; never raises for what it is given."""
    try:
        return Found(path.build(leaf, pool, anchors, now=now, judge_leaf=False), True)
    except PkiError as exc:
        problem = f"{exc.message}: {exc.found}"
        if exc.rule != path.RULE_EXPIRY:
            return Found((leaf,), False, problem)
    outdated = path.dateless(leaf, pool, anchors)
    start = max(one.not_valid_before_utc for one in outdated)
    end = min(one.not_valid_after_utc for one in outdated)
    if start > end:
        return Found(outdated, False, problem)
    try:
        return Found(path.build(leaf, pool, anchors, now=start, judge_leaf=False), True)
    except PkiError as exc:
        return Found(outdated, False, f"{exc.message}: {exc.found}")


def document(found: Found, around: Around) -> dict[str, Any]:
    """The facts of one path."""
    return {
        "state": around.state,
        "verified": found.verified,
        "problem": observed.text(found.problem, 1500),
        "leaf_issuer": _issuer(found.certificates[0]),
        "certificates": [
            _certificate(one, at, found, around) for at, one in enumerate(found.certificates)
        ],
        **_of_place(around),
    }


def unreadable(problem: str, around: Around) -> dict[str, Any]:
    """The facts where there is no certificate that could have a path."""
    return {
        "state": "unreadable",
        "verified": False,
        "problem": observed.text(problem, 1500),
        "leaf_issuer": "",
        "certificates": [],
        **_of_place(around),
    }


def _of_place(around: Around) -> dict[str, Any]:
    return {
        "environment": observed.text(str(around.expectation.environment), 63),
        "purposes": sorted(str(purpose) for purpose in around.expectation.purposes),
        "expected": observed.expected(around.expectation),
        "allowed_issuers": [ca.as_fact() for ca in around.issuers[:100]],
        "pinned_anchors": [ca.as_fact() for ca in around.anchors[:100]],
        "revocation_at_hand": around.at_hand,
    }


def _certificate(
    certificate: x509.Certificate, at: int, found: Found, around: Around
) -> dict[str, Any]:
    complete = found.verified or len(found.certificates) > 1
    last = complete and at == len(found.certificates) - 1
    if last or not complete:
        answer = _NONE
    else:
        answer = around.answers[at] if at < len(around.answers) else PENDING
    validity = certificate_facts.validity(certificate, around.now)
    return {
        "role": "leaf" if at == 0 else "anchor" if last else "intermediate",
        **_constant(to_der(certificate)),
        "seconds_since_start": validity["seconds_since_start"],
        "seconds_left": validity["seconds_left"],
        "revocation": answer.as_fact(),
    }


@lru_cache(maxsize=256)
def _constant(der: bytes) -> dict[str, Any]:
    """What no clock changes; a CA is part of many paths."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        raw = x509_der.certificate(der)
        use = certificate_facts.usages(raw.extensions, [])
    except ValueError:
        raw, use = None, {"ca": False, "crl_distribution_points": []}
    public = observed.key(certificate.public_key)
    return {
        "common_name": observed.subject(raw.subject)["common_name"] if raw else "",
        "name": _name(certificate),
        "sha256": hashlib.sha256(der).hexdigest(),
        "self_issued": _issuer(certificate) == _name(certificate),
        "ca": use["ca"],
        "key_algorithm": public["algorithm"],
        "key_bits": public["bits"],
        "signature_hash": csr.signature_hash(certificate),
        "crl_distribution_points": use["crl_distribution_points"],
    }


def _name(certificate: x509.Certificate) -> str:
    try:
        return observed.text(names.rfc2253(certificate.subject), 4000)
    except DECODE_ERRORS:
        return "unreadable subject"


def _issuer(certificate: x509.Certificate) -> str:
    try:
        return observed.text(names.rfc2253(certificate.issuer), 4000)
    except DECODE_ERRORS:
        return "unreadable issuer"
