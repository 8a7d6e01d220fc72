# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of this process's own: tests run in several processes at a time, on one loopback.

A port that was found free is free for everybody until a server listens on it. So each process
has a share of the ports below those of outgoing connections: one half for the labs it brings
up, one for the servers of the tests themselves.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from unit.lab_imports import ports


@dataclass(frozen=True)
class Share:
    """What one of several processes may use."""

    labs: range
    tests: range


def share(whole: range, number: int, count: int) -> Share:
    """The ``number``-th (from 0) of ``count`` equal shares."""
    size = len(whole) // count
    mine = whole[number * size : (number + 1) * size]
    return Share(mine[: size // 2], mine[size // 2 :])


@cache
def own() -> Share:
    """This process's share, by the names pytest-xdist gives to its workers."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return share(ports.allowed(), number, count)


def lab_range() -> str:
    """As the lab's environment variable wants it."""
    labs = own().labs
    return f"{labs.start}-{labs.stop - 1}"


@cache
def _turns() -> Iterator[int]:
    """Every port of the tests' half in turn: none comes twice while it may still be wanted."""
    return itertools.cycle(random.sample(own().tests, len(own().tests)))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody holds, all different."""
    once_round = itertools.islice(_turns(), len(own().tests))
    found = list(itertools.islice(filter(ports.is_free, once_round), count))
    assert len(found) == count, f"no {count} free ports in {own().tests}"
    return found


def free_port() -> int:
    """One port of loopback that nobody holds."""
    return free_ports(1)[0]
