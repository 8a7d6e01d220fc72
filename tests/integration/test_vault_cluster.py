# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster loses its leader while keys are made, and then its majority: three real nodes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.vault_cluster import Cluster, cluster
from pki.errors import PkiError
from pki.stores.base import KeyRecord
from pki.stores.transit import TransitStore
from pki.vault import Client

pytestmark = pytest.mark.integration

THREADS = 4
KEYS = 24


def store(client: Client) -> TransitStore:
    return TransitStore(client, TLS_MOUNT, "rsa-2048", exportable=True)


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def test_a_cluster_serves_through_a_lost_leader_and_says_so_without_a_majority(
    three: Cluster,
) -> None:
    keys_made_through_a_standby_are_read_back_there(three)
    leader = three.leader()
    made = keys_made_while_the_leader_dies(three, leader)
    remaining = [node for node in three.nodes if node is not leader]
    every_key_is_there_once_and_the_same_for_every_node(three, remaining, made)
    survivor, lost = remaining
    lost.kill()
    without_a_majority_writing_fails_in_time_and_in_words(three, survivor)


def keys_made_through_a_standby_are_read_back_there(three: Cluster) -> None:
    """It passes writes on and answers reads itself, a moment late."""
    with Client(three.settings("pipeline", three.standbys()[:1])) as client:
        for _ in range(5):
            name = f"standby-{secrets.token_hex(4)}"
            assert list(store(client).ensure(name, 1).versions) == [1]
            assert list(store(client).ensure(name, 2).versions) == [1, 2]


def keys_made_while_the_leader_dies(three: Cluster, leader: OpenBao) -> dict[str, KeyRecord]:
    """Many threads share one client, as in a run; the leader is killed amid their calls."""
    names = [f"shared-{number}-{secrets.token_hex(3)}" for number in range(KEYS)]
    begun = threading.Semaphore(0)
    nodes = [leader, *(node for node in three.nodes if node is not leader)]

    def make(name: str) -> KeyRecord:
        begun.release()
        return store(client).ensure(name, 1)

    with (
        Client(three.settings("pipeline", nodes)) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        client.list(f"{TLS_MOUNT}/keys")
        futures = {name: pool.submit(make, name) for name in names}
        for _ in range(THREADS + 2):
            begun.acquire()
        leader.kill()
        assert sum(not future.done() for future in futures.values()) >= THREADS - 1
        return {name: future.result(timeout=90) for name, future in futures.items()}


def every_key_is_there_once_and_the_same_for_every_node(
    three: Cluster, nodes: list[OpenBao], made: dict[str, KeyRecord]
) -> None:
    assert three.leader() in nodes
    for node in nodes:
        with Client(three.settings("pipeline", [node])) as client:
            for name, record in made.items():
                assert store(client).describe(name) == record, name
                assert list(record.versions) == [1]


def without_a_majority_writing_fails_in_time_and_in_words(
    three: Cluster, survivor: OpenBao
) -> None:
    begun = time.monotonic()
    nodes = [survivor, *(node for node in three.nodes if node is not survivor)]
    settings = three.settings("pipeline", nodes, patience=5.0, timeout=10.0)
    with Client(settings) as client, pytest.raises(PkiError) as caught:
        store(client).ensure(f"never-{secrets.token_hex(4)}", 1)
    error = caught.value
    assert time.monotonic() - begun < 45
    # A survivor that has not noticed yet that it leads nobody answers with an internal error.
    known = ("VAULT-NO-LEADER", "VAULT-UNREACHABLE", "VAULT-TIMEOUT", "VAULT-SERVER")
    assert error.rule in known, str(error)
    assert error.next_step
    assert "addresses given" in error.found
    for node in three.nodes:
        assert node.address in error.found
