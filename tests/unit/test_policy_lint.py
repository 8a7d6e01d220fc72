# SPDX-License-Identifier: GPL-3.0-or-later
"""The linter names what is wrong with a rule before any fact is there, with file and line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pki import lint_types, policy_lint
from pki.policy import FUNCTIONS
from pki.policy_files import load_policies
from pki.policy_lint import Problem, lint
from pki.policy_load import load
from unit.thing_policy import FACT_SCHEMA, MAIN, NAME, PART, SCHEMA, line_of, small, write

WIDE: dict[str, Any] = {
    **FACT_SCHEMA,
    "properties": {
        **FACT_SCHEMA["properties"],
        "state": {"enum": ["new", "old"], "description": "Its state."},
        "weight": {"type": "number", "description": "Weight in grams."},
        "size": {"type": "integer", "minimum": 0, "maximum": 9, "description": "Size."},
        "parts": {
            "type": "array",
            "maxItems": 1000,
            "description": "What it is made of.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "bits"],
                "properties": {
                    "name": {"type": "string", "maxLength": 9, "description": "Name."},
                    "bits": {"type": "integer", "description": "Size in bits."},
                },
            },
        },
        "names": {
            "type": "object",
            "maxProperties": 5,
            "additionalProperties": {"type": "string", "maxLength": 9},
            "description": "Names by language.",
        },
        "endless": {"type": "array", "items": {"type": "string"}, "description": "No end."},
    },
}
ALL_READ = frozenset({"allowed", "wanted", "word", "share", "codes", "offset", "bits", "days"})
AGE_LINE = line_of(PART, "S-AGE")


def problems(part: str, main: str = MAIN) -> list[Problem]:
    return list(lint({NAME: small(main, part)}, {"thing": WIDE}, ALL_READ))


def quoted(expression: str) -> str:
    return json.dumps(expression)


def of_require(expression: str) -> list[Problem]:
    """What the linter says when S-AGE, without `when`, requires an expression."""
    part = PART.replace("    when: thing.kept\n", "")
    return problems(part.replace("thing.age <= policy.days", quoted(expression)))


def test_nothing_is_wrong_with_a_sound_policy() -> None:
    assert problems(PART) == []


SOUND = [
    "thing.state == 'new' || thing.age < policy.days",
    "thing.parts.all(p, p.bits >= policy.bits && p.name != '')",
    "thing.parts.exists_one(p, p.name == thing.marks[0])",
    "size(thing.parts.map(p, p.bits > 0, p.name)) > 0",
    "thing.weight <= policy.share",
    "thing.names['en'] == policy.word && 'de' in thing.names",
    "thing.names.all(n, n.startsWith('e') && thing.names[n] != '')",
    "size(thing.marks.filter(m, m in policy.allowed)) <= size(policy.allowed)",
    "has(thing.names.en) ? thing.names.en.matches('^[a-z]+$') : thing.kept",
    "int(thing.weight) + thing.bits >= 1 && -thing.age < policy.codes.one",
    "thing.age > 0 && thing.age < policy.days && thing.size != 1",
    "join(thing.marks + policy.wanted, ',') != show(thing.names)",
]


@pytest.mark.parametrize("expression", SOUND)
def test_an_expression_that_makes_sense_is_left_alone(expression: str) -> None:
    assert of_require(expression) == []


WRONG = {
    "policy.day >= thing.age": "there is no parameter policy.day",
    "policy['day'] >= thing.age": "there is no parameter policy.day",
    "thing.ages <= policy.days": "there is no fact thing.ages",
    "thing.parts.all(p, p.nam != '')": "there is no fact p.nam",
    "thing.parts[0].nam != ''": "there is no fact thing.parts[0].nam",
    "thing.parts.filter(p, p.bits > 0).exists(q, q.nam == '')": "there is no fact q.nam",
    "thing.parts.map(p, p.bits).all(b, b == '')": "compares a whole number with text",
    "thing.marks.name == ''": "thing.marks is a list and has no field name",
    "thing.age.days < policy.days": "thing.age is a whole number and has no field days",
    "thing.age[0] < policy.days": "thing.age is a whole number and has no items",
    "thing.parts['x'].bits > 0": "a list has no item",
    "thing.age.all(a, a > 0)": "thing.age is a whole number; all goes through lists",
    "thang.age < policy.days": "there is no variable thang",
    "thing.parts.all(p, q.bits > 0)": "there is no variable q",
    "thing.parts.all(policy, policy.bits > 0)": "policy is already a variable",
    "lower(thing.state) == 'new'": "there is no function lower",
    "thing.marks.joined(',') == ''": "there is no function joined behind a dot",
    "thing.age.startsWith('1')": "is not of text and text",
    "size(thing.age) > 0": "size cannot take thing.age",
    "join(thing.state, ',') == ''": "join cannot take thing.state",
    "join(thing.marks) == ''": "join takes 2 arguments",
    "thing.age == 'old'": "compares a whole number with text",
    "thing.age < thing.state": "compares a whole number with text",
    "thing.age": "is a whole number, not true or false",
    "thing.kept && thing.state": "is text, not true or false",
    "!thing.age": "is a whole number, not true or false",
    "thing.marks.all(m, m)": "is text, not true or false",
    "thing.age ? true : thing.kept": "is a whole number, not true or false",
    "-thing.state == ''": "is text, no number",
    "thing.age + thing.state == ''": "puts a whole number and text together",
    "thing.age * policy.share > 0.0": "puts a whole number and a number together",
    "thing.age in thing.marks": "is a whole number and never in thing.marks",
    "thing.state in thing.state": "is text and holds nothing",
    "thing.state == 'odd'": "'odd' is none of the words".replace("'", '"'),
    "thing.age == thing.age": "is compared with itself",
    "true": "it is always true",
    "size('') > 0": "it is always false",
    "thing.kept || size('a') == 1": "is always true",
    "thing.age > 0 && thing.age < 0": "the conditions on thing.age exclude each other",
    "thing.age > policy.days && thing.age < 1": "the conditions on thing.age exclude each other",
    "0 < thing.age && 0 > thing.age": "the conditions on thing.age exclude each other",
    "thing.kept && !thing.kept": "the conditions on thing.kept exclude each other",
    "thing.age >= 0 || thing.age < 1": "one of the conditions on thing.age always holds",
    "policy.word != thing.marks[0] || thing.marks[0] != ''": "always holds",
    "thing.state == 'new' && thing.state == 'old'": "the conditions on thing.state exclude",
    "thing.state == 'new' || thing.state == 'old'": "one of the conditions on thing.state always",
    "thing.parts.all(p, p.bits > 1 && p.bits < 0)": "the conditions on p.bits exclude each other",
    "size(thing.marks) >= 0": "size(thing.marks) >= 0 always holds",
    "thing.size < 0": "thing.size < 0 never holds",
    "thing.age < 90": "the number 90 stands in the rule",
    "thing.weight < 0.5": "the number 0.5 stands in the rule",
    "thing.endless.all(e, e != '')": "nothing bounds the length of thing.endless",
    "thing.parts.all(p, thing.parts.all(q, thing.parts.all(r, r.bits > p.bits)))": "steps over",
}


@pytest.mark.parametrize("expression", WRONG)
def test_an_expression_that_cannot_be_right_is_named_with_its_line(expression: str) -> None:
    found = of_require(expression)
    assert any(WRONG[expression] in problem.problem for problem in found), found
    for problem in found:
        assert str(problem.place) == f"policies/small/thing.yml:{AGE_LINE}"
        assert problem.subject.startswith("S-AGE (thing), `require`, character ")
        assert problem.next_step


WHENS = {
    "thing.age > policy.days": "`when` leaves thing.age no value that passes",
    "thing.age < 0": "`when` says it already",
    "thing.age": "is a whole number, not true or false",
    "false": "it is always false",
}


@pytest.mark.parametrize("when", WHENS)
def test_a_condition_that_leaves_its_rule_nothing_to_say_is_named(when: str) -> None:
    found = problems(PART.replace("when: thing.kept", f"when: {quoted(when)}"))
    assert any(WHENS[when] in problem.problem for problem in found), found


def test_a_number_is_as_wrong_in_a_sentence_as_in_a_condition() -> None:
    found = problems(PART.replace("string(policy.days)", "string(policy.days / 7)"))
    assert [problem.problem for problem in found] == ["the number 7 stands in the rule"]


def test_a_character_in_the_message_is_where_the_part_stands() -> None:
    (problem,) = of_require("thing.kept && thing.ages <= policy.days")
    assert problem.subject.endswith("character 20")


def test_a_parameter_that_nobody_reads_is_named() -> None:
    found = lint({NAME: small()}, {"thing": WIDE}, frozenset({"word", "share", "codes"}))
    assert [(p.subject, p.problem) for p in found] == [
        ("offset", "no rule and no code reads the parameter")
    ]
    assert found[0].place.line == line_of(PART, "offset:")
    assert lint({NAME: small()}, {"thing": WIDE}) == ()


def test_code_reads_a_parameter_by_name_or_constant(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "NAME = 'a'\nx = policy.number(NAME) + policy.parameter('b')\ny = p.strings('c')\n"
        "z = {'d': 1}['d']\nother('e')\n"
    )
    assert policy_lint.parameters_in_code(tmp_path) == {"a", "b", "c"}


POLICY_WIDE = {
    "an unknown resolution of a rule": (
        MAIN, PART.replace("resolves: [1]", "resolves: [7]"), "no resolution 7", AGE_LINE,
    ),
    "a provisional parameter that does not say why": (
        MAIN, PART.replace("description: The word.", "provisional: later, description: The word."),
        "provisional and says no more", line_of(PART, "  word:"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", POLICY_WIDE)
def test_what_concerns_the_whole_policy_is_named_too(name: str) -> None:
    main, part, words, line = POLICY_WIDE[name]
    (problem,) = problems(part, main)
    assert words in problem.problem
    assert problem.place.line == line


def test_rules_over_facts_without_a_schema_are_named() -> None:
    found = lint({NAME: small()}, {"other": WIDE})
    assert {problem.problem for problem in found} == {"there are no thing facts"}


EVIDENCE = """\
kind: evidence
template:
  require: evidence.age <= policy.{age}
  found: string(evidence.age)
  expected: string(policy.{age})
evidence:
  - {id: S-RISK, clause: "4", level: must, age: days, message: m, remedy: r}
"""


def test_a_must_that_a_person_vouches_for_needs_a_reason() -> None:
    schemas = {
        "thing": WIDE,
        "evidence": {"type": "object", "properties": {"age": {"type": "integer"}}},
    }

    def of(evidence: str) -> list[Problem]:
        files = {"small.yml": MAIN, "small/thing.yml": PART, "small/evidence.yml": evidence}
        return list(lint({NAME: load(files, SCHEMA, NAME)}, schemas, ALL_READ))

    (problem,) = of(EVIDENCE)
    assert problem.subject == "S-RISK (evidence)"
    assert problem.place.line == 7
    assert of(EVIDENCE.replace("age: days", "age: days, not_computed: nobody can look")) == []
    assert of(EVIDENCE.replace("level: must", "level: should")) == []


def test_a_rule_cannot_hold_where_nothing_is_asked_for() -> None:
    found = problems(PART.replace("effect: refuse", "effect: hold"))
    assert [(one.subject, one.place.line) for one in found] == [
        ("S-BITS (thing)", line_of(PART, "S-BITS"))
    ]
    assert "new requests" in found[0].problem
    assert "declaration" in found[0].next_step


def test_an_id_belongs_to_one_policy_only() -> None:
    found = lint({"one": small(), "two": replace(small(), name="two")}, {"thing": WIDE})
    assert {problem.subject for problem in found} == {"S-BITS", "S-AGE", "S-MARKS"}


def test_every_function_of_ours_is_known_to_the_linter() -> None:
    assert set(FUNCTIONS) <= set(lint_types.FUNCTIONS)


def run(policies: Path, *more: str) -> int:
    return policy_lint.main(["--policies", str(policies), *more])


def test_the_program_tells_the_three_ends_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = PART[: PART.index("  word:")] + PART[PART.index("rules:") :]
    sound = write(tmp_path / "sound", part=part)
    assert run(sound) == 0
    assert "nothing is wrong with 3 rules" in capsys.readouterr().out
    wrong = write(tmp_path / "wrong", part=part.replace("policy.days", "policy.day"))
    assert run(wrong) == 1
    assert "policies/small/thing.yml" in capsys.readouterr().out
    broken = write(tmp_path / "broken", part=part.replace("policy.days", "policy.("))
    assert run(broken) == 2
    assert "POLICY-FILE" in capsys.readouterr().err


OVERLAY = """\
rules:
  thing:
    - {id: OUR-1, clause: ours, level: must, require: thing.age < 5 && thing.ages > 1,
       found: "'a'", expected: "'b'", message: m, remedy: r}
"""


def test_an_organisations_own_rules_are_read_as_well_but_may_hold_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yml").write_text(OVERLAY)
    directory = write(tmp_path / "policies")
    policies = load_policies(directory, [NAME], tmp_path)
    (problem,) = lint(policies, {"thing": WIDE})
    assert problem.problem == "there is no fact thing.ages"
    assert str(problem.place) == f"{tmp_path}/small.yml:3"
    assert run(directory, "--overlay", str(tmp_path)) == 1
    assert "OUR-1 (thing)" in capsys.readouterr().out


def test_a_problem_is_a_fault_for_whoever_judges() -> None:
    (problem,) = of_require("thing.ages <= policy.days")
    error = problem.error()
    assert (error.rule, error.where) == ("POLICY-LINT", str(problem.place))
    assert error.next_step.startswith("thing has age, bits")
