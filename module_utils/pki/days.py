# SPDX-License-Identifier: GPL-3.0-or-later
"""Days that a person wrote down, and how long ago they were."""

from __future__ import annotations

import re
from datetime import date, datetime

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: No date, or one that is still to come: neither has an age.
NEVER = -1
#: Facts are bounded; what is older than a century is as old as that.
LONGEST = 36_500


def text(value: object) -> str:
    """A day as ISO text; YAML may have made a date of it, and Ansible a kind of its own.

    Raises:
        ValueError: not a day, or one that does not exist.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and _DAY.fullmatch(value):
        return date.fromisoformat(value).isoformat()
    raise ValueError("not a day")


def since(text: str, today: date) -> int:
    """Whole days from an ISO date to today; :data:`NEVER` for none, and for one to come."""
    try:
        age = (today - date.fromisoformat(text)).days
    except ValueError:
        return NEVER
    return min(max(age, NEVER), LONGEST)
