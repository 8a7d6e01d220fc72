# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole inventory is judged before anything new is asked for; each finding has its effect."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pki import gather, parties, party_view
from pki.checking import Status
from pki.errors import PkiError
from pki.facts import rosters
from pki.lifecycle import Reason
from pki.parties import Need, Quota
from unit import clean_inventory, inventory_on_disk
from unit.clean_inventory import POLICIES
from unit.controller_world import NAME, OTHER, World, certificate_entry
from unit.pki_factory import NOW
from unit.twin import EXAMPLES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return clean_inventory.world(tmp_path)


def reviewed(world: World) -> parties.Review:
    return parties.review(world.inputs())


def planned(world: World, review: parties.Review) -> dict[str, Any]:
    keys = gather.Keys()
    plans = gather.plans(world.inputs(), keys, {}, held=review.holds)
    return {plan.name: plan for plan in plans}


def unvetted(world: World) -> None:
    del world.organisation["vetted"]


def without_owner(world: World) -> None:
    del world.certificates[0]["owner"]


def mailbox(world: World) -> None:
    for person in world.organisation["roster"][:2]:
        person["email"] = "certificates@example.com"


def nobody_permanent(world: World) -> None:
    del world.organisation["roster"][0]["permanent"]


def unreadable(world: World) -> None:
    world.put(1, "dip-gone", request_yml=b"[")


#: What is amiss, by the rule that says so; whose certificates it is about.
HOLDING = {
    "DIP-5.2-VETTED": (unvetted, {NAME, OTHER}),
    "DIP-5.6.2-RESPONSIBLE": (without_owner, {NAME}),
    "DIP-5.2-FIRST-ADMIN": (nobody_permanent, {NAME, OTHER}),
    "DIP-11-OWN-ID": (mailbox, {NAME, OTHER}),
    "DIP-5.5-ENV-UNKNOWN": (unreadable, {NAME, OTHER}),
}


def test_an_inventory_in_order_has_nothing_that_refuses_or_holds(world: World) -> None:
    review = reviewed(world)
    assert (review.findings, review.refusals, dict(review.holds)) == ([], [], {})
    assert review.status is Status.CLEAN


@pytest.mark.parametrize("rule", HOLDING)
def test_a_rule_that_holds_is_about_the_certificates_of_its_object(world: World, rule: str) -> None:
    world.certificates.append(certificate_entry(OTHER, owner=clean_inventory.owner()))
    amiss, about = HOLDING[rule]
    amiss(world)
    review = reviewed(world)
    assert {
        name for name, holds in review.holds.items() if rule in {h.rule for h in holds}
    } == about
    assert review.refusals == []
    assert any(line.startswith(f"held: {rule}, ") for line in review.findings)
    assert review.status is Status.FINDINGS


def test_what_holds_takes_away_the_new_request_and_says_what_settles_it(world: World) -> None:
    shutil.rmtree(world.kept)
    unvetted(world)
    plan = planned(world, reviewed(world))[NAME]
    assert plan.reason is Reason.HELD_BY_RULE
    assert plan.actions == ()
    assert "DIP-5.2-VETTED" in plan.message
    assert "`vetted`" in plan.next_action


def test_an_open_request_is_not_affected(world: World) -> None:
    unvetted(world)
    before = planned(world, reviewed(clean_inventory.world(world.base / "clean")))[NAME]
    after = planned(world, reviewed(world))[NAME]
    assert after == before


def test_a_rule_that_is_waived_holds_nothing_until_the_waiver_ends(world: World) -> None:
    unvetted(world)
    waived = (*clean_inventory.WAIVED, ("DIP-5.2-VETTED", NAME))
    clean_inventory.write_waivers(world, *waived)
    assert dict(reviewed(world).holds) == {}
    clean_inventory.write_waivers(world, *waived, expires=NOW.date().isoformat())
    review = reviewed(world)
    assert {hold.rule for hold in review.holds[NAME]} == {"DIP-5.2-VETTED"}
    assert any("has expired" in line for line in review.findings)


def test_a_waiver_for_what_is_not_judged_here_is_no_finding(world: World) -> None:
    clean_inventory.write_waivers(world, *clean_inventory.WAIVED, ("DIP-6.2-CA-4096", f"{NAME} v1"))
    assert reviewed(world).findings == []


def test_an_overlay_can_make_a_recommendation_hold(world: World) -> None:
    overlay = world.base / "policy" / "mhhs-dip.yml"
    overlay.parent.mkdir()
    overlay.write_text("effects: {DIP-5.4.2.1-COVER: hold}\n")
    world.organisation["roster"][1]["left"] = "2026-01-01"
    inventory_on_disk.write(world)
    inputs = party_view.check_run.scene(world.base, POLICIES, NOW).inputs
    review = parties.review(inputs)
    assert {hold.rule for hold in review.holds[NAME]} == {"DIP-5.4.2.1-COVER"}


def test_a_key_of_the_other_class_refuses_the_run_with_files_and_next_step(world: World) -> None:
    beside = world.base.parent / "prod"
    shutil.copytree(world.base, beside)
    record = beside / "certificates" / NAME / "1" / "request.yml"
    record.write_text(record.read_text().replace("environment: nonprod", "environment: prod"))
    (error,) = [one for one in reviewed(world).refusals if one.rule == "DIP-5.5-NO-ENV-REUSE"]
    assert f"prod/{NAME} v1" in error.found
    assert error.where.endswith("group_vars/all/certificates.yml:3")
    assert "waive" in error.next_step
    assert reviewed(world).findings[0].startswith("refused: DIP-5.5-NO-ENV-REUSE, ")


def test_what_cannot_be_judged_holds_everything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rosters, "_facts", broken)
    review = reviewed(world)
    assert {hold.rule for hold in review.holds[NAME]} == {"FACTS-COLLECTOR"}
    assert review.findings[0].startswith("held: FACTS-COLLECTOR: ")
    assert review.status is Status.FAULT


def test_waivers_that_cannot_be_read_are_refused(world: World) -> None:
    (world.base / "waivers.yml").write_text("waivers: [")
    with pytest.raises(PkiError) as caught:
        reviewed(world)
    assert caught.value.rule == "POLICY-FILE"


def test_quotas_are_counted_for_each_organisation_that_holds_certificates(world: World) -> None:
    (quota,) = reviewed(world).quotas
    assert quota == Quota("example-energy", None, issued=0, revoked=0, pending=1)
    assert quota.left is None
    world.organisation["quota"] = 0
    review = reviewed(world)
    assert review.quotas[0].left == -1
    assert [line.split(",")[0] for line in review.findings] == ["information: DIP-6.1.2-QUOTA"]
    assert review.status is Status.CLEAN  # a quota is the portal's to refuse


DCP, OWN, NOTHING = "DIP Connection Provider", "Market Participant (active)", ()
NON_ACTIVE = "Market Participant (non-active)"
#: Table 3 for each worked inventory: organisation, party, purpose, who signs, entries.
NEEDS = {
    "active-one-certificate": [
        ("amber-supply", OWN, "mtls", "", ("dip-nonprod",)),
        ("amber-supply", OWN, "signing", "", ("dip-nonprod",)),
    ],
    "active-two-certificates": [
        ("amber-supply", OWN, "mtls", "", ("tls-nonprod",)),
        ("amber-supply", OWN, "signing", "", ("signing-nonprod",)),
    ],
    "one-provider": [
        ("birch-energy", NON_ACTIVE, "signing", "xenon-connect", ("signing-nonprod",)),
        ("xenon-connect", DCP, "mtls", "", NOTHING),
    ],
    "two-providers": [
        ("cedar-power", NON_ACTIVE, "signing", "xenon-connect", ("signing-xenon-nonprod",)),
        ("cedar-power", NON_ACTIVE, "signing", "yarrow-gateways", ("signing-yarrow-nonprod",)),
        ("xenon-connect", DCP, "mtls", "", NOTHING),
        ("yarrow-gateways", DCP, "mtls", "", NOTHING),
    ],
    "connection-provider": [
        ("xenon-connect", DCP, "mtls", "", ("tls-nonprod",)),
        ("birch-energy", NON_ACTIVE, "signing", "xenon-connect", ("birch-signing-nonprod",)),
        ("cedar-power", NON_ACTIVE, "signing", "xenon-connect", ("cedar-signing-nonprod",)),
    ],
}


@pytest.mark.parametrize("example", NEEDS)
def test_table_3_is_told_for_every_organisation(example: str) -> None:
    inputs = party_view.check_run.scene(EXAMPLES / example / "nonprod", POLICIES, NOW).inputs
    assert list(parties.review(inputs).needs) == [
        Need(organisation, party, "nonprod", purpose, provider, entries)
        for organisation, party, purpose, provider, entries in NEEDS[example]
    ]


def test_the_program_prints_needs_quotas_and_findings_and_ends_as_a_check(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> int:
        return party_view.main(["--inventory", str(world.base), *more], NOW)

    assert run() == 0
    told = capsys.readouterr().out
    assert "needs" in told
    assert "example-energy  -      0       0        1          -" in told
    assert told.endswith("nothing was found\n")
    del world.organisation["vetted"]
    world.organisation["quota"] = 0
    inventory_on_disk.write(world)
    assert run() == 1
    assert "held: DIP-5.2-VETTED" in capsys.readouterr().out
    clean_inventory.write_waivers(world, *clean_inventory.WAIVED, ("DIP-5.2-VETTED", NAME))
    assert run() == 0
    assert run("--level", "information") == 1
    (world.base / "group_vars" / "all" / "trust.yml").unlink()
    assert run() == 2
    assert "INVENTORY-FILE" in capsys.readouterr().out
