# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: what a configuration means. Pure; text in, a :class:`~..description.Description` out.

Only what this reader knows is believed. A line that it does not know is listed as such, since it
may undo any other.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ..description import ANY_DEPTH, DEFAULT, UNBOUNDED, Description, Listener, Route, Tls
from . import access, forms, limits, logs
from .access import Admission
from .forms import Options
from .text import Line, Section, parse

_VERSIONS = ("SSLv3", *(f"TLSv1.{minor}" for minor in range(4)))
_SESSION = "300"  # seconds, what tune.ssl.lifetime is when it is not said
_LONGEST_TICKET = 604_800  # RFC 8446, 4.6.1: the far end may offer seven days
_BUFFER, _REWRITE = 1 << 14, 1 << 10
# Beside the chain in a release, the key is found under its name with ".key" at the end; there that
# is a link to the key.
_CHAIN, _KEY = "fullchain.pem", "key.pem"
# What who starts it appends its standard output to, below the gateway's root.
_STANDARD_OUTPUT = "log/access.log"
# What a header is set to where the gateway itself knows it.
_IDENTITIES: Mapping[str, str] = {
    "X-Client-Verify".upper(): "%[var(txn.verify)]",
    "X-Client-DN".upper(): "%[ssl_c_s_dn(,0,rfc2253)]",
    "X-Client-Issuer-DN".upper(): "%[ssl_c_i_dn(,0,rfc2253)]",
    "X-Client-Serial".upper(): "%[ssl_c_serial,hex]",
    "X-Forwarded-For".upper(): "%[src]",
    "X-Forwarded-Proto".upper(): "https",
}
# Others that applications believe; what begins a header's name takes all of them away.
_OTHERS = "Forwarded X-Forwarded-Client-Cert X-Forwarded-Host X-Forwarded-Port X-Real-IP"
_BELIEVED = (*_IDENTITIES, *_OTHERS.upper().split())
_HEADER = re.compile(r"\b(?:req\.f?)?hdr(?:_[a-z]+)?\(([A-Za-z0-9_-]+)")
_SECRET = re.compile(r"%\[str\(key\),map\(([^(),]+)\)\]")
_NAMED = re.compile(r"str\(([^(),]+)\)")
_READ = ("Groups", "NumTickets")
_LIBRARY_KEYS = ("openssl_conf", "ssl_conf", "system_default")


def read(text: str, library: str = "", file: str = "haproxy.cfg") -> Description:
    """A configuration's meaning.

    Args:
        text: the configuration.
        library: the TLS library's own configuration, where that is in force, too.
        file: what the configuration is called in messages.

    Raises:
        HostError: GATEWAY-CONFIG for text that HAProxy would not load.
    """
    settings, unread = _library(library)
    return _Reader(parse(text, file), settings).description(unread)


def _library(text: str) -> Tuple[Dict[str, str], List[str]]:
    settings: Dict[str, str] = {}
    unread: List[str] = []
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        key, separator, value = (part.strip() for part in line.partition("="))
        if key in _READ and separator:
            settings[key] = value
        elif line and key not in _LIBRARY_KEYS and not re.fullmatch(r"\[ ?[a-z]+ ?\]", line):
            unread.append(f"{key[:40]} = … (TLS library)" if separator else "a line (TLS library)")
    return settings, unread


class _Reader:
    def __init__(self, sections: Sequence[Section], library: Mapping[str, str]) -> None:
        self._sections = sections
        self._library = library
        self._unknown = [one for section in sections for one in forms.unknown(section)]
        self._global = _lines(sections, "global")
        self._defaults = _lines(sections, "defaults")
        for kind in ("global", "defaults"):
            if sum(one.kind == kind for one in sections) > 1:
                self._unknown.append(f"{kind} a second time")
        self._backends: Dict[str, Section] = {}
        for one in sections:
            if one.kind == "backend" and one.name in self._backends:
                self._unknown.append(f"backend {one.name} a second time")
            elif one.kind == "backend":
                self._backends[one.name] = one

    def description(self, unread: List[str]) -> Description:
        listeners = [
            self._listener(section, line)
            for section in self._sections
            if section.kind == "frontend"
            for line in section.lines
            if line.words[0] == "bind" and len(line.words) > 1
        ]
        logged = [
            _STANDARD_OUTPUT if line.words[1:2] == ("stdout",) else " ".join(line.words[1:2])
            for line in self._global
            if line.words[0] == "log"
        ]
        return Description(
            listeners=tuple(listeners),
            drain_seconds=limits.seconds(self._text("hard-stop-after") or "never"),
            log_files=tuple(logged) if self._is_logged() else (),
            unknown=(*self._unknown, *unread),
        )

    def _text(self, name: str) -> str:
        """The value of a global setting; empty when it is not said."""
        said = [" ".join(one.words[1:]) for one in self._global if one.words[0] == name]
        return said[-1] if said else ""

    def _is_logged(self) -> bool:
        return bool(self._text("log")) and _says(self._defaults, "log global")

    # -- listeners -----------------------------------------------------------------------

    def _listener(self, section: Section, line: Line) -> Listener:
        options = forms.options("bind", line.words[2:])
        address, port = _endpoint(line.words[1])
        admitted = access.admission(section.lines)
        tls = self._served(options, admitted) if "ssl" in options.flags else Tls()
        told = logs.of_frontend(section.lines, logged=self._is_logged())
        conditions = [str(one) for one in section.lines if one.words[0] in ("acl", "http-request")]
        return Listener(
            address=address,
            port=port,
            names=_names(section),
            tls=tls,
            routes=(self._route(section, admitted),),
            refused_with=(admitted.status,) if admitted.status else (),
            headers_asked=tuple(sorted({*map(str.upper, _HEADER.findall(" ".join(conditions)))})),
            connection_seconds=limits.connection_seconds(section.lines),
            header_bytes=min(limits.header_bytes(section.lines), self._buffered()),
            connections=_number(section.lines, "maxconn"),
            log_fields=told.fields,
            log_query=told.query,
            compression=any(
                one.words[0] in ("compression", "filter")
                for kind in self._sections
                for one in kind.lines
            ),
        )

    def _buffered(self) -> int:
        size = limits.number(self._text("tune.bufsize") or str(_BUFFER))
        rewriting = limits.number(self._text("tune.maxrewrite") or str(_REWRITE))
        return size - min(rewriting, size // 2)

    def _served(self, options: Options, admitted: Admission) -> Tls:
        flags = self._flags("bind") | options.flags
        # The first is for TLS 1.2, the second for TLS 1.3.
        none = "no-tls-tickets" in flags and self._library.get("NumTickets") == "0"
        ways = [] if none else ["tickets"]
        if self._text("tune.ssl.cachesize") != "0":
            ways.append("cache")
        verification = _verification(options, admitted)
        checks = ("chain", "expiry") if verification in ("required", "optional") else ()
        crl = options.text("crl-file")
        life = limits.seconds(self._text("tune.ssl.lifetime") or _SESSION, "s")
        tls = Tls(
            enabled=True,
            own_order="prefer-client-ciphers" not in flags,
            resumption=tuple(ways),
            session_seconds=life if ways else 0,
            early_data="allow-0rtt" in flags,
            verification=verification,
            checks=(*checks, "revocation") if checks and crl else checks,
            verify_depth=ANY_DEPTH if checks else 0,
            ca_file=options.text("ca-file"),
            crl_file=crl,
            certificate=options.text("crt"),
            key=_key(options.text("crt")),
        )
        return self._spoken(tls, "bind", options)

    def _spoken(self, tls: Tls, side: str, options: Options) -> Tls:
        """With versions, ciphers and groups of one side, by a line's own words or the defaults."""
        default = f"ssl-default-{side}-"
        library = self._library.get("Groups", "")
        suites = options.text("ciphersuites") or self._text(f"{default}ciphersuites")
        return replace(
            tls,
            protocols=_protocols(self._valued(side), options),
            ciphers=_list(options.text("ciphers") or self._text(f"{default}ciphers")),
            ciphersuites=_list(suites),
            groups=_list(options.text("curves") or self._text(f"{default}curves") or library),
        )

    def _valued(self, side: str) -> Dict[str, str]:
        words = self._text(f"ssl-default-{side}-options").split()
        return {
            one: words[at + 1]
            for at, one in enumerate(words[:-1])
            if one in ("ssl-min-ver", "ssl-max-ver")
        }

    def _flags(self, side: str) -> FrozenSet[str]:
        return frozenset(self._text(f"ssl-default-{side}-options").split())

    # -- routes --------------------------------------------------------------------------

    def _route(self, section: Section, admitted: Admission) -> Route:
        names = [one.words[1] for one in section.lines if one.words[0] == "default_backend"]
        backend = self._backends.get(names[-1]) if names else None
        lines = backend.lines if backend else ()
        servers = [one.words for one in lines if one.words[0] == "server" and len(one.words) > 2]
        options = forms.options("server", servers[-1][3:]) if servers else None
        rate = limits.rate(section.lines)
        how = [one.words[1] for one in lines if one.words[0] == "http-reuse"]
        pooled = limits.number((options.text("pool-max-conn") if options else "") or "none")
        tls = self._calling(options) if options and "ssl" in options.flags else Tls()
        return Route(
            match=f"default_backend {names[-1]}" if names else "everything",
            peers=admitted.peers,
            issuers=admitted.issuers,
            upstream=", ".join(one[2] for one in servers),
            tls=tls,
            pooled_connections=0 if how == ["never"] else pooled,
            connection_seconds=limits.upstream_seconds(lines),
            body_bytes=limits.body_bytes(section.lines),
            requests_per_second=rate.per_second,
            request_burst=rate.burst,
            identity_headers=self._overwritten(section, lines),
            secret_file=_secret(lines),
        )

    def _overwritten(self, section: Section, backend: Sequence[Line]) -> Tuple[str, ...]:
        """The headers of which nothing is left that a client sent."""
        known = dict(_IDENTITIES)
        if not access.tells_verdict(section.lines):
            del known["X-Client-Verify".upper()]
        # Another spelling with the same meaning to an application goes with its own rule.
        if not _says(self._defaults, "option http-restrict-req-hdr-names delete"):
            return ()
        gone: Dict[str, bool] = {}
        for line in (*section.lines, *backend):
            words = line.words
            if words[:2] == ("http-request", "del-header") and len(words) > 2:
                begins = words[3:] == ("-m", "beg")
                name = words[2].upper()
                gone.update(
                    {
                        one: True
                        for one in _BELIEVED
                        if one == name or (begins and one.startswith(name))
                    }
                )
            elif words[:2] == ("http-request", "set-header") and len(words) > 3:
                name = words[2].upper()
                gone[name] = len(words) == 4 and known.get(name) == words[3]
        return tuple(sorted(one for one in _BELIEVED if gone.get(one)))

    def _calling(self, options: Options) -> Tls:
        flags = self._flags("server") | options.flags
        required = options.text("verify") in ("", "required")
        reused = "no-ssl-reuse" not in flags
        crl = options.text("crl-file")
        sent = _NAMED.fullmatch(options.text("sni"))
        name = options.text("verifyhost") or (sent.group(1) if sent else "")
        checks = ["chain", "expiry"] if required else []
        checks += ["revocation"] if checks and crl else []
        checks += ["name"] if checks and name else []
        tls = Tls(
            enabled=True,
            resumption=("reuse",) if reused else (),
            session_seconds=_LONGEST_TICKET if reused else 0,
            early_data="allow-0rtt" in flags,
            verification="required" if required else "off",
            checks=tuple(checks),
            verify_depth=ANY_DEPTH if checks else 0,
            ca_file=options.text("ca-file"),
            crl_file=crl,
            certificate=options.text("crt"),
            key=_key(options.text("crt")),
            name=name,
            name_sent=sent is not None and sent.group(1) == name,
        )
        return self._spoken(tls, "server", options)


def _lines(sections: Sequence[Section], kind: str) -> Tuple[Line, ...]:
    return tuple(line for one in sections if one.kind == kind for line in one.lines)


def _says(lines: Sequence[Line], text: str) -> bool:
    return any(str(line) == text for line in lines)


def _number(lines: Sequence[Line], name: str) -> int:
    said = [one.words[1] for one in lines if one.words[0] == name and len(one.words) == 2]
    return limits.number(said[-1]) if said else UNBOUNDED


def _names(section: Section) -> Tuple[str, ...]:
    """The name that stands in for a host that a request does not name."""
    begin = ("http-request", "set-header", "Host")
    said = [one.words[3] for one in section.lines if one.words[:3] == begin and len(one.words) > 4]
    return tuple(said)


def _secret(lines: Sequence[Line]) -> str:
    """The file with a header's value; none where several are taken."""
    values = [found for line in lines for found in [_SECRET.fullmatch(line.words[-1])] if found]
    return ", ".join(one.group(1) for one in values)


def _verification(options: Options, admitted: Admission) -> str:
    """How a client's certificate is looked at: in the handshake, or by who is let in."""
    asked = options.text("verify") or "none"
    if asked == "required" and not _ignored(options):
        return "required"
    if asked == "none" or not options.text("ca-file"):
        return "off"
    if admitted.status and admitted.verified:
        return "required"
    return "unchecked" if _ignored(options) else "optional"


def _ignored(options: Options) -> bool:
    return bool(options.text("crt-ignore-err") or options.text("ca-ignore-err"))


def _key(chain: str) -> str:
    if chain.endswith(f"/{_CHAIN}"):
        return chain[: -len(_CHAIN)] + _KEY
    return f"{chain}.key" if chain else ""


def _protocols(defaults: Mapping[str, str], options: Options) -> Tuple[str, ...]:
    least = options.text("ssl-min-ver") or defaults.get("ssl-min-ver", "")
    most = options.text("ssl-max-ver") or defaults.get("ssl-max-ver", _VERSIONS[-1])
    if least not in _VERSIONS or most not in _VERSIONS:
        return (DEFAULT,)
    return _VERSIONS[_VERSIONS.index(least) : _VERSIONS.index(most) + 1]


def _list(text: str) -> Tuple[str, ...]:
    """Names of a list as OpenSSL separates them."""
    return tuple(word for word in re.split(r"[:, ]", text) if word) or (DEFAULT,)


def _endpoint(text: str) -> Tuple[str, int]:
    """Address and port of a ``bind``; port 0 for a socket file, and for what is no port."""
    host, _, port = text.rpartition(":")
    address = host.strip("[]") or "0.0.0.0"
    number: Optional[int] = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else None
    if number is None or number > 65535 or "/" in text or "," in text:
        return text, 0
    return "0.0.0.0" if address == "*" else address, number
