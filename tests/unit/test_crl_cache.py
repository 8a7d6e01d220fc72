# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs come over a real network, are verified, and a good one is never replaced by a worse one."""

from __future__ import annotations

import hashlib
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import crl_cache, download, revocation, shipped
from pki.errors import PkiError
from pki.trust_files import LoadedTrust
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    MAX_AGE,
    ROOT,
    SIBLING,
    TRUST,
    Answer,
    Web,
    World,
    content,
    raw,
    tree,
    web,
    whole,
)
from unit.pki_factory import NOW, SECOND

HOUR = timedelta(hours=1)
GOOD = ISSUING.crl(number=5)
PATIENCE = download.Patience.of(shipped.policy("mhhs-dip"))


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as site:
        yield site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is asked directly, whatever the machine's proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, noted instead of waited."""
    noted: list[float] = []
    monkeypatch.setattr(time, "sleep", noted.append)
    return noted


@pytest.fixture
def site(server: Web, waits: list[float]) -> Web:
    server.routes.clear()
    server.asked.clear()
    server.serve("/issuing", content(GOOD))
    server.serve("/second", content(GOOD))
    server.serve("/root", content(ROOT.crl()))
    return server


class Poll:
    """A trust set on disk whose CRLs are at the server's addresses."""

    def __init__(self, base: Path, site: Web) -> None:
        urls = {"issuing": [site.url("/issuing")], "root": [site.url("/root")]}
        self.world = World(base, crl_urls=urls)
        self.trust: LoadedTrust = self.world.inputs().trust[TRUST]
        self.folder = self.world.cache / TRUST
        self.file = self.folder / f"{ISSUING.sha256[:16]}.crl"
        self.site = site

    def refresh(self, now: datetime = NOW, **options: Any) -> crl_cache.CrlSet:
        return crl_cache.refresh(
            self.trust, self.world.cache, now=now, max_age=MAX_AGE, patience=PATIENCE, **options
        )

    def load(self, now: datetime = NOW) -> crl_cache.CrlSet:
        return crl_cache.load(self.trust, self.world.cache, now=now, max_age=MAX_AGE)

    def publish(self, crl: bytes) -> None:
        self.site.serve("/issuing", content(crl))

    def polled(self, at: datetime | str) -> None:
        """Rewrite when the issuing CA's CRL was polled."""
        record = json.loads((self.folder / "poll.json").read_text())
        record[ISSUING.sha256] = at if isinstance(at, str) else at.isoformat()
        (self.folder / "poll.json").write_text(json.dumps(record))


@pytest.fixture
def poll(tmp_path: Path, site: Web) -> Poll:
    return Poll(tmp_path, site)


def only(errors: tuple[PkiError, ...]) -> PkiError:
    (error,) = errors
    return whole(error)


# --- a good poll ----------------------------------------------------------------------------


def test_the_crls_of_every_ca_are_fetched_verified_and_kept(poll: Poll) -> None:
    found = poll.refresh()
    assert found.complete
    assert found.crls == (GOOD, *found.crls[1:])
    assert [x509.load_der_x509_crl(crl).issuer for crl in found.crls] == [
        ISSUING.certificate.subject,
        ROOT.certificate.subject,
    ]
    assert found.changed
    assert found.fetched_at == NOW
    assert (found.warnings, found.problems) == ((), ())
    assert poll.file.read_bytes() == GOOD
    assert poll.load().crls == found.crls


def test_the_bundle_is_the_pem_of_the_same_crls(poll: Poll) -> None:
    found = poll.refresh()
    end = b"-----END X509 CRL-----\n"
    blocks = found.pem.split(end)
    assert blocks.pop() == b""
    parsed = [x509.load_pem_x509_crl(block + end) for block in blocks]
    assert parsed == [x509.load_der_x509_crl(crl) for crl in found.crls]
    assert found.sha256 == hashlib.sha256(found.pem).hexdigest()


def test_a_second_poll_of_the_same_crls_changes_nothing_but_the_time_of_the_poll(
    poll: Poll,
) -> None:
    first = poll.refresh()
    second = poll.refresh(NOW + HOUR)
    assert not second.changed
    assert second.sha256 == first.sha256
    assert poll.load(NOW + HOUR).fetched_at == NOW + HOUR


def test_a_newer_crl_replaces_the_cached_one(poll: Poll) -> None:
    first = poll.refresh()
    newer = ISSUING.crl(number=6)
    poll.publish(newer)
    second = poll.refresh()
    assert second.changed
    assert second.sha256 != first.sha256
    assert poll.file.read_bytes() == newer


def test_a_crl_in_pem_is_kept_as_der(poll: Poll) -> None:
    poll.publish(revocation.to_pem(GOOD))
    assert poll.refresh().crls[0] == GOOD
    assert poll.file.read_bytes() == GOOD


def test_loading_asks_nobody(poll: Poll) -> None:
    poll.refresh()
    poll.site.asked.clear()
    assert poll.load().complete
    assert poll.site.asked == []


# --- what never gets in ---------------------------------------------------------------------

WORSE: dict[str, tuple[Callable[[], bytes], str]] = {
    "of a foreign CA": (FOREIGN.crl, "is not issued by"),
    "of a sibling under the same root": (SIBLING.crl, "is not issued by"),
    "signed by another key": (
        lambda: ISSUING.crl(number=9, signer=factory.key("thief")),
        "is not signed by the key",
    ),
    "expired": (lambda: ISSUING.crl(number=9, end=NOW - SECOND), "is stale since"),
    "not valid yet": (lambda: ISSUING.crl(number=9, start=NOW + SECOND), "is valid only from"),
    "a delta": (
        lambda: ISSUING.crl(number=9, extensions=[(x509.DeltaCRLIndicator(1), True)]),
        "delta",
    ),
    "of a lower number": (lambda: ISSUING.crl(number=4), "CRL number 4"),
    "a web page": (lambda: b"<html>please log in</html>", "0 CRLs"),
    "empty": (lambda: b"", "0 CRLs"),
}


@pytest.mark.parametrize("kind", WORSE)
def test_a_crl_that_is_worse_never_replaces_a_good_one_and_is_a_warning(
    poll: Poll, kind: str
) -> None:
    build, found = WORSE[kind]
    poll.refresh()
    poll.publish(build())
    result = poll.refresh(NOW + timedelta(minutes=1) if kind != "not valid yet" else NOW)
    warning = only(result.warnings)
    assert found in warning.found
    assert warning.where == poll.site.url("/issuing")
    assert "Example Issuing" in warning.message
    assert result.complete
    assert not result.changed
    assert result.crls[0] == GOOD == poll.file.read_bytes()
    assert result.fetched_at == NOW


@pytest.mark.parametrize("kind", [kind for kind in WORSE if kind != "of a lower number"])
def test_without_a_cached_crl_a_bad_one_is_a_problem_and_is_not_kept(poll: Poll, kind: str) -> None:
    poll.publish(WORSE[kind][0]())
    result = poll.refresh()
    problem = only(result.problems)
    assert WORSE[kind][1] in problem.found
    assert "Example Issuing" in problem.message
    assert result.warnings == ()
    assert not result.complete
    assert len(result.crls) == 1, "the root's CRL is still there"
    assert not poll.file.exists()


def test_an_equal_number_may_come_again_with_other_dates(poll: Poll) -> None:
    poll.refresh()
    renewed = ISSUING.crl(number=5, end=NOW + 30 * HOUR)
    poll.publish(renewed)
    assert poll.refresh().crls[0] == renewed


@pytest.mark.parametrize(
    ("first", "second"), [(None, None), (None, 9), (9, None)], ids=["none", "new", "old"]
)
def test_without_a_number_on_both_sides_the_older_date_is_the_older_crl(
    poll: Poll, first: int | None, second: int | None
) -> None:
    poll.publish(ISSUING.crl(number=first))
    kept = poll.refresh().crls[0]
    poll.publish(ISSUING.crl(number=second, start=NOW - 2 * HOUR))
    result = poll.refresh()
    assert "not older than" in only(result.warnings).expected
    assert result.crls[0] == kept
    newer = ISSUING.crl(number=second, start=NOW - SECOND)
    poll.publish(newer)
    assert poll.refresh().crls[0] == newer


@pytest.mark.parametrize("end", [NOW + 3 * HOUR, NOW + 90 * HOUR], ids=["nextUpdate", "age"])
def test_a_crl_that_is_too_stale_to_serve_still_keeps_older_ones_out(
    poll: Poll, end: datetime
) -> None:
    poll.publish(ISSUING.crl([77], number=5, end=end))
    poll.refresh()
    later = NOW + 25 * HOUR
    poll.publish(ISSUING.crl(number=4, end=NOW + 90 * HOUR))
    poll.site.serve("/root", content(ROOT.crl(end=NOW + 90 * HOUR)))
    result = poll.refresh(later)
    problem = only(result.problems)
    assert problem.rule == "DIP-3.6.1-POLL"
    assert "CRL number 4" in problem.found
    assert "CRL number 5" in problem.expected
    assert not result.complete
    newer = ISSUING.crl([77], number=6, end=NOW + 90 * HOUR)
    poll.publish(newer)
    assert poll.refresh(later).crls[0] == newer


def test_a_damaged_crl_with_a_high_number_blocks_nothing(poll: Poll) -> None:
    poll.refresh()
    poll.file.write_bytes(ISSUING.crl(number=999, signer=factory.key("thief")))
    assert poll.refresh().crls[0] == GOOD == poll.file.read_bytes()


# --- the network ----------------------------------------------------------------------------


def fetch_error(url: str, patience: download.Patience = PATIENCE) -> PkiError:
    with pytest.raises(PkiError) as caught:
        download.download(url, patience)
    assert caught.value.rule == "CRL-FETCH"
    assert caught.value.where == url
    return whole(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_not_asked_for_again(
    site: Web, waits: list[float], status: int
) -> None:
    error = fetch_error(site.serve("/x", content(b"", status)))
    assert error.found == f"HTTP {status}, after 1 attempt"
    assert site.asked == ["/x"]
    assert waits == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again_after_a_wait(
    site: Web, waits: list[float], status: int
) -> None:
    url = site.serve("/x", content(b"", status), content(GOOD))
    assert download.download(url, PATIENCE) == GOOD
    assert site.asked == ["/x", "/x"]
    assert waits == [0.5]


@pytest.mark.parametrize(
    ("change", "waits_wanted"),
    [
        ({}, (0.5, 1.0)),
        ({"attempts": 1}, ()),
        ({"attempts": 6, "longest_wait": 3.0}, (0.5, 1.0, 2.0, 3.0, 3.0)),
        ({"attempts": 4, "factor": 3.0}, (0.5, 1.5, 4.5)),
    ],
)
def test_the_policy_says_how_often_and_how_long(
    change: dict[str, Any], waits_wanted: tuple[float, ...]
) -> None:
    assert replace(PATIENCE, **change).waits == waits_wanted


def test_the_waits_double_and_end_with_the_third_attempt(site: Web, waits: list[float]) -> None:
    error = fetch_error(site.serve("/x", content(b"", 500)))
    assert error.found == "HTTP 500, after 3 attempts"
    assert waits == [0.5, 1.0]
    assert len(site.asked) == 3


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, Answer] = {
    "closed without a word": raw(b""),
    "another protocol": raw(b"220 mail.example ESMTP\r\n"),
    "a header without end": raw(HEAD + b"X: " + b"x" * 70_000),
    "cut short": raw(HEAD + b"Content-Length: 5000\r\n\r\n" + GOOD),
    "cut short between chunks": raw(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(GOOD), GOOD)
    ),
    "a chunk of no size": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_a_failed_attempt_like_any_other(site: Web, kind: str) -> None:
    assert download.download(site.serve("/x", BROKEN[kind], content(GOOD)), PATIENCE) == GOOD
    error = fetch_error(site.serve("/y", BROKEN[kind]))
    assert error.found.endswith("after 3 attempts")


def test_what_a_hostile_server_says_reaches_a_terminal_only_as_printable_text(site: Web) -> None:
    error = fetch_error(site.serve("/x", raw(b"\x1b[2Jowned\x07\r\n")))
    assert error.found.isprintable()


def test_a_port_that_nobody_listens_on_is_an_error_after_three_attempts(
    waits: list[float],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = fetch_error(f"http://127.0.0.1:{port}/x")
    assert "refused" in error.found
    assert waits == [0.5, 1.0]


def test_a_redirect_to_another_http_address_is_followed(site: Web) -> None:
    url = site.serve("/x", content(b"", 302, Location=site.url("/issuing")))
    assert download.download(url, PATIENCE) == GOOD


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_a_redirect_never_leaves_http(
    site: Web, tmp_path: Path, waits: list[float], scheme: str, status: int
) -> None:
    (tmp_path / "crl").write_bytes(GOOD)
    target = {
        "file": f"file://{tmp_path}/crl",
        "ftp": f"ftp://127.0.0.1:{site.server.server_address[1]}/issuing",
        "data": "data:,crl",
    }[scheme]
    error = fetch_error(site.serve("/x", content(b"", status, Location=target)))
    assert error.found.endswith("after 1 attempt")
    assert site.asked == ["/x"]
    assert waits == []


@pytest.mark.parametrize("scheme", ["file://", "ftp://", "data:,", "/"])
def test_only_http_addresses_are_opened(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "crl").write_bytes(GOOD)
    error = fetch_error(f"{scheme}{tmp_path}/crl")
    assert "not an http or https address" in error.found


def test_an_address_that_no_request_can_be_made_of_is_refused_at_once(
    site: Web, waits: list[float]
) -> None:
    fetch_error(site.url("/a b"))
    assert site.asked == []
    assert waits == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_may_be_as_large_as_the_bound_and_no_larger(
    site: Web, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    def send(size: int) -> Answer:
        body = b"x" * size
        if not chunked:
            return content(body)
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        return raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body))

    monkeypatch.setattr(download, "MAXIMUM_BYTES", 1000)
    assert len(download.download(site.serve("/fits", send(1000)), PATIENCE)) == 1000
    site.asked.clear()
    error = fetch_error(site.serve("/large", send(1001)))
    assert "more than 1000 bytes" in error.found
    assert site.asked == ["/large"]


def test_a_server_that_does_not_answer_is_given_up(site: Web) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        site.release.wait(30)

    start = time.monotonic()
    error = fetch_error(site.serve("/x", silent), replace(PATIENCE, timeout=0.1))
    assert time.monotonic() - start < 5
    assert "timed out" in error.found


def test_a_server_that_drips_is_given_up_although_no_single_wait_is_long(site: Web) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        while not site.release.wait(0.02):
            handler.wfile.write(b"x")

    start = time.monotonic()
    error = fetch_error(site.serve("/x", drip), replace(PATIENCE, total=0.1))
    assert time.monotonic() - start < 5
    assert "not complete after 0.1 seconds" in error.found


# --- several addresses and several CAs ------------------------------------------------------


def with_urls(poll: Poll, *paths: str) -> None:
    issuer = replace(poll.trust.issuers[0], crl_urls=tuple(poll.site.url(p) for p in paths))
    poll.trust = replace(poll.trust, issuers=(issuer,))


@pytest.mark.parametrize(
    "first", [content(b"", 404), content(b"no CRL"), content(FOREIGN.crl()), raw(b"")]
)
def test_the_second_address_is_used_when_the_first_has_no_good_crl(
    poll: Poll, first: Answer
) -> None:
    with_urls(poll, "/first", "/second")
    poll.site.serve("/first", first)
    result = poll.refresh()
    assert result.complete
    assert result.crls[0] == GOOD
    assert result.warnings == ()


def test_the_second_address_is_not_asked_when_the_first_is_good(poll: Poll) -> None:
    with_urls(poll, "/issuing", "/second")
    poll.refresh()
    assert poll.site.asked == ["/issuing", "/root"]


def test_a_ca_without_an_address_is_a_problem_that_names_the_inventory_file(poll: Poll) -> None:
    with_urls(poll)
    problem = only(poll.refresh().problems)
    assert problem.where == "group_vars/all/trust.yml"


def test_a_set_is_as_old_as_its_oldest_poll_and_ends_with_its_first_end(poll: Poll) -> None:
    poll.site.serve("/root", content(ROOT.crl(end=NOW + 30 * HOUR)))
    poll.refresh()
    poll.site.serve("/issuing", content(b"", 404))
    result = poll.refresh(NOW + 5 * HOUR)
    assert result.complete
    assert result.fetched_at == NOW
    assert result.next_update == NOW + 23 * HOUR
    assert poll.load(NOW + 5 * HOUR).fetched_at == NOW


def test_the_age_of_a_cached_crl_is_the_age_of_its_own_poll(poll: Poll) -> None:
    """A poll of another CA in between does not make it younger."""
    poll.publish(ISSUING.crl(number=5, end=NOW + 90 * HOUR))
    poll.site.serve("/root", content(ROOT.crl(end=NOW + 90 * HOUR)))
    poll.refresh()
    poll.site.serve("/issuing", content(b"", 404))
    assert poll.refresh(NOW + 20 * HOUR).complete
    result = poll.refresh(NOW + 25 * HOUR)
    assert only(result.problems).found == "HTTP 404, after 1 attempt"
    assert result.warnings == ()


# --- the cache ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "fresh"),
    [(timedelta(0), True), (MAX_AGE, True), (MAX_AGE + SECOND, False)],
)
def test_a_cached_crl_serves_until_it_is_too_old(poll: Poll, after: timedelta, fresh: bool) -> None:
    poll.publish(ISSUING.crl(number=5, end=NOW + 90 * HOUR))
    poll.site.serve("/root", content(ROOT.crl(end=NOW + 90 * HOUR)))
    poll.refresh()
    assert poll.load(NOW + after).complete is fresh


@pytest.mark.parametrize(
    ("after", "fresh"), [(23 * HOUR, True), (23 * HOUR + SECOND, False)], ids=["in", "out"]
)
def test_a_cached_crl_serves_until_its_next_update(
    poll: Poll, after: timedelta, fresh: bool
) -> None:
    poll.refresh()
    loaded = poll.load(NOW + after)
    assert loaded.complete is fresh
    if not fresh:
        assert loaded.crls == ()
        assert [whole(problem).found for problem in loaded.problems] == [
            "no fresh CRL in the cache"
        ] * 2
        assert "Example Issuing" in loaded.problems[0].message


@pytest.mark.parametrize(
    ("ahead", "trusted"), [(timedelta(minutes=4), True), (timedelta(minutes=6), False)]
)
def test_a_poll_in_the_future_is_not_believed(poll: Poll, ahead: timedelta, trusted: bool) -> None:
    poll.refresh()
    poll.polled(NOW + ahead)
    assert poll.load().complete is trusted
    assert poll.refresh().fetched_at == NOW


DAMAGED_POLLS = {
    "empty": b"",
    "cut": b'{"',
    "a list": b"[1]",
    "a text": b'"x"',
    "binary": b"\xff\xfe\x00",
    "no CA": b"{}",
    "null": json.dumps({ISSUING.sha256: None}).encode(),
    "no date": json.dumps({ISSUING.sha256: "yesterday"}).encode(),
    "a date without zone": json.dumps({ISSUING.sha256: "2026-11-21T12:00:00"}).encode(),
}


@pytest.mark.parametrize("kind", DAMAGED_POLLS)
def test_a_damaged_record_of_polls_counts_as_never_polled_and_heals(poll: Poll, kind: str) -> None:
    poll.refresh()
    (poll.folder / "poll.json").write_bytes(DAMAGED_POLLS[kind])
    assert not poll.load().complete
    assert poll.refresh().complete
    assert poll.load().complete


DAMAGED_CRLS = {
    "empty": b"",
    "cut": GOOD[:-1],
    "one bit": GOOD[:-9] + bytes([GOOD[-9] ^ 1]) + GOOD[-8:],
    "of another CA": SIBLING.crl(),
    "text": b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
}


@pytest.mark.parametrize("kind", DAMAGED_CRLS)
def test_a_damaged_cached_crl_does_not_serve_and_heals(poll: Poll, kind: str) -> None:
    poll.refresh()
    poll.file.write_bytes(DAMAGED_CRLS[kind])
    assert only(poll.load().problems).message == "there is no fresh CRL of Example Issuing"
    assert poll.refresh().changed
    assert poll.file.read_bytes() == GOOD
    assert poll.load().complete


@settings(max_examples=60, deadline=None)
@given(crl=st.binary(max_size=40), record=st.binary(max_size=40))
def test_no_bytes_in_the_cache_ever_stop_a_poll(crl: bytes, record: bytes) -> None:
    published = {"http://crl.example/issuing": GOOD, "http://crl.example/root": ROOT.crl()}
    with tempfile.TemporaryDirectory() as base:
        trust = World(Path(base)).inputs().trust[TRUST]
        folder = Path(base, "cache", TRUST)
        folder.mkdir(parents=True)
        (folder / f"{ISSUING.sha256[:16]}.crl").write_bytes(crl)
        (folder / "poll.json").write_bytes(record)
        options: dict[str, Any] = {"now": NOW, "max_age": MAX_AGE}
        assert not crl_cache.load(trust, folder.parent, **options).complete
        fetch = published.__getitem__
        assert crl_cache.refresh(trust, folder.parent, fetch=fetch, **options).complete
        assert crl_cache.load(trust, folder.parent, **options).complete


def test_check_mode_says_what_it_would_keep_and_writes_nothing(poll: Poll) -> None:
    result = poll.refresh(save=False)
    assert result.complete
    assert result.changed
    assert not poll.world.cache.exists()


def test_check_mode_leaves_an_existing_cache_as_it_is(poll: Poll) -> None:
    poll.refresh()
    before = tree(poll.world.cache)
    poll.publish(ISSUING.crl(number=6))
    assert poll.refresh(NOW + HOUR, save=False).changed
    assert tree(poll.world.cache) == before


def test_a_cache_that_cannot_be_written_is_named(poll: Poll) -> None:
    poll.world.cache.write_text("a file where the directory should be")
    with pytest.raises(PkiError) as caught:
        poll.refresh()
    assert whole(caught.value).rule == "STATE-WRITE"


# --- CRLs that check mode hands on without keeping them --------------------------------------


def test_crls_that_were_fetched_and_not_kept_serve_the_run_that_fetched_them(poll: Poll) -> None:
    fetched = poll.refresh(save=False)
    handed = crl_cache.given(poll.trust, fetched.pem, now=NOW)
    assert handed.complete
    assert (handed.crls, handed.sha256) == (fetched.crls, fetched.sha256)
    assert not poll.world.cache.exists()


HANDED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "of a sibling": lambda: revocation.to_pem(SIBLING.crl()),
    "of a thief": lambda: revocation.to_pem(ISSUING.crl(signer=factory.key("thief"))),
    "expired": lambda: revocation.to_pem(ISSUING.crl(end=NOW - SECOND)),
}


@pytest.mark.parametrize("kind", HANDED)
def test_a_crl_that_is_handed_on_is_verified_like_any_other(poll: Poll, kind: str) -> None:
    pem = HANDED[kind]() + revocation.to_pem(ROOT.crl())
    handed = crl_cache.given(poll.trust, pem, now=NOW)
    assert only(handed.problems).message == "there is no fresh CRL of Example Issuing"
    assert len(handed.crls) == 1
