# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the CRLs of this host, as a run prints it: one sentence each, with what to do.

From what the refresh and the guard recorded. Reads only; no network code.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from . import crl_age, crl_guard_record, crl_told, files
from .crl_watch import Watch
from .errors import HostError

_STATUS = "status.json"
_PAGE = "see docs/crl.md"
#: A tick may be late by as much before anybody is told.
_LATE_PERIODS, _LATE_SECONDS = 3, 180


def alarms(
    crl_root: str, watch: Optional[Watch], *, ticking: bool, now: Optional[float] = None
) -> list[str]:
    """Sentences, the most urgent first.

    Args:
        ticking: whether a guard is meant to run here by itself.
        now: epoch seconds; this moment when it is left out.
    """
    if watch is None:
        return []
    found = _of_guard(crl_root, watch, ticking, time.time() if now is None else now)
    for name in watch.trusts:
        found += _of_refresh(crl_root, name)
    return [text for _, text in sorted(found, key=lambda one: one[0])]


def _of_refresh(crl_root: str, trust: str) -> list[tuple[int, str]]:
    """The lines of the last refresh that are more than a notice."""
    status = _json(os.path.join(crl_root, trust, _STATUS))
    try:
        lines = crl_told.lines(trust, status) if status else []
    except (KeyError, TypeError, ValueError):
        path = os.path.join(crl_root, trust, _STATUS)
        return [(crl_told.WARNING, f"{path} cannot be read; the next refresh writes it anew")]
    return [(line.priority, line.text) for line in lines if line.priority <= crl_told.WARNING]


def _of_guard(crl_root: str, watch: Watch, ticking: bool, now: float) -> list[tuple[int, str]]:
    record = crl_guard_record.Record.load(crl_root)
    found = list(_ticks(record.ran_at, watch, now)) if ticking else []
    for gateway, why in sorted(record.stopped.items()):
        text = f"gateway {gateway} was ended by the guard of CRLs: {why}; {_PAGE}"
        found.append((crl_told.ALERT, text))
    for name in watch.trusts:
        found += _of_trust(name, record.trusts.get(name) or {}, watch)
    return found


def _ticks(ran_at: str, watch: Watch, now: float) -> Iterator[tuple[int, str]]:
    late = max(_LATE_PERIODS * watch.guard_period_seconds, _LATE_SECONDS)
    last = crl_age.epoch(ran_at)
    if last is None or now - last > late:
        since = f"since {ran_at}" if last is not None else "yet"
        yield (
            crl_told.ALERT,
            f"the guard of CRLs has not run {since}, so nobody refuses peers once CRLs are too "
            f"old; run systemctl status pki-crl-guard.timer pki-crl-guard.service on the host",
        )


def _of_trust(trust: str, entry: Mapping[str, Any], watch: Watch) -> Iterator[tuple[int, str]]:
    for direction in crl_guard_record.refused(entry):
        why = entry["directions"][direction].get("why") or "its CRLs are too old"
        yield crl_told.ALERT, f"{trust}: everybody is refused on {direction}: {why}; {_PAGE}"
    percent = entry.get("alarm_percent")
    if isinstance(percent, int) and percent > 0:
        level = crl_told.ERROR if percent >= max(watch.alarm_percents) else crl_told.WARNING
        used = entry.get("used_percent")
        yield level, f"{trust}: {used} % of the age that its CRLs may have is used; {_PAGE}"
    if entry.get("clock") == crl_age.JUMPED:
        yield (
            crl_told.WARNING,
            f"{trust}: the clock was set since its CRLs were confirmed; check the time service",
        )
    grace = entry.get("grace")
    if isinstance(grace, Mapping):
        yield (
            crl_told.WARNING,
            f"{trust}: CRLs that are too old are excused until {grace.get('until')} by "
            f"{grace.get('by')} ({grace.get('reason')}); {_PAGE}",
        )


def _json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(path) or b"{}")
    except (ValueError, RecursionError, HostError):
        return {}
    return found if isinstance(found, dict) else {}
