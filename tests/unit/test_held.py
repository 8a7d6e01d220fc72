# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a host gets while the plan holds the newest one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pki import held

NAME = "dip-nonprod/gw1"
WHY, UNTIL = "it is outside its deployment windows", "2026-11-10T22:00:00Z"
HELD = {"held_why": WHY, "held_until": UNTIL}
EARLY = {"early_why": "deployments are frozen; deployed all the same: incident 42"}


def bundle(version: int) -> dict[str, Any]:
    return {"certificate": "dip-nonprod", "version": version, "id": f"v{version}-{'0' * 16}"}


def target(version: int) -> str:
    return f"releases/v{version}-{'0' * 16}"


OLDER = (bundle(1), bundle(2))
REFUSED = {2: "certificate v2 was revoked"}
CASES = {
    "what may be deployed is": ({}, target(2), OLDER, {}, 3, "", ""),
    "nothing in service waits for nothing": (HELD, "", OLDER, {}, 3, "", ""),
    "what is in service already is healed": (HELD, target(3), OLDER, {}, 3, "", ""),
    "the one before stays in service": (HELD, target(2), OLDER, {}, 2, WHY, ""),
    "whichever is in service stays, if it is good": (HELD, target(1), OLDER, {}, 1, WHY, ""),
    "one that was refused does not": (HELD, target(2), OLDER[:1], REFUSED, 3, "", "was revoked"),
    "one that nobody knows does not": (HELD, "releases/v9-x", OLDER, {}, 3, "", "none of the"),
    "a link to somewhere does not": (HELD, "/tmp", OLDER, {}, 3, "", "none of the accepted"),
    "early beside another is told": (EARLY, target(2), OLDER, {}, 3, "", "incident 42"),
    "early on an empty host is nothing special": (EARLY, "", OLDER, {}, 3, "", ""),
    "early and there already is nothing special": (EARLY, target(3), OLDER, {}, 3, "", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name: str) -> None:
    action, current, older, refused, version, waits, early = CASES[name]
    found = held.choose({"certificate": NAME, **action}, bundle(3), older, current, refused)
    assert (found.certificate, found.version) == (NAME, 3)
    assert found.bundle["version"] == version
    assert found.waits == waits
    assert early in found.early
    assert bool(found.early) == bool(early)


HOLD = {"release": bundle(2)["id"], "by": "Ada", "reason": "no", "since": "2026-11-22T02:10:00Z"}
WORD = "rolled back by Ada on 2026-11-22T02:10:00Z and not released: no"


@pytest.mark.parametrize("action", [{}, HELD, EARLY], ids=["open", "window", "early"])
@pytest.mark.parametrize("current", ["", target(3), target(2), target(1)])
def test_what_a_person_holds_stays_whatever_window_is_open_and_whatever_is_in_service(
    action: dict[str, Any], current: str
) -> None:
    found = held.choose({"certificate": NAME, **action}, bundle(3), OLDER, current, {}, HOLD)
    assert (found.bundle["version"], found.waits, found.early, found.void) == (2, WORD, "", "")
    assert found.as_held()["text"] == f"{NAME} v3 waits: {WORD}; v2 stays in service"


def test_a_hold_on_the_newest_waits_for_nothing() -> None:
    hold = {**HOLD, "release": bundle(3)["id"]}
    found = held.choose({"certificate": NAME}, bundle(3), OLDER, target(2), {}, hold)
    assert (found.bundle["version"], found.waits, found.void) == (3, "", "")


def test_a_hold_on_what_is_not_good_any_more_is_void_and_the_newest_comes() -> None:
    found = held.choose({"certificate": NAME}, bundle(3), OLDER[:1], target(2), REFUSED, HOLD)
    assert (found.bundle["version"], found.waits) == (3, "")
    assert found.void == f"v2 was held ({WORD}), but is not good any more: {REFUSED[2]}"
    assert "THE HOLD IS VOID, v3 goes into service" in found.as_void()["text"]
    nobody = held.choose({"certificate": NAME}, bundle(3), OLDER[:1], target(2), {}, HOLD)
    assert "none of the accepted ones" in nobody.void


actions = st.sampled_from([{}, HELD, EARLY, {"held_why": WHY, "held_until": None}])
links = st.sampled_from(["", *map(target, (1, 2, 3, 9)), "elsewhere"])


@given(actions, st.sets(st.sampled_from([1, 2])), links)
def test_a_host_gets_a_release_that_was_accepted_now_and_never_an_older_one_than_it_has(
    action: dict[str, Any], good: set[int], current: str
) -> None:
    older = [bundle(version) for version in sorted(good)]
    found = held.choose({"certificate": NAME, **action}, bundle(3), older, current, {})
    assert found.bundle in [*older, bundle(3)]
    if found.bundle != bundle(3):
        assert target(found.bundle["version"]) == current
        assert found.waits
    assert not (found.waits and found.early)


def test_what_waits_and_what_does_not_is_told_in_a_sentence() -> None:
    waits = held.choose({"certificate": NAME, **HELD}, bundle(3), OLDER, target(2), {})
    assert waits.as_held() == {
        "certificate": NAME,
        "version": 3,
        "in_service": 2,
        "why": WHY,
        "until": UNTIL,
        "text": f"{NAME} v3 waits until {UNTIL}: {WHY}; v2 stays in service",
    }
    for_ever = held.choose(
        {"certificate": NAME, "held_why": WHY, "held_until": None},
        bundle(3),
        OLDER,
        target(2),
        {},
    )
    assert for_ever.as_held()["until"] is None
    assert for_ever.as_held()["text"] == f"{NAME} v3 waits: {WHY}; v2 stays in service"
    early = held.choose({"certificate": NAME, **EARLY}, bundle(3), OLDER, target(2), {})
    assert early.as_early("certificates/x/3")["text"] == (
        f"{NAME} v3 does not wait: {EARLY['early_why']}; commit certificates/x/3"
    )


def test_the_record_of_an_early_deployment_says_which_when_and_why() -> None:
    early = held.choose({"certificate": NAME, **EARLY}, bundle(3), OLDER, target(2), {})
    now = datetime(2026, 11, 6, 12, 0, tzinfo=UTC)
    assert yaml.safe_load(early.record(now)) == {
        "schema": 1,
        "certificate": NAME,
        "version": 3,
        "date": "2026-11-06T12:00:00Z",
        "reason": EARLY["early_why"],
    }
