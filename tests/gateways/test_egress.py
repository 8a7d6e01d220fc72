# SPDX-License-Identifier: GPL-3.0-or-later
"""Which far ends an egress speaks with, how it keeps its connections, and what it repeats."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from gateways import asking
from gateways.servers import Server
from gateways.stand import HOST, Stand, authorities, far_certificate
from integration import gateway_world as gw

# Old versions are spoken on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")


def with_certificate(
    stand: Stand, certificate: x509.Certificate, by: str = "issuing"
) -> ssl.SSLContext:
    above = gw.issue(gw.name("foreign"), "foreign", gw.name("foreign"), "foreign", ca=True)
    known = {"issuing": authorities().issuing, "sibling": authorities().sibling, "foreign": above}
    return stand.far_context(certificate, above=known[by])


def issued(by: str) -> x509.Certificate:
    return gw.issue(gw.name(HOST), "far", gw.name(by), by, host=HOST)


def only(context: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


OTHER = "other.dip.example"
FAR_ENDS: dict[str, Callable[[Stand], ssl.SSLContext]] = {
    "good": lambda stand: stand.far_context(far_certificate()),
    "good, TLS 1.2": lambda stand: only(
        stand.far_context(far_certificate()), asking.TLS12, "ECDHE-RSA-AES128-GCM-SHA256"
    ),
    "revoked": lambda stand: stand.far_context(stand.revoked_far_end),
    "expired": lambda stand: stand.far_context(far_certificate(days=(-9, -2))),
    "another host": lambda stand: stand.far_context(far_certificate(OTHER, host=OTHER)),
    "not trusted": lambda stand: with_certificate(stand, issued("foreign"), "foreign"),
    "TLS 1.1 only": lambda stand: only(
        stand.far_context(far_certificate()), ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"
    ),
    "static RSA only": lambda stand: only(
        stand.far_context(far_certificate()), asking.TLS12, "AES128-GCM-SHA256:AES128-SHA"
    ),
    "a client's certificate": lambda stand: stand.far_context(
        far_certificate(use=x509.ExtendedKeyUsageOID.CLIENT_AUTH)
    ),
}


@pytest.mark.parametrize("kind", FAR_ENDS)
def test_a_request_leaves_only_for_the_right_far_end(stand: Stand, kind: str) -> None:
    with stand.other_far_end(FAR_ENDS[kind](stand)) as far_end:
        answer = stand.call()
        good = kind.startswith("good")
        assert answer.status == (200 if good else stand.product.unavailable)
        assert len(far_end.notes.requests) == int(good)
        assert far_end.notes.connections >= 1
    assert stand.call().status == 200


def test_a_common_name_does_not_make_up_for_another_alternative_name(stand: Stand) -> None:
    with stand.other_far_end(stand.far_context(far_certificate(host=OTHER))) as far_end:
        believed = stand.product.believes_common_name
        assert stand.call().status == (200 if believed else stand.product.unavailable)
        assert len(far_end.notes.requests) == int(believed)


def test_the_far_ends_that_are_refused_can_speak_with_others(stand: Stand) -> None:
    """Else the test above would not tell a refusal from a far end that does not work."""
    for kind, make in FAR_ENDS.items():
        with stand.other_far_end(make(stand)):
            tls = asking.context(stand.clients["ok"])
            tls.minimum_version = ssl.TLSVersion.TLSv1_1
            tls.set_ciphers("ALL:@SECLEVEL=0")
            assert asking.ask(stand.world.dip, tls).status == 200, kind


def test_a_far_end_of_another_issuer_is_refused_for_lack_of_that_issuers_crl(stand: Stand) -> None:
    """There is no directive for the issuer of a far end: CRLs of the allowed CA alone do it.

    So with the sibling's CRL there, which our CRL sets never have, it is let in.
    """
    context = with_certificate(stand, issued("sibling"), "sibling")
    with stand.other_far_end(context):
        assert stand.call().status == 200
    with stand.crls_in_place(stand.crls_of_the_allowed()), stand.other_far_end(context) as far_end:
        assert stand.call().status == stand.product.unavailable
        assert far_end.notes.requests == []


def test_sixty_requests_take_at_most_three_connections(stand: Stand) -> None:
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        assert [stand.call().status for _ in range(60)] == [200] * 60
        assert far_end.notes.connections <= 3
        assert len(far_end.notes.requests) == 60


@pytest.mark.parametrize("version", asking.VERSIONS)
def test_every_connection_to_the_far_end_is_a_whole_handshake(stand: Stand, version: str) -> None:
    """A session that is taken up again would not be looked at for a newer CRL."""
    context = stand.far_context(far_certificate())
    context.minimum_version = context.maximum_version = asking.VERSIONS[version]
    with stand.other_far_end(context) as far_end:
        for _ in range(4):
            assert stand.call().status == 200
            far_end.cut()
        assert len(far_end.notes.handshakes) >= 4
        assert not any(far_end.notes.handshakes)


def _broken(stand: Stand, far_end: Server, method: str) -> tuple[int, int]:
    """Status, and how often the far end got it, of a request under which its connection breaks."""
    for number in range(20):
        assert stand.call().status == 200  # there is a pooled connection now
        far_end.drops = 1
        raw = asking.request(method, f"/{number}", body=b"x", close=True)
        status = stand.call(raw).status
        if not far_end.drops:
            return status, far_end.notes.count(method, f"/{number}")
    raise AssertionError("no request came on a pooled connection")


def test_a_get_whose_pooled_connection_breaks_is_sent_again(stand: Stand) -> None:
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        status, times = _broken(stand, far_end, "GET")
    expected = (200, 2) if stand.product.repeats_safe else (stand.product.unavailable, 1)
    assert (status, times) == expected


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_change_something_is_never_sent_twice(stand: Stand, method: str) -> None:
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        status, times = _broken(stand, far_end, method)
    assert times == 1
    assert status in (502, 503, 504)


def test_a_far_end_that_was_restarted_costs_nobody_a_request(stand: Stand) -> None:
    """Connections that ended while they were idle are found and replaced, also under a POST."""
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        for number in range(5):
            far_end.cut()
            raw = asking.request("POST", f"/{number}", body=b"x", close=True)
            assert stand.call(raw).status == 200
            assert far_end.notes.count("POST", f"/{number}") == 1


def test_a_far_end_that_is_away_is_told_and_one_that_is_back_is_used(stand: Stand) -> None:
    stand.far_end.close()
    try:
        assert stand.call().status == stand.product.unavailable
    finally:
        stand.far_end = Server(stand.world.dip, stand.far_context(far_certificate()))
    assert stand.call().status == 200


def test_the_far_end_is_called_by_its_name_whatever_the_caller_calls_it(stand: Stand) -> None:
    assert stand.call(asking.request(headers={"Host": "evil.example"}, close=True)).header(
        "host"
    ) == [HOST]


def test_nobody_but_this_host_can_call_through_it(stand: Stand) -> None:
    """Whoever reaches the port speaks with our certificate."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1].split(":") for row in rows if row[3] == "0A"]
    here = [address for address, port in listening if int(port, 16) == stand.world.egress]
    assert here == ["0100007F"]
