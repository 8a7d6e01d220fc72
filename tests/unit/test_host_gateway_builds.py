# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of the gateway can do, and what follows from it for commands and templates."""

from __future__ import annotations

import pytest
from integration import gateway_world as gw
from pki_host import service
from pki_host.errors import HostError
from pki_host.gateways import adapter

ARGUMENTS = "configure arguments: --with-compat --with-http_ssl_module --with-http_v2_module"
ROOT = "/etc/pki/gateway/dip"


def said(
    version: str = "1.22.1", library: str = "OpenSSL 3.0.22 25 Aug 2026", more: str = ""
) -> str:
    """What nginx -V prints, as Debian's builds do."""
    return (
        f"nginx version: nginx/{version}\nbuilt with {library}\n"
        f"TLS SNI support enabled\n{ARGUMENTS}{more}\n"
    )


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("1.18.0", {"ssl_ocsp", "ssl_conf_command", "error_log_option", "keepalive_time"}),
        ("1.19.0", {"ssl_conf_command", "error_log_option", "keepalive_time"}),
        ("1.19.4", {"error_log_option", "keepalive_time"}),
        ("1.19.9", {"keepalive_time"}),
        ("1.19.10", set()),
        ("1.31.3", set()),
    ],
)
def test_a_version_lacks_what_came_later(version: str, lacks: set[str]) -> None:
    assert adapter("nginx").of_build("/usr/sbin/nginx", said(version)).lacks == lacks


def test_what_is_not_installed_yet_is_taken_for_current() -> None:
    assert service.for_host(adapter("nginx"), "/no/such/program").lacks == frozenset()


def test_the_program_that_the_tests_run_says_itself_what_it_can_do() -> None:
    assert service.for_host(adapter("nginx"), gw.program()).lacks == frozenset()


@pytest.mark.parametrize(
    ("output", "found", "expected"),
    [
        (said("1.14.2"), "nginx 1.14.2", "nginx 1.18.0 or later"),
        (said("1.9.15"), "nginx 1.9.15", "nginx 1.18.0 or later"),
        (said(library="OpenSSL 1.1.0l 10 Sep 2019"), "OpenSSL 1.1.0", "OpenSSL 1.1.1 or later"),
        (said(library="LibreSSL 3.7.3"), "another TLS library", "OpenSSL 1.1.1 or later"),
        (
            said(more=" --without-http_map_module --without-http_proxy_module"),
            "nginx 1.22.1 without proxy, map",
            "http modules ssl, proxy, map",
        ),
        (said().replace(ARGUMENTS, ""), "nginx 1.22.1 without ssl", "http modules ssl"),
        ("not what was expected\n", "nginx 0.0.0", "nginx 1.18.0 or later"),
    ],
)
def test_a_build_that_cannot_do_what_is_needed_is_refused_with_both_said(
    output: str, found: str, expected: str
) -> None:
    with pytest.raises(HostError) as caught:
        adapter("nginx").of_build("/usr/sbin/nginx", output)
    assert caught.value.rule == "GATEWAY-BUILD"
    assert caught.value.found == found
    assert expected in caught.value.expected
    assert caught.value.where == "/usr/sbin/nginx"


def test_an_old_build_is_started_without_the_option_it_does_not_know() -> None:
    old = adapter("nginx").of_build("/usr/sbin/nginx", said("1.18.0"))
    assert "-e" in adapter("nginx").start_command("/usr/sbin/nginx", ROOT)
    assert "-e" not in old.start_command("/usr/sbin/nginx", ROOT)
    assert "-e" not in old.test_command("/usr/sbin/nginx", ROOT)
    title = "nginx: master process " + " ".join(old.start_command("/usr/sbin/nginx", ROOT))
    assert old.is_master(title, ROOT)


def test_what_an_old_build_has_no_directive_for_comes_from_the_environment() -> None:
    old = adapter("nginx").of_build("/usr/sbin/nginx", said("1.18.0"))
    assert adapter("nginx").environment(ROOT) == {}
    assert old.environment(ROOT) == {"OPENSSL_CONF": f"{ROOT}/openssl.cnf"}


# -- templates -------------------------------------------------------------------------

TLS = {
    "protocols": ["TLSv1.2", "TLSv1.3"],
    "ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"],
    "ciphersuites": ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"],
    "groups": ["X25519", "prime256v1"],
}
LIMITS = {
    "body_bytes": 1000,
    "connection_seconds": 1800,
    "idle_seconds": 45,
    "drain_seconds": 30,
    "pooled_connections": 8,
    "refused_with": 403,
}
MODEL = {
    "name": "dip",
    "root": ROOT,
    "tls": TLS,
    "limits": LIMITS,
    "ingress": [],
    "egress": [],
}
OLD = ("ssl_conf_command", "error_log_option", "keepalive_time")


def test_an_old_build_gets_no_directive_it_does_not_know_and_the_same_limits() -> None:
    current, old = gw.render(MODEL), gw.render(MODEL, lacks=OLD)
    assert "ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;" in current
    assert "keepalive_timeout 45s;\n    keepalive_time 1800s;" in current
    assert not any(word in old for word in ("conf_command", "keepalive_time "))
    # Forty requests, 45 seconds apart at most: half an hour.
    assert "keepalive_timeout 45s;\n    keepalive_requests 40;" in old
    tls = gw.render(MODEL, "openssl.cnf.j2")
    assert "\nCiphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384\n" in tls
    assert tls.endswith("\nGroups = X25519:prime256v1\nNumTickets = 0\n")


def test_workers_get_a_user_of_their_own_only_where_the_master_is_root() -> None:
    assert '\nuser "www-data";\n' in gw.render(MODEL, user="www-data")
    assert "user " not in gw.render(MODEL)
