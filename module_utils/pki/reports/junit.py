# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML for whatever draws tables of tests: a suite a kind, a case a rule and object."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from ..checking import Result, Verdict
from ..errors import shown
from ..policy import Outcome
from .order import sentence


def render(result: Result) -> str:
    """The whole report as the text of a file."""
    kinds: dict[str, list[Verdict]] = {}
    for verdict in result.verdicts:
        kinds.setdefault(verdict.kind, []).append(verdict)
    totals = _counts(list(result.verdicts))
    if result.faults:
        number = len(result.faults)
        totals["tests"] = str(int(totals["tests"]) + number)
        totals["errors"] = str(int(totals["errors"]) + number)
    root = ET.Element("testsuites", {"name": "pki.check", **totals})
    if result.faults:
        _faults(root, result)
    for kind, verdicts in sorted(kinds.items()):
        more = {"skipped": _skipped(verdicts), "timestamp": _moment(result)}
        suite = ET.SubElement(root, "testsuite", {"name": kind, **_counts(verdicts), **more})
        for verdict in verdicts:
            _case(suite, verdict)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _faults(root: ET.Element, result: Result) -> None:
    """What could not be looked at, as a suite of its own: it must not look like a lesser report."""
    number = str(len(result.faults))
    counts = {"tests": number, "failures": "0", "errors": number, "skipped": "0"}
    names = {"name": "faults", **counts, "timestamp": _moment(result)}
    suite = ET.SubElement(root, "testsuite", names)
    for at, fault in enumerate(result.faults, 1):
        name = shown(f"{at} {fault['message']}".splitlines()[0])
        case = ET.SubElement(suite, "testcase", name=name, classname="faults")
        element = ET.SubElement(case, "error", type="fault", message=shown(fault["message"]))
        element.text = sentence(fault)


def _counts(verdicts: list[Verdict]) -> dict[str, str]:
    return {
        "tests": str(len(verdicts)),
        "failures": _number(verdicts, Outcome.FAILED),
        "errors": _number(verdicts, Outcome.NOT_EVALUATED),
    }


def _skipped(verdicts: list[Verdict]) -> str:
    return _number(verdicts, Outcome.NOT_APPLICABLE, Outcome.WAIVED)


def _number(verdicts: list[Verdict], *outcomes: Outcome) -> str:
    return str(sum(one.finding.outcome in outcomes for one in verdicts))


def _moment(result: Result) -> str:
    return result.taken.removesuffix("Z")  # the format has no zones


def _case(suite: ET.Element, verdict: Verdict) -> None:
    finding = verdict.finding
    element = ET.SubElement(
        suite,
        "testcase",
        name=shown(f"{finding.rule} {verdict.object}"),
        classname=".".join(part for part in (verdict.policy, verdict.kind) if part),
    )
    match finding.outcome:
        case Outcome.FAILED:
            _told(element, "failure", verdict)
        case Outcome.NOT_EVALUATED:
            _told(element, "error", verdict)
        case Outcome.WAIVED:
            ET.SubElement(element, "skipped", message=shown(f"waived: {verdict.waiver}"))
        case Outcome.NOT_APPLICABLE:
            ET.SubElement(element, "skipped", message="not applicable")


def _told(case: ET.Element, tag: str, verdict: Verdict) -> None:
    finding = verdict.finding
    element = ET.SubElement(case, tag, type=verdict.severity, message=shown(finding.message))
    fields = (
        ("found", finding.found),
        ("expected", finding.expected),
        ("where", str(verdict.place)),
        ("next", finding.next_step),
    )
    element.text = "\n".join(f"{label}: {shown(text)}" for label, text in fields if text)
