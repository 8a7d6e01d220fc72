# SPDX-License-Identifier: GPL-3.0-or-later
"""One CRL, or one OCSP response, from its address to a file; nothing here reads what came.

Bounded in time and size whatever the server does, redirected within http and https only, asked
again with growing pauses where that may help. Environment variables for proxies are not read.
"""

from __future__ import annotations

import email.utils
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urljoin

from . import files
from .crl_watch import Limits
from .errors import HostError
from .http_exchange import (
    HTTP,
    HTTPS,
    Answering,
    Clock,
    Fault,
    Target,
    exchange,
    said,
    without_credentials,
)

_PART_BYTES = 1 << 16
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Of a POST only these two say that the other address wants the same POST.
_KEEP_METHOD = (307, 308)
# Of the 4xx these two ask for another try later; every other one is an answer.
_ASK_AGAIN = (408, 429)
_LONGEST_VALIDATOR = 1024

#: An address as it may be kept and told.
shown = without_credentials


@dataclass(frozen=True)
class Answer:
    """What came. ``unchanged``: the server confirmed what we hold, and no file was written.

    ``etag`` and ``modified`` are for the next conditional request, ``url`` is the address that
    answered in the end, ``size`` is in bytes.
    """

    unchanged: bool
    etag: str
    modified: str
    url: str
    size: int


@dataclass(frozen=True)
class _Wish:
    """What is asked for, and where it goes."""

    destination: str
    limits: Limits
    etag: str
    modified: str
    body: bytes | None
    content_type: str

    @property
    def headers(self) -> dict[str, str]:
        fields = {
            # A cache on the way must ask the source: it is the age that counts.
            "Cache-Control": "no-cache",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "pki-crl",
            "Content-Type": self.content_type,
            "If-None-Match": self.etag,
            "If-Modified-Since": self.modified,
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def conditional(self) -> bool:
        return bool(self.etag or self.modified)


def transfer(
    url: str,
    destination: str,
    limits: Limits,
    *,
    etag: str = "",
    modified: str = "",
    body: bytes | None = None,
    content_type: str = "",
) -> Answer:
    """Put what ``url`` serves into the file ``destination``, whole or not at all.

    ``limits.timeout_seconds`` bounds each wait for the server, ``total_seconds`` the whole
    transfer with its redirects, tries and pauses. A ``body`` is posted.

    Raises:
        HostError: CRL-FETCH, nothing usable came; FILE-REFUSED, it could not be written.
    """
    wish = _Wish(destination, limits, _usable(etag), _usable(modified), body, content_type)
    clock = Clock(limits.timeout_seconds, limits.total_seconds)
    for attempt, wait in enumerate((*_waits(limits), None), start=1):
        try:
            return _follow(url, wish, clock)
        except Fault as fault:
            pause = max(wait or 0.0, min(fault.wait_seconds, limits.longest_wait_seconds))
            if wait is None or not fault.passing or clock.left <= pause:
                raise _error(url, fault, attempt, body is not None) from None
        time.sleep(pause)
    raise AssertionError("unreachable")


def _waits(limits: Limits) -> Iterator[float]:
    """The pause before the second try, before the third, and so on; seconds."""
    wait = float(limits.first_wait_seconds)
    for _ in range(limits.attempts - 1):
        yield min(wait, limits.longest_wait_seconds)
        wait *= limits.wait_factor


def _follow(url: str, wish: _Wish, clock: Clock) -> Answer:
    """One try, through its redirects."""
    target = Target.of(url)
    way = [target.url]
    while True:
        with exchange(
            target, clock, proxy=wish.limits.proxy, headers=wish.headers, body=wish.body
        ) as answering:
            if answering.status not in _REDIRECTS:
                return _received(answering, target, wish)
            target = _redirected(answering, target, wish)
        _check_way(way, target.url)
        way.append(target.url)


def _check_way(way: list[str], to: str) -> None:
    step = "give the address that the CRL is at"
    if to in way:
        raise Fault(f"a redirect loop: {' -> '.join([*way[way.index(to) :], to])}", step)
    if len(way) > _MOST_REDIRECTS:
        raise Fault(f"more than {_MOST_REDIRECTS} redirects, the last one to {to}", step)


def _redirected(answering: Answering, source: Target, wish: _Wish) -> Target:
    place = answering.header("Location")
    step = "give the address that the CRL is at, if that redirect is right"
    if not place:
        raise Fault(f"{said(answering.status)} without an address", step)
    if wish.body is not None and answering.status not in _KEEP_METHOD:
        raise Fault(f"{said(answering.status)} to a POST", step)
    try:
        target = Target.of(urljoin(source.url, place))
    except ValueError:
        raise Fault(f"a redirect to what is no address: {shown(place)}", step) from None
    except Fault as fault:
        raise Fault(f"a redirect to {shown(place)}: {fault.found}", step) from None
    if (source.scheme, target.scheme) == (HTTPS, HTTP):
        raise Fault(f"a redirect from https to http: {target.url}", step)
    return target


def _received(answering: Answering, target: Target, wish: _Wish) -> Answer:
    etag, modified = (_usable(answering.header(name)) for name in ("ETag", "Last-Modified"))
    if answering.status == http.client.NOT_MODIFIED and wish.conditional:
        return Answer(True, etag or wish.etag, modified or wish.modified, target.url, 0)
    _require_whole_body(answering, wish.limits.largest_bytes)
    size = _kept(answering, wish)
    return Answer(False, etag, modified, target.url, size)


def _usable(validator: str) -> str:
    """The validator, or nothing when it is none: then the whole CRL comes, which is right too."""
    plain = validator.isascii() and validator.isprintable()
    return validator if plain and len(validator) <= _LONGEST_VALIDATOR else ""


def _require_whole_body(answering: Answering, largest: int) -> None:
    status = answering.status
    if status == http.client.NOT_MODIFIED:
        step = "see what stands between this host and that server"
        raise Fault(f"{said(status)}, though the request named nothing to compare", step)
    if status != http.client.OK:
        raise _refusal(answering)
    encoding = answering.header("Content-Encoding").lower()
    if encoding not in ("", "identity"):
        step = "have that server send the bytes as they are"
        raise Fault(f"an answer encoded as {encoding}, though none was asked for", step)
    if answering.announced is not None and answering.announced > largest:
        raise _too_large(largest, f"{answering.announced} bytes announced")


def _refusal(answering: Answering) -> Fault:
    status = answering.status
    later = status in _ASK_AGAIN or status >= http.client.INTERNAL_SERVER_ERROR
    return Fault(
        said(status),
        "see that server's log; the next poll asks again"
        if later
        else "ask whoever runs that server for the right address",
        passing=later,
        wait_seconds=_retry_after(answering.header("Retry-After")),
    )


def _retry_after(value: str) -> float:
    """Seconds: the field is a number of them, or a date."""
    if value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _kept(answering: Answering, wish: _Wish) -> int:
    """Write the body where it belongs; its size."""
    size = 0

    def fill(handle: BinaryIO) -> None:
        nonlocal size
        for part in answering.parts(_PART_BYTES):
            size += len(part)
            if size > wish.limits.largest_bytes:
                raise _too_large(wish.limits.largest_bytes, "more came")
            handle.write(part)
        if not size:
            raise Fault("an empty answer", "see that server's log", passing=True)

    files.write_stream(wish.destination, fill, files.PUBLIC)
    return size


def _too_large(largest: int, found: str) -> Fault:
    return Fault(
        f"{found}, and {largest} are allowed",
        "see what that address serves; if the CRL is that long, raise the policy's limit",
    )


def _error(url: str, fault: Fault, attempts: int, posted: bool) -> HostError:
    tries = f", after {attempts} tries" if attempts > 1 else ""
    return HostError(
        "the OCSP responder did not answer" if posted else "the CRL could not be fetched",
        rule="CRL-FETCH",
        found=f"{fault.found}{tries}",
        expected="an OCSP response" if posted else "a CRL",
        where=shown(url),
        next_step=fault.next_step,
    )
