# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: the grammar of names and of the words of a configuration file.

nginx shows a template only one text about a peer: its subject as OpenSSL prints it in
RFC 2253 style. A search for ``CN=good`` in that text can be fooled by a comma inside
another attribute, by a second CN or by a multi-valued RDN; so the expressions built here
match the whole text against the whole grammar or not at all.
"""

from __future__ import annotations

import re

from ...errors import HostError

# One attribute as OpenSSL prints it with XN_FLAG_RFC2253: special characters, controls
# and every byte above ASCII are escaped, so an unescaped one of them means "not a value".
# An unescaped "+" (multi-valued RDN) therefore never matches. The type "CN" is excluded
# here and added once by cn(); OpenSSL prints the common name under no other type.
_TYPE = r"(?!CN=)[A-Za-z0-9][A-Za-z0-9.-]*"
_VALUE = r"(?:[^,+\"<>;\\\x00-\x1f\x7f-\xff]|\\[,+\"<>;\\ #]|\\[0-9A-F][0-9A-F])*"
_OTHER = f"{_TYPE}={_VALUE}"
# "$" alone would also match before a final line feed.
_END = r"(?![\s\S])"
_LITERAL = re.compile(r"\\([^A-Za-z0-9_])")
_PRINTED = re.compile(rb"\\([0-9A-F]{2})|\\(.)|(.)", re.DOTALL)
_CN_BEGINS = f"(?:{_OTHER},)*CN="
_CN_ENDS = f"(?:,{_OTHER})*{_END}"
# nginx compares plain map keys without case; this begins an expression, which it does not.
_BEGIN = "~^"


def cn(common_name: str) -> str:
    """The rest of an expression: a whole subject with exactly one CN, which is this one."""
    return f"{_CN_BEGINS}{_literal(escape_value(common_name))}{_CN_ENDS}"


def cn_of(rest: str) -> str:
    """The common name that :func:`cn` made this of; empty when it did not."""
    name = _unescaped_value(_LITERAL.sub(r"\1", _between(rest, _CN_BEGINS, _CN_ENDS)))
    return name if name and cn(name) == rest else ""


def subject(name: str) -> str:
    """The rest of an expression: exactly this subject, as nginx prints it."""
    _printable(name)
    return f"{_literal(name)}{_END}"


def subject_of(rest: str) -> str:
    """The name that :func:`subject` made this of; empty when it did not."""
    name = _LITERAL.sub(r"\1", _between(rest, "", _END))
    if not name or not name.isascii() or not name.isprintable():
        return ""
    return name if subject(name) == rest else ""


def peer(common_name: str) -> str:
    """Expression for a whole subject with exactly one CN, which is ``common_name``."""
    return _BEGIN + cn(common_name)


def exact(name: str) -> str:
    """Expression for exactly this text."""
    return _BEGIN + subject(name)


def exact_of(expression: str) -> str:
    """The text that :func:`exact` made this expression of; empty when it did not."""
    return subject_of(expression[len(_BEGIN) :]) if expression.startswith(_BEGIN) else ""


def _between(text: str, begin: str, end: str) -> str:
    whole = len(text) >= len(begin) + len(end) and text.startswith(begin) and text.endswith(end)
    return text[len(begin) : len(text) - len(end)] if whole else ""


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


def _unescaped_value(text: str) -> str:
    """An attribute's value from what OpenSSL prints of it; empty when it prints no such text."""
    raw = bytearray()
    for octet, special, plain in _PRINTED.findall(text.encode("utf-8", "replace")):
        raw += bytes([int(octet, 16)]) if octet else special or plain
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""


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
