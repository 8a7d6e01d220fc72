# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is known of one certificate, and what is next, whatever is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import explain_stage, host_status
from pki.errors import PkiError
from pki.explain_stage import Told
from unit.controller_world import NAME, TRUST, World
from unit.pki_factory import DAY, NOW

HOLD = {"release": "v1-a", "by": "Ada", "reason": "no", "since": "2026-11-22T02:10:00Z"}
STATUS = {
    "name": NAME,
    "state": "deployed",
    "reason": "in_service",
    "message": "v2 is in service",
    "since": None,
    "waits_for": "",
    "next_action": "nothing",
    "live_version": 2,
    "pending_version": None,
    "difference": [],
    "versions": {"1": "superseded", "2": "accepted"},
    "held_why": "",
}
GATEWAY = {
    "name": "dip-gw",
    "product": "nginx",
    "hosts": "gateways",
    "ingress": [{"name": "webhook", "listen": "127.0.0.1:443", "certificate": NAME}],
    "egress": [{"name": "api", "listen": "127.0.0.1:8443", "certificate": "another"}],
}
BUDGET = {
    "gateway": "dip-gw",
    "listener": "webhook",
    "crl_age_seconds": 82740,
    "notes": ["retries nothing"],
}


def answer(current: str, held: Any = None, crl_set: Any = None, **gateway: Any) -> dict[str, Any]:
    ends = (NOW + 100 * DAY).isoformat()
    releases = [
        {"id": f"v{n}-{letter}", "version": n, "serial": f"{n}f", "not_after": ends}
        for n, letter in ((1, "a"), (2, "b"))
    ]
    told = {
        "name": "dip-gw", "running": True, "as_recorded": True, "interrupted": False,
        "problem": "", "listeners": [{"name": "webhook"}], "out_of_service": [],
        "uses": [f"/etc/pki/mtls/{NAME}/current"],
    }  # fmt: skip
    entry = {"certificate": NAME, "current": current, "held": held, "releases": releases}
    crls = {"trust": TRUST, "target": "sets/a", **(crl_set or {})}
    return {"certificates": [entry], "gateways": [{**told, **gateway}], "crl_sets": [crls]}


def told(**changes: Any) -> Told:
    whole = Told(
        status={"certificates": [STATUS]},
        no_plan="",
        hosts={"gw1": answer("v2-b"), "gw2": answer("v2-b")},
        gateways=[GATEWAY],
        budget=[BUDGET],
        groups={"gateways": ["gw1", "gw2"]},
    )
    return replace(whole, **changes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for version in (1, 2):
        made.request(version)
        made.reply(version, end=NOW + (100 * version) * DAY)
    made.crls()
    for version in (1, 2):
        made.keep(version=version)
    return made


def explained(world: World, name: str = NAME, **changes: Any) -> list[str]:
    return explain_stage.explain(world.inputs(), name, told(**changes), world.base / "trail")


def steps(lines: list[str]) -> list[str]:
    return [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]


def test_it_tells_of_declaration_versions_state_hosts_listeners_and_crls(world: World) -> None:
    lines = explained(world)
    text = " ".join("\n".join(lines).split())
    for words in (
        "policy mhhs-dip, environment nonprod (class nonprod), trust dca",
        "organisation example-energy",
        "for mtls, signing",
        "key in transit, delivery wrapped",
        "at transit-nonprod-tls/keys/dip-nonprod",
        "valid until 2027-03-01 (100 days left)",
        "v1 superseded",
        "v2 accepted",
        "deployed (in_service): v2 is in service",
        "gw1 v2-b in service kept: v1",
        "dip-gw/webhook on gateways ingress 127.0.0.1:443 nginx CRLs may be 22 h old",
        "webhook: retries nothing",
        "on the controller: dca: 0 h old",
    ):
        assert words in text, words
    # A listener of another certificate is none of its business.
    assert "8443" not in text
    assert lines[0] == NAME
    assert lines[-1].startswith("next: ")


def test_it_ends_in_when_the_next_one_is_asked_for(world: World) -> None:
    assert steps(explained(world))[0] == "nothing"
    ask_from = steps(explained(world))[-1]
    assert ask_from.startswith("the nightly run asks for a new one from 2027-0")


def watched(**told: Any) -> dict[str, Any]:
    return {"hosts": {"gw1": answer("v2-b", crl_set=told)}}


REVOKED = {"what": "our certificate", "certificate": NAME, "source": "the CRL"}
NEXT: dict[str, tuple[dict[str, Any], str]] = {
    "a certificate of ours that is revoked": (
        watched(refresh={"revoked": [REVOKED]}),
        "our certificate is REVOKED, as the CRL says on gw1: ansible-playbook -i INVENTORY "
        f"playbooks/renew.yml -e certificate={NAME}",
    ),
    "a CA above it that is revoked": (
        watched(refresh={"revoked": [{**REVOKED, "what": "the CA X", "certificate": ""}]}),
        "the CA X is REVOKED",
    ),
    "CRLs that are too old": (
        watched(guard={"directions": {"egress": {"in_force": "refusal"}}}),
        f"gw1 refuses egress of {TRUST}, as its CRLs are too old: open its way to them, or grant",
    ),
    "CRLs that get old": (
        watched(guard={"alarm_percent": 75}),
        f"gw1 has used up 75 % of the age that CRLs of {TRUST} may reach: ansible-playbook",
    ),
    "a host that keeps an older one": (
        {"hosts": {"gw1": answer("v1-a", HOLD)}},
        "gw1 keeps v1-a until it is released: ansible-playbook",
    ),
    "a host that is behind": ({"hosts": {"gw2": answer("v1-a")}}, "gw2 has v1 in service, not v2"),
    "a host that is silent": ({"hosts": {"gw1": {"msg": "no route"}}}, "gw1 did not answer"),
    "a gateway that is down": (
        {"hosts": {"gw1": answer("v2-b", running=False)}},
        "dip-gw on gw1: NOT RUNNING",
    ),
    "a plan that waits for a person": (
        {"status": {"certificates": [{**STATUS, "waits_for": "a person", "next_action": "paste"}]}},
        "wait for a person: paste",
    ),
    "no plan at all": ({"status": {}, "no_plan": "Vault\nis sealed"}, "bring back what is named"),
}


@pytest.mark.parametrize("name", NEXT)
def test_what_is_amiss_ends_in_what_to_do(world: World, name: str) -> None:
    changes, words = NEXT[name]
    assert any(step.startswith(words) for step in steps(explained(world, **changes)))


def test_without_plan_hosts_and_trail_the_rest_is_told_all_the_same(world: World) -> None:
    lines = explained(world, status={}, no_plan="Vault\nis sealed", hosts={}, budget=[])
    assert "  not planned: Vault is sealed" in lines
    text = " ".join("\n".join(lines).split())
    assert "v1 accepted key of" in text
    assert "dip-gw/webhook" in text
    assert "hosts nothing listeners" in text


def test_a_name_that_nothing_is_declared_as_is_refused_with_those_that_are(world: World) -> None:
    with pytest.raises(PkiError) as caught:
        explained(world, "nothing")
    assert caught.value.rule == "EXPLAIN"
    assert NAME in caught.value.expected
    assert "history.yml" in caught.value.next_step


def test_an_ended_certificate_says_so(world: World) -> None:
    inputs = replace(world.inputs(), now=NOW + 101 * DAY + timedelta(hours=1))
    lines = explain_stage.explain(inputs, NAME, told(), world.base / "trail")
    assert any("valid until 2027-03-01 (EXPIRED)" in line for line in lines)


def test_what_a_host_says_cannot_make_a_line_of_its_own(world: World) -> None:
    evil = {"hosts": {"gw1": {"msg": "x\nnext: rm -rf /"}}}
    lines = explained(world, **evil)
    assert "next: rm -rf /" not in lines
    assert host_status.NO_ANSWER in " ".join(lines)
