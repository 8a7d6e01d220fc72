# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of HAProxy can do, how it is run, and what its unit says."""

from __future__ import annotations

import configparser

import pytest
from gateways.products import HAPROXY
from integration import gateway_world as gw
from pki_host.errors import HostError
from pki_host.gateways import adapter
from pki_host.systemd import Unit
from unit.test_host_gateway_builds import MODEL as SMALL

MODEL = {**SMALL, "limits": {**SMALL["limits"], "header_bytes": 16384}}
PROGRAM, ROOT = "/usr/sbin/haproxy", "/etc/pki/gateway/dip"


def said(version: str = "2.6.12-1+deb12u4", library: str = "OpenSSL 3.0.19", more: str = "") -> str:
    """What haproxy -vv prints, as Debian's builds do."""
    return (
        f"HAProxy version {version} 2026/10/17 - https://haproxy.org/\n"
        f"Feature list : -51DEGREES +OPENSSL +PCRE2 {more}\n"
        f"Built with OpenSSL version : OpenSSL 3.0.22 25 Aug 2026\n"
        f"Running on OpenSSL version : {library} 27 Jan 2026\n"
    )


@pytest.mark.parametrize(
    ("version", "curves"),
    [("2.6.0", True), ("2.8.5-1", True), ("3.0.11-1", False), ("3.3-dev4-1ab2c3d", False)],
)
def test_a_version_lacks_what_came_later_and_all_lack_one_thing(version: str, curves: bool) -> None:
    lacks = adapter("haproxy").of_build(PROGRAM, said(version)).lacks
    assert lacks == {"ticket_count", *(["server_curves"] if curves else [])}


@pytest.mark.parametrize(
    ("output", "found", "expected"),
    [
        (said("2.4.22-f8e3218"), "HAProxy 2.4.22", "HAProxy 2.6.0 or later"),
        (said("2.5.14"), "HAProxy 2.5.14", "HAProxy 2.6.0 or later"),
        (said().replace("HAProxy version", "HA-Proxy version"), None, ""),
        (said(library="OpenSSL 1.1.0l"), "OpenSSL 1.1.0l", "OpenSSL 1.1.1 or later"),
        (said(library="OpenSSL 1.1.1w"), None, ""),
        (said(library="wolfSSL 5.6.6"), "wolfSSL 5.6.6", "OpenSSL 1.1.1 or later"),
        ("HAProxy version 2.8.1 x\n", "another TLS library", "OpenSSL 1.1.1 or later"),
        ("not what was expected\n", "HAProxy 0.0.0", "HAProxy 2.6.0 or later"),
    ],
)
def test_a_build_that_cannot_do_what_is_needed_is_refused_with_both_said(
    output: str, found: str | None, expected: str
) -> None:
    if found is None:
        adapter("haproxy").of_build(PROGRAM, output)
        return
    with pytest.raises(HostError) as caught:
        adapter("haproxy").of_build(PROGRAM, output)
    assert caught.value.rule == "GATEWAY-BUILD"
    assert caught.value.found == found
    assert expected in caught.value.expected


def test_the_library_that_counts_is_the_one_it_runs_on() -> None:
    assert adapter("haproxy").tls_library(said()) == "OpenSSL 3.0.19"
    assert adapter("haproxy").tls_library("") == ""
    both = "built with OpenSSL 3.0.15 3 Sep 2024 (running with OpenSSL 3.0.17 1 Jul 2025)\n"
    assert adapter("nginx").tls_library(both) == "OpenSSL 3.0.17"
    assert adapter("nginx").tls_library("built with OpenSSL 3.0.15 3 Sep") == "OpenSSL 3.0.15"


def test_the_program_that_the_tests_run_says_itself_what_it_can_do() -> None:
    assert HAPROXY.adapter.lacks == {"ticket_count", "server_curves"}
    assert HAPROXY.adapter.service_type == "notify"


def test_only_a_version_that_knows_the_directive_gets_it() -> None:
    for lacks in (["ticket_count"], ["server_curves", "ticket_count"]):
        text = gw.render(MODEL, "haproxy.cfg.j2", lacks=lacks, product="haproxy")
        assert ("ssl-default-server-curves" in text) == (len(lacks) == 1)


def test_whoever_speaks_with_peers_is_not_the_master_s_user() -> None:
    text = gw.render(MODEL, "haproxy.cfg.j2", user="haproxy", product="haproxy")
    assert "    user haproxy\n    group haproxy\n" in text
    assert " user " not in gw.render(MODEL, "haproxy.cfg.j2", product="haproxy")


def test_titles_tell_a_gateway_of_ours_before_and_after_a_reload() -> None:
    ours = adapter("haproxy")
    for began in ("", " -sf 12 34 -x sockpair@3"):
        for program in (PROGRAM, "/opt/h/sbin/hap"):
            title = f"{program}{began} -Ws -f {ROOT}/haproxy.cfg -p {ROOT}/run/haproxy.pid"
            assert ours.is_worker(title)
            assert ours.is_master(title, ROOT)
            assert not ours.is_master(title, ROOT[:-1])
            assert not ours.is_master(title, f"{ROOT}/dip")
    assert not ours.is_worker(f"vi {ROOT}/haproxy.cfg")
    assert not ours.is_worker(f"{PROGRAM} -c -f {ROOT}/haproxy.cfg")


def test_a_reload_has_failed_once_the_master_is_back_and_not_before() -> None:
    log = "[NOTICE]   (1) : Reloading\n[ALERT]    (1) : cannot bind socket\n"
    back = log + "[WARNING]  (1) : Loading failure!\n"
    assert adapter("haproxy").reload_failures(log) == []
    assert adapter("haproxy").reload_failures(back) == ["[ALERT]    (1) : cannot bind socket"]
    assert adapter("haproxy").start_failures(log) == ["[ALERT]    (1) : cannot bind socket"]


def unit(more: str = "+SYSTEMD") -> configparser.SectionProxy:
    built = adapter("haproxy").of_build(PROGRAM, said(more=more))
    (text,) = list(Unit(built, PROGRAM, ROOT, "dip").own_files.values())[:1]
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text.decode())
    return parser["Service"]


def test_the_service_stays_in_the_foreground_and_appends_to_its_logs() -> None:
    service = unit()
    assert (service["Type"], service["ExecReload"].split()[2]) == ("notify", "SIGUSR2")
    command = f"{PROGRAM} -Ws -f {ROOT}/haproxy.cfg -p {ROOT}/run/haproxy.pid"
    assert f"exec {command} " in service["ExecStart"]
    assert service["StandardOutput"] == f"append:{ROOT}/log/access.log"
    assert service["StandardError"] == f"append:{ROOT}/log/error.log"
    assert service["Environment"] == f"OPENSSL_CONF={ROOT}/openssl.cnf"
    assert service["KillSignal"] == "SIGUSR1"
    assert "PIDFile" not in service
    # It signals workers of another user.
    assert "CAP_KILL" in service["CapabilityBoundingSet"].split()
    assert "CAP_CHOWN" not in service["CapabilityBoundingSet"].split()


def test_a_build_that_cannot_notify_is_started_without_waiting_for_it() -> None:
    service = unit(more="-SYSTEMD")
    assert service["Type"] == "simple"
    assert " -W -f " in service["ExecStart"]


@pytest.mark.parametrize(
    ("product", "text"),
    [("haproxy", b"key a b#c$d\n"), ("nginx", b'proxy_set_header "X-API-KEY" "a b#c-d";\n')],
)
def test_a_secret_is_written_as_its_product_reads_it(product: str, text: bytes) -> None:
    value = "a b#c$d" if product == "haproxy" else "a b#c-d"
    assert adapter(product).secret_text("X-API-KEY", value) == text


@pytest.mark.parametrize("product", ["haproxy", "nginx"])
@pytest.mark.parametrize(
    "value", ["", " hush", "hush ", "hush\nkey b", "hu\tsh", "hushé", "x" * 4097]
)
def test_a_secret_that_no_header_carries_is_refused_and_not_told(product: str, value: str) -> None:
    with pytest.raises(HostError) as caught:
        adapter(product).secret_text("X-API-KEY", value)
    assert caught.value.rule == "GATEWAY-SECRET"
    assert "hush" not in str(caught.value.as_result())


def test_nginx_refuses_a_secret_that_it_would_read_as_a_variable_without_telling_it() -> None:
    with pytest.raises(HostError) as caught:
        adapter("nginx").secret_text("X-API-KEY", "abc$def")
    assert "abc" not in str(caught.value.as_result())
