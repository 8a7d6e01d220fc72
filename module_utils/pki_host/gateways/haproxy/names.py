# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: values as words of a configuration file.

HAProxy prints a distinguished name in RFC 2253 style with OpenSSL's own function, escapes
included, so a name is compared as it is printed; only the quoting of the file is done here.
"""

from __future__ import annotations

import ipaddress
import re

from ...errors import HostError

# What stands for itself as a word without quotes, and inside the parentheses of an expression.
_PLAIN = re.compile(r"[A-Za-z0-9_./@+=:\[\]-]+")


def quote(text: str) -> str:
    """``text`` as one word in double quotes, where a backslash, ``"`` and ``$`` are special."""
    if any(not " " <= character <= "~" for character in text):
        raise _unfit(text, "a control or non-ASCII character", "printable ASCII")
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def token(text: str) -> str:
    """``text`` as a word that needs no quotes; HostError when it would."""
    if not _PLAIN.fullmatch(text):
        raise _unfit(text, "a character with a meaning of its own", "letters, digits, _./@+=:-")
    return text


def expression(text: str) -> str:
    """``text`` as an argument in parentheses, where quotes do not help everywhere."""
    if "[" in text or "]" in text:
        raise _unfit(text, "a bracket", "letters, digits, _./@+=:-")
    return token(text)


def resolution(authority: str) -> str:
    """What a ``server`` line needs besides its address: words for a name, nothing for a number.

    A name that nobody can resolve at boot must not keep the other listeners from starting.
    """
    host = authority.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "init-addr last,libc,none resolvers system"
    return ""


def _unfit(text: str, found: str, expected: str) -> HostError:
    return HostError(
        "a value cannot be written into the gateway's configuration",
        rule="GATEWAY-TEXT",
        found=f"{found} in {text!a}",
        expected=expected,
        where="the gateway model",
        next_step="correct the value in the inventory",
    )
