# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: what a directive is worth where, and which directives the reader does not know.

A directive of an outer block holds inside unless the inner block has one of that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, Mapping, Optional, Sequence, Tuple

from ..description import UNBOUNDED
from .access import read_guard
from .text import Directive

Block = Sequence[Directive]


def _names(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


_TLS = _names(
    "ssl_protocols ssl_ciphers ssl_conf_command ssl_ecdh_curve ssl_prefer_server_ciphers"
    " ssl_session_tickets ssl_session_cache ssl_session_timeout ssl_early_data ssl_certificate"
    " ssl_certificate_key ssl_client_certificate ssl_crl ssl_verify_client ssl_verify_depth"
    " ssl_ocsp ssl_ocsp_cache resolver"
)
_PROXY = _names(
    "proxy_http_version proxy_set_header proxy_ssl_protocols proxy_ssl_ciphers"
    " proxy_ssl_conf_command proxy_ssl_session_reuse proxy_ssl_certificate"
    " proxy_ssl_certificate_key proxy_ssl_trusted_certificate proxy_ssl_crl proxy_ssl_verify"
    " proxy_ssl_verify_depth proxy_ssl_name proxy_ssl_server_name proxy_next_upstream"
    " proxy_connect_timeout proxy_send_timeout proxy_read_timeout"
)
_LIMITS = _names(
    "client_max_body_size client_header_buffer_size large_client_header_buffers"
    " client_header_timeout client_body_timeout send_timeout limit_req limit_req_status"
    " limit_conn limit_conn_status"
)
_KEEPALIVE = frozenset({"keepalive_timeout", "keepalive_time", "keepalive_requests"})
_REQUESTS = _PROXY | _LIMITS | {"error_page", "access_log", "default_type", "gzip"}
#: The directives that the reader knows, by the block they stand in.
_KNOWN: Mapping[str, FrozenSet[str]] = {
    "main": _names(
        "daemon user worker_processes worker_shutdown_timeout pid error_log events http"
    ),
    "events": frozenset({"worker_connections"}),
    "http": _names(
        "client_body_temp_path proxy_temp_path fastcgi_temp_path uwsgi_temp_path scgi_temp_path"
        " log_format server_tokens ignore_invalid_headers underscores_in_headers map upstream"
        " server limit_req_zone limit_conn_zone"
    )
    | _TLS | _REQUESTS | _KEEPALIVE,
    "upstream": frozenset({"server", "keepalive"}) | _KEEPALIVE,
    "server": frozenset({"listen", "server_name", "location"}) | _TLS | _REQUESTS | _KEEPALIVE,
    "location": frozenset({"if", "return", "proxy_pass", "include"}) | _REQUESTS,
}  # fmt: skip
# Known, but only when they say this.
_ONLY: Mapping[str, str] = {
    "ssl_ocsp": "leaf",
    "ignore_invalid_headers": "on",
    "underscores_in_headers": "off",
    # What nginx would repeat besides: requests that were answered, or that may change something.
    "proxy_next_upstream": "error",
    "limit_req_status": "429",
    "limit_conn_status": "429",
}
# What an include may be called: its directory is told, and compared with the one that is expected.
_SECRET_FILE = re.compile(r"/[^*?\[\]]*/api-key\.conf")
_REPEATED = _names(
    "ssl_conf_command proxy_ssl_conf_command proxy_set_header error_page map upstream server"
    " location listen if log_format access_log error_log limit_req_zone limit_conn_zone"
)
# Commands for the TLS library that are read; any other could undo the directives.
_COMMANDS: Mapping[str, FrozenSet[str]] = {
    "ssl_conf_command": frozenset({"Ciphersuites", "NumTickets"}),
    "proxy_ssl_conf_command": frozenset({"Ciphersuites", "Groups"}),
}
#: The one value of its kind: tickets of TLS 1.3 come from the library, whatever nginx is told.
NO_TICKETS = ("NumTickets", "0")
# What follows these says how TLS is spoken, or where something is: never what opens a door.
_TELLING = re.compile(
    r"(?:proxy_)?ssl_(?!.*(?:password|key_log)).*|include|listen|location|map"
    r"|ignore_invalid_headers|underscores_in_headers",
    re.IGNORECASE,
)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000,
            "y": 31536000}  # fmt: skip
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class Scope:
    """A block and the blocks around it, the innermost first."""

    blocks: Tuple[Block, ...]

    def inside(self, block: Block) -> Scope:
        """The scope of a block in this one."""
        return Scope((block, *self.blocks))

    def every(self, name: str) -> Tuple[Directive, ...]:
        """The directives of this name that hold here."""
        for block in self.blocks:
            found = tuple(one for one in block if one.name == name)
            if found:
                return found
        return ()

    def words(self, name: str) -> Tuple[str, ...]:
        """The words of the directive of this name; none when it is not said."""
        found = self.every(name)
        return found[-1].words if found else ()

    def text(self, name: str, default: str = "") -> str:
        """The first word of a directive."""
        words = self.words(name)
        return words[0] if words else default

    def flag(self, name: str, default: bool) -> bool:
        """An ``on`` or ``off``; nginx takes them in any case."""
        return self.text(name, "on" if default else "off").lower() == "on"

    def number(self, name: str, default: int) -> int:
        """A plain number; boundless when it is none."""
        text = self.text(name, str(default))
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else UNBOUNDED

    def seconds(self, name: str, default: int) -> int:
        """A time, in whole seconds and rounded up; boundless when it is none."""
        text = self.text(name)
        return default if not text else seconds(text)

    def command(self, name: str, key: str) -> str:
        """The value of a command that is handed to the TLS library."""
        said = [one.words for one in self.every(name) if one.words[:1] == (key,)]
        return said[-1][1] if said and len(said[-1]) == 2 else ""


def seconds(text: str) -> int:
    """nginx's ``1h30m``, ``60s`` or ``60`` in seconds; boundless for what is no time."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    if not re.fullmatch(r"(?:[0-9]{1,9}(?:ms|[smhdwMy]) ?)+", text):
        return UNBOUNDED
    parts = re.findall(r"([0-9]+)(ms|[smhdwMy])", text)
    total = sum(int(count) * _SECONDS[unit] for count, unit in parts)
    return int(-(-total // 1))


def size(text: str) -> int:
    """nginx's ``16m`` in bytes; 0 is its word for boundless, as is what is no size."""
    found = re.fullmatch(r"([0-9]{1,12})([kmg]?)", text.lower())
    return (int(found.group(1)) * _BYTES[found.group(2)] if found else 0) or UNBOUNDED


def unknown(kind: str, block: Block) -> Iterator[str]:
    """What a block holds that the reader does not know, the blocks inside included."""
    counted: Dict[str, int] = {}
    for one in block:
        problem = _problem(kind, one, counted)
        if problem:
            yield f"{problem} (line {one.line}, in {kind})"
        elif one.is_block and one.name in _KNOWN:
            yield from unknown(one.name, one.block)


def told(one: Directive) -> str:
    """A directive as reports may show it: with its words only where none can be a secret.

    Somebody may have written a key or a password into the configuration by hand. Reports go to
    pipelines and code hosts; whoever may read the file finds the rest at the line they name.
    """
    if not one.words or _TELLING.fullmatch(one.name):
        return str(one)
    return f"{one.name} …"


def _problem(kind: str, one: Directive, counted: Dict[str, int]) -> Optional[str]:
    if one.name not in _KNOWN[kind]:
        return told(one)
    # A server of an upstream is a line, one of http a block.
    if one.is_block != _has_block(kind, one.name) or not (one.words or one.is_block):
        return f"{told(one)} in an unknown form"
    if one.name == "if" and read_guard(one) is None:
        return told(one)
    if one.name == "include" and not _SECRET_FILE.fullmatch(" ".join(one.words)):
        return told(one)
    if one.name in _ONLY and one.words != (_ONLY[one.name],):
        return told(one)
    key = str(one.words[:1]) if one.name in _COMMANDS else ""
    if one.name in _COMMANDS and (one.words[0] not in _COMMANDS[one.name] or len(one.words) != 2):
        return told(one)
    if key and one.words != NO_TICKETS and one.words[0] == NO_TICKETS[0]:
        return told(one)
    counted[one.name + key] = counted.get(one.name + key, 0) + 1
    if counted[one.name + key] > 1 and (key or one.name not in _REPEATED):
        return f"{told(one)} a second time"
    return None


def _has_block(kind: str, name: str) -> bool:
    if name == "server":
        return kind == "http"
    return name in ("events", "http", "map", "upstream", "location", "if")
