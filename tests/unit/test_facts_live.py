# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts that need hosts and network: endpoints, CRL sets, clocks, logs and domains."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dns.exception
import dns.resolver
import pytest
from cryptography.x509.ocsp import OCSPCertStatus
from pki import crl_cache, download, ocsp_query, policy_files, revocation
from pki.documents import Collected, Validators
from pki.facts import crls, endpoints, hosts, presented
from pki.facts import dns as domains
from pki.facts.scene import Scene
from pki.policy import Outcome
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    REPOSITORY,
    ROOT,
    SIBLING,
    TRUST,
    World,
    certificate_entry,
    load_file,
    policies,
    public_state,
)
from unit.pki_factory import DAY, NOW, SECOND

HOUR = timedelta(hours=1)
VALIDATORS = Validators(policy_files.load_fact_schemas(REPOSITORY / "policies"))
SERVER = "energydip-nonprod.example-energy.co.uk"
UNTRIED = {"tried": False, "status": 0, "alert": -1}
REFUSED = {"tried": True, "status": 403, "alert": -1}
GATEWAYS = [
    {
        "name": "edge",
        "product": "nginx",
        "hosts": "gateways",
        "ingress": [
            {
                "name": "webhook",
                "listen": "192.0.2.1:443",
                "server_name": SERVER,
                "certificate": NAME,
                "trust": TRUST,
                "peers": [{"CN": "energydip-nonprod.dip.example"}],
                "upstream": "http://127.0.0.1:8080",
            }
        ],
        "egress": [
            {
                "name": "api",
                "listen": "127.0.0.1:8443",
                "certificate": NAME,
                "trust": TRUST,
                "upstream": {"host": "api.dip.example", "address": "192.0.2.2", "port": 443},
            }
        ],
    }
]


def raw(listener: str, chain: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """What a host tells of a listener that does everything right."""
    ingress = listener == "webhook"
    return {
        "gateway": "edge",
        "listener": listener,
        "direction": "ingress" if ingress else "egress",
        "server_name": SERVER if ingress else "api.dip.example",
        "reached": True,
        "problem": "",
        "protocols": ["TLSv1.2", "TLSv1.3"] if ingress else ["TLSv1.3"],
        "protocols_unknown": [],
        "ciphers": [],
        "ciphersuites": [],
        "requested": True,
        "chain": [base64.b64encode(der).decode() for der in chain],
        "resumed": [],
        "anonymous": REFUSED if ingress else UNTRIED,
        "stranger": REFUSED if ingress else UNTRIED,
        "refused_here": "",
        "call_status": -1,
        **changes,
    }


def scene(world: World, host: dict[str, Any] | None = None, **changes: Any) -> Scene:
    told = {"groups": ["gateways"], **(host or {})}
    return Scene(
        inputs=changes.pop("inputs", world.inputs()),
        scope="live",
        name="test",
        gateways=GATEWAYS,
        hosts={"gw1": told},
        **changes,
    )


def judged(collected: Collected, kind: str, name: str) -> dict[str, Outcome]:
    """How the rules end over a document, which fits its schema."""
    (document,) = (one for one in collected.documents if one.object == name)
    assert VALIDATORS.fault(kind, document.facts) == ""
    found = policies()["mhhs-dip"].evaluate(kind, document.facts)
    return {one.rule: one.outcome for one in found}


def failed(collected: Collected, kind: str, name: str) -> set[str]:
    outcomes = judged(collected, kind, name)
    assert Outcome.NOT_EVALUATED not in outcomes.values()
    return {rule for rule, outcome in outcomes.items() if outcome is Outcome.FAILED}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.crls()
    return made


# -- endpoints -----------------------------------------------------------------------------


def chain(**options: Any) -> list[bytes]:
    return [ISSUING.leaf(**{"san": [SERVER], **options}), ISSUING.der]


def api_chain(**options: Any) -> list[bytes]:
    return chain(cn="api.dip.example", san=["api.dip.example"], **options)


def accepted(world: World, leaf: bytes) -> None:
    """A version whose certificate was accepted, as far as endpoints look."""
    world.put(certificate_pem=factory.pem(leaf), accepted_yml=public_state.dump({"schema": 1}))


def webhook(world: World, shown: Sequence[bytes], **changes: Any) -> set[str]:
    seen = scene(world, {"endpoints": [raw("webhook", shown, **changes)]})
    return failed(endpoints.collect(seen), "endpoint", "gw1/edge/webhook")


def api(world: World, shown: Sequence[bytes], **changes: Any) -> set[str]:
    seen = scene(world, {"endpoints": [raw("api", shown, **changes)]})
    return failed(endpoints.collect(seen), "endpoint", "gw1/edge/api")


def test_a_listener_that_serves_what_was_accepted_passes_every_rule(world: World) -> None:
    shown = chain()
    accepted(world, shown[0])
    assert webhook(world, shown) == set()


def test_a_listener_may_serve_the_certificate_before_while_the_newest_waits_for_its_window(
    world: World,
) -> None:
    """Only then: without a window, or with one that is open, it is to serve the newest."""
    before, newest = chain(), chain(public=factory.key("another").public_key())
    dates = {"not_before": NOW - DAY, "not_after": NOW + 300 * DAY, "accepted_at": NOW - DAY}
    record = {"schema": 1, "serial": "0a", **{k: public_state.iso(v) for k, v in dates.items()}}
    for number, leaf in enumerate((before[0], newest[0]), start=1):
        pem = factory.pem(leaf)
        world.put(number, certificate_pem=pem, accepted_yml=public_state.dump(record))
    assert webhook(world, newest) == set()
    assert webhook(world, before) == {"DIP-5.4.2.1-NO-CERT"}
    world.certificates[0]["renewal"] = {"freeze": [{"from": f"{NOW:%Y-%m-%d}"}]}
    assert webhook(world, before) == webhook(world, newest) == set()
    world.certificates[0]["renewal"] = {"freeze": [{"to": f"{NOW - DAY:%Y-%m-%d}"}]}
    assert webhook(world, before) == {"DIP-5.4.2.1-NO-CERT"}


def test_a_far_end_of_the_right_ca_and_name_passes_every_rule(world: World) -> None:
    assert api(world, api_chain()) == set()


WRONG = {
    "DIP-5.4.2.1-NO-CERT": lambda: chain(public=factory.key("another").public_key()),
    "DIP-12.3-ISSUER": lambda: [SIBLING.leaf(san=[SERVER]), SIBLING.der],
    "DIP-12.3-CHAIN": lambda: chain()[:1],
    "DIP-12.3-NAME": lambda: chain(cn="other.example", san=["other.example"]),
    "DIP-12.3-EXPIRY": lambda: chain(start=NOW - 9 * DAY, end=NOW - SECOND),
}


@pytest.mark.parametrize("rule", WRONG)
def test_what_is_wrong_with_a_presented_certificate_is_found_by_its_rule(
    world: World, rule: str
) -> None:
    assert rule in webhook(world, WRONG[rule]())


def test_a_certificate_of_a_stranger_is_described_and_never_trusted(world: World) -> None:
    found = webhook(world, [FOREIGN.leaf(san=[SERVER]), FOREIGN.der])
    assert {"DIP-12.3-ISSUER", "DIP-12.3-CHAIN", "DIP-12.3-REVOKED"} <= found


def test_a_revoked_certificate_is_found_and_so_is_one_without_an_answer(world: World) -> None:
    shown = chain()
    world.crls(issuing=ISSUING.crl(number=9, revoked=[factory.serial(shown[0])]))
    assert "DIP-12.3-REVOKED" in webhook(world, shown)
    stale = replace(world.inputs(), now=NOW + 26 * HOUR)
    seen = scene(world, {"endpoints": [raw("webhook", shown)]}, inputs=stale)
    assert "DIP-12.3-REVOKED" in failed(endpoints.collect(seen), "endpoint", "gw1/edge/webhook")


@pytest.mark.parametrize("shown", [[b""], [b"\x30\x03\x02\x01"], [b"junk", ISSUING.der]])
def test_bytes_that_are_no_certificate_are_a_fact(world: World, shown: list[bytes]) -> None:
    assert "DIP-12.3-CHAIN" in webhook(world, shown)


def test_a_listener_that_nobody_answers_at_fails_for_that_alone(world: World) -> None:
    found = webhook(
        world,
        [],
        reached=False,
        problem="nobody answers",
        requested=False,
        anonymous=UNTRIED,
        stranger=UNTRIED,
    )
    assert found == {"DIP-2.3-MTLS"}


@pytest.mark.parametrize("status", [0, 500, 502, 503, 504])
def test_a_wrong_far_end_that_the_gateway_refuses_is_no_finding(world: World, status: int) -> None:
    wrong = chain(cn="other.example", san=["other.example"])
    assert api(world, wrong, refused_here="hostname mismatch", call_status=status) == set()


@pytest.mark.parametrize("status", [200, 403])
def test_a_wrong_far_end_that_the_gateway_lets_through_is_one(world: World, status: int) -> None:
    wrong = chain(cn="other.example", san=["other.example"])
    found = api(world, wrong, refused_here="hostname mismatch", call_status=status)
    assert found == {"DIP-12.3-NAME"}


def test_a_gateway_that_may_call_itself_is_no_stranger_to_itself(world: World) -> None:
    shown = chain()
    accepted(world, shown[0])
    own = [{**GATEWAYS[0], "ingress": [{**GATEWAYS[0]["ingress"][0], "peers": [{"CN": SERVER}]}]}]
    let_in = {"tried": True, "status": 200, "alert": -1}
    told = {"endpoints": [raw("webhook", shown, stranger=let_in)]}
    seen = replace(scene(world, told), gateways=own)
    assert failed(endpoints.collect(seen), "endpoint", "gw1/edge/webhook") == set()


def test_a_host_that_was_not_asked_leaves_its_listeners_declared(world: World) -> None:
    seen = endpoints.collect(scene(world, {"problem": "unreachable"}))
    assert {one.object for one in seen.declarations} == {"gw1/edge/webhook", "gw1/edge/api"}
    assert seen.documents == ()


def test_a_gateway_that_no_host_has_leaves_its_listeners_declared(world: World) -> None:
    seen = endpoints.collect(replace(scene(world), hosts={}))
    assert {one.object for one in seen.declarations} == {
        "gateways/edge/webhook",
        "gateways/edge/api",
    }


@pytest.mark.parametrize(
    ("name", "server", "covered"),
    [
        ("a.example", "A.example.", True),
        ("*.dip.example", "api.dip.example", True),
        ("*.dip.example", "a.b.dip.example", False),
        ("*.dip.example", "dip.example", False),
        ("*.example", "dip.example", False),
        ("a*.dip.example", "api.dip.example", False),
        ("b.example", "a.example", False),
    ],
)
def test_a_wildcard_stands_for_one_whole_label(name: str, server: str, covered: bool) -> None:
    assert presented.covers(name, server) is covered


# -- OCSP ----------------------------------------------------------------------------------


def test_a_responder_that_does_not_answer_leaves_the_question_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(url: str, _patience: download.Patience, **options: Any) -> bytes:
        asked.append(url)
        assert options["body"]
        raise download._fetch_error(url, TimeoutError("timed out"), 1, True)

    monkeypatch.setattr(ocsp_query, "download", silent)
    monkeypatch.setattr(ocsp_query, "responders", lambda _leaf: ("http://ocsp.example/",))
    shown = chain()
    accepted(world, shown[0])
    assert webhook(world, shown) == {"DIP-3.6.1-OCSP"}
    assert asked == ["http://ocsp.example/"]


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        (OCSPCertStatus.GOOD, set()),
        (OCSPCertStatus.REVOKED, {"DIP-3.6.1-OCSP", "DIP-12.3-REVOKED"}),
        (OCSPCertStatus.UNKNOWN, {"DIP-3.6.1-OCSP"}),
    ],
)
def test_what_a_responder_answers_is_judged_like_any_other_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, status: OCSPCertStatus, rules: set[str]
) -> None:
    shown = chain()
    accepted(world, shown[0])
    answer = ISSUING.ocsp(shown[0], status)
    monkeypatch.setattr(ocsp_query, "download", lambda *_a, **_k: answer)
    monkeypatch.setattr(ocsp_query, "responders", lambda _leaf: ("http://ocsp.example/",))
    assert webhook(world, shown) == rules


def test_no_responder_of_an_unverified_certificate_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: Any, **_options: Any) -> bytes:
        raise AssertionError("asked")

    monkeypatch.setattr(ocsp_query, "download", never)
    monkeypatch.setattr(ocsp_query, "responders", lambda _leaf: ("http://evil.example/",))
    assert "DIP-12.3-CHAIN" in webhook(world, [FOREIGN.leaf(san=[SERVER]), FOREIGN.der])


# -- CRL sets ------------------------------------------------------------------------------


def controller(world: World, now: Any = NOW) -> set[str]:
    seen = scene(world, inputs=replace(world.inputs(), now=now))
    return failed(crls.collect(seen), "crl", f"controller/{TRUST}")


DIRECTION = {"in_force": "current", "why": "", "since": "2026-01-01T00:00:00Z"}
REFRESH = {
    "recent_polls": 100, "recent_failures": 2, "last_success_at": public_state.iso(NOW - HOUR),
    "authorities": [], "revoked": [],
}  # fmt: skip
GUARD = {
    "ran_at": public_state.iso(NOW - SECOND), "alarm_percent": 0, "clock": "steady", "grace": None,
    "directions": {"ingress": DIRECTION, "egress": DIRECTION},
}  # fmt: skip
REFUSES = {"on_stale": "refuse", "max_age_seconds": 82740}
TIMERS = {"refresh": "active", "guard": "active"}


def on_host(
    world: World, kept: bytes, fetched: Any = NOW, timers: Any = TIMERS, **changes: Any
) -> set[str]:
    digest = hashlib.sha256(kept).hexdigest()
    told = {
        "refresh": REFRESH,
        "guard": GUARD,
        "grace": {},
        "watch": {"ingress": REFUSES, "egress": REFUSES},
        "trust": TRUST,
        "problem": "",
        "sha256": digest,
        "size": len(kept),
        "pem": kept.decode(),
        "poll": {"fetched_at": public_state.iso(fetched), "next_update": "", "set": digest[:16]},
        **changes,
    }
    seen = scene(world, {"crls": [told], "crl_timers": timers})
    return failed(crls.collect(seen), "crl", f"gw1/{TRUST}")


def both(issuing: bytes, root: bytes) -> bytes:
    return revocation.to_pem(issuing) + revocation.to_pem(root)


def test_a_fresh_and_whole_cache_passes_every_rule(world: World) -> None:
    assert controller(world) == set()


def test_a_cache_older_than_a_day_is_found_by_its_age_although_its_crls_are_valid(
    world: World,
) -> None:
    lasting = {"end": NOW + 9 * DAY}
    world.crls(issuing=ISSUING.crl(**lasting), root=ROOT.crl(**lasting))
    assert controller(world, NOW + 25 * HOUR) == {"DIP-3.5.2.6-CRL-TTL"}


def test_an_empty_cache_fails_whatever_needs_a_crl(tmp_path: Path) -> None:
    assert controller(World(tmp_path)) == {
        "DIP-3.5.2.5-RP-CHECK",
        "DIP-12.6.2-ENTIRE",
        "DIP-3.5.2.6-CRL-TTL",
        "DIP-3.6.1-POLL",
    }


def test_a_crl_past_its_end_is_found_on_the_controller(world: World) -> None:
    assert "DIP-3.5.2.5-RP-CHECK" in controller(world, NOW + 90 * DAY)


def test_the_set_that_the_controller_fetched_last_passes_on_a_host(world: World) -> None:
    kept = crl_cache.load(
        world.inputs().trust[TRUST], world.cache, now=NOW, max_age=timedelta(hours=24)
    )
    assert on_host(world, kept.pem) == set()
    assert on_host(world, kept.pem, pem="") == set()


@pytest.mark.parametrize(
    ("pem", "rule"),
    [
        (both(ISSUING.crl(number=1), ROOT.crl()), "DIP-3.6.1-POLL"),
        (revocation.to_pem(ROOT.crl()), "DIP-12.6.2-ENTIRE"),
        (both(FOREIGN.crl(), ROOT.crl()), "DIP-3.5.2.5-RP-CHECK"),
        (both(ISSUING.crl(signer=factory.key("thief")), ROOT.crl()), "DIP-3.5.2.5-RP-CHECK"),
        (both(ISSUING.crl(start=NOW - 9 * DAY, end=NOW - SECOND), ROOT.crl()),
         "DIP-3.5.2.5-RP-CHECK"),
        (b"", "DIP-3.5.2.5-RP-CHECK"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "DIP-3.5.2.5-RP-CHECK"),
    ],
)  # fmt: skip
def test_another_set_on_a_host_is_found(world: World, pem: bytes, rule: str) -> None:
    world.crls(issuing=ISSUING.crl(number=5), root=ROOT.crl())
    assert rule in on_host(world, pem)


def test_a_host_whose_last_delivery_is_old_is_found(world: World) -> None:
    assert "DIP-3.5.2.6-CRL-TTL" in on_host(world, b"x", fetched=NOW - 25 * HOUR)
    assert "DIP-3.5.2.6-CRL-TTL" in on_host(
        world, b"x", poll={"fetched_at": "soon", "next_update": "", "set": ""}
    )


def latest(world: World) -> bytes:
    return crl_cache.load(
        world.inputs().trust[TRUST], world.cache, now=NOW, max_age=timedelta(hours=24)
    ).pem


def test_a_host_that_fetched_a_newer_set_than_the_controller_is_not_behind(world: World) -> None:
    world.crls(issuing=ISSUING.crl(number=5), root=ROOT.crl())
    assert on_host(world, both(ISSUING.crl(number=6), ROOT.crl())) == set()


LARGE = {"pem": "", "size": 30_000_000, "sha256": "ab" * 32}


def told_of(authority: factory.Authority, **changes: Any) -> dict[str, Any]:
    """A CA in the status of a host's last poll."""
    return {
        "sha256": authority.sha256, "crl_sha256": "cd" * 32, "number": "7", "entries": 1_000_000,
        "this_update": public_state.iso(NOW), "next_update": public_state.iso(NOW + DAY),
        "removed_known": [], "removed_uncertain": 0, **changes,
    }  # fmt: skip


def test_a_set_too_large_to_be_sent_is_judged_by_what_the_host_told_of_its_crls(
    world: World,
) -> None:
    listed = [told_of(ISSUING), told_of(ROOT)]
    assert on_host(world, b"x", **LARGE, refresh={**REFRESH, "authorities": listed}) == set()
    ended = [told_of(ISSUING, next_update=public_state.iso(NOW - DAY)), told_of(ROOT)]
    assert "DIP-3.5.2.5-RP-CHECK" in on_host(
        world, b"x", **LARGE, refresh={**REFRESH, "authorities": ended}
    )
    assert "DIP-3.5.2.5-RP-CHECK" in on_host(
        world, b"x", **LARGE, refresh={**REFRESH, "authorities": listed[:1]}
    )


# What a host tells besides -> the one rule that finds it.
WATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "a host without timers": (
        "DIP-3.5.2.6-TIMERS", {"timers": {"refresh": "none", "guard": "none"}, "guard": {}},
    ),
    "nobody asked about timers": ("DIP-3.5.2.6-TIMERS", {"timers": {}}),
    "a guard that is stopped": (
        "DIP-3.5.2.6-ENFORCED", {"timers": {"refresh": "active", "guard": "inactive"}},
    ),
    "a guard that never looked": ("DIP-3.5.2.6-ENFORCED", {"guard": {}}),
    "a guard that looked in the future": (
        "DIP-3.5.2.6-ENFORCED", {"guard": {**GUARD, "ran_at": public_state.iso(NOW + HOUR)}},
    ),
    "a direction in which nothing happens": (
        "DIP-3.5.2.6-ENFORCED", {"watch": {"ingress": REFUSES}},
    ),
    "a direction that refuses": (
        "DIP-3.5.2.6-BUDGET",
        {"guard": {**GUARD, "directions": {"egress": {"in_force": "refusal", "why": "too old"}}}},
    ),
    "an alarm": ("DIP-3.5.2.6-BUDGET", {"guard": {**GUARD, "alarm_percent": 50}}),
    "polls that fail": (
        "DIP-3.6.1-POLL-SUCCESS", {"refresh": {**REFRESH, "recent_failures": 11}},
    ),
    "a last success of yesterday": (
        "DIP-3.6.1-POLL-SUCCESS",
        {"refresh": {**REFRESH, "last_success_at": public_state.iso(NOW - 25 * HOUR)}},
    ),
    "a revoked certificate of ours": (
        "DIP-3.6.1-OWN-SERIAL",
        {"refresh": {**REFRESH, "revoked": [{"what": "our certificate", "source": "CRL"}]}},
    ),
    "a serial that went away": (
        "DIP-3.5.2.5-REMOVED",
        {"refresh": {**REFRESH, "authorities": [told_of(ISSUING, removed_known=["our own"])]}},
    ),
    "a clock that was set": ("DIP-3.5.2.6-CLOCK", {"guard": {**GUARD, "clock": "jumped"}}),
    "a grace": (
        "DIP-3.5.2.6-GRACE",
        {"grace": {"by": "Ada", "reason": "x", "until": public_state.iso(NOW + HOUR)}},
    ),
    "a grace without an end": ("DIP-3.5.2.6-GRACE", {"grace": {"by": "Ada", "reason": "x"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", WATCHED)
def test_what_a_host_tells_of_polls_and_guard_is_found_by_one_rule(world: World, name: str) -> None:
    rule, told = WATCHED[name]
    assert on_host(world, latest(world), **told) == {rule}


def test_a_host_that_has_not_polled_yet_is_not_blamed_for_it(world: World) -> None:
    assert on_host(world, latest(world), refresh={}) == set()


@pytest.mark.parametrize("junk", [[], "x", 7, {"authorities": 3, "revoked": "no", "polls": []}])
def test_what_nobody_can_read_of_a_host_is_not_good_and_ends_no_run(
    world: World, junk: Any
) -> None:
    found = on_host(world, latest(world), guard=junk, refresh=junk, grace=junk, watch=junk)
    assert "DIP-3.5.2.6-ENFORCED" in found


# -- hosts ---------------------------------------------------------------------------------

CLOCK = {"problem": "", "synchronised": True, "offset_seconds": 0.0, "max_error_seconds": 0.1}
LOG = {"log": "/var/log/x.log", "live_days": 92, "bound_by": "test"}
HOST = {"clock": CLOCK, "logs": [LOG], "log_archive": {"days": 365, "place": "test"}}


def host(world: World, told: dict[str, Any], **changes: Any) -> Collected:
    return hosts.collect(scene(world, told, **changes))


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, set()),
        ({"clock": {**CLOCK, "synchronised": False}}, {"DIP-2.3-TIME"}),
        ({"clock": None}, {"DIP-2.3-TIME"}),
        ({"logs": []}, {"DIP-2.3-LOG-RETENTION"}),
        ({"logs": [LOG, {**LOG, "live_days": 30}]}, {"DIP-2.3-LOG-RETENTION"}),
        ({"log_archive": {}}, {"DIP-2.3-LOG-RETENTION"}),
        ({"log_archive": {"days": "a year"}}, {"DIP-2.3-LOG-RETENTION"}),
        ({"log_archive": {"days": "365"}}, set()),
    ],
)
def test_a_host_is_judged_by_its_clock_and_its_logs(
    world: World, changes: dict[str, Any], rules: set[str]
) -> None:
    assert failed(host(world, {**HOST, **changes}), "host", "gw1") == rules


def test_a_stand_in_for_the_clock_is_used_and_marked(world: World) -> None:
    adrift = {**HOST, "clock": {**CLOCK, "synchronised": False}}
    stand_ins = {"host": {"reason": "no clock here", "clock": {**CLOCK}}}
    seen = host(world, adrift, stand_ins=stand_ins)
    assert failed(seen, "host", "gw1") == set()
    assert [one.stand_in for one in seen.documents] == ["no clock here"]


def test_a_host_that_was_not_asked_is_declared_without_facts(world: World) -> None:
    seen = host(world, {"problem": "unreachable"})
    assert [one.object for one in seen.declarations] == ["gw1"]
    assert seen.documents == ()


# -- domains -------------------------------------------------------------------------------

VALUE = "_globalsign-domain-verification=abc"


@pytest.fixture
def named(tmp_path: Path) -> World:
    return World(tmp_path, certificates=[certificate_entry(domain_txt=VALUE)])


def test_only_an_entry_that_tells_the_value_has_its_domain_looked_up(world: World) -> None:
    assert domains.collect(scene(world)).declarations == ()


@pytest.mark.parametrize(
    ("records", "rules"),
    [
        ({"example-energy.co.uk": [VALUE]}, set()),
        ({"example-energy.co.uk": ["v=spf1"]}, {"DIP-5.4.4.1-DOMAIN"}),
        ({}, {"DIP-5.4.4.1-DOMAIN"}),
    ],
)
def test_a_stand_in_for_the_dns_is_used_and_marked(
    named: World, records: dict[str, list[str]], rules: set[str]
) -> None:
    stand_ins = {"dns": {"reason": "no such domain", "records": records}}
    seen = domains.collect(scene(named, stand_ins=stand_ins))
    assert failed(seen, "dns", NAME) == rules
    assert [one.stand_in for one in seen.documents] == ["no such domain"]


class Strings:
    def __init__(self, *strings: bytes) -> None:
        self.strings = strings


@pytest.mark.parametrize(
    ("answer", "rules", "problem"),
    [
        ([Strings(VALUE[:9].encode(), VALUE[9:].encode())], set(), ""),
        ([Strings(b"\x1b[2J\xff")], {"DIP-5.4.4.1-DOMAIN"}, ""),
        (dns.resolver.NXDOMAIN(), {"DIP-5.4.4.1-DOMAIN"}, "there is no such name"),
        (dns.exception.Timeout(), {"DIP-5.4.4.1-DOMAIN"}, "no answer: Timeout"),
        (OSError(), {"DIP-5.4.4.1-DOMAIN"}, "no answer: OSError"),
    ],
)
def test_the_systems_resolver_is_asked_and_its_answer_is_a_fact(
    named: World, monkeypatch: pytest.MonkeyPatch, answer: Any, rules: set[str], problem: str
) -> None:
    class Resolver:
        def resolve(self, name: str, kind: str, lifetime: float) -> Any:
            assert (name, kind) == ("example-energy.co.uk", "TXT")
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(dns.resolver, "Resolver", Resolver)
    seen = domains.collect(scene(named))
    assert failed(seen, "dns", NAME) == rules
    (document,) = seen.documents
    assert document.facts["problem"] == problem
    assert document.stand_in == ""
    assert all(value.isprintable() for value in document.facts["values"])


# -- what the playbook hands over ----------------------------------------------------------

SEEN = load_file("filter_plugins/pki_seen.py").FilterModule().filters()["pki_seen_hosts"]


def test_every_host_is_handed_over_whether_it_told_something_or_not() -> None:
    hostvars = {
        "gw1": {"group_names": ["gateways"], "verify_host_facts": {"host": {"releases": []}}},
        "gw2": {"group_names": ["gateways"], "verify_host_facts": {"msg": "unreachable"}},
        "gw3": {"group_names": []},
    }
    told = SEEN(list(hostvars), hostvars)
    assert told["gw1"] == {"groups": ["gateways"], "problem": "", "releases": []}
    assert told["gw2"]["problem"] == "unreachable"
    assert told["gw3"]["problem"]
    assert json.dumps(told)
