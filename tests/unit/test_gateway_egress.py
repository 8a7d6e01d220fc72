# SPDX-License-Identifier: GPL-3.0-or-later
"""Egress listeners: one for each DIP ID, with its API key; and what probes are told."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from pki import gateway, inventory, policy_files
from pki.errors import PkiError
from unit import controller_world, gateway_entry, lab_imports  # noqa: F401 - shows the way
from unit.gateway_entry import ENTRY, PROJECT

OURS = "1000000001"


def with_ids(*ids: str) -> gateway.Sources:
    """The entry's sources where the organisation has these DIP IDs."""
    sources = gateway_entry.sources()
    (organisation,) = sources.declared.organisations.values()
    owner = replace(organisation, dip_ids=ids)
    certificates = {
        name: replace(one, organisation=owner)
        for name, one in sources.declared.certificates.items()
    }
    declared = inventory.Declared({owner.key: owner}, certificates, sources.declared.trust)
    return replace(sources, declared=declared)


def entry(*egress: dict[str, Any], name: str = "gw") -> dict[str, Any]:
    """The gateway with these changes of its egress, each a listener of its own."""
    (first,) = ENTRY["egress"]
    listeners = [
        {**first, "name": f"api-{at}", "listen": f"127.0.0.1:{9443 + at}", **changes}
        for at, changes in enumerate(egress)
    ]
    return {**copy.deepcopy(ENTRY), "name": name, "egress": listeners}


def egress(sources: gateway.Sources, **changes: object) -> dict[str, Any]:
    (model,) = gateway.build_all([entry(dict(changes))], sources)
    return dict(model["egress"][0])


def test_without_a_word_there_is_no_dip_id_no_api_key_and_the_root_is_asked_for() -> None:
    listener = egress(with_ids())
    assert (listener["dip_id"], listener["api_key"]) == ("", None)
    assert listener["probe"] == {"path": "/"}


def test_an_api_key_has_the_policys_header_and_a_directory_that_never_changes() -> None:
    sources = with_ids(OURS)
    listener = egress(sources, dip_id=OURS, api_key="dip-nonprod")
    assert listener["api_key"] == {
        "name": "dip-nonprod",
        "header": sources.policies["mhhs-dip"].parameter("api_key_header"),
        "directory": "/etc/pki/mtls/api-keys/dip-nonprod/current",
    }
    (model,) = gateway.build_all([entry({"dip_id": OURS, "api_key": "dip-nonprod"})], sources)
    assert model["api_keys"] == ["dip-nonprod"]


REFUSED = {
    "a DIP ID of somebody else": ({"dip_id": "1000000009"}, "not a DIP ID of the organisation"),
    "a DIP ID that is a phrase": ({"dip_id": "one two"}, "not usable"),
    "an API key for nobody": ({"api_key": "k"}, "an API key belongs to a DIP ID"),
    "an API key that is a path": ({"dip_id": OURS, "api_key": "../k"}, "not usable"),
    "a probe of another place": ({"probe": {"path": "http://elsewhere/"}}, "not usable"),
    "a probe with a line feed": ({"probe": {"path": "/a\r\nHost: b"}}, "not usable"),
    "a probe with a client": ({"probe": {"key": "/k"}}, "unknown key `key`"),
    "peers, which an egress has none of": ({"peers": [{"CN": "a"}]}, "unknown key `peers`"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refused_as_an_egress_is(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(PkiError) as caught:
        egress(with_ids(OURS), **changes)
    assert message in caught.value.message


def test_an_organisation_without_recorded_dip_ids_may_name_its_own() -> None:
    assert egress(with_ids(), dip_id="1000000009")["dip_id"] == "1000000009"


def test_a_dip_id_has_one_egress_listener_in_a_gateway() -> None:
    with pytest.raises(PkiError, match="share one dip_id"):
        gateway.build_all([entry({"dip_id": OURS}, {"dip_id": OURS})], with_ids(OURS))


def test_an_api_key_is_of_one_dip_id_whichever_gateway_sends_it() -> None:
    other = "1000000002"
    one = entry({"dip_id": OURS, "api_key": "k"})
    two = entry({"dip_id": other, "api_key": "k"}, name="second")
    with pytest.raises(PkiError, match="one API key is named for two DIP IDs"):
        gateway.build_all([one, two], with_ids(OURS, other))
    same = entry({"dip_id": OURS, "api_key": "k"}, name="second")
    assert len(gateway.build_all([one, same], with_ids(OURS, other))) == 2


def test_a_gateway_waits_for_its_api_key_and_has_its_link_switched_with_the_rest() -> None:
    (model,) = gateway.build_all([entry({"dip_id": OURS, "api_key": "k"})], with_ids(OURS))
    release = {
        "certificate": "dip",
        "certificate_sha256": "ab" * 32,
        "link": {"path": "/etc/pki/mtls/dip/current", "target": "releases/v1"},
    }
    crls = {"trust": "nonprod", "link": {"path": "/crl/current", "target": "sets/1"}}
    staged = {
        "name": "k",
        "link": {"path": "/etc/pki/mtls/api-keys/k/current", "target": "releases/v1-00"},
    }
    assert gateway.deployment(model, [release], [crls])["waits_for"] == ["an API key k"]
    absent = {"name": "k", "link": None}
    waiting = gateway.deployment(model, [release], [crls], (), [absent])
    assert waiting["waits_for"] == ["an API key k"]
    ready = gateway.deployment(model, [release], [crls], (), [staged])
    assert ready["waits_for"] == []
    assert staged["link"] in ready["links"]


def test_a_stand_in_of_the_far_end_is_a_client_that_probes_can_play() -> None:
    changed = copy.deepcopy(ENTRY)
    changed["ingress"][0]["probe"] = {"certificate": "/etc/peer/c.pem", "key": "/etc/peer/k.pem"}
    (model,) = gateway.build_all([changed], with_ids())
    assert model["ingress"][0]["probe"] == {
        "certificate": "/etc/peer/c.pem",
        "key": "/etc/peer/k.pem",
        "path": "/",
        "status": 200,
    }
    for wrong in (
        {"certificate": "c.pem", "key": "/k.pem"},
        {"certificate": "/a/../c.pem", "key": "/k.pem"},
        {"certificate": "/c.pem", "key": "/k.pem", "status": True},
        {"certificate": "/c.pem", "key": "/k.pem", "status": 700},
        {"certificate": "/c.pem"},
    ):
        changed["ingress"][0]["probe"] = wrong
        with pytest.raises(PkiError):
            gateway.build_all([changed], with_ids())


def of_policy(name: str) -> gateway.Sources:
    """The entry's sources with its certificate under another policy."""
    sources = with_ids()
    policies = policy_files.load_policies(PROJECT / "policies", [name])
    (organisation,) = sources.declared.organisations.values()
    certificates = {
        key: replace(one, policy=name) for key, one in sources.declared.certificates.items()
    }
    declared = inventory.Declared(
        {organisation.key: organisation}, certificates, sources.declared.trust
    )
    return replace(sources, declared=declared, policies=policies)


def test_an_egress_to_mesh_can_be_modelled_and_has_no_api_key() -> None:
    sources = of_policy("nhs-mesh")
    (model,) = gateway.build_all([{**entry({}), "ingress": []}], sources)
    assert model["tls"]["protocols"] == ["TLSv1.2", "TLSv1.3"]
    assert [one["listener"] for one in model["budget"]] == ["api-0"]
    assert model["budget"][0]["crl_age_seconds"] > 0
    with pytest.raises(PkiError, match="knows no API keys"):
        gateway.build_all([{**entry({"dip_id": OURS, "api_key": "k"}), "ingress": []}], sources)


def test_a_policy_that_only_says_how_long_gateways_log_takes_nothing_from_the_audit_trail() -> None:
    module = controller_world.load_file("library/pki_trail.py")
    policies = policy_files.load_policies(PROJECT / "policies", ["mhhs-dip", "nhs-mesh"])
    dip = policies["mhhs-dip"]
    wanted = (dip.number("log_live_days"), dip.number("log_archive_days"))
    assert module.kept(policies) == wanted
    assert module.kept({"nhs-mesh": policies["nhs-mesh"]}) is None
