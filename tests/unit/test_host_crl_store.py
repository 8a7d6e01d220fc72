# SPDX-License-Identifier: GPL-3.0-or-later
"""CRL sets on a host: what the controller brings beside what the host has, and who says how old."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pki_host import crl_merge, crl_store, crl_watch, in_service, observe_files
from pki_host.crl_merge import Merged
from pki_host.crl_store import Clock, Held, Store
from pki_host.errors import HostError
from unit import refreshed_host
from unit.broken_crl_server import OLD, REVOKED, BrokenCrlServer
from unit.refreshed_host import TRUST, RefreshedHost, bundle

JUNK = "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n"


@pytest.fixture(scope="module")
def server() -> Iterator[BrokenCrlServer]:
    with BrokenCrlServer(refreshed_host.material()).running() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, server: BrokenCrlServer) -> RefreshedHost:
    return refreshed_host.host(tmp_path, server)


def merge(world: RefreshedHost, *sets: dict[str, Any], check: bool = False) -> Merged:
    (found,) = crl_merge.merge(world.root, crl_watch.load(world.root), sets, check=check)
    return found


def switch(world: RefreshedHost, merged: Merged) -> None:
    """What the gateways' transaction does."""
    link = world.place / "current"
    link.unlink(missing_ok=True)
    link.symlink_to(f"sets/{merged.id}")


def content(world: RefreshedHost, *names: str) -> list[bytes]:
    return [world.server.content(name) for name in names]


def everything(root: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


# -- what the controller brings ------------------------------------------------------------


def test_a_set_is_named_by_its_content_and_staged_once(world: RefreshedHost) -> None:
    brought = bundle(*content(world, "old", "wrong_issuer"))
    first = merge(world, brought)
    assert (first.problem, first.remarks) == ("not on this host", ())
    assert first.id == brought["sha256"][:16]
    assert Path(first.file).read_text() == brought["pem"]
    result = first.as_result()
    assert result["link"] == {"path": f"{world.root}/{TRUST}/current", "target": f"sets/{first.id}"}
    assert result["next_update"] == crl_store.iso(world.material.now.timestamp() + 23 * 3600)
    before = everything(world.root)
    assert merge(world, brought).problem == ""
    assert everything(world.root) == before


def test_check_mode_says_the_same_and_writes_nothing(world: RefreshedHost) -> None:
    brought = bundle(*content(world, "old", "wrong_issuer"))
    before = everything(world.root)
    said = merge(world, brought, check=True)
    assert everything(world.root) == before
    assert said == merge(world, brought)


def test_a_changed_crl_file_is_noticed_and_put_right_in_place(world: RefreshedHost) -> None:
    brought = bundle(*content(world, "old", "wrong_issuer"))
    path = Path(merge(world, brought).file)
    path.chmod(0o600)
    assert merge(world, brought).problem == "mode 0600, not 0644"
    path.write_text("stale")
    assert merge(world, brought).problem == "changed on this host"
    assert path.read_text() == brought["pem"]
    assert merge(world, brought).problem == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"pem": "", "sha256": hashlib.sha256(b"").hexdigest()},
        {"sha256": "0" * 64},
        {"trust": "../dip"},
    ],
)
def test_a_set_that_is_empty_or_not_the_stated_one_is_refused(
    world: RefreshedHost, changes: dict[str, Any]
) -> None:
    raw = {"trust": TRUST, "pem": JUNK, "sha256": hashlib.sha256(JUNK.encode()).hexdigest()}
    with pytest.raises(HostError, match="not usable"):
        merge(world, {**raw, **changes})


NOT_TAKEN = ["bad_signature", "expired", "future", "delta", "other_scope", "unknown_critical"]


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_the_controller_brings_is_judged_again(world: RefreshedHost, name: str) -> None:
    bad = bundle(*content(world, name, "wrong_issuer"))
    with pytest.raises(HostError, match="not usable") as caught:
        merge(world, bad)
    assert "Broken CA" in caught.value.found
    merge(world, bundle(*content(world, "old", "wrong_issuer")))
    found = merge(world, bad)
    assert found.remarks, "what is not taken is said"
    assert found.id == bundle(*content(world, "old", "wrong_issuer"))["sha256"][:16]


def test_of_every_ca_the_newest_crl_of_controller_and_host_is_in_the_set(
    world: RefreshedHost,
) -> None:
    world.server.switch("issuing", "der")
    world.refresh()
    found = merge(world, bundle(*content(world, "old", "wrong_issuer")))
    assert (found.problem, found.remarks) == ("", ())
    assert found.id == bundle(*content(world, "der", "wrong_issuer"))["sha256"][:16]


def test_a_newer_crl_of_the_controller_is_kept_for_the_next_poll(world: RefreshedHost) -> None:
    world.refresh()
    found = merge(world, bundle(*content(world, "der", "wrong_issuer")))
    assert found.problem == "not on this host"
    status = world.refresh()
    assert status["authorities"][0]["number"] == str(OLD + 1), "the source is behind"
    assert os.readlink(world.place / "current") == f"sets/{found.id}"


def test_a_serial_that_the_controllers_crl_leaves_out_alarms_as_well(world: RefreshedHost) -> None:
    world.remember(REVOKED, "the far end's certificate", kind="peer")
    world.watch()
    world.refresh()
    merge(world, bundle(*content(world, "serial_gone", "wrong_issuer")))
    (gone,) = world.refresh()["vanished"]
    assert gone["what"] == "the far end's certificate"


def test_a_trust_entry_without_a_set_of_the_controller_is_told_with_what_is_current(
    world: RefreshedHost,
) -> None:
    assert crl_merge.merge(world.root, crl_watch.load(world.root), []) == []
    world.refresh()
    found = merge(world)
    assert (found.problem, f"sets/{found.id}") == ("", os.readlink(world.place / "current"))


def test_without_a_watch_a_set_stays_as_it_came(tmp_path: Path, world: RefreshedHost) -> None:
    brought = bundle(*content(world, "old", "wrong_issuer"))
    root = str(tmp_path / "unwatched")
    (found,) = crl_merge.merge(root, None, [brought])
    assert Path(found.file).read_text() == brought["pem"]
    assert found.next_update
    (again,) = crl_merge.merge(root, None, [brought])
    assert again.problem == ""


def test_a_set_of_an_older_version_becomes_one_whose_age_is_known(world: RefreshedHost) -> None:
    brought = bundle(*content(world, "old", "wrong_issuer"))
    folder = world.place / "sets" / brought["sha256"][:16]
    folder.mkdir(parents=True)
    (folder / "crl.pem").write_text(brought["pem"])
    (world.place / "current").symlink_to(f"sets/{folder.name}")
    poll = {"set": folder.name, "fetched_at": brought["fetched_at"], "next_update": ""}
    (world.place / "poll.json").write_text(json.dumps(poll))
    assert merge(world).problem == "what it holds is not noted"
    current = world.store.current()
    assert current is not None
    assert len(current.crls) == 2
    assert world.store.oldest_confirmation(current) == brought["fetched_at"]


def test_killed_at_any_change_of_a_file_the_next_merge_stages_the_same_set(
    world: RefreshedHost,
) -> None:
    world.refresh()
    brought = bundle(*content(world, "der", "wrong_issuer"))
    watch = crl_watch.load(world.root)
    copy = world.base / "before"
    shutil.copytree(world.root, copy, symlinks=True)
    count = 0
    for count in range(1, 100):
        died = refreshed_host.dying(
            lambda: crl_merge.merge(world.root, watch, [brought]), count, after=count % 2 == 0
        )
        assert world.serving()[0] == world.server.content("old"), "switching is not its work"
        found = merge(world, brought)
        assert Path(found.file).read_text() == brought["pem"]
        assert found.id == brought["sha256"][:16]
        if not died:
            break
        shutil.rmtree(world.root)
        shutil.copytree(copy, world.root, symlinks=True)
    assert 5 < count < 99


# -- how old -------------------------------------------------------------------------------


def test_a_controllers_poll_counts_where_it_is_newer_than_the_hosts_own(
    world: RefreshedHost,
) -> None:
    now = time.time()
    held = content(world, "old", "wrong_issuer")
    digest = hashlib.sha256(held[0]).hexdigest()
    merge(world, bundle(*held, fetched_at=crl_store.iso(now - 600)))
    first = world.store.fetched()[digest]
    assert (first["fetched_at"], first["source"]) == (crl_store.iso(now - 600), "controller")
    merge(world, bundle(*held, fetched_at=crl_store.iso(now - 900)))
    assert world.store.fetched()[digest] == first
    merge(world, bundle(*held, fetched_at=crl_store.iso(now - 60)))
    second = world.store.fetched()[digest]
    assert second["fetched_at"] == crl_store.iso(now - 60)
    assert second["monotonic"] - first["monotonic"] == pytest.approx(540, abs=5)


def test_what_was_confirmed_before_this_boot_has_only_the_wall_clock(tmp_path: Path) -> None:
    store = Store(str(tmp_path), TRUST)
    clock = Clock(1_000_000.0, "boot", 50.0)
    store.confirm("a" * 64, "controller", clock, 999_900.0)
    found = store.fetched()["a" * 64]
    assert (found["boot"], found["monotonic"]) == ("", 0.0)


def held(number: str, minute: int) -> Held:
    moment = f"2026-01-01T00:{minute:02}:00Z"
    return Held("a" * 64, "CA", "b" * 64, number, 0, moment, "")


@pytest.mark.parametrize(
    ("one", "other", "newer"),
    [
        (held("2", 0), held("1", 5), True),
        (held("1", 5), held("2", 0), False),
        (held("1", 5), held("1", 0), True),
        (held("", 5), held("9", 0), True),
        (held("1", 0), held("1", 0), False),
    ],
)
def test_the_number_decides_which_crl_is_newer_and_then_the_moment(
    one: Held, other: Held, newer: bool
) -> None:
    assert one.newer_than(other) is newer


# -- what others see -----------------------------------------------------------------------


def test_the_set_in_service_is_told_with_its_age_and_what_the_timers_noted(
    world: RefreshedHost,
) -> None:
    status = world.refresh()
    (world.place / "grace.json").write_text('{"by": "A"}')
    guard = {"trusts": {TRUST: {"clock": "steady"}}}
    (Path(world.root) / "guard.json").write_text(json.dumps(guard))
    oldest = min(one["fetched_at"] for one in status["authorities"])
    ends = min(one["next_update"] for one in status["authorities"])
    (seen,) = observe_files.crl_sets(world.root, [TRUST])
    (told,) = in_service.crl_sets(world.root, pem=True)
    for one in (seen, told):
        assert (one["fetched_at"], one["next_update"]) == (oldest, ends)
        assert one["refresh"] == status
        assert (one["guard"]["clock"], one["grace"]) == ("steady", {"by": "A"})
    assert seen["poll"] == {"fetched_at": oldest, "next_update": ends, "set": told["target"][5:]}
    assert told["pem"] == (world.place / "current/crl.pem").read_text()


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"crls": [{"sha256": 1}]}'])
def test_damaged_notes_make_no_crl_look_fresh(world: RefreshedHost, damage: str) -> None:
    world.refresh()
    for name in ("fetched.json", "current/set.json", "status.json", "polls.json"):
        (world.place / name).write_text(damage)
    (seen,) = observe_files.crl_sets(world.root, [TRUST])
    assert seen["fetched_at"] == ""
    assert world.refresh()["authorities"][0]["outcome"] == "new"
    (seen,) = observe_files.crl_sets(world.root, [TRUST])
    assert seen["fetched_at"]
