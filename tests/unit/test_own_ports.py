# SPDX-License-Identifier: GPL-3.0-or-later
"""Test processes that run at the same time share the ports of loopback without meeting."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
from integration import own_ports
from unit.lab_imports import REPOSITORY, ports

TAKE = """
import sys
from integration.own_ports import own
print(own().labs.start, own().tests.stop, flush=True)
sys.stdin.read()
"""


def another_process() -> subprocess.Popen[str]:
    """Takes a share, prints its first and last port, and ends with its stdin."""
    paths = os.pathsep.join(str(REPOSITORY / name) for name in ("tests", "module_utils"))
    inherited = {k: v for k, v in os.environ.items() if k != ports.RANGE_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-c", TAKE],
        env={**inherited, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_and_last(process: subprocess.Popen[str]) -> range:
    assert process.stdout
    first, stop = map(int, process.stdout.readline().split())
    return range(first, stop)


def test_parts_are_large_enough_for_many_labs_and_never_overlap() -> None:
    parts = own_ports.parts(range(10240, 32768))
    assert len(parts) == own_ports.SHARES
    assert all(len(part) >= 1000 for part in parts)
    assert not any(set(one) & set(other) for one, other in itertools.combinations(parts, 2))


def test_two_processes_hold_different_shares_and_an_ended_one_holds_none() -> None:
    mine = own_ports.own()
    processes = [another_process(), another_process()]
    try:
        one, other = map(first_and_last, processes)
    finally:
        for process in processes:
            process.communicate()
    assert not set(one) & set(other)
    assert not {*one, *other} & {*mine.labs, *mine.tests}
    assert ports.is_free(one.start - 1), "the port that held the share"


def test_more_processes_than_shares_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ports, "parts", lambda whole: [])
    with pytest.raises(RuntimeError, match="too many tests run at a time"):
        own_ports.take(range(10240, 32768))


def test_the_lab_understands_the_range_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    labs = own_ports.own().labs
    monkeypatch.setenv(ports.RANGE_VARIABLE, own_ports.lab_range())
    assert ports.allowed() == labs


def test_a_free_port_is_not_given_out_twice() -> None:
    found = [*own_ports.free_ports(20), own_ports.free_port(), own_ports.free_port()]
    assert len(set(found)) == len(found)
    assert set(found) <= set(own_ports.own().tests)
