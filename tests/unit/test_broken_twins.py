# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake in an inventory is told by its own rule, in words, and leads to what is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pki.policy import Rule
from unit import twin
from unit.test_examples import POLICY, judged

#: Kinds of facts that an inventory's own files decide; `dns` is known live only.
KINDS = ("declaration", "inventory", "roster", "dca_account")
TWINS = [pytest.param(one, id=f"{one['rule']}-{one['object'].split()[0]}") for one in twin.table()]
FIELDS = {
    *("rule", "effect", "example", "object", "says"),
    *("class", "change", "without", "committed", "damaged", "also"),
}


def effect(rule: Rule) -> str:
    """What a rule does, as the table says it."""
    if rule.refuses:
        return "refuse"
    return "hold" if rule.holds else "report"


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
def test_the_table_tells_the_effect_that_the_policy_gives_the_rule(one: dict[str, Any]) -> None:
    (rule,) = [r for r in POLICY.rules if (r.kind, r.id) == (kind_of(one), one["rule"])]
    assert effect(rule) == one["effect"]
