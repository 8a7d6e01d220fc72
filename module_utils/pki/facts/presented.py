# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stranger's certificate chain is: read from the bytes that came over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from .. import certs, names, path, revocation
from ..certs import DECODE_ERRORS
from ..errors import PkiError
from ..trust_files import LoadedTrust

UNSEEN = {
    "sha256": "",
    "common_name": "",
    "issuer": "",
    "issuer_pinned": False,
    "names_covering": [],
    "begun_seconds": -1,
    "left_seconds": -1,
    "revocation": "unknown",
    "revocation_why": "no certificate was seen",
}
NO_CHAIN = {
    "presented": 0,
    "problem": "no certificate was seen",
    "begun_seconds": -1,
    "left_seconds": -1,
}


@dataclass(frozen=True, slots=True)
class Presented:
    """Facts of a chain, and the verified path (leaf first) when there is one."""

    certificate: dict[str, Any]
    chain: dict[str, Any]
    verified: tuple[x509.Certificate, ...] = ()


def describe(
    chain: Sequence[bytes],
    trust: LoadedTrust,
    crls: Sequence[bytes],
    server_name: str,
    now: datetime,
) -> Presented:
    """Facts of a presented chain (DER, leaf first); never raises for what is in it."""
    sent = [one for der in chain if (one := _load(der)) is not None]
    if not chain or _load(chain[0]) is None:
        problem = "no certificate was sent" if not chain else "its certificate cannot be read"
        unread = {**NO_CHAIN, "presented": len(chain), "problem": problem}
        return Presented({**UNSEEN, "revocation_why": problem}, unread)
    leaf = sent[0]
    verified, problem = _path(leaf, sent[1:], trust, now)
    authorities = verified[1:] or tuple(sent[1:])
    moment = certs.in_seconds(now)
    verdict, why = _revocation(verified, crls, now)
    certificate = {
        "sha256": certs.sha256(leaf),
        "common_name": _text(leaf, "common_name"),
        "issuer": _text(leaf, "issuer"),
        "issuer_pinned": any(
            certs.issued_by(leaf, x509.load_der_x509_certificate(ca.der)) for ca in trust.issuers
        ),
        "names_covering": [name for name in _names(leaf) if covers(name, server_name)],
        "begun_seconds": int((moment - leaf.not_valid_before_utc).total_seconds()),
        "left_seconds": int((leaf.not_valid_after_utc - moment).total_seconds()),
        "revocation": verdict,
        "revocation_why": why,
    }
    facts = {"presented": len(chain), "problem": problem, **_dates(authorities, moment)}
    return Presented(certificate, facts, verified)


def _load(der: bytes) -> x509.Certificate | None:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Read what is needed later: a lazy library would raise there.
        certificate.subject.rfc4514_string()
        certificate.issuer.rfc4514_string()
        list(certificate.extensions)
    except DECODE_ERRORS:
        return None
    return certificate


def _path(
    leaf: x509.Certificate,
    sent: Sequence[x509.Certificate],
    trust: LoadedTrust,
    now: datetime,
) -> tuple[tuple[x509.Certificate, ...], str]:
    """The path through what was sent, dates of the leaf aside, and why there is none.

    Only what was sent counts: a pinned CA that is not sent is one that others may not have.
    """
    # Whether the leaf is within its dates is a fact of its own; here it is given the benefit.
    moment = min(max(now, leaf.not_valid_before_utc), leaf.not_valid_after_utc)
    anchors = [x509.load_der_x509_certificate(ca.der) for ca in trust.anchors]
    try:
        return path.build(leaf, sent, anchors, now=moment, judge_leaf=False), ""
    except PkiError as exc:
        # By name and signature there is a path; the dates of its CAs are facts of their own.
        return (), "" if exc.rule == path.RULE_EXPIRY else f"{exc.found}"


def _dates(authorities: Sequence[x509.Certificate], now: datetime) -> dict[str, int]:
    if not authorities:
        return {"begun_seconds": -1, "left_seconds": -1}
    begun = max(one.not_valid_before_utc for one in authorities)
    ended = min(one.not_valid_after_utc for one in authorities)
    return {
        "begun_seconds": int((now - begun).total_seconds()),
        "left_seconds": int((ended - now).total_seconds()),
    }


def _revocation(
    chain: Sequence[x509.Certificate], crls: Sequence[bytes], now: datetime
) -> tuple[str, str]:
    """The worst answer of the CRLs for a verified path, and what it is about."""
    if not chain:
        return "unknown", "there is no path to a pinned anchor"
    statuses = revocation.check([certs.to_der(one) for one in chain], crls, now)
    for verdict in ("revoked", "unknown"):
        for status in statuses:
            if status.verdict == verdict:
                return verdict, f"{status.certificate}: {status.why or status.reason}"
    return "good", ""


def _text(certificate: x509.Certificate, field: str) -> str:
    if field == "issuer":
        return names.display(certificate.issuer)
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return names.printable(str(found[0].value)) if found else ""


def _names(certificate: x509.Certificate) -> list[str]:
    """DNS names of the certificate; its common name when it has none (RFC 6125, 6.4.4)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        named = found.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        named = []
    return [names.printable(name) for name in named] or [_text(certificate, "common_name")]


def covers(name: str, server_name: str) -> bool:
    """Whether a certificate's name stands for a host; a wildcard is one whole left-most label."""
    mine, wanted = name.lower().rstrip("."), server_name.lower().rstrip(".")
    if mine == wanted:
        return True
    first, _, rest = mine.partition(".")
    label, _, domain = wanted.partition(".")
    return first == "*" and bool(label) and rest == domain and "." in rest
