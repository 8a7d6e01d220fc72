# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of people: rosters, what they vouch for, and the account at the authority."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki.documents import Collected, Validators
from pki.facts import dca_accounts, evidence, rosters
from pki.facts.scene import Scene
from pki.policy import Outcome, Place
from pki.policy_files import load_fact_schemas
from unit import pki_factory as factory
from unit.controller_world import NAME, OTHER, REPOSITORY, World, certificate_entry
from unit.pki_factory import NOW

VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))
KEY = "example-energy"
SUBMISSION = "Who    Ada Admin or Alan Admin (Certificate Admin)\n"
WRITTEN = {"id": "DIP-2.2-RISK", "date": "2026-11-01", "owner": "Olive", "reference": "R-1"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def scene(world: World, **options: Any) -> Scene:
    return Scene(inputs=world.inputs(), scope="offline", name="nonprod", **options)


def facts(collected: Collected, name: str) -> dict[str, Any]:
    """The document of an object, which is declared and fits its schema."""
    (document,) = [one for one in collected.documents if one.object == name]
    assert document.key in {one.key for one in collected.declarations}
    assert not VALIDATORS.fault(document.kind, document.facts)
    return dict(document.facts)


def person(name: str, **changes: Any) -> dict[str, Any]:
    email = f"{name.split()[0].lower()}@example.com"
    return {"name": name, "email": email, "role": "certificate_admin", **changes}


def roster(world: World) -> dict[str, Any]:
    return facts(rosters.collect(scene(world)), KEY)


def outcomes(world: World, kind: str, seen: dict[str, Any], item: str = "") -> dict[str, Outcome]:
    policy = world.inputs().policies["mhhs-dip"]
    return {one.rule: one.outcome for one in policy.evaluate(kind, seen, item)}


# --- rosters --------------------------------------------------------------------------------


def test_somebody_with_two_roles_is_one_person(world: World) -> None:
    world.organisation["roster"] = [
        person("Ada Admin"),
        person("ada  ADMIN", email="ADA@example.com", role="user_administrator"),
    ]
    (one,) = roster(world)["people"]
    assert one["name"] == "Ada Admin"
    assert one["roles"] == ["certificate_admin", "user_administrator"]


def test_an_address_of_two_people_is_told_with_both_names(world: World) -> None:
    world.organisation["roster"] = [
        person("Ada Admin", email="Certs@Example.com"),
        person("Alan Admin", email="certs@example.com"),
    ]
    seen = roster(world)
    (one,) = seen["addresses"]
    assert (one["address"], one["local_part"]) == ("certs@example.com", "certs")
    assert one["names"] == ["Ada Admin", "Alan Admin"]
    assert outcomes(world, "roster", seen)["DIP-11-OWN-ID"] is Outcome.FAILED


@pytest.mark.parametrize(
    ("left", "present"),
    [("", True), ("2026-11-20", False), ("2026-11-21", False), ("2026-11-22", True)],
)
def test_somebody_has_left_from_the_day_on_that_is_recorded(
    world: World, left: str, present: bool
) -> None:
    gone = {"left": left} if left else {}
    world.organisation["roster"] = [person("Ada Admin", **gone)]
    assert roster(world)["people"][0]["present"] is present


def test_who_has_left_is_named_in_what_is_still_in_use(world: World) -> None:
    world.organisation["roster"] = [person("Ada Admin"), person("Alan Admin", left="2026-10-01")]
    world.certificates[0]["owner"] = {"name": "Alan Admin", "accepted": "2026-01-05"}
    world.request()
    world.put(submission_txt=SUBMISSION.encode())
    seen = roster(world)
    ada, alan = seen["people"]
    assert ada["named_in"] == [f"{NAME} v1"]
    assert alan["named_in"] == [NAME, f"{NAME} v1"]
    assert outcomes(world, "roster", seen)["DIP-6.1.3-LEAVER"] is Outcome.FAILED


def test_nobody_is_named_in_what_was_given_up(world: World) -> None:
    world.organisation["roster"] = [person("Ada Admin")]
    world.request()
    outcome = b"schema: 1\noutcome: withdrawn\ndate: 2026-11-02T00:00:00Z\n"
    world.put(submission_txt=SUBMISSION.encode(), outcome_yml=outcome)
    assert roster(world)["people"][0]["named_in"] == []


def test_an_organisation_without_certificates_has_no_roster_to_judge(world: World) -> None:
    world.certificates.clear()
    assert not rosters.collect(scene(world)).declarations


def test_versions_that_cannot_be_read_hide_no_person(world: World) -> None:
    (world.kept / NAME / "1").mkdir(parents=True)
    (world.kept / NAME / "1" / "request.yml").write_text("[")
    assert len(roster(world)["people"]) == 2


# --- evidence -------------------------------------------------------------------------------


def vouched(world: World, raw: object, item: str = "DIP-2.2-RISK") -> dict[str, Any]:
    return facts(evidence.collect(scene(world, evidence=raw)), item)


def test_every_item_is_judged_without_any_file(world: World) -> None:
    policy = world.inputs().policies["mhhs-dip"]
    collected = evidence.collect(scene(world))
    assert {one.object for one in collected.declarations} == set(evidence.items(policy))
    for one in collected.documents:
        found = outcomes(world, "evidence", facts(collected, one.object), one.object)
        assert found == {one.object: Outcome.FAILED}


def test_a_record_has_the_age_of_its_day(world: World) -> None:
    seen = vouched(world, {"evidence": [WRITTEN]})
    assert (seen["recorded"], seen["age_days"], seen["owner"]) == (True, 20, "Olive")
    assert seen["parties"] == ["market_participant_active"]
    assert outcomes(world, "evidence", seen, "DIP-2.2-RISK") == {"DIP-2.2-RISK": Outcome.PASSED}


@pytest.mark.parametrize(
    ("day", "valid", "outcome"),
    [
        ("2026-11-21", None, Outcome.PASSED),
        ("2026-11-22", None, Outcome.FAILED),
        ("2025-11-21", None, Outcome.PASSED),
        ("2025-11-20", None, Outcome.FAILED),
        ("2026-11-01", 20, Outcome.PASSED),
        ("2026-11-01", 19, Outcome.FAILED),
    ],
)
def test_a_record_holds_from_its_day_until_policy_or_record_end_it(
    world: World, day: str, valid: int | None, outcome: Outcome
) -> None:
    entry = {**WRITTEN, "date": day, **({"valid_days": valid} if valid else {})}
    seen = vouched(world, {"evidence": [entry]})
    assert outcomes(world, "evidence", seen, "DIP-2.2-RISK") == {"DIP-2.2-RISK": outcome}


def test_a_record_stands_where_the_file_says_and_a_missing_one_in_the_file(world: World) -> None:
    places = {("evidence", "DIP-2.2-RISK"): Place("evidence.yml", 7)}
    collected = evidence.collect(scene(world, evidence={"evidence": [WRITTEN]}, places=places))
    by_object = {one.object: one.place for one in collected.declarations}
    assert by_object["DIP-2.2-RISK"] == Place("evidence.yml", 7)
    assert by_object["DIP-2.3-DPIA"].file.endswith("evidence.yml")


def test_what_is_wrong_with_the_file_is_a_problem_of_the_check(world: World) -> None:
    entry = {**WRITTEN, "id": "DIP-9-MFB"}
    collected = evidence.collect(scene(world, evidence={"evidence": [entry]}))
    (problem,) = collected.problems
    assert problem["rule"] == "EVIDENCE-FILE"
    assert "DIP-9-MFA" in problem["expected"]


def test_evidence_that_stands_in_says_so(world: World) -> None:
    collected = evidence.collect(scene(world, stand_ins={"evidence": "made for a rehearsal"}))
    assert {one.stand_in for one in collected.documents} == {"made for a rehearsal"}


# --- the account at the authority -----------------------------------------------------------


def account(world: World, content: bytes | None, file: str = "account.pem") -> dict[str, Any]:
    if content is not None:
        (world.base / file).write_bytes(content)
    world.organisation["dca_account"] = {"certificate": file}
    return facts(dca_accounts.collect(scene(world)), KEY)


def test_an_account_is_judged_only_where_it_is_declared(world: World) -> None:
    assert not dca_accounts.collect(scene(world)).declarations


@pytest.mark.parametrize(("left", "outcome"), [(30, Outcome.PASSED), (29, Outcome.FAILED)])
def test_the_days_left_are_whole_days(world: World, left: int, outcome: Outcome) -> None:
    end = NOW + timedelta(days=left, hours=23)
    leaf = factory.authority("Account CA").leaf("Example Energy", end=end)
    seen = account(world, factory.pem(leaf))
    assert (seen["readable"], seen["left_days"]) == (True, left)
    assert "Example Energy" in seen["subject"]
    assert outcomes(world, "dca_account", seen) == {"DIP-12.2-06-PFX": outcome}


# what stands in the file's place -> words of the problem, whether a key is told
UNUSABLE: dict[str, tuple[bytes | None, str, bool]] = {
    "nothing": (None, "No such file", False),
    "text": (b"later", "", False),
    "a private key": (b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "", True),
    "two certificates": (
        factory.pem(factory.authority("A").der) + factory.pem(factory.authority("B").der),
        "2 certificates",
        False,
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_that_is_no_single_certificate_is_a_finding(world: World, name: str) -> None:
    content, words, key = UNUSABLE[name]
    seen = account(world, content)
    assert (seen["readable"], seen["private_key"]) == (False, key)
    assert seen["problem"]
    assert words in seen["problem"]
    assert outcomes(world, "dca_account", seen) == {"DIP-12.2-06-PFX": Outcome.FAILED}


def test_two_certificates_of_one_organisation_are_one_roster(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    assert len(rosters.collect(scene(world)).documents) == 1
