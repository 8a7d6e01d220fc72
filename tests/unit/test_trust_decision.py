# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run makes of generations of CAs and of CRLs with a scope: in the fetch, in judgements."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from pki import session, trust_decision
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.controller_world import (
    ISSUING,
    NAME,
    REPOSITORY,
    ROOT,
    TRUST,
    World,
    load_file,
)
from unit.pki_factory import CDP, DAY, NOW
from unit.test_controller_modules import Module, run
from unit.test_crl_cache import Web, content, web

FETCH = load_file("library/pki_crl_fetch.py")
FILTERS = load_file("filter_plugins/pki_trust.py").FilterModule().filters()
YESTERDAY = (NOW - DAY).date().isoformat()
NEXT = factory.authority("Next Root").authority("Next Issuing")
LISTENER = {"trust": TRUST, "name": "webhook"}
GATEWAYS = [{"name": "edge", "product": "nginx", "hosts": "gateways", "ingress": [LISTENER]}]
QUIET: dict[str, Any] = {"peers": [], "far_ends": [], "unread": []}


@pytest.fixture(scope="module")
def server() -> Any:
    with web() as site:
        yield site


@pytest.fixture
def world(tmp_path: Path, server: Web, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(session, "load", functools.partial(session.load, now=NOW))
    monkeypatch.setattr(FETCH.session, "load", functools.partial(FETCH.session.load, now=NOW))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serve(server)
    urls = {"issuing": [server.url("/issuing")], "root": [server.url("/root")]}
    return World(tmp_path, crl_urls=urls)


def serve(server: Web, issuing: Any = (), root: Any = ()) -> None:
    server.serve("/issuing", content(ISSUING.crl(extensions=issuing, number=2 if issuing else 1)))
    server.serve("/root", content(ROOT.crl(extensions=root, number=2 if root else 1)))


def fetch(params: dict[str, Any], **options: Any) -> tuple[dict[str, Any], list[str]]:
    module = Module(params)
    return run(FETCH, module, gateways=GATEWAYS, **options), module.warnings


def accepted(world: World, **leaf: Any) -> None:
    world.request()
    world.reply(**leaf)
    world.crls()
    world.keep()


# --- CRLs with a scope ----------------------------------------------------------------------


def test_crls_that_turn_bad_overnight_are_not_handed_on(world: World, server: Web) -> None:
    before, _ = fetch(world.params())
    assert before["sets"][0]["complete"]
    serve(server, root=(factory.idp("http://crl.example/root.crl"),))
    after, _ = fetch(world.params())
    assert not after["sets"][0]["complete"]
    (problem,) = after["problems"]
    assert "with the CRL of Example Root, nginx would refuse every good peer" in problem
    assert "the gateways keep the CRLs they have" in problem


def test_the_plan_says_which_crls_gateways_wait_for_and_why(world: World, server: Web) -> None:
    assert trust_decision.sentences(session.load(world.params()), GATEWAYS) == []
    serve(server, issuing=(factory.idp("http://elsewhere.example/x.crl"),))
    fetch(world.params())
    (sentence,) = trust_decision.sentences(session.load(world.params()), GATEWAYS)
    assert sentence.startswith(
        f"gateways that use {TRUST} keep the CRLs they have: with the CRL of Example Issuing, "
        "nginx would refuse every good peer (CRL number 2"
    )
    assert trust_decision.sentences(session.load(world.params()), None) == []


def test_crls_that_no_gateway_uses_are_not_judged_for_one(world: World, server: Web) -> None:
    serve(server, root=(factory.idp("http://crl.example/root.crl"),))
    result = run(FETCH, Module(world.params()), gateways=[])
    assert result["sets"][0]["complete"]


def test_a_product_that_looks_at_the_leaf_only_may_have_them(world: World, server: Web) -> None:
    serve(server, root=(factory.idp("http://crl.example/root.crl"),))
    result, _ = fetch(world.params(), leaf_only=["nginx"])
    assert result["sets"][0]["complete"]


@pytest.mark.parametrize(("cdp", "fits"), [(CDP, True), (None, False)])
def test_our_certificates_say_what_an_address_in_the_crl_has_to_be(
    world: World, server: Web, cdp: str | None, fits: bool
) -> None:
    accepted(world, cdp=cdp)
    serve(server, issuing=(factory.idp(CDP),))
    result, _ = fetch(world.params())
    assert result["sets"][0]["complete"] is fits


# --- generations ----------------------------------------------------------------------------


def retiring(world: World) -> dict[str, Any]:
    """The old issuing CA's last day was yesterday; the next one is pinned beside it."""
    params = world.params()
    (world.base / "trust/next.pem").write_bytes(NEXT.pem)
    (world.base / "trust/next-root.pem").write_bytes(NEXT_ROOT.pem)
    trust = params["trust"][TRUST]
    trust["issuers"][0]["retire_after"] = YESTERDAY
    server_url = trust["issuers"][0]["crl_urls"][0].rsplit("/", 1)[0]
    trust["issuers"].append(pin("next", NEXT, f"{server_url}/next"))
    trust["anchors"].append(pin("next-root", NEXT_ROOT, f"{server_url}/next-root"))
    return params


NEXT_ROOT = factory.authority("Next Root")


def pin(name: str, authority: factory.Authority, url: str) -> dict[str, Any]:
    return {"file": f"trust/{name}.pem", "sha256": authority.sha256, "crl_urls": [url]}


@pytest.fixture
def both(world: World, server: Web) -> dict[str, Any]:
    server.serve("/next", content(NEXT.crl()))
    server.serve("/next-root", content(NEXT_ROOT.crl()))
    return retiring(world)


def crls_in(result: dict[str, Any]) -> int:
    return int(result["sets"][0]["pem"].count("BEGIN X509 CRL"))


def test_without_dependents_a_retired_ca_goes_and_its_crl_with_it(both: dict[str, Any]) -> None:
    result, warnings = fetch(both, watched={"gw1": QUIET})
    assert (crls_in(result), result["live"], result["notices"]) == (3, [], [])
    assert result["sets"][0]["complete"]
    assert warnings == []


def test_a_certificate_in_service_keeps_its_ca_and_the_run_says_so(
    world: World, both: dict[str, Any]
) -> None:
    accepted(world)
    result, warnings = fetch(both, watched={"gw1": QUIET})
    assert (crls_in(result), result["live"]) == (4, [ISSUING.sha256])
    assert "rule      TRUST-RETIRE" in result["notices"][0]
    assert f"our certificate {NAME} v1 chains to it" in warnings[0]


def test_hosts_that_were_not_asked_keep_every_retired_ca(both: dict[str, Any]) -> None:
    result, warnings = fetch(both)
    assert (crls_in(result), result["live"], warnings) == (4, [ISSUING.sha256], [])


def test_the_plan_says_which_cas_are_retired(both: dict[str, Any]) -> None:
    (sentence,) = trust_decision.sentences(session.load(both), GATEWAYS)
    assert sentence.startswith(f"{TRUST}: the CA Example Issuing is retired since {YESTERDAY};")


def test_a_retired_ca_vouches_for_nothing_new_and_keeps_what_is_in_service(
    world: World, both: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request()
    world.reply()
    world.crls()
    inputs = session.load(both)
    monkeypatch.setattr(World, "inputs", lambda _self, _now=NOW: inputs)
    (refusal,) = world.judge((NAME, 1)).refused
    assert refusal.error.rule == "DIP-3.5.1-CHAIN"
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    world.keep()
    monkeypatch.setattr(World, "inputs", lambda _self, _now=NOW: inputs)
    assert world.judge((NAME, 1)).refused == ()


def test_an_inventory_without_a_usable_ca_ends_the_run_and_is_reported_by_a_check(
    world: World,
) -> None:
    params = world.params()
    params["trust"][TRUST]["issuers"][0]["trusted_from"] = (NOW + DAY).date().isoformat()
    with pytest.raises(PkiError) as caught:
        session.load(params)
    assert caught.value.rule == "TRUST-EMPTY"
    inputs = trust_decision.deciding(session.load(params, judged=False), None)
    assert len(inputs.trust[TRUST].authorities) == 2


# --- what hosts are asked -------------------------------------------------------------------


def test_nobody_is_asked_while_no_last_day_is_over(both: dict[str, Any]) -> None:
    assert not FILTERS["pki_trust_retiring"](
        {TRUST: {"anchors": [{"retire_after": "2999-12-31"}, {}]}}
    )
    assert FILTERS["pki_trust_retiring"](both["trust"])


def test_a_host_is_asked_for_the_issuers_that_lead_to_retired_cas_and_its_far_ends(
    world: World, both: dict[str, Any]
) -> None:
    upstream = {"host": "api.example", "address": "192.0.2.1", "port": 443}
    egress = {"trust": TRUST, "name": "api", "upstream": upstream}
    entry = {**GATEWAYS[0], "egress": [egress]}
    watched = FILTERS["pki_trust_watched"](
        [entry, {**entry, "name": "elsewhere", "hosts": "others"}],
        trust=both["trust"],
        host={"name": "gw1", "groups": ["gateways"]},
        places={
            "policy_dir": str(REPOSITORY / "policies"),
            "base_dir": str(world.base),
            "gateway_root": "/etc/gw",
        },
    )
    assert watched["issuers"] == ["CN=Example Issuing"]
    (gateway,) = watched["gateways"]
    assert gateway["root"] == "/etc/gw/edge"
    assert gateway["far_ends"] == [
        {"listener": "api", "address": "192.0.2.1", "port": 443, "server_name": "api.example"}
    ]


def test_what_hosts_told_is_nothing_where_nobody_was_asked() -> None:
    told = FILTERS["pki_trust_told"]
    answers: dict[str, Any] = {"gw1": {"crl_cache_watched": {"watched": QUIET}}, "gw2": {}}
    assert told(["gw2"], answers) is None
    assert told(["gw1", "gw2"], answers) == {"gw1": QUIET, "gw2": None}


def test_products_that_are_not_known_are_judged_strictly() -> None:
    assert FILTERS["pki_trust_leaf_only"](["odd", {"product": "unheard-of"}, *GATEWAYS]) == []
