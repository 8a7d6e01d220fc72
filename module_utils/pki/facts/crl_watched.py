# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's own polls and its guard tell of one set of CRLs, as facts. Pure.

A host writes these files for itself; what does not look like them counts as not told, and not as
good: an age that nobody knows is -1, a timer that nobody saw is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import observed
from .moments import hours_since, moment

_NEVER = -1.0
_TIMERS = ("active", "inactive", "none")
_CLOCKS = ("steady", "jumped")
_IN_FORCE = ("current", "refusal")
_ON_STALE = ("refuse", "alarm")
_LONGEST = 300
_MOST = 50
_MINUTES = 60

#: What is known of the controller, and of a host that watches nothing between two runs.
NOTHING: Mapping[str, Any] = {
    "refresh": {
        "timer": "none",
        "last_success_age_hours": _NEVER,
        "polls": 0,
        "failures": 0,
        "success_percent": _NEVER,
    },
    "guard": {
        "timer": "none",
        "last_tick_age_minutes": _NEVER,
        "alarm_percent": 0,
        "clock": "unknown",
        "directions": [],
    },
    "grace": {"granted": False, "left_hours": _NEVER, "by": "", "reason": ""},
    "removed_unexpired": [],
    "removed_uncertain": 0,
    "revoked_own": [],
}


def facts(
    raw: Mapping[str, Any], timers: Mapping[str, Any], wanted: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """The part of a CRL document that :data:`NOTHING` has for others.

    Args:
        raw: what the host told of a set: ``refresh`` is status.json, ``guard`` the trust entry of
            guard.json with its ``ran_at``, ``grace`` grace.json, ``watch`` the directions of
            watch.json; each empty where there is none.
        timers: ``refresh`` and ``guard``: active, inactive, none.
        wanted: what the policy wants of a set that is too old, by direction.
        now: aware.
    """
    status, guard = _map(raw.get("refresh")), _map(raw.get("guard"))
    authorities = _maps(status.get("authorities"))
    return {
        "refresh": _refresh(status, _one_of(timers.get("refresh"), _TIMERS, "none"), now),
        "guard": {
            "timer": _one_of(timers.get("guard"), _TIMERS, "none"),
            "last_tick_age_minutes": _age(guard.get("ran_at"), now, _MINUTES),
            "alarm_percent": _whole(guard.get("alarm_percent")),
            "clock": _one_of(guard.get("clock"), _CLOCKS, "unknown"),
            "directions": _directions(guard, _map(raw.get("watch")), wanted),
        },
        "grace": _grace(_map(raw.get("grace")), now),
        "removed_unexpired": _texts(
            what for one in authorities for what in _list(one.get("removed_known"))
        ),
        "removed_uncertain": sum(_whole(one.get("removed_uncertain")) for one in authorities),
        "revoked_own": _texts(
            f"{one.get('what')} ({one.get('source')})" for one in _maps(status.get("revoked"))
        ),
    }


def _refresh(status: Mapping[str, Any], timer: str, now: datetime) -> dict[str, Any]:
    # The last ones only: a long outage of last year says nothing of the way to the CAs today.
    polls = _whole(status.get("recent_polls"))
    failures = min(polls, _whole(status.get("recent_failures")))
    return {
        "timer": timer,
        "last_success_age_hours": _age(status.get("last_success_at"), now, 1),
        "polls": polls,
        "failures": failures,
        "success_percent": round(100 * (polls - failures) / polls, 2) if polls else _NEVER,
    }


def _directions(
    guard: Mapping[str, Any], watch: Mapping[str, Any], wanted: Mapping[str, str]
) -> list[dict[str, str]]:
    """The directions that the host watches, and those that the guard tells of."""
    told = _map(guard.get("directions"))
    return [
        {
            "direction": name,
            "in_force": _one_of(_map(told.get(name)).get("in_force"), _IN_FORCE, "none"),
            "on_stale": _one_of(_map(watch.get(name)).get("on_stale"), _ON_STALE, "none"),
            "wanted": wanted[name],
            "why": observed.text(str(_map(told.get(name)).get("why") or ""), _LONGEST),
        }
        for name in wanted
        if name in told or name in watch
    ]


def _grace(raw: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    if not raw:
        return dict(NOTHING["grace"])
    until = moment(str(raw.get("until") or ""))
    return {
        "granted": True,
        "left_hours": _NEVER if until is None else -hours_since(until, now),
        "by": observed.text(str(raw.get("by") or ""), _LONGEST),
        "reason": observed.text(str(raw.get("reason") or ""), _LONGEST),
    }


def _age(text: Any, now: datetime, parts: int) -> float:
    """Hours since then, or a part of an hour; -1 for what is no moment, and for what is to come."""
    found = moment(str(text or ""))
    return _NEVER if found is None or found > now else round(hours_since(found, now) * parts, 4)


def _one_of(value: Any, known: tuple[str, ...], otherwise: str) -> str:
    return value if isinstance(value, str) and value in known else otherwise


def _whole(value: Any) -> int:
    """A count, or an alarm; nothing for what is none."""
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _texts(values: Any) -> list[str]:
    return [observed.text(str(one), _LONGEST) for one in values][:_MOST]
