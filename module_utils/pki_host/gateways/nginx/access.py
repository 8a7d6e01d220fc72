# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: who is let in, worked out from maps and the condition that guards a location.

nginx has no directive for "this peer, issued by that CA". The template writes it as maps over
the verified names and one ``if``; this reads it back. Whatever is not of that form lets anybody
in, as far as is known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from ..description import ANY
from .names import exact_of, peer_of
from .text import Directive

_VERDICT, _ISSUER, _SUBJECT = "$ssl_client_verify", "$ssl_client_i_dn", "$ssl_client_s_dn"
_VERIFIED = "SUCCESS"
_DENIED = "0"
_CONDITION = re.compile(r"\( ?(\$[A-Za-z0-9_]+) = 0 ?\)")
_REFUSAL = re.compile(r"[45][0-9]{2}")
# What a map may hold besides entries, and we never write.
_PARAMETERS = ("include", "hostnames", "volatile")


@dataclass(frozen=True)
class Map:
    """A ``map`` block: what it looks at, and the value of each entry in order."""

    source: str
    default: str
    entries: Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class Admission:
    """Who passes a guard, in the words of :class:`~..description.Route`."""

    peers: Tuple[str, ...] = (ANY,)
    issuers: Tuple[str, ...] = (ANY,)


@dataclass(frozen=True)
class Guard:
    """``if ($variable = 0) { return status; }``"""

    variable: str
    status: int


def read_map(directive: Directive) -> Optional[Map]:
    """A map of the form we write; None for one with parameters that change its meaning."""
    default = ""
    entries: List[Tuple[str, str]] = []
    for entry in directive.block:
        if entry.is_block or len(entry.words) != 1 or entry.name in _PARAMETERS:
            return None
        if entry.name == "default":
            default = entry.words[0]
        else:
            entries.append((entry.name, entry.words[0]))
    return Map(directive.words[0], default, tuple(entries))


def read_guard(directive: Directive) -> Optional[Guard]:
    """A condition of the form we write; None for any other."""
    if directive.name != "if" or len(directive.block) != 1:
        return None
    condition = _CONDITION.fullmatch(" ".join(directive.words))
    action = directive.block[0]
    if condition is None or action.name != "return" or not action.words:
        return None
    if not _REFUSAL.fullmatch(action.words[0]):
        return None
    return Guard(condition.group(1), int(action.words[0]))


def admission(guard: Optional[Guard], maps: Mapping[str, Map]) -> Admission:
    """Who passes a guard; anybody passes where there is none."""
    outer = maps.get(guard.variable) if guard else None
    if outer is None or outer.default != _DENIED:
        return Admission()
    variables = outer.source.split(":")
    peers: List[str] = []
    issuers: List[str] = []
    for key, value in outer.entries:
        if value == _DENIED:
            continue
        values = key.split(":")
        if key.startswith("~") or len(values) != len(variables):
            return Admission()
        wanted = dict(zip(variables, values))  # noqa: B905, Python 3.9 has no strict
        # Names of a certificate that was not verified say nothing.
        if wanted.get(_VERDICT, "").upper() != _VERIFIED:
            return Admission()
        peers += _names(wanted, maps, _SUBJECT, _peer)
        issuers += _names(wanted, maps, _ISSUER, _issuer)
    return Admission(tuple(dict.fromkeys(peers)), tuple(dict.fromkeys(issuers)))


def _names(
    wanted: Dict[str, str], maps: Mapping[str, Map], source: str, read: Callable[[str], str]
) -> List[str]:
    """The names that one part of a guard lets through."""
    for variable, value in wanted.items():
        inner = maps.get(variable)
        if inner is None or inner.source != source:
            continue
        if inner.default == value:
            return [ANY]
        return [read(key) for key, given in inner.entries if given == value]
    return [ANY]


def _peer(expression: str) -> str:
    name = peer_of(expression)
    return f"CN={name}" if name else f"pattern {expression}"


def _issuer(expression: str) -> str:
    return exact_of(expression) or f"pattern {expression}"
