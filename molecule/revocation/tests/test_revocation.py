# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that keep CRLs fresh and refuse without: running, hardened, without a network."""

from __future__ import annotations

from typing import Any

import pytest
from scenarios.revocation_world import CACHE, GATEWAYS, GUARD, REFRESH, TRUST
from scenarios.scenario import Scenario

# What systemd-analyze says of a unit; above it a directive of the hardening is missing.
EXPOSURE = {REFRESH: 4.0, GUARD: 2.5}


@pytest.fixture(params=GATEWAYS, scope="module")
def host(request: pytest.FixtureRequest) -> Any:
    return Scenario("revocation").host(request.param)


@pytest.mark.parametrize("unit", EXPOSURE)
def test_its_timer_runs_and_starts_at_boot(host: Any, unit: str) -> None:
    assert host.check_output(f"systemctl is-active {unit}.timer") == "active"
    assert host.check_output(f"systemctl is-enabled {unit}.timer") == "enabled"
    assert host.check_output(f"systemctl show -P Result {unit}.service") == "success"


@pytest.mark.parametrize("unit", EXPOSURE)
def test_it_is_no_more_exposed_than_it_must_be(host: Any, unit: str) -> None:
    said = host.check_output(f"systemd-analyze security --no-pager {unit}.service")
    overall = said.splitlines()[-1]
    assert "Overall exposure level" in overall
    assert float(overall.partition(": ")[2].split()[0]) <= EXPOSURE[unit], overall


def test_the_guard_has_no_network(host: Any) -> None:
    assert host.check_output(f"systemctl show -P PrivateNetwork {GUARD}.service") == "yes"


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_the_fetched_list_is_in_force(host: Any, direction: str) -> None:
    assert host.check_output(f"readlink {CACHE}/{TRUST}/{direction}") == "current"


def test_no_unit_has_failed(host: Any) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
