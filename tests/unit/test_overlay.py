# SPDX-License-Identifier: GPL-3.0-or-later
"""An organisation may be stricter freely, and looser only with a name under it and until a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pki import overlay
from pki.errors import PkiError
from pki.policy import Outcome, Place, Policy
from pki.policy_files import load_policies
from pki.policy_load import read
from unit.thing_policy import FACTS, NAME, PART, SCHEMA, small, write

FILE = "inventories/test/policy/small.yml"
TODAY = date(2026, 11, 22)
APPROVED = "reason: an old partner, approver: Alex Example, expires: '2026-12-01'"


def over(text: str, today: date = TODAY) -> Policy:
    return overlay.merged(small(), read(FILE, text, SCHEMA, "overlay"), today)


def parameter(name: str, value: str, more: str = "") -> str:
    return f"parameters:\n  {name}: {{value: {value}{', ' if more else ''}{more}}}\n"


def refusal(text: str, today: date = TODAY) -> PkiError:
    with pytest.raises(PkiError) as caught:
        over(text, today)
    return caught.value


TIGHTER: list[tuple[str, str, Any]] = [
    ("bits", "2049", 2049),
    ("bits", "2048", 2048),
    ("days", "29", 29),
    ("days", "0", 0),
    ("allowed", "[b]", ["b"]),
    ("allowed", "[b, a]", ["b", "a"]),
    ("wanted", "[x, y]", ["x", "y"]),
    ("word", "yes please", "yes please"),
    ("share", "0.25", 0.25),
    ("codes", "{two: 2}", {"two": 2}),
    ("offset", "-4", -4),
]


@pytest.mark.parametrize(("name", "value", "now"), TIGHTER)
def test_tightening_needs_no_reason(name: str, value: str, now: Any) -> None:
    policy = over(parameter(name, value))
    assert policy.parameter(name) == now
    assert policy.parameters[name].set_by == f"{FILE}:2"
    assert policy.remarks == ()


LOOSER: list[tuple[str, str, Any]] = [
    ("bits", "2047", 2047),
    ("days", "31", 31),
    ("allowed", "[a, c]", ["a", "c"]),
    ("wanted", "[y]", ["y"]),
    ("word", "'no'", "no"),
    ("share", "0.75", 0.75),
    ("codes", "{two: 3}", {"two": 3}),
    ("offset", "-6", -6),
]


@pytest.mark.parametrize(("name", "value", "now"), LOOSER)
def test_loosening_without_reason_approver_and_end_is_refused_with_its_line(
    name: str, value: str, now: Any
) -> None:
    error = refusal(parameter(name, value))
    assert error.rule == "POLICY-OVERLAY"
    assert error.where == f"{FILE}:2"
    assert "reason, approver, expires" in error.found
    assert name in error.message


@pytest.mark.parametrize(("name", "value", "now"), LOOSER)
def test_an_approved_loosening_holds_until_its_day_and_says_who_and_why(
    name: str, value: str, now: Any
) -> None:
    text = parameter(name, value, APPROVED)
    policy = over(text, date(2026, 11, 30))
    assert policy.parameter(name) == now
    by = f"{FILE}:2, until 2026-12-01: an old partner (approved by Alex Example)"
    assert policy.parameters[name].set_by == by
    assert policy.remarks == ()


@pytest.mark.parametrize("left_out", ["reason", "approver", "expires"])
def test_each_of_the_three_is_owed(left_out: str) -> None:
    owed = [part for part in APPROVED.split(", ") if not part.startswith(left_out)]
    assert left_out in refusal(parameter("bits", "1024", ", ".join(owed))).found


@pytest.mark.parametrize("today", [date(2026, 12, 1), date(2027, 5, 1)])
def test_an_expired_loosening_no_longer_applies_and_is_a_finding(today: date) -> None:
    policy = over(parameter("bits", "1024", APPROVED), today)
    assert policy.parameter("bits") == 2048
    assert policy.parameters["bits"].set_by == ""
    (remark,) = policy.remarks
    assert (remark.name, remark.place) == ("bits", Place(FILE, 2))
    assert (remark.finding.rule, remark.finding.level) == ("POLICY-OVERLAY", "must")
    assert remark.finding.outcome is Outcome.FAILED
    assert remark.finding.found == "1024 until 2026-12-01"
    assert remark.finding.expected == "2048, as 1.1 says"


def test_an_expired_tightening_still_holds_because_nothing_is_loosened_by_silence() -> None:
    policy = over(parameter("bits", "4096", APPROVED), date(2027, 1, 1))
    assert policy.parameter("bits") == 4096
    (remark,) = policy.remarks
    assert "still holds" in remark.finding.message


MISFITS = {
    "text for a number": ("bits", "'4096'", "text"),
    "a boolean for a number": ("bits", "true", "true or false"),
    "a fraction for a whole number": ("bits", "4096.5", "a number with a fraction"),
    "a whole number for a fraction": ("share", "0", "a whole number"),
    "no number at all": ("share", ".nan", "nan"),
    "more than any number": ("share", "-.inf", "-inf"),
    "more than the engine can count": ("bits", "99999999999999999999", "9999"),
    "below nothing": ("days", "-1", "-1"),
    "a word for a list": ("allowed", "a", "text"),
    "numbers in a list of words": ("allowed", "[1]", "a list of a whole number"),
    "an item twice": ("allowed", "[a, a]", "twice"),
    "a list for a map": ("codes", "[one]", "a list of text"),
    "words in a map of numbers": ("codes", "{one: '1'}", "a map of text"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_value_of_another_type_is_refused_even_when_approved(name: str) -> None:
    which, value, found = MISFITS[name]
    error = refusal(parameter(which, value, APPROVED))
    assert (error.rule, error.where) == ("POLICY-OVERLAY", f"{FILE}:2")
    assert found in error.found


# A word with an order has a stricter side, as a number has.
ORDERED = PART.replace(
    'value: yes please, clause: "3", description: The word., stricter: fixed',
    'value: warn, clause: "3", description: The word., stricter: higher, order: [log, warn, end]',
)


def over_word(value: str, more: str = "") -> Policy:
    source = read(FILE, parameter("word", value, more), SCHEMA, "overlay")
    return overlay.merged(small(part=ORDERED), source, TODAY)


@pytest.mark.parametrize("value", ["warn", "end"])
def test_a_word_later_in_the_order_is_stricter_and_free(value: str) -> None:
    assert over_word(value).parameter("word") == value


def test_a_word_earlier_in_the_order_loosens() -> None:
    with pytest.raises(PkiError) as caught:
        over_word("log")
    assert caught.value.expected.startswith("nothing less strict than warn")
    assert over_word("log", APPROVED).parameter("word") == "log"


def test_a_word_that_the_order_does_not_have_is_refused_even_when_approved() -> None:
    with pytest.raises(PkiError) as caught:
        over_word("stop", APPROVED)
    assert (caught.value.found, caught.value.expected) == ("stop", "one of log, warn, end")


OWN = """\
rules:
  thing:
    - id: OUR-1
      clause: our standard, 7
      level: must
      effect: refuse
      require: thing.age < 5
      found: string(thing.age)
      expected: "'less than 5'"
      message: too old for us
      remedy: make a new one
"""


def test_an_own_rule_judges_beside_those_of_the_policy() -> None:
    findings = {one.rule: one.outcome for one in over(OWN).evaluate("thing", FACTS)}
    assert findings["OUR-1"] is Outcome.FAILED
    assert findings["S-AGE"] is Outcome.PASSED
    assert [rule.place for rule in over(OWN).rules if rule.id == "OUR-1"] == [Place(FILE, 3)]


def test_a_raised_rule_refuses_and_no_other_changes() -> None:
    policy = over("effects: {S-AGE: refuse}\n")
    assert {rule.id: rule.refuses for rule in policy.rules} == {
        "S-BITS": True, "S-AGE": True, "S-MARKS": False,
    }  # fmt: skip


HOLD = "effects: {S-AGE: hold}\n"


def test_a_rule_that_only_reports_can_be_made_to_hold_and_one_that_holds_to_refuse() -> None:
    effects = {rule.id: (rule.refuses, rule.holds) for rule in over(HOLD).rules}
    assert effects == {"S-BITS": (True, False), "S-AGE": (False, True), "S-MARKS": (False, False)}
    held = replace(next(rule for rule in small().rules if rule.id == "S-AGE"), holds=True)
    holding = replace(small(), rules=(held,))
    raise_it = read(FILE, "effects: {S-AGE: refuse}\n", SCHEMA, "overlay")
    raised = overlay.merged(holding, raise_it, TODAY).rules[0]
    assert (raised.refuses, raised.holds) == (True, False)
    kept = overlay.merged(holding, read(FILE, HOLD, SCHEMA, "overlay"), TODAY).rules[0]
    assert (kept.refuses, kept.holds) == (False, True)


BROKEN = {
    "a rule that is lowered to holding": (
        "effects:\n  S-BITS: hold\n", f"{FILE}:2", "POLICY-OVERLAY",
    ),
    "not YAML": ("parameters: [", "line 2", "POLICY-FILE"),
    "nothing": ("{}\n", FILE, "POLICY-FILE"),
    "an unknown field": ("parameters:\n  bits: {value: 1, why: x}\n", f"{FILE}:2", "POLICY-FILE"),
    "an unknown parameter": (parameter("bit", "1"), f"{FILE}:2", "POLICY-OVERLAY"),
    "no day of the calendar": (
        "parameters:\n  bits:\n    value: 1\n    reason: r\n    approver: a\n"
        "    expires: '2026-02-30'\n",
        f"{FILE}:6", "POLICY-OVERLAY",
    ),
    "a date that is none": (
        "parameters:\n  bits:\n    value: 1\n    reason: r\n    approver: a\n    expires: soon\n",
        f"{FILE}:6", "POLICY-FILE",
    ),
    "a rule that is lowered": ("effects: {S-BITS: report}\n", f"{FILE}:1", "POLICY-FILE"),
    "an unknown rule raised": ("effects:\n  S-X: refuse\n", f"{FILE}:2", "POLICY-OVERLAY"),
    "an own rule that replaces one": (
        OWN.replace("OUR-1", "S-BITS"), f"{FILE}:3", "POLICY-OVERLAY",
    ),
    "an own rule twice": (OWN + OWN.split("thing:\n", 1)[1], f"{FILE}:12", "POLICY-FILE"),
    "an own rule that does not compile": (
        OWN.replace("thing.age < 5", "thing.("), f"{FILE}:7", "POLICY-FILE",
    ),
    "own evidence": (OWN.replace("thing:\n", "evidence:\n"), f"{FILE}:1", "POLICY-FILE"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_overlay_is_refused_at_its_line(name: str) -> None:
    text, where, rule = BROKEN[name]
    error = refusal(text)
    assert error.rule == rule
    assert where in error.where


def loaded(tmp_path: Path, **files: str) -> Policy:
    directory = tmp_path / "overlays"
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    now = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    return load_policies(write(tmp_path / "policies"), [NAME], directory, now)[NAME]


def test_the_overlay_beside_the_inventory_is_read(tmp_path: Path) -> None:
    policy = loaded(tmp_path, small_yml=parameter("bits", "1024", APPROVED))
    assert policy.parameter("bits") == 1024
    assert policy.parameters["bits"].set_by.startswith(f"{tmp_path}/overlays/small.yml:2")


def test_an_inventory_without_overlay_has_the_values_of_the_document(tmp_path: Path) -> None:
    policies = write(tmp_path / "policies")
    for directory in (None, tmp_path / "none", tmp_path):
        assert load_policies(policies, [NAME], directory)[NAME].parameter("bits") == 2048


@pytest.mark.parametrize("file", ["smal_yml", "small_yaml"])
def test_a_file_that_nobody_would_read_is_refused_instead_of_ignored(
    tmp_path: Path, file: str
) -> None:
    with pytest.raises(PkiError) as caught:
        loaded(tmp_path, **{file: parameter("bits", "4096")})
    assert caught.value.rule == "POLICY-OVERLAY"
    assert caught.value.expected == "small.yml"
