# SPDX-License-Identifier: GPL-3.0-or-later
"""A record of a revocation as facts, the same for whoever prepares one and whoever checks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .revocation_record import Recorded

KIND = "revocation_request"
#: What can be judged while nothing but the wish is there; the others are about what was done.
OF_THE_WISH = ("DIP-5.4.3-ROLES", "DIP-6.1.3-REASON", "DIP-6.1.3-CESSATION")


@dataclass(frozen=True, slots=True)
class Beside:
    """What else is known: see the schema's words.

    ``organisation_left`` and ``medium_left`` are other valid certificates whose revocation is not
    asked for; ``incident_text`` is the letter to the DIP Manager, empty without one.
    """

    organisation_left: Sequence[str] = ()
    medium_left: Sequence[str] = ()
    incident_text: str = ""


def document(record: Recorded, beside: Beside, role: str = "") -> dict[str, Any]:
    """The facts, as ``policies/facts/revocation_request.json`` describes them.

    ``role`` is another than the record's, for a wish that is still to be judged.
    """
    return {
        "certificate": record.certificate,
        "version": record.version,
        "common_name": record.common_name,
        "serial": record.serial,
        "issuer": record.issuer,
        "cause": record.cause,
        "reason": record.reason,
        "reason_code": record.code,
        "requested_by": {"name": record.by, "role": role or record.role},
        "minutes_to_request": record.minutes("submitted"),
        "key_in_service": record.out_of_service is None,
        "organisation_left": list(beside.organisation_left),
        "same_medium_left": list(beside.medium_left),
        "incident": {
            "minutes": record.minutes("incident"),
            "names_serial": bool(record.serial) and record.serial in beside.incident_text,
        },
        "authority": {"minutes": record.minutes("authority")},
        "contact": record.contact.lower(),
    }
