# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of entries and of the inventory as a whole, its neighbours included."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pki import public_state, revocation_cause, revocation_record
from pki.documents import Collected, Validators
from pki.facts import declarations, inventories
from pki.facts.scene import Scene
from pki.policy import Finding, Outcome, Place
from pki.policy_files import load_fact_schemas
from unit import pki_factory as factory
from unit.controller_world import (
    ISSUING,
    NAME,
    OTHER,
    OTHER_CN,
    REPOSITORY,
    World,
    certificate_entry,
    spki,
)
from unit.pki_factory import NOW

VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))
ACCEPTED = {
    "schema": 1,
    "serial": "1",
    "not_before": "2026-11-20T12:00:00Z",
    "accepted_at": "2026-11-20T13:00:00Z",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "nonprod").mkdir()
    return World(tmp_path / "nonprod")


def scene(world: World, **options: Any) -> Scene:
    return Scene(inputs=world.inputs(), scope="offline", name="nonprod", **options)


def facts(collected: Collected, name: str) -> dict[str, Any]:
    (document,) = [one for one in collected.documents if one.object == name]
    assert document.key in {one.key for one in collected.declarations}
    assert not VALIDATORS.fault(document.kind, document.facts)
    return dict(document.facts)


def whole(world: World, **options: Any) -> dict[str, Any]:
    return facts(inventories.collect(scene(world, **options)), "nonprod")


def finding(world: World, kind: str, seen: dict[str, Any], rule: str) -> Finding:
    findings = world.inputs().policies["mhhs-dip"].evaluate(kind, seen)
    (found,) = [one for one in findings if one.rule == rule]
    return found


def outcome(world: World, rule: str, **options: Any) -> Outcome:
    return finding(world, "inventory", whole(world, **options), rule).outcome


def accepted(world: World, until: str, version: int = 1, name: str = NAME) -> None:
    record = "\n".join(f"{key}: {value}" for key, value in ACCEPTED.items())
    content = f"{record}\nnot_after: {until}\n".encode()
    world.put(version, name, certificate_pem=factory.pem(ISSUING.leaf()), accepted_yml=content)


def counted(issued: int, revoked: int, pending: int) -> dict[str, int]:
    return {"issued": issued, "revoked": revoked, "pending": pending}


def revoke(world: World, version: int, name: str = NAME) -> None:
    """As a person records that a certificate was seen to be revoked."""
    when = NOW.replace(day=1)
    record = revocation_record.Recorded(
        certificate=name, version=version, organisation="example-energy", common_name=factory.CN,
        subject="", serial="1", issuer="", valid_until="2026-11-01", certificate_sha256="0" * 64,
        spki_sha256="0" * 64, cause="superseded", code=4, text="replaced",
        reason=revocation_cause.CAUSES["superseded"].reason,
        noticed=when, by="Ada Admin", role="certificate_admin", contact="", prepared=when,
        revoked=when,
    )  # fmt: skip
    world.put(version, name, revocation_yml=record.content())
    (read,) = public_state.scan(world.kept, name)
    assert public_state.recorded_revocation(read) == record


def beside(world: World, name: str = "prod", environment: str = "prod", **changes: Any) -> Path:
    """A neighbour with one committed request, by default for production and of the same key."""
    changes.setdefault("key_name", "leaf")
    changes.setdefault("common_name", f"energydip-{environment}.beside.example")
    world.request(1, "dip-there", environment=environment, **changes)
    folder = world.base.parent / name
    entries = folder / "group_vars" / "all"
    entries.mkdir(parents=True)
    (entries / "certificates.yml").write_text(
        f"certificates:\n  - {{policy: mhhs-dip, environment: {environment}, domain: b.example}}\n"
    )
    (folder / "certificates").mkdir()
    shutil.move(world.kept / "dip-there", folder / "certificates" / "dip-there")
    return folder


# --- entries --------------------------------------------------------------------------------


def entry(world: World, name: str = NAME, **options: Any) -> dict[str, Any]:
    return facts(declarations.collect(scene(world, **options)), name)


def test_an_entry_is_seen_with_party_days_and_name(world: World) -> None:
    world.organisation |= {"vetted": "2026-11-20", "registered": "2026-11-19"}
    world.organisation["domain_verified"] = "2026-11-18"
    world.certificates[0]["owner"] = {"name": "Olive Owner", "accepted": "2026-11-21"}
    seen = entry(world)
    assert seen["party"]["purposes"] == ["mtls", "signing"]
    assert seen["vetted"] == {"date": "2026-11-20", "age_days": 1}
    assert seen["registered"] == {"date": "2026-11-19", "age_days": 2}
    assert seen["domain_verified"] == {"date": "2026-11-18", "age_days": 3}
    assert seen["owner"] == {"name": "Olive Owner", "accepted": "2026-11-21", "age_days": 0}
    assert seen["common_name"] == f"{seen['prefix']}.{seen['domain']}"
    findings = world.inputs().policies["mhhs-dip"].evaluate("declaration", seen)
    assert {one.outcome for one in findings} == {Outcome.PASSED, Outcome.NOT_APPLICABLE}


@pytest.mark.parametrize("day", ["2026-11-22", ""])
def test_a_day_to_come_is_no_day_of_vetting(world: World, day: str) -> None:
    if day:
        world.organisation["vetted"] = day
    found = finding(world, "declaration", entry(world), "DIP-5.2-VETTED")
    assert found.outcome is Outcome.FAILED
    assert day in found.found


def test_of_two_entries_that_ask_for_the_same_the_later_is_the_twin(world: World) -> None:
    world.certificates.append(certificate_entry("dip-again", domain="example-energy.co.uk"))
    assert entry(world, NAME)["earlier_twins"] == []
    assert entry(world, "dip-again")["earlier_twins"] == [NAME]


@pytest.mark.parametrize(
    "change",
    [{"hosts": "others"}, {"purposes": ["signing"]}, {"domain": "else.example"}],
    ids=["other hosts", "another purpose", "another name"],
)
def test_entries_that_differ_where_it_counts_are_no_twins(
    world: World, change: dict[str, Any]
) -> None:
    world.certificates[0]["purposes"] = ["mtls"]
    second = certificate_entry("dip-again", domain="example-energy.co.uk", purposes=["mtls"])
    world.certificates.append({**second, **change})
    assert entry(world, "dip-again")["earlier_twins"] == []


def test_an_entry_stands_where_the_inventory_says(world: World) -> None:
    place = Place("inventories/nonprod/group_vars/all/certificates.yml", 4)
    collected = declarations.collect(scene(world, places={("certificates", NAME): place}))
    assert collected.declarations[0].place == collected.documents[0].place == place


# --- the inventory as a whole -----------------------------------------------------------------


def test_two_entries_may_serve_an_active_participant_together(world: World) -> None:
    world.certificates[0]["purposes"] = ["mtls"]
    assert outcome(world, "DIP-4.1.1-ACTIVE") is Outcome.FAILED
    world.certificates.append(certificate_entry("dip-sign", purposes=["signing"]))
    assert outcome(world, "DIP-4.1.1-ACTIVE") is Outcome.PASSED


def test_a_connection_provider_needs_a_certificate_for_tls(world: World) -> None:
    world.organisation["party"] = "dip_connection_provider"
    world.certificates[0]["purposes"] = ["signing"]
    assert outcome(world, "DIP-4.1.2-DCP-TLS") is Outcome.FAILED
    world.certificates[0]["purposes"] = ["mtls"]
    assert outcome(world, "DIP-4.1.2-DCP-TLS") is Outcome.PASSED


def test_a_key_in_two_entries_is_shared_and_one_in_two_versions_is_not(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request()
    world.request(2, key_name="leaf")
    assert outcome(world, "DIP-4.1.2-UNIQUE-PER-DCP") is Outcome.PASSED
    world.request(1, OTHER, key_name="leaf")
    found = finding(world, "inventory", whole(world), "DIP-4.1.2-UNIQUE-PER-DCP")
    assert found.outcome is Outcome.FAILED
    assert found.found == f"key {spki('leaf')} in {NAME} and {OTHER}"


def test_a_certificate_in_two_entries_is_shared_by_its_serial_number(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request()
    world.request(1, OTHER, key_name="another")
    leaf = world.reply()
    world.reply(1, OTHER, leaf)
    found = finding(world, "inventory", whole(world), "DIP-4.1.2-UNIQUE-PER-DCP")
    assert f"serial {factory.serial(leaf):x} of " in found.found


def test_the_cas_of_a_reply_are_shared_by_right(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    for name, key in ((NAME, "leaf"), (OTHER, "another")):
        world.request(1, name, key_name=key)
        public = factory.key(key).public_key()
        leaf = ISSUING.leaf(OTHER_CN if name == OTHER else factory.CN, public=public)
        world.put(1, name, reply_txt=factory.pem(leaf) + ISSUING.pem)
    assert outcome(world, "DIP-4.1.2-UNIQUE-PER-DCP") is Outcome.PASSED


def test_a_key_that_production_uses_beside_is_used_again(world: World) -> None:
    world.request()
    beside(world, key_name="another")
    assert outcome(world, "DIP-5.5-NO-ENV-REUSE") is Outcome.PASSED
    shutil.rmtree(world.base.parent / "prod")
    beside(world)
    found = finding(world, "inventory", whole(world), "DIP-5.5-NO-ENV-REUSE")
    assert found.outcome is Outcome.FAILED
    assert "prod/dip-there v1" in found.found


def test_what_is_over_in_both_classes_is_told_and_no_longer_refused(world: World) -> None:
    world.request()
    folder = beside(world)
    over = b"schema: 1\noutcome: withdrawn\ndate: 2026-11-02T00:00:00Z\n"
    (folder / "certificates" / "dip-there" / "1" / "outcome.yml").write_bytes(over)
    assert outcome(world, "DIP-5.5-NO-ENV-REUSE") is Outcome.FAILED  # ours is still open
    world.put(1, outcome_yml=over)
    (shared,) = [one for one in whole(world)["identities"] if one["what"] == "key"]
    assert (shared["classes"], shared["live"]) == (["nonprod", "prod"], False)
    assert outcome(world, "DIP-5.5-NO-ENV-REUSE") is Outcome.PASSED


def test_a_name_of_the_other_class_is_used_again_as_a_key_would_be(world: World) -> None:
    world.request()
    beside(world, key_name="another", common_name=factory.CN)
    found = finding(world, "inventory", whole(world), "DIP-5.5-NO-ENV-REUSE")
    assert found.found == f"name {factory.CN} in {NAME} and prod/dip-there v1"


def test_a_key_of_the_same_class_beside_is_no_reuse(world: World) -> None:
    world.request()
    beside(world, "sit", "sit")
    (one,) = [one for one in whole(world)["identities"] if one["what"] == "key"]
    assert one["elsewhere"] == ["sit/dip-there v1"]
    assert outcome(world, "DIP-5.5-NO-ENV-REUSE") is Outcome.PASSED


def test_a_key_of_another_policy_beside_is_none_of_this_ones_business(world: World) -> None:
    world.request()
    beside(world, policy="nhs-mesh")
    assert whole(world)["identities"][0]["elsewhere"] == []


@pytest.mark.parametrize("broken", ["request.yml", "request.csr"])
def test_what_cannot_be_read_beside_rules_nothing_out(world: World, broken: str) -> None:
    folder = beside(world, key_name="another")
    (folder / "certificates" / "dip-there" / "1" / broken).write_text("[")
    seen = whole(world)
    assert seen["unreadable"]
    assert all(one.startswith("prod/dip-there") for one in seen["unreadable"])
    assert outcome(world, "DIP-5.5-ENV-UNKNOWN") is Outcome.FAILED
    assert outcome(world, "DIP-5.5-NO-ENV-REUSE") is Outcome.PASSED


def test_a_reply_that_is_none_yet_takes_nothing_from_its_request(world: World) -> None:
    world.request()
    world.put(reply_txt=b"Dear all, please find attached")
    seen = whole(world)
    assert [one["what"] for one in seen["identities"]] == ["key", "name"]
    assert not seen["unreadable"]


def test_a_version_that_is_only_asked_for_is_neither_unreadable_nor_pending(world: World) -> None:
    world.request()
    world.put(outcome_yml=b"schema: 1\noutcome: rejected\ndate: '2026-11-20'\n")
    word = b"schema: 1\ndate: '2026-11-20'\nreason: the portal was down\n"
    world.put(2, asked_yml=word)
    seen = whole(world)
    assert (seen["unreadable"], seen["pending"]) == ([], [])
    assert [one["what"] for one in seen["identities"]] == ["key", "name"]


@pytest.mark.parametrize("left", ["nothing", "request.csr", "request.yml"])
def test_what_a_killed_run_left_of_a_request_holds_nobody_up(world: World, left: str) -> None:
    world.request()
    folder = world.kept / NAME / "1"
    for file in folder.iterdir():
        if file.name != left:
            file.unlink()
    seen = whole(world)
    assert not seen["unreadable"]
    assert ("key" in [one["what"] for one in seen["identities"]]) is (left != "nothing")
    assert outcome(world, "DIP-5.5-ENV-UNKNOWN") is Outcome.PASSED


def test_an_empty_directory_of_a_host_holds_nobody_up(world: World) -> None:
    world.request()
    (world.kept / "dip-fleet" / "gw1" / "1").mkdir(parents=True)
    (world.kept / "dip-fleet" / "gw2").mkdir()
    assert not whole(world)["unreadable"]


def test_a_neighbour_counts_as_a_set_once_it_is_filled_in(world: World) -> None:
    folder = beside(world)
    assert whole(world)["environment_classes"] == ["nonprod", "prod"]
    file = folder / "group_vars" / "all" / "certificates.yml"
    file.write_text(file.read_text().replace("b.example", "FILL-IN"))
    assert whole(world)["environment_classes"] == ["nonprod"]
    assert outcome(world, "DIP-5.5-TWO-SETS") is Outcome.FAILED


@pytest.mark.parametrize("text", ["[", "certificates: 3", "certificates: [a, 3]", "- a", "\x00"])
def test_a_neighbour_that_is_no_inventory_is_no_set(world: World, text: str) -> None:
    folder = beside(world)
    (folder / "group_vars" / "all" / "certificates.yml").write_text(text)
    assert whole(world)["environment_classes"] == ["nonprod"]


def test_the_quota_counts_what_is_issued_and_valid_and_what_is_asked_for(world: World) -> None:
    world.organisation["quota"] = 2
    for version in (1, 2, 3):
        world.request(version, key_name=f"key {version}")
    accepted(world, "2026-11-01T00:00:00Z", 1)
    accepted(world, "2027-11-01T00:00:00Z", 2)
    seen = whole(world)["quotas"]
    assert seen == [{"organisation": "example-energy", "quota": 2, **counted(1, 0, 1)}]
    assert outcome(world, "DIP-6.1.2-QUOTA") is Outcome.PASSED
    world.organisation["quota"] = 1
    assert outcome(world, "DIP-6.1.2-QUOTA") is Outcome.FAILED


def test_without_a_recorded_quota_there_is_none_to_exceed(world: World) -> None:
    world.request()
    seen = whole(world)["quotas"]
    assert seen == [{"organisation": "example-energy", "quota": -1, **counted(0, 0, 1)}]
    assert outcome(world, "DIP-6.1.2-QUOTA") is Outcome.PASSED


def test_a_revoked_certificate_goes_on_counting_even_after_its_end(world: World) -> None:
    world.organisation["quota"] = 1
    world.request(1)
    accepted(world, "2026-11-01T00:00:00Z", 1)
    assert whole(world)["quotas"][0] | counted(0, 0, 0) == whole(world)["quotas"][0]
    revoke(world, 1)
    world.request(2, key_name="second")
    assert whole(world)["quotas"][0] | counted(0, 1, 1) == whole(world)["quotas"][0]
    assert outcome(world, "DIP-6.1.2-QUOTA") is Outcome.FAILED


def test_what_an_entry_that_is_gone_was_issued_still_counts(world: World) -> None:
    world.request(1, "dip-gone", organisation="example-energy", key_name="gone")
    world.request(1, "dip-foreign", organisation="somebody-else", key_name="foreign")
    assert whole(world)["quotas"][0] | counted(0, 0, 1) == whole(world)["quotas"][0]


def test_two_open_requests_for_one_certificate_are_one_too_many(world: World) -> None:
    world.request()
    assert outcome(world, "DIP-11-DUPLICATES") is Outcome.PASSED
    world.request(2)
    seen = whole(world)
    assert seen["pending"] == [{"certificate": NAME, "versions": [1, 2]}]
    world.put(1, outcome_yml=b"schema: 1\noutcome: withdrawn\ndate: 2026-11-02T00:00:00Z\n")
    assert outcome(world, "DIP-11-DUPLICATES") is Outcome.PASSED


def test_the_evidence_is_complete_when_every_item_has_a_record(world: World) -> None:
    seen = whole(world)["evidence"]
    assert seen["present"] is False
    assert len(seen["missing"]) == seen["wanted"] > 0
    written = [
        {"id": item, "date": "2026-11-01", "owner": "Olive", "reference": "R"}
        for item in seen["missing"]
    ]
    assert outcome(world, "DIP-2.1-EVIDENCE", evidence={"evidence": written}) is Outcome.PASSED
    assert outcome(world, "DIP-2.1-EVIDENCE", evidence={"evidence": written[1:]}) is Outcome.FAILED
