# SPDX-License-Identifier: GPL-3.0-or-later
"""What every report tells in the same order and the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..checking import PENDING, Result, Status, Verdict
from ..errors import shown
from ..policy import LEVELS, Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """One object: what has to be told of it, the worst first, and how many rules ended how."""

    kind: str
    object: str
    policy: str
    stand_in: str
    told: tuple[Verdict, ...]
    counts: Counter[Outcome]


def by_object(result: Result) -> tuple[Judged, ...]:
    """Every judged object, the worst first."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in result.verdicts:
        groups.setdefault((verdict.kind, verdict.object, verdict.policy), []).append(verdict)
    judged = [_judged(key, verdicts) for key, verdicts in groups.items()]
    return tuple(sorted(judged, key=_how_bad))


def told(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """What is not simply right, the worst first; what is waived comes last."""
    some = [one for one in verdicts if one.failing or one.finding.outcome is Outcome.WAIVED]
    return tuple(sorted(some, key=_weight))


def headline(result: Result) -> str:
    """The verdict in one sentence."""
    totals = result.totals
    failing, below = len(result.failing), sum(one.failing for one in result.verdicts)
    evaluated = totals[Outcome.PASSED] + totals[Outcome.FAILED] + totals[Outcome.WAIVED]
    objects = _counted(
        len({(one.kind, one.object, one.policy) for one in result.verdicts}), "object"
    )
    seen = f"{_counted(evaluated, 'rule')} evaluated over {objects}, {result.scope}"
    lesser = below - failing
    tail = f"; {lesser} below that level" if lesser else ""
    pending = f"; {PENDING}, never deployable by this verdict" if result.pending else ""
    if result.status is Status.FAULT:
        faults = _counted(len(result.faults), "fault")
        return f"fault: {faults}, {_counted(below, 'finding')}; {seen}"
    if result.status is Status.FINDINGS:
        return f"findings: {failing} at or above {result.level}{tail}; {seen}{pending}"
    return f"clean: nothing at or above {result.level}{tail}; {seen}{pending}"


def sentence(fault: Mapping[str, str]) -> str:
    """A fault in one line."""
    named = (("", "message"), ("found ", "found"), ("expected ", "expected"), ("in ", "where"))
    parts = [f"{word}{fault[field]}" for word, field in named if fault.get(field)]
    return shown("; ".join([*parts, f"next: {fault['next_step']}"]))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def stand_ins(result: Result) -> Iterator[str]:
    """One line for each thing that stands in for real facts."""
    texts = sorted({one.stand_in for one in result.verdicts if one.stand_in})
    yield from (f"stand-in: {shown(text)}" for text in texts)


def _judged(key: tuple[str, str, str], verdicts: list[Verdict]) -> Judged:
    kind, name, policy = key
    return Judged(
        kind=kind,
        object=shown(name),
        policy=policy,
        stand_in=next((one.stand_in for one in verdicts if one.stand_in), ""),
        told=told(verdicts),
        counts=Counter(one.finding.outcome for one in verdicts),
    )


def _how_bad(judged: Judged) -> tuple[int, int, str, str]:
    failing = [LEVELS.index(one.severity) for one in judged.told if one.failing]
    worst = min(failing, default=len(LEVELS) + (not judged.told))
    return worst, -failing.count(worst), judged.kind, judged.object


def _weight(verdict: Verdict) -> tuple[int, str]:
    waived = verdict.finding.outcome is Outcome.WAIVED
    return len(LEVELS) if waived else LEVELS.index(verdict.severity), verdict.finding.rule
