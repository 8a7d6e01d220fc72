# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not declared does not pass, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenarios.calls import PORT, listens
from scenarios.scenario import Scenario

UNDECLARED = 9999
On = Callable[[str], Any]


@pytest.fixture
def listener(gateway: Any) -> Iterator[None]:
    """Somebody on the gateway listens on a port that nobody declared."""
    gateway.run_expect(
        [0], f"systemd-run --unit undeclared python3 -m http.server {UNDECLARED} --bind 0.0.0.0"
    )
    try:
        for _ in range(50):
            if listens(gateway, "127.0.0.1", UNDECLARED, 1):
                break
        else:
            raise AssertionError("the listener did not start")
        yield
    finally:
        gateway.run("systemctl stop undeclared")


@pytest.fixture
def outside(on: On) -> Iterator[str]:
    """Somebody on the client host listens; gateways have no business there."""
    client = on("client")
    client.run_expect(
        [0], f"systemd-run --unit outside python3 -m http.server {UNDECLARED} --bind 0.0.0.0"
    )
    try:
        for _ in range(50):
            if listens(client, "127.0.0.1", UNDECLARED, 1):
                break
        yield str(client.check_output("hostname -I").split()[0])
    finally:
        client.run("systemctl stop outside")


def test_the_ingress_port_is_open_to_the_client(on: On, address: str) -> None:
    assert listens(on("client"), address, PORT)


@pytest.mark.usefixtures("listener")
def test_an_undeclared_port_is_closed(gateway: Any, scenario: Scenario, on: On) -> None:
    name = gateway.check_output("hostname")
    assert not listens(on("client"), scenario.addresses["hosts"][name], UNDECLARED)


def test_a_gateway_reaches_vault(gateway: Any, scenario: Scenario) -> None:
    assert listens(gateway, scenario.addresses["hosts"]["vault"], 8200)


def test_a_gateway_does_not_reach_what_is_not_declared(gateway: Any, on: On, outside: str) -> None:
    assert listens(on("dip"), outside, UNDECLARED), "another host must reach it"
    assert not listens(gateway, outside, UNDECLARED)


def test_every_chain_of_ours_drops_what_is_left(gateway: Any) -> None:
    table = gateway.check_output("nft list table inet pki")
    for hook in ("input", "output", "forward"):
        assert f"hook {hook} " in table
    assert "policy accept" not in table


def test_the_rules_are_loaded_at_boot(gateway: Any) -> None:
    assert gateway.check_output("systemctl is-enabled pki-firewall.service") == "enabled"
