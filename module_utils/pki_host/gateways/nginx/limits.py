# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: how much one client may ask, and how large its requests may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from ..description import UNBOUNDED
from .scope import Block, Scope, size

_HEADER, _LARGE = "1k", ("4", "8k")
_BY_ADDRESS = ("$binary_remote_addr", "$remote_addr")
# Each listener of ours has a port of its own.
_BY_LISTENER = "$server_port"
_RATE = re.compile(r"rate=([0-9]{1,9})r/([sm])")
_ZONE = re.compile(r"zone=([^:]+)(?::.*)?")


@dataclass(frozen=True)
class Zones:
    """What requests and connections are counted by, by the name of a zone.

    Attributes:
        rates: requests a second of one address, for zones that count by address.
        whole: zones that count all connections of a listener.
    """

    rates: Dict[str, int]
    whole: Tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """Requests of one address: in the long run a second, and at once beyond that."""

    per_second: int = UNBOUNDED
    burst: int = UNBOUNDED


def zones(http: Block) -> Zones:
    """The zones of a configuration; one that counts by something else bounds nobody."""
    rates: Dict[str, int] = {}
    whole: List[str] = []
    for one in http:
        names = [found.group(1) for found in map(_ZONE.fullmatch, one.words) if found]
        if one.name == "limit_req_zone" and names and one.words[0] in _BY_ADDRESS:
            said = [found for found in map(_RATE.fullmatch, one.words) if found]
            if said:
                count, unit = said[-1].groups()
                # Rounded up: less than one a second is told as one.
                rates[names[-1]] = -(-int(count) // (60 if unit == "m" else 1))
        if one.name == "limit_conn_zone" and names and one.words[0] == _BY_LISTENER:
            whole.append(names[-1])
    return Zones(rates, tuple(whole))


def rate(scope: Scope, known: Zones) -> Rate:
    """The bound that ``limit_req`` sets where requests are served."""
    words = scope.words("limit_req")
    names = [found.group(1) for found in map(_ZONE.fullmatch, words) if found]
    if not names or names[-1] not in known.rates:
        return Rate()
    burst = [int(word[6:]) for word in words if re.fullmatch(r"burst=[0-9]{1,9}", word)]
    return Rate(known.rates[names[-1]], burst[-1] if burst else 0)


def connections(scopes: Sequence[Scope], known: Zones) -> int:
    """The loosest bound of connections among a server and its locations."""
    return max(_connections(scope.words("limit_conn"), known) for scope in scopes)


def _connections(words: Tuple[str, ...], known: Zones) -> int:
    if len(words) != 2 or words[0] not in known.whole or not re.fullmatch(r"[0-9]{1,9}", words[1]):
        return UNBOUNDED
    return int(words[1])


def header_bytes(scope: Scope) -> int:
    """The largest header of a request: the first buffer, and all the large ones full."""
    large = scope.words("large_client_header_buffers") or _LARGE
    if len(large) != 2 or not re.fullmatch(r"[0-9]{1,6}", large[0]):
        return UNBOUNDED
    first = size(scope.text("client_header_buffer_size", _HEADER))
    return min(first + int(large[0]) * size(large[1]), UNBOUNDED)
