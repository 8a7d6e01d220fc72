# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases show what a rule does, and whoever wrote one that shows nothing is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
from pki import policy_cases, policy_test
from pki.documents import Validators
from pki.errors import PkiError
from pki.policy import Outcome
from pki.policy_cases import Case
from unit.thing_policy import FACT_SCHEMA, PART, SCHEMA, line_of, small, write

FILE = "policies/cases/small/thing.yml"
TEXT = """\
kind: thing
base: {bits: 2048, age: 30, kept: true, marks: [a, x]}
cases:
  S-BITS:
    - fails: {bits: 2047}
      says: too small
  S-AGE:
    - passes: {age: 1}
    - fails: {age: 31}
      says: "expected 30"
    - given: {kept: false}
      ignores: {age: 99}
  S-MARKS:
    - given: {marks: [x]}
      fails: {marks.0: z}
      says: found z
"""
POLICY = small()
VALIDATORS = Validators({"thing": FACT_SCHEMA})


def cases(text: str = TEXT) -> tuple[Case, ...]:
    return policy_cases.load(FILE, text, SCHEMA, POLICY)


def problems(text: str) -> list[str]:
    return [str(f) for case in cases(text) if (f := policy_cases.run(case, POLICY, VALIDATORS))]


def test_a_failing_case_is_two_documents_that_differ_in_one_field() -> None:
    good, bad = [case for case in cases() if case.rule == "S-BITS"]
    assert (good.wanted, bad.wanted) == (Outcome.PASSED, Outcome.FAILED)
    assert good.facts == {**bad.facts, "bits": 2048}
    assert bad.facts["bits"] == 2047
    assert str(bad.place) == f"{FILE}:{line_of(TEXT, 'fails: {bits')}"


def test_a_scene_is_set_before_the_tested_field_is_changed() -> None:
    good, bad = [case for case in cases() if case.rule == "S-MARKS"]
    assert (good.facts["marks"], bad.facts["marks"]) == (["x"], ["z"])


def test_sound_cases_end_as_they_should_and_leave_no_rule_out() -> None:
    assert problems(TEXT) == []
    assert policy_cases.uncovered(POLICY, cases()) == ()


ENDS_OTHERWISE = {
    "passes although it should fail": (
        TEXT.replace("bits: 2047", "bits: 4096"), "passed instead of failed",
    ),
    "fails although it should pass": (
        TEXT.replace("passes: {age: 1}", "passes: {age: 40}"), "failed instead of passed",
    ),
    "applies although it should not": (
        TEXT.replace("given: {kept: false}\n      ignores: {age: 99}", "ignores: {age: 99}"),
        "failed instead of not_applicable",
    ),
    "does not say the words": (TEXT.replace("too small", "too large"), "does not say 'too large'"),
    "does not fit the schema": (
        TEXT.replace("bits: 2047", "bits: few"), "does not fit its schema: thing.bits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS_OTHERWISE)
def test_a_case_that_ends_otherwise_is_told_with_its_line(name: str) -> None:
    text, words = ENDS_OTHERWISE[name]
    found = problems(text)
    assert len(found) == 1
    assert words in found[0]
    assert found[0].startswith(f"{FILE}:")


def test_a_rule_that_says_nothing_of_what_it_found_is_no_sound_case() -> None:
    silent = small(part=PART.replace("found: string(thing.bits)", "found: \"''\""))
    failures = [f for case in cases() if (f := policy_cases.run(case, silent, VALIDATORS))]
    assert ["does not say what was found" in str(failure) for failure in failures] == [True]


BROKEN = {
    "two changes in one": (
        TEXT.replace("{bits: 2047}", "{bits: 2047, age: 31}"), "2 changes", "2047",
    ),
    "no change at all": (TEXT.replace("{bits: 2047}", "{bits: 2048}"), "already 2048", "fails: {b"),
    "a field that the base does not have": (
        TEXT.replace("{bits: 2047}", "{bytes: 1}"), "no bytes", "fails: {b",
    ),
    "an item that the base does not have": (
        TEXT.replace("marks.0: z", "marks.7: z"), "no marks.7", "given: {marks",
    ),
    "a path through a scalar": (
        TEXT.replace("marks.0: z", "bits.0: z"), "no bits.0", "given: {marks",
    ),
    "an unknown rule": (TEXT.replace("S-AGE:", "S-OLD:"), "S-OLD", "S-AGE"),
    "a failure without words": (TEXT.replace("      says: too small\n", ""), "", "fails: {bits"),
    "a case of two kinds": (
        TEXT.replace("- passes: {age: 1}", "- {passes: {age: 1}, ignores: {age: 2}}"), "", "passes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_case_that_could_show_nothing_is_refused_at_its_line(name: str) -> None:
    text, words, line = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        cases(text)
    assert caught.value.rule == "POLICY-FILE"
    assert words in caught.value.found
    assert caught.value.where.startswith(f"{FILE}:{line_of(TEXT, line)}")


def test_what_a_rule_still_lacks_is_named() -> None:
    text = TEXT.replace(
        "    - fails: {bits: 2047}\n      says: too small\n", "    - passes: {age: 3}\n"
    )
    assert policy_cases.uncovered(POLICY, cases(text)) == (
        "S-BITS (thing): no document that fails",
    )


def directory(folder: Path, text: str) -> list[str]:
    base = write(folder)
    (base / "cases" / "small").mkdir(parents=True)
    (base / "cases" / "small" / "thing.yml").write_text(text)
    return ["--policies", str(base)]


def test_the_program_tells_the_three_ends_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy_test.main(directory(tmp_path / "sound", TEXT)) == 0
    assert "8 cases ended as they should" in capsys.readouterr().out
    assert policy_test.main(directory(tmp_path / "wrong", TEXT.replace("2047", "4096"))) == 1
    assert "S-BITS (thing): passed instead of failed" in capsys.readouterr().out
    assert policy_test.main(directory(tmp_path / "broken", "kind: [")) == 2
    assert "POLICY-FILE" in capsys.readouterr().err
