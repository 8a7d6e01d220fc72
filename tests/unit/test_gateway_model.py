# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway model: from the inventory's words to plain values, or a clear refusal."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pki import gateway, names, release_bundle
from pki.errors import PkiError
from unit import gateway_entry
from unit.gateway_entry import DEEP, ENTRY, ISSUING, POLICY_CA, ROOT, trust
from unit.pki_factory import Authority


@pytest.fixture(scope="module")
def sources() -> gateway.Sources:
    return gateway_entry.sources()


def test_a_model_is_plain_json_and_holds_what_a_template_needs(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    assert json.loads(json.dumps(model)) == model
    (ingress,), (egress,) = model["ingress"], model["egress"]
    assert model["root"] == "/etc/pki/gateway/gw"
    assert ingress["fullchain"] == "/etc/pki/mtls/dip/current/fullchain.pem"
    assert ingress["crl_file"] == "/var/lib/pki-crl/nonprod/ingress/crl.pem"
    assert ingress["ca_file"] == "/etc/pki/gateway/gw/trust/nonprod.pem"
    assert names.rfc2253(ISSUING.certificate.subject) == "CN=Issuing CA\\, 1"
    assert ingress["allowed"] == {
        "subjects": [{"kind": "cn", "value": "peer.example"}],
        "issuers": ["CN=Issuing CA\\, 1"],
        "pairs": [[1, 1]],
    }
    assert (egress["address"], egress["port"], egress["authority"]) == ("::1", 9443, "[::1]:9443")
    assert egress["upstream_authority"] == "192.0.2.1:443"
    assert model["trust_files"]["trust/nonprod.pem"] == (ROOT.pem + ISSUING.pem).decode()


def test_tls_numbers_are_the_policys(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    policy = sources.policies["mhhs-dip"]
    assert model["tls"] == {
        "protocols": list(policy.strings("tls_protocols")),
        "ciphers": list(policy.strings("tls12_ciphers")),
        "ciphersuites": list(policy.strings("tls13_ciphersuites")),
        "groups": list(policy.strings("tls_groups")),
    }


def test_every_limit_of_a_gateway_is_the_policys(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    policy = sources.policies["mhhs-dip"]
    assert model["limits"] == {
        "body_bytes": policy.number("gateway_body_bytes"),
        "header_bytes": policy.number("gateway_header_bytes"),
        "connection_seconds": policy.number("gateway_connection_seconds"),
        "idle_seconds": policy.number("gateway_idle_seconds"),
        "drain_seconds": policy.number("gateway_drain_seconds"),
        "pooled_connections": policy.number("gateway_pooled_connections"),
        "refused_with": policy.number("mtls_refusal_status"),
    }


@pytest.mark.parametrize(
    ("anchors", "issuers", "depth"),
    [
        ([ROOT], [ISSUING], 1),
        ([ROOT], [ROOT], 0),
        ([ROOT], [DEEP], 1),
        ([ROOT], [POLICY_CA, DEEP], 2),
    ],
)
def test_a_chain_may_be_as_long_as_the_pinned_cas_and_no_longer(
    anchors: list[Authority], issuers: list[Authority], depth: int
) -> None:
    assert gateway.verify_depth(trust(anchors, issuers)) == depth


def put(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = entry
        for step in parents:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = entry
        for step in parents:
            place = place[int(step) if step.isdigit() else step]
        del place[last]

    return change


REFUSED = {
    "an unknown key": (put("ingress.0.peer", []), "unknown key `peer`"),
    "a missing key": (drop("ingress.0.peers"), "`peers` is missing"),
    "no peers, which would let nobody in": (put("ingress.0.peers", []), "nobody would be let in"),
    "a peer that is a pattern": (put("ingress.0.peers", ["*.example"]), "not a map"),
    "a peer with control characters": (put("ingress.0.peers", [{"CN": "a\nb"}]), "not usable"),
    "plain http beyond loopback": (put("egress.0.listen", "0.0.0.0:9443"), "must not leave"),
    "an egress on a name": (put("egress.0.listen", "gw.example:9443"), "must not leave"),
    "a certificate that is not declared": (put("ingress.0.certificate", "dup"), "no such entry"),
    "trust that is not declared": (put("egress.0.trust", "nowhere"), "no such entry"),
    "trust of the other class": (put("ingress.0.trust", "prod"), "different environment classes"),
    "a port out of range": (put("ingress.0.listen", "127.0.0.1:70000"), "not a port"),
    "a listener without a port": (put("ingress.0.listen", "127.0.0.1"), "no port"),
    "an upstream with a path": (put("ingress.0.upstream", "http://a:1/x;y"), "not usable"),
    "a host with a semicolon": (put("egress.0.upstream.host", "a;b"), "not usable"),
    "a name that is a path": (put("name", "../gw"), "not usable"),
    "no listener at all": (
        lambda entry: entry.update(ingress=[], egress=[]),
        "nothing to do",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refused_is(sources: gateway.Sources, case: str) -> None:
    change, message = REFUSED[case]
    entry = copy.deepcopy(ENTRY)
    change(entry)
    with pytest.raises(PkiError) as caught:
        gateway.build_all([entry], sources)
    assert message in caught.value.message
    assert caught.value.rule == "INVENTORY"
    assert caught.value.where.startswith("group_vars/all/gateways.yml: gateways[0]")


def test_two_listeners_on_one_port_and_two_gateways_of_one_name_are_refused(
    sources: gateway.Sources,
) -> None:
    twice = copy.deepcopy(ENTRY)
    twice["ingress"].append({**twice["ingress"][0], "name": "other"})
    with pytest.raises(PkiError, match="share one listen"):
        gateway.build_all([twice], sources)
    with pytest.raises(PkiError, match="share one name"):
        gateway.build_all([ENTRY, ENTRY], sources)


RELEASE = {
    "certificate": "dip",
    "certificate_sha256": "ab" * 32,
    "link": {"path": "/etc/pki/mtls/dip/current", "target": "releases/v1-abababababababab"},
}
CRLS = {
    "trust": "nonprod",
    "link": {"path": "/var/lib/pki-crl/nonprod/current", "target": "sets/0123456789abcdef"},
}


def test_a_gateway_with_release_and_crls_is_ready(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    ready = gateway.deployment(model, [RELEASE], [CRLS])
    assert ready["waits_for"] == []
    assert ready["links"] == [RELEASE["link"], CRLS["link"]]
    ingress, egress = ready["probes"]
    assert ingress == {
        "name": "webhook",
        "kind": "ingress",
        "address": "0.0.0.0",
        "port": 8443,
        "server_name": "gw.example",
        "certificate_sha256": "ab" * 32,
        "own": {
            "fullchain": "/etc/pki/mtls/dip/current/fullchain.pem",
            "key": "/etc/pki/mtls/dip/current/key.pem",
            "issuers": ["CN=Issuing CA\\, 1"],
        },
    }
    assert egress == {
        "name": "api",
        "kind": "egress",
        "address": "::1",
        "port": 9443,
        "path": "/",
    }


def test_a_gateway_waits_for_what_is_not_on_its_host(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    waiting = gateway.deployment(model, [], [])
    assert waiting["waits_for"] == ["an accepted certificate dip", "CRLs of nonprod"]
    assert (waiting["links"], waiting["probes"]) == ([], [])


# --- a certificate whose key is compromised -------------------------------------------------


def two(sources: gateway.Sources, **listener: object) -> dict[str, Any]:
    """The gateway with one more ingress."""
    (first,) = ENTRY["ingress"]
    more = {**first, "name": "second", "listen": "0.0.0.0:8444", **listener}
    (model,) = gateway.build_all([{**ENTRY, "ingress": [first, more]}], sources)
    return model


def test_its_listeners_are_left_out_and_their_ports_have_to_be_closed(
    sources: gateway.Sources,
) -> None:
    model = two(sources)
    model["ingress"][1]["certificate"] = "other"
    model["certificates"] = ["dip", "other"]
    other = {**RELEASE, "certificate": "other"}
    left = gateway.deployment(model, [other], [CRLS], ["dip"])
    assert left["waits_for"] == []
    assert [item["name"] for item in left["ingress"]] == ["second"]
    assert left["egress"] == []
    assert left["links"] == [RELEASE["link"], CRLS["link"]]
    assert [entry["port"] for entry in left["closed"]] == [8443, 9443]
    assert left["stopped"] is False
    assert all("the key of dip is compromised" in sentence for sentence in left["out"])
    assert [probe["name"] for probe in left["probes"]] == ["second"]


def test_without_any_other_listener_the_gateway_is_stopped(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    left = gateway.deployment(model, [], [CRLS], ["dip"])
    assert (left["stopped"], left["waits_for"]) == (True, [])
    assert (left["files"], left["links"], left["probes"]) == ([], [], [])
    assert len(left["closed"]) == 2


def test_a_version_with_another_key_serves_it_as_before(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    assert gateway.deployment(model, [RELEASE], [CRLS], ["dip"]) == gateway.deployment(
        model, [RELEASE], [CRLS]
    )


def test_beside_one_that_is_out_what_waits_is_left_out_and_crls_are_not_waited_for(
    sources: gateway.Sources,
) -> None:
    model = two(sources)
    model["ingress"][1]["certificate"] = "other"
    model["certificates"] = ["dip", "other"]
    left = gateway.deployment(model, [], [CRLS], ["dip"])
    assert left["stopped"] is True
    assert "second is out of service: it waits for an accepted certificate other" in left["out"][1]
    other = {**RELEASE, "certificate": "other"}
    kept = gateway.deployment(model, [other], [], ["dip"])
    assert kept["waits_for"] == []
    assert kept["links"] == [RELEASE["link"]]


def test_another_certificate_s_trouble_changes_nothing_here(sources: gateway.Sources) -> None:
    (model,) = gateway.build_all([ENTRY], sources)
    waiting = gateway.deployment(model, [], [], ["elsewhere"])
    assert waiting["waits_for"] == ["an accepted certificate dip", "CRLs of nonprod"]
    assert (waiting["closed"], waiting["out"], waiting["stopped"]) == ([], [], False)


def test_a_port_that_another_listener_covers_cannot_be_closed(sources: gateway.Sources) -> None:
    model = two(sources, listen="127.0.0.1:8443")
    model["ingress"][1]["certificate"] = "other"
    left = gateway.deployment(model, [{**RELEASE, "certificate": "other"}], [CRLS], ["dip"])
    assert [entry["port"] for entry in left["closed"]] == [9443]


def test_a_release_bundle_is_made_from_an_accepted_reply_and_from_nothing_else() -> None:
    class LooksAccepted:
        certificate_sha256 = "ab" * 32

    with pytest.raises(TypeError, match="accepted reply only"):
        release_bundle.ReleaseBundle.of("dip", 1, LooksAccepted(), "m/n")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="made with"):
        release_bundle.ReleaseBundle("dip", 1, "v1-ab", "m/n", ())
