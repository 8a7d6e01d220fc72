# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard on running gateways: nobody gets in or out on CRLs that are too old, whoever waits.

Time is what each tick is told; a product's gateway serves all tests of it, in the order they stand.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways.products import HAPROXY, NGINX, NGINX_DEBIAN, Product
from integration import gateway_world as gw
from integration.gateway_world import World
from pki_host import crl_guard, crl_guard_gateways, crl_refusal, files, transaction
from pki_host.service import Generation
from unit.guarded_host import DAY, TRUST, GuardedHost

pytestmark = pytest.mark.integration

FAR_END = "api.dip.example"
LATE = 2 * DAY


class Guarded(World):
    """A gateway with an application behind it, a far end before it, and a guard."""

    def __init__(self, base: Path, product: Product) -> None:
        super().__init__(base, product)
        self.host = GuardedHost(base)
        self.host.watch()
        self.host.stage(self.crl_set["link"]["target"])
        self.host.confirm()
        leaf = self.authorities.leaf(gw.PEER, "peer")
        self.peer = self.client(leaf, "peer")
        far_end = gw.issue(gw.name(FAR_END), "far-end", gw.name("issuing"), "issuing", host=FAR_END)
        self.far_end = self.client(far_end, "far-end")

    def tick(self, seconds: float = 0) -> list[str]:
        """One tick of the guard so many seconds from now; what it told."""
        ticked = crl_guard.tick(self.host.root, self.host.now + seconds)
        return [str(line) for line in ticked.lines]

    def generation(self) -> Generation | None:
        return self.daemon().generation()

    def asked(self) -> tuple[int, int]:
        """What a good peer gets at the ingress, and an application at the egress."""
        connection = http.client.HTTPConnection("127.0.0.1", self.egress, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            out = connection.getresponse().status
        return self.get(self.peer).status, out

    @property
    def refused(self) -> tuple[int, int]:
        return 403, self.product.unavailable

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.base / "crl/guard.json").read_text()))


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class FarEnd(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that refuses us is no fault of the test's."""


@contextlib.contextmanager
def far_end(port: int, certificate: Path) -> Iterator[None]:
    """The peer that the egress calls."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = FarEnd(("127.0.0.1", port), Quiet)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module", params=[NGINX, NGINX_DEBIAN, HAPROXY], ids=str)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    product: Product = request.param
    if product.missing and not os.environ.get("CI"):
        pytest.skip(product.missing)
    made = Guarded(tmp_path_factory.mktemp(product.name), product)
    with gw.echo_app(made.app), far_end(made.dip, made.far_end):
        try:
            transaction.run(made.desired(), check=False)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(crl_guard_gateways, "RETRY_SECONDS", 0.5)
                yield made
        finally:
            made.stop()


#: What is decided without a product's help is shown on one.
on_one_product = pytest.mark.parametrize("world", [NGINX], indirect=True, ids=str)


def test_a_healthy_host_is_never_reloaded(world: Guarded) -> None:
    before = world.generation()
    assert world.tick() == []
    assert world.tick(60) == []
    assert world.generation() == before
    assert world.asked() == (200, 200)
    assert [*world.record()["loaded"]] == ["dip"]


def test_past_its_age_good_peers_are_refused_in_both_directions_until_it_is_fresh(
    world: Guarded,
) -> None:
    master = world.daemon().master()
    told = world.tick(LATE)
    assert "gateway dip: reloaded, it refuses" in told[-1]
    assert world.asked() == world.refused
    assert (world.host.place / "egress/crl.pem").read_text() == crl_refusal.PEM
    world.daemon().test()  # the product takes the refusal as a configuration
    before = world.generation()
    assert [line for line in world.tick(LATE + 60) if "gateway" in line] == []
    assert world.generation() == before
    assert "gateway dip: reloaded, it uses its CRL sets" in world.tick()[-1]
    assert world.asked() == (200, 200)
    assert world.daemon().master() == master


@on_one_product
def test_a_tick_makes_good_what_was_killed_between_rename_and_reload(world: Guarded) -> None:
    crl_guard.put_in_force(world.host.root, TRUST, world.host.now + LATE)
    assert world.asked() == (200, 200)
    world.tick(LATE)
    assert world.asked() == world.refused
    crl_guard.put_in_force(world.host.root, TRUST, world.host.now)
    world.tick()
    assert world.asked() == (200, 200)


@on_one_product
def test_a_link_that_was_exchanged_twice_between_two_ticks_is_loaded_again(
    world: Guarded,
) -> None:
    """Another run reloaded the gateway while it was refused; its record says nothing of that."""
    world.tick()
    crl_guard.put_in_force(world.host.root, TRUST, world.host.now + LATE)
    world.daemon().reload()
    crl_guard.put_in_force(world.host.root, TRUST, world.host.now)
    assert world.asked() == world.refused
    world.tick()
    assert world.asked() == (200, 200)


@on_one_product
def test_a_record_that_cannot_be_read_costs_one_reload_and_none_that_is_missing(
    world: Guarded,
) -> None:
    world.tick()
    record = world.base / "crl/guard.json"
    record.write_text("{")
    assert "reloaded, it uses its CRL sets" in world.tick()[-1]
    assert world.tick() == []
    record.unlink()
    before = world.generation()
    assert world.tick() == []
    assert world.generation() == before


@on_one_product
def test_a_gateway_that_somebody_stopped_is_left_alone_and_loads_what_is_in_force(
    world: Guarded,
) -> None:
    world.tick()
    world.daemon().stop()
    assert [line for line in world.tick(LATE) if "gateway" in line] == []
    assert world.generation() is None
    world.daemon().start()
    assert world.asked() == world.refused
    world.tick()
    assert world.asked() == (200, 200)


@on_one_product
def test_a_run_loads_everything_once_more_after_the_guard_and_then_finds_nothing_to_do(
    world: Guarded,
) -> None:
    """The guard takes no lock, so it cannot vouch for what else a gateway loaded with its CRLs."""
    world.tick(LATE)
    world.tick()
    result = transaction.run(world.desired(), check=False)
    assert result["reasons"] == ["the gateway was restarted or reloaded by somebody else"]
    assert transaction.run(world.desired(), check=True)["changed"] is False
    assert world.tick() == []


_HOLDER = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
with open(sys.argv[2], "r+") as handle:
    handle.truncate(len(handle.read()) // 2)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def stopped_in_the_middle(world: Guarded) -> Iterator[None]:
    """A run that holds the lock, has written half a configuration, and is stopped."""
    lock = str(world.base / "gateway/.lock")
    configuration = world.root / world.product.config_file
    whole = configuration.read_bytes()
    command = [sys.executable, "-c", _HOLDER, lock, str(configuration)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGSTOP)
            with open(lock, "rb") as handle, pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            holder.kill()
            configuration.write_bytes(whole)


def test_a_gateway_that_cannot_load_the_refusal_is_ended_and_started_once_it_is_fresh(
    world: Guarded,
) -> None:
    world.tick()
    with stopped_in_the_middle(world):
        begun = time.monotonic()
        told = world.tick(LATE)
        assert time.monotonic() - begun < 30
        assert "gateway dip: ended, as it did not load the refusal" in told[-1]
        assert world.generation() is None
        assert "did not load" in world.record()["stopped"]["dip"]
        assert [line for line in world.tick(LATE + 60) if "gateway" in line] == []
        # Fresh again, but the configuration is still half of one: told each tick, tried each tick.
        for seconds in (0, 60):
            assert "could not be started again" in world.tick(seconds)[-1]
        assert world.generation() is None
    assert "gateway dip: started again" in world.tick()[-1]
    assert world.asked() == (200, 200)
    assert world.record()["stopped"] == {}
    assert world.tick(60) == []


@on_one_product
def test_a_run_that_goes_on_is_not_in_the_way(world: Guarded) -> None:
    """It has written half a configuration when the guard reloads, and the rest a moment later."""
    configuration = world.root / world.product.config_file
    whole = configuration.read_bytes()
    configuration.write_bytes(whole[: len(whole) // 2])
    finishing = threading.Timer(0.4, configuration.write_bytes, (whole,))
    finishing.start()
    try:
        assert "it refuses" in world.tick(LATE)[-1]
    finally:
        finishing.join()
    assert world.asked() == world.refused
    world.tick()


def test_a_gateway_that_cannot_go_back_to_its_set_refuses_and_is_not_ended(
    world: Guarded,
) -> None:
    world.tick(LATE)
    with stopped_in_the_middle(world):
        assert "did not load its CRL set again" in world.tick()[-1]
        assert world.asked() == world.refused
    world.tick()
    assert world.asked() == (200, 200)


@on_one_product
def test_somebody_who_starts_an_ended_gateway_is_looked_after(world: Guarded) -> None:
    with stopped_in_the_middle(world):
        world.tick(LATE)
    world.daemon().start()
    world.tick(LATE)
    assert world.asked() == world.refused
    assert world.record()["stopped"] == {}
    world.tick()
    assert world.asked() == (200, 200)


@on_one_product
def test_where_no_link_can_be_changed_the_gateway_is_ended(world: Guarded) -> None:
    link = world.host.place / "ingress"
    target = link.readlink()
    link.unlink()
    link.mkdir()
    os.link(world.host.place / "current/crl.pem", link / "crl.pem")
    try:
        assert world.generation() is not None
        assert "ended, as what is in force could not be changed" in world.tick(LATE)[-1]
        assert world.generation() is None
    finally:
        files.remove_tree(str(link))
        link.symlink_to(target)
    world.tick()
    assert world.asked() == (200, 200)
