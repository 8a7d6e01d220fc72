# SPDX-License-Identifier: GPL-3.0-or-later
"""The night a key became known to others, from the alarm to the end, through playbooks only.

A real key server, a real CA and real gateways on two hosts. The tests share one world and stand in
the order of that night; the last one prints what it cost.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from integration.compromise_world import HOSTS, NAME, OTHER, World, compromise_world
from integration.test_walk import contents
from pki.errors import PkiError

pytestmark = [pytest.mark.integration, pytest.mark.lab]

# As the page's first command says it; the runs that are nobody's act use the same words.
WORD = {
    "certificate": NAME,
    "cause": "key_compromise",
    "reason": "a copy of the key was found on a laptop",
    "by": "Alex Example",
}
# The playbook runs of docs/compromise.md.
OUT_OF_SERVICE, RECORDED, BACK, OVER = range(4)
TEXTS = ("revocation.txt", "incident.txt", "authority.txt")
OUT = ("ingress", "egress", "far", "far_egress")
LEDGER = "compromised.yml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with compromise_world(tmp_path_factory.mktemp("night")) as deployed:
        yield deployed


def state(world: World) -> dict[str, object]:
    """Everything that a run may have changed: files of hosts and inventory, and the key."""
    hosts = contents(world.clone.home / "hosts")
    # Logs grow, and the CRLs are polled by every run.
    living = ("/log/", "/metrics/", "poll.json", "fetched.json", "guard.json")
    kept = {path: data for path, data in hosts.items() if not any(one in path for one in living)}
    return {
        "hosts": kept,
        "inventory": contents(world.inventory),
        "key": world.vault_key(),
        "ledger": world.vault_ledger(),
    }


def nothing_listens(world: World) -> None:
    for listener in OUT:
        assert not world.ask(listener).reached, listener


def second_certificate_serves(world: World) -> None:
    seen = world.ask("second")
    assert (seen.http_status, seen.peer_serial) == (200, world.serial(1, OTHER))


# --- before ---------------------------------------------------------------------------------


def test_before_the_alarm_everything_serves_and_the_thief_gets_in(world: World) -> None:
    for listener in ("ingress", "far"):
        seen = world.ask(listener)
        assert (seen.http_status, seen.peer_serial) == (200, world.serial(1))
    assert world.send("egress").http_status == world.send("far_egress").http_status == 200
    second_certificate_serves(world)
    assert world.ask("second", world.thief()).http_status == 200


def test_a_check_announces_all_of_it_and_changes_nothing(world: World) -> None:
    before = state(world)
    run = world.play("revoke", "--check", "--diff", **WORD)
    assert run.changed > 0
    assert world.serial(1) in run.output
    assert state(world) == before
    assert world.ask("ingress").http_status == 200


# --- one run --------------------------------------------------------------------------------


def test_one_run_takes_the_key_out_of_service_on_every_host_and_spares_the_rest(
    world: World,
) -> None:
    run = world.typed(OUT_OF_SERVICE)
    assert world.serial(1) in run.output
    nothing_listens(world)
    for host in HOSTS:
        assert world.keys(host) == []
    assert world.keys("gw1", OTHER)
    second_certificate_serves(world)


def test_both_ledgers_name_the_key(world: World) -> None:
    assert world.vault_ledger() == [world.spki(1)]
    (entry,) = yaml.safe_load(world.ledger.read_text())["compromised"]
    assert entry["spki_sha256"] == world.spki(1)
    assert (entry["certificate"], entry["reason"]) == (NAME, WORD["reason"])
    for host in HOSTS:
        listed = world.releases(host).parent / "compromised.json"
        assert world.spki(1) in listed.read_text()


def test_the_replacement_was_asked_for_in_the_same_run_with_another_key(world: World) -> None:
    assert {"request.csr", "request.yml", "submission.txt"} <= set(contents(world.version(2)))
    assert world.spki(2) != world.spki(1)
    assert world.vault_key()["latest_version"] == 2


def test_the_key_server_neither_signs_with_the_old_key_nor_releases_it(world: World) -> None:
    assert world.vault_key()["min_decryption_version"] == 2
    digest = {"input": "AAAA", "key_version": 1}
    with world.clone.lab.client("pipeline") as client, pytest.raises(PkiError):
        client.write(f"transit-nonprod-tls/sign/{NAME}/sha2-256", digest)
    with world.clone.lab.client("release") as client, pytest.raises(PkiError):
        client.wrap(f"transit-nonprod-tls/export/signing-key/{NAME}/1", 60)


def test_the_three_texts_are_there_with_serial_and_times(world: World) -> None:
    noticed = yaml.safe_load((world.version(1) / "revocation.yml").read_text())["noticed"]
    for name in TEXTS:
        text = (world.version(1) / name).read_text()
        assert world.serial(1) in text, name
        assert "key compromise" in text.lower(), name
    for name in ("incident.txt", "authority.txt"):
        assert str(noticed)[:16] in (world.version(1) / name).read_text(), name


def test_the_same_word_again_changes_nothing(world: World) -> None:
    before = state(world)
    assert world.play("revoke", **WORD).changed == 0
    assert state(world) == before


def test_until_it_is_recorded_what_people_did_the_check_says_what_is_missing(
    world: World,
) -> None:
    code, verdicts = world.judged()
    missing = {one["rule"] for one in verdicts if one["outcome"] == "failed"}
    assert code == 1
    assert missing == {"DIP-3.5.2.1-REVOKE-COMPROMISE", "DIP-3.6.1-INCIDENT", "DIP-5.6.2-INFORM"}


# --- no way back ------------------------------------------------------------------------------


def test_the_old_key_cannot_be_brought_back_by_hand(world: World) -> None:
    before = state(world)
    files = {
        "key_file": str(world.kept / "key.pem"),
        "certificate_file": str(world.kept / "leaf.pem"),
    }
    refused = world.play("import", expected=2, certificate=NAME, **files)
    assert "compromised" in refused.output
    assert state(world) == before


def test_an_old_reply_does_not_bring_it_back(world: World) -> None:
    reply = world.version(2) / "reply.txt"
    shutil.copy2(world.version(1) / "reply.txt", reply)
    try:
        refused = world.play("site", expected=2)
    finally:
        reply.unlink()
    assert "refused" in refused.output
    assert not (world.version(2) / "accepted.yml").exists()
    nothing_listens(world)
    assert all(world.keys(host) == [] for host in HOSTS)


def test_neither_reverting_the_ledger_nor_putting_the_key_back_on_hosts_brings_it_back(
    world: World,
) -> None:
    world.commit("The key is known to others", world.ledger)
    world.git("revert", "--no-edit", "HEAD")
    try:
        assert not world.ledger.exists()
        for host in HOSTS:
            (release,) = (world.releases(host) / "releases").iterdir()
            shutil.copy2(world.kept / "key.pem", release / "key.pem")
            assert world.keys(host)
        world.play("site")
        nothing_listens(world)
        assert all(world.keys(host) == [] for host in HOSTS)
        second_certificate_serves(world)
    finally:
        world.git("revert", "--no-edit", "HEAD")
    assert world.spki(1) in world.ledger.read_text()


# --- people, and the CA -----------------------------------------------------------------------


def test_people_send_the_texts_and_record_when(world: World) -> None:
    for name in TEXTS:
        world.night.act(f"sent {name}")
    world.night.act("submitted the new request in the portal (submission.txt)")
    world.typed(RECORDED)
    record = yaml.safe_load((world.version(1) / "revocation.yml").read_text())
    assert record["submitted"]
    assert record["incident"]["reference"] == "INC0042"
    assert record["authority"]["told"]
    _, verdicts = world.judged()
    assert verdicts
    assert {one["outcome"] for one in verdicts} <= {"passed", "not_applicable"}, verdicts
    world.night.act("committed the ledger and the records")
    world.commit("The key is known to others: records")


def test_the_ca_revokes_the_old_certificate_for_key_compromise_and_signs_the_new_one(
    world: World,
) -> None:
    serial = world.serial(1)
    world.tagged("revoke", lab_revoke_serial=serial, lab_revoke_reason="key_compromise")
    world.tagged("sign")
    world.night.act("saved the CA's reply as reply.txt")
    assert (world.version(2) / "reply.txt").exists()


def test_one_run_later_every_listener_is_back_with_the_new_certificate(world: World) -> None:
    world.typed(BACK)
    for listener in ("ingress", "far"):
        seen = world.ask(listener)
        assert (seen.http_status, seen.peer_serial) == (200, world.serial(2)), listener
    assert world.send("egress").http_status == world.send("far_egress").http_status == 200
    second_certificate_serves(world)
    assert world.status()["served"] == dict.fromkeys(HOSTS, world.serial(2))
    world.night.act("committed the new certificate")
    world.commit("The replacement is in service")


def test_the_old_certificate_is_refused_by_the_gateway_in_a_live_handshake(world: World) -> None:
    stolen = world.ask("second", world.thief())
    assert stolen.reached
    assert stolen.http_status != 200
    assert stolen.http_status in (400, 403) or stolen.alert is not None
    assert world.ask("second").http_status == 200
    for listener in ("ingress", "far"):
        assert world.ask(listener, world.thief()).http_status != 200


def test_a_host_cannot_go_back_to_the_old_key_by_a_failed_change(world: World) -> None:
    """A change that fails is taken back, and never as far as the compromised key."""
    nowhere = {"gateway_programs": {"nginx": "/nonexistent/nginx"}}
    configuration = world.clone.home / "hosts/gw1/gateway/dip-gateway/nginx.conf"
    configuration.write_text(configuration.read_text() + "# drift\n")
    world.play("site", expected=2, **nowhere)
    assert world.ask("ingress").peer_serial == world.serial(2)
    assert world.play("site").changed > 0
    for host in HOSTS:
        (key,) = world.keys(host)
        assert key.read_bytes() != (world.kept / "key.pem").read_bytes()


def test_the_night_is_over_when_nothing_is_left_to_do(world: World) -> None:
    world.typed(OVER)
    record = yaml.safe_load((world.version(1) / "revocation.yml").read_text())
    assert record["revoked"]
    assert world.play("revoke", **WORD).changed == 0
    assert world.play("site").changed == 0
    _, verdicts = world.judged()
    assert {one["outcome"] for one in verdicts} == {"passed", "not_applicable"}, verdicts
    status = world.status()
    assert (status["state"], status["serial"]) == ("deployed", world.serial(2))


def test_what_the_night_cost(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{world.night.told()}\n{datetime.now(UTC):%Y-%m-%d}")
    assert len(world.night.acts) <= 12
    assert Path(world.kept, "key.pem").exists()
