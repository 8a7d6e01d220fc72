# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy under the transaction: its process family, and what goes wrong with it, for real.

One gateway serves all tests of this file, in the order they stand.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways.products import HAPROXY
from integration import gateway_world as gw
from integration.gateway_world import World
from pki_host import processes, transaction
from pki_host.errors import HostError
from pki_host.service import Generation

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(HAPROXY.missing) and not os.environ.get("CI"), reason="no haproxy"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("haproxy"), HAPROXY)
    with gw.echo_app(made.app):
        try:
            transaction.run(made.desired(), check=False)
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def peer(world: World) -> Path:
    return world.client(world.authorities.leaf(gw.PEER, "peer"), "peer")


def serving(world: World) -> Generation:
    found = world.daemon().generation()
    assert found is not None
    return found


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def gone(pid: int) -> None:
    """Wait for the end of a process; a child of ours leaves a trace until somebody asks."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    eventually(lambda: processes.process(pid) is None)


def in_service(world: World) -> str:
    leaf = world.get(None).leaf
    return str(leaf)


def test_it_stays_in_the_foreground_in_a_session_of_its_own_with_logs_of_its_own(
    world: World, peer: Path
) -> None:
    master = world.daemon().master()
    assert master is not None
    assert os.getsid(master.pid) == master.pid
    assert world.get(peer).status == 200
    log = world.root / "log/access.log"
    assert log.stat().st_mode & 0o777 == 0o640
    line = json.loads(log.read_text().splitlines()[-1])
    assert (line["status"], line["verify"], line["allowed"]) == ("200", "SUCCESS", "yes")
    assert not transaction.run(world.desired(), check=False)["changed"]


def test_an_upstream_learns_from_it_what_it_would_learn_from_nginx(
    world: World, peer: Path, tmp_path: Path
) -> None:
    forged = {"X-Client-DN": "CN=admin", "x_client_dn": "CN=admin", "X-Forwarded-For": "192.0.2.9"}

    def seen(by: World) -> dict[str, str]:
        body = by.get(peer, forged).body
        headers = (line.partition(": ")[::2] for line in body.splitlines())
        return {name.lower(): value for name, value in headers if name.lower().startswith("x-")}

    other = World(tmp_path)
    other.authorities, other.release, other.crl_set = (
        world.authorities, other.stage_release(1, world.certificate), other.crl_set
    )  # fmt: skip
    other.crl_set = other.stage_crls()
    with gw.echo_app(other.app):
        try:
            transaction.run(other.desired(), check=False)
            assert seen(world) == seen(other)
        finally:
            other.stop()


REFUSED = {
    "no certificate": lambda world: None,
    "another subject": lambda world: world.client(
        world.authorities.leaf("other.dip.example", "peer"), "peer"
    ),
    "another case": lambda world: world.client(
        world.authorities.leaf(gw.PEER.upper(), "peer"), "peer"
    ),
    "a longer name": lambda world: world.client(
        world.authorities.leaf(f"x{gw.PEER}", "peer"), "peer"
    ),
    "the sibling's": lambda world: world.client(
        world.authorities.leaf(gw.PEER, "peer", by="sibling"), "peer", by="sibling"
    ),
    "two names": lambda world: world.client(
        gw.issue(
            gw.x509.Name([*gw.name(gw.PEER), gw.x509.NameAttribute(gw.Name.COMMON_NAME, "x")]),
            "peer",
            gw.name("issuing"),
            "issuing",
        ),
        "peer",
    ),
    "the name inside another attribute": lambda world: world.client(
        gw.issue(gw.name("other", f"x,CN={gw.PEER}"), "peer", gw.name("issuing"), "issuing"),
        "peer",
    ),
    "an issuing CA's of the same name": lambda world: world.client(
        gw.issue(gw.name(gw.PEER), "peer", gw.name("issuing"), "impostor"), "peer"
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_whoever_is_not_the_declared_peer_gets_an_answer_and_no_more(
    world: World, kind: str
) -> None:
    assert world.get(REFUSED[kind](world)).status == 403


def test_a_reload_is_a_new_worker_of_the_same_master_and_nobody_is_turned_away(
    world: World, peer: Path
) -> None:
    before, wrong, over = serving(world), list[object](), threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                status = world.get(peer).status
                wrong.extend([] if status == 200 else [status])
            except OSError as exc:
                wrong.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(3):
        world.daemon().reload()
    over.set()
    asking.join()
    after = serving(world)
    assert after.master == before.master
    assert len(after.workers) == 1
    assert after.workers != before.workers
    assert wrong == []


def test_a_worker_that_still_has_a_request_serves_nobody_else_and_is_ended_in_time(
    world: World,
) -> None:
    daemon = world.daemon()
    with socket.create_connection(("127.0.0.1", world.egress)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.2)
        old = serving(world).workers
        daemon.reload()
        assert serving(world).workers != old
        late = daemon.drain(0.5)
    assert [str(pid) for pid in late] == [one.split(":")[1] for one in old]
    assert daemon.drain(0) == []


def test_a_renewal_is_served_and_reloaded_not_restarted(world: World, peer: Path) -> None:
    transaction.run(world.desired(), check=False)
    before = serving(world)
    renewed = world.authorities.leaf(gw.OURS, "renewed")
    world.release = world.stage_release(2, renewed, "renewed")
    result = transaction.run(world.desired(), check=False)
    assert result["changed"]
    assert in_service(world) == renewed.fingerprint(gw.hashes.SHA256()).hex()
    assert world.get(peer).status == 200
    assert serving(world).master == before.master


def test_a_crl_with_the_peer_in_it_keeps_the_peer_out_at_once(world: World) -> None:
    revoked = world.authorities.leaf(gw.PEER, "peer")
    client = world.client(revoked, "peer")
    assert world.get(client).status == 200
    world.crl_set = world.stage_crls(revoked)
    transaction.run(world.desired(), check=False)
    assert world.get(client).status == 403
    log = world.root / "log/access.log"
    eventually(lambda: '"FAILED:23"' in log.read_text())  # it comes through a pipe
    (line,) = [json.loads(one) for one in log.read_text().splitlines() if one.startswith("{")][-1:]
    # 23: certificate revoked, in the words of the TLS library.
    assert (line["verify"], line["allowed"]) == ("FAILED:23", "no")


def test_a_load_that_fails_after_a_good_test_is_told_and_the_former_worker_serves_on(
    world: World, peer: Path
) -> None:
    daemon, config = world.daemon(), world.root / "haproxy.cfg"
    good, (port,) = config.read_text(), gw.free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        bind = f"frontend more\n    bind 127.0.0.1:{port}\n    default_backend ingress_1\n"
        config.write_text(f"{good}\n{bind}")
        daemon.test()
        with pytest.raises(HostError) as caught:
            daemon.reload()
    assert caught.value.rule == "GATEWAY-RELOAD"
    assert caught.value.found.startswith("[ALERT]")
    config.write_text(good)
    eventually(lambda: daemon.generation() and serving(world).workers)
    assert world.get(peer).status == 200
    daemon.reload()
    assert world.get(peer).status == 200


def test_a_crashed_worker_ends_the_master_and_the_next_run_starts_it(
    world: World, peer: Path
) -> None:
    transaction.run(world.desired(), check=False)
    (worker,) = serving(world).workers
    master = world.daemon().master()
    assert master is not None
    os.kill(int(worker.split(":")[1]), signal.SIGSEGV)
    gone(master.pid)
    result = transaction.run(world.desired(), check=False)
    assert any("not running" in one for one in _reasons(result))
    assert world.get(peer).status == 200


def test_a_killed_master_takes_its_workers_along_retiring_ones_too(
    world: World, peer: Path
) -> None:
    daemon = world.daemon()
    with socket.create_connection(("127.0.0.1", world.egress)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.2)
        daemon.reload()
        master = daemon.master()
        assert master is not None
        family = [one for one in processes.processes() if one.parent == master.pid]
        assert len(family) == 2
        os.kill(master.pid, signal.SIGKILL)
        gone(master.pid)
        eventually(lambda: all(processes.process(one.pid) is None for one in family))
    assert daemon.generation() is None
    assert not daemon.still_listens("127.0.0.1", world.ingress)
    transaction.run(world.desired(), check=False)
    assert world.get(peer).status == 200


def test_a_stranger_on_the_port_is_named_before_anything_is_touched(
    world: World, peer: Path
) -> None:
    log = world.root / "log/access.log"
    before = log.read_bytes()
    world.stop()
    with socket.create_server(("127.0.0.1", world.ingress)):
        with pytest.raises(HostError) as caught:
            transaction.run(world.desired(), check=False)
        assert caught.value.rule == "PORT-IN-USE"
        # And where nobody looks before, the program says why it does not start.
        with pytest.raises(HostError) as caught:
            world.daemon().start()
        assert caught.value.rule == "GATEWAY-START"
        assert "cannot bind socket" in caught.value.found
    transaction.run(world.desired(), check=False)
    assert world.get(peer).status == 200
    # What was logged before a start is still there.
    assert log.read_bytes().startswith(before)
    assert len(log.read_bytes()) > len(before)


def test_a_worker_is_no_master_and_another_gateway_s_process_is_not_ours(world: World) -> None:
    master = world.daemon().master()
    assert master is not None
    elsewhere = HAPROXY.adapter
    assert not elsewhere.is_master(master.title, f"{world.root}2")
    assert not elsewhere.is_master(master.title, str(world.root.parent))
    (worker,) = serving(world).workers
    found = processes.process(int(worker.split(":")[1]))
    assert found is not None
    assert found.parent == master.pid
    assert elsewhere.is_worker(found.title)


def _reasons(result: dict[str, Any]) -> list[str]:
    """The reasons of a result, of one gateway or of several."""
    several = result.get("gateways")
    return [why for one in several for why in one["reasons"]] if several else result["reasons"]
