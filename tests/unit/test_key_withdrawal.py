# SPDX-License-Identifier: GPL-3.0-or-later
"""A store ends versions from below, so not every compromised one can be ended at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pki import key_withdrawal, public_state
from pki.key_withdrawal import Withdrawal
from unit.controller_world import NAME, World, key_of, spki

TLS = "transit-nonprod-tls"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three requests with a key each."""
    made = World(tmp_path)
    for version in (1, 2, 3):
        made.request(version)
    return made


def decide(
    world: World,
    number: int,
    *,
    bad: tuple[int, ...] = (),
    force: tuple[int, ...] = (),
    soon: int = 0,
) -> Withdrawal:
    certificate = world.inputs().declared.certificates[NAME]
    compromised = {spki(key_of(one)): "a ledger" for one in (number, *bad)}
    versions = public_state.scan(world.kept, NAME)
    return key_withdrawal.decide(certificate, versions, number, compromised, list(force), soon)


def kept_by(world: World, number: int, store: str) -> None:
    key: dict[str, Any] = {"store": store, "spki_sha256": spki(key_of(number))}
    world.request(number, key=key)


@pytest.mark.parametrize(
    ("number", "bad", "force", "keep"),
    [
        (1, (), (), 2),
        (2, (), (), 3),
        (1, (2,), (), 3),  # the next one is compromised, too
        (2, (), (3,), 3),
        (2, (1,), (1,), 3),  # what is compromised is not kept for being in force
    ],
)
def test_the_next_good_version_stays(
    world: World, number: int, bad: tuple[int, ...], force: tuple[int, ...], keep: int
) -> None:
    found = decide(world, number, bad=bad, force=force)
    assert (found.place.mount, found.keep, found.by_hand) == (TLS, keep, "")


def test_without_a_newer_one_it_waits(world: World) -> None:
    found = decide(world, 3)
    assert (found.keep, "no newer version" in found.by_hand) == (0, True)
    assert decide(world, 3, soon=4).keep == 4


def test_one_that_is_in_force_below_is_not_ended_with_it(world: World) -> None:
    found = decide(world, 2, force=(1,))
    assert (found.keep, "without v1, in force below v3" in found.by_hand) == (0, True)


def test_a_host_removes_its_own_and_a_device_is_its_users(world: World) -> None:
    kept_by(world, 1, "host")
    assert (decide(world, 1).keep, decide(world, 1).by_hand) == (0, "")
    kept_by(world, 1, "external")
    assert "device" in decide(world, 1).by_hand


def test_a_newer_key_in_another_place_ends_nothing(world: World) -> None:
    for number in (2, 3):
        kept_by(world, number, "host")
    assert "no newer version" in decide(world, 1).by_hand
