# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person needs to have a certificate revoked: ``revocation.txt`` beside it.

Pure. Determined by the certificate and what is told of it. Nothing is revoked by this software:
only the portal's people can (6.1.3), and what is revoked cannot be reclaimed.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from . import certs, commands, names, revocation_cause
from .certs import DECODE_ERRORS
from .inventory import Certificate
from .policy import Policy

FILE = "revocation.txt"
LONGEST_NAME = 300

_HEAD = """\
Revocation of {name}, version {version}
{rule}

Why    {why}
Who    {who}
Where  {where}

     common name          {common_name}
     subject              {subject}
     serial number        {serial}
     issuer               {issuer}
     valid until          {until}
     SHA-256              {digest}
     reason               {reason}

"""
_PORTAL = """\
1. Sign in as a Certificate Admin of {organisation}.
2. Find the certificate by its serial number, among the organisation's certificates, and compare
   what the portal shows with the values above; stop if one differs.
3. Choose Revoke with the reason above. A revoked certificate cannot be reclaimed, and the
   organisation's quota is one less (6.1.3).
"""
_MANAGER = """\
1. Write to {contact}: only the DIP Manager revokes for this reason (Table 5); nothing is
   submitted in the portal. Give serial number, issuer and reason as above.
2. A revoked certificate cannot be reclaimed, and the organisation's quota is one less (6.1.3).
3. Have the DIP Manager confirm it in writing.
"""
_ISSUER = """\
1. Ask whoever issued it to revoke it, naming serial number and reason.
"""
_TELL = """\
{number}. Raise the major security incident with the DIP Manager (incident.txt) and tell the
   certificate authority (authority.txt); do not wait for one before the other.
"""
_AFTER = """\
{number}. Record when that was, and commit it:
     {submitted}
   and, once the portal or a CRL says that it is revoked:
     {revoked}
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate as people compare it; ``digest`` is the SHA-256 of all of it."""

    name: str
    version: int
    organisation: str
    common_name: str
    subject: str
    serial: str
    issuer: str
    until: str
    digest: str

    @property
    def values(self) -> dict[str, str | int]:
        """Its fields for a text, without what steers a terminal."""
        return {
            "name": self.name,
            "version": self.version,
            "organisation": names.printable(self.organisation, LONGEST_NAME),
            "common_name": names.printable(self.common_name, LONGEST_NAME),
            "subject": names.printable(self.subject, LONGEST_NAME),
            "serial": self.serial,
            "issuer": names.printable(self.issuer, LONGEST_NAME),
            "until": self.until,
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for.

    Attributes:
        cause, code: what happened, and the CRL reason code that is to be recorded.
        why: a sentence.
        who: who asks for it.
        contact: the address of the DIP Manager's side; empty where there is no portal.
        manager: whether only the DIP Manager may revoke for it.
    """

    cause: revocation_cause.Cause
    code: int
    why: str
    who: str
    contact: str
    manager: bool = False

    @property
    def reason(self) -> str:
        """The portal's reason and the CRL's code."""
        return f"{self.cause.shown} (CRL reason code {self.code})"


def identity(certificate: Certificate, version: int, leaf: x509.Certificate) -> Identity | None:
    """A certificate as it is told of; None for one that cannot be read."""
    try:
        common_name = names.common_names(leaf.subject)
        return Identity(
            name=certificate.name,
            version=version,
            organisation=certificate.subject.get("O", "none"),
            common_name=common_name,
            subject=certs.subject_of(leaf),
            serial=f"{leaf.serial_number:x}",
            issuer=certs.issuer_of(leaf),
            until=certs.stamp(leaf.not_valid_after_utc),
            digest=certs.sha256(leaf),
        )
    except DECODE_ERRORS:
        return None


def order(
    certificate: Certificate, policy: Policy, cause: revocation_cause.Cause, why: str
) -> Order:
    """What is asked for by whoever of the roster may, when nobody is named."""
    admins = " or ".join(person.name for person in certificate.organisation.certificate_admins)
    portal = revocation_cause.through_portal(policy)
    return Order(
        cause=cause,
        code=revocation_cause.code(cause, policy),
        why=why,
        who=f"{admins} (Certificate Admin)" if portal else "whoever asked for the certificate",
        contact=revocation_cause.contact(policy),
        manager=revocation_cause.of_manager(cause, policy),
    )


def superseded(by: int) -> str:
    """Why a version is not needed any more."""
    return f"version {by} took its place and is in service"


def text(what: Identity, wanted: Order) -> bytes:
    """``revocation.txt``."""
    title = f"Revocation of {what.name}, version {what.version}"
    body = _HEAD + _steps(wanted)
    number = body.count("\n1. ") + body.count("\n2. ") + body.count("\n3. ") + 1
    if wanted.cause.incident:
        body += _TELL.replace("{number}", str(number))
        number += 1
    body += _AFTER.replace("{number}", str(number))
    return body.format(
        **what.values,
        rule="=" * len(title),
        why=names.printable(wanted.why, 700),
        who=names.printable(wanted.who, 700),
        where=_where(wanted),
        contact=wanted.contact,
        reason=wanted.reason,
        submitted=commands.revocation_step(what.name, what.version, wanted.cause.name, "submitted"),
        revoked=commands.revocation_step(what.name, what.version, wanted.cause.name, "revoked"),
    ).encode()


def _steps(wanted: Order) -> str:
    if wanted.manager:
        return _MANAGER
    return _PORTAL if wanted.contact else _ISSUER


def _where(wanted: Order) -> str:
    if wanted.manager:
        return "a letter to the DIP Manager (Table 5)"
    return "the DIP portal, certificate revocation (6.1.3)" if wanted.contact else "its issuer"
