# SPDX-License-Identifier: GPL-3.0-or-later
"""``revocation.yml``: what is to be revoked, why and on whose word, and when each step was done.

Pure. The record alone determines the texts beside it, so that they read the same a year later. The
first word stands; what people did afterwards is added, each once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import record_fields, records
from .lifecycle import Revocation
from .record_fields import iso, moment, unusable
from .revocation_cause import CAUSES, Cause

FILE = "revocation.yml"
SCHEMA = 1
ADMIN, MANAGER, OTHER = "certificate_admin", "dip_manager", "other"
ROLES = (ADMIN, MANAGER, OTHER)
#: The steps that are recorded once they were done, as the command line and the file name them.
STEPS = ("out_of_service", "submitted", "incident", "authority", "revoked")
_TEXTS = (
    "certificate", "organisation", "common_name", "subject", "serial", "issuer", "valid_until",
    "certificate_sha256", "spki_sha256", "cause", "reason", "text", "by", "role", "contact",
)  # fmt: skip
_REQUIRED = ("schema", "version", "code", "noticed", "prepared", *_TEXTS)
_MORE = ("medium", "beside", *STEPS)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of one certificate's revocation.

    Attributes:
        subject, issuer, serial, valid_until: of the certificate, as its reader shows them.
        cause, reason, code: what happened; the portal's reason; the CRL reason code.
        text: what happened, in the words of whoever said it.
        noticed: when somebody became aware of it; all times that count start there.
        by, role: who asks for it: a Certificate Admin, or the DIP Manager.
        contact: the address that letters go to; empty where there is no portal.
        medium: the host whose keys may be in other hands; empty for none.
        beside: the others that were prepared with it for that: ``<name> v<version>``.
        out_of_service: when no host and no store used the key any more.
        submitted: when it was asked for in the portal, or of whoever revokes.
        incident: when the major security incident was raised; ``reference`` is its number.
        authority: when the certificate authority was told.
        revoked: when it was seen to be revoked.
    """

    certificate: str
    version: int
    organisation: str
    common_name: str
    subject: str
    serial: str
    issuer: str
    valid_until: str
    certificate_sha256: str
    spki_sha256: str
    cause: str
    reason: str
    code: int
    text: str
    noticed: datetime
    by: str
    role: str
    contact: str
    prepared: datetime
    medium: str = ""
    beside: tuple[str, ...] = ()
    out_of_service: datetime | None = None
    submitted: datetime | None = None
    incident: datetime | None = None
    reference: str = ""
    authority: datetime | None = None
    revoked: datetime | None = None

    @property
    def label(self) -> str:
        """How facts and sentences name it."""
        return f"{self.certificate} v{self.version}"

    @property
    def kind(self) -> Cause:
        """Its cause with all that follows from it."""
        return CAUSES[self.cause]

    @property
    def portal(self) -> bool:
        """Whether it is revoked in the DIP portal."""
        return bool(self.contact)

    def step(self, name: str) -> datetime | None:
        """When a step was done; None while it was not."""
        when: datetime | None = getattr(self, name)
        return when

    def with_step(self, name: str, when: datetime, reference: str = "") -> Recorded:
        """The record with one more step done."""
        more: dict[str, Any] = {name: when}
        if name == "incident":
            more["reference"] = reference
        return replace(self, **more)

    def minutes(self, name: str) -> int:
        """Minutes from becoming aware to a step, begun ones counted whole; -1 for none."""
        when = self.step(name)
        return -1 if when is None else -int((self.noticed - when).total_seconds() // 60)

    def as_lifecycle(self) -> Revocation:
        """What a plan needs of it."""
        return Revocation(self.cause, self.kind.final, self.submitted, self.revoked)

    def as_result(self) -> dict[str, Any]:
        """What a playbook shows of it, as JSON types."""
        steps = {name: iso(when) if (when := self.step(name)) else "" for name in STEPS}
        return {
            "certificate": self.certificate,
            "version": self.version,
            "serial": self.serial,
            "cause": self.cause,
            "reason": self.reason,
            "code": self.code,
            "by": self.by,
            "noticed": iso(self.noticed),
            **steps,
        }

    def content(self) -> bytes:
        """The file."""
        done: dict[str, Any] = {
            name: iso(when) for name in STEPS if (when := self.step(name)) is not None
        }
        if self.incident is not None:
            done["incident"] = {"raised": iso(self.incident), "reference": self.reference}
        if self.authority is not None:
            done["authority"] = {"told": iso(self.authority)}
        medium = {"medium": self.medium, "beside": list(self.beside)} if self.medium else {}
        return records.dump(
            {
                "schema": SCHEMA,
                "certificate": self.certificate,
                "version": self.version,
                "organisation": self.organisation,
                "common_name": self.common_name,
                "subject": self.subject,
                "serial": self.serial,
                "issuer": self.issuer,
                "valid_until": self.valid_until,
                "certificate_sha256": self.certificate_sha256,
                "spki_sha256": self.spki_sha256,
                "cause": self.cause,
                "reason": self.reason,
                "code": self.code,
                "text": self.text,
                "noticed": iso(self.noticed),
                "by": self.by,
                "role": self.role,
                "contact": self.contact,
                "prepared": iso(self.prepared),
                **medium,
                **done,
            }
        )


def read(record: Mapping[str, Any], path: Path, version: int) -> Recorded:
    """A record as it was loaded from ``path``, of that version's directory.

    Raises:
        PkiError: STATE-FILE for anything that no such record says: a misread one could make a
            compromise look dealt with.
    """
    strange = [str(name) for name in record if name not in (*_REQUIRED, *_MORE)]
    if strange:
        raise unusable(path, ", ".join(strange), "no field but those of such a record")
    told = {name: record_fields.field(record, name, path) for name in _REQUIRED}
    if told["version"] != version or isinstance(told["version"], bool):
        raise unusable(path, f"version {told['version']}", f"version {version}")
    for name in _TEXTS:
        if not isinstance(told[name], str):
            raise unusable(path, f"{name}: {told[name]!r}", "text, in quotation marks")
    if told["cause"] not in CAUSES:
        raise unusable(path, f"cause: {told['cause']}", " or ".join(CAUSES))
    if told["reason"] != CAUSES[told["cause"]].reason:
        raise unusable(path, f"reason: {told['reason']}", CAUSES[told["cause"]].reason)
    if told["role"] not in ROLES:
        raise unusable(path, f"role: {told['role']}", " or ".join(ROLES))
    if not isinstance(told["code"], int) or isinstance(told["code"], bool):
        raise unusable(path, f"code: {told['code']}", "a CRL reason code")
    steps, reference = _steps(record, path)
    done: dict[str, Any] = {**{name: told[name] for name in _TEXTS}, **steps}
    found = Recorded(
        version=version,
        code=told["code"],
        noticed=moment(record, "noticed", path),
        prepared=moment(record, "prepared", path),
        medium=str(record.get("medium", "")),
        beside=_beside(record, path),
        reference=reference,
        **done,
    )
    for name, when in steps.items():
        if when < found.noticed:
            raise unusable(path, f"{name}: {iso(when)}", f"not before {iso(found.noticed)}")
    return found


def _steps(record: Mapping[str, Any], path: Path) -> tuple[dict[str, datetime], str]:
    found = {
        name: moment(record, name, path)
        for name in ("out_of_service", "submitted", "revoked")
        if name in record
    }
    reference = ""
    if "incident" in record:
        found["incident"] = moment(record["incident"], "raised", path)
        reference = str(record_fields.field(record["incident"], "reference", path))
    if "authority" in record:
        found["authority"] = moment(record["authority"], "told", path)
    return found, reference


def _beside(record: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    value = record.get("beside", [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise unusable(path, f"beside: {value!r}", "a list of '<name> v<version>'")
    return tuple(value)
