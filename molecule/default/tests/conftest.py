# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of this scenario, through podman."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scenarios.scenario import Scenario

GATEWAYS = ("gateway", "gateway-old")


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario("default")


@pytest.fixture(scope="session")
def on(scenario: Scenario) -> Callable[[str], Any]:
    return scenario.host


@pytest.fixture(params=GATEWAYS)
def gateway(request: pytest.FixtureRequest, on: Callable[[str], Any]) -> Any:
    """Each gateway host in turn."""
    return on(request.param)


@pytest.fixture(params=GATEWAYS)
def address(request: pytest.FixtureRequest, scenario: Scenario) -> str:
    """The address of each gateway in turn."""
    return str(scenario.addresses["hosts"][request.param])
