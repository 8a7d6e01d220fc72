# SPDX-License-Identifier: GPL-3.0-or-later
"""``result.json``: everything a check found, for machines; ``policies/result.schema.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..checking import Result, Status, Verdict
from ..errors import shown
from ..policy import Outcome
from ..waivers import Waiver

#: Fields are only ever added within a schema version.
SCHEMA = 1


def document(result: Result) -> dict[str, Any]:
    """The result as plain JSON."""
    return {
        "schema": SCHEMA,
        "status": result.status.value,
        "scope": result.scope,
        "taken": result.taken,
        "level": result.level,
        "counts": _counts(result.totals),
        "kinds": {kind: _counts(counts) for kind, counts in sorted(result.counts.items())},
        "pending_revocation": [shown(name) for name in result.pending],
        "not_judged": [{"kind": one.kind, "reason": one.reason} for one in result.not_judged],
        "faults": [dict(fault) for fault in result.faults],
        "verdicts": [_verdict(one) for one in result.verdicts],
    }


def render(result: Result) -> str:
    """The result as the text of a file."""
    return text(document(result))


def fault(errors: Iterable[Mapping[str, str]]) -> str:
    """The result of a check that could not be made, as the text of a file."""
    return text(
        {
            "schema": SCHEMA,
            "status": Status.FAULT.value,
            "scope": "",
            "taken": "",
            "level": "",
            "counts": _counts(Counter()),
            "kinds": {},
            "pending_revocation": [],
            "not_judged": [],
            "faults": [dict(error) for error in errors],
            "verdicts": [],
        }
    )


def text(value: Mapping[str, Any]) -> str:
    """JSON as our files hold it: an item of a list of the document a line, and fast to write."""
    fields = [f"{_json(name)}: {_lines(field)}" for name, field in value.items()]
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _json(value)
    return "[\n" + ",\n".join(map(_json, value)) + "\n]"


def _json(value: Any) -> str:
    # With an indent the library would leave its fast encoder (measured: six times as long).
    return json.dumps(value, ensure_ascii=False)


def _counts(counts: Mapping[Outcome, int]) -> dict[str, int]:
    return {outcome.value: counts.get(outcome, 0) for outcome in Outcome}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    finding = verdict.finding
    return {
        "kind": verdict.kind,
        "object": shown(verdict.object),
        "policy": verdict.policy,
        "rule": finding.rule,
        "clause": finding.clause,
        "level": finding.level,
        "refuses": finding.refuses,
        "holds": finding.holds,
        "outcome": finding.outcome.value,
        "severity": verdict.severity if verdict.failing else "",
        "message": shown(finding.message),
        "found": shown(finding.found),
        "expected": shown(finding.expected),
        "next_step": shown(finding.next_step),
        "file": shown(verdict.place.file),
        "line": verdict.place.line,
        "stand_in": shown(verdict.stand_in),
        "waiver": _waiver(verdict.waiver),
    }


def _waiver(waiver: Waiver | None) -> dict[str, str | int] | None:
    if waiver is None:
        return None
    return {
        "reason": shown(waiver.reason),
        "approver": shown(waiver.approver),
        "expires": waiver.expires.isoformat(),
        "file": shown(waiver.place.file),
        "line": waiver.place.line,
    }
