# SPDX-License-Identifier: GPL-3.0-or-later
"""The result for a person at a terminal: by object, the worst first, then the counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from ..checking import PENDING, Result, Status, Verdict
from ..errors import LABELS, shown
from ..policy import Outcome
from .lines import columns, wrapped
from .order import Judged, by_object, headline, stand_ins

WIDTH = 100
_LABEL = 10
_NAMED = 10
_RED, _GREEN, _YELLOW, _BOLD, _PLAIN = "31", "32", "33", "1", ""
_COLOURS = {
    Outcome.FAILED: _RED,
    Outcome.NOT_EVALUATED: _RED,
    Outcome.WAIVED: _YELLOW,
    Outcome.PASSED: _GREEN,
}
_STATUS_COLOURS = {Status.CLEAN: _GREEN, Status.FINDINGS: _RED, Status.FAULT: _RED}
_COUNTED = tuple(Outcome)


def render(result: Result, *, colour: bool = False) -> str:
    """The whole text, at most :data:`WIDTH` columns wide; ``colour`` only for a terminal."""
    paint = _Paint(colour)
    objects = by_object(result)
    blocks = [
        *(_fault(fault, paint) for fault in result.faults),
        *(_object(one, paint) for one in objects if one.told),
    ]
    calm = [_calm(one, paint) for one in objects if not one.told]
    if calm:
        blocks.append("\n".join(calm))
    blocks += [_table(result), "\n".join(_end(result, paint))]
    return "\n\n".join(block for block in blocks if block)


class _Paint:
    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text


def _fault(fault: Mapping[str, str], paint: _Paint) -> str:
    # A field of several problems at once (an inventory's) holds one a line.
    head, *rest = fault["message"].splitlines() or [""]
    lines = [paint(line, _RED) for line in wrapped(f"fault  {shown(head)}", WIDTH, 7)]
    for line in rest:
        lines += _indented(line, 7)
    for label, field in LABELS:
        for number, line in enumerate(fault.get(field, "").splitlines()):
            lines += _field("" if number else label, line, 2)
    return "\n".join(lines)


def _object(judged: Judged, paint: _Paint) -> str:
    lines = [paint(line, _BOLD) for line in wrapped(_title(judged), WIDTH, 2)]
    if judged.stand_in:
        lines += _indented(f"stand-in: {judged.stand_in}", 2)
    for verdict in judged.told:
        lines += _finding(verdict, paint)
    return "\n".join(lines)


def _title(judged: Judged) -> str:
    policy = f" ({judged.policy})" if judged.policy else ""
    return f"{judged.kind} {judged.object}{policy}"


def _finding(verdict: Verdict, paint: _Paint) -> Iterator[str]:
    finding = verdict.finding
    word = _word(finding.outcome)
    effect = ", refused" if finding.refuses else ", new requests held" if finding.holds else ""
    level = f"{finding.level}{effect}"
    clause = f" ({finding.clause})" if finding.clause else ""
    first, *rest = wrapped(f"{word}  {finding.rule}{clause}, {level}", WIDTH - 2, len(word) + 2)
    yield f"  {paint(first, _COLOURS[finding.outcome])}"
    yield from (f"  {line}" for line in rest)
    yield from _indented(finding.message, 4)
    fields = (
        ("found", finding.found),
        ("expected", finding.expected),
        ("where", str(verdict.place)),
        ("next", finding.next_step),
        ("waived", str(verdict.waiver or "")),
    )
    for label, text in fields:
        if text:
            yield from _field(label, text, 4)


def _field(label: str, text: str, indent: int) -> list[str]:
    start = " " * indent + f"{label:<{_LABEL}}"
    first, *rest = wrapped(shown(text), WIDTH - len(start), 0)
    return [start + first, *(" " * len(start) + line for line in rest)]


def _indented(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in wrapped(shown(text), WIDTH - indent, 0)]


def _calm(judged: Judged, paint: _Paint) -> str:
    counts = ", ".join(
        f"{judged.counts[outcome]} {_word(outcome)}"
        for outcome in Outcome
        if judged.counts[outcome]
    )
    stand_in = f" (stand-in: {judged.stand_in})" if judged.stand_in else ""
    text = f"clean  {judged.kind} {judged.object}: {counts or 'no rule applies'}{stand_in}"
    first, *rest = wrapped(text, WIDTH, 7)
    return "\n".join([paint(first[:5], _GREEN) + first[5:], *rest])


def _table(result: Result) -> str:
    if not result.counts:
        return ""
    rows = [("kind", *map(_word, _COUNTED))]
    for kind, counts in sorted(result.counts.items()):
        rows.append((kind, *(str(counts[outcome]) for outcome in _COUNTED)))
    rows.append(("all", *(str(result.totals[outcome]) for outcome in _COUNTED)))
    widths = [max(columns(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(_row(row, widths) for row in rows)


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = row
    cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
    return "  ".join([f"{first:<{widths[0]}}", *cells])


def _end(result: Result, paint: _Paint) -> Iterator[str]:
    for reason, group in groupby(
        sorted(result.not_judged, key=lambda one: one.reason), key=lambda one: one.reason
    ):
        kinds = ", ".join(one.kind for one in group)
        yield from wrapped(f"not judged: {kinds}: {shown(reason)}", WIDTH, 2)
    yield from _pending(result.pending)
    for line in stand_ins(result):
        yield from wrapped(line, WIDTH, 2)
    first, *rest = wrapped(headline(result), WIDTH, 2)
    word, colon, tail = first.partition(":")
    yield paint(word, _STATUS_COLOURS[result.status]) + colon + tail
    yield from rest


def _pending(objects: Sequence[str]) -> Iterator[str]:
    if objects:
        names = ", ".join(map(shown, objects[:_NAMED]))
        more = f" and {len(objects) - _NAMED} more" if len(objects) > _NAMED else ""
        end = "no CRL was at hand: by this verdict nothing of it may be deployed"
        yield from wrapped(f"{PENDING}: {names}{more}; {end}", WIDTH, 2)


def _word(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")
