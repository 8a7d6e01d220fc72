# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments that hosts and caches wrote down, and how long ago they were. Pure."""

from __future__ import annotations

from datetime import datetime


def moment(text: str) -> datetime | None:
    """An aware moment of ISO text; None for anything else."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else None


def hours_since(then: datetime, now: datetime) -> float:
    """Hours from ``then`` to ``now``, negative for what is to come."""
    return round((now - then).total_seconds() / 3600, 4)
