# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a CRL set is, and what follows from it for each direction. Pure: no clock, no file.

A CRL's age is the time since its source last confirmed exactly these bytes; a set is as old as the
oldest of its CRLs. Two clocks say so: the wall clock, and, while the host has not booted since,
the seconds since boot, suspended ones included (CLOCK_BOOTTIME), which nobody sets. The larger
counts. So a clock that is set back makes nothing younger, and one that runs ahead refuses early.
After a boot only the wall clock is left: a confirmation in its future makes the age unknown.

Ages and times are seconds, times those of the epoch. An age that is unknown is -1, and stale.
A grace excuses age; it excuses no CRL whose own nextUpdate has passed, nor one without any.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from .crl_watch import REFUSE, Direction

CURRENT, REFUSAL = "current", "refusal"
STEADY, JUMPED = "steady", "jumped"
UNKNOWN = -1
ALL = 100


@dataclass(frozen=True)
class Moment:
    """Now: ``wall`` (epoch seconds), and ``boottime`` (seconds) since the boot called ``boot``."""

    wall: float
    boot: str
    boottime: float


@dataclass(frozen=True)
class Stamp:
    """A moment that was written down."""

    at: float
    boot: str
    boottime: float


@dataclass(frozen=True)
class Member:
    """One CRL of a set: whose it is, until when its issuer stands by it, when it was confirmed.

    ``next_update`` and ``confirmed`` are None when nobody knows them.
    """

    name: str
    next_update: Optional[float]
    confirmed: Optional[Stamp]


@dataclass(frozen=True)
class Since:
    """How long ago a stamp was, and whether the clocks agree about it."""

    seconds: float
    clock: str


@dataclass(frozen=True)
class Age:
    """What the CRLs of one trust entry are worth at a moment.

    ``seconds``: age of the set, or UNKNOWN. ``left``: seconds until the first nextUpdate, below
    zero once it has passed, 0 where none is known. ``oldest``, ``first``: the CAs that decide.
    """

    seconds: int
    left: int
    clock: str
    oldest: str
    first: str
    problem: str = ""

    @property
    def expired(self) -> bool:
        """Whether an issuer does not stand by its CRL any more."""
        return self.left <= 0

    def used_percent(self, budget: int) -> int:
        """How much of a budget in seconds is used; at least 100 when there is nothing left."""
        if self.seconds < 0 or self.expired:
            return max(ALL, self.seconds * 100 // budget)
        return self.seconds * 100 // budget

    def alarm_percent(self, budget: int, alarms: Sequence[int]) -> int:
        """The highest alarm that was reached: one of ``alarms``, 100, or 0 for none."""
        used = self.used_percent(budget)
        if self.is_stale(budget):
            return ALL
        return max((one for one in alarms if one <= used and one < ALL), default=0)

    def is_stale(self, budget: int) -> bool:
        """Whether the set may not be relied on any more: older than the budget, or expired."""
        return self.expired or self.seconds < 0 or self.seconds > budget


@dataclass(frozen=True)
class Decision:
    """What is in force for a direction, CURRENT or REFUSAL, and why, as a sentence."""

    in_force: str
    why: str = ""


def since(stamp: Stamp, now: Moment, tolerance: float) -> Optional[Since]:
    """How long ago that was by the clock that says more; None when no clock can tell."""
    wall = now.wall - stamp.at
    if stamp.boot == now.boot and stamp.boot:
        passed = now.boottime - stamp.boottime
        if passed < -tolerance:  # nothing in one boot happens after now: written by hand
            return None
        jumped = abs(wall - passed) > tolerance
        return Since(max(wall, passed, 0.0), JUMPED if jumped else STEADY)
    if wall < -tolerance:
        return None
    return Since(max(wall, 0.0), STEADY)


def latest(stamps: Sequence[Stamp], now: Moment) -> float:
    """The wall clock, or what it would say had nobody set it back since the last boot."""
    moved = [
        stamp.at + now.boottime - stamp.boottime
        for stamp in stamps
        if stamp.boot and stamp.boot == now.boot and stamp.boottime <= now.boottime
    ]
    return max([now.wall, *moved])


def age_of(members: Sequence[Member], now: Moment, tolerance: float) -> Age:
    """The age of a set; ``tolerance``: seconds that the two clocks may differ by."""
    if not members:
        return Age(UNKNOWN, 0, STEADY, "", "", "there is no CRL set whose facts can be read")
    known = [member.confirmed for member in members if member.confirmed is not None]
    left, first = _left(members, latest(known, now))
    seconds, clock, oldest, problem = 0.0, STEADY, "", ""
    for member in members:
        found = since(member.confirmed, now, tolerance) if member.confirmed else None
        if found is None:
            problem = problem or _unknown(member)
            # A stamp that no clock explains: somebody set one, or wrote the stamp.
            clock = JUMPED if member.confirmed else clock
            continue
        clock = JUMPED if found.clock == JUMPED else clock
        if not oldest or found.seconds > seconds:
            seconds, oldest = found.seconds, member.name
    return Age(UNKNOWN if problem else int(seconds), left, clock, oldest, first, problem)


def _left(members: Sequence[Member], now: float) -> tuple[int, str]:
    for member in members:
        if member.next_update is None:
            return 0, member.name
    ends = [(member.next_update or 0.0, member.name) for member in members]
    end, name = min(ends)
    return int((end - now) // 1), name


def _unknown(member: Member) -> str:
    if member.confirmed is None:
        return f"nobody recorded when the CRL of {member.name} was confirmed"
    return f"the CRL of {member.name} was confirmed in the future, by the clock of this host"


def decide(age: Age, direction: Optional[Direction], grace: str = "") -> Decision:
    """What has to be in force; ``grace``: the sentence of a grace that runs, or nothing.

    A direction that nobody watches is as the set is. An alarm never refuses for age.
    """
    if direction is None or not age.is_stale(direction.max_age_seconds):
        return Decision(CURRENT)
    why = _why(age, direction)
    if direction.on_stale != REFUSE:
        library = "the gateway's TLS library refuses what it covers itself"
        told = f"; {library}" if age.expired else ""
        return Decision(CURRENT, f"{why}; the policy only wants an alarm{told}")
    if grace and not age.expired:
        return Decision(CURRENT, f"{why}; {grace}")
    return Decision(REFUSAL, why)


def _why(age: Age, direction: Direction) -> str:
    if age.expired:
        if not age.first:
            return age.problem
        return f"the CRL of {age.first} is past its next update, or has none"
    if age.seconds < 0:
        return age.problem
    budget = direction.max_age_seconds
    return f"the CRL of {age.oldest} was confirmed {age.seconds} s ago, {budget} s are allowed"


def alarm_of(
    age: Age, directions: Mapping[str, Direction], alarms: Sequence[int]
) -> tuple[int, int]:
    """Used percent and alarm of a trust entry: those of its direction with the smallest budget."""
    budgets = [direction.max_age_seconds for direction in directions.values()]
    if not budgets:
        return 0, 0
    return age.used_percent(min(budgets)), age.alarm_percent(min(budgets), alarms)


def epoch(text: object) -> Optional[float]:
    """Seconds of the epoch of an ISO time in UTC; None for anything else."""
    try:
        found = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.timezone.utc)
    return found.timestamp()


def iso(seconds: float) -> str:
    """The ISO time of seconds of the epoch, in UTC."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
