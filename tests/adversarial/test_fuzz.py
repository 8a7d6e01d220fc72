# SPDX-License-Identifier: GPL-3.0-or-later
"""The long run itself: it finds what is put there to be found, and goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from adversarial import fuzz, fuzz_world
from pki import reading
from unit import pki_factory as factory

INPUTS = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run takes its keys from files; the other tests of this process must not."""
    monkeypatch.setattr(factory, "key", factory.key)


def test_a_short_run_finds_nothing_and_counts_every_input(place: Path) -> None:
    state = fuzz.State(seed=1)
    fuzz.run(state, place, INPUTS)
    assert state.findings == []
    assert sum(state.outcomes.values()) == sum(state.kinds.values()) == INPUTS
    assert {name.split(":")[0] for name in state.outcomes} == {
        "accept", "request", "path", "crl", "ocsp", "read"
    }  # fmt: skip
    assert state.slowest["seconds"] > 0
    assert "findings         0" in fuzz.record(state)


def test_a_run_goes_on_where_it_stopped_with_the_same_inputs(place: Path) -> None:
    whole = fuzz.State(**json.loads((place / "state.json").read_text()))
    halves = fuzz.State(seed=1)
    fuzz.run(halves, place, INPUTS // 2)
    resumed = fuzz.State(**json.loads((place / "state.json").read_text()))
    assert resumed.done == INPUTS // 2
    fuzz.run(resumed, place, INPUTS)
    assert (resumed.outcomes, resumed.kinds) == (whole.outcomes, whole.kinds)


def spoiled_read(how: str) -> object:
    def read(files: object) -> object:
        if how == "raises":
            raise IndexError("nobody expects this")
        if how == "dies":
            os._exit(7)
        if how == "hangs":
            time.sleep(60)
        time.process_time()
        end = time.process_time() + fuzz.SECONDS + 0.1
        while time.process_time() < end:
            pass
        return ()

    return read


@pytest.mark.parametrize(
    ("how", "told"),
    [("raises", "RAISED IndexError"), ("dies", "died"), ("hangs", "overran"), ("lasts", "0 cert")],
)
def test_a_fault_is_found_and_its_input_kept(
    how: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz_world.keys_in(tmp_path)
    number = next(n for n in range(100) if fuzz_world.World().attempt(1, n).door == "read")
    monkeypatch.setattr(reading, "read", spoiled_read(how))
    monkeypatch.setattr(fuzz, "PATIENCE", 1.0 if how == "hangs" else 50.0)
    monkeypatch.setattr(fuzz, "SECONDS", 0.3)
    state = fuzz.State(seed=1, done=number)
    fuzz.run(state, tmp_path, number + 1)
    (finding,) = state.findings
    assert (finding["number"], told in finding["what"]) == (number, True)
    kept = tmp_path / f"finding-{number}"
    assert (kept / "0.bin").read_bytes() == fuzz_world.World().attempt(1, number).data[0]


def test_what_nobody_signed_is_noticed_when_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz_world.keys_in(tmp_path)
    world = fuzz_world.World()
    other = world.issuing.leaf(serial=99)
    assert world.knock(fuzz_world.Attempt("accept", "", (world.leaf, world.issuing.der)))
    for attempt in (
        fuzz_world.Attempt("accept", "", (other, world.issuing.der)),
        fuzz_world.Attempt("path", "", (other, world.issuing.der, world.root.der)),
        fuzz_world.Attempt("crl", "", (world.issuing.crl(number=5),)),
        fuzz_world.Attempt("ocsp", "", (world.issuing.ocsp(world.leaf, end=factory.NOW),)),
    ):
        with pytest.raises(fuzz_world.Unsound):
            world.knock(attempt)
