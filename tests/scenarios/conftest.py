# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario ``default``, step after step; every file of tests may go on from any step.

One session creates the hosts once. What a file needs it asks for by the fixture's name, and the
steps before it are taken on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kept_payloads.session import pytest_configure
from scenarios.scenario import Change, Scenario
from scenarios.steps import Checked, check
from xdist.scheduler import LoadScopeScheduling

__all__ = ["pytest_configure"]

# Which files share hosts; every other file has hosts of its own. Two processes may run the tests,
# and what shares hosts must stay in one of them, in order.
SHARED = {"test_faults": "test_default"}


class HostsInTurn(LoadScopeScheduling):
    """Hands whole groups of files to the processes of pytest-xdist."""

    def _split_scope(self, nodeid: str) -> str:
        stem = Path(nodeid.partition("::")[0]).stem
        return SHARED.get(stem, stem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> HostsInTurn:
    return HostsInTurn(config, log)


@pytest.fixture(scope="session")
def hosts() -> Iterator[Scenario]:
    scenario = Scenario("default")
    scenario.molecule("destroy").succeeded()
    scenario.molecule("create").succeeded()
    yield scenario
    scenario.molecule("destroy").succeeded()


@pytest.fixture(scope="session")
def world(hosts: Scenario) -> Scenario:
    """Vault, CAs and far end are up; the gateways are virgin."""
    hosts.molecule("prepare").succeeded()
    return hosts


@pytest.fixture(scope="session")
def virgin_check(world: Scenario) -> Checked:
    return check(world)


@pytest.fixture(scope="session")
def first_run(world: Scenario, virgin_check: Checked) -> frozenset[Change]:
    world.molecule("converge").succeeded()
    return world.changes("real")


@pytest.fixture(scope="session")
def signed_check(world: Scenario, first_run: frozenset[Change]) -> Checked:
    """The human and the CA have answered; the check sees a deployment ahead."""
    world.playbook("molecule/shared/sign.yml").succeeded()
    return check(world)


@pytest.fixture(scope="session")
def deployment(world: Scenario, signed_check: Checked) -> frozenset[Change]:
    world.molecule("converge").succeeded()
    return world.changes("real")


@pytest.fixture(scope="session")
def deployed(world: Scenario, deployment: frozenset[Change]) -> Scenario:
    return world
