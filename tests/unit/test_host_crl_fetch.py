# SPDX-License-Identifier: GPL-3.0-or-later
"""One transfer of a CRL on a host, against a real server that breaks in every way we know."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pki_host import http_exchange
from pki_host.crl_fetch import Answer, transfer
from pki_host.crl_watch import Limits
from pki_host.errors import HostError
from unit import broken_crl_server as broken
from unit.broken_crl_server import BrokenCrlServer, Material, Pace

LIMITS = Limits(
    attempts=1,
    first_wait_seconds=0.01,
    wait_factor=2,
    longest_wait_seconds=0.05,
    timeout_seconds=5,
    total_seconds=10,
    largest_bytes=100_000,
    proxy="",
)
#: For what waits to the end of a limit; short for nothing else, as machines are busy.
SHORT = replace(LIMITS, timeout_seconds=0.5, total_seconds=1.0)
AGAIN = replace(LIMITS, attempts=3)
MODULE_UTILS = Path(http_exchange.__file__).parents[1]


@pytest.fixture(scope="module")
def material() -> Material:
    return Material.made()


@pytest.fixture(scope="module")
def server(material: Material) -> Iterator[BrokenCrlServer]:
    pace = Pace(drip_seconds=0.05, endless_bytes_per_second=4_000_000)
    with BrokenCrlServer(material, pace).running() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(server: BrokenCrlServer) -> None:
    server.seen.clear()


@pytest.fixture
def fetch(server: BrokenCrlServer, tmp_path: Path) -> Callable[..., Answer]:
    """Fetch ``/<behaviour>`` into ``tmp_path/crl``."""

    def run(behaviour: str, limits: Limits = LIMITS, **options: Any) -> Answer:
        return transfer(server.url(behaviour), str(tmp_path / "crl"), limits, **options)

    return run


def refused(run: Callable[[], object]) -> HostError:
    with pytest.raises(HostError) as caught:
        run()
    assert caught.value.rule == "CRL-FETCH"
    assert caught.value.next_step
    return caught.value


# What comes through.


@pytest.mark.parametrize(
    "manner", ["der", "redirect", "chain/5", "chunked", "without_length", "fails_then_good"]
)
def test_a_crl_arrives_byte_by_byte_as_it_was_served(
    fetch: Callable[..., Answer], server: BrokenCrlServer, tmp_path: Path, manner: str
) -> None:
    server.switch("fails_then_good", "fails_then_good")
    answer = fetch(manner, AGAIN)
    data = server.content("der")
    assert (tmp_path / "crl").read_bytes() == data
    assert (answer.unchanged, answer.size) == (False, len(data))
    assert os.listdir(tmp_path) == ["crl"]
    assert (tmp_path / "crl").stat().st_mode & 0o777 == 0o644


def test_the_address_that_answered_in_the_end_is_told(
    fetch: Callable[..., Answer], server: BrokenCrlServer
) -> None:
    assert fetch("redirect").url == server.url("der")
    assert fetch("der").url == server.url("der")


def test_what_is_asked_for_is_plain_and_not_from_a_cache(
    fetch: Callable[..., Answer], server: BrokenCrlServer
) -> None:
    fetch("der")
    assert server.seen[-1].headers == {
        "host": f"127.0.0.1:{server.port}",
        "connection": "close",
        "accept": "*/*",
        "accept-encoding": "identity",
        "cache-control": "no-cache",
        "user-agent": "pki-crl",
    }


def test_bytes_of_another_kind_are_not_judged_here(
    fetch: Callable[..., Answer], tmp_path: Path
) -> None:
    assert fetch("html").size == len(broken.HTML)
    assert (tmp_path / "crl").read_bytes() == broken.HTML


# Conditional requests.


def test_an_unchanged_crl_costs_one_request_without_a_body(
    fetch: Callable[..., Answer], server: BrokenCrlServer, tmp_path: Path
) -> None:
    first = fetch("conditional")
    (tmp_path / "crl").unlink()
    server.seen.clear()
    again = fetch("conditional", etag=first.etag, modified=first.modified)
    assert again == Answer(True, first.etag, first.modified, server.url("conditional"), 0)
    assert os.listdir(tmp_path) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize("which", ["etag", "modified"])
def test_either_validator_is_enough(fetch: Callable[..., Answer], which: str) -> None:
    first = fetch("conditional")
    assert fetch("conditional", **{which: getattr(first, which)}).unchanged


def test_not_modified_without_having_asked_is_refused(fetch: Callable[..., Answer]) -> None:
    error = refused(lambda: fetch("not_modified"))
    assert error.found == "HTTP 304 Not Modified, though the request named nothing to compare"


@pytest.mark.parametrize("etag", ['"a\r\nX: y"', '"ä"', '"' + "x" * 2000 + '"'])
def test_a_validator_that_is_none_is_not_sent(
    fetch: Callable[..., Answer], server: BrokenCrlServer, etag: str
) -> None:
    fetch("der", etag=etag, modified=etag)
    assert not {"if-none-match", "if-modified-since", "x"} & set(server.seen[-1].headers)


# What does not.


@pytest.mark.parametrize(
    ("behaviour", "found"),
    [
        ("not_found", "HTTP 404 Not Found"),
        ("gone", "HTTP 410 Gone"),
        ("partial", "HTTP 206 Partial Content"),
        ("fails", "HTTP 500 Internal Server Error"),
        ("unavailable", "HTTP 503 Service Unavailable"),
        ("stall", "no byte for 0.5 s"),
        ("stall_header", "no byte for 0.5 s"),
        ("drip", "not complete after 1 s"),
        ("drip_header", "not complete after 1 s"),
        ("truncated", "the answer was cut short"),
        ("truncated_chunks", "the answer was cut short"),
        ("endless", "more came, and 100000 are allowed"),
        ("huge_length", "10000000000 bytes announced, and 100000 are allowed"),
        ("gzip", "an answer encoded as gzip, though none was asked for"),
        ("empty", "an empty answer"),
        ("closes", "the connection was closed without an answer"),
        ("not_http", "not an HTTP answer (BadStatusLine)"),
        ("endless_header", "not an HTTP answer (LineTooLong)"),
        ("redirect_nowhere", "HTTP 302 Found without an address"),
        ("redirect_garbage", "a redirect to what is no address: http://[::1/x"),
        (
            "redirect_file",
            "a redirect to file:///etc/hostname: an address of the kind file:, not http: or https:",
        ),
        (
            "redirect_ftp",
            "a redirect to ftp://127.0.0.1:9/x.crl: "
            "an address of the kind ftp:, not http: or https:",
        ),
        (
            "redirect_credentials",
            "a redirect to http://...@127.0.0.1/der: an address with credentials in it",
        ),
    ],
)
def test_what_is_no_whole_answer_is_refused_and_leaves_no_file(
    fetch: Callable[..., Answer], tmp_path: Path, behaviour: str, found: str
) -> None:
    limits = SHORT if behaviour.startswith(("drip", "stall")) else LIMITS
    started = time.monotonic()
    error = refused(lambda: fetch(behaviour, limits))
    assert error.found == found
    assert os.listdir(tmp_path) == []
    assert time.monotonic() - started < 4


def test_what_was_there_before_stays_when_nothing_better_comes(
    fetch: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "crl").write_bytes(b"before")
    refused(lambda: fetch("truncated"))
    assert (tmp_path / "crl").read_bytes() == b"before"


def test_a_closed_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        url = f"http://127.0.0.1:{port}/x"
        error = refused(lambda: transfer(url, str(tmp_path / "crl"), LIMITS))
    assert error.found == f"127.0.0.1 port {port}: Connection refused"
    assert f"reach 127.0.0.1 port {port}" in error.next_step


def test_a_redirect_loop_is_named(fetch: Callable[..., Answer], server: BrokenCrlServer) -> None:
    one, two = server.url("redirect_loop"), server.url("redirect_back")
    error = refused(lambda: fetch("redirect_loop"))
    assert error.found == f"a redirect loop: {one} -> {two} -> {one}"


def test_a_sixth_redirect_is_not_followed(
    fetch: Callable[..., Answer], server: BrokenCrlServer
) -> None:
    error = refused(lambda: fetch("chain/6"))
    assert error.found == f"more than 5 redirects, the last one to {server.url('der')}"
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("file:///etc/hostname", "an address of the kind file:, not http: or https:"),
        ("ftp://crl.example/x.crl", "an address of the kind ftp:, not http: or https:"),
        ("ldap://crl.example/cn=x", "an address of the kind ldap:, not http: or https:"),
        ("crl.example/x.crl", "an address of the kind none:, not http: or https:"),
        ("http:///x.crl", "an address without a host"),
        ("http://[::1/x.crl", "an address that cannot be read"),
        ("http://crl.example:99999/", "an address that cannot be read"),
        ("http://crl.example/a b", "an address with a blank or another character out of place"),
        (
            "http://crl.example/\r\nX: y",
            "an address with a blank or another character out of place",
        ),
        ("http://crl.example/ä", "an address with a blank or another character out of place"),
        ("", "an address with a blank or another character out of place"),
    ],
)
def test_only_plain_http_and_https_addresses_are_asked(
    tmp_path: Path, url: str, found: str
) -> None:
    error = refused(lambda: transfer(url, str(tmp_path / "crl"), AGAIN))
    assert error.found == found


@pytest.mark.parametrize("url", ["http://me:s3cr3t@crl.example/", "https://me:s3/cr@3t@x.example/"])
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    error = refused(lambda: transfer(url, str(tmp_path / "crl"), LIMITS))
    assert "s3cr3t" not in str(error)


def test_a_file_that_cannot_be_written_is_told_as_that(
    server: BrokenCrlServer, tmp_path: Path
) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(HostError) as caught:
        transfer(server.url("der"), str(tmp_path / "plain" / "crl"), LIMITS)
    assert caught.value.rule == "FILE-REFUSED"


_FIELDS = st.sampled_from(
    [
        b"Content-Length: -1",
        b"Content-Length: 7, 8",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Encoding: identity",
        b"Content-Encoding: \xff",
        b"Location: //[",
        b"Location: \x00",
        b"Location: http://\xe4/",
        b"Location: http:",
        b"Location: ?",
        b"Retry-After: 99999999999999999999999999",
        b"Retry-After: Mon, 99 Foo 99999 99:99:99 GMT",
        b"ETag: \xff\x00",
        b" folded",
        b":",
        b"X: " + b"y" * 66000,
    ]
)
_STATUS = st.one_of(
    st.sampled_from([200, 204, 206, 301, 302, 304, 307, 308, 429, 500, 999]), st.integers(0, 10**6)
)
_CHUNKS = st.sampled_from(
    [b"5\r\nabcde\r\n0\r\n\r\n", b"-5\r\nabcde", b"zz\r\n", b"fffffffff\r\nx"]
)


@st.composite
def _answers(draw: st.DrawFn) -> bytes:
    """What is nearly HTTP."""
    fields = b"".join(field + b"\r\n" for field in draw(st.lists(_FIELDS, max_size=3)))
    body = draw(st.one_of(st.binary(max_size=50), _CHUNKS))
    return b"HTTP/1.1 %d X\r\n%b\r\n%b" % (draw(_STATUS), fields, body)


@given(raw=st.one_of(_answers(), st.binary(max_size=200)))
@settings(max_examples=150, deadline=None)
def test_whatever_a_server_sends_is_an_answer_or_a_refusal(
    server: BrokenCrlServer, raw: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "whatever"
    folder.mkdir(exist_ok=True)
    server.raw = raw
    rule, size = "", 0
    try:
        size = transfer(server.url("raw"), str(folder / "crl"), LIMITS).size
    except HostError as exc:
        rule = exc.rule
    assert rule == ("" if size else "CRL-FETCH")
    assert [path.stat().st_size for path in folder.iterdir()] == ([size] if size else [])
    (folder / "crl").unlink(missing_ok=True)


# Asking again.


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [
        ("fails", 3),
        ("unavailable", 3),
        ("closes", 3),
        ("truncated", 3),
        ("empty", 3),
        ("not_found", 1),
        ("gzip", 1),
        ("endless", 1),
        ("not_http", 1),
        ("redirect_file", 1),
        ("redirect_loop", 2),
    ],
)
def test_only_what_may_pass_by_itself_is_asked_again(
    fetch: Callable[..., Answer], server: BrokenCrlServer, behaviour: str, requests: int
) -> None:
    error = refused(lambda: fetch(behaviour, AGAIN))
    assert len(server.seen) == requests
    assert error.found.endswith(", after 3 tries") == (requests == 3)


def test_pauses_grow_to_their_bound(
    fetch: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pki_host.crl_fetch.time.sleep", pauses.append)
    refused(lambda: fetch("fails", replace(AGAIN, attempts=5)))
    assert pauses == [0.01, 0.02, 0.04, 0.05]


@pytest.mark.parametrize("asked", ["3", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_may_ask_for_a_longer_pause_within_our_bound(
    fetch: Callable[..., Answer],
    server: BrokenCrlServer,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pki_host.crl_fetch.time.sleep", pauses.append)
    monkeypatch.setattr(server.pace, "retry_after", asked)
    server.switch("busy", "busy_then_good")
    fetch("busy", replace(AGAIN, longest_wait_seconds=0.5))
    assert pauses == [0.5]


@pytest.mark.parametrize("asked", ["", "soon", "-5", "1e9", "Fri, 01 Jan 1970 00:00:00 GMT"])
def test_a_pause_that_is_no_time_is_not_heeded(
    fetch: Callable[..., Answer], server: BrokenCrlServer, asked: str, monkeypatch: Any
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pki_host.crl_fetch.time.sleep", pauses.append)
    monkeypatch.setattr(server.pace, "retry_after", asked)
    server.switch("busy", "busy_then_good")
    fetch("busy", AGAIN)
    assert pauses == [0.01]


def test_no_pause_goes_beyond_the_whole_transfers_time(fetch: Callable[..., Answer]) -> None:
    started = time.monotonic()
    refused(lambda: fetch("fails", replace(AGAIN, first_wait_seconds=60, longest_wait_seconds=60)))
    assert time.monotonic() - started < 5


def test_all_tries_share_the_whole_transfers_time(fetch: Callable[..., Answer]) -> None:
    started = time.monotonic()
    refused(lambda: fetch("stall", replace(SHORT, attempts=50)))
    assert time.monotonic() - started < 4


# Names, addresses and proxies.


def test_an_address_family_that_fails_is_followed_by_the_next(
    server: BrokenCrlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with an address of each family, of which only the last is served."""
    real = socket.getaddrinfo

    def both(host: str, port: int, **kind: Any) -> Any:
        assert host == "crl.example"
        return real("::1", port, **kind) + real("127.0.0.1", port, **kind)

    monkeypatch.setattr("pki_host.http_exchange.socket.getaddrinfo", both)
    url = f"http://crl.example:{server.port}/der"
    assert transfer(url, str(tmp_path / "crl"), LIMITS).size
    assert server.seen[-1].headers["host"] == f"crl.example:{server.port}"


def test_a_resolver_that_hangs_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        over.wait(20)
        return []

    monkeypatch.setattr("pki_host.http_exchange.socket.getaddrinfo", hang)
    started = time.monotonic()
    try:
        error = refused(lambda: transfer("http://crl.example/", str(tmp_path / "crl"), SHORT))
    finally:
        over.set()
    assert error.found == "crl.example: the name service did not answer"
    assert time.monotonic() - started < 4


def test_a_name_that_nobody_has_is_told(tmp_path: Path) -> None:
    error = refused(lambda: transfer("http://crl.invalid/", str(tmp_path / "crl"), LIMITS))
    assert error.found.startswith("crl.invalid: ")
    assert "resolve crl.invalid" in error.next_step


def test_proxies_of_the_environment_are_not_read(
    fetch: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    assert fetch("der").size


def test_the_declared_proxy_is_asked_for_the_whole_address(
    server: BrokenCrlServer, tmp_path: Path
) -> None:
    limits = replace(LIMITS, proxy=f"http://127.0.0.1:{server.port}")
    transfer("http://crl.invalid:81/der?a=b", str(tmp_path / "crl"), limits)
    assert server.seen[-1].path == "http://crl.invalid:81/der?a=b"
    assert server.seen[-1].headers["host"] == "crl.invalid:81"


@pytest.mark.parametrize(
    ("proxy", "found"),
    [
        ("socks5://p:1", "the proxy is an address of the kind socks5:, not http: or https:"),
        ("https://p:1", "the proxy is an https: address"),
        ("http://u:s3cr3t@p:1", "the proxy is an address with credentials in it"),
    ],
)
def test_a_proxy_is_a_plain_http_address(
    fetch: Callable[..., Answer], proxy: str, found: str
) -> None:
    assert refused(lambda: fetch("der", replace(LIMITS, proxy=proxy))).found == found


# https.


@pytest.fixture
def secure(material: Material, tmp_path_factory: Any) -> Iterator[BrokenCrlServer]:
    context = broken.tls_context(material.authority, tmp_path_factory.mktemp("tls"))
    with BrokenCrlServer(material, tls=context).running() as running:
        yield running


@pytest.fixture
def trusted(material: Material, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's default CA store has the server's CA."""
    store = tmp_path_factory.mktemp("store") / "ca.pem"
    store.write_bytes(material.authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))


@pytest.mark.usefixtures("trusted")
def test_https_is_verified_with_the_hosts_own_store(
    secure: BrokenCrlServer, tmp_path: Path
) -> None:
    assert transfer(secure.url("der"), str(tmp_path / "crl"), LIMITS).size


def test_a_server_of_an_unknown_ca_is_refused_once(secure: BrokenCrlServer, tmp_path: Path) -> None:
    error = refused(lambda: transfer(secure.url("der"), str(tmp_path / "crl"), AGAIN))
    assert error.found == "TLS: unable to get local issuer certificate"
    assert secure.seen == []


@pytest.mark.usefixtures("trusted")
def test_a_server_of_another_name_is_refused(secure: BrokenCrlServer, tmp_path: Path) -> None:
    url = f"https://localhost:{secure.port}/der"
    error = refused(lambda: transfer(url, str(tmp_path / "crl"), LIMITS))
    assert error.found.startswith("TLS: Hostname mismatch")


def test_a_port_without_tls_is_told(server: BrokenCrlServer, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{server.port}/der"
    error = refused(lambda: transfer(url, str(tmp_path / "crl"), LIMITS))
    assert error.found in ("TLS: WRONG_VERSION_NUMBER", "TLS: RECORD_LAYER_FAILURE")


@pytest.mark.usefixtures("trusted")
def test_no_redirect_leads_from_https_to_http(
    secure: BrokenCrlServer, server: BrokenCrlServer, tmp_path: Path
) -> None:
    secure.elsewhere = f"127.0.0.1:{server.port}"
    error = refused(lambda: transfer(secure.url("redirect_plain"), str(tmp_path / "crl"), LIMITS))
    assert error.found == f"a redirect from https to http: {server.url('der')}"
    assert server.seen == []


@pytest.mark.usefixtures("trusted")
def test_https_goes_through_the_proxys_tunnel(
    secure: BrokenCrlServer, server: BrokenCrlServer, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(server, "tunnel_to", ("127.0.0.1", secure.port))
    limits = replace(LIMITS, proxy=server.url(""))
    assert transfer("https://127.0.0.1/der", str(tmp_path / "crl"), limits).size
    assert (server.seen[-1].method, server.seen[-1].path) == ("CONNECT", "127.0.0.1:443")


def test_a_proxy_that_refuses_the_tunnel_is_told(server: BrokenCrlServer, tmp_path: Path) -> None:
    limits = replace(LIMITS, proxy=server.url(""))
    error = refused(lambda: transfer("https://crl.invalid/der", str(tmp_path / "crl"), limits))
    assert error.found == "the proxy said HTTP 403 Forbidden to crl.invalid:443"


# OCSP.


def test_a_body_is_posted_with_its_type(
    fetch: Callable[..., Answer], server: BrokenCrlServer
) -> None:
    fetch("der", body=b"\x30\x00question", content_type="application/ocsp-request")
    asked = server.seen[-1]
    assert (asked.method, asked.body) == ("POST", b"\x30\x00question")
    assert asked.headers["content-type"] == "application/ocsp-request"


def test_a_post_is_not_turned_into_a_get_elsewhere(fetch: Callable[..., Answer]) -> None:
    error = refused(lambda: fetch("redirect", body=b"x", content_type="a/b"))
    assert (error.message, error.found) == (
        "the OCSP responder did not answer",
        "HTTP 302 Found to a POST",
    )


# Death.


def test_a_killed_transfer_leaves_no_file_of_that_name(
    server: BrokenCrlServer, tmp_path: Path
) -> None:
    (tmp_path / "crl").write_bytes(b"before")
    program = (
        "import sys\n"
        "from pki_host.crl_fetch import transfer\n"
        "from pki_host.crl_watch import Limits\n"
        "transfer(sys.argv[1], sys.argv[2], Limits(1, 1, 2, 1, 20, 20, 10**9, ''))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, server.url("endless"), str(tmp_path / "crl")],
        env={**os.environ, "PYTHONPATH": str(MODULE_UTILS)},
    )
    end = time.monotonic() + 10
    while not any(path.stat().st_size > 10_000 for path in tmp_path.glob(".new-*")):
        assert time.monotonic() < end
        select.select([], [], [], 0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "crl").read_bytes() == b"before"
