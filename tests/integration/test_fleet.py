# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts: a change is tried on one first, and what fails there goes no further.

``playbooks/deploy.yml`` as it is, on three real gateways of this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from integration.openbao_server import OpenBao
from integration.rollback_world import NAME, PROJECT, REASON, Ran, RollbackWorld
from integration.test_host_keys import everything
from unit import controller_world

pytestmark = pytest.mark.integration

HOSTS = ("gw1", "gw2", "gw3")
#: As revoke.yml imports it: the plan of the night, and every host at once.
REVOKING = {"deploy_serial": ["100%"], "deploy_stops": False}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollbackWorld]:
    """Version 1 in service everywhere; version 2 accepted."""
    world = RollbackWorld(tmp_path_factory.mktemp("fleet"), *HOSTS)
    try:
        world.issue(1)
        ran = world.night(1)
        assert ran.code == 0, ran.output
        world.issue(2)
        yield world
    finally:
        world.stop()


def served(world: RollbackWorld) -> list[str]:
    known = {world.digest(version): f"v{version}" for version in world.leaves}
    return [known[world.served(host)] for host in HOSTS]


def block(world: RollbackWorld, host: str) -> Path:
    """A directory where the link of the certificate belongs: the switch fails there."""
    link = world.tls(host) / NAME / "current"
    link.unlink()
    link.mkdir()
    return link


def unblock(world: RollbackWorld, link: Path, version: int) -> None:
    link.rmdir()
    link.symlink_to(f"releases/{world.release(version)}")


def left(ran: Ran, host: str) -> bool:
    return f"{host}: left as it is, not tried since gw1 failed" in ran.words


def test_after_a_canary_that_failed_the_others_are_left_as_they_are_and_named(
    fleet: RollbackWorld,
) -> None:
    link = block(fleet, "gw1")
    before = {host: everything(fleet.base / "hosts" / host / "tls") for host in ("gw2", "gw3")}
    ran = fleet.night(1, 2)
    assert "gw1:" in ran.words
    assert "a directory stands where a link belongs" in ran.words
    assert left(ran, "gw2")
    assert left(ran, "gw3")
    assert [ran.changed(host) for host in ("gw2", "gw3")] == [0, 0]
    assert served(fleet) == ["v1", "v1", "v1"]
    assert before == {
        host: everything(fleet.base / "hosts" / host / "tls") for host in ("gw2", "gw3")
    }
    unblock(fleet, link, 1)


def test_compromised_keys_leave_the_hosts_that_are_left_as_they_are(fleet: RollbackWorld) -> None:
    """Of a version that is not in service, so that the gateways go on."""
    link = block(fleet, "gw1")
    digest = controller_world.spki(controller_world.key_of(2))
    keys = [{"certificate": NAME, "spki_sha256": [digest]}]
    ran = fleet.night(1, compromised_keys=keys)
    assert left(ran, "gw3")
    for host in HOSTS:
        listed = json.loads((fleet.tls(host) / "compromised.json").read_text())["keys"]
        assert list(listed) == [digest]
        assert not (fleet.tls(host) / NAME / "releases" / fleet.release(2) / "key.pem").exists()
        (fleet.tls(host) / "compromised.json").unlink()
    unblock(fleet, link, 1)
    fleet.issue(2)


def test_a_revocation_goes_on_to_every_host_whatever_fails(fleet: RollbackWorld) -> None:
    (play,) = [
        one
        for one in yaml.safe_load((PROJECT / "playbooks/revoke.yml").read_text())
        if "deploy.yml" in one.get("ansible.builtin.import_playbook", "")
    ]
    assert play["vars"] == REVOKING
    link = block(fleet, "gw1")
    ran = fleet.night(1, 2, arguments=("-e", json.dumps(REVOKING)))
    assert "a directory stands where a link belongs" in ran.words
    assert "left as it is" not in ran.words
    assert served(fleet)[1:] == ["v2", "v2"]
    unblock(fleet, link, 1)


def test_a_canary_that_is_well_is_followed_by_all_and_the_second_run_changes_nothing(
    fleet: RollbackWorld,
) -> None:
    ran = fleet.night(1, 2, arguments=("-e", "deploy_canary=gw3"))
    assert ran.code == 0, ran.output
    assert "failures: []" in ran.words
    assert served(fleet) == ["v2", "v2", "v2"]
    again = fleet.night(1, 2)
    assert [again.changed(host) for host in HOSTS] == [0, 0, 0], again.output


def test_a_host_that_is_down_is_no_canary_and_stops_nobody(fleet: RollbackWorld) -> None:
    with fleet.away("gw1"):
        ran = fleet.night(1)
    assert "gw1: the host does not answer, and was left as it is" in ran.words
    assert "not tried since" not in ran.words
    # The play comes in two batches: the first that answers alone, then the others.
    tried = ran.output.split("TASK [See whether a host before this one failed]")
    assert "ok: [gw2]" in tried[1]
    assert "[gw3]" not in tried[1].split("TASK")[0]
    assert served(fleet) == ["v2", "v1", "v1"]


def test_status_and_explanation_tell_what_hosts_have_in_service_and_name_the_silent_one(
    fleet: RollbackWorld, openbao: OpenBao
) -> None:
    vault = {"certificates_vault": openbao.options("pipeline")}
    (fleet.inventory / "group_vars/all/vault.yml").write_text(yaml.safe_dump(vault))
    assert fleet.rollback(limit="gw2", release="1", reason=REASON).code == 0
    document = fleet.base / "status.json"
    with fleet.away("gw1"):
        status = fleet.run(
            str(PROJECT / "playbooks/status.yml"), "-e", f"certificates_status_file={document}"
        )
        explained = fleet.run(str(PROJECT / "playbooks/explain.yml"), "-e", f"certificate={NAME}")
    assert (status.code, explained.code) == (0, 0), status.output + explained.output
    assert re.search(r"gw1 +no answer", status.output)
    assert re.search(rf"gw2 +{NAME} +{fleet.release(1)} .* held by .*: {REASON}", status.output)
    assert re.search(r"gw3 +dip-gw3 +running +webhook 127", status.output)
    hosts = json.loads(document.read_text())["hosts"]
    assert [hosts[host]["answers"] for host in HOSTS] == [False, True, True]
    assert hosts["gw2"]["certificates"][0]["held"]["reason"] == REASON
    assert hosts["gw2"]["gateways"][0]["as_recorded"] is True
    assert "next: gw1 did not answer" in explained.words
    assert f"next: gw2 keeps {fleet.release(1)} until it is released" in explained.words
    # A key server that is down keeps the rest from nobody.
    (fleet.inventory / "group_vars/all/vault.yml").unlink()
    alone = fleet.run(str(PROJECT / "playbooks/explain.yml"), "-e", f"certificate={NAME}")
    assert alone.code == 0, alone.output
    assert "not planned: " in alone.words, alone.output
    assert "next: bring back what is named under state" in alone.words, alone.output
    assert f"gw2 {fleet.release(1)} in service" in alone.words
