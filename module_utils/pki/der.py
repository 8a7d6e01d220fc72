# SPDX-License-Identifier: GPL-3.0-or-later
"""Just enough DER to see what a blob *is*, and to walk a Name without losing bytes.

Certificates, requests and CRLs are parsed by ``cryptography``. This file serves the two
places it cannot: telling a private key from noise even when the key is damaged, and
keeping the string type of every name attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTEGER, BIT_STRING, OCTET_STRING, OID, UTF8_STRING, SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x30
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
_MAX_LENGTH_OCTETS = 4
_MAX_OID_OCTETS = 256


class Malformed(ValueError):
    """Bytes that are no DER of the wanted kind; the text is ours and quotes nothing."""


def why(exc: Exception) -> str:
    """What may be told of a decoding failure: our own words, or only that there was one.

    A library's text may hold anything that was at hand when it failed.
    """
    return str(exc) if isinstance(exc, Malformed) else f"{type(exc).__name__} while decoding it"


@dataclass(frozen=True, slots=True)
class Element:
    """One tag-length-value: ``raw`` is all of it, ``content`` what the length spans."""

    tag: int
    content: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Where the content of one element starts and where the element ends. Nothing is copied."""

    tag: int
    start: int
    end: int


def element(data: bytes, offset: int = 0) -> Element:
    """The element at ``offset``; raises Malformed like ``span``."""
    found = span(data, offset)
    return Element(found.tag, data[found.start : found.end], data[offset : found.end])


def span(data: bytes, offset: int = 0) -> Span:
    """The place of the element at ``offset``.

    Raises:
        Malformed: not definite-length DER, or it reaches past the end of ``data``.
    """
    if offset + 2 > len(data) or data[offset] & 0x1F == 0x1F:
        raise Malformed("no DER element here")
    start, length = offset + 2, data[offset + 1]
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= _MAX_LENGTH_OCTETS or start + octets > len(data):
            raise Malformed("unusable DER length")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    if start + length > len(data):
        raise Malformed("DER element is cut short")
    return Span(data[offset], start, start + length)


def elements(content: bytes) -> Iterator[Element]:
    """Every element of a constructed value, in order; raises Malformed like ``element``."""
    offset = 0
    while offset < len(content):
        found = element(content, offset)
        yield found
        offset += len(found.raw)


def dotted(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content octets."""
    # Arcs have no bound of their own, and building a number of a million octets takes hours.
    if not content or content[-1] & 0x80 or len(content) > _MAX_OID_OCTETS:
        raise Malformed("unusable object identifier")
    arcs, value = [], 0
    for octet in content:
        value = (value << 7) | (octet & 0x7F)
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in [first, arcs[0] - 40 * first, *arcs[1:]])
