# SPDX-License-Identifier: GPL-3.0-or-later
"""A waiver hides nothing: it says who answers for one finding about one object, until a day."""

from __future__ import annotations

from datetime import date

import pytest
from pki import waivers
from pki.errors import PkiError
from pki.policy import Finding, Outcome, Place
from pki.waivers import Waived
from unit.thing_policy import SCHEMA

FILE = "inventories/test/waivers.yml"
TEXT = """\
waivers:
  - rule: S-BITS
    object: thing v1
    reason: the partner replaces it in spring
    approver: Alex Example
    expires: "2026-12-01"
"""
TODAY = date(2026, 11, 30)


def finding(outcome: Outcome, rule: str = "S-BITS") -> Finding:
    return Finding(
        rule=rule, clause="1.1", level="must", refuses=True, outcome=outcome,
        message="too small", found="1024", expected="2048", next_step="make a bigger one",
    )  # fmt: skip


def applied(
    *verdicts: tuple[str, Finding], today: date = TODAY, elsewhere: tuple[str, ...] = ()
) -> Waived:
    return waivers.apply(waivers.load(FILE, TEXT, SCHEMA), verdicts, today, elsewhere)


def test_a_failed_finding_is_waived_and_still_says_what_was_found() -> None:
    result = applied(("thing v1", finding(Outcome.FAILED)))
    ((waived, waiver),) = result.verdicts
    assert waived.outcome is Outcome.WAIVED
    assert (waived.found, waived.expected) == ("1024", "2048")
    assert not waived.passed
    assert str(waiver) == (
        "until 2026-12-01: the partner replaces it in spring (approved by Alex Example)"
    )
    assert result.remarks == ()


@pytest.mark.parametrize(
    ("name", "rule"),
    [("thing v2", "S-BITS"), ("thing v1", "S-AGE"), ("Thing v1", "S-BITS"), ("thing v1 ", "S-BITS"),
     ("thing v10", "S-BITS")],
)  # fmt: skip
def test_it_waives_its_own_rule_and_object_only_letter_by_letter(name: str, rule: str) -> None:
    result = applied((name, finding(Outcome.FAILED, rule)))
    ((kept, waiver),) = result.verdicts
    assert kept.outcome is Outcome.FAILED
    assert waiver is None
    assert "nothing needs" in result.remarks[0].finding.message


def test_what_was_not_evaluated_is_never_waived() -> None:
    result = applied(("thing v1", finding(Outcome.NOT_EVALUATED)))
    assert [one.outcome for one, _ in result.verdicts] == [Outcome.NOT_EVALUATED]
    assert result.remarks == ()


@pytest.mark.parametrize("today", [date(2026, 12, 1), date(2027, 1, 1)])
def test_an_expired_waiver_waives_nothing_and_is_a_finding(today: date) -> None:
    result = applied(("thing v1", finding(Outcome.FAILED)), today=today)
    assert [one.outcome for one, _ in result.verdicts] == [Outcome.FAILED]
    (remark,) = result.remarks
    assert "expired" in remark.finding.message
    assert remark.place == Place(FILE, 2)
    assert (remark.finding.rule, remark.finding.level) == ("POLICY-WAIVER", "must")
    assert remark.finding.outcome is Outcome.FAILED


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.NOT_APPLICABLE])
def test_a_waiver_that_nothing_needs_is_a_finding(outcome: Outcome) -> None:
    result = applied(("thing v1", finding(outcome)))
    assert [one.outcome for one, _ in result.verdicts] == [outcome]
    (remark,) = result.remarks
    assert "nothing needs" in remark.finding.message
    assert outcome.replace("_", " ") in remark.finding.found


def test_a_waiver_is_needed_when_any_kind_of_facts_of_the_object_fails() -> None:
    result = applied(("thing v1", finding(Outcome.PASSED)), ("thing v1", finding(Outcome.FAILED)))
    assert [one.outcome for one, _ in result.verdicts] == [Outcome.PASSED, Outcome.WAIVED]
    assert result.remarks == ()


def test_a_waiver_for_no_rule_or_object_at_all_is_a_finding() -> None:
    (remark,) = applied().remarks
    assert "no such rule" in remark.finding.found


def test_a_waiver_for_what_only_another_run_judges_is_left_alone() -> None:
    assert applied(elsewhere=("S-BITS",)).remarks == ()
    # Expired is expired wherever it is looked at, and an object that was judged shows it all.
    assert applied(elsewhere=("S-BITS",), today=date(2027, 1, 1)).remarks
    passed = ("thing v1", finding(Outcome.PASSED))
    assert applied(passed, elsewhere=("S-BITS",)).remarks


BROKEN = {
    "no waivers": ("{}\n", f"{FILE}:1"),
    "no approver": (TEXT.replace("    approver: Alex Example\n", ""), f"{FILE}:2"),
    "an unknown field": (TEXT + "    kind: thing\n", f"{FILE}:2"),
    "every object": (TEXT.replace("object: thing v1", "object: ''"), f"{FILE}:3"),
    "no date": (TEXT.replace("2026-12-01", "never"), f"{FILE}:6"),
    "no day of the calendar": (TEXT.replace("2026-12-01", "2026-12-32"), f"{FILE}:6"),
    "the same twice": (TEXT + TEXT.split("\n", 1)[1], f"{FILE}:7"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_at_its_line(name: str) -> None:
    text, where = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        waivers.load(FILE, text, SCHEMA)
    assert caught.value.rule in ("POLICY-FILE", "POLICY-WAIVER")
    assert caught.value.where.split(": ")[0] == where
