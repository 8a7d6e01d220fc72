# SPDX-License-Identifier: GPL-3.0-or-later
"""A prepared revocation as facts: a finding until people did what they have to, and then none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import public_state
from pki.documents import Validators
from pki.facts import revocation_requests
from pki.facts.scene import Scene
from pki.policy import Outcome
from pki.policy_files import load_fact_schemas
from unit.controller_world import NAME, OTHER, REPOSITORY, World, certificate_entry, policies
from unit.pki_factory import DAY, NOW
from unit.revoke_world import accepted, decided, moment, said, saved

VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))
START = moment(timedelta())
MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, certificates=[certificate_entry(), certificate_entry(OTHER)])
    made.crls()
    accepted(made, 1)
    return accepted(made, 1, name=OTHER)


def seen(world: World, after: timedelta = DAY) -> dict[str, dict[str, Any]]:
    """The documents of every object; each is declared and fits its schema."""
    scene = Scene(inputs=world.inputs(NOW + after), scope="offline", name="nonprod")
    found = revocation_requests.collect(scene)
    assert [one.key for one in found.documents] == [one.key for one in found.declarations]
    assert not [VALIDATORS.fault(one.kind, one.facts) for one in found.documents if
                VALIDATORS.fault(one.kind, one.facts)]  # fmt: skip
    return {one.object: dict(one.facts) for one in found.documents}


def failing(facts: Mapping[str, Any]) -> list[str]:
    findings = policies()["mhhs-dip"].judge(revocation_requests.KIND, facts)
    return [one.rule for one in findings if one.outcome is Outcome.FAILED]


def prepare(world: World, *steps: Mapping[str, Any], **word: Any) -> None:
    first = said(noticed=START, **word)
    saved(decided(world, first))
    for step in steps:
        target = {name: first[name] for name in ("certificate", "organisation", "host")
                  if name in first}  # fmt: skip
        saved(decided(world, {**target, "cause": first["cause"], **step}))


def test_without_a_record_there_is_nothing_to_judge(world: World) -> None:
    assert seen(world) == {}


def test_a_fresh_compromise_is_a_finding_until_everything_is_recorded(world: World) -> None:
    prepare(world)
    (facts,) = seen(world).values()
    assert facts["minutes_to_request"] == facts["incident"]["minutes"] == -1
    assert facts["incident"]["names_serial"]
    assert facts["key_in_service"]
    assert failing(facts) == [
        "DIP-3.5.2.1-REVOKE-COMPROMISE", "DIP-3.6.1-INCIDENT", "DIP-5.6.2-INFORM",
    ]  # fmt: skip
    soon = moment(60 * MINUTE)
    steps = {"submitted": soon, "authority": soon, "out_of_service": soon}
    saved(decided(world, {"certificate": NAME, **steps, "incident": "I", "raised": soon}))
    (facts,) = seen(world).values()
    assert facts["minutes_to_request"] == facts["authority"]["minutes"] == 60
    assert not facts["key_in_service"]
    assert failing(facts) == []


def test_what_was_done_too_late_stays_a_finding(world: World) -> None:
    prepare(world)
    late = moment(61 * MINUTE)
    steps = {"submitted": late, "authority": late, "out_of_service": late}
    saved(decided(world, {"certificate": NAME, **steps, "incident": "I", "raised": late}))
    (facts,) = seen(world).values()
    assert failing(facts) == ["DIP-3.5.2.1-REVOKE-COMPROMISE", "DIP-5.6.2-INFORM"]


def test_a_letter_without_the_serial_is_no_incident(world: World) -> None:
    prepare(world)
    public_state.write(world.directory(1), {"incident.txt": b"We were robbed."})
    (facts,) = seen(world).values()
    assert not facts["incident"]["names_serial"]


def test_off_boarding_is_a_finding_until_every_certificate_is_asked_for(world: World) -> None:
    word = {"cause": "ineligible", "organisation": "example-energy", "by": "Dora",
            "by_role": "dip_manager"}  # fmt: skip
    prepare(world, **word)
    facts = seen(world)
    assert facts[f"{NAME} v1"]["organisation_left"] == [f"{OTHER} v1"]
    assert failing(facts[f"{NAME} v1"]) == ["DIP-3.5.2.1-REVOKE-INELIGIBLE"]
    prepare(world, {"submitted": "now"}, **word)
    assert [failing(one) for one in seen(world).values()] == [[], []]


def test_a_medium_is_a_finding_until_every_key_on_it_is_asked_for(world: World) -> None:
    prepare(world, cause="media_compromise", host="gw1")
    one = seen(world)[f"{NAME} v1"]
    assert one["same_medium_left"] == [f"{OTHER} v1"]
    assert "DIP-3.5.2.2-MEDIA" in failing(one)
    prepare(world, {"submitted": "now"}, cause="media_compromise", host="gw1")
    assert "DIP-3.5.2.2-MEDIA" not in failing(seen(world)[f"{NAME} v1"])


@pytest.mark.parametrize("cause", ["inaccurate", "leaver", "superseded"])
def test_other_causes_are_right_as_they_are_prepared(world: World, cause: str) -> None:
    accepted(world, 2)
    prepare(world, cause=cause, version=1)
    (facts,) = seen(world).values()
    assert failing(facts) == []


def test_what_has_ended_is_nobodys_finding_any_more(world: World) -> None:
    prepare(world)
    assert seen(world, 500 * DAY) == {}


def test_a_person_who_saw_it_in_the_portal_is_earlier_than_the_crl(world: World) -> None:
    prepare(world, {"revoked": "now"})
    files, *_ = public_state.scan(world.kept, NAME)
    version = public_state.observed_version(files)
    assert version.accepted is not None
    assert version.accepted.revoked_at == NOW + DAY
    assert version.revocation is not None
    assert version.revocation.revoked == NOW + DAY
