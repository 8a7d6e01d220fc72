# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard tells: journal lines, and the series of ``pki_crl_guard.prom``.

An alarm is told when it is reached, and every hour while it is at the highest that the policy names
or above. Everything else is told when it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import crl_age, crl_guard_record
from .crl_age import CURRENT, JUMPED
from .crl_standing import Standing
from .crl_told import ALERT, ERROR, GAUGE, INFO, WARNING, Line, Metric
from .crl_watch import Watch

FILE = "pki_crl_guard.prom"
_HOUR = 3600.0
_NOTICE = 5
_FETCH = "run playbooks/crl_refresh.yml -l THIS_HOST and see docs/crl.md"


def lines(
    trust: str, standing: Standing, before: Mapping[str, Any], watch: Watch, now: float
) -> tuple[list[Line], dict[str, Any]]:
    """The lines about one trust entry, and what is to be remembered of having told them."""
    remembered = before.get("told")
    told = dict(remembered) if isinstance(remembered, dict) else {}
    found = [
        *_directions(trust, standing, before),
        *_grace(trust, standing, before),
    ]
    alarm = _alarm(trust, standing, told, watch, now)
    if alarm:
        found.append(alarm)
        told["at"] = crl_age.iso(now)
    told["percent"] = standing.alarm
    if standing.age.clock == JUMPED and before.get("clock") != JUMPED:
        text = (
            f"{trust}: the clock of this host was set since its CRLs were confirmed; the larger "
            "age counts: check the time service of this host"
        )
        found.append(Line(WARNING, text))
    return found, told


def _alarm(
    trust: str, standing: Standing, told: Mapping[str, Any], watch: Watch, now: float
) -> Line | None:
    percent, last = standing.alarm, _whole(told.get("percent"))
    highest = max((one for one in watch.alarm_percents if one < crl_age.ALL), default=crl_age.ALL)
    again = percent >= highest and crl_guard_record.passed_since(told, now) >= _HOUR
    if percent < last and not percent:
        return Line(INFO, f"{trust}: its CRLs are fresh again; there is nothing to do")
    if percent <= last and not (percent and again):
        return None
    if percent >= crl_age.ALL:
        why = next((one.why for one in standing.decisions.values() if one.why), "they are too old")
        return Line(ALERT, f"{trust}: its CRLs may not be relied on any more, {why}; {_FETCH}")
    level = (
        ERROR
        if percent >= highest
        else WARNING
        if percent > min(watch.alarm_percents)
        else (_NOTICE)
    )
    age = standing.age
    text = (
        f"{trust}: {standing.used} % of the age that its CRLs may have is used ({age.seconds} s "
        f"since the one of {age.oldest} was confirmed); {_FETCH}"
    )
    return Line(level, text)


def _directions(trust: str, standing: Standing, before: Mapping[str, Any]) -> Iterator[Line]:
    refused = crl_guard_record.refused(before)
    for name, decision in standing.decisions.items():
        if decision.in_force != CURRENT and name not in refused:
            yield Line(ALERT, f"{trust}: everybody is refused on {name}: {decision.why}; {_FETCH}")
        elif decision.in_force == CURRENT and name in refused:
            yield Line(INFO, f"{trust}: {name} uses its CRLs again; there is nothing to do")


def _grace(trust: str, standing: Standing, before: Mapping[str, Any]) -> Iterator[Line]:
    if standing.grace and not before.get("grace"):
        end = crl_age.iso(standing.grace.until)
        text = f"{trust}: CRLs that are too old are excused until {end} ({standing.grace.reason})"
        yield Line(WARNING, f"{text}, by {standing.grace.by}; {_FETCH} before then")
    elif before.get("grace") and not standing.grace:
        yield Line(WARNING, f"{trust}: the grace for CRLs that are too old has ended; {_FETCH}")


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def metrics(
    watch: Watch, standings: Mapping[str, Standing], stopped: Mapping[str, bool], now: float
) -> Iterable[Metric]:
    """All series of one tick. ``stopped``: every gateway, and whether the guard has ended it."""
    made: list[Metric] = []

    def gauge(name: str, text: str) -> Metric:
        made.append(Metric(f"pki_crl_{name}", GAUGE, text))
        return made[-1]

    gauge("guard_last_tick_timestamp_seconds", "When the guard last ran.").put(int(now))
    age = gauge("age_seconds", "Seconds since the oldest CRL was confirmed; -1 if unknown.")
    left = gauge("next_update_left_seconds", "Seconds until a CRL is past its next update.")
    used = gauge("age_used_percent", "How much of the age that CRLs may have is used.")
    alarm = gauge("age_alarm_percent", "The alarm that was reached; 0 for none, 100 for stale.")
    clock = gauge("clock_jumped", "1 while two clocks disagree about the age of the CRLs.")
    grace = gauge("grace_until_timestamp_seconds", "When a grace ends; 0 while none runs.")
    budget = gauge("age_budget_seconds", "The age that CRLs may have.")
    refusing = gauge("refusing", "1 while everybody is refused.")
    ended = gauge("guard_gateway_stopped", "1 while a gateway is ended that loads no refusal.")
    for trust, standing in standings.items():
        age.put(standing.age.seconds, trust=trust)
        left.put(standing.age.left, trust=trust)
        used.put(standing.used, trust=trust)
        alarm.put(standing.alarm, trust=trust)
        clock.put(int(standing.age.clock == JUMPED), trust=trust)
        until = standing.grace.ends(watch.grace_longest_seconds) if standing.grace else 0
        grace.put(int(until), trust=trust)
        for name, direction in watch.trusts[trust].directions.items():
            budget.put(direction.max_age_seconds, trust=trust, direction=name)
        for name, decision in standing.decisions.items():
            refusing.put(int(decision.in_force != CURRENT), trust=trust, direction=name)
    for name, is_stopped in stopped.items():
        ended.put(int(is_stopped), gateway=name)
    return made
