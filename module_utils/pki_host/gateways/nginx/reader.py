# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: what a configuration means. Pure; text in, a :class:`~..description.Description` out.

Only what this reader knows is believed. A directive it does not know is listed as such, since it
may undo any other; so are includes, which are never followed.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Optional, Tuple

from ..description import DEFAULT, UNBOUNDED, Description, Listener, Route, Tls
from . import access, limits, logs
from . import scope as scopes
from .access import Admission, Guard, Map
from .limits import Zones
from .logs import Formats
from .scope import Block, Scope
from .text import Directive, parse

_VERIFICATION = {"on": "required", "optional": "optional", "optional_no_ca": "unchecked"}
_CHECKS = {
    "required": ("chain", "expiry"),
    "optional": ("chain", "expiry"),
    # A CA that is not known is overlooked, nothing else is.
    "unchecked": ("expiry",),
    "off": (),
}
# nginx's own codes for a certificate that fails, one that is missing, and http on a TLS port;
# told to nobody, who is shown this instead.
_CODES, _SHOWN = ("495", "496", "497"), 400
_LONGEST_TICKET = 604_800  # RFC 8446, 4.6.1: the far end may offer seven days
_SESSION, _BODY, _DEPTH = 300, 1 << 20, 1
_IDLE, _UPSTREAM_IDLE, _REQUESTS = 75, 60, 1000
_HEADER = re.compile(r"\$http_([a-z0-9_]+)")
# Variables with what a client sent, and headers that do not say who it is.
_CLIENTS = re.compile(r"\$\{?(?:http_|sent_|arg|cookie_|proxy_add_|request|query_string|is_args)")
_NOT_WHO = {"HOST", "CONNECTION"}
_ASKING = ("if", "map", "return", "set", "rewrite")
_TARGET = re.compile(r"(https?)://([^/$]+)")
_LIBRARY_KEYS = ("openssl_conf", "ssl_conf", "system_default")
# Unread ones whose value may be shown; that of an engine may be its PIN.
_LIBRARY_TELLS = ("MinProtocol", "MaxProtocol", "CipherString", "Options", "Curves")


def read(text: str, library: str = "", file: str = "nginx.conf") -> Description:
    """A configuration's meaning.

    Args:
        text: the configuration.
        library: the TLS library's own configuration, where that is in force, too.
        file: what the configuration is called in messages.

    Raises:
        HostError: GATEWAY-CONFIG for text that nginx would not load.
    """
    main = parse(text, file)
    settings, unread = _library(library)
    return _Reader(main, settings).description(unread)


def _library(text: str) -> Tuple[Dict[str, str], List[str]]:
    settings: Dict[str, str] = {}
    unread: List[str] = []
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        key, separator, value = (part.strip() for part in line.partition("="))
        if key in ("Ciphersuites", "Groups") and separator:
            settings[key] = value
        elif (key, value) == scopes.NO_TICKETS:
            continue
        elif line and key not in _LIBRARY_KEYS and not re.fullmatch(r"\[ ?[a-z]+ ?\]", line):
            hidden = f"{key} = …" if separator else "a line without a value"
            shown = line if key in _LIBRARY_TELLS else hidden
            unread.append(f"{shown} (TLS library)")
    return settings, unread


class _Reader:
    def __init__(self, main: Tuple[Directive, ...], library: Mapping[str, str]) -> None:
        self._main = Scope((main,))
        self._library = library
        blocks = [one.block for one in main if one.name == "http"]
        self._http = Scope((tuple(one for block in blocks for one in block),))
        self._maps: Dict[str, Map] = {}
        self._upstreams: Dict[str, Directive] = {}
        self._zones: Zones = limits.zones(self._http.blocks[0])
        self._formats: Formats = logs.formats(self._http.blocks[0])
        self._unknown = list(scopes.unknown("main", main))
        for one in self._http.blocks[0]:
            self._remember(one)

    def _remember(self, one: Directive) -> None:
        if one.name == "map" and len(one.words) == 2:
            known = access.read_map(one)
            if known is None or one.words[1] in self._maps:
                self._unknown.append(f"{scopes.told(one)} (line {one.line})")
            else:
                self._maps[one.words[1]] = known
        elif one.name == "upstream" and one.words:
            self._upstreams[one.words[0]] = one

    def description(self, unread: List[str]) -> Description:
        listeners = [
            listener
            for one in self._http.blocks[0]
            if one.name == "server"
            for listener in self._listeners(one)
        ]
        return Description(
            listeners=tuple(listeners),
            drain_seconds=self._main.seconds("worker_shutdown_timeout", UNBOUNDED),
            log_files=tuple(dict.fromkeys(logs.files(self._http.blocks[0]))),
            unknown=(*self._unknown, *unread),
        )

    # -- listeners -----------------------------------------------------------------------

    def _listeners(self, server: Directive) -> List[Listener]:
        scope = self._http.inside(server.block)
        listens = [one.words for one in server.block if one.name == "listen"] or [("*:80",)]
        return [self._listener(words, server, scope) for words in listens if words]

    def _listener(self, words: Tuple[str, ...], server: Directive, scope: Scope) -> Listener:
        address, port = _endpoint(words[0])
        for option in words[1:]:
            if option not in ("ssl", "default_server"):
                self._unknown.append(f"listen {words[0]} {option} (line {server.line})")
        routes, refusals = self._routes(server, scope)
        tls = self._served(scope) if "ssl" in words[1:] else Tls()
        if tls.verification != "off":
            refusals += [_answer(code, scope, _SHOWN) for code in _CODES]
        sources = [f"map {known.source}" for known in self._maps.values()]
        inner = _inner(server, scope)
        told = logs.of_scopes(inner, self._formats, _verdicts(server))
        return Listener(
            address=address,
            port=port,
            names=scope.words("server_name"),
            tls=tls,
            routes=tuple(routes),
            refused_with=tuple(sorted(set(refusals))),
            headers_asked=tuple(sorted(_headers([*sources, *_asking(server.block)]))),
            connection_seconds=_lifetime(scope, _IDLE),
            header_bytes=limits.header_bytes(scope),
            connections=limits.connections(inner, self._zones),
            log_fields=told.fields,
            log_query=told.query,
            compression=any(one.flag("gzip", False) for one in inner),
        )

    def _served(self, scope: Scope) -> Tls:
        verification = _VERIFICATION.get(scope.text("ssl_verify_client", "off").lower(), "off")
        ways = []
        if scope.flag("ssl_session_tickets", True):
            ways.append("tickets")
        if scope.text("ssl_session_cache", "none") not in ("off", "none"):
            ways.append("cache")
        crl = scope.text("ssl_crl")
        return Tls(
            enabled=True,
            protocols=scope.words("ssl_protocols") or (DEFAULT,),
            ciphers=_list(scope.text("ssl_ciphers")),
            ciphersuites=self._suites(scope, "ssl_conf_command"),
            groups=_list(scope.text("ssl_ecdh_curve")),
            own_order=scope.flag("ssl_prefer_server_ciphers", False),
            resumption=tuple(ways),
            session_seconds=scope.seconds("ssl_session_timeout", _SESSION) if ways else 0,
            early_data=scope.flag("ssl_early_data", False),
            verification=verification,
            checks=_checks(verification, crl),
            verify_depth=scope.number("ssl_verify_depth", _DEPTH),
            ca_file=scope.text("ssl_client_certificate"),
            crl_file=crl,
            certificate=scope.text("ssl_certificate"),
            key=scope.text("ssl_certificate_key"),
        )

    def _suites(self, scope: Scope, directive: str) -> Tuple[str, ...]:
        said = scope.command(directive, "Ciphersuites")
        return _list(said or self._library.get("Ciphersuites", ""))

    # -- routes --------------------------------------------------------------------------

    def _routes(self, server: Directive, scope: Scope) -> Tuple[List[Route], List[int]]:
        """What is served, and the statuses of what is refused."""
        routes: List[Route] = []
        refusals: List[int] = []
        locations = [one for one in server.block if one.name == "location"]
        for one in locations:
            inside = scope.inside(one.block)
            guard = _guard(one)
            if guard is not None:
                refusals.append(_answer(str(guard.status), inside, guard.status))
            if not _only_refuses(one):
                admitted = access.admission(guard, self._maps)
                routes.append(self._route(" ".join(one.words), inside, admitted))
        if not any(one.words == ("/",) for one in locations):
            # Files of the server itself, which nobody is kept from.
            routes.append(self._route("everything else", scope, Admission()))
        return routes, refusals

    def _route(self, match: str, scope: Scope, admitted: Admission) -> Route:
        passed = scope.text("proxy_pass")
        target = _TARGET.match(passed)
        upstream = self._upstreams.get(target.group(2)) if target else None
        inside = Scope((upstream.block,)) if upstream else Scope(((),))
        servers = [" ".join(one.words) for one in inside.every("server")]
        rest = passed[target.end() :] if target else passed
        authority = (", ".join(servers) or target.group(2)) if target else ""
        secure = target is not None and target.group(1) == "https"
        rate = limits.rate(scope, self._zones)
        return Route(
            match=match,
            peers=admitted.peers,
            issuers=admitted.issuers,
            upstream=authority + rest,
            tls=self._calling(scope, target.group(2)) if target and secure else Tls(),
            pooled_connections=inside.number("keepalive", 0) if _reuses(scope) else 0,
            connection_seconds=_lifetime(inside, _UPSTREAM_IDLE) if upstream else 0,
            body_bytes=scopes.size(scope.text("client_max_body_size", str(_BODY))),
            requests_per_second=rate.per_second,
            request_burst=rate.burst,
            identity_headers=_overwritten(scope),
            secret_file=scope.text("include"),
        )

    def _calling(self, scope: Scope, host: str) -> Tls:
        verification = "required" if scope.flag("proxy_ssl_verify", False) else "off"
        reused = scope.flag("proxy_ssl_session_reuse", True)
        groups = scope.command("proxy_ssl_conf_command", "Groups")
        crl = scope.text("proxy_ssl_crl")
        checks = _checks(verification, crl)
        return Tls(
            enabled=True,
            protocols=scope.words("proxy_ssl_protocols") or (DEFAULT,),
            ciphers=_list(scope.text("proxy_ssl_ciphers")),
            ciphersuites=self._suites(scope, "proxy_ssl_conf_command"),
            groups=_list(groups or self._library.get("Groups", "")),
            resumption=("reuse",) if reused else (),
            session_seconds=_LONGEST_TICKET if reused else 0,
            verification=verification,
            checks=(*checks, "name") if checks else (),
            verify_depth=scope.number("proxy_ssl_verify_depth", _DEPTH),
            ca_file=scope.text("proxy_ssl_trusted_certificate"),
            crl_file=crl,
            certificate=scope.text("proxy_ssl_certificate"),
            key=scope.text("proxy_ssl_certificate_key"),
            name=scope.text("proxy_ssl_name", host),
            name_sent=scope.flag("proxy_ssl_server_name", False),
        )


def _inner(server: Directive, scope: Scope) -> List[Scope]:
    """A server and its locations: what is said in one of these is not said in the others."""
    return [scope, *(scope.inside(one.block) for one in server.block if one.name == "location")]


def _endpoint(text: str) -> Tuple[str, int]:
    """Address and port of a ``listen``; port 0 for a socket file, and for what is no port."""
    if text.startswith("unix:"):
        return text, 0
    text = f"*:{text}" if text.isdecimal() else text
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", text)
    if found is None:
        return text, 0
    port = int(found.group(2) or 80)
    address = found.group(1).strip("[]")
    return "0.0.0.0" if address == "*" else address, port if port < 65536 else 0


def _list(text: str) -> Tuple[str, ...]:
    """Names of a list as OpenSSL separates them."""
    return tuple(word for word in re.split(r"[:, ]", text) if word) or (DEFAULT,)


def _checks(verification: str, crl: str) -> Tuple[str, ...]:
    made = _CHECKS[verification]
    return (*made, "revocation") if made and crl else made


def _lifetime(scope: Scope, idle: int) -> int:
    """How long a connection can live: idle time and requests, or a time of its own, bound it."""
    idle = scope.seconds("keepalive_timeout", idle)
    bound = min(idle * scope.number("keepalive_requests", _REQUESTS), UNBOUNDED)
    return min(bound, scope.seconds("keepalive_time", UNBOUNDED))


def _reuses(scope: Scope) -> bool:
    """Whether connections to an upstream are kept at all: they need HTTP/1.1 and no Connection."""
    headers = [one.words for one in scope.every("proxy_set_header")]
    cleared = any(len(w) == 2 and w[0].lower() == "connection" and not w[1] for w in headers)
    return cleared and scope.text("proxy_http_version") == "1.1"


def _overwritten(scope: Scope) -> Tuple[str, ...]:
    """Headers of which nothing that a client sent is passed on: they get another value, or none."""
    said = [one.words for one in scope.every("proxy_set_header") if len(one.words) == 2]
    return tuple(
        sorted({name.upper() for name, value in said if not _CLIENTS.search(value)} - _NOT_WHO)
    )


def _verdicts(server: Directive) -> List[str]:
    """The variables that say whether a peer is let in: those of the guards of a server."""
    found = [_guard(one) for one in server.block if one.name == "location"]
    return [one.variable for one in found if one is not None]


def _guard(location: Directive) -> Optional[Guard]:
    """What stands before everything a location does; None when nothing does for sure."""
    for one in location.block:
        if one.name in ("return", "set", "break", "rewrite"):
            return None
        if one.name == "if":
            return access.read_guard(one)
    return None


def _only_refuses(location: Directive) -> bool:
    """Whether nothing but an error comes out of a location."""
    for one in location.block:
        if one.name in ("if", "set", "break", "rewrite"):
            return False
        if one.name == "return":
            return bool(one.words) and re.fullmatch(r"[45][0-9]{2}", one.words[0]) is not None
    return False


def _answer(code: str, scope: Scope, otherwise: int) -> int:
    """The status that a client is shown for an error; 0 when a page decides."""
    for one in scope.every("error_page"):
        if code in one.words[:-1]:
            shown = re.search(r" =([0-9]{0,3}) ", f"{one} ")
            return int(shown.group(1) or 0) if shown else otherwise
    return otherwise


def _asking(block: Block) -> List[str]:
    """The directives of a server that look at a request."""
    found: List[str] = []
    for one in block:
        if one.name in _ASKING:
            found.append(str(one))
        found += _asking(one.block)
    return found


def _headers(texts: List[str]) -> List[str]:
    asked = {name for text in texts for name in _HEADER.findall(text)}
    return [name.upper().replace("_", "-") for name in asked]
