# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab chooses its ports below the outgoing connections', or from the range it is given."""

from __future__ import annotations

import socket

import pytest
from unit.lab_imports import PkiError, ports

NAMES = ("vault", "app", "dip")


def free_run(count: int) -> int:
    """The first of ``count`` neighbouring ports that nobody holds."""
    return next(
        low
        for low in range(ports.LOWEST, ports.below_ephemeral(), count)
        if all(ports.is_free(low + step) for step in range(count))
    )


def test_without_a_range_ports_stay_below_those_of_outgoing_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ports.RANGE_VARIABLE, raising=False)
    chosen = ports.pick(NAMES, ())
    assert len(set(chosen.values())) == len(NAMES)
    assert all(ports.LOWEST <= port < ports.below_ephemeral() for port in chosen.values())


def test_ports_come_from_the_range_in_the_environment_and_both_its_ends_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = free_run(len(NAMES))
    monkeypatch.setenv(ports.RANGE_VARIABLE, f"{low}-{low + len(NAMES) - 1}")
    chosen = ports.pick(NAMES, ())
    assert sorted(chosen.values()) == list(range(low, low + len(NAMES)))


def test_a_range_in_which_all_ports_are_held_or_given_is_said_to_be_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = free_run(2)
    monkeypatch.setenv(ports.RANGE_VARIABLE, f"{low}-{low + 1}")
    with socket.create_server(("127.0.0.1", low)), pytest.raises(PkiError) as caught:
        ports.pick(["vault"], [low + 1])
    assert caught.value.rule == "LAB-PORT"
    assert caught.value.found == "2 ports tried"


@pytest.mark.parametrize(
    "text", ["20000", "20000-", "30000-20000", "80-90", "1-99999", "a-b", "٢-٣"]
)
def test_a_range_that_makes_no_sense_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(ports.RANGE_VARIABLE, text)
    with pytest.raises(PkiError) as caught:
        ports.pick(NAMES, ())
    assert caught.value.found == text
    assert ports.RANGE_VARIABLE in caught.value.where
