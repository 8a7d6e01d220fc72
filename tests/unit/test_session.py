# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's inputs are checked before anything else happens, and bad input has one voice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import key_place, keystores, session
from pki.errors import PkiError
from pki.vault import Client
from pki.vault_settings import Settings
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    ROOT,
    TRUST,
    World,
    certificate_entry,
    whole,
)
from unit.pki_factory import NOW

HOUR = timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_inputs_are_inventory_policies_pinned_cas_and_places(world: World) -> None:
    inputs = session.load(world.params(), NOW)
    assert list(inputs.declared.certificates) == [NAME]
    assert inputs.policy_of(NAME).name == "mhhs-dip"
    assert [ca.der for ca in inputs.trust[TRUST].authorities] == [ISSUING.der, ROOT.der]
    assert (inputs.certificates_dir, inputs.crl_cache_dir) == (world.kept, world.cache)
    assert inputs.now == NOW


def test_a_run_without_a_given_moment_is_now_and_in_utc(world: World) -> None:
    before = datetime.now(UTC)
    moment = session.load(world.params()).now
    assert before <= moment <= datetime.now(UTC)
    assert moment.utcoffset() == timedelta(0)


def bad_policy(world: World) -> None:
    world.certificates[0]["policy"] = "mhhs-dop"


def bad_key(world: World) -> None:
    world.certificates[0]["domian"] = "example.com"


def bad_purpose(world: World) -> None:
    world.organisation["party"] = "market_participant_non_active"


def bad_ca(world: World) -> None:
    (world.base / "trust" / "root.pem").write_bytes(FOREIGN.pem)


BAD = {
    "an unknown policy": (bad_policy, "POLICY-UNKNOWN"),
    "a typo": (bad_key, "INVENTORY"),
    "a purpose the party may not have": (bad_purpose, "DIP-5.5-TABLE3"),
    "another CA than the pinned one": (bad_ca, "TRUST-PIN"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_ends_the_run_before_it_begins(world: World, kind: str) -> None:
    spoil, rule = BAD[kind]
    spoil(world)
    with pytest.raises(PkiError) as caught:
        session.load(world.params(), NOW)
    assert whole(caught.value).rule == rule


def test_who_only_reports_gets_inputs_that_the_policy_would_refuse(world: World) -> None:
    bad_purpose(world)
    inputs = session.load(world.params(), NOW, judged=False)
    assert list(inputs.declared.certificates) == [NAME]
    assert inputs.base_dir == world.base


def test_a_policy_directory_without_policies_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(PkiError) as caught:
        session.load(world.params(policy_dir=str(tmp_path)), NOW)
    assert str(tmp_path) in caught.value.where


@pytest.mark.parametrize(("age", "complete"), [(24 * HOUR, True), (25 * HOUR, False)])
def test_a_cached_crl_serves_as_long_as_the_policy_says(
    world: World, age: timedelta, complete: bool
) -> None:
    end = NOW + 90 * HOUR
    world.crls(
        ISSUING.crl(start=NOW - 30 * HOUR, end=end),
        ROOT.crl(start=NOW - 30 * HOUR, end=end),
        at=NOW - age,
    )
    (found,) = session.cached_crls(world.inputs(), [TRUST, TRUST]).values()
    assert found.complete is complete


# --- stores ---------------------------------------------------------------------------------


def client() -> Client:
    """A client that is never used: nothing here speaks to a server."""
    return Client(Settings.resolve({"address": "http://127.0.0.1:9", "token_file": "/none"}, {}))


def test_a_certificate_for_tls_has_an_exportable_key_and_one_for_signing_has_not(
    world: World,
) -> None:
    world.certificates.append(
        certificate_entry("dip-sign", domain="sign.example", purposes=["signing"])
    )
    inputs = world.inputs()
    tls, sign = (inputs.declared.certificates[name] for name in (NAME, "dip-sign"))
    assert key_place.declared(tls).mount == "transit-nonprod-tls"
    assert key_place.declared(sign).mount == "transit-nonprod-signing"
    stores: Any = keystores.Stores(client(), inputs.policies)
    assert stores.of(tls) is stores.of(tls)
    assert stores.of(tls) is not stores.of(sign)


def test_the_keys_that_are_made_are_the_policys(world: World) -> None:
    assert keystores.key_type(world.inputs().policy_of(NAME)) == "rsa-4096"
