# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a gateway's configuration, from the template and from a host."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from integration import gateway_world as gw
from pki import gateway, policy_files
from pki.documents import Collected, Validators
from pki.errors import PkiError
from pki.facts import gateways, products
from pki.facts.scene import Scene
from pki.gateway import products as rendering
from pki.policy import Outcome, Place
from pki.session import Inputs
from pki_host import gateway_facts
from pki_host.gateways import adapter
from unit import gateway_entry
from unit.gateway_entry import ENTRY

POLICIES = gateway_entry.PROJECT / "policies"
ROOTS = gateway.Roots("/etc/pki/mtls", "/var/lib/pki-crl", "/etc/pki/gateway")
PLACE = Place("group_vars/all/gateways.yml", 7)


@pytest.fixture(scope="module")
def sources() -> gateway.Sources:
    return gateway_entry.sources()


@pytest.fixture(scope="module")
def model(sources: gateway.Sources) -> dict[str, Any]:
    (built,) = gateway.build_all([ENTRY], sources)
    return built


@pytest.fixture(scope="module")
def validators() -> Validators:
    return Validators(policy_files.load_fact_schemas(POLICIES))


def scene_of(
    sources: gateway.Sources,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
    entries: Any = (ENTRY,),
) -> Scene:
    inputs = Inputs(
        declared=sources.declared,
        policies=sources.policies,
        trust=sources.trust,
        certificates_dir=Path("certificates"),
        crl_cache_dir=Path("crls"),
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )
    return Scene(
        inputs=inputs,
        scope="offline" if hosts is None else "live",
        name="test",
        gateways=entries,
        places={("gateways", "gw"): PLACE},
        hosts=hosts or {},
    )


def told(text: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """What a host tells that has this configuration and the CA files of the model."""
    settings = adapter("nginx").read({"nginx.conf": text})
    products._add_digests(settings, model)
    entry = {"gateway": "gw", "product": "nginx", "readable": True, "problem": ""}
    return {**entry, "settings": settings}


def host(entry: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    roots = {"release": ROOTS.release, "crl": ROOTS.crl, "gateway": ROOTS.gateway}
    return {"groups": ["gateways"], "roots": roots, "gateways": [entry] if entry else [], **more}


def collected(
    sources: gateway.Sources, entry: dict[str, Any], entries: Any = (ENTRY,)
) -> dict[str, Any]:
    """The facts of the one gateway of the one host."""
    (document,) = gateways.collect(scene_of(sources, {"gw1": host(entry)}, entries)).documents
    return dict(document.facts)


def failed(sources: gateway.Sources, facts: Mapping[str, Any]) -> set[str]:
    findings = sources.policies["mhhs-dip"].evaluate("gateway", facts)
    assert not [one for one in findings if one.outcome is Outcome.NOT_EVALUATED]
    return {one.rule for one in findings if one.outcome is Outcome.FAILED}


# -- without a host ------------------------------------------------------------------------


def test_offline_every_gateway_is_rendered_and_passes_every_rule(
    sources: gateway.Sources, validators: Validators
) -> None:
    seen = gateways.collect(scene_of(sources))
    (declaration,), (document,) = seen.declarations, seen.documents
    assert (document.object, document.policy, document.place) == (
        "gw (rendered)",
        "mhhs-dip",
        PLACE,
    )
    assert declaration.key == document.key
    assert document.facts["source"] == "rendered"
    assert validators.fault("gateway", document.facts) == ""
    assert failed(sources, document.facts) == set()


def test_what_is_rendered_reads_back_as_the_model(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    (document,) = gateways.collect(scene_of(sources)).documents
    built = gateway.build_all(
        [ENTRY],
        gateway.Sources(sources.declared, sources.trust, sources.policies, gateway.ANYWHERE),
    )[0]
    found = {one["name"]: one for one in document.facts["listeners"]}
    assert set(found) == {"webhook", "api"}
    limits = model["limits"]
    for side in ("ingress", "egress"):
        for entry in built[side]:
            one = found[entry["name"]]
            assert (one["direction"], one["address"], one["port"]) == (
                side,
                entry["address"],
                entry["port"],
            )
            for name in ("protocols", "ciphers", "ciphersuites", "groups"):
                assert one["tls"][name] == model["tls"][name]
            assert one["tls"]["certificate"] == entry["fullchain"]
            assert one["tls"]["key"] == entry["key"]
            assert one["tls"]["ca_file"] == entry["ca_file"]
            assert one["tls"]["crl_file"] == entry["crl_file"]
            assert one["tls"]["verify_depth"] == entry["verify_depth"]
            assert one["connection_seconds"] == limits["connection_seconds"]
            assert one["purposes"] == ["mtls"]
            (route,) = one["routes"]
            assert route["upstream"] == entry["upstream_authority"]
            assert route["body_bytes"] == limits["body_bytes"]
    assert found["webhook"]["names"] == ["gw.example"]
    assert found["webhook"]["routes"][0]["peers"] == ["CN=peer.example"]
    assert found["webhook"]["routes"][0]["issuers"] == built["ingress"][0]["allowed"]["issuers"]
    assert found["webhook"]["refused_with"] == [limits["refused_with"]]
    assert found["api"]["names"] == ["api.example"]
    assert found["api"]["pooled_connections"] == limits["pooled_connections"]
    assert document.facts["drain_seconds"] == limits["drain_seconds"]
    assert document.facts["unknown"] == []


def test_what_is_rendered_here_is_what_the_role_renders(model: dict[str, Any]) -> None:
    (configuration,) = rendering.rendered(model)
    assert configuration == {"path": "nginx.conf", "content": gw.render(model)}


@pytest.mark.parametrize("lacks", [["keepalive_time"], ["ssl_conf_command", "keepalive_time"]])
def test_what_an_old_build_gets_reads_back_as_the_same(
    model: dict[str, Any], lacks: list[str]
) -> None:
    old = type(adapter("nginx"))(frozenset(lacks))
    files = {
        "nginx.conf": gw.render(model, lacks=lacks),
        "openssl.cnf": gw.render(model, "openssl.cnf.j2"),
    }
    assert old.read(files) == adapter("nginx").read({"nginx.conf": gw.render(model)})


def test_a_product_without_an_adapter_cannot_be_read_and_its_listeners_count_as_missing(
    sources: gateway.Sources, validators: Validators
) -> None:
    (document,) = gateways.collect(
        scene_of(sources, entries=[{**ENTRY, "product": "unheard-of"}])
    ).documents
    assert "no adapter" in document.facts["problem"]
    assert not document.facts["readable"]
    assert [one["present"] for one in document.facts["listeners"]] == [False, False]
    assert validators.fault("gateway", document.facts) == ""
    assert {"DIP-3.6.1-PEP", "DIP-2.3-MTLS", "DIP-2.3-TLS-VERSION"} <= failed(
        sources, document.facts
    )


def test_an_inventory_without_gateways_has_nothing_to_judge(sources: gateway.Sources) -> None:
    seen = gateways.collect(scene_of(sources, entries=None))
    assert (seen.declarations, seen.documents) == ((), ())


def test_a_broken_entry_is_told_by_the_one_voice_that_reads_inventories(
    sources: gateway.Sources,
) -> None:
    with pytest.raises(PkiError) as caught:
        gateways.collect(scene_of(sources, entries=[{**ENTRY, "name": "../gw"}]))
    assert caught.value.rule == "INVENTORY"


# -- from hosts ------------------------------------------------------------------------------


def keys(seen: Collected) -> tuple[list[str], list[str]]:
    return [d.object for d in seen.declarations], [d.object for d in seen.documents]


def test_live_each_host_of_a_gateway_is_judged_by_what_it_has(
    sources: gateway.Sources, model: dict[str, Any], validators: Validators
) -> None:
    entry = told(gw.render(model), model)
    seen = gateways.collect(scene_of(sources, {"gw1": host(entry), "gw2": host(entry)}))
    assert keys(seen) == (["gw1/gw", "gw2/gw"], ["gw1/gw", "gw2/gw"])
    for document in seen.documents:
        assert document.facts["source"] == "host"
        assert validators.fault("gateway", document.facts) == ""
        assert failed(sources, document.facts) == set()


@pytest.mark.parametrize(
    "hosts",
    [
        {"gw1": {"groups": ["gateways"], "problem": "unreachable"}},
        {"gw1": host(None)},
        {"db1": {"groups": ["databases"]}},
        {},
    ],
    ids=["the host is down", "the host tells nothing of it", "no host has it", "no host at all"],
)
def test_a_gateway_that_nobody_could_look_at_is_declared_and_has_no_facts(
    sources: gateway.Sources, hosts: dict[str, Any]
) -> None:
    declared, documents = keys(gateways.collect(scene_of(sources, hosts)))
    assert declared == ["gw1/gw" if "gw1" in hosts else "gateways/gw"]
    assert documents == []


def test_paths_are_compared_with_those_of_the_host(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    entry = told(gw.render(model), model)
    elsewhere = host(entry, roots={"release": "/srv/mtls", "crl": "/srv/crl", "gateway": "/srv/gw"})
    (document,) = gateways.collect(scene_of(sources, {"gw1": elsewhere})).documents
    assert failed(sources, document.facts) == {
        "DIP-12.3-REVOKED",
        "DIP-4.1.2-SIGN-ONLY",
        "DIP-6.1.4-OVERLAP",
    }


def test_the_age_of_the_crls_in_service_counts_with_the_life_of_a_connection(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    def judged(fetched_at: str) -> tuple[list[int], set[str]]:
        crls = [{"trust": "nonprod", "poll": {"fetched_at": fetched_at}}]
        seen = {"gw1": host(told(gw.render(model), model), crls=crls)}
        (document,) = gateways.collect(scene_of(sources, seen)).documents
        ages = [one["crl_age_seconds"] for one in document.facts["listeners"]]
        return ages, failed(sources, document.facts)

    assert judged("2026-11-21T23:59:50Z") == ([10, 10], set())
    # An hour and a minute are a connection's, so a CRL may be 82740 seconds old.
    assert judged("2026-11-21T01:01:00Z") == ([82740, 82740], set())
    assert judged("2026-11-21T01:00:59Z") == ([82741, 82741], {"DIP-3.5.2.6-CRL-TTL"})
    # A clock that went back makes nothing younger than new; what nobody knows is the set's fault.
    assert judged("2026-11-22T00:00:30Z") == ([0, 0], set())
    assert judged("") == ([0, 0], set())
    assert judged("2026-11-21T01:00:59") == ([0, 0], set())


BREAKAGES = {
    "an old protocol version": (
        "ssl_protocols TLSv1.2",
        "ssl_protocols TLSv1.1 TLSv1.2",
        "2.3-TLS-VERSION",
    ),
    "an old version towards the far end": (
        "proxy_ssl_protocols TLSv1.2",
        "proxy_ssl_protocols TLSv1 TLSv1.2",
        "2.3-TLS-VERSION",
    ),
    "protocol versions left to the default": (
        "    ssl_protocols TLSv1.2 TLSv1.3;\n",
        "",
        "2.3-TLS-VERSION",
    ),
    "no newest version": (
        "ssl_protocols TLSv1.2 TLSv1.3",
        "ssl_protocols TLSv1.2",
        "2.3-TLS-VERSION",
    ),
    "optional verification": ("ssl_verify_client on", "ssl_verify_client optional", "2.3-MTLS"),
    "verification in odd case": ("ssl_verify_client on", "ssl_verify_client OFF", "2.3-MTLS"),
    "an unverified far end": ("proxy_ssl_verify on", "proxy_ssl_verify off", "2.3-MTLS"),
    "no client certificate": ('proxy_ssl_certificate "', '#proxy_ssl_certificate "', "2.3-MTLS"),
    "a listener without TLS": ("listen 0.0.0.0:8443 ssl", "listen 0.0.0.0:8443", "4.2-CHANNEL"),
    "plain http to the far end": ("proxy_pass https:", "proxy_pass http:", "4.2-CHANNEL"),
    "early data": ("ssl_early_data off", "ssl_early_data on", "4.2-CHANNEL"),
    "an egress for everybody": ("listen [::1]:9443", "listen [::]:9443", "4.2-CHANNEL"),
    "a suite without forward secrecy": (
        "ssl_ciphers ",
        "ssl_ciphers AES128-GCM-SHA256:",
        "7.1.1-CIPHER",
    ),
    "a suite of TLS 1.3 too many": (
        "ssl_conf_command Ciphersuites ",
        "ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256:",
        "7.1.1-CIPHER",
    ),
    "a weak group": ("ssl_ecdh_curve ", "ssl_ecdh_curve secp192r1:", "7.1.1-CIPHER"),
    "groups left to the default": ("proxy_ssl_conf_command Groups", "#", "7.1.1-CIPHER"),
    "another refusal": ("=403 @denied", "=401 @denied", "7.1.1-403"),
    "a refusal that is not said": ("error_page", "#error_page", "7.1.1-403"),
    "no CRLs for callers": ("        ssl_crl", "        #ssl_crl", "3.5.2.5-RP-CHECK"),
    "no CRLs for the far end": ("proxy_ssl_crl", "#proxy_ssl_crl", "3.5.2.5-RP-CHECK"),
    "tickets": ("ssl_session_tickets off", "ssl_session_tickets on", "3.5.2.6-CRL-TTL"),
    "a session cache": (
        "ssl_session_cache off",
        "ssl_session_cache shared:s:1m",
        "3.5.2.6-CRL-TTL",
    ),
    "sessions with the far end": (
        "proxy_ssl_session_reuse off",
        "proxy_ssl_session_reuse on",
        "3.5.2.6-CRL-TTL",
    ),
    "long connections": ("    keepalive_time 3600s", "    keepalive_time 12h", "3.5.2.6-CRL-TTL"),
    "connections that outlive reloads": ("worker_shutdown_timeout 60s;", "", "3.5.2.6-CRL-TTL"),
    "an include": ("    server_tokens off;", "    include extra.conf;", "3.6.1-PEP"),
    "a directive nobody knows": ("    server_tokens off;", "    ssl_stapling on;", "3.6.1-PEP"),
    "a second listener": ("    # egress api", "    server { listen 8081; }", "3.6.1-PEP"),
    "a missing listener": ("listen 0.0.0.0:8443 ssl", "listen 0.0.0.0:8444 ssl", "3.6.1-PEP"),
    "another far end": ("server 192.0.2.1:443", "server 192.0.2.66:443", "3.6.1-PEP"),
    "no pool": ("        keepalive 16;", "        keepalive 4;", "4.1.1-POOLING"),
    "no pool for lack of a header": (
        "proxy_set_header Connection",
        "proxy_set_header Other",
        "4.1.1-POOLING",
    ),
    "a certificate from elsewhere": (
        "dip/current/fullchain.pem",
        "other/current/fullchain.pem",
        "4.1.2-SIGN-ONLY",
    ),
    "one release by name": ("dip/current/key.pem", "dip/releases/v1-00/key.pem", "6.1.4-OVERLAP"),
    "boundless bodies": ("client_max_body_size 16777216", "client_max_body_size 0", "4.3.1-LIMITS"),
    "an API key asked of callers": (
        "            if ($allowed_1",
        '            if ($http_x_api_key = "") { return 403; }\n            if ($allowed_1',
        "2.3-APIKEY-INGEST",
    ),
    "any issuer": (
        "map $ssl_client_i_dn $issuer_1 {\n        default 0",
        "map $ssl_client_i_dn $issuer_1 {\n        default 1",
        "12.3-ISSUER",
    ),
    "any peer": ("        default no;", "        default yes;", "12.3-CLIENT-SUBJECT"),
    "a pattern for peers": (
        "        default no;",
        '        default no;\n        "~^SUCCESS:1:." yes;',
        "12.3-CLIENT-SUBJECT",
    ),
    "no guard at all": ("if ($allowed_1 != yes)", "if ($allowed_1 = 2)", "12.3-CLIENT-SUBJECT"),
    "names of a certificate that nobody verified": (
        '"$ssl_client_verify:',
        '"SUCCESS:',
        "12.3-CLIENT-SUBJECT",
    ),
    "an unguarded path": (
        "        location @denied {",
        "        location /status { proxy_pass http://ingress_1; }\n        location @denied {",
        "12.3-CLIENT-SUBJECT",
    ),
    "a header that a caller sets": (
        "proxy_set_header X-Client-DN $ssl_client_s_dn",
        "proxy_set_header X-Client-DN $http_x_client_dn",
        "3.6.1-IDENTITY",
    ),
    "a log without the verdict": ('"verify":"$ssl_client_verify",', "", "2.3-LOG-FIELDS"),
    "a log with what may be secret": ("$request_method $uri", "$request", "2.3-LOG-FIELDS"),
    "answers that are compressed": ("gzip off", "gzip on", "4.2-COMPRESSION"),
    "large headers": (
        "large_client_header_buffers 1 ",
        "large_client_header_buffers 4 ",
        "4.3.1-LIMITS",
    ),
    "many requests": ("rate=200r/s", "rate=2000r/s", "4.3.1-LIMITS"),
    "many requests at once": ("burst=400", "burst=401", "4.3.1-LIMITS"),
    "many connections": ("limit_conn ingress_1_connections", "#", "4.3.1-LIMITS"),
    "another name": ('server_name "gw.example"', 'server_name "other.example"', "12.3-NAME"),
    "another name of the far end": (
        'proxy_ssl_name "api.example"',
        'proxy_ssl_name "evil.example"',
        "12.3-NAME",
    ),
    "a name that is not sent": (
        "proxy_ssl_server_name on",
        "proxy_ssl_server_name off",
        "12.3-NAME",
    ),
    "CAs from elsewhere": (
        "ssl_client_certificate ",
        "ssl_client_certificate /tmp/ca.pem; #",
        "12.3-CHAIN",
    ),
    "a deeper chain": ("ssl_verify_depth 1", "ssl_verify_depth 4", "12.3-CHAIN"),
    "unknown CAs let through": (
        "ssl_verify_client on",
        "ssl_verify_client optional_no_ca",
        "12.3-CHAIN",
    ),
    "dates of the far end unchecked": (
        "proxy_ssl_verify on",
        "proxy_ssl_verify off",
        "12.3-EXPIRY",
    ),
    "an old copy of the CRLs": (
        "pki-crl/nonprod/ingress",
        "pki-crl/nonprod/sets/00",
        "12.3-REVOKED",
    ),
}


@pytest.mark.parametrize("case", sorted(BREAKAGES))
def test_each_way_to_get_it_wrong_is_found_by_its_own_rule(
    sources: gateway.Sources, model: dict[str, Any], validators: Validators, case: str
) -> None:
    old, new, rule = BREAKAGES[case]
    text = gw.render(model)
    assert old in text, "the template no longer has what this breaks"
    facts = collected(sources, told(text.replace(old, new), model))
    assert validators.fault("gateway", facts) == ""
    assert f"DIP-{rule}" in failed(sources, facts)


def test_every_rule_over_gateways_has_such_a_way(sources: gateway.Sources) -> None:
    rules = {one.id for one in sources.policies["mhhs-dip"].of_kind("gateway")}
    assert rules == {f"DIP-{rule}" for _, _, rule in BREAKAGES.values()}


TLS_DIRECTIVE = re.compile(r"^ *((?:proxy_)?ssl_[a-z_]+) (.*);$", re.MULTILINE)
OTHER_VALUES = {"on": "off", "off": "on"}


def test_changing_any_tls_directive_changes_the_facts(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    text = gw.render(model)
    before = collected(sources, told(text, model))
    lines = list(TLS_DIRECTIVE.finditer(text))
    assert len({found.group(1) for found in lines}) == 26
    for found in lines:
        name, value = found.groups()
        if name == "ssl_session_cache":
            changed = "shared:s:1m"
        else:
            changed = OTHER_VALUES.get(value) or re.sub(r'("?)$', r"x\1", value, count=1)
        start, end = found.span(2)
        after = collected(sources, told(text[:start] + changed + text[end:], model))
        assert after != before, found.group(0)


def test_hostile_lengths_are_cut_to_what_facts_may_hold(
    sources: gateway.Sources, model: dict[str, Any], validators: Validators
) -> None:
    text = gw.render(model)
    many = " ".join(f"n{number}.example" for number in range(5000))
    text = text.replace('server_name "gw.example"', f"server_name {'x' * 5000} {many}")
    text = text.replace("    server_tokens off;", "    strange thing;\n" * 1000)
    facts = collected(sources, told(text, model))
    assert validators.fault("gateway", facts) == ""
    assert facts["unknown"][-1] == "and 801 more"
    assert {"DIP-12.3-NAME", "DIP-3.6.1-PEP"} <= failed(sources, facts)


def test_more_routes_than_are_looked_at_are_a_finding(
    sources: gateway.Sources, model: dict[str, Any], validators: Validators
) -> None:
    text = gw.render(model)
    more = "".join(f"location /{number} {{ }} " for number in range(300))
    servers = "".join(f"server {{ listen {number}; }} " for number in range(1, 300))
    text = text.replace("        location @denied {", f"{more} location @denied {{")
    facts = collected(sources, told(text.replace("    # egress api", f"{servers}#"), model))
    assert validators.fault("gateway", facts) == ""
    assert facts["unknown"][:2] == ["301 listeners", "301 routes of webhook"]
    assert "DIP-3.6.1-PEP" in failed(sources, facts)


def test_two_servers_at_one_address_are_both_judged(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    text = gw.render(model)
    extra = "    server { listen 0.0.0.0:8443 ssl; server_name other.example; }\n    # egress api"
    facts = collected(sources, told(text.replace("    # egress api", extra), model))
    assert [one["name"] for one in facts["listeners"]] == ["webhook", "webhook", "api"]
    assert {"DIP-2.3-MTLS", "DIP-12.3-CLIENT-SUBJECT"} <= failed(sources, facts)


# -- on the host -----------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, model: dict[str, Any]) -> Path:
    base = tmp_path / "gw"
    (base / "trust").mkdir(parents=True)
    moved = copy.deepcopy(model)
    moved["root"] = str(base)
    for entry in (*moved["ingress"], *moved["egress"]):
        entry["ca_file"] = f"{base}/trust/nonprod.pem"
    (base / "nginx.conf").write_text(gw.render(moved))
    (base / "trust/nonprod.pem").write_text(model["trust_files"]["trust/nonprod.pem"])
    return base


def test_a_host_tells_what_it_has_without_touching_it(root: Path, model: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    seen = gateway_facts.observe("nginx", gw.program(), str(root))
    assert (seen["gateway"], seen["product"], seen["readable"], seen["problem"]) == (
        "gw",
        "nginx",
        True,
        "",
    )
    bundle = model["trust_files"]["trust/nonprod.pem"].encode()
    ingress, egress = seen["settings"]["listeners"]
    assert ingress["tls"]["ca_sha256"] == hashlib.sha256(bundle).hexdigest()
    assert egress["routes"][0]["tls"]["ca_sha256"] == ingress["tls"]["ca_sha256"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_ca_file_that_is_another_is_found_whatever_its_name(
    sources: gateway.Sources, root: Path
) -> None:
    roots = {"release": ROOTS.release, "crl": ROOTS.crl, "gateway": str(root.parent)}

    def judged() -> set[str]:
        entry = gateway_facts.observe("nginx", gw.program(), str(root))
        scene = scene_of(sources, {"gw1": host(entry, roots=roots)})
        (document,) = gateways.collect(scene).documents
        return failed(sources, document.facts)

    assert judged() == set()
    (root / "trust/nonprod.pem").write_bytes(gateway_entry.DEEP.pem)
    assert judged() == {"DIP-12.3-CHAIN"}
    (root / "trust/nonprod.pem").unlink()
    assert judged() == {"DIP-12.3-CHAIN"}


def replace_by(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b" " * ((1 << 20) + 1))
    elif kind == "broken":
        path.write_text("http { server {")
    elif kind == "loop":
        path.symlink_to(path)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("nothing", "nginx.conf: No such file or directory"),
        ("pipe", "nginx.conf: not a file"),
        ("directory", "nginx.conf: not a file"),
        ("large", "more than 1048576 bytes"),
        ("loop", "symbolic links"),
        ("broken", "the end of the file (nginx.conf:1)"),
    ],
)
def test_what_cannot_be_read_is_told_and_fails_nothing_else(
    root: Path, kind: str, problem: str
) -> None:
    replace_by(root / "nginx.conf", kind)
    seen = gateway_facts.observe("nginx", gw.program(), str(root))
    assert problem in seen["problem"]
    assert (seen["readable"], seen["settings"]) == (False, {})


def test_bytes_that_are_no_text_are_a_configuration_all_the_same(root: Path) -> None:
    path = root / "nginx.conf"
    path.write_bytes(path.read_bytes() + b"# caf\xe9\n")
    assert gateway_facts.observe("nginx", gw.program(), str(root))["readable"]


def test_an_unheard_of_product_is_told(root: Path) -> None:
    assert "no adapter" in gateway_facts.observe("unheard-of", "", str(root))["problem"]
