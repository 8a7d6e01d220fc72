# SPDX-License-Identifier: GPL-3.0-or-later
"""How the CRLs of a trust entry stand on this host now. Reads only, no network code."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from . import crl_age, crl_grace, files, processes
from .crl_age import CURRENT, Age, Decision, Member, Moment, Stamp
from .crl_grace import Grace
from .crl_watch import DIRECTIONS, Watch
from .errors import HostError

_SET = "set.json"
_FETCHED = "fetched.json"


@dataclass(frozen=True)
class Standing:
    """Of one trust entry: its age, the grace that runs, and what each direction has to be.

    ``used`` and ``alarm`` are percents of the smallest budget of its directions.
    """

    age: Age
    used: int
    alarm: int
    grace: Optional[Grace]
    decisions: Mapping[str, Decision]


def moment(now: Optional[float] = None) -> Moment:
    """This moment, or the one that the host comes to at ``now`` (epoch) if nobody sets a clock."""
    wall = time.time()
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    later = 0.0 if now is None else now - wall
    return Moment(wall + later, processes.boot_id(), boottime + later)


def members(crl_root: str, trust: str) -> list[Member]:
    """The CRLs of the set in service; none when nobody can read what is in it."""
    directory = os.path.join(crl_root, trust)
    facts = _json(os.path.join(directory, CURRENT, _SET)).get("crls")
    fetched = _json(os.path.join(directory, _FETCHED))
    if not isinstance(facts, list):
        return []
    return [_member(raw, fetched) for raw in facts if isinstance(raw, dict)]


def _member(raw: Mapping[str, Any], fetched: Mapping[str, Any]) -> Member:
    name = str(raw.get("name") or raw.get("authority") or "an unnamed CA")
    found = fetched.get(str(raw.get("sha256")))
    confirmed = _stamp(found) if isinstance(found, dict) else None
    return Member(name, crl_age.epoch(raw.get("next_update")), confirmed)


def _stamp(raw: Mapping[str, Any]) -> Optional[Stamp]:
    at = crl_age.epoch(raw.get("fetched_at"))
    try:
        boottime = float(raw.get("monotonic") or 0)
    except (TypeError, ValueError):
        return None
    return None if at is None else Stamp(at, str(raw.get("boot") or ""), boottime)


def age(crl_root: str, trust: str, now: Moment, tolerance: float) -> Age:
    """How old the set in service is."""
    return crl_age.age_of(members(crl_root, trust), now, tolerance)


def look(crl_root: str, trust: str, watch: Optional[Watch], now: Moment) -> Standing:
    """How a trust entry stands. What nobody watches is as its set is."""
    watched = watch.trusts.get(trust) if watch else None
    if watch is None or watched is None:
        found = age(crl_root, trust, now, 0)
        return Standing(found, 0, 0, None, {name: Decision(CURRENT) for name in DIRECTIONS})
    tolerance, longest = watch.clock_tolerance_seconds, watch.grace_longest_seconds
    found = age(crl_root, trust, now, tolerance)
    granted = crl_grace.read(crl_root, trust)
    grace = granted if granted and granted.runs(now, tolerance, longest) else None
    sentence = grace.sentence(longest) if grace else ""
    used, alarm = crl_age.alarm_of(found, watched.directions, watch.alarm_percents)
    decisions = {
        name: crl_age.decide(found, watched.directions.get(name), sentence) for name in DIRECTIONS
    }
    return Standing(found, used, alarm, grace, decisions)


def _json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(path) or b"{}")
    except (ValueError, RecursionError, HostError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
