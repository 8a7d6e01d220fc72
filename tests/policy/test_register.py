# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies against the register: every clause of both documents, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pki.policy import EVIDENCE, LEVELS, Policy, Rule
from pki.policy_files import load_policies, policy_names

ROOT = Path(__file__).parents[2]
POLICIES = load_policies(ROOT / "policies", policy_names(ROOT / "policies"))
POLICY_OF = {"DIP": "mhhs-dip", "MESH": "nhs-mesh"}
REGISTER: dict[str, tuple[str, str]] = {
    fields[0]: (fields[1], fields[2])
    for line in (Path(__file__).parent / "register.txt").read_text().splitlines()
    if not line.startswith("#")
    for fields in [line.split(maxsplit=2)]
}
SPLIT = (
    "DIP-12.3-CHAIN",
    "DIP-12.3-EXPIRY",
    "DIP-12.3-REVOKED",
    "MESH-EPR-06-SUB",
    "MESH-EPR-08-ROOT",
)
ADDED = ("DIP-4.3.1-LIMITS", "DIP-6.2-ACTIVATION", "DIP-8.6-TOOLS", "DIP-10.1-STORM")
#: What the documents take for granted of a key or a reply, under the clause it serves.
OURS = (
    "DIP-2.3-LOG-FIELDS",
    "DIP-3.4.2-COMMITMENT",
    "DIP-3.5.1-GENERATION",
    "DIP-3.5.2.5-REMOVED",
    "DIP-3.5.2.6-BUDGET",
    "DIP-3.5.2.6-CLOCK",
    "DIP-3.5.2.6-ENFORCED",
    "DIP-3.5.2.6-GRACE",
    "DIP-3.5.2.6-TIMERS",
    "DIP-3.6.1-OWN-SERIAL",
    "DIP-3.6.1-POLL-SUCCESS",
    "DIP-3.6.1-IDENTITY",
    "DIP-4.2-COMPRESSION",
    "DIP-4.1.2-ONE-PER-DCP",
    "DIP-4.1.2-PROVIDER",
    "DIP-4.1.2-PROVIDER-NAMED",
    "DIP-5.4.4-REGISTERED",
    "DIP-5.5-ENV-UNKNOWN",
    "DIP-3.6.1-DELIVERY-CLEAR",
    "DIP-3.6.1-DELIVERY-COUNT",
    "DIP-3.6.1-DELIVERY-HOST",
    "DIP-3.6.1-DELIVERY-KNOWN",
    "DIP-3.6.1-DELIVERY-ONCE",
    "DIP-3.6.1-DELIVERY-ROLE",
    "DIP-3.6.1-DELIVERY-UNUSED",
    "DIP-6.1.2-AGE",
    "DIP-6.1.4-NOT-NEW",
    "DIP-6.1.4-WINDOW",
    "DIP-6.1.6-SHARED",
    "DIP-6.2-EXPONENT",
    "DIP-6.2-WEAK-KEY",
    "DIP-8.6-SAN",
    "DIP-8.7-SERIAL",
    "MESH-GEN-AGE",
    "MESH-GEN-COMPROMISED",
    "MESH-GEN-CRL",
    "MESH-GEN-CRL-AGE",
    "MESH-GEN-CRL-OWN",
    "MESH-GEN-CRL-POLL",
    "MESH-GEN-NOT-NEW",
    "MESH-GEN-WINDOW",
    "MESH-MAN-03-EXPONENT",
    "MESH-MAN-03-WEAK-KEY",
)
CONTRADICTIONS = {
    "mhhs-dip": {*range(1, 23), 36, 37, 38, 39},
    "nhs-mesh": set(range(23, 36)),
}
# What a person may vouch for without a reason: nothing that says "must".
VOUCHED = ("should", "recommendation", "procedure", "information")


def rules_of(name: str) -> list[Rule]:
    policy = POLICIES[POLICY_OF[name.split("-")[0]]]
    return [rule for rule in policy.rules if rule.id == name]


def computed(name: str) -> bool:
    return any(rule.kind != EVIDENCE for rule in rules_of(name))


def test_the_register_has_every_clause_once() -> None:
    assert len(REGISTER) == 179 + len(OURS)
    assert {*SPLIT, *ADDED, *OURS} <= set(REGISTER)
    assert {level for level, _ in REGISTER.values()} <= set(LEVELS)


def test_the_policies_judge_exactly_what_the_register_lists() -> None:
    judged = {rule.id for policy in POLICIES.values() for rule in policy.rules}
    assert judged == set(REGISTER)


@pytest.mark.parametrize("name", REGISTER)
def test_every_clause_is_judged_by_the_policy_of_its_document(name: str) -> None:
    assert rules_of(name), f"{name} is neither a rule nor an evidence item"


@pytest.mark.parametrize("name", REGISTER)
def test_a_clause_is_as_binding_as_its_document_says(name: str) -> None:
    level, _ = REGISTER[name]
    assert {rule.level for rule in rules_of(name)} == {level}


def test_at_least_a_hundred_clauses_are_computed_from_facts() -> None:
    assert sum(map(computed, REGISTER)) >= 100


@pytest.mark.parametrize("name", REGISTER)
def test_a_person_vouches_only_for_what_software_cannot_decide(name: str) -> None:
    for rule in rules_of(name):
        if rule.kind == EVIDENCE and not computed(name):
            assert rule.level in VOUCHED or rule.not_computed, rule.place


@pytest.mark.parametrize("name", POLICY_OF.values())
def test_every_contradiction_is_resolved_and_decides_something(name: str) -> None:
    policy = POLICIES[name]
    assert set(policy.resolutions) == CONTRADICTIONS[name]
    assert used(policy) == CONTRADICTIONS[name]


def used(policy: Policy) -> set[int]:
    deciding = [*policy.rules, *policy.parameters.values()]
    return {number for item in deciding for number in item.resolves}
