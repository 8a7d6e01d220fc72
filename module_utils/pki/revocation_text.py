# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person needs to have a certificate revoked: ``revocation.txt`` beside it.

Determined by certificate, entry and policy alone. Nothing is revoked by this software: only the
portal's people can (6.1.3), and what is revoked cannot be reclaimed.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from . import certs, names
from .certs import DECODE_ERRORS
from .inventory import Certificate
from .policy import Policy

FILE = "revocation.txt"

_HEAD = """\
Revocation of {name}, version {version}
{rule}

Why    {why}
Who    {who}
Where  {where}

     subject              {subject}
     serial number        {serial}
     issuer               {issuer}
     valid until          {until}
     SHA-256              {digest}
     reason               {reason}

"""
_PORTAL = """\
1. Sign in as a Certificate Admin of {organisation}.
2. Find the certificate by its serial number and compare what the portal shows with the values
   above; stop if one differs.
3. Ask for its revocation with the reason above. A revoked certificate cannot be reclaimed.
{more}"""
_ISSUER = """\
1. Ask whoever issued it to revoke it, naming serial number and reason.
{more}"""
_AFTER = """\
{number}. Nothing is to be committed: once a CRL lists it, every run shows it as revoked.
"""
_INCIDENT = """\
{number}. Raise a major security incident with the DIP Manager as soon as possible (3.6.1), and tell
   the certificate authority at once (5.6.2, 5.7.2): serial number, and when it was noticed.
"""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a certificate is to be revoked.

    Attributes:
        reason: the portal's reason, as the policy names it (Table 5).
        shown: the same for a person.
        code: the CRL reason code of RFC 5280, 5.3.1, where the policy names none.
        why: a sentence.
        incident: whether somebody has to be told at once.
    """

    reason: str
    shown: str
    code: int
    why: str
    incident: bool = False


def superseded(by: int) -> Cause:
    """Another version took its place and is in service everywhere."""
    why = f"version {by} took its place and is in service"
    return Cause("certificate_superseded", "certificate superseded", 4, why)


def key_compromise(reason: str) -> Cause:
    """Its key is, or may be, known to others; ``reason`` is a person's word."""
    return Cause("key_compromise", "key compromise", 1, f"its key is compromised: {reason}", True)


def text(
    certificate: Certificate, policy: Policy, version: int, pem: bytes, cause: Cause
) -> bytes | None:
    """``revocation.txt``; None for a kept certificate that cannot be read."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
        until = certs.stamp(leaf.not_valid_after_utc)
        shown = (certs.subject_of(leaf), certs.issuer_of(leaf), f"{leaf.serial_number:x}")
        digest = certs.sha256(leaf)
    except DECODE_ERRORS:
        return None
    reasons = policy.parameters.get("revocation_reasons")
    portal = reasons is not None
    code = reasons.value[cause.reason] if reasons is not None else cause.code
    admins = " or ".join(person.name for person in certificate.organisation.certificate_admins)
    title = f"Revocation of {certificate.name}, version {version}"
    common = {
        "name": certificate.name,
        "version": version,
        "rule": "=" * len(title),
        "why": names.printable(cause.why, 600),
        "who": f"{admins} (Certificate Admin)" if portal else "whoever asked for the certificate",
        "where": "the DIP portal, certificate revocation (6.1.3)" if portal else "its issuer",
        "subject": names.printable(shown[0], 300),
        "organisation": certificate.subject.get("O", "none"),
        "serial": shown[2],
        "issuer": names.printable(shown[1], 300),
        "until": until,
        "digest": digest,
        "reason": f"{cause.shown} (CRL reason code {code})",
    }
    steps = _PORTAL if portal else _ISSUER
    number = 4 if portal else 2
    more = ""
    if cause.incident and portal:
        more += _INCIDENT.format(number=number)
        number += 1
    more += _AFTER.format(number=number)
    return (_HEAD + steps).format(**common, more=more).encode()
