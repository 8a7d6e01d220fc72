# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts beside ``revocation.yml``, and the letters that tell others of a compromised key.

Pure, and a function of the record alone: ``revocation.txt`` for the portal, ``incident.txt`` for
the DIP Manager (3.6.1), ``authority.txt`` for the certificate authority (5.6.2, 5.7.2). A letter
says what is known and what is under way; what was done in the end is the sender's to confirm.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import commands, names, revocation_text
from .record_fields import iso
from .revocation_record import MANAGER, Recorded
from .revocation_text import Identity, Order

INCIDENT, AUTHORITY = "incident.txt", "authority.txt"

_INCIDENT = """\
Major security incident: {title}
{rule}

To       the DIP Manager, as a major security incident (3.6.1){contact}
From     {organisation}; {who}
Noticed  {noticed}

{opening}

What happened

     {text}

Which certificate

{certificate}

What is done about it

     - the key is marked as compromised: it is neither requested for, accepted nor delivered again
     - it is being taken out of service on every gateway host, and withdrawn in the key store
     - the revocation is asked for with the reason {reason}
     - a new key is made and a new certificate asked for

Before you send this: the run's summary names hosts that did not answer; say so here.

When it was raised, record it with the incident's number, and commit that:
     {record}
"""
_AUTHORITY = """\
Notice of a compromised private key: {title}
{rule}

To       the certificate authority that issued it: {issuer}
         (DCA / Issuing Authority, GlobalSign: 5.6.2, 5.7.2){contact}
From     {organisation}; {who}
Noticed  {noticed}

{opening}

{text}

{certificate}

The revocation is asked for {way} with the reason {reason}. Please revoke the certificate and
publish that it is revoked.

When it was sent, record it, and commit that:
     {record}
"""
_CERTIFICATE = """\
     common name          {common_name}
     subject              {subject}
     serial number        {serial}
     issuer               {issuer}
     valid until          {until}
     SHA-256              {digest}
     public key, SHA-256  {spki}"""
_OPENINGS = {
    "key_compromise": "The private key of the certificate below is, or may be, known to others.",
    "media_compromise": "What holds the private key of the certificate below ({medium}) is, or\n"
    "may be, in other hands.",
}
_MANAGER_LETTER = (
    "Please revoke for {reason} the certificate with the serial number {serial} of {common_name}, "
    "issued by {issuer} to {organisation}: {text}"
)


def identity(record: Recorded) -> Identity:
    """The certificate that a record is of."""
    return Identity(
        name=record.certificate,
        version=record.version,
        organisation=record.organisation,
        common_name=record.common_name,
        subject=record.subject,
        serial=record.serial,
        issuer=record.issuer,
        until=record.valid_until,
        digest=record.certificate_sha256,
    )


def texts(record: Recorded) -> dict[str, bytes]:
    """Every text of a record by its file's name, in the order in which they are needed."""
    wanted = Order(
        cause=record.kind,
        code=record.code,
        why=f"{record.kind.why}: {record.text}",
        who=_who(record),
        contact=record.contact,
        manager=record.role == MANAGER,
    )
    found = {revocation_text.FILE: revocation_text.text(identity(record), wanted)}
    if record.kind.incident and record.portal:
        found[INCIDENT] = _letter(_INCIDENT, record, wanted, "incident")
        found[AUTHORITY] = _letter(_AUTHORITY, record, wanted, "authority")
    return found


def manager_letter(records: Sequence[Recorded]) -> str:
    """What to write to the DIP Manager, who alone revokes for the reason of these records."""
    lines = (
        _MANAGER_LETTER.format(
            **{**_values(one), "reason": one.kind.shown, "text": names.printable(one.text, 500)}
        )
        for one in records
    )
    return "; ".join(lines)


def _letter(template: str, record: Recorded, wanted: Order, step: str) -> bytes:
    title = f"private key of {names.printable(record.common_name, 300)}, serial {record.serial}"
    heading = template.partition("{title}")[0] + title
    values = _values(record)
    opening = _OPENINGS[record.cause].format(
        medium=names.printable(record.medium, 100) or "a medium"
    )
    return template.format(
        **values,
        title=title,
        rule="=" * len(heading),
        contact=f"; {record.contact}" if record.contact else "",
        who=_who(record),
        noticed=iso(record.noticed),
        opening=opening,
        text=names.printable(record.text, 500),
        certificate=_CERTIFICATE.format(**values, spki=record.spki_sha256),
        reason=wanted.reason,
        way="in the DIP portal",
        record=commands.revocation_step(record.certificate, record.version, record.cause, step),
    ).encode()


def _values(record: Recorded) -> dict[str, str | int]:
    return identity(record).values


def _who(record: Recorded) -> str:
    role = {"certificate_admin": "Certificate Admin", MANAGER: "DIP Manager"}.get(record.role, "")
    by = names.printable(record.by, 300)
    return f"{by} ({role})" if role else by
