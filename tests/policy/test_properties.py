# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of every rule: stricter is stricter, facts that fit are judged, no waiver hides."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pki import cel_engine as cel
from pki import cel_text, overlay, waivers
from pki.cel_tree import Member, Name, walk
from pki.documents import Validators
from pki.policy import LEVELS, Finding, Outcome, Parameter, Place, Policy, Rule, finding_of
from pki.policy_files import load_fact_schemas
from pki.shipped import DIRECTORY
from pki.waivers import Waiver
from policy.case_files import cases, kinds, policies

#: The same examples in every run: whoever changes one rule is not told about another.
QUICK = settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
THOROUGH = settings(QUICK, max_examples=60)
FAILING = (Outcome.FAILED, Outcome.NOT_EVALUATED)
SCHEMAS = load_fact_schemas(DIRECTORY)
VALIDATORS = Validators(SCHEMAS)
FAR = 2**53

# -- stricter is stricter ---------------------------------------------------------------


@cache
def read_by(program: cel.Program) -> frozenset[str]:
    """The parameters that an expression names."""
    nodes = walk(cel_text.parse(program.source))
    return frozenset(n.name for n in nodes if isinstance(n, Member) and n.target == Name("policy"))


def reads(rule: Rule, parameter: str) -> bool:
    """Whether the verdict of a rule depends on a parameter."""
    deciding = [program for program in (rule.when, rule.require) if program is not None]
    return any(parameter in read_by(program) for program in deciding)


def movable() -> list[tuple[str, str]]:
    """Every policy and parameter that an organisation may move freely and that a rule reads."""
    return [
        (name, parameter.name)
        for name, policy in policies().items()
        for parameter in policy.parameters.values()
        if parameter.stricter != "fixed" and any(reads(r, parameter.name) for r in policy.rules)
    ]


def moved(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Other values of the parameter's type, near it and far away."""
    value = parameter.value
    if parameter.order:
        return st.sampled_from(parameter.order)
    match value:
        case int():
            near = st.integers(max(0, value - 3), value + 3)
            return near | st.integers(0, 2 * value + 10) | st.integers(0, overlay.LARGEST)
        case float():
            return st.floats(0.0, 2 * value + 1.0) | st.floats(0.0, 1e9)
        case list():
            items = st.sampled_from(value) | like(value[0])
            return st.lists(items, min_size=1, max_size=len(value) + 2, unique=True)
        case dict():
            key = st.sampled_from(sorted(value)) | st.text("abc", min_size=1, max_size=3)
            inside = st.sampled_from(list(value.values())) | like(next(iter(value.values())))
            return st.dictionaries(key, inside, min_size=1, max_size=len(value) + 2)
    raise AssertionError(f"{parameter.name} has no direction but fixed")


def like(item: Any) -> st.SearchStrategy[Any]:
    return st.integers(0, 5000) if isinstance(item, int) else st.text("abcz", max_size=4)


class Judged:
    """The cases of every rule whose verdict depends on a parameter, with their facts prepared."""

    def __init__(self, policy: Policy, parameter: str) -> None:
        self._parameter = parameter
        self._parameters = policy.parameters
        rules = {(r.id, r.kind): r for r in policy.rules if reads(r, parameter)}
        every = (case for kind in policy.kinds for case in cases(policy.name, kind))
        self.cases = [case for case in every if (case.rule, case.kind) in rules]
        self._rules = [rules[case.rule, case.kind] for case in self.cases]
        self._contexts = [policy.context(case.kind, case.facts) for case in self.cases]

    def outcomes(self, value: Any) -> list[Outcome]:
        """How each case ends when the parameter has a value."""
        return [self._outcome(*one, value) for one in zip(self._rules, self._contexts, strict=True)]

    def _outcome(self, rule: Rule, context: cel.Context, value: Any) -> Outcome:
        names = frozenset().union(*map(read_by, rule.expressions.values()))
        known = {name: self._parameters[name].value for name in names}
        context.add_variable("policy", {**known, self._parameter: value})
        return finding_of(rule, context).outcome


@pytest.mark.parametrize(("name", "parameter"), movable())
def test_tightening_removes_no_finding_and_loosening_adds_none(name: str, parameter: str) -> None:
    judged = Judged(policies()[name], parameter)
    assert judged.cases, f"no case of a rule that reads {parameter}"
    original = policies()[name].parameters[parameter]
    before = judged.outcomes(original.value)

    @QUICK
    @given(moved(original))
    def holds(value: Any) -> None:
        after = judged.outcomes(value)
        stricter = overlay.tightens(original, value)
        looser = overlay.tightens(replace(original, value=value), original.value)
        for case, was, now in zip(judged.cases, before, after, strict=True):
            if stricter and was in FAILING:
                assert now in FAILING, f"{case.place}: {case.rule}: {now} with {value!r}"
            if looser and was not in FAILING:
                # A word that facts cannot hold may leave a rule without a value: no verdict.
                assert now is not Outcome.FAILED, f"{case.place}: {case.rule}: {now} with {value!r}"

    holds()


# -- facts that fit are judged ----------------------------------------------------------


def fitting(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema describes, the extreme ones among them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return st.one_of([fitting(inside) for inside in schema[word]])
    named = schema["type"]
    return st.one_of([_of_type(t, schema) for t in ([named] if isinstance(named, str) else named)])


def _of_type(name: str, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    match name:
        case "integer":
            # Beyond 64 bits the engine has another type, and a rule is not evaluated.
            return st.integers(schema.get("minimum", -FAR), schema.get("maximum", FAR))
        case "number":
            return st.floats(
                schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False
            )
        case "string":
            if "pattern" in schema:
                return st.from_regex(schema["pattern"]).filter(
                    lambda text: len(text) <= schema.get("maxLength", len(text))
                )
            least, most = schema.get("minLength", 0), min(schema.get("maxLength", 20), 20)
            return st.text(min_size=least, max_size=max(least, most))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            most = min(schema.get("maxItems", 3), schema.get("minItems", 0) + 3)
            return st.lists(
                fitting(schema["items"]),
                min_size=schema.get("minItems", 0),
                max_size=most,
                unique_by=repr if schema.get("uniqueItems") else None,
            )
    fields = {key: fitting(inside) for key, inside in schema.get("properties", {}).items()}
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        keys = fitting(schema.get("propertyNames", {"type": "string"}) | {"type": "string"})
        return st.dictionaries(keys, fitting(more), max_size=min(schema.get("maxProperties", 3), 3))
    return st.fixed_dictionaries(fields)


Path = tuple[str | int, ...]


def places(schema: Mapping[str, Any], value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place in a document with the schema of what is there."""
    yield path, schema
    if isinstance(value, dict):
        for key, inside in value.items():
            own = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(own, Mapping):
                yield from places(own, inside, (*path, key))
    if isinstance(value, list) and "items" in schema:
        for index, inside in enumerate(value):
            yield from places(schema["items"], inside, (*path, index))


def put(facts: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    result: Any = copy.deepcopy(facts)
    target = result
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return dict(result)


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_facts_that_fit_their_schema_are_judged_whatever_they_say(name: str, kind: str) -> None:
    policy, known = policies()[name], cases(name, kind)
    assert known, f"no case over {kind} facts"

    @THOROUGH
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        case = data.draw(st.sampled_from(known))
        facts = dict(case.facts)
        for _ in range(data.draw(st.integers(1, 4))):
            path, schema = data.draw(st.sampled_from(list(places(SCHEMAS[kind], facts))[1:]))
            facts = put(facts, path, data.draw(fitting(schema)))
        assume(not VALIDATORS.fault(kind, facts))
        findings = policy.evaluate(kind, facts, case.item)
        assert len(findings) == len(policy.of_kind(kind, case.item))
        unjudged = [f for f in findings if f.outcome is Outcome.NOT_EVALUATED]
        assert not unjudged, f"{[(f.rule, f.found, f.expected) for f in unjudged]} of {facts}"
        for finding in findings:
            assert bool(finding.found and finding.expected) <= (finding.outcome is Outcome.FAILED)

    holds()


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_a_document_without_one_of_its_facts_approves_of_nothing_that_reads_it(
    name: str, kind: str
) -> None:
    """A fact that is missing can end no rule as it would have ended wrongly with it."""
    policy = policies()[name]
    for case in cases(name, kind)[:1]:
        for field in case.facts:
            facts = {key: value for key, value in case.facts.items() if key != field}
            for rule in policy.of_kind(kind, case.item):
                outcome = finding_of(rule, policy.context(kind, facts)).outcome
                if outcome is Outcome.PASSED:
                    whole = finding_of(rule, policy.context(kind, case.facts)).outcome
                    assert whole is Outcome.PASSED, f"{rule.id} passes only without {field}"


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_rules_need_no_parameter_but_those_that_are_prepared_for_their_kind(
    name: str, kind: str
) -> None:
    policy = policies()[name]
    for case in cases(name, kind):
        prepared, whole = policy.context(kind, case.facts), policy.context(kind, case.facts)
        whole.add_variable("policy", {p.name: p.value for p in policy.parameters.values()})
        for rule in policy.of_kind(kind, case.item):
            if rule.id == case.rule:
                assert finding_of(rule, prepared) == finding_of(rule, whole)


# -- waivers hide nothing -----------------------------------------------------------------

TODAY = date(2026, 11, 22)
RULES = st.sampled_from(["DIP-1", "DIP-2", "DIP-3"])
OBJECTS = st.sampled_from(["one v1", "one v2", "two v1"])
WAIVERS = st.lists(
    st.builds(
        Waiver,
        rule=RULES,
        object=OBJECTS,
        reason=st.just("reason"),
        approver=st.just("approver"),
        expires=st.integers(-2, 2).map(lambda days: TODAY + timedelta(days)),
        place=st.just(Place("waivers.yml", 2)),
    ),
    unique_by=lambda waiver: waiver.key,
)
VERDICTS = st.lists(
    st.tuples(
        OBJECTS,
        st.builds(
            Finding,
            rule=RULES,
            clause=st.just("1"),
            level=st.sampled_from(LEVELS),
            refuses=st.booleans(),
            outcome=st.sampled_from([o for o in Outcome if o is not Outcome.WAIVED]),
            message=st.just("m"),
            found=st.just("f"),
            expected=st.just("e"),
            next_step=st.just("n"),
        ),
    )
)


@given(WAIVERS, VERDICTS)
def test_a_waiver_hides_nothing_but_the_failure_it_names_and_leaves_it_in_sight(
    known: list[Waiver], verdicts: list[tuple[str, Finding]]
) -> None:
    result = waivers.apply(known, verdicts, TODAY)
    assert len(result.verdicts) == len(verdicts)
    holding = {waiver.key for waiver in known if waiver.expires > TODAY}
    for (name, before), (after, waiver) in zip(verdicts, result.verdicts, strict=True):
        assert replace(after, outcome=before.outcome) == before
        waived = before.outcome is Outcome.FAILED and (before.rule, name) in holding
        assert (after.outcome is Outcome.WAIVED) == waived
        assert (waiver is not None) == waived
        if not waived:
            assert after == before
    expired = {waiver.key for waiver in known} - holding
    assert len(result.remarks) >= len(expired)
    assert all(remark.finding.outcome is Outcome.FAILED for remark in result.remarks)
