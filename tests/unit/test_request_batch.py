# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests in one run: a few at a time, each for itself, and told as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pki import request_batch
from pki.errors import PkiError
from pki.history import Committed
from pki.request_batch import Batch, Done, Outcome, Wish
from pki.stores.base import KeyRecord
from unit.controller_world import World, certificate_entry
from unit.test_request_stage import SoftwareStore

NAMES = tuple(f"c{number}" for number in range(8))
NOTHING = Committed.of({}, {})


class Store(SoftwareStore):
    """Keys in this process, made while ``watch`` looks on; it may raise."""

    def __init__(self, watch: Callable[[str], None] = lambda _name: None) -> None:
        super().__init__()
        self.watch = watch
        self.asked: list[str] = []

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        self.asked.append(name)
        record = self.describe(name)
        return record if record is not None and version in record.versions else None

    def ensure(self, name: str, version: int) -> KeyRecord:
        self.watch(name)
        return super().ensure(name, version)

    def of(self, _certificate: object) -> Store:
        """It is the only store there is."""
        return self


@pytest.fixture
def world(tmp_path: Path) -> World:
    entries = [certificate_entry(name, domain=f"{name}.example.co.uk") for name in NAMES]
    return World(tmp_path, certificates=entries)


def run(world: World, store: Any, threads: int = 3, **options: Any) -> Outcome:
    wanted = [Wish(name, 1, True) for name in NAMES]
    return Batch(world.inputs(), store, NOTHING, **options).run(wanted, threads)


def fault(rule: str) -> PkiError:
    fields = {"found": "f", "expected": "e", "where": "w", "next_step": "n"}
    return PkiError("it failed", rule=rule, **fields)


def failing(rule: str, *names: str) -> Store:
    def watch(name: str) -> None:
        if name in names:
            raise fault(rule)

    return Store(watch)


def written(world: World) -> set[str]:
    return {path.parts[-3] for path in world.kept.rglob("request.yml")}


def test_every_certificate_gets_its_request_and_results_keep_the_order_of_the_plan(
    world: World,
) -> None:
    outcome = run(world, Store())
    assert [one.certificate for one in outcome.done] == list(NAMES)
    assert {(one.key, one.files) for one in outcome.done} == {("made", request_batch.FILES)}
    assert outcome.refused == ()
    assert written(world) == set(NAMES)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_as_many_calls_are_in_flight_as_were_asked_for_and_never_more(
    world: World, threads: int
) -> None:
    lock, now, most = threading.Lock(), 0, 0
    full = threading.Barrier(threads)

    def watch(name: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if NAMES.index(name) < threads:
            full.wait(30)  # they can only go on together
        with lock:
            now -= 1

    assert len(run(world, Store(watch), threads).done) == len(NAMES)
    assert most == threads


def test_a_failure_is_of_its_certificate_alone(world: World) -> None:
    outcome = run(world, failing("KEY-TYPE", "c1", "c2", "c3", "c6"))
    assert [one.certificate for one in outcome.refused] == ["c1", "c2", "c3", "c6"]
    assert {one.error.rule for one in outcome.refused} == {"KEY-TYPE"}
    assert outcome.refused[0].as_result()["error"]["message"] == "it failed"
    assert written(world) == {"c0", "c4", "c5", "c7"} == {o.certificate for o in outcome.done}


@pytest.mark.parametrize("rule", sorted(request_batch.SERVER_FAULTS))
def test_nothing_more_is_begun_once_the_server_failed_everybody(world: World, rule: str) -> None:
    store = failing(rule, *NAMES)
    outcome = run(world, store, threads=2)
    assert [one.certificate for one in outcome.refused] == list(NAMES)
    assert {one.error.rule for one in outcome.refused} == {rule}
    assert len(store.asked) <= 3  # one more may have been on its way
    untried = outcome.refused[-1].error
    assert "not tried" in untried.message
    assert untried.found == "it failed: f"
    assert all(untried.as_result().values())


def test_the_server_has_not_failed_everybody_while_others_succeed(world: World) -> None:
    outcome = run(world, failing("VAULT-UNREACHABLE", "c0", "c2", "c4", "c6"), threads=1)
    assert len(outcome.done) == len(outcome.refused) == 4


def test_a_fault_of_ours_is_raised_when_all_others_are_done(world: World) -> None:
    def watch(name: str) -> None:
        if name == "c0":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(world, Store(watch))
    assert written(world) == set(NAMES) - {"c0"}


def test_a_line_is_told_for_every_key_that_was_to_be_made(world: World) -> None:
    told: list[str] = []
    run(world, failing("KEY-TYPE", "c5"), threads=1, tell=told.append)
    assert [line.rpartition(",")[0] for line in told] == [
        f"{name}: {'refused (KEY-TYPE)' if name == 'c5' else 'key made'}, {number} of 8"
        for number, name in enumerate(NAMES, start=1)
    ]
    assert all(line.endswith(" s") for line in told)


def test_nothing_is_told_of_keys_that_are_there(world: World) -> None:
    store, told = Store(), []
    wanted = [Wish(name, 1, False) for name in NAMES]
    for name in NAMES:
        store.ensure(name, 1)
    batch = Batch(world.inputs(), store, NOTHING, tell=told.append)  # type: ignore[arg-type]
    assert {one.key for one in batch.run(wanted, 3).done} == {"present"}
    assert told == []


def test_a_check_foresees_everything_and_changes_nothing(world: World) -> None:
    def never(_name: str) -> None:
        raise AssertionError

    outcome = run(world, Store(never), check=True)
    assert {(one.key, one.files) for one in outcome.done} == {
        ("would be made", request_batch.FILES)
    }
    assert not world.kept.exists()
    diff = outcome.done[0].diff()
    assert (diff["before"], diff["after"].splitlines()[0]) == ("", "a new key, and for c0 v1:")


def test_a_diff_shows_what_is_there_beside_what_it_becomes(world: World) -> None:
    store = Store()
    run(world, store)
    whole = (world.kept / "c0/1/submission.txt").read_text()
    (world.kept / "c0/1/submission.txt").write_text("another text\n")
    again = run(world, store, check=True)
    assert [one.certificate for one in again.done if one.changed] == ["c0"]
    assert again.done[0].diff() == {
        "before_header": "c0 v1",
        "after_header": "c0 v1",
        "before": "another text\n",
        "after": whole,
    }
    assert (world.kept / "c0/1/submission.txt").read_text() == "another text\n"


def test_a_second_run_finds_nothing_to_do(world: World) -> None:
    store = Store()
    run(world, store)
    outcome = run(world, store)
    assert not any(one.changed for one in outcome.done)
    assert outcome.done[0].sentence() == "c0 v1: key present; request unchanged"


def action(name: str, kind: str = "create_key", version: int = 1) -> dict[str, Any]:
    return {"kind": kind, "certificate": name, "version": version, "reason": "", "hosts": ""}


@pytest.mark.parametrize(
    ("actions", "wishes"),
    [
        ([], ()),
        ([action("c0", "deploy"), action("c0", "accept")], ()),
        ([action("c0"), action("c0", "write_request")], (Wish("c0", 1, True),)),
        ([action("c0", "write_request"), action("c0")], (Wish("c0", 1, True),)),
        ([action("c0", "write_request", 3)], (Wish("c0", 3, False),)),
        ([action("c1"), action("c0")], (Wish("c1", 1, True), Wish("c0", 1, True))),
        ([action("device"), action("device", "write_request")], ()),
        ([action("device"), action("c0")], (Wish("c0", 1, True),)),
    ],
)
def test_what_is_wanted_is_what_the_plan_says_of_keys_in_transit(
    world: World, actions: list[dict[str, Any]], wishes: tuple[Wish, ...]
) -> None:
    device = certificate_entry("device", domain="device.example", key={"store": "external"})
    world.certificates.append(device)
    assert request_batch.wishes(world.inputs(), actions) == wishes


def test_an_action_for_a_certificate_that_nobody_declared_is_refused(world: World) -> None:
    with pytest.raises(PkiError) as caught:
        request_batch.wishes(world.inputs(), [action("stray")])
    assert (caught.value.rule, caught.value.found) == ("OPTION", "stray")


@pytest.mark.parametrize("number", [-1, 0, request_batch.MOST_THREADS + 1])
def test_a_number_of_threads_that_no_server_could_bear_is_refused(number: int) -> None:
    with pytest.raises(PkiError) as caught:
        request_batch.threads_wanted(number)
    assert caught.value.found == str(number)


def test_a_done_request_as_a_result_is_plain(world: World) -> None:
    done: Done = run(world, Store()).done[0]
    assert done.as_result() == {
        "certificate": "c0",
        "version": 1,
        "directory": str(world.kept / "c0" / "1"),
        "key": "made",
        "files": ["request.csr", "submission.txt", "request.yml"],
    }
    assert done.sentence().startswith("c0 v1: key made; commit ")
