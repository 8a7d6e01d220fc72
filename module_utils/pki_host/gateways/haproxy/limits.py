# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: how much one client may ask, and for how long it stays connected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator, Sequence, Tuple

from ..description import UNBOUNDED
from .text import Line

_TIME = re.compile(r"([0-9]{1,9})(us|ms|s|m|h|d)?")
_MICROSECONDS = {"us": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6,
                 "d": 86400 * 10**6}  # fmt: skip
_RATE = re.compile(r"http_req_rate\(([0-9a-z]+)\)")
_AGE = ("http-after-response", "set-header", "Connection", "close", "if", "{",
        "date,sub(sess.since)", "ge")  # fmt: skip
_SINCE = ("tcp-request", "connection", "set-var(sess.since)", "date")
_PERIOD = re.compile(r"date,sub\(proc\.since\),mod\(([0-9]{1,9})\)")
_CLOSE = ("http-request", "set-header", "Connection", "close", "if", "{")
_UNSIZED = ("http-request", "return", "status", "411", "if", "{", "req.hdr(transfer-encoding)",
            "-m", "found", "}")  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Requests of one address: in the long run a second, and at once beyond that."""

    per_second: int = UNBOUNDED
    burst: int = UNBOUNDED


def microseconds(text: str, unit: str = "ms") -> int:
    """A time; boundless when it is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return UNBOUNDED * 10**6
    return int(found.group(1)) * _MICROSECONDS[found.group(2) or unit]


def seconds(text: str, unit: str = "ms") -> int:
    """A time in whole seconds, rounded up."""
    return -(-microseconds(text, unit) // 10**6)


def number(text: str) -> int:
    """A plain number; boundless when it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else UNBOUNDED


def rate(lines: Sequence[Line]) -> Rate:
    """The bound of requests by address: a table that counts them, and a rule that asks it."""
    table = [found for words in _of(lines, "stick-table") for found in [_RATE.fullmatch(words[-1])]]
    tracked = any(line.words == ("http-request", "track-sc0", "src") for line in lines)
    allowed = _denied(lines, "429", "sc_http_req_rate(0)")
    if len(table) != 1 or table[0] is None or not tracked or allowed >= UNBOUNDED:
        return Rate()
    period = microseconds(table[0].group(1))
    if not 0 < period < UNBOUNDED:
        return Rate()
    return Rate(-(-allowed * 10**6 // period), max(allowed - 1, 0))


def body_bytes(lines: Sequence[Line]) -> int:
    """The largest body; none is bounded while one without a length is taken."""
    if all(line.words != _UNSIZED for line in lines):
        return UNBOUNDED
    return _denied(lines, "413", "req.body_size")


def header_bytes(lines: Sequence[Line]) -> int:
    """The largest header that a frontend lets through itself."""
    return _denied(lines, "431", "req.hdrs,length")


def connection_seconds(lines: Sequence[Line]) -> int:
    """The age at which a client's connection is closed with its next answer."""
    ages = [words[8] for words in _of(lines, _AGE[0]) if words[:8] == _AGE and len(words) == 10]
    known = any(line.words == _SINCE for line in lines)
    return min((seconds(one, "s") for one in ages), default=UNBOUNDED) if known else UNBOUNDED


def upstream_seconds(lines: Sequence[Line]) -> int:
    """The period in whose last part connections to a far end are closed as they are used."""
    for words in _of(lines, _CLOSE[0]):
        found = _PERIOD.fullmatch(words[6]) if words[:6] == _CLOSE else None
        if found and words[7:8] == ("ge",) and number(words[8]) < int(found.group(1)):
            return int(found.group(1))
    return UNBOUNDED


def _of(lines: Sequence[Line], first: str) -> Iterator[Tuple[str, ...]]:
    return (line.words for line in lines if line.words[0] == first)


def _denied(lines: Sequence[Line], status: str, what: str) -> int:
    """The bound of a rule that refuses what is beyond it."""
    for words in _of(lines, "http-request"):
        refuses = words[1:4] in (("deny", "deny_status", status), ("return", "status", status))
        if refuses and words[4:8] == ("if", "{", what, "gt") and words[9:] == ("}",):
            return number(words[8])
    return UNBOUNDED
