# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of this process's own: tests run in several processes at a time, on one loopback.

A port that was found free is free for everybody until a server listens on it, and a lab's
gateway listens minutes after its ports were chosen. So each test process takes a share of the
ports below those of outgoing connections, whichever run or checkout it belongs to: one half for
the labs it brings up, one for the servers of the tests themselves. Listening on the first port
of a share is what holds it, and the kernel lets go of it with the process.
"""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import pytest
from unit.lab_imports import ports

SHARES = 16


@dataclass(frozen=True)
class Share:
    """What one of several processes may use."""

    labs: range
    tests: range
    holder: socket.socket = field(repr=False)


def parts(whole: range) -> list[range]:
    """Equal parts of all ports, one for each share."""
    size = len(whole) // SHARES
    return [whole[start : start + size] for start in range(0, size * SHARES, size)]


def take(whole: range) -> Share:
    """The first share that nobody holds."""
    for part in parts(whole):
        try:
            holder = socket.create_server(("127.0.0.1", part.start))
        except OSError:
            continue
        middle = part.start + len(part) // 2
        return Share(range(part.start + 1, middle), range(middle, part.stop), holder)
    raise RuntimeError(f"{SHARES} processes hold all ports: too many tests run at a time")


@cache
def own() -> Share:
    """This process's share, held until it ends."""
    return take(ports.allowed())


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


@pytest.fixture(scope="session", autouse=True)
def ports_of_our_own() -> Iterator[None]:
    """Labs of this process choose their ports where no other test process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ports.RANGE_VARIABLE, lab_range())
        yield
