# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration's text, and what it means: nginx's own rules, odd ones included."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from integration import gateway_world as gw
from pki_host.errors import HostError
from pki_host.gateways import adapter, nginx
from pki_host.gateways.description import UNBOUNDED
from pki_host.gateways.nginx import names, reader
from pki_host.gateways.nginx import text as language

FRAME = "events {{}} http {{ server {{ listen 127.0.0.1:443 ssl; {} }} }}"


def words(text: str) -> list[list[str]]:
    return [[one.name, *one.words] for one in language.parse(text, "t.conf")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c;", [["a", "b", "c"]]),
        ("a\n\tb\r\n;", [["a", "b"]]),
        ("a 'b c';", [["a", "b c"]]),
        ('a "b;{}#c";', [["a", "b;{}#c"]]),
        ("a b'c;", [["a", "b'c"]]),
        ('a b"c;', [["a", 'b"c']]),
        ("a b#c;", [["a", "b#c"]]),
        ("a; # b; }\nc;", [["a"], ["c"]]),
        ("# nothing { \n", []),
        ("a # b\n c;", [["a", "c"]]),
        ("a b}c;", [["a", "b}c"]]),
        (r'a "b\"c";', [["a", 'b"c']]),
        (r"a b\;c;", [["a", r"b\;c"]]),
        (r"a b\ c;", [["a", r"b\ c"]]),
        (r'a "\\d\w";', [["a", r"\d\w"]]),
        (r'a "x\ty";', [["a", "x\ty"]]),
        ("a ${b}c;", [["a", "${b}c"]]),
        ("a '';", [["a", ""]]),
        ('if ($a = "b") c;', [["if", "($a", "=", "b", ")", "c"]]),
        ("a\\\n;", [["a\\\n"]]),
        ("", []),
        ("include /etc/*.conf;", [["include", "/etc/*.conf"]]),
    ],
)
def test_words_end_where_nginx_ends_them(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


def test_blocks_nest_and_braces_in_quotes_and_comments_are_not_braces() -> None:
    text = "a { b '}' { c; } # }\n d \"{\"; }\ne;"
    outer, last = language.parse(text, "t.conf")
    inner, second = outer.block
    assert (str(inner), str(inner.block[0]), str(second), last.name) == ("b }", "c", "d {", "e")
    assert (outer.line, inner.block[0].line, second.line, last.line) == (1, 1, 2, 3)


BROKEN = {
    "a block without an end": ("a { b;", "the end of the file"),
    "a closing brace too many": ("a { } }", "too many"),
    "a directive without an end": ("a b", "the end of the file"),
    "a quote without an end": ("a 'b;", "a quote without an end"),
    "something right after a quote": ("a 'b'c;", "'c' right after a quote"),
    "a semicolon alone": (";", "an unexpected ';'"),
    "a block without a name": ("{ }", "an unexpected '{'"),
    "a brace in the middle of a directive": ("a { b }", "an unexpected '}'"),
    "a brace that a comment hides": ("a { # }", "the end of the file"),
    "blocks without bottom": ("a {" * 100 + "}" * 100, "blocks nested"),
    "too much": (" " * (language.MAXIMUM_CHARACTERS + 1), "characters"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_refused_with_its_line_is(case: str) -> None:
    text, found = BROKEN[case]
    with pytest.raises(HostError) as caught:
        language.parse("\n" + text, "t.conf")
    assert caught.value.rule == "GATEWAY-CONFIG"
    assert found in caught.value.found
    assert caught.value.where.startswith("t.conf")


@given(st.text(st.sampled_from("ab \n;{}#'\"\\$"), max_size=24))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    try:
        read = language.parse(text, "t.conf")
    except HostError:
        return
    assert all(one.name or one.words for one in read) or '""' in text or "''" in text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


def first_word(text: str) -> str | None:
    """The first word of a text as the reader has it; None when it has none."""
    ended, _, _ = next(language._statements(text, "t.conf"))
    return ended[0] if ended else None


@settings(max_examples=80, deadline=None)
@given(text=st.text(st.sampled_from("ab \n;{}#'\"\\\\$)t"), max_size=16))
@example(text=r'"a\"b;c" d;')
@example(text=r"a\;b ;")
@example(text="a#b}c;")
@example(text="'a'b;")
@example(text="${a}b;")
def test_the_program_itself_reads_the_first_word_as_the_reader_does(place: Path, text: str) -> None:
    """It knows none of these directives, and quotes the one it met in its own reading."""
    (place / "c.conf").write_bytes(text.encode())
    done = subprocess.run(
        [gw.program(), "-t", "-p", str(place), "-c", "c.conf", "-e", "e.log"],
        capture_output=True,
        text=True,
        check=False,
    )
    met = re.search(r'unknown directive "(.*)" in \S+c\.conf:\d', done.stderr, re.DOTALL)
    try:
        read = first_word(text)
    except HostError:
        assert re.search('unexpected|no "events"', done.stderr), done.stderr
        assert met is None, done.stderr
    else:
        assert read == (met.group(1) if met else None), done.stderr


# -- meaning -----------------------------------------------------------------------------


def listener(*directives: str, at: int = 0) -> dict[str, Any]:
    text = FRAME.format(" ".join(directives))
    found = adapter("nginx").read({"nginx.conf": text})["listeners"]
    assert len(found) == at + 1
    return dict(found[at])


@pytest.mark.parametrize(
    ("directive", "field", "value"),
    [
        ("", "protocols", ["default"]),
        ("ssl_protocols TLSv1.3;", "protocols", ["TLSv1.3"]),
        ("", "ciphers", ["default"]),
        ("ssl_ciphers HIGH:!aNULL,@SECLEVEL=0;", "ciphers", ["HIGH", "!aNULL", "@SECLEVEL=0"]),
        ("ssl_conf_command Ciphersuites A:B;", "ciphersuites", ["A", "B"]),
        ("", "ciphersuites", ["default"]),
        ("ssl_ecdh_curve X448;", "groups", ["X448"]),
        ("", "resumption", ["tickets"]),
        ("ssl_session_tickets off;", "resumption", []),
        ("ssl_session_tickets OFF; ssl_session_cache shared:a:1m;", "resumption", ["cache"]),
        ("", "session_seconds", 300),
        ("ssl_session_timeout 1d;", "session_seconds", 86400),
        ("ssl_session_timeout 1h30m;", "session_seconds", 5400),
        ("ssl_session_timeout soon;", "session_seconds", UNBOUNDED),
        ("ssl_session_timeout 1d; ssl_session_tickets off;", "session_seconds", 0),
        ("ssl_early_data on;", "early_data", True),
        ("", "verification", "off"),
        ("ssl_verify_client On;", "verification", "required"),
        ("ssl_verify_client optional;", "verification", "optional"),
        ("ssl_verify_client optional_no_ca;", "verification", "unchecked"),
        ("ssl_verify_client maybe;", "verification", "off"),
        ("ssl_verify_client on;", "checks", ["chain", "expiry"]),
        ("ssl_verify_client on; ssl_crl c;", "checks", ["chain", "expiry", "revocation"]),
        ("ssl_verify_client optional_no_ca;", "checks", ["expiry"]),
        ("ssl_crl c;", "checks", []),
        ("", "verify_depth", 1),
        ("ssl_verify_depth 7;", "verify_depth", 7),
        ("ssl_prefer_server_ciphers on;", "own_order", True),
    ],
)
def test_a_tls_directive_and_its_absence_mean(directive: str, field: str, value: object) -> None:
    assert listener(directive)["tls"][field] == value


@pytest.mark.parametrize(
    ("directives", "statuses"),
    [
        ("ssl_verify_client on;", [400]),
        ("ssl_verify_client on; error_page 495 496 497 =403 /x;", [403]),
        ("ssl_verify_client on; error_page 495 =403 /x;", [400, 403]),
        ("ssl_verify_client on; error_page 495 496 497 = /x;", [0]),
        ("ssl_verify_client on; error_page 495 496 497 /x;", [400]),
        ("", []),
        ("location /a { if ($x != yes) { return 401; } }", [401]),
        ("location /a { if ($x != yes) { return 403; } error_page 403 =200 /x; }", [200]),
    ],
)
def test_a_refused_caller_is_told(directives: str, statuses: list[int]) -> None:
    assert listener(directives)["refused_with"] == statuses


@pytest.mark.parametrize(
    ("words", "address", "port", "tls"),
    [
        ("443", "0.0.0.0", 443, False),
        ("*:8443 ssl", "0.0.0.0", 8443, True),
        ("[::]:443 ssl", "::", 443, True),
        ("[::1]:443", "::1", 443, False),
        ("192.0.2.1", "192.0.2.1", 80, False),
        ("unix:/run/x.sock", "unix:/run/x.sock", 0, False),
        ("example.com:1 default_server ssl", "example.com", 1, True),
        ("192.0.2.1:99999", "192.0.2.1", 0, False),
    ],
)
def test_a_listen_is_an_address_and_a_port(words: str, address: str, port: int, tls: bool) -> None:
    (found,) = adapter("nginx").read({"nginx.conf": f"http {{ server {{ listen {words}; }} }}"})[
        "listeners"
    ]
    assert (found["address"], found["port"], found["tls"]["enabled"]) == (address, port, tls)


def test_each_listen_of_a_server_is_a_listener_and_one_without_is_port_80() -> None:
    text = "http { server { listen 1; listen 2 ssl; } server { } }"
    found = adapter("nginx").read({"nginx.conf": text})["listeners"]
    assert [(one["port"], one["tls"]["enabled"]) for one in found] == [
        (1, False),
        (2, True),
        (80, False),
    ]


@pytest.mark.parametrize(
    ("directives", "unknown"),
    [
        ("ssl_stapling on;", "ssl_stapling on (line 1, in server)"),
        ("Ssl_Protocols TLSv1.3;", "Ssl_Protocols TLSv1.3 (line 1, in server)"),
        ("include more.conf;", "include more.conf (line 1, in server)"),
        ("ssl_protocols TLSv1.3; ssl_protocols TLSv1;", "ssl_protocols TLSv1 a second time (li"),
        ("ssl_conf_command MinProtocol TLSv1;", "ssl_conf_command MinProtocol TLSv1 (line 1, in"),
        ("ssl_conf_command NumTickets 2;", "ssl_conf_command NumTickets 2 (line 1, in"),
        ("ssl_conf_command Ciphersuites A; ssl_conf_command Ciphersuites B;", "B a second time"),
        ("ssl_protocols;", "ssl_protocols in an unknown form"),
        ("ssl_protocols TLSv1.3 { }", "ssl_protocols TLSv1.3 in an unknown form"),
        ("location / { location /a { } }", "location /a (line 1, in location)"),
        ("location / { set $allowed 1; }", "set … (line 1, in location)"),
        ("if ($x) { return 200; }", "if … (line 1, in server)"),
        ("location / { if ($x) { proxy_pass http://a; } }", "if … (line 1, in location)"),
        ("location / { if ($x != yes) { return 200; } }", "if … (line 1, in location)"),
        ("location / { if ($x = 0) { return 403; } }", "if … (line 1, in location)"),
        ("location / { include /etc/x/headers.conf; }", "include /etc/x/headers.conf (line 1"),
        ("location / { include /etc/*/api-key.conf; }", "include /etc/*/api-key.conf (line 1"),
        ("include /etc/x/api-key.conf;", "include /etc/x/api-key.conf (line 1, in server)"),
        ("proxy_next_upstream error non_idempotent;", "proxy_next_upstream … (line 1"),
        ("limit_req_status 503;", "limit_req_status … (line 1, in server)"),
        ("limit_req_dry_run on;", "limit_req_dry_run … (line 1, in server)"),
        ("listen 5 quic;", "listen 5 quic"),
        ("} map $a $b { include x; } server {", "map $a $b"),
        ("} map $a $b { } map $a $b { } server {", "map $a $b"),
        ("} underscores_in_headers on; server {", "underscores_in_headers on"),
        ("} } stream { server { listen 9; } } http { server {", "stream (line 1, in main)"),
    ],
)
def test_what_the_reader_does_not_know_is_listed(directives: str, unknown: str) -> None:
    found = adapter("nginx").read({"nginx.conf": FRAME.format(directives)})["unknown"]
    assert [one for one in found if unknown in one], found


@pytest.mark.parametrize(
    "directives",
    [
        "secure_link_md5 CANARY;",
        "proxy_set_header X-API-KEY CANARY CANARY;",
        "ssl_password_file CANARY;",
        "location / { set $token CANARY; }",
        "if ($arg_token = CANARY) { return 200; }",
        "location / { proxy_set_header Authorization CANARY; proxy_set_header X CANARY y; }",
        "auth_basic CANARY CANARY; return 200 CANARY;",
        "} map $http_x_api_key $known { CANARY 1; include CANARY; } server {",
        "} perl_set $x CANARY { } server {",
        "proxy_set_header X CANARY",
        "ssl_protocols TLSv1.3 'CANARY",
    ],
)
def test_what_somebody_wrote_by_hand_may_be_a_secret_and_is_not_told(directives: str) -> None:
    library = "[pkcs11]\nPIN = CANARY\nMODULE_PATH = CANARY\nCANARY\n"
    files = {"nginx.conf": FRAME.format(directives), "openssl.cnf": library}
    try:
        told = str(nginx.Adapter(frozenset({"ssl_conf_command"})).read(files))
        assert "PIN = … (TLS library)" in told
    except HostError as exc:
        told = f"{exc.message} {exc.found} {exc.expected} {exc.where} {exc.next_step}"
    assert "CANARY" not in told


# -- who is let in -------------------------------------------------------------------------


def quoted(text: str) -> str:
    return nginx.quote(text)


ISSUERS = (
    f"map $ssl_client_i_dn $issuer {{ default 0; {quoted(nginx.exact('CN=ca,O=x'))} 1;"
    f" {quoted(nginx.exact('CN=ca2,O=x'))} 2; }}"
)


def pair(issuer: int, subject: str) -> str:
    return f"{quoted(f'~^SUCCESS:{issuer}:{subject}')} yes; "


def allowed(*pairs: str) -> str:
    source = '"$ssl_client_verify:$issuer:$ssl_client_s_dn"'
    return f"{ISSUERS} map {source} $allowed {{ default no; {''.join(pairs)}}}"


MAPS = allowed(
    *(pair(number, nginx.cn(name)) for name in ("a.example", "b.example") for number in (1, 2))
)
BOTH = ["CN=ca,O=x", "CN=ca2,O=x"]
GUARD = "if ($allowed != yes) { return 403; }"
PASS = "proxy_pass http://127.0.0.1:1;"


def routes(maps: str, location: str) -> list[tuple[str, list[str], list[str]]]:
    text = f"http {{ {maps} server {{ listen 1 ssl; {location} }} }}"
    (found,) = adapter("nginx").read({"nginx.conf": text})["listeners"]
    return [(one["match"], one["peers"], one["issuers"]) for one in found["routes"]]


def test_a_guard_over_maps_is_read_as_names() -> None:
    assert routes(MAPS, f"location / {{ {GUARD} {PASS} }}") == [
        ("/", ["CN=a.example", "CN=b.example"], BOTH)
    ]


def test_a_subject_that_is_let_in_from_some_issuers_only_is_read_once_for_each() -> None:
    maps = allowed(
        pair(1, nginx.cn("a.example")),
        pair(2, nginx.subject("CN=b,O=x\\, y")),
        pair(1, nginx.cn("c.example")),
        pair(2, nginx.cn("c.example")),
    )
    assert routes(maps, f"location / {{ {GUARD} {PASS} }}") == [
        (
            "/",
            [
                "CN=a.example from CN=ca,O=x",
                "subject CN=b,O=x\\, y from CN=ca2,O=x",
                "CN=c.example",
            ],
            BOTH,
        )
    ]


ANYBODY = ("/", ["any"], ["any"])
OPEN = {
    "no guard": (MAPS, PASS),
    "a guard after the answer": (MAPS, f"return 200; {GUARD}"),
    "a guard that something can jump over": (MAPS, f"break; {GUARD} {PASS}"),
    "another condition": (MAPS, f"if ($allowed = no) {{ return 403; }} {PASS}"),
    "a condition that answers": (MAPS, f"if ($allowed != yes) {{ return 200; }} {PASS}"),
    "a guard on a variable nobody sets": (MAPS.replace("$allowed", "$other"), GUARD + PASS),
    "a map that lets in by default": (MAPS.replace("default no", "default yes"), GUARD + PASS),
    "a certificate that was not verified": (MAPS.replace("SUCCESS", "NONE"), GUARD + PASS),
    "an expression for the verdict": (MAPS.replace("SUCCESS:1", "S.*:1"), GUARD + PASS),
    "an expression without case": (MAPS.replace("~^SUCCESS:2", "~*^SUCCESS:2"), GUARD + PASS),
    "a verdict that is not asked for": (
        MAPS.replace("$ssl_client_verify:", "SUCCESS:"),
        GUARD + PASS,
    ),
    "an issuer that is not asked for": (MAPS.replace(":$issuer:", ":1:"), GUARD + PASS),
    "issuers by something else": (
        MAPS.replace("$ssl_client_i_dn", "$ssl_client_s_dn"),
        GUARD + PASS,
    ),
    "another subject": (MAPS.replace(":$ssl_client_s_dn", ":$http_x_dn"), GUARD + PASS),
    "everybody beside the peers": (
        MAPS.replace("default no;", "default no; ~. yes;"),
        GUARD + PASS,
    ),
}


@pytest.mark.parametrize("case", sorted(OPEN))
def test_anybody_is_let_in_by(case: str) -> None:
    maps, location = OPEN[case]
    assert ANYBODY in routes(maps, f"location / {{ {location} }}")


@pytest.mark.parametrize(
    ("old", "new", "peers", "issuers"),
    [
        ("default no;", 'default no; "~^SUCCESS:1:." yes;', "pattern . from CN=ca,O=x", BOTH[0]),
        ("default no;", 'default no; "~^SUCCESS:1:" yes;', "pattern  from CN=ca,O=x", BOTH[0]),
        ("default no;", 'default no; "~^SUCCESS:0:." yes;', "any", "any"),
        ("$issuer { default 0;", "$issuer { default 1;", "CN=a.example", "any"),
        ("$issuer { default 0;", '$issuer { default 0; "~." 1;', "CN=a.example", "pattern ~."),
        ("$issuer { default 0;", "$issuer { default 0; CN=ca3 1;", "CN=a.", "pattern CN=ca3"),
    ],
)
def test_a_wider_map_is_read_as_wider(old: str, new: str, peers: str, issuers: str) -> None:
    assert old in MAPS
    ((_, found_peers, found_issuers),) = routes(
        MAPS.replace(old, new), f"location / {{ {GUARD} {PASS} }}"
    )
    assert [one for one in found_peers if one.startswith(peers)]
    assert [one for one in found_issuers if one.startswith(issuers)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # No value at all is not the one that lets in, nor is any other.
        ("default no;", ""),
        ("default no;", "default 1;"),
        ("default no;", "default no; x no;"),
        ("default no;", 'default no; "~^SUCCESS:9:." yes;'),
    ],
)
def test_a_map_is_as_narrow_as_nginx_takes_it(old: str, new: str) -> None:
    ((_, peers, issuers),) = routes(MAPS.replace(old, new), f"location / {{ {GUARD} {PASS} }}")
    assert (peers, issuers) == (["CN=a.example", "CN=b.example"], BOTH)


@pytest.mark.parametrize(
    ("location", "matches"),
    [
        (f"location / {{ {GUARD} {PASS} }} location /status {{ {PASS} }}", ["/", "/status"]),
        ("location /only { return 404; }", ["everything else"]),
        ("location @denied { return 403; } location / { return 403; }", []),
        (f"location @denied {{ {PASS} }} location / {{ return 403; }}", ["@denied"]),
        ("location / { return 200 hello; }", ["/"]),
        ("location / { }", ["/"]),
    ],
)
def test_what_is_served_is_a_route_and_what_only_refuses_is_none(
    location: str, matches: list[str]
) -> None:
    assert [match for match, _, _ in routes(MAPS, location)] == matches


def test_a_request_header_that_decides_is_asked_for_and_one_passed_on_is_not() -> None:
    asked = listener(
        'location / { if ($http_x_api_key = "") { return 401; } proxy_set_header A $http_x_other; }'
    )
    assert asked["headers_asked"] == ["X-API-KEY"]
    mapped = 'http { map $http_x_api_key $k { default 0; "s" 1; } server { listen 1; } }'
    (found,) = adapter("nginx").read({"nginx.conf": mapped})["listeners"]
    assert found["headers_asked"] == ["X-API-KEY"]


# -- upstreams -----------------------------------------------------------------------------

UPSTREAM = "upstream u { server 192.0.2.1:443; keepalive 8; keepalive_time 10m; }"
KEPT = 'proxy_http_version 1.1; proxy_set_header Connection "";'


def route(*directives: str, upstream: str = UPSTREAM) -> dict[str, Any]:
    text = f"http {{ {upstream} server {{ listen 1; location / {{ {' '.join(directives)} }} }} }}"
    (found,) = adapter("nginx").read({"nginx.conf": text})["listeners"]
    return dict(found["routes"][0])


@pytest.mark.parametrize(
    ("directives", "field", "value"),
    [
        ("proxy_pass https://u;", "verification", "off"),
        ("proxy_pass https://u; proxy_ssl_verify on;", "verification", "required"),
        ("proxy_pass https://u; proxy_ssl_verify on;", "checks", ["chain", "expiry", "name"]),
        ("proxy_pass https://u;", "name", "u"),
        ("proxy_pass https://u; proxy_ssl_name n.example;", "name", "n.example"),
        ("proxy_pass https://u;", "name_sent", False),
        ("proxy_pass https://u;", "resumption", ["reuse"]),
        ("proxy_pass https://u;", "session_seconds", 604800),
        ("proxy_pass https://u; proxy_ssl_session_reuse off;", "session_seconds", 0),
        ("proxy_pass https://u;", "groups", ["default"]),
        ("proxy_pass https://u; proxy_ssl_conf_command Groups A:B;", "groups", ["A", "B"]),
        ("proxy_pass http://u;", "enabled", False),
        ("proxy_pass HTTPS://u;", "enabled", False),
    ],
)
def test_the_way_to_an_upstream_means(directives: str, field: str, value: object) -> None:
    assert route(directives)["tls"][field] == value


@pytest.mark.parametrize(
    ("directives", "upstream"),
    [
        ("proxy_pass https://u;", "192.0.2.1:443"),
        ("proxy_pass https://u/other;", "192.0.2.1:443/other"),
        ("proxy_pass http://192.0.2.9:80;", "192.0.2.9:80"),
        ("proxy_pass http://$host;", "http://$host"),
        ("", ""),
    ],
)
def test_requests_lead_to(directives: str, upstream: str) -> None:
    assert route(directives)["upstream"] == upstream


def test_every_server_of_an_upstream_is_told() -> None:
    two = "upstream u { server a:1; server b:2 backup; }"
    assert route("proxy_pass http://u;", upstream=two)["upstream"] == "a:1, b:2 backup"


def test_connections_are_pooled_only_with_all_that_it_takes() -> None:
    passed = "proxy_pass https://u;"
    assert route(passed, KEPT)["pooled_connections"] == 8
    assert route(passed)["pooled_connections"] == 0
    assert route(passed, KEPT.replace('""', "close"))["pooled_connections"] == 0
    assert route(passed, KEPT.replace("1.1", "1.0"))["pooled_connections"] == 0
    assert route("proxy_pass https://192.0.2.1;", KEPT)["pooled_connections"] == 0


@pytest.mark.parametrize(
    ("directives", "seconds"),
    [
        ("", 75 * 1000),
        ("keepalive_time 1h;", 3600),
        ("keepalive_timeout 60s; keepalive_requests 60;", 3600),
        ("keepalive_timeout 10; keepalive_requests 6; keepalive_time 1h;", 60),
        ("keepalive_timeout 0;", 0),
        ("keepalive_timeout 500ms; keepalive_requests 1;", 1),
    ],
)
def test_a_connection_lives_for(directives: str, seconds: int) -> None:
    assert listener(directives)["connection_seconds"] == seconds


@pytest.mark.parametrize(
    ("directive", "bound"),
    [
        ("", 1 << 20),
        ("client_max_body_size 16m;", 16 << 20),
        ("client_max_body_size 10K;", 10240),
        ("client_max_body_size 0;", UNBOUNDED),
        ("client_max_body_size much;", UNBOUNDED),
    ],
)
def test_a_body_is_bounded_by(directive: str, bound: int) -> None:
    assert route(directive)["body_bytes"] == bound


def test_a_directive_of_an_outer_block_holds_inside_until_it_is_said_again() -> None:
    text = (
        "http { ssl_protocols TLSv1.2; proxy_set_header Connection ''; proxy_http_version 1.1;"
        " upstream u { server a:1; keepalive 2; }"
        " server { listen 1 ssl; ssl_protocols TLSv1.3; location / { proxy_pass http://u; } }"
        " server { listen 2 ssl; location / { proxy_set_header X y; proxy_pass http://u; } } }"
    )
    first, second = adapter("nginx").read({"nginx.conf": text})["listeners"]
    assert (first["tls"]["protocols"], second["tls"]["protocols"]) == (["TLSv1.3"], ["TLSv1.2"])
    # Headers are inherited all or none.
    assert [one["routes"][0]["pooled_connections"] for one in (first, second)] == [2, 0]


def test_what_only_the_library_is_told_counts_where_the_library_reads_it() -> None:
    text = "http { server { listen 1 ssl; } }"
    library = (
        "openssl_conf = gateway\n[tls]\nCiphersuites = A:B\nMinProtocol = TLSv1\nNumTickets = 0\n"
    )
    files = {"nginx.conf": text, "openssl.cnf": library}
    old = nginx.Adapter(frozenset({"ssl_conf_command"})).read(files)
    assert old["listeners"][0]["tls"]["ciphersuites"] == ["A", "B"]
    assert old["unknown"] == ["MinProtocol = TLSv1 (TLS library)"]
    now = adapter("nginx").read(files)
    assert now["listeners"][0]["tls"]["ciphersuites"] == ["default"]
    assert now["unknown"] == []


def test_connections_without_a_bound_are_told_as_such() -> None:
    assert reader.read("http { }").drain_seconds == UNBOUNDED
    assert reader.read("worker_shutdown_timeout 5m;").drain_seconds == 300


# -- names -----------------------------------------------------------------------------------

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


@given(PRINTABLE)
def test_a_name_that_was_written_is_read_again(name: str) -> None:
    assert names.cn_of(nginx.cn(name)) == name
    assert names.subject_of(nginx.subject(name)) == name
    assert names.exact_of(nginx.exact(name)) == name


@given(PRINTABLE, st.integers(0, 400), PRINTABLE)
def test_an_expression_that_was_touched_is_not_read_as_a_name_it_does_not_stand_for(
    name: str, at: int, more: str
) -> None:
    for write, read in (
        (nginx.cn, names.cn_of),
        (nginx.subject, names.subject_of),
        (nginx.exact, names.exact_of),
    ):
        touched = write(name)[:at] + more + write(name)[at:]
        found = read(touched)
        assert found == "" or write(found) == touched


# -- limits, logs, headers ---------------------------------------------------------------------

ZONES = (
    "limit_req_zone $binary_remote_addr zone=r:1m rate=5r/s;"
    " limit_req_zone $server_name zone=n:1m rate=5r/s;"
    " limit_req_zone $remote_addr zone=m:1m rate=90r/m;"
    " limit_conn_zone $server_port zone=c:1m; limit_conn_zone $binary_remote_addr zone=d:1m;"
)


@pytest.mark.parametrize(
    ("directive", "rate"),
    [
        ("", (UNBOUNDED, UNBOUNDED)),
        ("limit_req zone=r burst=7 nodelay;", (5, 7)),
        ("limit_req zone=r;", (5, 0)),
        ("limit_req zone=m burst=1;", (2, 1)),
        ("limit_req zone=n burst=7;", (UNBOUNDED, UNBOUNDED)),
        ("limit_req zone=unheard-of burst=7;", (UNBOUNDED, UNBOUNDED)),
    ],
)
def test_requests_of_one_address_are_bounded_by(directive: str, rate: tuple[int, int]) -> None:
    found = route("proxy_pass http://u;", directive, upstream=UPSTREAM + ZONES)
    assert (found["requests_per_second"], found["request_burst"]) == rate


@pytest.mark.parametrize(
    ("directives", "connections"),
    [
        ("", UNBOUNDED),
        ("limit_conn c 9;", 9),
        ("limit_conn d 9;", UNBOUNDED),
        ("limit_conn c many;", UNBOUNDED),
        ("limit_conn c 9; location / { limit_conn c 99; }", 99),
        ("limit_conn c 9; location / { limit_conn d 1; }", UNBOUNDED),
    ],
)
def test_connections_of_a_listener_are_bounded_by(directives: str, connections: int) -> None:
    assert (
        listener(f"}} {ZONES} server {{ listen 2; {directives}", at=1)["connections"] == connections
    )


@pytest.mark.parametrize(
    ("directives", "bound"),
    [
        ("", 1024 + 4 * 8192),
        ("client_header_buffer_size 2k; large_client_header_buffers 3 4k;", 2048 + 3 * 4096),
        ("large_client_header_buffers 1 many;", UNBOUNDED),
        ("large_client_header_buffers many 1k;", UNBOUNDED),
    ],
)
def test_a_header_is_bounded_by(directives: str, bound: int) -> None:
    assert listener(directives)["header_bytes"] == bound


FORMAT = "log_format f escape=json '$time_iso8601 $remote_addr $request_method $uri $status';"
TOLD = ["time", "remote", "request", "status"]


@pytest.mark.parametrize(
    ("http", "directives", "fields", "query"),
    [
        (FORMAT, "access_log a f;", TOLD, False),
        (FORMAT.replace("json", "default"), "access_log a f;", TOLD, False),
        (FORMAT.replace("escape=json ", ""), "access_log a f;", TOLD, False),
        (FORMAT.replace("json", "none"), "access_log a f;", [], True),
        (FORMAT.replace("$status", "$status$args"), "access_log a f;", TOLD, True),
        (FORMAT.replace("$status", "$http_cookie"), "access_log a f;", TOLD[:3], True),
        (FORMAT.replace("$uri", "${request_uri}"), "access_log a f;", TOLD[:2] + TOLD[3:], True),
        (FORMAT, "", [], True),
        (FORMAT, "access_log a;", [], True),
        (FORMAT, "access_log off;", [], True),
        (FORMAT, "access_log a f if=$x;", [], True),
        (FORMAT, "access_log a f; location /b { access_log off; }", [], True),
        (FORMAT, "access_log a other;", [], True),
    ],
)
def test_a_log_tells(http: str, directives: str, fields: list[str], query: bool) -> None:
    found = listener(f"}} {http} server {{ listen 2; {directives}", at=1)
    assert (found["log_fields"], found["log_query"]) == (fields, query)


def test_a_log_tells_who_is_let_in_only_with_the_verdict_of_its_own_guard() -> None:
    logged = "log_format f '$allowed'; log_format g '$other';"
    for name, told in (("f", ["allowed"]), ("g", [])):
        text = f"access_log a {name}; location / {{ {GUARD} {PASS} }}"
        found = listener(f"}} {logged} {MAPS} server {{ listen 2; {text}", at=1)
        assert found["log_fields"] == told


def test_a_header_is_overwritten_by_what_no_client_can_choose() -> None:
    said = route(
        "proxy_pass http://u; proxy_set_header X-A $ssl_client_s_dn; proxy_set_header x-b '';"
        " proxy_set_header X-C $http_x_c; proxy_set_header X-D $proxy_add_x_forwarded_for;"
        " proxy_set_header X-E ${arg_e}; proxy_set_header Host $host;"
        " proxy_set_header X-F $remote_addr;"
    )
    assert said["identity_headers"] == ["X-A", "X-B", "X-F"]


def test_the_file_with_an_api_key_is_told_and_not_read() -> None:
    text = "http { server { listen 1; location / { include /etc/k/api-key.conf; } } }"
    found = adapter("nginx").read({"nginx.conf": text})
    assert found["listeners"][0]["routes"][0]["secret_file"] == "/etc/k/api-key.conf"
    assert found["unknown"] == []


def test_answers_are_compressed_where_it_is_said_anywhere() -> None:
    assert not listener()["compression"]
    assert listener("gzip on;")["compression"]
    assert listener("gzip off; location / { gzip on; }")["compression"]
