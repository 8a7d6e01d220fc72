# SPDX-License-Identifier: GPL-3.0-or-later
"""One answer over http or https, bounded in time and size, with exponential backoff.

How often and how long is policy (DIP-4.3.2-BACKOFF); nothing else here knows a number of it.
"""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import names
from .errors import PkiError
from .policy import Policy

MAXIMUM_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
# 408 and 429 ask for another try later; every other 4xx is an answer.
ASK_AGAIN = (408, 429)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failing download is tried, and how long is waited. All times are seconds.

    ``timeout`` bounds one wait for the server, ``total`` one whole answer: a server that drips
    never lets a wait end.
    """

    attempts: int
    first_wait: float
    factor: float
    longest_wait: float
    timeout: float
    total: float

    @classmethod
    def of(cls, policy: Policy) -> Patience:
        """What a policy says; PkiError POLICY-PARAMETER when it says nothing."""
        return cls(
            attempts=policy.number("fetch_attempts"),
            first_wait=float(policy.parameter("fetch_first_wait_seconds")),
            factor=float(policy.parameter("fetch_wait_factor")),
            longest_wait=float(policy.parameter("fetch_longest_wait_seconds")),
            timeout=float(policy.parameter("fetch_timeout_seconds")),
            total=float(policy.parameter("fetch_total_seconds")),
        )

    @property
    def waits(self) -> tuple[float, ...]:
        """The pause before the second try, before the third, and so on."""
        waits: list[float] = []
        wait = self.first_wait
        for _ in range(self.attempts - 1):
            waits.append(min(wait, self.longest_wait))
            wait = waits[-1] * self.factor
        return tuple(waits)


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Redirects stay on http and https."""

    def redirect_request(self, *arguments: Any, **keywords: Any) -> Any:
        request = super().redirect_request(*arguments, **keywords)
        if request is not None and request.type not in ("http", "https"):
            raise ValueError(f"redirected to a {request.type} address")
        return request


def download(
    url: str, patience: Patience, *, body: bytes | None = None, content_type: str = ""
) -> bytes:
    """One CRL or, for a ``body`` that is posted, one OCSP response.

    Raises:
        PkiError: CRL-FETCH; the last try failed, too.
    """
    headers = {"Content-Type": content_type} if content_type else {}
    for attempt, wait in enumerate((*patience.waits, None), start=1):
        try:
            return _once(url, patience, body, headers)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            if wait is None or _permanent(exc):
                raise _fetch_error(url, exc, attempt, body is not None) from exc
        time.sleep(wait)
    raise AssertionError("unreachable")


def _permanent(exc: Exception) -> bool:
    """Whether asking again would only bring the same answer."""
    if isinstance(exc, urllib.error.HTTPError):
        return exc.code < 500 and exc.code not in ASK_AGAIN
    return isinstance(exc, ValueError | http.client.InvalidURL)


def _once(url: str, patience: Patience, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("not an http or https address")
    opener = urllib.request.build_opener(_HttpOnly)
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    deadline = time.monotonic() + patience.total
    with contextlib.closing(opener.open(request, timeout=patience.timeout)) as answer:
        return _body(answer, deadline, patience.total)


def _body(answer: http.client.HTTPResponse, deadline: float, seconds: float) -> bytes:
    """The whole answer, or an exception: too large, too slow, or cut short."""
    content = bytearray()
    while part := answer.read1(CHUNK_BYTES):
        content += part
        if len(content) > MAXIMUM_BYTES:
            raise ValueError(f"more than {MAXIMUM_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not complete after {seconds} seconds")
    if answer.length:
        raise http.client.IncompleteRead(bytes(content), answer.length)
    return bytes(content)


def _fetch_error(url: str, exc: Exception, attempts: int, posted: bool) -> PkiError:
    if isinstance(exc, urllib.error.HTTPError):
        found = f"HTTP {exc.code}"
    elif isinstance(exc, urllib.error.URLError):
        found = str(exc.reason)
    else:
        found = names.printable(str(exc)) or type(exc).__name__
    return PkiError(
        "the OCSP responder did not answer" if posted else "the CRL could not be fetched",
        rule="CRL-FETCH",
        found=f"{found}, after {attempts} attempt{'s' if attempts > 1 else ''}",
        expected="an OCSP response" if posted else "a CRL",
        where=url,
        next_step="check the address, the proxy and the firewall, then run again",
    )
