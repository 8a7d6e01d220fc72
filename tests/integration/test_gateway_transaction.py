# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of one gateway, against a real nginx: all of it or none of it."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from integration import gateway_world as gw
from integration.gateway_world import World
from pki_host import probe, processes, transaction
from pki_host.errors import HostError
from pki_host.gateway_change import Change
from pki_host.transaction import Transaction

pytestmark = pytest.mark.integration

STEPS = ["register undo", "write files", "switch links", "test", "probe", "record", "close"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def running(world: World) -> World:
    apply(world)
    return world


def apply(world: World) -> list[str]:
    """Bring the gateway to the model, and show that nothing is left to do."""
    result = transaction.run(world.desired(), check=False)
    again = transaction.run(world.desired(), check=False)
    assert again["changed"] is False, again["reasons"]
    return list(result["steps"])


def snapshot(base: Path) -> dict[str, bytes | str]:
    """Every product file and link below ``base``; not logs, process files and the lock."""
    skipped = {"log", "run", ".lock", "applied.json", "ca"}
    return {
        str(path.relative_to(base)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(base.rglob("*"))
        if (path.is_symlink() or path.is_file()) and not skipped & {*path.relative_to(base).parts}
    }


def renew(world: World) -> None:
    """A second version with a key of its own, staged and wanted."""
    world.certificate = world.authorities.leaf(gw.OURS, "ours-2")
    world.release = world.stage_release(2, world.certificate, "ours-2")


def test_a_virgin_host_gets_a_running_gateway_and_check_mode_said_so_without_writing(
    world: World,
) -> None:
    desired = world.desired()
    before = sorted(world.base.rglob("*"))
    said = transaction.run(desired, check=True)
    assert sorted(world.base.rglob("*")) == before
    assert said["changed"] is True
    assert "the gateway is not running" in said["reasons"]
    assert said["diff"][0]["after_header"].endswith("nginx.conf")
    assert apply(world)[-4:] == ["start", "probe", "record", "close"]
    assert world.get(None).status == 403


def test_an_allowed_peer_reaches_the_application_and_cannot_forge_who_it_is(
    running: World,
) -> None:
    client = running.client(running.authorities.leaf(gw.PEER, "peer"), "peer")
    with gw.echo_app(running.app):
        answer = running.get(client, {"X-Client-DN": "CN=forged", "X_Client_DN": "CN=forged"})
    assert answer.status == 200
    assert f"X-Client-DN: CN={gw.PEER},O=Lab\\, Test & Co,C=GB\n" in answer.body
    assert "forged" not in answer.body


@pytest.mark.parametrize(
    ("common_name", "organisation", "issuer"),
    [
        ("energydip-prod.dip.example", "Lab", "issuing"),
        (f"{gw.PEER}.evil.example", "Lab", "issuing"),
        (f"x,CN={gw.PEER}", "Lab", "issuing"),
        ("other.example", f"x,CN={gw.PEER}", "issuing"),
        (gw.PEER.upper(), "Lab", "issuing"),
        (gw.PEER, "Lab", "sibling"),
    ],
)
def test_everybody_else_gets_403(
    running: World, common_name: str, organisation: str, issuer: str
) -> None:
    certificate = gw.issue(gw.name(common_name, organisation), "peer", gw.name(issuer), issuer)
    with gw.echo_app(running.app):
        assert running.get(running.client(certificate, "peer", by=issuer)).status == 403


def test_a_sibling_ca_is_refused_by_the_issuer_list_even_when_its_crl_is_there(
    world: World,
) -> None:
    text = "".join(world.authorities.crl(issuer) for issuer in ("issuing", "sibling", "root"))
    world.crl_set = world.stage_crl_text(text)
    apply(world)
    certificate = world.authorities.leaf(gw.PEER, "peer", by="sibling")
    with gw.echo_app(world.app):
        assert world.get(world.client(certificate, "peer", by="sibling")).status == 403
    assert '"verify":"SUCCESS"' in (world.root / "log/access.log").read_text()


def test_a_new_crl_set_refuses_the_revoked_peer_after_one_reload(running: World) -> None:
    certificate = running.authorities.leaf(gw.PEER, "peer")
    client = running.client(certificate, "peer")
    with gw.echo_app(running.app):
        assert running.get(client).status == 200
        running.crl_set = running.stage_crls(certificate)
        assert "reload" in apply(running)
        assert running.get(client).status == 403


def test_a_renewal_switches_the_release_and_the_served_leaf_without_a_restart(
    running: World,
) -> None:
    master = running.daemon().master()
    old = running.get(None).leaf
    renew(running)
    assert "reload" in apply(running)
    assert running.get(None).leaf == running.release["certificate_sha256"] != old
    assert running.daemon().master() == master


def test_an_edited_configuration_a_moved_link_and_a_wrong_mode_are_put_back(
    running: World,
) -> None:
    wanted = snapshot(running.base)
    config = running.root / "nginx.conf"
    config.write_text(config.read_text().replace("ssl_verify_client on", "ssl_verify_client off"))
    (running.root / "trust/dip-nonprod.pem").chmod(0o666)
    link = running.base / "crl/dip-nonprod/current"
    link.unlink()
    link.symlink_to("sets/0000000000000000")
    result = transaction.run(running.desired(), check=False)
    assert len(result["reasons"]) == 3
    assert snapshot(running.base) == wanted
    assert (running.root / "trust/dip-nonprod.pem").stat().st_mode & 0o777 == 0o644


def test_a_trust_file_that_left_the_model_is_removed(running: World) -> None:
    arguments = running.arguments()
    extra = {"path": "trust/old.pem", "content": "old\n"}
    with_extra = transaction.Desired.of({**arguments, "files": [*arguments["files"], extra]})
    transaction.run(with_extra, check=False)
    assert (running.root / "trust/old.pem").exists()
    apply(running)
    assert not (running.root / "trust/old.pem").exists()


def test_a_reload_by_somebody_else_is_noticed_and_made_good(running: World) -> None:
    running.daemon().reload()
    reasons = transaction.run(running.desired(), check=True)["reasons"]
    assert reasons == ["the gateway was restarted or reloaded by somebody else"]
    apply(running)


def test_a_crashed_worker_alone_is_no_reason_to_reload(running: World) -> None:
    generation = running.daemon().generation()
    assert generation is not None
    if len(generation.workers) < 2:
        pytest.fail("this test needs two workers: worker_processes auto on two cores")
    os.kill(int(generation.workers[0].split(":")[1]), signal.SIGKILL)
    assert transaction.run(running.desired(), check=True)["changed"] is False


BROKEN = {
    "test": ("ssl_verify_client on;", "ssl_verify_client perhaps;"),
    # Passes the native test; the live look sees that strangers are let in.
    "probe": ("ssl_verify_client on;", "ssl_verify_client optional_no_ca;"),
}


def broken(world: World, step: str) -> transaction.Desired:
    """A change that fails at this step, together with a renewal that must go back too."""
    renew(world)
    desired = world.desired()
    old, new = BROKEN[step]
    text = desired.config["nginx.conf"].decode().replace(old, new)
    if step == "probe":
        text, guards = re.subn(r"if \(\$allowed_1 [^)]*\)", "if ($allowed_1 = 7)", text)
        assert guards == 1
    return replace(desired, config={**desired.config, "nginx.conf": text.encode()})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live looks give up after a second: a wrong answer does not get better."""
    monkeypatch.setattr(probe, "PATIENCE", 1.0)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("step", sorted(BROKEN))
def test_a_failing_step_brings_the_previous_state_back_byte_for_byte_and_into_service(
    running: World, step: str
) -> None:
    wanted, leaf = snapshot(running.base), running.get(None).leaf
    previous, release = running.desired(), running.release
    change = broken(running, step)
    staged = snapshot(running.base)
    with pytest.raises(HostError) as caught:
        transaction.run(change, check=False)
    assert f"the step '{step}' failed" in caught.value.message
    assert "the previous configuration is back in place" in caught.value.message
    assert caught.value.found
    assert snapshot(running.base) == staged
    assert {name: staged[name] for name in wanted} == wanted
    assert running.get(None).leaf == leaf
    running.release = release
    # Nothing is left to do for the previous model: the record tells who serves now.
    assert transaction.run(previous, check=False)["changed"] is False


@pytest.mark.usefixtures("hurried")
def test_a_first_change_that_fails_leaves_no_file_no_link_and_no_process(world: World) -> None:
    change = broken(world, "probe")
    before = snapshot(world.base)
    with pytest.raises(HostError):
        transaction.run(change, check=False)
    assert snapshot(world.base) == before
    assert world.daemon().master() is None


class KilledAt(Transaction):
    """A transaction whose process gets SIGKILL at the beginning of one step."""

    def __init__(self, desired: transaction.Desired, step: str) -> None:
        super().__init__([desired])
        self._killed_at = step

    def _step(self, name: str, *changes: Change) -> None:
        super()._step(name, *changes)
        if name == self._killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_killed(desired: transaction.Desired, step: str) -> None:
    """The change in a process of its own, killed at ``step``."""
    child = os.fork()
    if child == 0:
        try:
            change = KilledAt(desired, step)
            change.compare()
            change.apply()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the change never came to the step {step}"


@pytest.mark.parametrize("step", [*STEPS, "reload"])
def test_the_run_after_a_kill_finishes_the_change(running: World, step: str) -> None:
    renew(running)
    run_killed(running.desired(), step)
    apply(running)
    assert running.get(None).leaf == running.release["certificate_sha256"]
    assert not (running.root.parent / ".transaction").exists()


def killed_at_file_change(desired: transaction.Desired, number: int) -> bool:
    """Run the change in a process killed at its ``number``-th rename or unlink; False: it ended."""
    child = os.fork()
    if child == 0:
        left = number

        def fatal(real: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: object, **options: object) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*arguments, **options)

            return call

        os.rename, os.unlink = fatal(os.rename), fatal(os.unlink)  # type: ignore[assignment]
        try:
            transaction.run(desired, check=False)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_between_any_two_file_changes_leaves_old_or_new_bytes_and_is_made_good(
    running: World,
) -> None:
    models, kills = [running.desired()], 0
    renew(running)
    models.append(running.desired())
    targets = {model.links[path] for model in models for path in model.links}
    while killed_at_file_change(wanted := models[(kills + 1) % 2], kills + 1):
        kills += 1
        assert {os.readlink(path) for path in wanted.links} <= targets
        for path, data in wanted.config.items():
            assert (running.root / path).read_bytes() == data
        transaction.run(wanted, check=False)
        assert transaction.run(wanted, check=False)["changed"] is False
        assert running.get(None).leaf == wanted.probes[0].certificate_sha256
    assert kills >= 5
    apply(running)
    assert running.get(None).leaf == running.release["certificate_sha256"]
    leftovers = [p for p in running.base.rglob("*") if p.name.startswith((".new-", ".link-"))]
    assert leftovers == []


@pytest.mark.parametrize("step", ["switch links", "probe", "record"])
def test_a_kill_and_then_a_change_of_mind_gives_back_the_old_state(
    running: World, step: str
) -> None:
    wanted, release = snapshot(running.base), running.release
    arguments = running.arguments()
    renew(running)
    extra = {"path": "trust/new.pem", "content": "new\n"}
    changed = {**running.arguments(), "files": [*arguments["files"], extra]}
    run_killed(transaction.Desired.of(changed), step)
    running.release = release
    apply(running)
    now = snapshot(running.base)
    assert {name: now[name] for name in wanted} == wanted
    assert "gateway/dip/trust/new.pem" not in now


@pytest.mark.usefixtures("hurried")
def test_a_failure_after_a_kill_goes_back_to_before_the_kill(running: World) -> None:
    wanted, leaf = snapshot(running.base), running.get(None).leaf
    change = broken(running, "probe")
    run_killed(change, "probe")
    assert running.get(None).leaf != leaf, "the killed run had not put anything into service"
    with pytest.raises(HostError):
        transaction.run(change, check=False)
    now = snapshot(running.base)
    assert {name: now[name] for name in wanted} == wanted
    assert running.get(None).leaf == leaf


def test_an_undo_record_that_somebody_damaged_stops_the_run_and_is_named(running: World) -> None:
    renew(running)
    run_killed(running.desired(), "test")
    record = running.root.parent / ".transaction/transaction.json"
    record.write_text("{}")
    before = snapshot(running.base)
    with pytest.raises(HostError, match="damaged") as caught:
        transaction.run(running.desired(), check=False)
    assert caught.value.where == str(record)
    assert snapshot(running.base) == before


def test_workers_of_a_killed_master_are_ended_and_the_gateway_is_back(running: World) -> None:
    master = running.daemon().master()
    assert master is not None
    orphans = [p.pid for p in processes.processes() if p.parent == master.pid]
    os.kill(master.pid, signal.SIGKILL)
    assert processes.listening_inodes("127.0.0.1", running.ingress), "no orphan holds the port"
    steps = apply(running)
    assert "start" in steps
    assert not [pid for pid in orphans if processes.process(pid)]
    assert running.get(None).status == 403


def test_a_stranger_on_a_port_is_named_before_anything_changes(world: World) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", world.egress))
        stranger.listen()
        with pytest.raises(HostError) as caught:
            transaction.run(world.desired(), check=False)
    assert caught.value.rule == "PORT-IN-USE"
    assert f"process {os.getpid()}" in caught.value.found
    assert not world.root.exists()


def test_a_missing_program_is_named_before_anything_changes(world: World) -> None:
    desired = replace(world.desired(), program=str(world.base / "no-such-program"))
    with pytest.raises(HostError, match="program nginx is missing"):
        transaction.run(desired, check=False)
    assert not world.root.exists()


def test_old_releases_and_crl_sets_are_pruned_and_the_live_ones_stay(running: World) -> None:
    for version in (2, 3):
        certificate = running.authorities.leaf(gw.OURS, "ours")
        running.release = running.stage_release(version, certificate)
        running.crl_set = running.stage_crls(certificate)
        apply(running)
    releases = sorted(p.name[:3] for p in (running.base / "tls/dip-nonprod/releases").iterdir())
    assert releases == ["v2-", "v3-"]
    assert len(list((running.base / "crl/dip-nonprod/sets").iterdir())) == 2
    assert (running.base / "tls/dip-nonprod/current/key.pem").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "trust/../../outside", "a//b"])
def test_a_path_that_leaves_the_root_is_refused(world: World, path: str) -> None:
    arguments = world.arguments()
    arguments["files"] = [{"path": path, "content": ""}]
    with pytest.raises(HostError, match="not acceptable"):
        transaction.Desired.of(arguments)
