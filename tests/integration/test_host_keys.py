# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that hosts make and keep: from the key to the release, through the playbooks.

Encrypted ones go the same way in test_host_keys_canary.py.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.host_fleet import HOSTS, REQUEST, Fleet, everything
from integration.openbao_server import OpenBao
from pki import csr
from unit import controller_world

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"), openbao, site, encrypted=False)


# The tests of a fleet share it and stand in the order of its life.


def test_a_check_on_virgin_hosts_says_what_would_be_made_and_makes_nothing(fleet: Fleet) -> None:
    ran = fleet.play("site", "--check", "--diff")
    assert "key would be made" in ran.output
    assert not (fleet.inventory / "certificates").exists()
    assert not (fleet.base / "hosts").exists()


def test_each_host_makes_its_own_key_and_gets_its_own_request(fleet: Fleet) -> None:
    ran = fleet.play("site")
    assert all(ran.changed(host) for host in HOSTS)
    digests = set()
    for host in HOSTS:
        folder = fleet.version(host)
        assert {path.name for path in folder.iterdir()} == REQUEST
        record = yaml.safe_load((folder / "request.yml").read_text())
        assert record["key"]["store"] == "host"
        assert record["key"]["spki_sha256"] == fleet.request(host).spki_sha256
        assert fleet.request(host).signature_valid
        assert stat.S_IMODE(fleet.key(host).stat().st_mode) == 0o600
        public = csr.spki_der(fleet.private(host).public_key())
        assert public == fleet.request(host).spki_der
        digests.add(record["key"]["spki_sha256"])
        assert f"commit {folder}" in ran.output
    assert len(digests) == len(HOSTS)


def test_the_second_night_changes_nothing(fleet: Fleet) -> None:
    before = fleet.keys(), everything(fleet.inventory / "certificates")
    ran = fleet.play("site")
    assert [ran.changed(host) for host in ("localhost", *HOSTS)] == [0, 0, 0]
    assert (fleet.keys(), everything(fleet.inventory / "certificates")) == before


def test_a_fresh_clone_writes_the_same_request_for_the_same_key(fleet: Fleet) -> None:
    before = {path: path.read_bytes() for path in fleet.version("gw1").iterdir()}
    keys = fleet.keys()
    shutil.rmtree(fleet.inventory / "certificates")
    fleet.play("site")
    assert {path: path.read_bytes() for path in fleet.version("gw1").iterdir()} == before
    assert fleet.keys() == keys


def test_the_host_that_has_a_reply_gets_its_release_and_the_other_waits(fleet: Fleet) -> None:
    fleet.answer("gw1")
    fleet.play("site")
    (release,) = (fleet.host("gw1") / "releases").iterdir()
    pem = (release / "key.pem").read_bytes()
    assert stat.S_IMODE((release / "key.pem").stat().st_mode) == 0o600
    released = serialization.load_pem_private_key(pem, None)
    assert isinstance(released, rsa.RSAPrivateKey)
    assert released.private_numbers() == fleet.private("gw1").private_numbers()
    assert not (fleet.host("gw2") / "releases").exists()
    assert fleet.play("site").changed("gw1") == 0


def test_a_release_that_lost_its_key_gets_it_again_from_the_host(fleet: Fleet) -> None:
    (lost,) = fleet.host("gw1").glob("releases/*/key.pem")
    before = lost.read_bytes()
    lost.unlink()
    fleet.play("site")
    assert lost.read_bytes() == before


def test_a_damaged_key_is_named_and_stops_no_other_host(fleet: Fleet) -> None:
    record = fleet.key("gw2").with_name("key.json")
    whole = record.read_bytes()
    record.write_bytes(b"{")
    before = fleet.keys(), everything(fleet.inventory / "certificates")
    (lost,) = fleet.host("gw1").glob("releases/*/key.pem")
    lost.unlink()
    try:
        ran = fleet.play("site", code=2)
        assert "KEY-DAMAGED" in ran.output
        assert f"gw2: {fleet.name}" in ran.output
        assert (fleet.keys(), everything(fleet.inventory / "certificates")) == before
        assert lost.exists(), "the other host was not healed"
    finally:
        record.write_bytes(whole)


def test_nothing_is_asked_for_in_the_name_of_a_host_that_is_away(fleet: Fleet) -> None:
    shutil.move(fleet.version("gw2"), fleet.base / "kept")
    try:
        ran = fleet.play("site", code=2, away="gw2")
        assert "wait for gw2: bring the host back and run again" in ran.output
        # What follows says more where the ledger names compromised keys, as tests before may have.
        assert "gw2: the host does not answer" in ran.output
        assert not fleet.version("gw2").exists()
    finally:
        shutil.rmtree(fleet.version("gw2"), ignore_errors=True)
        shutil.move(fleet.base / "kept", fleet.version("gw2"))


def test_a_person_has_a_second_version_made_beside_the_live_one(fleet: Fleet) -> None:
    live = everything(fleet.host("gw1") / "keys" / "1"), everything(fleet.version("gw1"))
    word = ("-e", f"certificate={fleet.name}/gw1", "-e", "reason='a new disk'")
    fleet.play("renew", *word)
    assert fleet.request("gw1", 2).spki_sha256 != fleet.request("gw1").spki_sha256
    assert fleet.request("gw1", 2).spki_der == csr.spki_der(fleet.private("gw1", 2).public_key())
    assert (everything(fleet.host("gw1") / "keys" / "1"), everything(fleet.version("gw1"))) == live
    assert not fleet.key("gw2", 2).exists()
