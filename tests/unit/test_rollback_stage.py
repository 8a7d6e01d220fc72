# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kept releases may come back: every reason against one, by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import crl_cache, public_state, rollback_stage, session
from unit import controller_world, test_revocation_record
from unit import pki_factory as factory
from unit.controller_world import ISSUING, NAME, ROOT, TRUST, World
from unit.pki_factory import DAY, NOW

Seen = dict[str, Any]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two accepted versions, and CRLs in the controller's cache."""
    made = World(tmp_path)
    for version in (1, 2):
        made.request(version)
        made.reply(version, end=NOW + (100 * version) * DAY)
    made.crls()
    for version in (1, 2):
        made.keep(version=version)
    return made


def kept(world: World, version: int, **changes: Any) -> Seen:
    pem = (world.directory(version) / "certificate.pem").read_text()
    digest = factory.x509.load_pem_x509_certificate(pem.encode()).fingerprint(
        factory.hashes.SHA256()
    )
    told = {
        "id": f"v{version}-{digest.hex()[:16]}",
        "version": version,
        "certificate_sha256": digest.hex(),
        "pem": pem,
        "problem": "",
    }
    return {**told, **changes}


def seen(world: World, *releases: Seen, sets: list[Seen] | None = None, name: str = NAME) -> Seen:
    both = list(releases) or [kept(world, 1), kept(world, 2)]
    entry = {"certificate": name, "current": both[-1]["id"], "held": None, "releases": both}
    return {"certificates": [entry], "crl_sets": sets or []}


def first(
    world: World, told: Seen | None = None, inputs: session.Inputs | None = None
) -> rollback_stage.Release:
    told = told or seen(world)
    return rollback_stage.look(inputs or world.inputs(), told, "gw1")[0]


def test_a_good_one_is_good_and_told_with_its_name_serial_and_days(world: World) -> None:
    one = first(world)
    assert one.refused == ""
    assert (one.certificate, one.version, one.current) == (NAME, 1, False)
    assert (one.common_name, one.not_after, one.days_left) == (factory.CN, "2027-03-01", 100)


def of_the_host(world: World) -> rollback_stage.Release:
    problem = "its key is not on this host any more"
    return first(world, seen(world, kept(world, 1, problem=problem), kept(world, 2)))


def expired(world: World) -> rollback_stage.Release:
    return first(world, inputs=world.inputs(NOW + 101 * DAY))


def not_yet(world: World) -> rollback_stage.Release:
    return first(world, inputs=world.inputs(NOW - 2 * DAY))


def revoked(world: World) -> rollback_stage.Release:
    pem = (world.directory(1) / "certificate.pem").read_bytes()
    serial = factory.x509.load_pem_x509_certificate(pem).serial_number
    world.crls(issuing=ISSUING.crl([serial], number=2))
    return first(world)


def unknown(world: World) -> rollback_stage.Release:
    return first(world, inputs=replace(world.inputs(), crl_cache_dir=world.base / "none"))


def compromised(world: World) -> rollback_stage.Release:
    ledger = {controller_world.spki(controller_world.key_of(1)): "incident 42"}
    return first(world, inputs=replace(world.inputs(), compromised=ledger))


def retired(world: World) -> rollback_stage.Release:
    told = {
        "schema": 1, "certificate": NAME, "version": 1, "date": public_state.iso(NOW),
        "reason": "old", "key": "withdrawn", "superseded_by": 2,
    }  # fmt: skip
    world.put(1, retired_yml=public_state.dump(told))
    return first(world)


def to_be_revoked(world: World) -> rollback_stage.Release:
    record = test_revocation_record.record(cause="superseded").content()
    world.put(1, revocation_yml=record)
    return first(world)


def withdrawn(world: World) -> rollback_stage.Release:
    told = {"schema": 1, "outcome": "withdrawn", "date": public_state.iso(NOW), "reason": "x"}
    world.put(1, outcome_yml=public_state.dump(told))
    return first(world)


def not_committed(world: World) -> rollback_stage.Release:
    pem = factory.pem(ISSUING.leaf()).decode()
    return first(world, seen(world, {**kept(world, 1), "version": 9, "pem": pem}, kept(world, 2)))


def without_certificate(world: World) -> rollback_stage.Release:
    told = seen(world)
    (world.directory(1) / "certificate.pem").unlink()
    return first(world, told)


def another(world: World) -> rollback_stage.Release:
    told = seen(world)
    world.put(1, **{"certificate_pem": factory.pem(ISSUING.leaf())})
    return first(world, told)


def undeclared(world: World) -> rollback_stage.Release:
    return first(world, seen(world, name="somebody-elses"))


def unreadable(world: World) -> rollback_stage.Release:
    return first(world, seen(world, kept(world, 1, pem="junk"), kept(world, 2)))


REASONS: dict[str, tuple[Callable[[World], rollback_stage.Release], str]] = {
    "what the host says": (of_the_host, "its key is not on this host"),
    "expired": (expired, "it expired on 2027-03-01"),
    "not valid yet": (not_yet, "it is not valid before"),
    "revoked": (revoked, "is revoked"),
    "nobody says whether it is revoked": (unknown, "nobody says whether"),
    "compromised": (compromised, "its key is compromised (incident 42)"),
    "retired": (retired, "it is retired, its key withdrawn"),
    "to be revoked": (to_be_revoked, "its revocation is recorded (superseded)"),
    "withdrawn": (withdrawn, "its request was withdrawn"),
    "not committed": (not_committed, "nothing of v9 is committed"),
    "committed without a certificate": (without_certificate, "no certificate of it is committed"),
    "another one is committed": (another, "is another one"),
    "not declared": (undeclared, "the inventory declares no such certificate"),
    "unreadable": (unreadable, "its certificate cannot be read"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_may_not_come_back_says_why(world: World, name: str) -> None:
    look, why = REASONS[name]
    assert why in look(world).refused


def host_set(world: World, age: timedelta, pem: bytes) -> Seen:
    fetched = (NOW - age).isoformat()
    return {"trust": TRUST, "pem": pem.decode(), "fetched_at": fetched, "next_update": ""}


@pytest.mark.parametrize(
    ("age", "good"), [(timedelta(hours=23), True), (timedelta(hours=25), False)]
)
def test_the_hosts_own_crls_count_while_they_are_fresh(
    world: World, age: timedelta, good: bool
) -> None:
    pem = crl_cache.load(world.inputs().trust[TRUST], world.cache, now=NOW, max_age=DAY).pem
    offline = replace(world.inputs(), crl_cache_dir=world.base / "none")
    found = first(world, seen(world, sets=[host_set(world, age, pem)]), offline)
    assert (found.refused == "") is good


def test_crls_of_a_host_that_are_of_another_ca_say_nothing(world: World) -> None:
    stranger = factory.authority("A stranger")
    pem = b"".join(
        rollback_stage.crl_cache.revocation.to_pem(der) for der in (stranger.crl(), ROOT.crl())
    )
    offline = replace(world.inputs(), crl_cache_dir=world.base / "none")
    found = first(world, seen(world, sets=[host_set(world, timedelta(0), pem)]), offline)
    assert "nobody says whether" in found.refused


def test_a_version_without_any_record_against_it_is_not_barred(world: World) -> None:
    assert rollback_stage.barred_here(world.inputs(), NAME, 1) == ""
    assert rollback_stage.barred_here(world.inputs(), NAME, 7) == "nothing of v7 is committed"


def test_a_host_believes_the_cas_that_its_crls_are_of(world: World) -> None:
    both = world.inputs().trust[TRUST]
    (root,), (issuing,) = both.anchors, both.issuers
    of_both = crl_cache.load(both, world.cache, now=NOW, max_age=DAY).pem
    of_root = rollback_stage.crl_cache.revocation.to_pem(ROOT.crl())
    told = [
        (host_set(world, DAY * 9, of_both), {TRUST: sorted([root.sha256, issuing.sha256])}),
        (host_set(world, timedelta(0), of_root), {TRUST: [root.sha256]}),
        (host_set(world, timedelta(0), b"no CRL"), {}),
        ({**host_set(world, timedelta(0), of_both), "trust": "unknown"}, {}),
    ]
    for one, believed in told:
        assert rollback_stage.believed(world.inputs(), [one]) == believed
