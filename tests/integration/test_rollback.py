# SPDX-License-Identifier: GPL-3.0-or-later
"""Two in the morning: an older release comes back, stays, and is let go, on a real gateway.

No key server and no CA answers in any of these runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from integration.canary import Scanner
from integration.rollback_world import NAME, PROJECT, REASON, RollbackWorld
from pki import trail_file
from unit import controller_world
from unit.pki_factory import DAY

pytestmark = pytest.mark.integration

PLAYBOOK = str(PROJECT / "playbooks/rollback.yml")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollbackWorld]:
    world = RollbackWorld(tmp_path_factory.mktemp("rollback"))
    try:
        world.issue(1)
        assert world.night(1).code == 0
        world.issue(2)
        yield world
    finally:
        world.stop()


@pytest.fixture
def world(shared: RollbackWorld) -> RollbackWorld:
    """Version 2 in service, version 1 kept, nothing held, every CRL good."""
    held = shared.tls() / NAME / "held.json"
    clean = not held.exists() and not shared.revoked
    clean = clean and (shared.inventory / ".crl-cache").exists()
    held.unlink(missing_ok=True)
    (shared.tls() / "compromised.json").unlink(missing_ok=True)
    if not clean:
        shared.revoke()
    if not clean or shared.current() != shared.release(2):
        ran = shared.night(1, 2)
        assert ran.code == 0, ran.output
        assert shared.current() == shared.release(2), ran.output
    return shared


def events(world: RollbackWorld) -> list[dict[str, Any]]:
    trail = trail_file.read(world.inventory / ".trail")
    assert trail is not None
    return [dict(line) for line in trail.lines]


def watch(world: RollbackWorld) -> Scanner:
    """Whoever finds the keys of this host in a text."""
    scanner = Scanner()
    for version in (1, 2):
        path = world.tls() / NAME / "releases" / world.release(version) / "key.pem"
        scanner.add_key(f"v{version}", path.read_text())
    return scanner


def test_one_command_goes_back_and_nobody_who_asks_meanwhile_is_lost(world: RollbackWorld) -> None:
    scanner = watch(world)
    checked = world.rollback("-vvvv", "--check", "--diff", reason=REASON)
    assert (checked.code, checked.changed()) == (0, 2), checked.output
    assert "would go back" in checked.words
    assert '+ "release": "v1-' in checked.words
    assert world.held() is None
    assert world.current() == world.release(2)

    before = len(events(world)) if (world.inventory / ".trail").exists() else 0
    with world.asking() as seen:
        ran = world.rollback("-vvvv", "--diff", reason=REASON, by="Ada Admin")
    assert ran.code == 0, ran.output
    assert scanner.scan_text(checked.output + ran.output) == ()
    assert world.served() == world.digest(1)
    assert {*seen} == {world.digest(1), world.digest(2)}, "a connection was lost"
    hold = world.held()
    assert hold is not None
    assert (hold["release"], hold["by"], hold["reason"]) == (world.release(1), "Ada Admin", REASON)
    told = [one for one in events(world)[before:] if one["certificate"] == NAME]
    assert [one["event"] for one in told] == [
        "release held for a rollback",
        "release put into service by gateway dip-gw1",
        "rolled back",
    ]
    assert (told[-1]["by"], told[-1]["host"], told[-1]["version"]) == ("Ada Admin", "gw1", 1)
    assert told[-1]["reason"] == f"from {world.release(2)}: {REASON}"

    # The same words again change nothing, and do not go back further.
    again = world.rollback(reason=REASON)
    assert (again.code, again.changed()) == (0, 0), again.output
    assert "already" in again.words

    # The nightly run keeps it, and says so without failing.
    night = world.night(1, 2)
    assert (night.code, night.changed()) == (0, 0), night.output
    assert world.current() == world.release(1)

    released = world.rollback(rollback_state="released")
    assert (released.code, released.changed()) == (0, 1), released.output
    assert "site.yml" in released.words
    assert world.held() is None
    assert world.served() == world.digest(1)
    assert events(world)[-1]["event"] == "hold released"
    assert world.night(1, 2).code == 0
    assert world.served() == world.digest(2)


def test_a_ca_that_the_host_has_no_crl_of_stands_in_nobodys_way(world: RollbackWorld) -> None:
    """Pinned since the last night, or retired and taken off: the host's CRLs come at night only."""
    bundle = world.base / "hosts/gw1/gateway/dip-gw1/trust/dca.pem"
    before = bundle.read_text()
    path = world.inventory / "group_vars/all/trust.yml"
    declared = path.read_text()
    newer = world.root.authority("Rollback Issuing 2", end=world.now + 900 * DAY)
    (world.inventory / "trust/newer.pem").write_bytes(newer.pem)
    trust = yaml.safe_load(declared)
    entry = {**trust["trust"]["dca"]["issuers"][0], "sha256": newer.sha256}
    trust["trust"]["dca"]["issuers"].append({**entry, "file": "trust/newer.pem"})
    path.write_text(yaml.safe_dump(trust))
    try:
        ran = world.rollback(reason=REASON)
        assert ran.code == 0, ran.output
        assert world.served() == world.digest(1)
        assert bundle.read_text() == before
    finally:
        path.write_text(declared)


def test_without_a_reason_it_lists_and_without_a_host_it_changes_none(
    world: RollbackWorld,
) -> None:
    listed = world.rollback(limit="")
    assert (listed.code, listed.changed()) == (0, 0), listed.output
    assert f"-e certificate={NAME} -l gw1 -e release=v1" in listed.words
    everywhere = world.rollback(limit="", reason=REASON)
    assert everywhere.code != 0
    assert "on which host?" in everywhere.words
    assert world.current() == world.release(2)
    assert world.held() is None


def test_a_revoked_one_is_refused_and_a_hold_on_it_is_void_and_said_loudly(
    world: RollbackWorld,
) -> None:
    assert world.rollback(reason=REASON).code == 0
    world.revoke(1)
    night = world.night(1, 2)
    assert night.code == 0, night.output
    assert "THE HOLD IS VOID" in night.words
    assert "is revoked" in night.words
    assert world.served() == world.digest(2)
    assert world.held() is None
    refused = world.rollback(reason=REASON)
    assert refused.code != 0
    assert "ROLLBACK" in refused.words
    assert "is revoked" in refused.words
    assert world.served() == world.digest(2)
    assert world.held() is None


def test_a_key_that_comes_to_the_hosts_own_list_voids_the_hold_on_it(
    world: RollbackWorld,
) -> None:
    assert world.rollback(reason=REASON).code == 0
    digest = controller_world.spki(controller_world.key_of(1))
    listed = {"certificate": NAME, "since": "2026-11-22T02:10:00Z"}
    content = {"schema": 1, "keys": {digest: listed}}
    (world.tls() / "compromised.json").write_text(json.dumps(content))
    night = world.night(2)
    assert night.code == 0, night.output
    assert "THE HOLD IS VOID" in night.words
    assert world.served() == world.digest(2)


def test_crls_that_nobody_can_fetch_any_more_are_not_needed_while_the_hosts_are_fresh(
    world: RollbackWorld,
) -> None:
    shutil.rmtree(world.inventory / ".crl-cache")
    ran = world.rollback(reason=REASON)
    assert ran.code == 0, ran.output
    assert world.served() == world.digest(1)


def test_a_switch_that_fails_takes_the_hold_away_and_leaves_what_was_served(
    world: RollbackWorld,
) -> None:
    release = world.tls() / NAME / "releases" / world.release(1)
    chain = release / "fullchain.pem"
    whole = chain.read_bytes()
    # What the judgement looks at is good, and what the gateway loads is not.
    chain.write_bytes(
        whole.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\nx", 1)[:-40]
    )
    try:
        ran = world.rollback("-vvvv", "--diff", reason=REASON)
    finally:
        chain.write_bytes(whole)
    assert ran.code != 0, ran.output
    assert watch(world).scan_text(ran.output) == ()
    assert "not rolled back" in ran.words
    assert world.held() is None
    assert world.current() == world.release(2)
    assert world.served() == world.digest(2)
    assert events(world)[-1]["event"] == "hold taken away, as the rollback failed"


def killed_when(world: RollbackWorld, happened: Any) -> None:
    """Start a rollback, and kill it with everything it started as soon as this has happened."""
    words = json.dumps({"reason": REASON})
    process = subprocess.Popen(
        world.command(PLAYBOOK, "-l", "gw1", "-e", words),
        env=world.environment(),
        cwd=world.base,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_rollback_that_is_killed_after_its_hold_is_completed_by_the_nightly_run(
    world: RollbackWorld,
) -> None:
    killed_when(world, lambda: world.held() is not None)
    assert world.served() in (world.digest(1), world.digest(2))
    ran = world.night(1, 2)
    assert ran.code == 0, ran.output
    assert world.served() == world.digest(1)
    assert world.current() == world.release(1)
    assert (world.held() or {})["release"] == world.release(1)
