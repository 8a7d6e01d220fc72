# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: what is logged of a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Sequence, Tuple

from ..description import LOG_FIELDS
from . import access
from .text import Line

# Each of them by what the format takes for it.
_WORDS: Mapping[str, Tuple[str, ...]] = {
    "time": ("date,utime(%Y-%m-%dT%H:%M:%S+00:00)",),
    "remote": ("ci",),
    "request": ("capture.req.method,json(utf8s)", "var(txn.path),json(utf8s)"),
    "status": ("ST",),
    "upstream_status": ("var(txn.upstream_status)",),
    "tls": ("sslv",),
    "cipher": ("sslc",),
    "verify": ("var(txn.verify)",),
    "serial": ("ssl_c_serial,hex",),
    "subject": ("ssl_c_s_dn(,0,rfc2253),json(utf8s)",),
    "issuer": ("ssl_c_i_dn(,0,rfc2253),json(utf8s)",),
    "allowed": ("var(txn.allowed)",),
}
# Known besides, and not asked for.
_OTHERS = frozenset({"fi", "fp", "ssl_fc_is_resumed"})
_ITEM = re.compile(r"%(?:\{[^}]*\})?(?:\[((?:[^\]\\]|\\.)*)\]|([A-Za-z]+)|(.))")
_TELLS_QUERY = re.compile(r"r|HU|HUs|HQ|.*(?:req\.uri|url|query|uri|hdr|body|cook).*", re.DOTALL)
# Where the variables come from that the format takes.
_SOURCES: Mapping[str, Tuple[str, ...]] = {
    "request": ("http-request", "set-var(txn.path)", "path"),
    "upstream_status": ("http-response", "set-var(txn.upstream_status)", "status"),
}


@dataclass(frozen=True)
class Told:
    """What one listener's log tells, as :class:`~..description.Listener` has it."""

    fields: Tuple[str, ...] = ()
    query: bool = True


def of_frontend(lines: Sequence[Line], *, logged: bool) -> Told:
    """What a frontend logs of every request; ``logged``: that there is somewhere to log to."""
    formats = [line.words[1] for line in lines if line.words[0] == "log-format"]
    if not logged or len(formats) != 1:
        return Told()
    items = [found[0] or found[1] or found[2] for found in _ITEM.findall(formats[0])]
    query = any(_TELLS_QUERY.fullmatch(one) for one in items)
    known = {one for words in _WORDS.values() for one in words} | _OTHERS
    # What is not known may be text of a client that is not escaped.
    if not {*items} <= known:
        return Told((), query)
    told = {name for name, needed in _WORDS.items() if {*needed} <= {*items}}
    said = {line.words for line in lines}
    told -= {name for name, source in _SOURCES.items() if source not in said}
    if not access.tells_verdict(lines):
        told -= {"verify"}
    return Told(tuple(name for name in LOG_FIELDS if name in told), query)
