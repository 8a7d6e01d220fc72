# SPDX-License-Identifier: GPL-3.0-or-later
"""Key, certificate and CRLs are changed five times while a thousand callers come; nobody is lost.

The control run does the same without the transaction, as it is often done by hand: it loses
callers, so the counting can count.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from gateways.load import OK, Callers, Counted, Settings
from gateways.products import Product
from integration.gateway_world import OURS, PEER, World, pem
from pki_host import transaction

ROTATIONS = 5
CONNECTIONS = 1000
CONTROLS = 3
CALLERS = 4


class Quiet(ThreadingHTTPServer):
    """HAProxy ends connections to the application by a reset, which is nobody's fault."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Application:
    """What is behind the gateway: remembers which requests it was asked."""

    def __init__(self, port: int) -> None:
        self.asked: set[str] = set()
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked.add(self.headers["X-Request-Id"])
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = Quiet(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Stage:
    """A running gateway with its application, and what the callers are given."""

    world: World
    application: Application
    settings: Settings

    def next_release(self, number: int) -> None:
        """Another key, its certificate, and CRLs that revoke one more client."""
        label = f"rotated-{number}"
        certificate = self.world.authorities.leaf(OURS, label)
        revoked = [self.world.authorities.leaf(PEER, "gone") for _ in range(number)]
        self.world.release = self.world.stage_release(number + 1, certificate, label)
        self.world.crl_set = self.world.stage_crls(*revoked)


@pytest.fixture(scope="session")
def stage(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    world = World(tmp_path_factory.mktemp("rotation"), product)
    for number in range(1, ROTATIONS + CONTROLS + 1):
        world.authorities.leaf(OURS, f"rotated-{number}")  # keys take their time to make
    root_ca = world.base / "root.pem"
    root_ca.write_text(pem(world.authorities.root))
    client = world.client(world.authorities.leaf(PEER, "peer"), "peer")
    transaction.run(world.desired(), check=False)
    generation = world.daemon().generation()
    assert generation is not None
    kept = len(generation.workers)
    application = Application(world.app)
    try:
        yield Stage(
            world, application, Settings(world.ingress, str(root_ca), str(client), CALLERS, kept)
        )
    finally:
        world.stop()
        application.close()


@dataclass(frozen=True)
class Rotated:
    """What the callers saw, and the leaves in the order in which they were put into service."""

    counted: Counted
    leaves: list[str]
    begun: list[float]
    workers: int


def rotate(stage: Stage, change: Callable[[int], None], times: int, connections: int) -> Rotated:
    """Change ``times`` times while callers come, spread over so many connections."""
    leaves = [str(stage.world.release["certificate_sha256"])]
    begun = []
    with Callers(stage.settings) as callers:
        for number in range(1, times + 1):
            callers.wait_for(connections * number // (times + 1))
            begun.append(time.time())
            change(number)
            leaves.append(str(stage.world.release["certificate_sha256"]))
        callers.wait_for(connections)
        counted = callers.stop()
    return Rotated(counted, leaves, begun, stage.settings.kept)


@pytest.fixture(scope="session")
def rotated(stage: Stage) -> Rotated:
    """Five rotations by the transaction, the last of which revokes a client that was good."""
    world = stage.world
    victim = world.authorities.leaf(PEER, "victim")
    caller = world.client(victim, "victim")
    assert world.get(caller).status == 200

    def change(number: int) -> None:
        stage.next_release(number)
        if number == ROTATIONS:
            world.crl_set = world.stage_crls(victim)
        result = transaction.run(world.desired(), check=False)
        assert result["changed"]
        assert "reload" in result["steps"]

    seen = rotate(stage, change, ROTATIONS, CONNECTIONS)
    assert world.get(caller).status == 403
    return seen


def test_no_new_connection_fails_while_key_certificate_and_crl_are_rotated(
    rotated: Rotated,
) -> None:
    assert len(rotated.counted.new) >= CONNECTIONS
    assert rotated.counted.failures == {}


def test_every_rotation_was_seen_by_callers_and_none_was_taken_back(rotated: Rotated) -> None:
    """Otherwise they would have been made beside the load."""
    order = {leaf: place for place, leaf in enumerate(rotated.leaves)}
    assert {one.leaf for one in rotated.counted.new} == set(order)
    for before, after in pairwise(rotated.begun):
        # Between two rotations the first of them came into service and stayed.
        late = [one for one in rotated.counted.new if before < one.began < after][-CALLERS:]
        expected = rotated.leaves[rotated.begun.index(before) + 1]
        assert {one.leaf for one in late} == {expected}


def test_a_kept_connection_loses_at_most_one_request_per_worker_and_rotation(
    rotated: Rotated,
) -> None:
    kept = rotated.counted.kept
    assert kept.failed == ()
    assert kept.answered >= ROTATIONS
    ends = [*rotated.begun[1:], float("inf")]
    for begin, end in zip(rotated.begun, ends, strict=True):
        lost = [one for one in kept.lost if begin <= one.at < end]
        assert len(lost) <= rotated.workers, lost
    assert all(one.at >= rotated.begun[0] for one in kept.lost)


def test_a_lost_request_can_safely_be_repeated_once(rotated: Rotated, stage: Stage) -> None:
    assert stage.application.asked
    for one in rotated.counted.kept.lost:
        assert one.received == 0, one
        assert one.outcome in ("closed", "reset"), one
        assert one.again == OK, one
        assert one.identity not in stage.application.asked, "the application saw it"


def test_the_same_by_hand_loses_callers(stage: Stage, rotated: Rotated) -> None:
    """Files are copied over those in use, and the process is restarted."""
    world = stage.world

    def by_hand(number: int) -> None:
        stage.next_release(ROTATIONS + number)
        for one in (world.release, world.crl_set):
            link = Path(one["link"]["path"])
            for file in (link.parent / one["link"]["target"]).iterdir():
                if not file.is_symlink():
                    shutil.copyfile(file, link / file.name)
        daemon = world.daemon()
        daemon.stop()
        daemon.start()

    seen = rotate(stage, by_hand, CONTROLS, CONNECTIONS // 4)
    assert seen.counted.failures["refused"] >= 1, seen.counted.failures
