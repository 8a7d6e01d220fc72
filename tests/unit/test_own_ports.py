# SPDX-License-Identifier: GPL-3.0-or-later
"""Test processes that run at the same time share the ports of loopback without meeting."""

from __future__ import annotations

import itertools

import pytest
from integration import own_ports
from unit.lab_imports import ports


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shares_are_large_enough_and_never_overlap(count: int) -> None:
    whole = range(10240, 32768)
    shares = [own_ports.share(whole, number, count) for number in range(count)]
    parts = [part for share in shares for part in (share.labs, share.tests)]
    assert all(len(part) >= 1000 for part in parts)
    assert all(set(part) <= set(whole) for part in parts)
    assert not any(set(one) & set(other) for one, other in itertools.combinations(parts, 2))


def test_the_lab_understands_the_range_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    labs = own_ports.own().labs
    monkeypatch.setenv(ports.RANGE_VARIABLE, own_ports.lab_range())
    assert ports.allowed() == labs


def test_a_free_port_is_not_given_out_twice() -> None:
    found = [*own_ports.free_ports(20), own_ports.free_port(), own_ports.free_port()]
    assert len(set(found)) == len(found)
    assert set(found) <= set(own_ports.own().tests)
