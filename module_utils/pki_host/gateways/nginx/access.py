# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: who is let in, worked out from maps and the condition that guards a location.

nginx has no directive for "this peer, issued by that CA". The template writes it as a map that
numbers the issuers, a map over the verdict, that number and the subject, and one ``if``; this
reads it back. Whatever is not of that form lets anybody in, as far as is known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from ..description import ANY
from .names import cn_of, exact_of, subject_of
from .text import Directive

_VERDICT, _ISSUER, _SUBJECT = "$ssl_client_verify", "$ssl_client_i_dn", "$ssl_client_s_dn"
_ADMITTED = "yes"
_CONDITION = re.compile(r"\( ?(\$[A-Za-z0-9_]+) != yes ?\)")
_SOURCE = re.compile(re.escape(_VERDICT) + r":(\$[A-Za-z0-9_]+):" + re.escape(_SUBJECT))
_PAIR = re.compile(r"~\^SUCCESS:([1-9][0-9]{0,5}):(.*)", re.DOTALL)
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
    """``if ($variable != yes) { return status; }``"""

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
    source = _SOURCE.fullmatch(outer.source) if outer else None
    issuers = maps.get(source.group(1)) if source else None
    if outer is None or outer.default == _ADMITTED:
        return Admission()
    if issuers is None or issuers.source != _ISSUER:
        return Admission()
    pairs: List[Tuple[str, str]] = []
    for key, value in outer.entries:
        pair = _PAIR.fullmatch(key)
        if value != _ADMITTED:
            continue
        # Names of a certificate that was not verified say nothing; nor does half an expression.
        if pair is None:
            return Admission()
        pairs.append((pair.group(1), _subject(pair.group(2))))
    return _admitted(pairs, issuers)


def _admitted(pairs: List[Tuple[str, str]], issuers: Map) -> Admission:
    named: Dict[str, List[str]] = {}
    for key, number in issuers.entries:
        named.setdefault(number, []).append(_issuer(key))
    if any(number == issuers.default for number, _ in pairs):
        named[issuers.default] = [ANY]
    everybody = [name for names in named.values() for name in names]
    peers: List[str] = []
    for subject in dict.fromkeys(subject for _, subject in pairs):
        mine = [name for number, one in pairs if one == subject for name in named.get(number, ())]
        all_of_them = {*mine} == {*everybody}
        peers += [subject] if all_of_them else [f"{subject} from {name}" for name in mine]
    return Admission(tuple(dict.fromkeys(peers)), tuple(dict.fromkeys(everybody)))


def _subject(rest: str) -> str:
    name = cn_of(rest)
    if name:
        return f"CN={name}"
    whole = subject_of(rest)
    return f"subject {whole}" if whole else f"pattern {rest}"


def _issuer(expression: str) -> str:
    return exact_of(expression) or f"pattern {expression}"
