# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: which lines the reader knows, by the section they stand in.

A form is written as the line is: ``<name>`` stands for one word, ``...`` for the words that are
left. What no form fits may undo everything else, and is reported as unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from .text import Line, Section

_TLS = """
ssl-default-{side}-options ...
ssl-default-{side}-ciphers <ciphers>
ssl-default-{side}-ciphersuites <ciphersuites>
ssl-default-{side}-curves <groups>
"""
_GLOBAL = f"""
user <name>
group <name>
log <target> len <size> format raw daemon
noreuseport
maxconn <number>
hard-stop-after <time>
tune.bufsize <size>
tune.maxrewrite <size>
tune.ssl.cachesize <number>
tune.ssl.lifetime <time>
set-var proc.since date
{_TLS.format(side="bind")}
{_TLS.format(side="server")}
"""
_DEFAULTS = """
mode http
log global
timeout <what> <time>
option http-restrict-req-hdr-names <what>
retries <number>
error-log-format <text>
"""
_RESOLVERS = """
parse-resolv-conf
hold <what> <time>
"""
_FRONTEND = """
bind ...
maxconn <number>
stick-table type ipv6 size <size> expire <time> store <what>
log-format <text>
tcp-request connection set-var(sess.since) date
acl <name> ...
http-request ...
http-response set-var(txn.upstream_status) status
http-after-response set-header Connection close if { <expression> ge <number> }
default_backend <name>
"""
_BACKEND = """
http-request ...
retry-on ...
http-reuse <how>
server <name> <address> ...
"""
_RULES = """
set-var(txn.path) path
set-var(txn.verify) <value> ...
set-var-fmt(txn.verify) <value> ...
set-var(txn.allowed) <value> ...
track-sc0 src
deny deny_status <status> ...
return status <status> if { <expression> gt <number> }
return status <status> if { <expression> -m found }
del-header <name>
del-header <name> -m beg
set-header <name> <value>
set-header Host <value> unless { req.hdr(host) -m found }
"""
_BACKEND_RULES = """
set-header <name> <value>
set-header Connection close if { <expression> ge <number> }
disable-l7-retry unless { method GET HEAD OPTIONS }
"""
_OPTIONS = {
    "bind": (
        "ssl v6only no-tls-tickets prefer-client-ciphers allow-0rtt strict-sni",
        "crt ca-file crl-file verify crt-ignore-err ca-ignore-err alpn"
        " ssl-min-ver ssl-max-ver ciphers ciphersuites curves",
    ),
    "server": (
        "ssl no-ssl-reuse no-tls-tickets allow-0rtt",
        "crt ca-file crl-file verify sni verifyhost alpn pool-max-conn pool-purge-delay"
        " init-addr resolvers ssl-min-ver ssl-max-ver ciphers ciphersuites curves",
    ),
}
# After these the second word says what is done, and no secret.
_VERBS = re.compile(r"(?:http|tcp)-.*|option|no|timeout|stats|log|tune\..*")

Form = Tuple[str, ...]


def _forms(text: str) -> Tuple[Form, ...]:
    return tuple(tuple(line.split()) for line in text.splitlines() if line)


_KNOWN: Mapping[str, Tuple[Form, ...]] = {
    "global": _forms(_GLOBAL),
    "defaults": _forms(_DEFAULTS),
    "resolvers": _forms(_RESOLVERS),
    "frontend": _forms(_FRONTEND),
    "backend": _forms(_BACKEND),
}
_REQUESTS = {"frontend": _forms(_RULES), "backend": _forms(_BACKEND_RULES)}
_REPEATED = frozenset({"acl", "http-request", "timeout", "hold", "bind"})


@dataclass(frozen=True)
class Options:
    """The words of a ``bind`` or ``server`` line behind its address."""

    flags: FrozenSet[str]
    values: Mapping[str, str]
    unknown: Tuple[str, ...]

    def text(self, name: str) -> str:
        """An option's value; empty when it is not said."""
        return self.values.get(name, "")


def options(keyword: str, words: Sequence[str]) -> Options:
    """The options of a line; one that is not known, or said twice, is listed as such."""
    known_flags, known_values = (one.split() for one in _OPTIONS[keyword])
    flags: List[str] = []
    values: Dict[str, str] = {}
    unknown: List[str] = []
    left = list(words)
    while left:
        name = left.pop(0)
        if name in flags or name in values:
            unknown.append(f"{name} a second time")
        if name in known_flags:
            flags.append(name)
        elif name in known_values and left:
            values[name] = left.pop(0)
        else:
            unknown.append(name)
    return Options(frozenset(flags), values, tuple(unknown))


def fits(words: Sequence[str], form: Form) -> bool:
    """Whether a line is of a form."""
    if form[-1:] == ("...",):
        form, words = form[:-1], words[: len(form) - 1]
    return len(words) == len(form) and all(
        wanted == word or (wanted[0] == "<" and wanted[-1] == ">" and len(wanted) > 2)
        for word, wanted in zip(words, form)  # noqa: B905, Python 3.9 has no strict
    )


def unknown(section: Section) -> Iterator[str]:
    """What a section holds that the reader does not know."""
    if section.kind not in _KNOWN:
        yield f"{section.kind} {section.name} (line {section.line.number})"
        return
    if " from " in f" {section.name} ":
        yield f"{section.kind} {section.name} (line {section.line.number})"
    said: Dict[str, int] = {}
    for line in section.lines:
        problem = _problem(section.kind, line, said)
        if problem:
            yield f"{problem} (line {line.number}, in {section.kind} {section.name}".rstrip() + ")"


def _problem(kind: str, line: Line, said: Dict[str, int]) -> Optional[str]:
    if line.expands:
        return f"{told(line)} with a variable of the environment"
    if not any(fits(line.words, form) for form in _KNOWN[kind]):
        return told(line)
    first = line.words[0]
    if first == "http-request" and not any(fits(line.words[1:], one) for one in _REQUESTS[kind]):
        return told(line)
    key = " ".join(line.words[:2]) if first in ("timeout", "hold") else first
    said[key] = said.get(key, 0) + 1
    if said[key] > 1 and (key != first or first not in _REPEATED):
        return f"{told(line)} a second time"
    if first in _OPTIONS:
        words = line.words[2 if first == "bind" else 3 :]
        strange = options(first, words).unknown
        if strange:
            return f"{first} with {', '.join(strange)}"
    return None


def told(line: Line) -> str:
    """A line as reports may show it: without the words that could be a secret.

    Somebody may have written a key or a password into the configuration by hand. Reports go to
    pipelines and code hosts; whoever may read the file finds the rest at the line they name.
    """
    shown = line.words[:1]
    if _VERBS.fullmatch(line.words[0]) and len(line.words) > 1:
        shown = (*shown, line.words[1].partition("(")[0])
    return " ".join(shown) + (" …" if len(line.words) > len(shown) else "")
