# SPDX-License-Identifier: GPL-3.0-or-later
"""One Vault client and many threads: addresses, tokens and connections are never mixed up."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.own_ports import free_port
from integration.vault_tap import Exchange, Tap
from pki.errors import PkiError
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration
THREADS = 12


@pytest.fixture
def tap(openbao: OpenBao, tmp_path: Path) -> Iterator[Tap]:
    tap = Tap(tmp_path / "tap", (openbao.port, openbao.ca_cert)).start()
    yield tap
    tap.stop()


def at_once(work: Callable[[], object], threads: int = THREADS) -> list[object]:
    """What every thread came back with, an error included; all start together."""
    barrier = Barrier(threads)

    def one(_number: int) -> object:
        barrier.wait()
        try:
            return work()
        except PkiError as error:
            return error.rule

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def through(tap: Tap, openbao: OpenBao, **options: object) -> Client:
    return Client(settings(tap, openbao, **options))


def settings(tap: Tap, openbao: OpenBao, **options: object) -> Settings:
    given = {**openbao.options("pipeline"), **options}
    tapped = {"address": tap.address, "ca_cert": str(tap.ca_cert)}
    return Settings.resolve({**given, **tapped}, {})


def test_threads_that_meet_a_dead_address_all_get_to_the_living_one(openbao: OpenBao) -> None:
    """Without care two that fail together turn to the next address, and back again."""
    dead = f"https://127.0.0.1:{free_port()}"
    for _ in range(5):
        given = {**openbao.options("pipeline"), "address": f"{dead},{openbao.address}"}
        impatient = dataclasses.replace(Settings.resolve(given, {}), patience=0.0)
        with Client(impatient) as client:
            answers = at_once(lambda client=client: client.list(f"{TLS_MOUNT}/keys"))
        assert all(isinstance(answer, list) for answer in answers), answers


def test_threads_whose_token_dies_share_one_fresh_login(tap: Tap, openbao: OpenBao) -> None:
    with through(tap, openbao) as client, openbao.client("operator") as operator:
        own = client.read("auth/token/lookup-self")
        assert own is not None
        operator.write("auth/token/revoke-accessor", {"accessor": own["accessor"]})
        before = len(tap.seen)
        answers = at_once(lambda: client.list(f"{TLS_MOUNT}/keys"))
        assert all(isinstance(answer, list) for answer in answers), answers
        logins = [one for one in tap.seen[before:] if one.path.endswith("approle/login")]
    assert len(logins) == 1


def test_as_many_connections_as_threads_are_kept_and_used_again(tap: Tap, openbao: OpenBao) -> None:
    with through(tap, openbao) as client:
        for _ in range(5):
            at_once(lambda: client.list(f"{TLS_MOUNT}/keys"))
    assert len(tap.seen) > 5 * THREADS
    assert tap.connections <= THREADS + 1


def test_a_call_may_take_longer_than_the_timeout_when_it_is_known_to(
    openbao: OpenBao, tmp_path: Path
) -> None:
    path = f"{TLS_MOUNT}/keys/slow-{secrets.token_hex(4)}"

    def slow(exchange: Exchange) -> None:
        if exchange.path.endswith(path) and exchange.method == "POST":
            time.sleep(1.5)

    tap = Tap(tmp_path / "slow", (openbao.port, openbao.ca_cert), slow).start()
    try:
        body = {"type": "rsa-2048", "exportable": True}
        with through(tap, openbao, timeout="1") as client:
            client.list(f"{TLS_MOUNT}/keys")
            assert client.write(path, body, True, seconds=30.0)["latest_version"] == 1
        impatient = dataclasses.replace(settings(tap, openbao, timeout="1"), patience=0.0)
        with Client(impatient) as hasty:
            with pytest.raises(PkiError) as caught:
                hasty.write(path, body, True)
            assert caught.value.rule == "VAULT-TIMEOUT"
    finally:
        tap.stop()
    asked = Counter(one.method for one in tap.seen if one.path.endswith(path))
    assert asked["POST"] == 2
