# SPDX-License-Identifier: GPL-3.0-or-later
"""Granting a grace, taking it away, and listing what there is; it takes effect at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Optional

from . import crl_age, crl_grace, crl_guard, crl_standing, crl_watch, files
from .crl_age import Moment
from .crl_grace import Grace
from .crl_standing import Standing
from .crl_watch import TrustWatch, Watch
from .errors import HostError

_HOUR = 3600
_MOST_HOURS = 1e6


@dataclass(frozen=True)
class Wish:
    """What a person wants: ``until`` (ISO, UTC) or ``hours`` from now; neither lists only."""

    trust: str
    state: str
    by: str
    reason: str
    until: str
    hours: float

    @property
    def lists(self) -> bool:
        return self.state == "present" and not self.until and not self.hours


@dataclass(frozen=True)
class Granted:
    """What became of a wish. ``before`` and ``after``: the file, as text."""

    changed: bool
    before: str
    after: str
    sentences: tuple[str, ...]


class Desk:
    """The CRL root of this host, at one moment; HostError where nothing is watched."""

    def __init__(self, crl_root: str, now: Optional[float] = None) -> None:
        watch = crl_watch.load(crl_root)
        if watch is None:
            raise _refused(
                "no CRL is watched on this host, so none is ever too old",
                "no watch.json",
                "a host that site.yml has prepared",
                crl_root,
            )
        self._root, self._now, self._watch = crl_root, now, watch

    @property
    def watch(self) -> Watch:
        return self._watch

    def _moment(self) -> Moment:
        return crl_standing.moment(self._now)

    def _look(self, trust: str) -> Standing:
        return crl_standing.look(self._root, trust, self._watch, self._moment())

    def listed(self) -> list[dict[str, Any]]:
        """Every trust entry of this host: its age, what is in force, and its grace."""
        return [self._entry(name, watched) for name, watched in self._watch.trusts.items()]

    def _entry(self, name: str, watched: TrustWatch) -> dict[str, Any]:
        standing, granted = self._look(name), crl_grace.read(self._root, name)
        return {
            "trust": name,
            "age_seconds": standing.age.seconds,
            "next_update_left_seconds": standing.age.left,
            "in_force": {one: standing.decisions[one].in_force for one in watched.directions},
            "why": sorted({one.why for one in standing.decisions.values() if one.why}),
            "grace": granted.as_json() if granted else None,
            "runs": standing.grace is not None,
        }

    def do(self, wish: Wish, *, check: bool) -> Granted:
        """Judge a wish and write it down; HostError CRL-GRACE for one that nobody may have."""
        if wish.trust not in self._watch.trusts:
            raise _refused(
                "there is no such trust entry on this host",
                wish.trust or "no trust",
                ", ".join(self._watch.trusts),
                "trust",
            )
        if wish.state == "absent":
            return self._withdraw(wish.trust, check)
        return self._grant(wish, check)

    def _withdraw(self, trust: str, check: bool) -> Granted:
        before = self._text(trust)
        there = os.path.lexists(crl_grace.path(self._root, trust))
        if there and not check:
            crl_grace.remove(self._root, trust)
        would = "would be " if check else ""
        told = f"the grace is {would}taken away" if there else "no grace was there"
        return Granted(there, before, "", (f"{trust}: {told}",))

    def _grant(self, wish: Wish, check: bool) -> Granted:
        now, standing = self._moment(), self._look(wish.trust)
        grace, longest = self._grace(wish, now), self._watch.grace_longest_seconds
        known = crl_grace.read(self._root, wish.trust)
        if known and standing.grace and _same(known, grace, wish):
            text, told = self._text(wish.trust), "is already granted"
            return Granted(False, text, text, (self._sentence(wish.trust, known, told),))
        crl_grace.judge(wish.trust, grace, standing.age, longest)
        before, after = self._text(wish.trust), crl_grace.encode(grace).decode()
        if not check:
            crl_grace.write(self._root, wish.trust, grace)
        told = "would be granted" if check else "is granted"
        return Granted(True, before, after, (self._sentence(wish.trust, grace, told),))

    def _grace(self, wish: Wish, now: Moment) -> Grace:
        sane = 0 <= wish.hours <= _MOST_HOURS  # neither NaN nor without end
        until = now.wall + wish.hours * _HOUR if wish.hours else crl_age.epoch(wish.until)
        if until is None or not sane or (wish.until and wish.hours):
            raise _refused(
                "it is not clear until when the grace is to last",
                f"until={wish.until!r} hours={wish.hours:g}",
                "until=2026-01-02T03:04:05Z or hours=4",
                "until and hours",
            )
        stamp = crl_age.Stamp(int(now.wall), now.boot, now.boottime)
        return Grace(wish.by.strip(), wish.reason.strip(), stamp, int(until))

    def _sentence(self, trust: str, grace: Grace, told: str) -> str:
        end = crl_age.iso(grace.ends(self._watch.grace_longest_seconds))
        return f"{trust}: a grace until {end} {told} by {grace.by}: {grace.reason}"

    def _text(self, trust: str) -> str:
        return (files.read(crl_grace.path(self._root, trust)) or b"").decode("utf-8", "replace")

    def take_effect(self) -> tuple[str, ...]:
        """Let the guard tick; what it told. HostError when not all is as it has to be then."""
        ticked = crl_guard.tick(self._root, self._now)
        told = tuple(line.text for line in ticked.lines)
        if ticked.failed:
            raise HostError(
                "the grace is written down, but not all that depends on it is as it has to be",
                rule=crl_grace.RULE,
                found=" | ".join(told),
                expected="every gateway has loaded what is in force",
                where=self._root,
                next_step="do what it says; the guard tries again with its next tick",
            )
        return told


def _same(known: Grace, wanted: Grace, wish: Wish) -> bool:
    """The same person's same words; for so many hours, or until the same end."""
    if (known.by, known.reason) != (wanted.by, wanted.reason):
        return False
    if wish.hours:
        return abs(known.until - known.granted.at - wish.hours * _HOUR) < 1
    return known.until == wanted.until


def table(entries: list[dict[str, Any]]) -> list[str]:
    """The list for a person, a line a trust entry."""
    lines = []
    for entry in entries:
        in_force = ", ".join(f"{name}: {what}" for name, what in entry["in_force"].items())
        age = (
            f"{_hours(entry['age_seconds'])} old" if entry["age_seconds"] >= 0 else "of unknown age"
        )
        grace = entry["grace"]
        excused = (
            f"; grace until {grace['until']} by {grace['by']}: {grace['reason']}"
            + ("" if entry["runs"] else " (it does not count any more)")
            if grace
            else ""
        )
        left = _hours(entry["next_update_left_seconds"])
        why = "".join(f"; {one}" for one in entry["why"])
        lines.append(
            f"{entry['trust']}: {age}, {left} to the next update; {in_force}{excused}{why}"
        )
    return lines


def _hours(seconds: int) -> str:
    return f"{seconds / _HOUR:.1f} h"


def _refused(message: str, found: str, expected: str, where: str) -> HostError:
    return HostError(
        message,
        rule=crl_grace.RULE,
        found=found,
        expected=expected,
        where=where,
        next_step="see docs/crl_grace.md; nothing was changed",
    )
