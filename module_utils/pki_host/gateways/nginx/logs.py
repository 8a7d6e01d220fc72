# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: where requests are logged, and what of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

from ..description import LOG_FIELDS
from .scope import Block, Scope

# Each of them by the variables that it takes.
_WORDS: Mapping[str, Tuple[str, ...]] = {
    "time": ("time_iso8601",),
    "remote": ("remote_addr",),
    "request": ("request_method", "uri"),
    "status": ("status",),
    "upstream_status": ("upstream_status",),
    "tls": ("ssl_protocol",),
    "cipher": ("ssl_cipher",),
    "verify": ("ssl_client_verify",),
    "serial": ("ssl_client_serial",),
    "subject": ("ssl_client_s_dn",),
    "issuer": ("ssl_client_i_dn",),
}
_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]+)")
# Variables with what follows the path of a URL, or with headers and bodies.
_TELLS_QUERY = re.compile(r"request(?:_uri|_body)?|args|arg_.*|query_string|http_.*|cookie_.*")

#: The text of a format by its name; none of one that lets clients forge lines.
Formats = Dict[str, str]


@dataclass(frozen=True)
class Told:
    """What one listener's log tells, as :class:`~..description.Listener` has it."""

    fields: Tuple[str, ...] = ()
    query: bool = True


def formats(http: Block) -> Formats:
    """The formats of a configuration that escape what clients send."""
    found: Formats = {}
    for one in http:
        if one.name != "log_format" or len(one.words) < 2:
            continue
        name, *texts = one.words
        if texts[0].startswith("escape="):
            escape = texts.pop(0)
            if escape not in ("escape=json", "escape=default"):
                continue
        found[name] = "".join(texts)
    return found


def of_scopes(scopes: Sequence[Scope], known: Formats, verdicts: Sequence[str]) -> Told:
    """What is logged of every request, wherever in a server it is answered.

    ``verdicts`` are the variables, with their dollar sign, that say who is let in.
    """
    told = [_of_scope(one, known, verdicts) for one in scopes]
    fields = tuple(one for one in LOG_FIELDS if all(one in each.fields for each in told))
    return Told(fields, any(each.query for each in told))


def _of_scope(scope: Scope, known: Formats, verdicts: Sequence[str]) -> Told:
    said = scope.every("access_log")
    # Conditions, and buffers that a crash loses, are not ours.
    if len(said) != 1 or len(said[0].words) != 2 or said[0].words[1] not in known:
        return Told()
    variables = {*_VARIABLE.findall(known[said[0].words[1]])}
    told = {word for word, needed in _WORDS.items() if variables.issuperset(needed)}
    if verdicts and variables.issuperset(one[1:] for one in verdicts):
        told.add("allowed")
    query = any(_TELLS_QUERY.fullmatch(one) for one in variables)
    return Told(tuple(told), query)


def files(block: Block) -> List[str]:
    """The files that requests are logged to, those of inner blocks included."""
    found: List[str] = []
    for one in block:
        if one.name == "access_log" and one.words and one.words[0] != "off":
            found.append(one.words[0])
        found += files(one.block)
    return found
