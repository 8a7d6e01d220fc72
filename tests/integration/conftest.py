# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: servers that really run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.openbao_server import OpenBao
from integration.own_ports import ports_of_our_own
from integration.watched_lab import WatchedLab, living_lab
from kept_payloads.session import pytest_configure

__all__ = ["openbao", "ports_of_our_own", "pytest_configure", "watched_lab"]

# By their seconds. Two processes take whole files in turn: a long one that starts last leaves
# one of them without work.
LONGEST_FIRST = (
    "test_make_lab",
    "test_walk",
    "test_compromise_walk",
    "test_revoke",
    "test_export",
    "test_trail_walk",
    "test_gateway_deaths",
    "test_rollback",
    "test_api_key_delivery",
    "test_fleet",
    "test_canary",
    "test_backup",
    "test_examples_plan",
    "test_lab_lifecycle",
    "test_matrix_breakages",
    "test_readme",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    turns = {name: turn for turn, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(turns)))


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One OpenBao for the whole session. Tests keep apart by key names of their own."""
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    server.prepare()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def watched_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedLab]:
    """One recorded lab for all tests that look for secrets in what it did."""
    with living_lab(tmp_path_factory.mktemp("watched")) as lab:
        yield lab
