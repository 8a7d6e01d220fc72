# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a listener lets in and how much it takes: exactly what is declared, and never more."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import gateway, names
from pki.errors import PkiError
from unit import gateway_entry
from unit.gateway_entry import DEEP, ENTRY, ISSUING, ROOT, trust

FIRST, SECOND = (names.rfc2253(one.certificate.subject) for one in (ISSUING, DEEP))
ISSUERS = ("Issuing CA, 1", "Deep CA")
LIMITS = ("body_bytes", "header_bytes", "requests_per_second", "request_burst", "connections")


@pytest.fixture(scope="module")
def sources() -> gateway.Sources:
    """Two issuing CAs below one root."""
    one = gateway_entry.sources()
    return replace(one, trust={**one.trust, "nonprod": trust([ROOT], [ISSUING, DEEP])})


def built(sources: gateway.Sources, **ingress: object) -> dict[str, Any]:
    entry = copy.deepcopy(ENTRY)
    entry["ingress"][0].update(ingress)
    (model,) = gateway.build_all([entry], sources)
    return dict(model["ingress"][0])


def let_in(allowed: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """Every pair that a gateway would let in: issuer, kind, value."""
    return {
        (allowed["issuers"][issuer - 1], one["kind"], one["value"])
        for issuer, subject in allowed["pairs"]
        for one in [allowed["subjects"][subject - 1]]
    }


def test_a_peer_without_an_issuer_may_come_from_every_issuing_ca(sources: gateway.Sources) -> None:
    allowed = built(sources, peers=[{"CN": "a.example"}])["allowed"]
    assert allowed == {
        "subjects": [{"kind": "cn", "value": "a.example"}],
        "issuers": [FIRST, SECOND],
        "pairs": [[1, 1], [2, 1]],
    }


def test_a_peer_with_an_issuer_comes_from_that_one_alone(sources: gateway.Sources) -> None:
    peers = [{"CN": "a.example", "issuer": "Deep CA"}, {"CN": "b.example"}]
    assert let_in(built(sources, peers=peers)["allowed"]) == {
        (SECOND, "cn", "a.example"),
        (FIRST, "cn", "b.example"),
        (SECOND, "cn", "b.example"),
    }


PEER = st.fixed_dictionaries(
    {"CN": st.sampled_from(["a.example", "b.example", "c.example"])},
    optional={"issuer": st.sampled_from(ISSUERS)},
)
SUBJECT = st.fixed_dictionaries(
    {"subject": st.sampled_from(["CN=a.example,O=x,C=GB", "CN=b\\, c,O=x"])},
    optional={"issuer": st.sampled_from(ISSUERS)},
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(peers=st.lists(PEER | SUBJECT, min_size=1, max_size=6))
def test_the_pairs_are_those_that_are_declared_and_no_other(
    sources: gateway.Sources, peers: list[dict[str, str]]
) -> None:
    named = dict(zip(ISSUERS, (FIRST, SECOND), strict=True))
    declared = {
        (issuer, "cn" if "CN" in one else "subject", one.get("CN") or one["subject"])
        for one in peers
        for name, issuer in named.items()
        if one.get("issuer", name) == name
    }
    allowed = built(sources, peers=peers)["allowed"]
    assert let_in(allowed) == declared
    assert len(allowed["pairs"]) == len(declared)
    assert len(allowed["subjects"]) == len({(kind, value) for _, kind, value in declared})


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "an issuer that is not pinned": (
        {"CN": "a", "issuer": "Root"},
        "not an issuing CA",
        "'Issuing CA, 1', 'Deep CA'",
    ),
    "two ways to name it": ({"CN": "a", "dns": "a.example"}, "not one peer", "one of"),
    "no name at all": ({"issuer": "Deep CA"}, "not one peer", "one of"),
    "a wildcard": ({"dns": "*.example"}, "not usable", "without wildcards"),
    "a name in capitals": ({"dns": "A.example"}, "not usable", "lower case"),
    "a name that is too long": ({"dns": ".".join(["a" * 60] * 5)}, "too long", "253"),
    "a subject with blanks": ({"subject": "CN=a, O=x"}, "not a distinguished name", "CN=x,O=y"),
    "a subject with an accent": (
        {"subject": "CN=Zoë"},
        "not written as gateways print it",
        "CN=Zo\\C3\\AB",
    ),
    "a subject that is none": ({"subject": "a.example"}, "not a distinguished name", "RFC 2253"),
    "an empty subject": ({"subject": ""}, "not usable", "CN=x"),
    "a subject of an unknown attribute": ({"subject": "XX=a"}, "not a distinguished name", "RFC"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refused_as_a_peer_is(sources: gateway.Sources, case: str) -> None:
    peer, message, expected = REFUSED[case]
    with pytest.raises(PkiError) as caught:
        built(sources, peers=[peer])
    assert message in caught.value.message
    assert expected in caught.value.expected
    assert caught.value.where.startswith("group_vars/all/gateways.yml: gateways[0] (gw).ingress[0]")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(LIMITS), value=st.integers(-10, 2**40) | st.booleans() | st.text())
def test_no_word_of_an_inventory_makes_a_limit_looser(
    sources: gateway.Sources, name: str, value: object
) -> None:
    policy = sources.policies["mhhs-dip"]
    own = {limit: policy.number(f"gateway_{limit}") for limit in LIMITS}
    assert built(sources)["limits"] == own
    try:
        limits = built(sources, limits={name: value})["limits"]
    except PkiError:
        return
    assert limits == {**own, name: value}
    assert 0 <= limits[name] <= own[name]
    assert limits[name] > 0 or name == "request_burst"


def test_a_looser_limit_is_refused_with_the_way_to_loosen_it(sources: gateway.Sources) -> None:
    with pytest.raises(PkiError, match="looser than the policy's") as caught:
        built(sources, limits={"body_bytes": 2**30})
    assert caught.value.found == str(2**30)
    assert "overlay policy/mhhs-dip.yml" in caught.value.next_step


@pytest.mark.parametrize("limits", [{"bodies": 1}, [1], "all"])
def test_limits_are_read_strictly(sources: gateway.Sources, limits: object) -> None:
    with pytest.raises(PkiError):
        built(sources, limits=limits)


NAME_TEXT = st.text(
    st.sampled_from('CNOU=,+\\"#<>; .az09é\x00\n') | st.characters(codec="utf-8"), max_size=40
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=NAME_TEXT | st.builds("CN={},O={}".format, NAME_TEXT, NAME_TEXT))
def test_a_subject_is_taken_as_gateways_print_it_or_refused_in_a_sentence(
    sources: gateway.Sources, value: str
) -> None:
    try:
        allowed = built(sources, peers=[{"subject": value}])["allowed"]
    except PkiError as refusal:
        printed = [refusal.found, refusal.expected]
    else:
        (subject,) = allowed["subjects"]
        printed = [subject["value"]]
        assert subject == {"kind": "subject", "value": value}
    assert all(text.isascii() and text.isprintable() for text in printed)
