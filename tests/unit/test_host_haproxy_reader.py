# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration's text, and what it means: HAProxy's own rules, odd ones included."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gateways.products import HAPROXY
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from integration import gateway_world as gw
from pki import gateway
from pki.facts import products
from pki.gateway import products as renderer
from pki_host.errors import HostError
from pki_host.gateways import adapter
from pki_host.gateways.description import UNBOUNDED
from pki_host.gateways.haproxy import text as language
from unit import gateway_entry
from unit.gateway_entry import ENTRY
from unit.test_gateway_facts import collected, failed

API_KEY = "/etc/pki/mtls/api-keys/dip/current"


def words(text: str) -> list[list[str]]:
    (section,) = language.parse(f"global\n{text}", "t.cfg")
    return [list(line.words) for line in section.lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c", [["a", "b", "c"]]),
        ("\ta  b\t\r", [["a", "b"]]),
        ("a 'b c'", [["a", "b c"]]),
        ('a "b #c" d # e', [["a", "b #c", "d"]]),
        ("a b#c", [["a", "b"]]),
        ('a b"c d"e', [["a", "bc de"]]),
        (r"a b\ c", [["a", "b c"]]),
        (r"a b\#c \"d", [["a", "b#c", '"d']]),
        (r"a '\n'", [["a", r"\n"]]),
        (r'a "\"\\\$"', [["a", '"\\$']]),
        (r"a \x41", [["a", "A"]]),
        ("a ''", [["a", ""]]),
        ("\n # b\n\na", [["a"]]),
    ],
)
def test_words_end_where_haproxy_ends_them(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


BROKEN = {
    "a quote without an end": ("global\n a 'b", "a quote without an end"),
    "a line outside a section": ("a b", "outside a section"),
    "half a number": ("global\n a \\x4", "without a number"),
    "a null byte": ("global\n a\0", "a null byte"),
    "too much": (" " * (language.MAXIMUM_CHARACTERS + 1), "characters"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_refused_with_its_line_is(case: str) -> None:
    text, found = BROKEN[case]
    with pytest.raises(HostError) as caught:
        language.parse(text, "t.cfg")
    assert caught.value.rule == "GATEWAY-CONFIG"
    assert found in caught.value.found
    assert caught.value.where.startswith("t.cfg:")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("haproxy")


def program() -> str:
    if HAPROXY.missing:
        pytest.skip(f"not run: {HAPROXY.missing}")
    return HAPROXY.program


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("ab #'\"\\\\$tx41{%"), max_size=14))
def test_the_program_itself_reads_the_first_word_as_the_reader_does(place: Path, text: str) -> None:
    """It knows none of these keywords, and quotes the one it met in its own reading."""
    config = f"global\n q{text}\n"
    (place / "c.cfg").write_text(config)
    done = subprocess.run(
        [program(), "-c", "-f", str(place / "c.cfg")], capture_output=True, text=True, check=False
    )
    met = re.search(r"unknown keyword '(.*)' in 'global'", done.stderr, re.DOTALL)
    try:
        ((line,),) = (section.lines for section in language.parse(config, "c.cfg"))
    except HostError:
        assert met is None, done.stderr
        return
    assume(not line.expands)
    assert met is not None, done.stderr
    assert line.words[0] == met.group(1)


# -- meaning -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sources() -> gateway.Sources:
    return gateway_entry.sources()


@pytest.fixture(scope="module")
def model(sources: gateway.Sources) -> dict[str, Any]:
    entry = {**ENTRY, "product": "haproxy"}
    (built,) = gateway.build_all([entry], sources)
    return built


def rendered(model: dict[str, Any], *lacks: str) -> dict[str, str]:
    known = adapter("haproxy").lacks
    return {one["path"]: one["content"] for one in renderer.rendered(model, {*known, *lacks})}


def told(files: dict[str, str], model: dict[str, Any]) -> dict[str, Any]:
    """What a host tells that has these files and the CA files of the model."""
    found = adapter("haproxy").read(files)
    products._add_digests(found, model)
    entry = {"gateway": "gw", "product": "haproxy", "readable": True, "problem": ""}
    return {**entry, "settings": found}


def judged(sources: gateway.Sources, files: dict[str, str], model: dict[str, Any]) -> set[str]:
    entry = {**ENTRY, "product": "haproxy"}
    return failed(sources, collected(sources, told(files, model), (entry,)))


def test_what_the_template_writes_is_known_to_the_last_line_and_passes_every_rule(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    for lacks in ((), ("server_curves",)):
        files = rendered(model, *lacks)
        found = adapter("haproxy").read(files)
        assert found["unknown"] == []
        assert judged(sources, files, model) == set()


def test_peers_of_some_issuers_only_are_told_apart(model: dict[str, Any]) -> None:
    (webhook,) = model["ingress"]
    allowed = {
        "subjects": [
            {"kind": "cn", "value": 'a "b", $c'},
            {"kind": "subject", "value": "CN=x,O=y"},
        ],
        "issuers": ["CN=one", r"CN=two\, too"],
        "pairs": [[1, 1], [2, 1], [2, 2]],
    }
    changed = {**model, "ingress": [{**webhook, "allowed": allowed}]}
    (route,) = adapter("haproxy").read(rendered(changed))["listeners"][0]["routes"]
    assert route["issuers"] == ["CN=one", r"CN=two\, too"]
    assert route["peers"] == ['CN=a "b", $c', r"subject CN=x,O=y from CN=two\, too"]


def test_an_api_key_is_told_by_its_file(model: dict[str, Any]) -> None:
    (api,) = model["egress"]
    key = {"name": "dip", "header": "X-API-KEY", "directory": API_KEY}
    changed = {**model, "egress": [{**api, "api_key": key}]}
    found = adapter("haproxy").read(rendered(changed))
    assert found["listeners"][1]["routes"][0]["secret_file"] == f"{API_KEY}/api-key.map"
    assert found["unknown"] == []


VERIFIED = "shown verified verified_leaf verified_chain"
#: What somebody may have changed by hand, and the rule that finds it.
TAMPERED = {
    "an old version": ("ssl-min-ver TLSv1.2", "ssl-min-ver TLSv1.1", "2.3-TLS-VERSION"),
    "no newest version": ("ssl-max-ver TLSv1.3", "ssl-max-ver TLSv1.2", "2.3-TLS-VERSION"),
    "certificates not asked for": ("verify optional", "verify none", "2.3-MTLS"),
    "a far end that is not verified": ("verify required", "verify none", "2.3-MTLS"),
    "a listener without TLS": ("8443 ssl crt", "8443 crt", "4.2-CHANNEL"),
    "a far end without TLS": ("443 ssl crt", "443 crt", "4.2-CHANNEL"),
    "early data": ("alpn http/1.1\n", "alpn http/1.1 allow-0rtt\n", "4.2-CHANNEL"),
    "another cipher": ("-bind-ciphers ", "-bind-ciphers AES128-SHA:", "7.1.1-CIPHER"),
    "another suite": (
        "-bind-ciphersuites ",
        "-bind-ciphersuites TLS_CHACHA20_POLY1305_SHA256:",
        "7.1.1-CIPHER",
    ),
    "another group": ("-bind-curves ", "-bind-curves X448:", "7.1.1-CIPHER"),
    "another group outwards": ("-server-curves ", "-server-curves X448:", "7.1.1-CIPHER"),
    "another status": ("deny deny_status 403", "deny deny_status 401", "7.1.1-403"),
    "no CRLs": ("crl-file", "ca-file", "3.5.2.5-RP-CHECK"),
    "tickets": (" no-tls-tickets", "", "3.5.2.6-CRL-TTL"),
    "a cache of sessions": ("cachesize 0", "cachesize 20000", "3.5.2.6-CRL-TTL"),
    "sessions taken up again outwards": (" no-ssl-reuse", "", "3.5.2.6-CRL-TTL"),
    "a longer life": ("ge 3600", "ge 7200", "3.5.2.6-CRL-TTL"),
    "a longer drain": ("hard-stop-after 60s", "hard-stop-after 1h", "3.5.2.6-CRL-TTL"),
    "another listener": (
        "frontend egress_1\n",
        "frontend more\n    bind 127.0.0.1:9\n    default_backend egress_1\n\nfrontend egress_1\n",
        "3.6.1-PEP",
    ),
    "another application": ("server upstream 127.0.0.1", "server upstream 192.0.2.9", "3.6.1-PEP"),
    "a route of its own": (
        "    default_backend ingress_1",
        "    use_backend egress_1 if { path /x }\n    default_backend ingress_1",
        "3.6.1-PEP",
    ),
    "an answer before the guard": (
        "    http-request set-var(txn.path) path\n",
        "    http-request return status 200\n    http-request set-var(txn.path) path\n",
        "3.6.1-PEP",
    ),
    "a socket for the runtime interface": (
        "    noreuseport\n", "    noreuseport\n    stats socket /tmp/x level admin\n", "3.6.1-PEP"
    ),
    "a log of TLS keys": ("    noreuseport\n", "    tune.ssl.keylog on\n", "3.6.1-PEP"),
    "a client's word passed on": (
        "    http-request del-header x-client -m beg\n"
        "    http-request del-header x-forwarded -m beg\n",
        "",
        "3.6.1-IDENTITY",
    ),
    "a client's word taken for ours": (
        "X-Client-DN %[ssl_c_s_dn(,0,rfc2253)]", "X-Client-DN %[req.hdr(x-dn)]", "3.6.1-IDENTITY"
    ),
    "another spelling": ("req-hdr-names delete", "req-hdr-names preserve", "3.6.1-IDENTITY"),
    "no serial in the log": ('"serial":"%[ssl_c_serial,hex]",', "", "2.3-LOG-FIELDS"),
    "a query in the log": ("%[var(txn.path),json(utf8s)]", "%HU", "2.3-LOG-FIELDS"),
    "a log that can be forged": ("path),json(utf8s)]", "path)]", "2.3-LOG-FIELDS"),
    "a verdict that is always good": (
        f"str(SUCCESS) if {VERIFIED}", "str(SUCCESS)", "2.3-LOG-FIELDS"
    ),
    "compression": ("    retries 2\n", "    compression algo gzip\n", "4.2-COMPRESSION"),
    "no pool": ("http-reuse always", "http-reuse never", "4.1.1-POOLING"),
    "longer bodies": ("req.body_size gt 16", "req.body_size gt 99", "4.3.1-LIMITS"),
    "larger headers": ("req.hdrs,length gt 16384", "req.hdrs,length gt 20480", None),
    "larger buffers": ("tune.bufsize 20480", "tune.bufsize 65536", None),
    "more requests": ("sc_http_req_rate(0) gt 401", "sc_http_req_rate(0) gt 999", "4.3.1-LIMITS"),
    "more connections": ("    maxconn 480\n    stick", "    stick", "4.3.1-LIMITS"),
    "another certificate": ("/current/fullchain.pem", "/releases/x/fullchain.pem", "6.1.4-OVERLAP"),
    "a key in a header": (
        f"str(yes) if {VERIFIED}",
        f"str(yes) if {{ req.hdr(x-api-key) -m found }} {VERIFIED}",
        "2.3-APIKEY-INGEST",
    ),
    "any issuer": (" issuer_1 subject_1", " subject_1", "12.3-ISSUER"),
    "any case of an issuer": ("i_dn(,0,rfc2253) -m", "i_dn(,0,rfc2253) -i -m", "12.3-ISSUER"),
    "part of an issuer": ("i_dn(,0,rfc2253) -m str", "i_dn(,0,rfc2253) -m sub", "12.3-ISSUER"),
    "any subject": (" issuer_1 subject_1", " issuer_1", "12.3-CLIENT-SUBJECT"),
    "a second name": (" !second_name", "", "12.3-CLIENT-SUBJECT"),
    "the end of a name": ("s_dn(CN) -m str", "s_dn(CN) -m end", "12.3-CLIENT-SUBJECT"),
    "another peer": (
        '-- "peer.example"', '-- "peer.example" "other.example"', "12.3-CLIENT-SUBJECT"
    ),
    "two conditions for one name": (
        "    acl subject_1 ",
        '    acl subject_1 ssl_c_s_dn(CN) -m str -- "x"\n    acl subject_1 ',
        "12.3-CLIENT-SUBJECT",
    ),
    "everybody": (
        "    http-request set-var(txn.allowed) str(no)",
        "    http-request set-var(txn.allowed) str(yes)",
        "12.3-CLIENT-SUBJECT",
    ),
    "either of two": (" verified_chain issuer_1", " verified_chain or issuer_1", "12.3-ISSUER"),
    "no refusal": (
        "    http-request deny deny_status 403 unless { var(txn.allowed) -m str yes }\n",
        "",
        "12.3-CLIENT-SUBJECT",
    ),
    "certificates that failed": (f"str(yes) if {VERIFIED}", "str(yes) if shown", "12.3-CHAIN"),
    "certificates whose CA failed": (
        "verified_leaf verified_chain issuer", "verified_leaf issuer", "12.3-CHAIN"
    ),
    "another name of the far end": ("verifyhost api", "verifyhost other", "12.3-NAME"),
    "a name that is not sent": (" sni str(api.example)", "", "12.3-NAME"),
    "another name of ours": ('Host "gw.example"', 'Host "x.example"', "12.3-NAME"),
    "other CAs": ('ca-file "', 'ca-file "/tmp', "12.3-CHAIN"),
    "an unverified date": ("verify required", "verify none", "12.3-EXPIRY"),
    "an old copy of the CRLs": ("crl/nonprod/ingress", "crl/nonprod/sets/0", "12.3-REVOKED"),
    "a purpose of another kind": ("/dip/current/", "/dop/current/", "4.1.2-SIGN-ONLY"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(TAMPERED))
def test_each_way_to_get_it_wrong_is_found(
    sources: gateway.Sources, model: dict[str, Any], case: str
) -> None:
    old, new, rule = TAMPERED[case]
    files = rendered(model)
    text = files["haproxy.cfg"]
    assert old in text, "the template no longer has what this breaks"
    found = judged(sources, {**files, "haproxy.cfg": text.replace(old, new)}, model)
    # One of two bounds of the header may be looser: the other one holds.
    assert (f"DIP-{rule}" in found) if rule else (found == set())


@pytest.mark.parametrize("line", ["NumTickets = 0", "Groups = X25519:prime256v1"])
def test_what_only_the_library_is_told_counts(
    sources: gateway.Sources, model: dict[str, Any], line: str
) -> None:
    files = rendered(model, "server_curves")
    library = files["openssl.cnf"]
    assert line in library
    for changed in (library.replace(line, ""), library + "MinProtocol = TLSv1\n"):
        assert judged(sources, {**files, "openssl.cnf": changed}, model)


#: Lines that are not there for security, by how they begin, and why not.
NOT_SECURITY = {
    "global": "what it holds is looked at",
    "defaults": "what it holds is looked at",
    "log stdout": "without it nothing is logged, which is found",
    "noreuseport": "keeps two programs from sharing a port by mistake",
    "maxconn 1000": "the sum of what listeners take, which is judged",
    "tune.bufsize": "the rule about headers holds as well",
    "tune.maxrewrite": "room for our own headers",
    "set-var proc.since": "the program refuses to start without it or starts later windows",
    "mode http": "the program refuses rules of HTTP without it",
    "timeout": "how long nobody is waited for",
    "retries": "how often a far end is tried",
    "error-log-format": "what is logged of handshakes that fail",
    "ssl-default-bind-curves": "the library's own file says the same of both sides",
    "ssl-default-server-curves": "the library's own file says the same of both sides",
    "http-request set-header X-": "without it the application knows less, and nothing false",
    "acl": "the program refuses rules with a condition that it does not know",
    "http-request set-var(txn.allowed) str(no)": "what is not marked is not allowed",
    "http-request deny deny_status 405": "a tunnel ends with its time, too",
    "http-request del-header upgrade": "a tunnel ends with its time, too",
    "http-request return status 431": "the buffer bounds headers as well",
    "http-request del-header x-client": "ours are set; others under such names are not known",
    'http-request set-header Host "api': "the far end is verified under its name all the same",
    "retry-on": "which failures are repeated",
    "http-request disable-l7-retry": "shown live: what may change something is sent once",
    "http-reuse": "how connections are shared",
    "frontend egress_1: tcp-request connection": "its callers are on this host",
    "frontend egress_1: http-after-response": "its callers are on this host",
    "backend ingress": "the program refuses a listener that leads nowhere",
    "backend egress": "the program refuses a listener that leads nowhere",
}


def test_every_line_of_the_output_counts_or_is_known_not_to(
    sources: gateway.Sources, model: dict[str, Any]
) -> None:
    """So a line that is new in the template cannot be forgotten here."""
    files = rendered(model)
    lines = files["haproxy.cfg"].split("\n")
    quiet, section = [], ""
    for at, line in enumerate(lines):
        section = line if line and line[0] not in " #" else section
        if not line.strip() or line.strip().startswith("#"):
            continue
        without = "\n".join([*lines[:at], *lines[at + 1 :]])
        try:
            found = judged(sources, {**files, "haproxy.cfg": without}, model)
        except HostError:
            continue
        told = (line.strip(), f"{section}: {line.strip()}")
        if not found and not any(one.startswith(tuple(NOT_SECURITY)) for one in told):
            quiet.append(line.strip())
    assert quiet == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("http-request set-header Authorization secret if TRUE", "http-request set-header …"),
        ("http-request set-var(txn.secret) str(x)", "http-request set-var …"),
        ("stats auth admin:secret", "stats auth …"),
        ("secret-thing secret", "secret-thing …"),
        ('maxconn "$SECRET"', "maxconn … with a variable"),
    ],
)
def test_what_is_not_known_is_told_without_what_could_be_secret(
    model: dict[str, Any], text: str, unknown: str
) -> None:
    files = rendered(model)
    changed = files["haproxy.cfg"].replace(
        "frontend ingress_1\n", f"frontend ingress_1\n    {text}\n"
    )
    (found,) = adapter("haproxy").read({**files, "haproxy.cfg": changed})["unknown"][:1]
    assert found.startswith(unknown)
    assert re.search(r"\(line [0-9]+, in frontend ingress_1\)", found)
    assert "secret " not in found
    assert "SECRET" not in found


def test_nothing_at_all_is_open_to_everybody_and_bounded_by_nothing() -> None:
    text = "frontend a\n bind :443 ssl crt x\n default_backend b\nbackend b\n server s 1.2.3.4:5\n"
    (found,) = adapter("haproxy").read({"haproxy.cfg": text})["listeners"]
    (route,) = found["routes"]
    assert (route["peers"], route["issuers"], route["upstream"]) == (["any"], ["any"], "1.2.3.4:5")
    assert found["tls"]["verification"] == "off"
    assert found["tls"]["protocols"] == ["default"]
    assert found["tls"]["resumption"] == ["tickets", "cache"]
    assert {found[one] for one in ("connection_seconds", "connections")} == {UNBOUNDED}
    assert {route[one] for one in ("body_bytes", "requests_per_second", "request_burst")} == {
        UNBOUNDED
    }
    assert (found["log_fields"], found["log_query"]) == ([], True)


@pytest.mark.parametrize(
    ("bind", "address", "port"),
    [
        ("0.0.0.0:443", "0.0.0.0", 443),
        (":443", "0.0.0.0", 443),
        ("*:443", "0.0.0.0", 443),
        ("[::]:443", "::", 443),
        (":::443", "::", 443),
        ("/run/x.sock", "/run/x.sock", 0),
        ("1.2.3.4:99999", "1.2.3.4:99999", 0),
        ("1.2.3.4:1-5", "1.2.3.4:1-5", 0),
    ],
)
def test_a_bind_is_an_address_and_a_port(bind: str, address: str, port: int) -> None:
    (found,) = adapter("haproxy").read({"haproxy.cfg": f"frontend a\n bind {bind}\n"})["listeners"]
    assert (found["address"], found["port"]) == (address, port)


@settings(max_examples=200)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_a_quoted_text_is_one_word_and_the_same_text(text: str) -> None:
    quoted = adapter("haproxy").text["quote"](text)
    assert words(f"a {quoted} b") == [["a", text, "b"]]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("quote", "a\nb"), ("quote", "é"), ("token", "a b"), ("token", ""), ("expression", "a,b)")],
)
def test_what_cannot_be_written_is_refused(kind: str, text: str) -> None:
    with pytest.raises(HostError) as caught:
        adapter("haproxy").text[kind](text)
    assert caught.value.rule == "GATEWAY-TEXT"


def test_a_name_is_looked_up_again_and_a_number_needs_no_resolver() -> None:
    resolution = adapter("haproxy").text["resolution"]
    assert resolution("127.0.0.1:80") == resolution("[::1]:80") == ""
    assert resolution("app.example:80") == "init-addr last,libc,none resolvers system"


def test_the_render_of_tests_is_that_of_the_role(model: dict[str, Any]) -> None:
    lacks = sorted(adapter("haproxy").lacks)
    assert (
        gw.render(model, "haproxy.cfg.j2", lacks=lacks, product="haproxy")
        == (rendered(model)["haproxy.cfg"])
    )
