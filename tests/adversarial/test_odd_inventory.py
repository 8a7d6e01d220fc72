# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in the inventory, a person gets a sentence, never a fault of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from adversarial.hostile_world import (
    LONGEST_MESSAGE,
    NAME,
    NOW,
    ODD,
    HostileWorld,
    changed,
    fault_of,
    json_safe,
    places,
    ran,
    without,
)
from ansible.errors import AnsibleFilterError
from pki import gateway, inventory, policy_files, session, trust_files
from pki.documents import Validators
from pki.errors import PkiError
from pki.facts import dca_accounts, declarations, rosters
from pki.facts.scene import Scene
from unit.lab_imports import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "filter_plugins"))

import pki_endpoints

Variant = tuple[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> HostileWorld:
    return HostileWorld(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def policies() -> Any:
    return policy_files.load_policies(REPOSITORY / "policies", ["mhhs-dip"])


def variants(whole: Any) -> Iterator[Variant]:
    """``whole`` with each of its values made odd, taken out, or joined by a stranger."""
    for path in places(whole):
        shown = ".".join(map(str, path))
        for label, value in ODD.items():
            yield f"{shown} is {label}", changed(whole, path, value)
        yield f"{shown} is missing", without(whole, path)
    for path in places(whole):
        inner: Any = whole
        for key in path:
            inner = inner[key]
        if isinstance(inner, dict):
            for key in ("\x1b[31m", 7, None, "name ", "x" * 9999):
                text = ".".join(map(str, path))
                yield f"{text} has the key {key!a:.20}", changed(whole, (*path, key), 1)


def faults(whole: Any, use: Callable[[Any], object]) -> tuple[int, list[str]]:
    """How many variants were tried, and what was wrong with the answers to some of them."""
    found, count = [], 0
    for label, variant in variants(whole):
        count += 1
        try:
            use(variant)
        except PkiError as exc:
            problem = fault_of({**exc.as_result(), "message": str(exc)})
        except Exception as exc:
            problem = f"{type(exc).__name__}: {exc}"[:200]
        else:
            problem = ""
        if problem:
            found.append(f"{label}: {problem}")
    return count, found


def test_every_odd_value_in_the_inventory_is_answered_by_a_sentence(
    world: HostileWorld, policies: Any
) -> None:
    right = world.parameters()
    inputs = {name: right[name] for name in ("organisations", "certificates", "trust")}

    def use(variant: dict[str, Any]) -> None:
        parts = {name: variant.get(name) for name in inputs}
        trust_files.load_all(inventory.load(**parts, policies=policies), world.base)

    use(inputs)
    count, found = faults(inputs, use)
    assert count > 500
    assert not found, "\n".join(found)


def test_what_is_accepted_of_odd_entries_and_people_fits_the_facts(
    world: HostileWorld, policies: Any
) -> None:
    right = world.parameters()
    inputs = {name: right[name] for name in ("organisations", "certificates")}
    validators = Validators(policy_files.load_fact_schemas(REPOSITORY / "policies"))
    wrong: list[str] = []
    judged = 0

    def use(variant: dict[str, Any]) -> None:
        nonlocal judged
        parts = {name: variant.get(name) for name in inputs}
        declared = inventory.load(**parts, trust=right["trust"], policies=policies)
        state = world.base / "certificates"
        known = session.Inputs(declared, policies, {}, state, world.base, NOW, base_dir=world.base)
        seen = Scene(inputs=known, scope="offline", name="odd")
        for collector in (declarations, rosters, dca_accounts):
            for document in collector.collect(seen).documents:
                judged += 1
                wrong.append(validators.fault(document.kind, document.facts))

    use(inputs)
    count, found = faults(inputs, use)
    assert not found, "\n".join(found)
    assert not list(filter(None, wrong))
    assert count > 500
    assert judged > 100


def test_every_odd_value_of_a_gateway_is_answered_by_a_sentence(
    world: HostileWorld, policies: Any
) -> None:
    right = world.parameters()
    parts = {name: right[name] for name in ("organisations", "certificates", "trust")}
    declared = inventory.load(**parts, policies=policies)
    sources = gateway.Sources(
        declared,
        trust_files.load_all(declared, world.base),
        policies,
        gateway.Roots("/srv/tls", "/srv/crl", "/srv/gateway"),
    )

    def use(variant: dict[str, Any]) -> None:
        gateway.build_all(variant.get("gateways"), sources)

    use({"gateways": world.gateways()})
    count, found = faults({"gateways": world.gateways()}, use)
    assert count > 500
    assert not found, "\n".join(found)


def test_the_listeners_to_look_at_are_found_or_the_reason_is_told(world: HostileWorld) -> None:
    groups, hostvars = {"gateways": ["gw1"]}, {"gw1": {}}

    def use(variant: dict[str, Any]) -> None:
        try:
            pki_endpoints.endpoints(variant.get("gateways"), groups, hostvars)
        except AnsibleFilterError as exc:
            if "gateways" not in str(exc) or len(str(exc)) > LONGEST_MESSAGE:
                raise ValueError(f"says {exc}") from exc

    use({"gateways": world.gateways()})
    _, found = faults({"gateways": world.gateways()}, use)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["pki_crl_fetch", "pki_accept", "pki_plan", "pki_request"])
def test_a_module_answers_odd_parameters_with_a_sentence(world: HostileWorld, name: str) -> None:
    """The whole module, from the parameters' JSON to the result's; Ansible checks types first."""
    whole = arguments(world, name)
    found = []
    for option in world.parameters():
        for label, value in ODD.items():
            if option not in whole or not json_safe(value):
                continue
            result = ran(name, {**whole, option: value})
            if "error" in result and (problem := fault_of(result["error"])):
                found.append(f"{name}: {option} is {label}: {problem} {result['msg'][:200]}")
            elif "failed" not in result and option in ("organisations", "certificates", "trust"):
                found.append(f"{name}: {option} is {label}, and that was fine")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("wrong", ["certificates", "gateways"])
def test_a_group_that_nobody_is_in_is_an_error_before_the_key_server_is_asked(
    world: HostileWorld, wrong: str
) -> None:
    whole = {**arguments(world, "pki_plan"), "gateways": world.gateways()}
    whole["known_hosts"] = ["all", "gateways", "gw1"]
    assert ran("pki_plan", whole)["error"]["rule"].startswith("VAULT-")
    result = ran("pki_plan", changed(whole, (wrong, 0, "hosts"), "gatewyas"))
    assert result["error"]["rule"] == "INVENTORY"
    assert result["error"]["found"] == "gatewyas"
    assert result["error"]["next_step"] == "did you mean `gateways`?"
    assert wrong in result["error"]["where"]


def test_right_parameters_are_no_reason_for_an_error(world: HostileWorld) -> None:
    result = ran("pki_accept", arguments(world, "pki_accept"))
    assert [entry["certificate"] for entry in result["accepted"]] == [NAME], result


def arguments(world: HostileWorld, name: str) -> dict[str, Any]:
    """A module's parameters, all right but for a key server that nobody answers at."""
    whole = world.parameters()
    accept = {"kind": "accept", "certificate": NAME, "version": 1, "reason": "", "hosts": "all"}
    nobody = {"address": "https://127.0.0.1:1", "auth_method": "token", "timeout": 1}
    if name == "pki_accept":
        return {**whole, "actions": [accept], "key_digests": {}}
    if name == "pki_plan":
        return {**whole, "vault": nobody, "refused": [], "endpoints": []}
    if name == "pki_request":
        return {**whole, "vault": nobody, "actions": [{**accept, "kind": "create_key"}]}
    del whole["certificates_dir"]
    return whole
