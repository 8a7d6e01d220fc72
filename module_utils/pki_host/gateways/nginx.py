# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx (1.19.5 or later): command lines, process titles, and the grammar of names.

nginx shows a template only one text about a peer: its subject as OpenSSL prints it in
RFC 2253 style. A search for ``CN=good`` in that text can be fooled by a comma inside
another attribute, by a second CN or by a multi-valued RDN; so the expressions built here
match the whole text against the whole grammar or not at all.
"""

from __future__ import annotations

import re
import signal

from ..errors import HostError
from . import base

# One attribute as OpenSSL prints it with XN_FLAG_RFC2253: special characters, controls
# and every byte above ASCII are escaped, so an unescaped one of them means "not a value".
# An unescaped "+" (multi-valued RDN) therefore never matches. The type "CN" is excluded
# here and added once by peer(); OpenSSL prints the common name under no other type.
_TYPE = r"(?!CN=)[A-Za-z0-9][A-Za-z0-9.-]*"
_VALUE = r"(?:[^,+\"<>;\\\x00-\x1f\x7f-\xff]|\\[,+\"<>;\\ #]|\\[0-9A-F][0-9A-F])*"
_OTHER = f"{_TYPE}={_VALUE}"
# "$" alone would also match before a final line feed.
_END = r"(?![\s\S])"


def peer(common_name: str) -> str:
    """Expression for a whole subject with exactly one CN, which is ``common_name``."""
    value = _literal(escape_value(common_name))
    return f"~^(?:{_OTHER},)*CN={value}(?:,{_OTHER})*{_END}"


def exact(name: str) -> str:
    """Expression for exactly this text. nginx compares plain map keys without case."""
    _printable(name)
    return f"~^{_literal(name)}{_END}"


def escape_value(value: str) -> str:
    """An attribute value as OpenSSL prints it in RFC 2253 style."""
    escaped = []
    for index, character in enumerate(value):
        code = ord(character)
        if code > 0x7E or code < 0x20:
            escaped.append("".join(f"\\{byte:02X}" for byte in character.encode()))
        elif (
            character in ',+"<>;\\'
            or (character in " #" and index == 0)
            or (character == " " and index == len(value) - 1)
        ):
            escaped.append("\\" + character)
        else:
            escaped.append(character)
    return "".join(escaped)


def quote(text: str) -> str:
    """``text`` as one double-quoted token of a configuration file.

    nginx takes a backslash away before a quote or another backslash and turns \\t, \\r
    and \\n into control characters; doubling every backslash keeps the text as it is. A
    dollar sign cannot be escaped, hence :func:`literal` for places that know variables.
    """
    _printable(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(text: str) -> str:
    """Like :func:`quote`, for directives in which ``$`` would begin a variable."""
    if "$" in text:
        raise _unfit(text, "a dollar sign, which nginx would read as a variable")
    return quote(text)


def _literal(text: str) -> str:
    # re.escape() is Python's; a backslash before any ASCII punctuation is literal in both
    # PCRE and Python, before a letter or digit it would not be.
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", text)


def _printable(text: str) -> None:
    if any(ord(character) < 0x20 or ord(character) > 0x7E for character in text):
        raise _unfit(text, "a control or non-ASCII character")


def _unfit(text: str, found: str) -> HostError:
    return HostError(
        "a value cannot be written into the gateway's configuration",
        rule="GATEWAY-TEXT",
        found=f"{found} in {text!a}",
        expected="printable ASCII",
        where="the gateway model",
        next_step="correct the value in the inventory",
    )


class Adapter(base.Adapter):
    """nginx with everything below ``root``, started as a daemon without privilege."""

    product = "nginx"
    config_file = "nginx.conf"
    directories = ("trust", "log", "run")
    reload_signal = signal.SIGHUP
    stop_signal = signal.SIGQUIT
    text = {"peer": peer, "exact": exact, "quote": quote, "literal": literal}  # noqa: RUF012

    def test_command(self, program: str, root: str) -> list[str]:
        return [*self.start_command(program, root), "-t", "-q"]

    def start_command(self, program: str, root: str) -> list[str]:
        # -e: without it the log compiled in is opened before the configuration is read.
        config = f"{root}/{self.config_file}"
        return [program, "-p", root, "-e", self.error_log(root), "-c", config]

    def pid_file(self, root: str) -> str:
        return f"{root}/run/nginx.pid"

    def error_log(self, root: str) -> str:
        return f"{root}/log/error.log"

    def is_master(self, title: str, root: str) -> bool:
        return title.startswith("nginx: master process ") and f" -p {root} " in f"{title} "

    def is_worker(self, title: str) -> bool:
        return title.startswith("nginx: worker process")

    def is_retiring(self, title: str) -> bool:
        return title.startswith("nginx: worker process is shutting down")

    def reload_failures(self, log: str) -> list[str]:
        return [line for line in log.splitlines() if " [emerg] " in line]
