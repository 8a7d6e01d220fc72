# SPDX-License-Identifier: GPL-3.0-or-later
"""Which listeners are looked at: each ingress on each host of a gateway, where it answers."""

from __future__ import annotations

from typing import Any

import pytest
from unit.controller_world import load_file

ENDPOINTS = load_file("filter_plugins/pki_endpoints.py").FilterModule().filters()["pki_endpoints"]
HOSTS: dict[str, dict[str, str]] = {"gw1": {"ansible_host": "192.0.2.1"}, "gw2": {}}


def ingress(listen: str = "192.0.2.9:8443", **changes: Any) -> dict[str, Any]:
    entry = {"listen": listen, "certificate": "dip-nonprod", "server_name": "dip.example"}
    return {**entry, **changes}


def gateway(*listeners: dict[str, Any], hosts: str = "gateways") -> dict[str, Any]:
    return {"name": "edge", "hosts": hosts, "ingress": list(listeners)}


def endpoints(*gateways: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ENDPOINTS(
        list(gateways), {"gateways": ["gw1", "gw2"], "other": ["gw2"], "empty": []}, HOSTS
    )
    return found


def test_a_listener_is_looked_at_on_every_host_of_its_gateway() -> None:
    assert endpoints(gateway(ingress())) == [
        {
            "certificate": "dip-nonprod",
            "host": host,
            "address": "192.0.2.9",
            "port": 8443,
            "server_name": "dip.example",
        }
        for host in ("gw1", "gw2")
    ]


@pytest.mark.parametrize(
    ("listen", "address", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("gw.example:443", "gw.example", 443),
        ("0.0.0.0:443", "192.0.2.1", 443),
        ("[::]:443", "192.0.2.1", 443),
        ("*:443", "192.0.2.1", 443),
        (":443", "192.0.2.1", 443),
        ("443", "192.0.2.1", 443),
    ],
)
def test_a_listener_is_asked_at_its_address_or_at_its_hosts(
    listen: str, address: str, port: int
) -> None:
    found = endpoints(gateway(ingress(listen)))[0]
    assert (found["address"], found["port"]) == (address, port)


def test_a_host_without_an_address_is_asked_by_its_name() -> None:
    (found,) = endpoints(gateway(ingress("0.0.0.0:443"), hosts="other"))
    assert (found["host"], found["address"]) == ("gw2", "gw2")


@pytest.mark.parametrize(
    ("known", "address"),
    [
        ({"gateway_address": "198.51.100.7", "ansible_host": "192.0.2.1"}, "198.51.100.7"),
        ({"gateway_address": "", "ansible_host": "192.0.2.1"}, "192.0.2.1"),
        ({"gateway_address": "198.51.100.7"}, "198.51.100.7"),
    ],
)
def test_the_address_at_which_peers_reach_a_host_comes_before_the_one_ansible_uses(
    known: dict[str, str], address: str
) -> None:
    (found,) = ENDPOINTS([gateway(ingress("0.0.0.0:443"))], {"gateways": ["gw"]}, {"gw": known})
    assert found["address"] == address
    (bound,) = ENDPOINTS([gateway(ingress("192.0.2.9:443"))], {"gateways": ["gw"]}, {"gw": known})
    assert bound["address"] == "192.0.2.9"


def test_every_listener_of_every_gateway_is_there_in_order() -> None:
    found = endpoints(
        gateway(ingress("192.0.2.9:1"), ingress("192.0.2.9:2"), hosts="other"),
        gateway(ingress("192.0.2.9:3"), hosts="other"),
    )
    assert [entry["port"] for entry in found] == [1, 2, 3]


@pytest.mark.parametrize("hosts", ["empty", "nobody"])
def test_a_gateway_without_hosts_has_nothing_to_look_at(hosts: str) -> None:
    assert endpoints(gateway(ingress(), hosts=hosts)) == []


@pytest.mark.parametrize("listeners", [{}, {"ingress": None}, {"ingress": []}])
def test_a_gateway_that_only_goes_out_presents_nothing(listeners: dict[str, Any]) -> None:
    assert endpoints({"name": "edge", "hosts": "gateways", "egress": [{}], **listeners}) == []


def test_what_ansible_hands_over_becomes_plain_text_and_numbers() -> None:
    class Tagged(str):
        """A text with something attached, as templates give it."""

    listener = {key: Tagged(value) for key, value in ingress().items()}
    (found,) = endpoints(gateway(listener, hosts="other"))
    assert {type(value) for value in found.values()} == {str, int}
