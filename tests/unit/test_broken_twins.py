# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake in an inventory is told by its own rule, in words, and leads to what is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import check_run, gather, parties
from pki.lifecycle import Kind
from pki.policy import Rule
from unit import twin
from unit.pki_factory import DAY, NOW
from unit.test_examples import POLICY, judged

#: Kinds of facts that an inventory's own files decide; `dns` is known live only.
KINDS = ("declaration", "inventory", "roster", "dca_account")
TWINS = [pytest.param(one, id=f"{one['rule']}-{one['object'].split()[0]}") for one in twin.table()]
MAKING = {Kind.CREATE_KEY, Kind.WRITE_REQUEST}
FIELDS = {
    *("rule", "effect", "example", "object", "says"),
    *("class", "change", "without", "committed", "damaged", "also", "holds"),
}


def effect(rule: Rule) -> str:
    """What a rule does, as the table says it."""
    if rule.refuses:
        return "refuse"
    return "hold" if rule.holds else "report"


def name(one: dict[str, Any]) -> str:
    return f"{one['rule']}-{kind_of(one)}"


def kind_of(one: dict[str, Any]) -> str:
    return str(one["object"].split()[0])


def test_every_rule_about_what_an_inventory_declares_has_one_twin() -> None:
    wanted = Counter((rule.kind, rule.id) for rule in POLICY.rules if rule.kind in KINDS)
    assert Counter((kind_of(one), one["rule"]) for one in twin.table()) == wanted


@pytest.mark.parametrize("one", TWINS)
def test_a_broken_twin_is_found_by_its_rule_and_by_no_other(
    one: dict[str, Any], tmp_path: Path
) -> None:
    assert set(one) <= FIELDS
    code, result = judged(twin.make(one, tmp_path), tmp_path / "reports")
    assert (code, result["faults"]) == (1, [])
    failed = [verdict for verdict in result["verdicts"] if verdict["severity"]]
    assert {verdict["rule"] for verdict in failed} == {one["rule"], *one.get("also", ())}
    told = [v for v in failed if f"{v['kind']} {v['object']}" == one["object"]]
    (found,) = [verdict for verdict in told if verdict["rule"] == one["rule"]]
    assert one["says"] in found["message"]
    assert found["found"]
    assert found["expected"]
    assert found["next_step"]
    effects = {"refuse": (True, False), "hold": (False, True), "report": (False, False)}
    assert (found["refuses"], found["holds"]) == effects[one["effect"]]


@pytest.mark.parametrize("one", TWINS)
def test_a_run_that_makes_keys_does_with_a_twin_what_the_table_says(
    one: dict[str, Any], tmp_path: Path
) -> None:
    """As the module plans it: with what it found, nothing exists and everything is to be made."""
    inputs = check_run.scene(twin.make(one, tmp_path), twin.POLICIES, NOW).inputs
    found = parties.review(inputs)
    refused = {error.rule for error in found.refusals}
    assert (one["rule"] in refused) == (one["effect"] == "refuse")
    assert refused <= {one["rule"], *one.get("also", ())}
    held = {name for name, holds in found.holds.items() if one["rule"] in {h.rule for h in holds}}
    assert ("holds" in one) == (one["effect"] == "hold")
    if one["effect"] == "hold":
        assert held == set(one["holds"])
        plans = gather.plans(inputs, gather.Keys(), {}, held=found.holds)
        making = {plan.name for plan in plans if MAKING & {action.kind for action in plan.actions}}
        assert making == set(inputs.declared.certificates) - held
        for plan in plans:
            assert (one["rule"] in plan.message) == (plan.name in held)
            assert plan.needs_person == (plan.name in held)
    (sentence, *_) = [text for text in found.findings if one["rule"] in text]
    assert one["says"] in sentence
    assert one["object"] in sentence


@pytest.mark.parametrize("one", [one for one in twin.table() if one["effect"] == "hold"], ids=name)
def test_what_holds_goes_on_while_somebody_answers_for_it(
    one: dict[str, Any], tmp_path: Path
) -> None:
    inventory = twin.make(one, tmp_path)
    waiver = {
        "rule": one["rule"],
        "object": one["object"].split()[1],
        "reason": "the portal confirms it by post",
        "approver": "Orla Cole",
        "expires": (NOW + 30 * DAY).date(),
    }
    (inventory / "waivers.yml").write_text(yaml.safe_dump({"waivers": [waiver]}))
    before = parties.review(check_run.scene(inventory, twin.POLICIES, NOW).inputs)
    assert one["rule"] not in {hold.rule for holds in before.holds.values() for hold in holds}
    late = NOW + 31 * DAY
    after = parties.review(check_run.scene(inventory, twin.POLICIES, late).inputs)
    assert {
        key for key, holds in after.holds.items() if one["rule"] in {h.rule for h in holds}
    } == (set(one["holds"]))


@pytest.mark.parametrize("one", TWINS)
def test_the_table_tells_the_effect_that_the_policy_gives_the_rule(one: dict[str, Any]) -> None:
    (rule,) = [r for r in POLICY.rules if (r.kind, r.id) == (kind_of(one), one["rule"])]
    assert effect(rule) == one["effect"]
