# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of a key in a real transit engine: foreseen, raced for, withdrawn and destroyed."""

from __future__ import annotations

import multiprocessing
import secrets
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from integration.openbao_server import TLS_MOUNT, OpenBao
from pki.errors import PkiError
from pki.stores.transit import TransitStore
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration
V15 = padding.PKCS1v15()


def store_of(client: Client) -> TransitStore:
    return TransitStore(client, TLS_MOUNT, "rsa-2048", exportable=True)


def client_of(role: str) -> Callable[[OpenBao], Iterator[Client]]:
    @pytest.fixture(scope="module")
    def made(openbao: OpenBao) -> Iterator[Client]:
        with openbao.client(role) as client:
            yield client

    return made


pipeline = client_of("pipeline")
operator = client_of("operator")
releasing = client_of("release")
retiring = client_of("retire")


@pytest.fixture
def name() -> str:
    return f"cert-{secrets.token_hex(4)}"


def refused(call: Callable[[], Any], rule: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    assert caught.value.rule == rule, str(caught.value)
    assert all(caught.value.as_result().values()), str(caught.value)
    return caught.value


# Foreseeing


def test_what_is_not_there_is_foreseen_as_nothing_and_nothing_is_made(
    pipeline: Client, name: str
) -> None:
    store = store_of(pipeline)
    assert store.foresee(name, 1) is None
    assert store.describe(name) is None
    made = store.ensure(name, 1)
    assert store.foresee(name, 1) == made
    assert store.foresee(name, 2) is None
    assert store.describe(name) == made


def test_what_would_be_refused_is_refused_beforehand(
    pipeline: Client, operator: Client, name: str
) -> None:
    store = store_of(pipeline)
    operator.write(f"{TLS_MOUNT}/keys/{name}", {"type": "aes256-gcm96", "exportable": True})
    for version in (1, 2):
        refused(lambda version=version: store.foresee(name, version), "KEY-TYPE")
    archived = f"{name}-archived"
    store.ensure(archived, 2)
    operator.write(f"{TLS_MOUNT}/keys/{archived}/config", {"min_decryption_version": 2})
    assert "versions 2" in refused(lambda: store.foresee(archived, 1), "KEY-VERSION").found
    operator.write(f"{TLS_MOUNT}/keys/{archived}/rotate", {})
    operator.write(f"{TLS_MOUNT}/keys/{archived}/config", {"min_decryption_version": 3})
    refused(lambda: store.ensure(archived, 2), "KEY-VERSION")


# Racing


def race(options: dict[str, str], name: str, version: int, start: Barrier, told: Any) -> None:
    """One of several runs, in a process of its own."""
    with Client(Settings.resolve(options, {})) as client:
        store = store_of(client)
        store.names()  # logged in and connected, as near to each other as can be
        start.wait()
        try:
            told.put(sorted(store.ensure(name, version).versions))
        except PkiError as error:
            told.put(error.rule)


def raced(openbao: OpenBao, name: str, version: int, runs: int = 2) -> list[Any]:
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(runs), context.Queue()
    given = (openbao.options("pipeline"), name, version, start, told)
    processes = [context.Process(target=race, args=given) for _ in range(runs)]
    for process in processes:
        process.start()
    answers = [told.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return answers


def test_two_processes_that_make_one_key_make_it_once(openbao: OpenBao, name: str) -> None:
    assert raced(openbao, name, 1) == [[1], [1]]


def test_two_processes_that_rotate_at_once_make_one_version_too_many_at_most_and_it_is_used(
    openbao: OpenBao, pipeline: Client
) -> None:
    """The engine cannot be told to rotate only if the newest is still N: the rest is told."""
    store = store_of(pipeline)
    for _ in range(3):
        name = f"raced-{secrets.token_hex(4)}"
        store.ensure(name, 1)
        answers = raced(openbao, name, 2)
        described = store.describe(name)
        assert described is not None
        newest = max(described.versions)
        assert newest in (2, 3)
        for answer in answers:
            assert answer == [1, 2] or (answer == "KEY-VERSION" and newest == 3), answers
        # The next run goes on with what is there, and makes no further version.
        assert store.foresee(name, 2) == described
        store.signing_key(name, 2).sign(b"m", V15, hashes.SHA256())
        assert (store.foresee(name, 3) is None) == (newest == 2)
        assert store.ensure(name, 3).versions[2] == described.versions[2]
        assert len(store.ensure(name, 3).versions) == 3


# Retiring


def test_a_withdrawn_version_neither_signs_nor_leaves_and_an_operator_can_bring_it_back(
    pipeline: Client, releasing: Client, retiring: Client, operator: Client, name: str
) -> None:
    store = store_of(pipeline)
    store.ensure(name, 2)
    old = store.signing_key(name, 1)
    signature = old.sign(b"m", V15, hashes.SHA256())
    done = store_of(retiring).retire(name, 2)
    assert done == (
        f"{TLS_MOUNT}/keys/{name}: versions below 2 neither sign nor are released any more",
    )
    with pytest.raises(PkiError):
        old.sign(b"m", V15, hashes.SHA256())
    refused(lambda: store.signing_key(name, 1), "KEY-VERSION")
    with pytest.raises(PkiError):
        store_of(releasing).wrap(name, 1, 30)
    # The live one is untouched.
    store.signing_key(name, 2).sign(b"m", V15, hashes.SHA256())
    assert store_of(releasing).wrap(name, 2, 30).ttl == 30
    operator.write(
        f"{TLS_MOUNT}/keys/{name}/config",
        {"min_decryption_version": 1, "min_encryption_version": 1},
    )
    assert store.signing_key(name, 1).sign(b"m", V15, hashes.SHA256()) == signature
    assert store_of(releasing).wrap(name, 1, 30).ttl == 30


def test_a_destroyed_version_is_gone_for_good(
    pipeline: Client, retiring: Client, operator: Client, name: str
) -> None:
    store, path = store_of(pipeline), f"{TLS_MOUNT}/keys/{name}"
    store.ensure(name, 3)
    done = store_of(retiring).retire(name, 3, destroy=True)
    assert [line.rpartition(": ")[2] for line in done] == [
        "versions below 3 neither sign nor are released any more",
        "versions below 3 are destroyed for good",
    ]
    with pytest.raises(PkiError):
        operator.write(f"{path}/config", {"min_decryption_version": 1})
    described = store.describe(name)
    assert described is not None
    assert list(described.versions) == [3]
    store.signing_key(name, 3).sign(b"m", V15, hashes.SHA256())


def test_what_was_withdrawn_can_be_destroyed_later_and_a_second_call_says_nothing(
    pipeline: Client, retiring: Client, name: str
) -> None:
    store_of(pipeline).ensure(name, 2)
    store = store_of(retiring)
    assert len(store.retire(name, 2)) == 1
    assert store.retire(name, 2) == ()
    assert len(store.retire(name, 2, destroy=True)) == 1
    assert store.retire(name, 2, destroy=True) == ()


@pytest.mark.parametrize("destroy", [False, True])
def test_a_check_says_the_same_and_changes_nothing(
    pipeline: Client, retiring: Client, operator: Client, name: str, destroy: bool
) -> None:
    store_of(pipeline).ensure(name, 2)
    before = operator.read(f"{TLS_MOUNT}/keys/{name}")
    store = store_of(retiring)
    foretold = store.retire(name, 2, destroy=destroy, check=True)
    assert operator.read(f"{TLS_MOUNT}/keys/{name}") == before
    assert store.retire(name, 2, destroy=destroy) == foretold


def test_the_only_version_has_nothing_before_it(
    pipeline: Client, retiring: Client, name: str
) -> None:
    store_of(pipeline).ensure(name, 1)
    assert store_of(retiring).retire(name, 1, destroy=True) == ()


def test_nothing_is_withdrawn_while_its_successor_is_not_there(
    pipeline: Client, retiring: Client, operator: Client, name: str
) -> None:
    store = store_of(retiring)
    refused(lambda: store.retire(name, 2), "KEY-VERSION")
    store_of(pipeline).ensure(name, 1)
    before = operator.read(f"{TLS_MOUNT}/keys/{name}")
    refused(lambda: store.retire(name, 2, destroy=True), "KEY-VERSION")
    assert operator.read(f"{TLS_MOUNT}/keys/{name}") == before


def test_the_pipeline_cannot_retire_and_the_retiring_role_cannot_make(
    pipeline: Client, retiring: Client, name: str
) -> None:
    store_of(pipeline).ensure(name, 2)
    refused(lambda: store_of(pipeline).retire(name, 2), "VAULT-DENIED")
    refused(lambda: store_of(retiring).ensure(f"{name}-new", 1), "VAULT-DENIED")
    refused(lambda: store_of(retiring).ensure(name, 3), "VAULT-DENIED")
    refused(lambda: store_of(retiring).wrap(name, 2, 30), "VAULT-DENIED")
