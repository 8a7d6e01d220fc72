# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a CRL may get, and what a product cannot do: said before any host is touched."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import gateway
from pki.errors import PkiError
from pki.gateway import budget, products
from pki.policy import Policy
from unit import gateway_entry
from unit.gateway_entry import ENTRY

ABLE: dict[str, dict[str, str]] = {"nginx": {}}
NO_AGE = "connections have no longest age; a reload ends them after the drain timeout"
NO_DNS = "peers cannot be told by their alternative names"


@pytest.fixture(scope="module")
def sources() -> gateway.Sources:
    return gateway_entry.sources()


def with_values(sources: gateway.Sources, **values: int) -> gateway.Sources:
    """The sources with an organisation's own values in the policy."""
    policy = sources.policies["mhhs-dip"]
    changed = {
        name: replace(policy.parameters[name], value=value) for name, value in values.items()
    }
    own = replace(policy, parameters=MappingProxyType({**policy.parameters, **changed}))
    return replace(sources, policies={"mhhs-dip": own})


def told(sources: gateway.Sources, cannot: Mapping[str, Any]) -> list[dict[str, Any]]:
    (model,) = gateway.build_all([ENTRY], replace(sources, products={"nginx": dict(cannot)}))
    return list(model["budget"])


def test_what_is_left_for_the_crl_is_what_sessions_connections_and_draining_leave(
    sources: gateway.Sources,
) -> None:
    ingress, egress = told(sources, {})
    assert ingress == {
        "gateway": "gw",
        "listener": "webhook",
        "direction": "ingress",
        "product": "nginx",
        "crl_age_seconds": 86400 - 0 - 3600 - 60,
        "bounds": [
            {"bound": "session", "seconds": 0},
            {"bound": "connection", "seconds": 3600},
            {"bound": "drain", "seconds": 60},
        ],
        "notes": [],
    }
    assert egress["listener"] == "api"
    assert json.loads(json.dumps([ingress, egress])) == [ingress, egress]


def test_without_a_longest_age_of_connections_the_drain_timeout_is_the_bound_and_said_so(
    sources: gateway.Sources,
) -> None:
    ingress, egress = told(sources, {"connection_age": NO_AGE})
    assert [one["bound"] for one in ingress["bounds"]] == ["session", "drain"]
    assert ingress["crl_age_seconds"] == 86400 - 60
    assert ingress["notes"] == egress["notes"] == [NO_AGE]


def test_a_note_is_about_the_side_that_it_concerns(sources: gateway.Sources) -> None:
    cannot = {"retry": "asks once", "chunked_body": "asks for a length"}
    ingress, egress = told(sources, cannot)
    assert (ingress["notes"], egress["notes"]) == (["asks for a length"], ["asks once"])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    whole=st.integers(0, 100_000),
    connection=st.integers(0, 100_000),
    drain=st.integers(0, 10_000),
    ages=st.booleans(),
)
def test_the_parts_make_up_the_whole_or_the_listener_is_refused(
    sources: gateway.Sources, whole: int, connection: int, drain: int, ages: bool
) -> None:
    limits = {"connection_seconds": connection, "drain_seconds": drain}
    policy: Policy = with_values(sources, revocation_delay_seconds=whole).policies["mhhs-dip"]
    used = drain + (connection if ages else 0)
    try:
        left = budget.of_listener(limits, policy, ages_connections=ages, where="here")
    except PkiError:
        assert used >= whole
        return
    assert left["crl_age_seconds"] > 0
    assert left["crl_age_seconds"] + sum(one["seconds"] for one in left["bounds"]) == whole


def test_a_listener_that_leaves_nothing_for_the_crl_is_refused_with_what_to_lower(
    sources: gateway.Sources,
) -> None:
    with pytest.raises(PkiError, match="could stay connected for longer") as caught:
        gateway.build_all([ENTRY], with_values(sources, revocation_delay_seconds=3660))
    assert caught.value.found == "session 0 s, connection 3600 s, drain 60 s"
    assert "gateway_connection_seconds" in caught.value.next_step
    assert "ingress[0] (webhook)" in caught.value.where


def by_dns() -> dict[str, Any]:
    entry = copy.deepcopy(ENTRY)
    entry["ingress"][0]["peers"] = [{"dns": "peer.example"}]
    return entry


def test_a_needed_feature_that_the_product_lacks_is_refused_by_listener(
    sources: gateway.Sources,
) -> None:
    lacking = replace(sources, products={"nginx": {"peer_dns": NO_DNS}})
    with pytest.raises(PkiError, match="nginx cannot do what the listener needs") as caught:
        gateway.build_all([by_dns()], lacking)
    assert NO_DNS in caught.value.found
    assert "ingress[0] (webhook)" in caught.value.where
    assert "name the peer by CN or subject" in caught.value.next_step
    assert gateway.build_all([ENTRY], lacking)
    assert gateway.build_all([by_dns()], replace(sources, products=ABLE))


def test_a_product_without_an_adapter_is_refused_once_somebody_asked(
    sources: gateway.Sources,
) -> None:
    with pytest.raises(PkiError, match="has no adapter") as caught:
        gateway.build_all([ENTRY], replace(sources, products={"other": {}}))
    assert caught.value.expected == "other"
    assert gateway.build_all([ENTRY], sources)


def test_every_product_that_there_is_says_what_it_cannot_do_in_sentences() -> None:
    known = products.cannot()
    assert "nginx" in known
    for features in known.values():
        assert all(len(sentence.split()) > 3 for sentence in features.values())


@pytest.mark.parametrize("product", sorted(products.cannot()))
def test_the_role_knows_every_product_that_there_is(product: str) -> None:
    row = products.row(product)
    assert {"program", "packages", "user", "units", "configuration"} <= set(row)


@pytest.mark.parametrize("product", sorted(products.cannot()))
def test_no_product_is_asked_for_a_peer_that_it_could_not_tell(
    sources: gateway.Sources, product: str
) -> None:
    entry = {**by_dns(), "product": product}
    with pytest.raises(PkiError, match="cannot do what the listener needs"):
        gateway.build_all([entry], replace(sources, products=products.cannot()))


# --- OCSP of callers ------------------------------------------------------------------------


def asking(sources: gateway.Sources, product: str = "nginx", **entry: Any) -> dict[str, Any]:
    """The model of a gateway whose policy wants responders to be asked."""
    policy = sources.policies["mhhs-dip"]
    on = replace(policy.parameters["crl_gateway_ocsp"], value="on")
    changed = replace(policy, parameters={**policy.parameters, "crl_gateway_ocsp": on})
    asked = replace(sources, policies={"mhhs-dip": changed}, products=products.cannot())
    (model,) = gateway.build_all([{**ENTRY, "product": product, **entry}], asked)
    return model


def test_no_gateway_asks_responders_unless_the_policy_says_so(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    assert model["ocsp"] == {"ask": False, "resolvers": []}
    assert "ssl_ocsp" not in products.rendered(model, frozenset())[0]["content"]


def test_a_gateway_that_asks_responders_has_to_know_name_servers(sources: gateway.Sources) -> None:
    with pytest.raises(PkiError, match="could look up none of them") as caught:
        asking(sources)
    assert caught.value.where.endswith(".resolvers")
    assert asking(sources, ingress=[])["ocsp"]["resolvers"] == []
    model = asking(sources, resolvers=["192.0.2.53", "2001:db8::53"])
    text = products.rendered(model, frozenset())[0]["content"]
    assert "ssl_ocsp leaf;" in text
    assert "resolver 192.0.2.53 [2001:db8::53];" in text
    assert "ssl_ocsp" not in products.rendered(model, frozenset({"ssl_ocsp"}))[0]["content"]


def test_a_product_that_cannot_ask_goes_by_the_crl_alone_and_says_so(
    sources: gateway.Sources,
) -> None:
    model = asking(sources, "haproxy")
    assert not model["ocsp"]["ask"]
    sentence = products.cannot()["haproxy"]["client_ocsp"]
    ingress, egress = model["budget"]
    assert sentence in ingress["notes"]
    assert sentence not in egress["notes"]


def test_what_the_template_writes_for_responders_is_known_when_it_is_read_back(
    sources: gateway.Sources,
) -> None:
    model = asking(sources, resolvers=["192.0.2.53"])
    files = {one["path"]: one["content"] for one in products.rendered(model, frozenset())}
    adapter = products.adapter("nginx")
    assert adapter.read(files)["unknown"] == []
    name = adapter.config_file
    files[name] = files[name].replace("ssl_ocsp leaf;", "ssl_ocsp off;")
    assert adapter.read(files)["unknown"] != []
