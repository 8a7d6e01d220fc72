# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of this scenario: from inside through podman, and by ssh as the operator sees them."""

from __future__ import annotations

from typing import Any

import pytest
from scenarios.operator_way import Way
from scenarios.scenario import Scenario


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario("operator")


@pytest.fixture(scope="session")
def way(scenario: Scenario) -> Way:
    return Way.of(scenario)


@pytest.fixture(scope="session")
def gateway(scenario: Scenario) -> Any:
    return scenario.host("gateway")


@pytest.fixture(scope="session")
def dip(scenario: Scenario) -> Any:
    return scenario.host("dip")
