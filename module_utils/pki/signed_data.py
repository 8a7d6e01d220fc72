# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of a PKCS #7 file: SignedData that signs nothing (RFC 5652, 5.1).

Read by hand, because CAs send BER with indefinite lengths and unsorted sets, of which the
library warns on standard error. Nesting costs no stack. The certificates themselves must be DER.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import der

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")  # 1.2.840.113549.1.7.2
_WRAPPER = 0xA0  # [0], constructed: the content, and the certificates inside it
_CONSTRUCTED = 0x20
_INDEFINITE = 0x80
_END = b"\0\0"
_MAX_OPEN = 1000


@dataclass(frozen=True, slots=True)
class _Found:
    """An element: where its content begins and ends, and where the next element begins."""

    tag: int
    at: int
    start: int
    end: int
    next: int


def is_one(data: bytes) -> bool:
    """Whether bytes begin as a PKCS #7 SignedData does."""
    try:
        outer = _header(data, 0)
        kind = _element(data, outer.start)
        return kind.tag == der.OID and data[kind.start : kind.end] == _SIGNED_DATA
    except ValueError:
        return False


def certificates(data: bytes) -> Iterator[bytes]:
    """The certificates, in their order; other kinds of certificate and CRLs are left out.

    Raises:
        der.Malformed: no SignedData, or one that cannot be walked.
    """
    content = tuple(_children(data, _element(data, 0)))
    if len(content) < 2 or not is_one(data) or content[1].tag != _WRAPPER:
        raise der.Malformed("no PKCS #7 with signed data")
    signed = next(_children(data, content[1]), None)
    if signed is None or signed.tag != der.SEQUENCE:
        raise der.Malformed("no PKCS #7 with signed data")
    for part in _children(data, signed):
        if part.tag == _WRAPPER:
            for item in _children(data, part):
                if item.tag == der.SEQUENCE:
                    yield data[item.at : item.next]


def _children(data: bytes, parent: _Found) -> Iterator[_Found]:
    at = parent.start
    while at < parent.end:
        found = _element(data, at)
        if found.next > parent.end:
            raise der.Malformed("PKCS #7: a part reaches past the whole")
        yield found
        at = found.next


def _element(data: bytes, at: int) -> _Found:
    """The element at ``at``; an indefinite one ends where all that it opens is closed."""
    first = _header(data, at)
    if first.end >= 0:
        return first
    opened, here = 1, first.start
    while opened:
        if data[here : here + 2] == _END:
            opened, here = opened - 1, here + 2
            continue
        inner = _header(data, here)
        if inner.end < 0:
            opened += 1
            if opened > _MAX_OPEN:
                raise der.Malformed("PKCS #7: nested too deeply")
        here = inner.start if inner.end < 0 else inner.next
    return _Found(first.tag, at, first.start, here - len(_END), here)


def _header(data: bytes, at: int) -> _Found:
    """The element at ``at`` by its header; one of indefinite length has the end -1."""
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise der.Malformed("PKCS #7: cut short")
    start, length = at + 2, data[at + 1]
    if length == _INDEFINITE:
        if not data[at] & _CONSTRUCTED:
            raise der.Malformed("PKCS #7: a value without a length")
        return _Found(data[at], at, start, -1, -1)
    if length > _INDEFINITE:
        octets = length & 0x7F
        if octets > 4 or start + octets > len(data):
            raise der.Malformed("PKCS #7: an unusable length")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    end = start + length
    if end > len(data):
        raise der.Malformed("PKCS #7: cut short")
    return _Found(data[at], at, start, end, end)
