# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared is judged or fails; what keeps something from being judged is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from pki import collecting, policy_files
from pki.checking import Result, Status, check
from pki.documents import Collected, Declaration, Document, Validators
from pki.errors import PkiError
from pki.facts.scene import Collector, Scene
from pki.policy import Finding, Outcome, Place, Policy, Remark
from pki.waivers import Waiver
from unit.controller_world import REPOSITORY
from unit.small_policy import KIND, NAME, POLICY, facts, policy

TODAY = date(2026, 11, 22)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["size", "label"],
    "properties": {"size": {"type": "integer"}, "label": {"type": "string"}},
}
VALIDATORS = Validators({KIND: SCHEMA, "other": SCHEMA})
SCOPES = {KIND: frozenset({"offline", "live"}), "other": frozenset({"live"})}
PLACE = Place("inventory.yml", 7)
DECLARED = Declaration(KIND, "a", NAME, PLACE)


def collected(
    *documents: Document,
    declared: tuple[Declaration, ...] = (DECLARED,),
    problems: tuple[Mapping[str, str], ...] = (),
) -> Collected:
    return Collected("2026-11-22T05:00:00Z", "offline", declared, documents, problems)


def document(name: str = "a", kind: str = KIND, stand_in: str = "", **changes: Any) -> Document:
    return Document(kind, name, NAME, facts(**changes), stand_in=stand_in)


def run(seen: Collected, policies: Mapping[str, Policy] | None = None, **options: Any) -> Result:
    known = {NAME: POLICY} if policies is None else policies
    return check(known, seen, validators=VALIDATORS, scopes=SCOPES, today=TODAY, **options)


def outcomes(result: Result) -> dict[str, Outcome]:
    return {one.finding.rule: one.finding.outcome for one in result.verdicts}


def test_an_object_that_keeps_every_rule_is_clean() -> None:
    result = run(collected(document()))
    assert (result.status, result.status.exit_code) == (Status.CLEAN, 0)
    assert set(outcomes(result).values()) == {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    assert {one.place for one in result.verdicts} == {PLACE}
    assert result.faults == ()


@pytest.mark.parametrize(
    ("changes", "level", "status"),
    [
        ({"size": 1}, "should", Status.FINDINGS),  # T-MUST
        ({"size": 1}, "must", Status.FINDINGS),
        ({"label": "x"}, "must", Status.CLEAN),  # T-SHOULD
        ({"label": "x"}, "should", Status.FINDINGS),
        ({"label": "longer than that"}, "should", Status.CLEAN),  # T-INFORMATION
        ({"label": "longer than that"}, "procedure", Status.CLEAN),
        ({"label": "longer than that"}, "information", Status.FINDINGS),
        ({"size": 1000}, "must", Status.FINDINGS),  # T-REFUSE is a recommendation that refuses
    ],
)
def test_a_finding_counts_at_the_level_asked_and_above(
    changes: Mapping[str, Any], level: str, status: Status
) -> None:
    result = run(collected(document(**changes)), level=level)
    assert result.status is status
    assert result.status.exit_code == (1 if status is Status.FINDINGS else 0)
    assert sum(one.failing for one in result.verdicts) == 1


def test_a_rule_that_cannot_be_evaluated_fails_at_least_as_a_should() -> None:
    broken = policy(information="fact.missing > 1")
    result = run(collected(document()), {NAME: broken})
    assert outcomes(result)["T-INFORMATION"] is Outcome.NOT_EVALUATED
    assert result.status is Status.FINDINGS
    assert [one.severity for one in result.failing] == ["should"]


def test_a_declared_object_without_facts_is_not_evaluated_and_a_fault() -> None:
    other = Declaration(KIND, "b", NAME, PLACE)
    result = run(collected(document(), declared=(DECLARED, other)))
    assert result.status is Status.FAULT
    assert [fault["message"] for fault in result.faults] == [
        "fact b cannot be judged: nothing was observed of it"
    ]
    lost = [one for one in result.verdicts if one.object == "b"]
    assert {one.finding.outcome for one in lost} == {Outcome.NOT_EVALUATED}
    assert [one.finding.rule for one in lost] == [
        rule.id for rule in POLICY.rules if rule.kind == KIND
    ]


def test_a_declared_object_of_a_kind_that_nobody_collects_fails_by_name() -> None:
    other = Declaration("unseen", "b", NAME, PLACE)
    known = policy(kind="unseen")
    result = run(collected(document(), declared=(DECLARED, other)), {NAME: known})
    assert result.status is Status.FINDINGS
    lost = [one for one in result.verdicts if one.kind == "unseen"]
    assert lost
    assert all("unseen b" in one.finding.message for one in lost)
    assert {one.finding.outcome for one in lost} == {Outcome.NOT_EVALUATED}


def test_facts_that_do_not_fit_their_schema_are_a_fault_and_nothing_of_them_passes() -> None:
    result = run(collected(document(size="many"), document("b"), declared=(
        DECLARED, Declaration(KIND, "b", NAME))))  # fmt: skip
    assert result.status is Status.FAULT
    assert "fact.size: 'many' is not of type 'integer'" in result.faults[0]["found"]
    lost = {one.finding.outcome for one in result.verdicts if one.object == "a"}
    assert lost == {Outcome.NOT_EVALUATED}
    assert Outcome.PASSED in {one.finding.outcome for one in result.verdicts if one.object == "b"}


def test_facts_that_nothing_declares_are_a_fault() -> None:
    result = run(collected(document(), document("stray")))
    assert [fault["message"] for fault in result.faults] == [
        "fact stray is observed, but not declared"
    ]


def test_a_problem_of_a_collector_is_a_fault_and_the_rest_is_still_judged() -> None:
    problem = PkiError("the far end", rule="X", where="gw1").as_result()
    result = run(collected(document(size=1), problems=(problem,)))
    assert result.faults == (problem,)
    assert result.status is Status.FAULT
    assert outcomes(result)["T-MUST"] is Outcome.FAILED


@pytest.mark.parametrize("declared", [(), (Declaration("other", "a", NAME),)])
def test_a_check_that_evaluates_nothing_is_a_fault(declared: tuple[Declaration, ...]) -> None:
    result = run(collected(declared=declared))
    assert result.status.exit_code == 2
    assert result.faults[-1]["rule"] == "CHECK-EMPTY"


def test_a_policy_that_is_not_loaded_is_a_fault() -> None:
    stranger = Declaration(KIND, "b", "unknown")
    result = run(collected(document(), declared=(DECLARED, stranger)))
    assert "its policy is not loaded" in result.faults[0]["message"]


def test_kinds_that_were_not_judged_are_named_with_the_reason() -> None:
    known = policy(kind="other", more=("unseen",))
    result = run(
        collected(document(), declared=(DECLARED,)),
        {NAME: POLICY, "second": known},
    )
    assert {one.kind: one.reason for one in result.not_judged} == {
        "other": "its facts are known live only",
        "unseen": "nothing collects its facts yet",
    }
    nothing = run(collected(document("a", "other"), declared=(Declaration("other", "a", NAME),)))
    reasons = {one.kind: one.reason for one in nothing.not_judged}
    assert reasons[KIND] == "the inventory declares nothing of the kind"
    assert reasons["other"] == f"policy {NAME} has no rule for it"


def waiver(rule: str = "T-MUST", name: str = "a", expires: date = date(2027, 1, 1)) -> Waiver:
    return Waiver(rule, name, "ticket 7", "Olive Owner", expires, Place("waivers.yml", 3))


def test_a_waived_finding_is_shown_and_does_not_count() -> None:
    result = run(collected(document(size=1)), waivers=[waiver()])
    assert result.status is Status.CLEAN
    (waived,) = [one for one in result.verdicts if one.finding.outcome is Outcome.WAIVED]
    assert (waived.finding.rule, waived.waiver) == ("T-MUST", waiver())
    assert "1" in waived.finding.found


@pytest.mark.parametrize(
    ("given", "size"),
    [(waiver(expires=TODAY), 1), (waiver(), 5), (waiver(rule="T-NONE"), 5)],
    ids=["expired", "unneeded", "unknown"],
)
def test_a_waiver_that_waives_nothing_is_a_finding(given: Waiver, size: int) -> None:
    result = run(collected(document(size=size)), waivers=[given])
    assert result.status is Status.FINDINGS
    (found,) = [one for one in result.verdicts if one.kind == "waiver"]
    assert (found.finding.rule, found.place) == ("POLICY-WAIVER", Place("waivers.yml", 3))


def test_a_waiver_for_what_only_another_run_sees_is_no_finding_here() -> None:
    known = policy(more=("other",))
    rule = next(rule.id for rule in known.rules if rule.kind == "other")
    result = run(collected(document()), {NAME: known}, waivers=[waiver(rule=rule, name="gw1")])
    assert result.status is Status.CLEAN


def test_what_is_wrong_with_an_overlay_is_a_finding_of_its_own() -> None:
    finding = Finding(
        "POLICY-OVERLAY", "", "must", False, Outcome.FAILED, "expired", "x", "y", "remove it"
    )
    known = policy(remarks=(Remark(finding, "limit", Place("overlay.yml", 2)),))
    result = run(collected(document()), {NAME: known})
    (found,) = result.failing
    assert (found.kind, found.object, found.policy) == ("overlay", "limit", NAME)


def test_a_reply_whose_revocation_was_not_asked_is_told() -> None:
    schema = {"certificate": {"type": "object"}}
    declared = tuple(Declaration("certificate", name, NAME) for name in ("a v1", "b v1"))
    documents = [
        Document("certificate", one.object, NAME, {**facts(), "revocation": {"verdict": verdict}})
        for one, verdict in zip(declared, ("pending", "good"), strict=True)
    ]
    result = check(
        {NAME: policy(kind="certificate")},
        collected(*documents, declared=declared),
        validators=Validators(schema),
        scopes={"certificate": frozenset({"offline"})},
        today=TODAY,
    )
    assert result.pending == ("a v1",)


class Offline:
    """As much of a scene as collecting needs."""

    scope = "offline"

    def collected(self, declared: Any, documents: Any, problems: Any = ()) -> Collected:
        return collected(*documents, declared=tuple(declared), problems=tuple(problems))


SCENE: Any = Offline()


def collector(*kinds: str, scopes: tuple[str, ...] = ("offline",), **does: Any) -> Collector:
    def collect(scene: Scene) -> Collected:
        if "raises" in does:
            raise does["raises"]
        return collected(*does.get("documents", ()), declared=does.get("declared", ()))

    return Collector(frozenset(kinds), frozenset(scopes), collect)


def test_a_collector_that_breaks_is_named_and_hides_nothing_of_the_others() -> None:
    good = collector(KIND, documents=[document()], declared=(DECLARED,))
    secret = RuntimeError("s.token-in-a-text")
    seen = collecting.collect(SCENE, [collector("crl", raises=secret), good])
    assert seen.documents == (document(),)
    (problem,) = seen.problems
    assert problem["message"] == "the facts of kind crl could not be collected"
    assert "RuntimeError in collect" in problem["found"]
    assert "token" not in str(problem)


def test_a_collectors_own_error_keeps_its_words() -> None:
    error = PkiError("gw1 cannot be read", rule="STATE-FILE", where="gw1")
    seen = collecting.collect(SCENE, [collector(KIND, raises=error)])
    assert seen.problems == (error.as_result(),)


def test_a_collector_is_asked_only_in_its_scopes() -> None:
    live = collector(KIND, scopes=("live",), raises=AssertionError())
    assert collecting.collect(SCENE, [live]).problems == ()


def test_a_collector_may_not_tell_facts_of_another_kind() -> None:
    seen = collecting.collect(SCENE, [collector("crl", documents=[document()])])
    assert seen.documents == ()
    assert seen.problems[0]["found"] == f"facts of {KIND}"


@pytest.mark.parametrize("what", ["declared", "observed"])
def test_two_objects_of_one_name_are_a_problem(what: str) -> None:
    declared = (DECLARED, DECLARED) if what == "declared" else (DECLARED,)
    documents = [document(), document(size=1)] if what == "observed" else [document()]
    seen = collecting.collect(SCENE, [collector(KIND, documents=documents, declared=declared)])
    assert [one["message"] for one in seen.problems] == [f"fact a is {what} more than once"]
    assert (len(seen.declarations), len(seen.documents)) == (1, 1)


def collector_files() -> set[str]:
    folder = REPOSITORY / "module_utils" / "pki" / "facts"
    return {path.stem for path in folder.glob("*.py") if "\nCOLLECTOR = " in path.read_text()}


def test_every_collector_there_is_is_asked() -> None:
    asked = {one.collect.__module__.rsplit(".", 1)[-1] for one in collecting.COLLECTORS}
    assert asked == collector_files()


#: Their collectors arrive with what makes such objects. Only the API keys' slots may stay.
NOT_YET = {"api_key", "keystore", "mail", "mesh_client", "message"}


def test_the_kinds_that_nobody_collects_yet_are_known() -> None:
    schemas = policy_files.load_fact_schemas(REPOSITORY / "policies")
    assert set(collecting.uncollected_kinds(schemas)) == NOT_YET


def test_every_kind_is_collected_by_one_and_known_only_where_its_schema_says() -> None:
    kinds = [kind for one in collecting.COLLECTORS for kind in one.kinds]
    assert len(kinds) == len(set(kinds))
    schemas = policy_files.load_fact_schemas(REPOSITORY / "policies")
    for kind, scopes in collecting.kind_scopes(schemas).items():
        assert scopes
        assert ("offline" in scopes) == (schemas[kind]["x-scope"] == "offline"), kind
