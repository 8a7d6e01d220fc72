# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers come from a verified certificate's own addresses, once each, over a real network."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from pki import download, path, revocation, revocation_sources, shipped
from pki.errors import PkiError
from pki.ocsp_response import Pool
from unit import pki_factory as factory
from unit.controller_world import Answer, Web, content, raw, tree, web, whole
from unit.pki_factory import DAY, NOW, SECOND

HOUR = timedelta(hours=1)
PATIENCE = download.Patience.of(shipped.policy("mhhs-dip"))
ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
SIBLING = ROOT.authority("Sibling Issuing")
STRANGER = factory.authority("Stranger")


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as site:
        yield site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site(server: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server.routes.clear()
    server.asked.clear()
    server.posted.clear()
    return server


def leaf(crl: str = "", responder: str = "", serial: int | None = None) -> bytes:
    extra: list[tuple[x509.ExtensionType, bool]] = []
    if responder:
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder)
        )
        extra.append((x509.AuthorityInformationAccess([access]), False))
    return ISSUING.leaf(cdp=crl or None, extra=extra, serial=serial)


def validate(certificate: bytes, crls: Any = (), responses: Any = (), now: datetime = NOW) -> None:
    own = [ROOT.crl(end=NOW + 90 * DAY), *crls]
    path.validate(certificate, [ISSUING.der], [ROOT.der], crls=own, ocsp=responses, now=now)


def asks(*certificates: bytes, now: datetime = NOW) -> list[revocation.Ask]:
    """The asks that the judgement of verified paths raises, and no others."""
    found: list[revocation.Ask] = []
    for certificate in certificates:
        with pytest.raises(revocation.Unanswered) as caught:
            validate(certificate, now=now)
        found += caught.value.asks
    return found


def fetched(
    *certificates: bytes, cache: Path | None = None, now: datetime = NOW, **options: Any
) -> revocation_sources.Fetched:
    return revocation_sources.fetch(
        asks(*certificates, now=now), patience=PATIENCE, cache_dir=cache, now=now, **options
    )


def only(found: revocation_sources.Fetched) -> PkiError:
    (problem,) = found.problems
    return whole(problem)


# --- what is opened, and how often -----------------------------------------------------------


def test_a_crl_of_the_certificates_own_address_answers_the_next_judgement(site: Web) -> None:
    certificate = leaf(site.serve("/crl", content(ISSUING.crl())))
    found = fetched(certificate)
    assert (found.problems, found.ocsp) == ((), ())
    assert site.asked == ["/crl"]
    validate(certificate, found.crls)


def test_a_revoked_certificate_is_an_answer_too_and_is_refused(site: Web) -> None:
    certificate = leaf(site.url("/crl"))
    site.serve("/crl", content(ISSUING.crl([factory.serial(certificate)])))
    found = fetched(certificate)
    assert found.problems == ()
    with pytest.raises(PkiError, match="is revoked"):
        validate(certificate, found.crls)


def test_a_path_that_does_not_verify_opens_no_address(site: Web) -> None:
    crl, responder = site.serve("/crl", content(b"")), site.serve("/ocsp", content(b""))
    ours = leaf(crl, responder)
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder)
    )
    extra = [(x509.AuthorityInformationAccess([access]), False)]
    of_a_stranger = STRANGER.leaf(cdp=crl, extra=extra)
    broken = ours[:-1] + bytes([ours[-1] ^ 1])
    expired = ISSUING.leaf(cdp=crl, extra=extra, end=NOW - SECOND)
    for certificate in (of_a_stranger, broken, expired):
        raised: list[revocation.Ask] = []
        with pytest.raises(PkiError) as caught:
            validate(certificate)
        raised += getattr(caught.value, "asks", ())
        revocation_sources.fetch(raised, patience=PATIENCE, cache_dir=None, now=NOW)
    assert site.asked == []
    fetched(ours)
    assert set(site.asked) == {"/crl", "/ocsp"}, "the same addresses in a verified certificate"


def test_ten_thousand_certificates_of_one_crl_open_its_address_once(site: Web) -> None:
    url = site.serve("/crl", content(ISSUING.crl()))
    (first,) = asks(leaf(url))
    others = [replace(first, certificate=leaf(url, serial=number)) for number in range(1, 40)]
    many = [first, *others] * 250
    found = revocation_sources.fetch(many, patience=PATIENCE, cache_dir=None, now=NOW)
    assert site.asked == ["/crl"]
    assert len(found.crls) == 1


def test_an_address_that_fails_is_tried_as_often_as_the_policy_says_for_all_of_them(
    site: Web,
) -> None:
    url = site.serve("/crl", content(b"", 503))
    found = fetched(leaf(url), leaf(url), leaf(url))
    assert site.asked == ["/crl"] * PATIENCE.attempts
    assert only(found).found == f"HTTP 503, after {PATIENCE.attempts} attempts"
    assert only(found).where == url


def test_a_crl_is_asked_for_before_a_responder_and_a_good_one_ends_the_search(site: Web) -> None:
    crl, responder = site.serve("/crl", content(ISSUING.crl())), site.url("/ocsp")
    fetched(leaf(crl, responder))
    assert site.asked == ["/crl"]


def answering(certificate: bytes, **options: Any) -> Answer:
    return content(ISSUING.ocsp(certificate, **options))


@pytest.mark.parametrize(
    "crl", [content(b"", 404), content(b"<html>"), content(SIBLING.crl()), raw(b"")]
)
def test_a_responder_is_asked_when_the_crl_is_none(site: Web, crl: Answer) -> None:
    certificate = leaf(site.serve("/crl", crl), site.url("/ocsp"))
    site.serve("/ocsp", answering(certificate))
    found = fetched(certificate)
    validate(certificate, found.crls, found.ocsp)
    (request,) = (ocsp.load_der_ocsp_request(body) for body in site.posted)
    assert request.serial_number == factory.serial(certificate)
    assert only(found).where == site.url("/crl")


def test_each_certificate_is_a_question_of_its_own_to_a_responder(site: Web) -> None:
    one, other = leaf("", site.url("/ocsp")), leaf("", site.url("/ocsp"))
    site.serve("/ocsp", answering(one), answering(other))
    found = fetched(one, other)
    assert len(site.posted) == len(found.ocsp) == 2
    for certificate in (one, other):
        validate(certificate, responses=found.ocsp)


def test_a_responder_that_is_silent_is_not_asked_about_the_others(site: Web) -> None:
    url = site.serve("/ocsp", content(b"", 500))
    found = fetched(*(leaf("", url) for _ in range(5)))
    assert len(site.posted) == PATIENCE.attempts
    assert only(found).message == "the OCSP responder did not answer"


@pytest.mark.parametrize(
    "options",
    [
        {"status": ocsp.OCSPCertStatus.UNKNOWN},
        {"end": NOW - SECOND},
        {"start": NOW + SECOND},
    ],
    ids=["unknown", "stale", "not valid yet"],
)
def test_a_response_that_says_nothing_is_a_problem_and_no_answer(
    site: Web, tmp_path: Path, options: dict[str, Any]
) -> None:
    certificate = leaf("", site.url("/ocsp"))
    site.serve("/ocsp", answering(certificate, **options))
    found = fetched(certificate, cache=tmp_path)
    assert found.ocsp == ()
    assert only(found).where == site.url("/ocsp")
    assert tree(tmp_path) == {}


def test_a_response_that_somebody_else_signed_is_no_answer(site: Web, tmp_path: Path) -> None:
    certificate = leaf("", site.url("/ocsp"))
    forged = ISSUING.ocsp(certificate)
    forged = forged[:-1] + bytes([forged[-1] ^ 1])
    site.serve("/ocsp", content(forged))
    found = fetched(certificate, cache=tmp_path)
    assert found.ocsp == ()
    assert "not signed by it or for it" in only(found).found
    assert tree(tmp_path) == {}


def test_nothing_but_the_web_is_opened(site: Web, tmp_path: Path) -> None:
    (tmp_path / "crl").write_bytes(ISSUING.crl())
    found = fetched(leaf(f"file://{tmp_path}/crl"))
    assert found == revocation_sources.Fetched()
    url = site.serve("/crl", content(b"", 302, Location=f"file://{tmp_path}/crl"))
    found = fetched(leaf(url))
    assert found.crls == ()
    assert only(found).found == "HTTP 302, after 1 attempt"


def test_a_scheme_in_capitals_is_the_same_scheme(site: Web) -> None:
    url = site.serve("/crl", content(ISSUING.crl())).replace("http:", "HTTP:")
    assert fetched(leaf(url)).problems == ()
    assert site.asked == ["/crl"]


def test_a_proxy_of_the_environment_is_used(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://crl.nowhere.example/issuing.crl"
    certificate = leaf(url)
    site.routes[url] = [content(ISSUING.crl())]  # a proxy is asked for the whole address
    monkeypatch.setenv("http_proxy", site.url(""))
    monkeypatch.setenv("no_proxy", "")
    found = fetched(certificate)
    assert site.asked == [url]
    validate(certificate, found.crls)


def test_what_is_too_large_in_all_is_not_fetched(
    site: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (site.serve(at, content(SIBLING.crl())) for at in ("/one", "/other"))
    monkeypatch.setattr(revocation_sources, "MOST_BYTES", 10)
    found = fetched(leaf(one), leaf(other))
    assert site.asked == ["/one"]
    assert "more than 10 bytes" in found.problems[1].found


def test_a_server_that_never_answers_is_given_up(site: Web) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        site.release.wait(30)

    hasty = replace(PATIENCE, attempts=1, timeout=0.1)
    start = time.monotonic()
    found = revocation_sources.fetch(
        asks(leaf(site.serve("/crl", silent))), patience=hasty, cache_dir=None, now=NOW
    )
    assert time.monotonic() - start < 5
    assert "timed out" in only(found).found


def test_nobody_listening_is_a_problem_like_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    hasty = replace(PATIENCE, attempts=1)
    found = revocation_sources.fetch(
        asks(leaf(f"http://127.0.0.1:{port}/")), patience=hasty, cache_dir=None, now=NOW
    )
    assert "refused" in only(found).found


# --- the cache -------------------------------------------------------------------------------


def crl_of(cache: Path) -> Path:
    (found,) = (cache / revocation_sources.FOLDER).glob("*.crl")
    return found


def test_what_answered_is_kept_and_serves_until_its_next_update_without_network(
    site: Web, tmp_path: Path
) -> None:
    certificate = leaf(site.serve("/crl", content(ISSUING.crl())))
    fetched(certificate, cache=tmp_path)
    for now in (NOW, NOW + 23 * HOUR):
        validate(certificate, revocation_sources.load(tmp_path, now).crls, now=now)
    later = NOW + 23 * HOUR + SECOND
    with pytest.raises(revocation.Unanswered):
        validate(certificate, revocation_sources.load(tmp_path, later).crls, now=later)
    assert site.asked == ["/crl"]
    fresh = ISSUING.crl(number=2, end=NOW + 90 * HOUR)
    site.serve("/crl", content(fresh))
    fetched(certificate, cache=tmp_path, now=later)
    assert crl_of(tmp_path).read_bytes() == fresh
    validate(certificate, revocation_sources.load(tmp_path, later).crls, now=later)


def test_a_response_is_kept_for_its_certificate(site: Web, tmp_path: Path) -> None:
    certificate = leaf("", site.url("/ocsp"))
    site.serve("/ocsp", answering(certificate))
    fetched(certificate, cache=tmp_path)
    responses = revocation_sources.load(tmp_path, NOW + 23 * HOUR).ocsp
    validate(certificate, responses=responses)
    validate(certificate, responses=Pool.of(responses))
    assert revocation_sources.load(tmp_path, NOW + 24 * HOUR).ocsp == ()


def test_a_kept_crl_that_did_not_help_is_fetched_anew(site: Web, tmp_path: Path) -> None:
    """It may be valid and still not the newest: then a newer one is needed, not the same again."""
    certificate = leaf(site.serve("/crl", content(ISSUING.crl(number=5))))
    fetched(certificate, cache=tmp_path)
    polled = ISSUING.crl(number=6, start=NOW - SECOND, end=NOW - SECOND)
    kept = revocation_sources.load(tmp_path, NOW).crls
    with pytest.raises(revocation.Unanswered) as caught:
        validate(certificate, [polled, *kept])
    site.serve("/crl", content(ISSUING.crl(number=7, start=NOW)))
    found = revocation_sources.fetch(
        caught.value.asks, patience=PATIENCE, cache_dir=tmp_path, now=NOW
    )
    validate(certificate, [polled, *kept, *found.crls])


def test_a_kept_crl_that_revokes_ends_the_search(site: Web, tmp_path: Path) -> None:
    certificate = leaf(site.url("/crl"))
    site.serve("/crl", content(ISSUING.crl([factory.serial(certificate)])))
    fetched(certificate, cache=tmp_path)
    later = NOW + 30 * DAY
    site.serve("/crl", content(ISSUING.crl(number=9, end=NOW + 90 * DAY)))
    found = fetched(certificate, cache=tmp_path, now=later)
    assert site.asked == ["/crl"]
    with pytest.raises(PkiError, match="is revoked"):
        validate(certificate, found.crls, now=later)


def test_a_response_that_revokes_is_kept_for_good(site: Web, tmp_path: Path) -> None:
    certificate = leaf("", site.url("/ocsp"))
    site.serve("/ocsp", answering(certificate, status=ocsp.OCSPCertStatus.REVOKED))
    fetched(certificate, cache=tmp_path)
    site.serve("/ocsp", answering(certificate, end=NOW + 90 * DAY))
    later = NOW + 30 * DAY
    for found in (
        fetched(certificate, cache=tmp_path, now=later),
        revocation_sources.load(tmp_path, later),
    ):
        with pytest.raises(PkiError, match="is revoked"):
            validate(certificate, responses=found.ocsp, now=later)
    assert len(site.posted) == 1


WORSE = {
    "older": lambda: ISSUING.crl(number=4, end=NOW + 90 * HOUR),
    "forged": lambda: ISSUING.crl(number=9, end=NOW + 90 * HOUR, signer=factory.key("attacker")),
    "stale": lambda: ISSUING.crl(number=9, end=NOW - SECOND),
    "of another CA": SIBLING.crl,
    "no CRL": lambda: b"<html>please log in</html>",
}


@pytest.mark.parametrize("kind", WORSE)
def test_a_worse_crl_never_replaces_the_one_that_was_kept(
    site: Web, tmp_path: Path, kind: str
) -> None:
    certificate = leaf(site.serve("/crl", content(ISSUING.crl(number=5))))
    fetched(certificate, cache=tmp_path)
    before = tree(tmp_path)
    site.serve("/crl", content(WORSE[kind]()))
    later = NOW + 25 * HOUR  # the kept one is stale and still keeps older ones out
    found = fetched(certificate, cache=tmp_path, now=later)
    assert only(found).where == site.url("/crl")
    assert tree(tmp_path) == before
    with pytest.raises(revocation.Unanswered):
        validate(certificate, found.crls, now=later)


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x30\x03\x02\x01\x01"])
def test_a_damaged_cache_is_no_cache_and_heals(site: Web, tmp_path: Path, damage: bytes) -> None:
    certificate = leaf(site.serve("/crl", content(ISSUING.crl())))
    fetched(certificate, cache=tmp_path)
    crl_of(tmp_path).write_bytes(damage)
    (tmp_path / revocation_sources.FOLDER / "x.ocsp").write_bytes(damage)
    assert revocation_sources.load(tmp_path, NOW) == revocation_sources.Fetched()
    fetched(certificate, cache=tmp_path)
    assert crl_of(tmp_path).read_bytes() == ISSUING.crl()


def test_a_kept_file_is_no_permission(site: Web, tmp_path: Path) -> None:
    certificate = leaf(site.serve("/crl", content(ISSUING.crl())))
    fetched(certificate, cache=tmp_path)
    crl_of(tmp_path).write_bytes(ISSUING.crl(number=9, signer=factory.key("attacker")))
    loaded = revocation_sources.load(tmp_path, NOW)
    with pytest.raises(revocation.Unanswered):
        validate(certificate, loaded.crls)
    found = fetched(certificate, cache=tmp_path)
    assert site.asked == ["/crl", "/crl"]
    assert found.problems == (), "a number that nobody vouches for keeps nothing out"
    validate(certificate, found.crls)
    assert crl_of(tmp_path).read_bytes() == ISSUING.crl()


@pytest.mark.parametrize(("bound", "most"), [("MOST_FILES", 2), ("MOST_BYTES", 2 * 450)])
def test_a_cache_that_has_grown_beyond_measure_is_read_in_part(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    crl = content(ISSUING.crl())
    fetched(*(leaf(site.serve(f"/{number}", crl)) for number in range(4)), cache=tmp_path)
    assert len(revocation_sources.load(tmp_path, NOW).crls) == 4
    monkeypatch.setattr(revocation_sources, bound, most)
    assert len(revocation_sources.load(tmp_path, NOW).crls) == 2


def test_a_cache_that_cannot_be_written_takes_no_answer_away(site: Web, tmp_path: Path) -> None:
    (tmp_path / revocation_sources.FOLDER).write_text("a file where the directory should be")
    certificate = leaf(site.serve("/crl", content(ISSUING.crl())))
    found = fetched(certificate, cache=tmp_path)
    assert only(found).rule == "STATE-WRITE"
    validate(certificate, found.crls)


def test_without_a_cache_nothing_is_kept_and_the_result_can_be_handed_on(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_crl = leaf(site.serve("/crl", content(ISSUING.crl())))
    by_ocsp = leaf("", site.url("/ocsp"))
    site.serve("/ocsp", answering(by_ocsp))
    found = fetched(by_crl, by_ocsp)
    assert tree(tmp_path) == {}
    handed = revocation_sources.Fetched.of_result(json.loads(json.dumps(found.as_result())))
    assert [crl.der for crl in handed.crls] == [crl.der for crl in found.crls]
    assert handed.ocsp == found.ocsp
    validate(by_crl, handed.crls)
    validate(by_ocsp, responses=handed.ocsp)


def test_what_is_damaged_on_the_way_is_left_out() -> None:
    damaged = {"crls": ["%%%", "AAAA"], "ocsp": ["%%%"]}
    assert revocation_sources.Fetched.of_result(damaged) == revocation_sources.Fetched()
    assert revocation_sources.Fetched.of_result({}) == revocation_sources.Fetched()
