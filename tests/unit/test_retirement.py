# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before an old version ends, and what is written of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import gather, public_state, report, retirement
from pki.errors import PkiError
from pki.lifecycle import State
from pki.outcomes import Word
from pki.retirement import Case, OnHost, Wish
from unit.controller_world import NAME, World, key_of, spki, whole
from unit.pki_factory import DAY, NOW

OLD, NEW = OnHost({1: ("v1-a",), 2: ("v2-b",)}, 2), OnHost({2: ("v2-b",)}, 2)
TRANSIT = "transit-nonprod-tls"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two accepted versions."""
    made = World(tmp_path)
    made.crls()
    for version in (1, 2):
        made.request(version)
        made.reply(version)
        made.keep(version=version)
    return made


def case(
    world: World,
    *,
    hosts: Mapping[str, OnHost] | None = None,
    served: Mapping[str, str | None] | None = None,
    after: timedelta = DAY,
) -> Case:
    now = NOW + after
    inputs = world.inputs(now)
    (plan,) = gather.plans(inputs, gather.Keys(), {NAME: served or {}})
    return Case(
        certificate=inputs.declared.certificates[NAME],
        policy=inputs.policy_of(NAME),
        plan=plan,
        versions=public_state.scan(world.kept, NAME),
        hosts={"gw1": OLD} if hosts is None else hosts,
        now=now,
    )


def wish(reason: str = "v2 is in service", **changes: Any) -> Wish:
    return Wish(Word(NAME, reason), **changes)


def refused(world: World, wanted: Wish | None = None, **known: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        retirement.decide(case(world, **known), wanted or wish())
    assert caught.value.rule == "RETIRE"
    assert "nothing was" in whole(caught.value).next_step
    return caught.value


def serial(world: World, version: int) -> str:
    record = yaml.safe_load((world.directory(version) / "accepted.yml").read_text())
    return str(record["serial"])


def test_the_versions_before_the_one_in_service_end(world: World) -> None:
    found = retirement.decide(case(world), wish())
    assert found.keep == 2
    assert [(one.files.number, one.key) for one in found.old] == [(1, "withdrawn")]
    assert found.of_hosts() == ["gw1: the releases v1-a are removed with their keys"]
    assert found.by_hand() == []
    assert set(found.records()) == {1}
    assert list(found.records()[1]) == ["revocation.txt", "retired.yml"]  # the record last
    (line,) = found.to_revoke()
    assert f"have serial {serial(world, 1)} revoked as superseded" in line


def test_without_a_reason_it_is_that_another_is_in_service(world: World) -> None:
    record = yaml.safe_load(retirement.decide(case(world), wish("")).records()[1]["retired.yml"])
    assert record["reason"] == "version 2 is in service"


def test_a_host_that_presents_another_certificate_stops_it_whatever_is_said(world: World) -> None:
    served = {"gw1": serial(world, 2), "gw2": serial(world, 1)}
    error = refused(world, wish(early="I know better"), served=served)
    assert error.found == f"gw2 presents serial {serial(world, 1)}"


def test_a_host_that_does_not_answer_stops_it_unless_a_person_says_why_not(world: World) -> None:
    served = {"gw1": serial(world, 2), "gw2": None}
    assert "no answer from gw2" in refused(world, served=served).found
    found = retirement.decide(case(world, served=served), wish(early="gw2 was scrapped"))
    record = yaml.safe_load(found.records()[1]["retired.yml"])
    assert record["early"] == "gw2 was scrapped"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (OnHost(problem="it was not asked in this run"), "gw1: it was not asked in this run"),
        (OnHost({1: ("v1-a",)}, 1), "gw1: version 1"),
    ],
)
def test_what_lies_on_every_host_must_be_known_and_not_be_in_service(
    world: World, told: OnHost, found: str
) -> None:
    assert refused(world, wish(early="now"), hosts={"gw1": told, "gw2": NEW}).found == found


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 501])
def test_a_reason_is_one_line(world: World, reason: str) -> None:
    refused(world, wish(reason))
    refused(world, wish(early=reason))


def test_nothing_is_older_than_the_first(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.crls()
    world.request()
    world.reply()
    world.keep()
    assert "there is no older version" in refused(world).message


def test_a_certificate_that_has_ended_replaces_nothing(world: World) -> None:
    assert "no certificate is in force" in refused(world, after=500 * DAY).message


@pytest.mark.parametrize("days", [0, 29])
def test_what_cannot_be_taken_back_waits_for_the_overlap(world: World, days: int) -> None:
    error = refused(world, wish(destroy=True), after=days * DAY)
    assert "overlap is not over" in error.message
    early = retirement.decide(case(world, after=days * DAY), wish(destroy=True, early="told to"))
    assert [one.key for one in early.old] == ["destroyed"]


def test_after_the_overlap_keys_are_destroyed_without_more_words(world: World) -> None:
    found = retirement.decide(case(world, after=30 * DAY), wish(destroy=True))
    assert [one.key for one in found.old] == ["destroyed"]


def test_a_record_stands_and_only_ever_goes_further(world: World) -> None:
    first = retirement.decide(case(world), wish())
    public_state.write(world.directory(1), first.records()[1])
    assert retirement.decide(case(world, after=2 * DAY), wish("another word")).records() == {}
    gone = retirement.decide(case(world, after=40 * DAY), wish("later", destroy=True))
    ((name, content),) = gone.records()[1].items()
    before, after = yaml.safe_load(first.records()[1]["retired.yml"]), yaml.safe_load(content)
    moved = public_state.iso(NOW + 40 * DAY)
    assert name == "retired.yml"
    assert after == {**before, "key": "destroyed", "destroyed_at": moved}
    public_state.write(world.directory(1), gone.records()[1])
    assert retirement.decide(case(world, after=41 * DAY), wish()).records() == {}
    assert retirement.decide(case(world, after=41 * DAY), wish(destroy=True)).records() == {}


def test_a_rejected_version_ends_too_and_has_nothing_to_revoke(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.crls()
    world.request(1)
    outcome = {"schema": 1, "outcome": "rejected", "date": public_state.iso(NOW)}
    world.put(1, outcome_yml=public_state.dump(outcome))
    world.request(2)
    world.reply(2)
    world.keep(version=2)
    found = retirement.decide(case(world), wish())
    assert list(found.records()[1]) == ["retired.yml"]
    assert found.to_revoke() == []


@pytest.mark.parametrize(
    ("store", "mount", "destroy", "key", "told"),
    [
        ("transit", "transit-nonprod-signing", False, "kept", "an operator deletes that key"),
        ("external", "", True, "kept", "remove the key from the device"),
        ("host", "", True, "kept", "no longer the certificate's"),
    ],
)
def test_a_key_in_another_place_than_the_one_that_stays_is_left_to_a_person(
    tmp_path: Path, store: str, mount: str, destroy: bool, key: str, told: str
) -> None:
    world = World(tmp_path)
    world.crls()
    where = {"store": store, "spki_sha256": spki(key_of(1)), **({"mount": mount} if mount else {})}
    for version, place in ((1, {"key": where}), (2, {})):
        world.request(version, **place)
        world.reply(version)
        world.keep(version=version)
    found = retirement.decide(case(world), wish(destroy=destroy, early="told to"))
    assert [one.key for one in found.old] == [key]
    assert not found.withdraws
    (line,) = found.by_hand()
    assert told in line


def test_a_key_that_a_host_made_is_destroyed_there_or_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.crls()
    for version in (1, 2):
        where = {"store": "host", "spki_sha256": spki(key_of(version))}
        world.request(version, key=where)
        world.reply(version)
        world.keep(version=version)
    known = case(world)
    # As one certificate of an entry with per_host; where its versions lie does not matter here.
    known = replace(known, certificate=replace(known.certificate, store="host", host="gw1"))
    kept = retirement.decide(known, wish())
    assert ([one.key for one in kept.old], kept.on_host) == (["kept"], False)
    assert "destroy=true" in kept.by_hand()[0]
    ends = retirement.decide(known, wish(destroy=True, early="told to"))
    assert ([one.key for one in ends.old], ends.on_host) == (["destroyed"], True)
    assert "gw1: versions of its own key below 2 are destroyed for good" in ends.of_hosts()
    clean = replace(ends, case=replace(known, hosts={"gw1": NEW}))
    for told in (
        {},
        {"gw1": {"problem": "unreachable"}},
        {"gw1": {"problem": "", "keys": []}},
        {"gw1": {"keys": [{"entry": NAME, "error": {"message": "refused"}}]}},
    ):
        with pytest.raises(PkiError, match="hosts still hold"):
            retirement.gone(clean, told)
    retirement.gone(clean, {"gw1": {"problem": "", "keys": [{"entry": NAME}]}})


def test_the_end_is_not_recorded_while_a_host_holds_a_release(world: World) -> None:
    with pytest.raises(PkiError, match="hosts still hold") as caught:
        retirement.gone(retirement.decide(case(world), wish()), {})
    assert caught.value.found == "gw1: v1-a"
    retirement.gone(retirement.decide(case(world, hosts={"gw1": NEW}), wish()), {})


def test_a_revoked_or_ended_certificate_is_not_listed_again(world: World) -> None:
    known = case(world)
    revoked = replace(known, plan=replace(known.plan, versions={1: State.REVOKED}))
    assert retirement.decide(revoked, wish()).to_revoke() == []


@pytest.mark.parametrize(
    "change",
    [
        {"key": "gone"},
        {"version": 2},
        {"superseded_by": 1},
        {"superseded_by": "2"},
        {"reason": ...},
        {"date": "soon"},
        {"note": "by hand"},
        {"schema": 2},
    ],
)
def test_a_record_that_was_written_by_hand_is_read_strictly(
    world: World, change: dict[str, Any]
) -> None:
    record = yaml.safe_load(retirement.decide(case(world), wish()).records()[1]["retired.yml"])
    changed = {name: value for name, value in {**record, **change}.items() if value is not ...}
    world.put(1, retired_yml=public_state.dump(changed))
    with pytest.raises(PkiError) as caught:
        public_state.observed_version(public_state.scan(world.kept, NAME)[0])
    assert caught.value.rule == "STATE-FILE"


@pytest.mark.parametrize(
    ("key", "shown"), [("withdrawn", True), ("kept", True), ("destroyed", False)]
)
def test_the_table_shows_a_retired_version_until_its_key_is_gone(
    world: World, key: str, shown: bool
) -> None:
    record = retirement.decide(case(world), wish()).records()[1]["retired.yml"]
    world.put(1, retired_yml=record.replace(b"withdrawn", key.encode()))
    document = report.status([case(world).plan], NOW)
    assert document["certificates"][0]["retired"] == {"1": key}
    assert document["certificates"][0]["versions"]["1"] == "superseded"
    table = report.table(document)
    assert bool(re.search(rf"{NAME} v1 +retired .* its key is {key}", table)) is shown
    del document["certificates"][0]["retired"]  # as an earlier version wrote it
    assert "retired" not in report.table(document)


def test_what_a_host_told_is_read_for_the_entry_alone() -> None:
    raw = {
        "problem": "",
        "releases": [
            {"certificate": "other", "release": "v9-x", "version": 9, "in_service": True},
            {"certificate": NAME, "release": "v1-a", "version": 1, "in_service": False},
            {"certificate": NAME, "release": "v1-b", "version": 1, "in_service": True},
        ],
    }
    assert retirement.told(raw, NAME) == OnHost({1: ("v1-a", "v1-b")}, 1)


def test_an_entry_of_several_hosts_stands_for_each_of_its_certificates(world: World) -> None:
    declared = world.inputs().declared.certificates[NAME]
    both = [replace(declared, name=f"{NAME}/{host}") for host in ("gw1", "gw2")]
    found = retirement.expanded([wish(destroy=True)], {NAME: both})
    assert [one.word.certificate for one in found] == [f"{NAME}/gw1", f"{NAME}/gw2"]
    assert all(one.destroy for one in found)
