# SPDX-License-Identifier: GPL-3.0-or-later
"""SARIF 2.1.0, so that a code host shows each finding at the line it comes from.

Only what failed, was not evaluated or is waived is a result; a waived one is suppressed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ..checking import Result, Verdict, severity
from ..errors import shown
from ..policy import Outcome, Place
from .order import by_object, sentence
from .result import text

VERSION = "2.1.0"
SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
NAME = "pki.check"
#: A change of it makes every finding look new to a code host.
FINGERPRINT = "pkiCheckFinding/v1"

_SARIF_LEVELS = {"must": "error", "should": "warning"}


def render(result: Result) -> str:
    """The whole log as the text of a file."""
    told = [verdict for judged in by_object(result) for verdict in judged.told]
    rules = _rules(result, told)
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": NAME, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(result)],
        "results": [_result(verdict, index) for verdict in told],
    }
    return text({"$schema": SCHEMA, "version": VERSION, "runs": [run]})


def _invocation(result: Result) -> dict[str, Any]:
    """Whether the check could look at everything, and what kept it from that."""
    notifications = [
        {"level": "error", "message": {"text": _plain(sentence(fault))}} for fault in result.faults
    ]
    return {
        "executionSuccessful": not result.faults,
        "toolExecutionNotifications": notifications,
    }


def _rules(result: Result, told: Iterable[Verdict]) -> list[dict[str, Any]]:
    """One description an id: of the policies' rules, then of what has no rule there."""
    described: dict[str, dict[str, Any]] = {}
    for rule in result.rules:
        level = severity(rule)
        described.setdefault(rule.id, _rule(rule.id, rule.clause, level, rule.message, rule.remedy))
    for verdict in told:
        one = verdict.finding
        described.setdefault(
            one.rule, _rule(one.rule, one.clause, verdict.severity, one.message, one.next_step)
        )
    return [described[name] for name in sorted(described)]


def _rule(name: str, clause: str, level: str, message: str, remedy: str) -> dict[str, Any]:
    message, remedy = shown(message), shown(remedy)
    whole = f"{message} (clause {clause}, {level})" if clause else f"{message} ({level})"
    return {
        "id": name,
        "shortDescription": {"text": message},
        "fullDescription": {"text": whole},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": _SARIF_LEVELS.get(level, "note")},
        "properties": {"clause": clause, "level": level},
    }


def _result(verdict: Verdict, index: dict[str, int]) -> dict[str, Any]:
    finding = verdict.finding
    found = {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": _level(verdict),
        "message": {"text": _plain(_sentence(verdict))},
        "locations": [_location(verdict)],
        "partialFingerprints": {FINGERPRINT: _fingerprint(verdict)},
        "properties": {"kind": verdict.kind, "policy": verdict.policy},
    }
    if finding.outcome is Outcome.WAIVED:
        found["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": shown(str(verdict.waiver))}
        ]
    return found


def _level(verdict: Verdict) -> str:
    if verdict.finding.outcome is Outcome.NOT_EVALUATED:
        return "error"
    return _SARIF_LEVELS.get(verdict.severity, "note")


def _sentence(verdict: Verdict) -> str:
    finding = verdict.finding
    parts = [
        f"{verdict.kind} {verdict.object}: {finding.message}",
        f"found {finding.found}" if finding.found else "",
        f"expected {finding.expected}" if finding.expected else "",
        f"next: {finding.next_step}",
    ]
    return shown("; ".join(part for part in parts if part))


def _plain(sentence: str) -> str:
    """A sentence without what SARIF reads as a link or a placeholder."""
    if "](" in sentence:
        sentence = re.sub(r"([\\\[\]])", r"\\\1", sentence)
    return re.sub(r"\{(\d+)\}", r"{{\1}}", sentence)


def _location(verdict: Verdict) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [
            {
                "name": shown(verdict.object),
                "fullyQualifiedName": shown(f"{verdict.kind}/{verdict.object}"),
            }
        ]
    }
    if verdict.place.file:
        location["physicalLocation"] = _physical(verdict.place)
    return location


def _physical(place: Place) -> dict[str, Any]:
    path = PurePath(place.file)
    encoded = quote(shown(path.as_posix()))
    physical: dict[str, Any] = {
        "artifactLocation": {"uri": f"file://{encoded}" if path.is_absolute() else encoded}
    }
    if place.line > 0:
        physical["region"] = {"startLine": place.line}
    return physical


def _fingerprint(verdict: Verdict) -> str:
    """The same for the same rule and object, wherever the object's entry has moved to."""
    parts = (verdict.policy, verdict.finding.rule, verdict.kind, verdict.object)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
