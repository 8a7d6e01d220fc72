# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts have in service, as a table and for machines; what a host says is only shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import host_status

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOLD = {"release": "v1-a", "by": "Ada", "reason": "no", "since": "2026-11-22T02:10:00Z"}
RELEASES = [
    {"id": "v1-a", "version": 1, "serial": "1f", "not_after": "2026-12-02T12:00:00+00:00"},
    {"id": "v2-b", "version": 2, "serial": "2f", "not_after": "2027-11-22T12:00:00+00:00"},
]
CRLS = {
    "trust": "dca",
    "target": "sets/abc",
    "fetched_at": "2026-11-22T09:00:00+00:00",
    "next_update": "2026-11-23T09:00:00+00:00",
}


def gateway(**changes: Any) -> dict[str, Any]:
    told = {
        "name": "dip",
        "product": "nginx",
        "running": True,
        "as_recorded": True,
        "interrupted": False,
        "problem": "",
        "listeners": [{"name": "webhook", "kind": "ingress", "address": "127.0.0.1", "port": 443}],
        "out_of_service": [],
        "uses": ["/etc/pki/mtls/dip/current", "/var/lib/pki-crl/dca/current"],
    }
    return {**told, **changes}


def host(current: str = "v2-b", held: Any = None, **changes: Any) -> dict[str, Any]:
    entry = {"certificate": "dip", "current": current, "held": held, "releases": RELEASES}
    return {"certificates": [entry], "gateways": [gateway(**changes)], "crl_sets": [CRLS]}


def row(table: str, line: int = 1) -> str:
    return " ".join(table.splitlines()[line].split())


def test_a_line_a_host_and_certificate_with_what_is_kept_and_who_holds_what() -> None:
    told = {
        "gw1": host("v1-a", HOLD),
        "gw2": host(),
        "gw3": {"msg": "no route\nto host"},
        "gw4": {},
    }
    hosts = host_status.document(told, NOW)
    table = host_status.release_table(hosts)
    assert row(table) == "gw1 dip v1-a 1f 10 v2 held by Ada since 2026-11-22T02:10:00Z: no"
    assert row(table, 2) == "gw2 dip v2-b 2f 365 v1 -"
    assert row(table, 3) == "gw3 no answer - - - - no route to host"
    assert row(table, 4) == "gw4 no answer - - - - it could not be reached"
    assert json.loads(json.dumps(hosts)) == hosts
    assert len({line.index("no answer") for line in table.splitlines() if "no answer" in line}) == 1


def test_a_hold_that_is_not_in_service_yet_is_told_as_an_intent() -> None:
    table = host_status.release_table(host_status.document({"gw1": host("v2-b", HOLD)}, NOW))
    assert "v1-a is to come back; held by Ada" in table


STATES: dict[str, tuple[dict[str, Any], str]] = {
    "as it was left": ({}, "running"),
    "reloaded by somebody": ({"as_recorded": False}, "RUNS, BUT NOT AS IT WAS LEFT"),
    "down": ({"running": False, "as_recorded": False}, "NOT RUNNING"),
    "interrupted": ({"interrupted": True}, "A CHANGE WAS INTERRUPTED: run site.yml"),
    "out of service": (
        {"running": False, "listeners": [], "out_of_service": ["webhook"]},
        "stopped: out of service",
    ),
    "started by somebody": (
        {"listeners": [], "out_of_service": ["webhook"]},
        "RUNS, AND IS OUT OF SERVICE",
    ),
    "unreadable": ({"problem": "too old"}, "NOT KNOWN: too old"),
}


@pytest.mark.parametrize("name", STATES)
def test_how_a_gateway_runs_is_told_in_a_few_words(name: str) -> None:
    changes, words = STATES[name]
    hosts = host_status.document({"gw1": host(**changes)}, NOW)
    assert host_status.gateway_state(hosts["gw1"]["gateways"][0]) == words
    assert words in host_status.gateway_table(hosts)


def test_a_gateway_is_told_with_its_listeners_and_the_crls_it_uses() -> None:
    table = host_status.gateway_table(host_status.document({"gw1": host()}, NOW))
    assert row(table) == (
        "gw1 dip running webhook 127.0.0.1:443 dca: 3 h old, until 2026-11-23T09:00Z"
    )
    other = host(uses=["/var/lib/pki-crl/another/current"])
    assert row(host_status.gateway_table(host_status.document({"gw1": other}, NOW))).endswith(" -")
    part = host(out_of_service=["second"])
    assert "second OUT OF SERVICE" in host_status.gateway_table(
        host_status.document({"gw1": part}, NOW)
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"next_update": "2026-11-22T11:00:00+00:00"}, "dca: 3 h old, EXPIRED"),
        ({"fetched_at": ""}, "dca: nobody knows how old"),
        ({"next_update": ""}, "dca: 3 h old"),
    ],
)
def test_crls_are_told_by_age_and_end(changes: dict[str, Any], words: str) -> None:
    told = {**host(), "crl_sets": [{**CRLS, **changes}]}
    (entry,) = host_status.document({"gw1": told}, NOW)["gw1"]["crl_sets"]
    assert host_status.crl_words(entry) == words


def refusing(*directions: str) -> dict[str, Any]:
    return {"directions": {name: {"in_force": "refusal"} for name in directions}}


WATCHED: dict[str, tuple[dict[str, Any], str]] = {
    "all is well": ({"guard": {"alarm_percent": 0, "clock": "steady"}, "refresh": {}}, ""),
    "an alarm": ({"guard": {"alarm_percent": 50}}, ", OVER 50 % OF ITS AGE"),
    "one direction refuses": (
        {"guard": {"alarm_percent": 100, **refusing("ingress")}}, ", TOO OLD: REFUSES INGRESS",
    ),
    "both directions refuse": (
        {"guard": refusing("egress", "ingress")}, ", TOO OLD: REFUSES INGRESS AND EGRESS",
    ),
    "the clock jumped": ({"guard": {"clock": "jumped"}}, ", THE CLOCK JUMPED"),
    "a poll failed": (
        {"refresh": {"outcome": "failed", "why": "no route"}}, ", POLL FAILED: no route",
    ),
    "our own is revoked": (
        {"refresh": {"revoked": [{"what": "our certificate dip v1"}]}},
        ", REVOKED: our certificate dip v1",
    ),
    "a grace": (
        {"grace": {"by": "Ada", "until": "2026-11-23T00:00:00Z", "reason": "a move"}},
        ", grace by Ada until 2026-11-23T00:00:00Z: a move",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WATCHED)
def test_what_the_host_does_about_its_crls_is_told_beside_their_age(name: str) -> None:
    changes, words = WATCHED[name]
    told = {**host(), "crl_sets": [{**CRLS, **changes}]}
    (entry,) = host_status.document({"gw1": told}, NOW)["gw1"]["crl_sets"]
    assert host_status.crl_words(entry) == f"dca: 3 h old, until 2026-11-23T09:00Z{words}"


@pytest.mark.parametrize("link", ["current", "ingress", "egress"])
def test_a_gateway_uses_a_set_by_any_of_its_links(link: str) -> None:
    told = host(uses=[f"/var/lib/pki-crl/dca/{link}"])
    assert "dca: 3 h old" in host_status.gateway_table(host_status.document({"gw1": told}, NOW))


def test_nothing_is_shown_where_nobody_was_asked() -> None:
    assert host_status.release_table({}) == host_status.gateway_table({}) == ""


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
names = st.sampled_from(
    ["certificate", "current", "held", "releases", "id", "version", "serial", "not_after", "name",
     "listeners", "out_of_service", "uses", "trust", "target", "fetched_at", "next_update",
     "refresh", "guard", "grace", "revoked", "directions", "ingress", "alarm_percent"]
)  # fmt: skip
entries = st.lists(st.dictionaries(names, anything | st.lists(st.dictionaries(names, anything))))
results = st.dictionaries(
    st.sampled_from(["certificates", "gateways", "crl_sets", "msg"]), entries | anything
)


@given(st.dictionaries(st.sampled_from(["gw1", "gw2"]), results | anything))
def test_whatever_a_host_says_is_shown_on_lines_of_its_own(told: dict[str, Any]) -> None:
    hosts = host_status.document(told, NOW)
    for table in (host_status.release_table(hosts), host_status.gateway_table(hosts)):
        assert all(character.isprintable() for character in table.replace("\n", ""))
