# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateways of this scenario: three of two products on two hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class Gateway:
    """One gateway: its host, as testinfra and as callers see it, and its ingress."""

    name: str
    host: Any
    address: str
    port: int
    program: str
    unavailable: str

    @property
    def unit(self) -> str:
        return f"pki-gateway-{self.name}.service"

    @property
    def root(self) -> str:
        return f"/etc/pki/gateway/{self.name}"


# name: host, port of the ingress, program, status for a far end that is refused
GATEWAYS = {
    "dip-haproxy": ("gateway-haproxy", 8443, "haproxy", "503"),
    "dip-nginx": ("gateway-nginx", 8443, "nginx", "502"),
    "dip-beside": ("gateway-haproxy", 8444, "nginx", "502"),
}
WITH_EGRESS = ("dip-haproxy", "dip-nginx")


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario("gateways")


@pytest.fixture(scope="session")
def dip(scenario: Scenario) -> Any:
    return scenario.host("dip")


def _gateway(scenario: Scenario, name: str) -> Gateway:
    host, port, program, unavailable = GATEWAYS[name]
    address = str(scenario.addresses["hosts"][host])
    return Gateway(name, scenario.host(host), address, port, program, unavailable)


@pytest.fixture(params=GATEWAYS, scope="session")
def gateway(request: pytest.FixtureRequest, scenario: Scenario) -> Gateway:
    """Each gateway in turn."""
    return _gateway(scenario, request.param)


@pytest.fixture(params=WITH_EGRESS, scope="session")
def way_out(request: pytest.FixtureRequest, scenario: Scenario) -> Gateway:
    """Each gateway through which the DIP is called."""
    return _gateway(scenario, request.param)
