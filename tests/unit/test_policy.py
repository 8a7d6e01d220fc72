# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules are data: each is judged over the facts of one object, and silence is never approval."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pki import cel_engine
from pki.errors import PkiError
from pki.policy import (
    LEVELS,
    Finding,
    Outcome,
    Place,
    _CannotEvaluate,
    _execute,
    finding_of,
    refused,
    reported,
)
from pki.policy_files import load_policies, policy_names
from pki.policy_load import load
from pki.shipped import DIRECTORY
from unit.thing_policy import FACTS, MAIN, PART, SCHEMA, line_of, small

POLICY = small()


def outcomes(**changed: Any) -> dict[str, Outcome]:
    findings = POLICY.evaluate("thing", {**FACTS, **changed})
    return {finding.rule: finding.outcome for finding in findings}


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in FACTS.items() if key != field}


def test_facts_that_are_right_pass_every_rule_in_the_order_of_the_file() -> None:
    findings = POLICY.evaluate("thing", FACTS)
    assert [finding.rule for finding in findings] == ["S-BITS", "S-AGE", "S-MARKS"]
    assert all(finding.passed for finding in findings)
    assert [(finding.found, finding.expected) for finding in findings] == [("", "")] * 3


def test_a_failed_rule_says_what_was_found_what_was_expected_and_what_to_do() -> None:
    (finding,) = [f for f in POLICY.evaluate("thing", {**FACTS, "bits": 1024}) if not f.passed]
    assert finding == Finding(
        rule="S-BITS",
        clause="1.1",
        level="must",
        refuses=True,
        outcome=Outcome.FAILED,
        message="the thing is too small",
        found="1024",
        expected="2048",
        next_step="make a bigger one",
    )


def test_a_rule_whose_condition_does_not_hold_does_not_apply() -> None:
    assert outcomes(kept=False, age=99)["S-AGE"] is Outcome.NOT_APPLICABLE
    assert outcomes(kept=True, age=99)["S-AGE"] is Outcome.FAILED


@pytest.mark.parametrize(
    ("facts", "rule", "found"),
    [
        (without("bits"), "S-BITS", "bits"),
        (without("kept"), "S-AGE", "kept"),
        ({**FACTS, "bits": "many"}, "S-BITS", "TypeError"),
        ({**FACTS, "kept": 1}, "S-AGE", "int instead of a boolean"),
        ({**FACTS, "marks": 5}, "S-MARKS", ""),
        ({}, "S-MARKS", ""),
    ],
)
def test_a_rule_that_cannot_be_evaluated_ends_as_such_and_the_others_go_on(
    facts: dict[str, Any], rule: str, found: str
) -> None:
    findings = {finding.rule: finding for finding in POLICY.evaluate("thing", facts)}
    assert set(findings) == {"S-BITS", "S-AGE", "S-MARKS"}
    assert findings[rule].outcome is Outcome.NOT_EVALUATED
    assert not findings[rule].passed
    assert found in findings[rule].found
    assert findings[rule].next_step


@pytest.mark.parametrize("field", ["bits", "kept", "marks"])
def test_whoever_lets_something_in_gets_an_error_for_what_was_not_judged(field: str) -> None:
    with pytest.raises(PkiError) as caught:
        POLICY.judge("thing", without(field))
    assert caught.value.rule == "POLICY-EVALUATION"
    assert "policies/small, rule S-" in caught.value.where


def test_whoever_lets_something_in_sees_only_the_rules_that_apply() -> None:
    findings = POLICY.judge("thing", {**FACTS, "kept": False})
    assert [finding.rule for finding in findings] == ["S-BITS", "S-MARKS"]


def test_facts_of_a_kind_without_rules_cannot_be_let_in() -> None:
    with pytest.raises(PkiError, match="no rule for gateway"):
        POLICY.judge("gateway", {})
    assert POLICY.evaluate("gateway", {}) == ()


def test_only_a_rule_that_refuses_keeps_something_out() -> None:
    findings = POLICY.evaluate("thing", {**FACTS, "bits": 1, "age": 99, "marks": []})
    assert [finding.rule for finding in refused(findings)] == ["S-BITS"]
    assert [finding.rule for finding in reported(findings)] == ["S-AGE", "S-MARKS"]


def test_the_expression_that_has_no_words_for_what_it_found_is_not_an_approval() -> None:
    policy = small(part=PART.replace("found: string(thing.bits)", "found: thing.absent"))
    (finding,) = [f for f in policy.evaluate("thing", {**FACTS, "bits": 1}) if not f.passed]
    assert finding.outcome is Outcome.NOT_EVALUATED


@pytest.mark.parametrize(
    "expression",
    [
        "thing.bits >= policy . bits",
        "thing.bits >= policy['bits']",
        "'bits' in policy && thing.bits >= policy.bits",
        "size('policy.days') > 0 && thing.bits >= policy.bits",
        "'it\\'s policy' != '' && thing.bits >= policy.bits",
    ],
)
def test_a_rule_has_every_parameter_that_it_reads_however_it_is_written(expression: str) -> None:
    quoted = json.dumps(expression)
    policy = small(part=PART.replace("thing.bits >= policy.bits", quoted, 1))
    assert policy.evaluate("thing", FACTS)[0].outcome is Outcome.PASSED
    assert policy.evaluate("thing", {**FACTS, "bits": 1})[0].outcome is Outcome.FAILED


def test_one_prepared_document_serves_rule_after_rule() -> None:
    context = POLICY.context("thing", {**FACTS, "age": 99})
    assert [finding_of(rule, context).outcome for rule in POLICY.rules] == [
        Outcome.PASSED,
        Outcome.FAILED,
        Outcome.PASSED,
    ]


def test_facts_and_parameters_are_not_changed_by_judging() -> None:
    facts = {**FACTS, "marks": ["a", "x"]}
    POLICY.evaluate("thing", facts)
    assert facts == {**FACTS, "marks": ["a", "x"]}
    assert POLICY.parameter("allowed") == ["a", "b"]


def test_values_come_from_parameters_and_there_is_no_default() -> None:
    assert POLICY.number("bits") == 2048
    assert POLICY.strings("allowed") == ("a", "b")
    with pytest.raises(PkiError, match="no parameter bit") as caught:
        POLICY.parameter("bit")
    assert caught.value.rule == "POLICY-PARAMETER"
    assert "bits" in caught.value.found


def test_a_parameter_and_a_rule_know_where_they_stand() -> None:
    assert POLICY.parameters["days"].place == Place("policies/small.yml", line_of(MAIN, "days:"))
    rules = {rule.id: rule.place for rule in POLICY.rules}
    assert rules["S-AGE"] == Place("policies/small/thing.yml", line_of(PART, "S-AGE"))
    assert str(rules["S-AGE"]) == f"policies/small/thing.yml:{line_of(PART, 'S-AGE')}"


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("join(thing.marks, ' and ')", "a and x"),
        ("join([], ', ')", ""),
        ("show({'b': 2, 'a': 1})", "a=1, b=2"),
        ("show({})", "nothing"),
        ("show(thing.marks)", '["a", "x"]'),
        ("show('text')", '"text"'),
    ],
)
def test_sentences_are_put_together_with_two_functions_of_ours(
    expression: str, written: str
) -> None:
    policy = small(part=PART.replace("found: string(thing.bits)", f"found: {expression!r}"))
    findings = policy.evaluate("thing", {**FACTS, "bits": 1})
    assert findings[0].found == written


EVIDENCE = """\
kind: evidence
template:
  require: evidence.age <= policy.{age}
  found: string(evidence.age)
  expected: string(policy.{age})
evidence:
  - {id: S-RISK, clause: "4", level: should, age: days, message: m, remedy: r}
  - {id: S-DATA, clause: "5", level: should, age: bits, message: m, remedy: r,
     when: evidence.age > 0}
"""


def test_an_item_of_evidence_is_judged_by_its_own_record_and_its_own_age() -> None:
    files = {"small.yml": MAIN, "small/thing.yml": PART, "small/evidence.yml": EVIDENCE}
    policy = load(files, SCHEMA, "small")

    def judged(item: str, age: int) -> list[tuple[str, Outcome]]:
        found = policy.evaluate("evidence", {"age": age}, item)
        return [(finding.rule, finding.outcome) for finding in found]

    assert judged("S-RISK", 30) == [("S-RISK", Outcome.PASSED)]
    assert judged("S-RISK", 31) == [("S-RISK", Outcome.FAILED)]
    assert judged("S-DATA", 31) == [("S-DATA", Outcome.PASSED)]
    assert judged("S-DATA", 0) == [("S-DATA", Outcome.NOT_APPLICABLE)]
    assert judged("S-OTHER", 1) == []


def test_every_shipped_policy_loads_and_its_levels_are_the_documents() -> None:
    policies = load_policies(DIRECTORY, policy_names(DIRECTORY))
    assert set(policies) == {"mhhs-dip", "nhs-mesh"}
    for policy in policies.values():
        assert policy.rules
        assert {rule.level for rule in policy.rules} <= set(LEVELS)
        assert policy.remarks == ()


def test_an_unknown_policy_lists_the_known_ones() -> None:
    with pytest.raises(PkiError) as caught:
        load_policies(DIRECTORY, ["mhhs"])
    assert caught.value.rule == "POLICY-UNKNOWN"
    assert "mhhs-dip" in caught.value.expected


def test_what_a_function_that_failed_was_given_is_not_repeated() -> None:
    def dies(*_: object) -> str:
        raise ValueError("the text of a reply")

    context = cel_engine.Context({})
    context.add_function("join", dies)
    with pytest.raises(_CannotEvaluate) as caught:
        _execute(cel_engine.compile_expression("join(['a'], ' ')"), context)
    assert "join" in str(caught.value)
    assert "reply" not in str(caught.value)
