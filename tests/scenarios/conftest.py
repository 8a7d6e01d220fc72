# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario ``default``, step after step; every file of tests may go on from any step.

One session creates the hosts once. What a file needs it asks for by the fixture's name, and the
steps before it are taken on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenarios.scenario import Change, Scenario
from scenarios.steps import Checked, check


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
