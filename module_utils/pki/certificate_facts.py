# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of kind ``certificate``: an issued certificate from its raw DER, and where it stands.

Pure. ``reply.accept`` judges with them what a person pasted, the collector afterwards what is
committed. What cannot be read at all is :func:`unreadable`: a document that says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509

from . import csr, names, observed, x509_der
from .certs import DECODE_ERRORS, in_seconds, sha256, to_der
from .der import why
from .errors import PkiError
from .expectation import Expectation
from .key_hygiene import Limits

_DAY = 86400  # seconds


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The versions of the same certificate before and after one.

    Attributes:
        predecessor_ends: end of the version accepted before, None when there is none.
        successor_requested: whether a later version has a request that still stands.
        successor_accepted: when a later version was first accepted, None when none was.
    """

    predecessor_ends: datetime | None = None
    successor_requested: bool = False
    successor_accepted: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What accepted.yml says: which certificate (SHA-256 of its DER), and when."""

    certificate_sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Revocation:
    """An answer about revocation: good, revoked, unknown, pending or none; and why."""

    verdict: str
    reason: str = ""

    def as_fact(self) -> dict[str, str]:
        """The ``revocation`` object of a document."""
        return {"verdict": self.verdict, "reason": observed.text(self.reason, 500)}


PENDING = Revocation("pending")


@dataclass(frozen=True, slots=True)
class Ocsp:
    """What the responder that a certificate names says of it.

    ``status`` is good, revoked, unknown, or none where nobody was asked; ``why`` the reason of a
    revocation, or why there is no answer.
    """

    asked: bool = False
    status: str = "none"
    responder: str = ""
    why: str = ""

    def as_fact(self) -> dict[str, Any]:
        """The ``ocsp`` object of a document."""
        return {
            "asked": self.asked,
            "status": self.status,
            "responder": observed.text(self.responder, 1000),
            "why": observed.text(self.why, 500),
        }


NOT_ASKED = Ocsp()


@dataclass(frozen=True, slots=True)
class Around:
    """Everything a certificate's facts need besides its bytes.

    Attributes:
        expectation: what was asked for.
        now: the moment of the check, aware.
        limits: how far weaknesses of its key are looked for.
        request: the request it belongs to; None when that cannot be read.
        state: presented, current, superseded, rejected or withdrawn.
        source: reply or kept.
        vetted: the organisation's subject in today's inventory.
        key_also_in: other versions whose request has its key.
        serial_seen_in: other versions whose certificate has its serial number and issuer.
        compromised_in: who says that its key is compromised.
        deployed: whether it is the very certificate that was accepted before this version.
        listener_names: host names of the ingress listeners that serve it.
        ocsp: what its responder says.
    """

    expectation: Expectation
    now: datetime
    limits: Limits
    request: csr.Request | None = None
    state: str = "presented"
    source: str = "reply"
    vetted: Mapping[str, str] = field(default_factory=dict)
    revocation: Revocation = PENDING
    neighbours: Neighbours = Neighbours()
    acceptance: Acceptance | None = None
    key_also_in: Sequence[str] = ()
    serial_seen_in: Sequence[str] = ()
    compromised_in: Sequence[str] = ()
    deployed: bool = False
    listener_names: Sequence[str] = ()
    ocsp: Ocsp = NOT_ASKED


def document(certificate: x509.Certificate, around: Around) -> dict[str, Any]:
    """The facts of one certificate.

    Raises:
        PkiError: DIP-12.2-16-CER, when a part that everything depends on cannot be read.
    """
    try:
        return {
            "state": around.state,
            "problem": "",
            **_of_certificate(certificate, around),
            **_of_place(around),
        }
    except DECODE_ERRORS as exc:
        raise PkiError(
            "the reply's certificate has parts that cannot be read",
            rule="DIP-12.2-16-CER",
            found=names.printable(why(exc)),
            expected="a well-formed X.509 certificate",
            where=f"certificate with SHA-256 {sha256(certificate)}",
            next_step="ask the CA to reissue it; nothing was changed",
        ) from None


def unreadable(problem: str, around: Around) -> dict[str, Any]:
    """The facts of what should be a certificate and is none."""
    return {
        "state": "unreadable",
        "problem": observed.text(problem, 1500),
        "version": 0,
        "serial": "",
        "serial_octets": 0,
        "serial_positive": False,
        "sha256": "",
        **observed.subject(x509_der.Name(())),
        "key": {
            "algorithm": "",
            "bits": 0,
            "exponent": 0,
            "spki_sha256": "",
            "matches_request": False,
            "also_in": [],
            "compromised_in": [],
            **observed.weakness(b"", around.limits),
        },
        "signature_algorithm": "",
        "signature_hash": "",
        "signature_padding": "none",
        "signature_algorithms_agree": False,
        **dict.fromkeys(("not_before_epoch", "not_after_epoch", "validity_days"), 0),
        **dict.fromkeys(("seconds_since_start", "seconds_left", "days_left"), 0),
        "ca": False,
        **{name: [] for name in ("key_usage", "extended_key_usage", "extensions", "san")},
        **{name: [] for name in ("crl_distribution_points", "ocsp_urls", "encoding_faults")},
        "issuer_name": "",
        **_of_place(around),
    }


def _of_certificate(certificate: x509.Certificate, around: Around) -> dict[str, Any]:
    der = to_der(certificate)
    raw = x509_der.certificate(der)
    faults = observed.encoding_faults(der, raw.subject, raw.extensions)
    content = {
        "version": raw.version,
        **_serial(raw.serial),
        "sha256": hashlib.sha256(der).hexdigest(),
        **observed.subject(raw.subject),
        "key": _key(certificate, around),
        **observed.signature(certificate, raw.outer_algorithm),
        "signature_algorithms_agree": raw.inner_algorithm == raw.outer_algorithm,
        **validity(certificate, around.now),
        **usages(raw.extensions, faults),
        "extensions": observed.extensions(raw.extensions),
        "san": observed.alternative_names(raw.extensions, faults),
        "issuer_name": observed.text(names.rfc2253(certificate.issuer), 4000),
    }
    return {**content, "encoding_faults": observed.shown_faults(faults)}


def _of_place(around: Around) -> dict[str, Any]:
    record, neighbours = around.acceptance, around.neighbours
    ends, accepted = neighbours.predecessor_ends, neighbours.successor_accepted
    asked = around.request.san if around.request else ()
    return {
        "source": around.source,
        "environment": observed.text(str(around.expectation.environment), 63),
        "purposes": sorted(str(purpose) for purpose in around.expectation.purposes),
        "expected": observed.expected(around.expectation),
        "vetted": observed.vetted(around.vetted),
        "revocation": around.revocation.as_fact(),
        "ocsp": around.ocsp.as_fact(),
        "listener_names": [observed.text(name, 253) for name in around.listener_names[:100]],
        "acceptance": {
            "present": record is not None,
            "certificate_sha256": observed.text(record.certificate_sha256, 200) if record else "",
            "accepted_epoch": max(0, int(record.at.timestamp())) if record else -1,
        },
        "predecessor": {
            "exists": ends is not None,
            "not_after_epoch": max(0, int(ends.timestamp())) if ends else -1,
        },
        "successor": {
            "requested": neighbours.successor_requested,
            "accepted": accepted is not None,
            "accepted_days": days_since(accepted, around.now) if accepted else -1,
        },
        "serial_seen_in": observed.places(around.serial_seen_in),
        "deployed": around.deployed,
        # One that is cut off is a name nobody asked for.
        "requested_names": [observed.text(name) for name in asked[:100]],
    }


def days_since(then: datetime, now: datetime) -> int:
    """Whole days from ``then`` to ``now``; 0 when it is still to come."""
    return max(0, int((now - then).total_seconds()) // _DAY)


def _serial(content: bytes) -> dict[str, Any]:
    number = int.from_bytes(content, "big", signed=True)
    return {
        "serial": observed.text(f"{number:x}", 2000),
        "serial_octets": len(content),
        "serial_positive": number > 0,
    }


def _key(certificate: x509.Certificate, around: Around) -> dict[str, Any]:
    try:
        spki = csr.spki_der(certificate.public_key())
    except DECODE_ERRORS:
        spki = b""
    return {
        **observed.key(certificate.public_key),
        "spki_sha256": hashlib.sha256(spki).hexdigest() if spki else "",
        "matches_request": bool(spki)
        and around.request is not None
        and around.request.spki_der == spki,
        "also_in": observed.places(around.key_also_in),
        "compromised_in": observed.places(around.compromised_in),
        **observed.weakness(spki, around.limits),
    }


def validity(certificate: x509.Certificate, now: datetime) -> dict[str, int]:
    """Start, end and length of validity, and where ``now`` is in it."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    moment = in_seconds(now)
    left = int((end - moment).total_seconds())
    return {
        "not_before_epoch": int(start.timestamp()),
        "not_after_epoch": int(end.timestamp()),
        "validity_days": -(int((start - end).total_seconds()) // _DAY),
        "seconds_since_start": int((moment - start).total_seconds()),
        "seconds_left": left,
        "days_left": left // _DAY,
    }


def usages(found: Sequence[x509_der.Extension], faults: list[str]) -> dict[str, Any]:
    """What the extensions allow it for, and where its revocation can be asked."""
    ku = observed.decoded(found, "keyUsage", x509_der.key_usage, faults)
    eku = observed.decoded(found, "extKeyUsage", x509_der.extended_key_usage, faults)
    ca = observed.decoded(found, "basicConstraints", x509_der.is_ca, faults)
    points = observed.decoded(found, "cRLDistributionPoints", x509_der.distribution_points, faults)
    ocsp = observed.decoded(found, "authorityInfoAccess", x509_der.ocsp_urls, faults)
    return {
        "ca": any(ca),
        "key_usage": _flat(ku, faults, "key usages", 16),
        "extended_key_usage": _flat(eku, faults, "extended key usages"),
        "crl_distribution_points": _flat(points, faults, "CRL distribution points"),
        "ocsp_urls": _flat(ocsp, faults, "OCSP responders"),
    }


def _flat(
    found: Sequence[Sequence[str]], faults: list[str], what: str, limit: int = observed.ITEMS
) -> list[str]:
    return observed.listed([item for one in found for item in one], faults, what, limit)
