# SPDX-License-Identifier: GPL-3.0-or-later
"""Just enough strict DER for CRLs: places of elements in a file or in bytes, and their values.

Definite and shortest lengths only, no tags of several octets, and nothing past an end. Whatever
else there is raises :class:`Malformed`, whose text is ours and quotes nothing.
"""

from __future__ import annotations

import calendar
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
ENUMERATED, SEQUENCE, SET = 0x0A, 0x30, 0x31
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
TRUE = b"\xff"
_LONG, _MOST_LENGTH_OCTETS = 0x80, 4
_HIGH_TAG = 0x1F
_HEADER = 2 + _MOST_LENGTH_OCTETS
# Arcs have no bound of their own, and a number of a million octets takes hours to write.
_MOST_OID_OCTETS = 256
_TIME = {UTC_TIME: re.compile(rb"[0-9]{12}Z"), GENERALIZED_TIME: re.compile(rb"[0-9]{14}Z")}
_PIVOT = b"50"  # RFC 5280, 4.1.2.5.1: two digits from here on are of the twentieth century


class Malformed(ValueError):
    """Bytes that are no DER of the wanted kind."""


@dataclass(frozen=True)
class Span:
    """One element: its tag, and where it begins, its content begins, and it ends."""

    tag: int
    begin: int
    start: int
    end: int


class Bytes:
    """Bytes as a place to read from; the same questions as of a :class:`File`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def piece(self, begin: int, end: int) -> bytes:
        return self._data[begin:end]


class File:
    """An open file read piece by piece.

    Not mapped: a mapped file that somebody cuts short ends the process, and mapped pages count
    as its memory.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def piece(self, begin: int, end: int) -> bytes:
        """The octets from ``begin`` to ``end``; fewer where the file ends."""
        parts = []
        while begin < end:
            part = os.pread(self._descriptor, end - begin, begin)
            if not part:
                break
            parts.append(part)
            begin += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def span(source: Bytes | File, at: int, end: int, tag: int | None = None) -> Span:
    """The element at ``at``, which must end at ``end`` or before, of that tag if one is given."""
    head = source.piece(at, min(at + _HEADER, end))
    if len(head) < 2 or head[0] & _HIGH_TAG == _HIGH_TAG:
        raise Malformed("no element where one belongs")
    length, start = head[1], at + 2
    if length & _LONG:
        octets = length - _LONG
        written = head[2 : 2 + octets]
        if not 1 <= octets <= _MOST_LENGTH_OCTETS or len(written) != octets:
            raise Malformed("an unusable length")
        length, start = int.from_bytes(written, "big"), start + octets
        if length < _LONG or not written[0]:
            raise Malformed("a length that is not the shortest")
    if start + length > end:
        raise Malformed("an element that is longer than the rest")
    if tag is not None and head[0] != tag:
        raise Malformed("an element of another kind")
    return Span(head[0], at, start, start + length)


def whole(data: bytes, tag: int | None = None) -> Span:
    """The one element that ``data`` is."""
    found = span(Bytes(data), 0, len(data), tag)
    if found.end != len(data):
        raise Malformed("octets after the end of an element")
    return found


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of every element of a constructed value's content, in order."""
    source, at = Bytes(data), 0
    while at < len(data):
        found = span(source, at, len(data))
        yield found.tag, data[found.start : found.end]
        at = found.end


def content(data: bytes, tag: int) -> bytes:
    """The content of the one element that ``data`` is."""
    return data[whole(data, tag).start :]


def integer(octets: bytes) -> int:
    """The value of an INTEGER's content, written as DER does: with no octet too many."""
    head = int.from_bytes(octets[:2], "big") >> 7
    if not octets or (len(octets) > 1 and head in (0, 0x1FF)):
        raise Malformed("a number that is not written as DER does")
    return int.from_bytes(octets, "big", signed=True)


def unsigned(octets: bytes) -> int:
    """The same for a number that is zero or more."""
    value = integer(octets)
    if value < 0:
        raise Malformed("a number that is negative")
    return value


def dotted(octets: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content."""
    if not octets or octets[-1] & 0x80 or len(octets) > _MOST_OID_OCTETS:
        raise Malformed("an unusable object identifier")
    arcs, value, fresh = [], 0, True
    for octet in octets:
        if fresh and octet == 0x80:
            raise Malformed("an object identifier with a padded arc")
        value, fresh = (value << 7) | (octet & 0x7F), not octet & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in [first, arcs[0] - 40 * first, *arcs[1:]])


def moment(tag: int, octets: bytes) -> int:
    """Seconds of the epoch of a Time (RFC 5280, 4.1.2.5: to the second, in UTC)."""
    pattern = _TIME.get(tag)
    if pattern is None or not pattern.fullmatch(octets):
        raise Malformed("no time where one belongs")
    text = octets.decode()
    if tag == UTC_TIME:
        text = ("19" if octets[:2] >= _PIVOT else "20") + text
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    try:
        # Not strptime(): it is slow, and lets a leap second pass.
        read = datetime(int(text[:4]), month, day, hour, minute, second)
    except ValueError:
        raise Malformed("a time that never was") from None
    return calendar.timegm(read.timetuple())
