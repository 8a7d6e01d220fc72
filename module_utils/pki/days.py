# SPDX-License-Identifier: GPL-3.0-or-later
"""Days between a date that a person wrote and today."""

from __future__ import annotations

from datetime import date

#: No date, or one that is still to come: neither has an age.
NEVER = -1
#: Facts are bounded; what is older than a century is as old as that.
LONGEST = 36_500


def since(text: str, today: date) -> int:
    """Whole days from an ISO date to today; :data:`NEVER` for none, and for one to come."""
    try:
        age = (today - date.fromisoformat(text)).days
    except ValueError:
        return NEVER
    return min(max(age, NEVER), LONGEST)
