# SPDX-License-Identifier: GPL-3.0-or-later
"""A summary in Markdown for a pull request: the verdict, the findings, the counts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from ..checking import PENDING, Result, Verdict
from ..errors import shown
from ..policy import Outcome
from .order import by_object, headline, sentence, stand_ins

#: Code hosts cut or refuse long comments; the whole list is in ``result.json``.
MOST_ROWS = 100
MOST_CHARACTERS = 300

# What starts a link, an emphasis, code, a mention or a cell. HTML is escaped before.
_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|~@$-])")


def render(result: Result) -> str:
    """The whole summary as the text of a file."""
    word, _, tail = headline(result).partition(":")
    told = [verdict for judged in by_object(result) for verdict in judged.told]
    lines = [f"## Policy check: {word}", "", plain(tail.strip()), ""]
    lines += [f"- fault: {plain(sentence(fault))}" for fault in result.faults[:MOST_ROWS]]
    lines += [""] if result.faults else []
    lines += _findings(told)
    if len(told) > MOST_ROWS:
        lines += [f"And {len(told) - MOST_ROWS} more, in `result.json`.", ""]
    lines += _counts(result)
    lines += _notes(result)
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line and of bounded length."""
    text = shown(text)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}…"
    return _ACTIVE.sub(r"\\\1", html.escape(text, quote=False))


def quoted(text: str) -> str:
    """What other hands wrote: as it is, and in a place where no name in it is called."""
    return f"<code>{plain(text)}</code>" if text else ""


def _findings(told: Iterable[Verdict]) -> list[str]:
    rows = [_finding(verdict) for verdict in list(told)[:MOST_ROWS]]
    if not rows:
        return []
    head = ("object", "rule", "level", "finding", "next", "where")
    return [_row(head), _row("---" for _ in head), *map(_row, rows), ""]


def _finding(verdict: Verdict) -> tuple[str, ...]:
    finding = verdict.finding
    clause = f" ({plain(finding.clause)})" if finding.clause else ""
    parts = [plain(finding.message)]
    parts += [f"found: {quoted(finding.found)}"] if finding.found else []
    parts += [f"expected: {quoted(finding.expected)}"] if finding.expected else []
    level = finding.level
    if finding.outcome is Outcome.WAIVED:
        parts.append(f"waived: {quoted(str(verdict.waiver))}")
        level = "waived"
    elif finding.outcome is Outcome.NOT_EVALUATED:
        level = f"{finding.level}, not evaluated"
    return (
        quoted(f"{verdict.kind} {verdict.object}"),
        plain(finding.rule) + clause,
        level,
        "<br>".join(parts),
        plain(finding.next_step),
        quoted(str(verdict.place)),
    )


def _counts(result: Result) -> list[str]:
    head = ("kind", *(outcome.value.replace("_", " ") for outcome in Outcome))
    rows = [
        (plain(kind), *(str(counts[outcome]) for outcome in Outcome))
        for kind, counts in sorted(result.counts.items())
    ]
    total = ("all", *(str(result.totals[outcome]) for outcome in Outcome))
    marks = ("---", *("---:" for _ in Outcome))
    return [_row(head), _row(marks), *map(_row, [*rows, total]), ""]


def _notes(result: Result) -> list[str]:
    notes = [f"- not judged: {plain(one.kind)}: {plain(one.reason)}" for one in result.not_judged]
    if result.pending:
        names = ", ".join(result.pending)  # cut to a sensible length with every other text
        notes.append(f"- {PENDING}, never deployable by this verdict: {plain(names)}")
    return notes + [f"- {plain(line)}" for line in stand_ins(result)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
