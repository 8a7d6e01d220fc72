# SPDX-License-Identifier: GPL-3.0-or-later
"""Where bytes that claim to be DER are something else: BER, or noise after the end.

Two readers of the same BER may see two things, so what was signed must be DER (X.690, 10 and
11). The library reads leniently in places; this file reads strictly and only to report.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_FAULTS = 20
MAX_DEPTH = 32
_BOOLEAN, _INTEGER, _BIT_STRING, _ENUMERATED = 0x01, 0x02, 0x03, 0x0A
_SET = 0x31
_CONSTRUCTED = 0x20
_HIGH_TAG = 0x1F
#: Universal types that are constructed in DER; every other universal type is primitive.
_STRUCTURES = frozenset({0x08, 0x0B, 0x10, 0x11})


def faults(data: bytes) -> tuple[str, ...]:
    """Every fault of one encoded value, in order, at most ``MAX_FAULTS``; empty for DER."""
    found: list[str] = []
    try:
        end = _value(data, 0, len(data), 0, found)
    except _Unusable as exc:
        found.append(str(exc))
    else:
        if end != len(data):
            found.append(f"{len(data) - end} bytes after the end")
    return tuple(found[:MAX_FAULTS])


class _Unusable(Exception):
    """Nothing after this can be read."""


def _value(data: bytes, at: int, limit: int, depth: int, found: list[str]) -> int:
    """Read the value at ``at``, note its faults, and return the offset behind it."""
    if depth > MAX_DEPTH:
        raise _Unusable(f"more than {MAX_DEPTH} levels at byte {at}")
    if at + 2 > limit:
        raise _Unusable(f"a value cut short at byte {at}")
    tag = data[at]
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise _Unusable(f"a tag above 30 at byte {at}")
    start, length = _length(data, at, limit, found)
    end = start + length
    if end > limit:
        raise _Unusable(f"a value cut short at byte {at}")
    if tag & _CONSTRUCTED:
        _constructed(data, tag, start, end, depth, found)
    else:
        found += _primitive(tag, data, start, end, at)
    return end


def _length(data: bytes, at: int, limit: int, found: list[str]) -> tuple[int, int]:
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    octets = first & 0x7F
    start = at + 2 + octets
    if octets == 0:
        raise _Unusable(f"a length without end at byte {at}")
    if octets > 4 or start > limit:
        raise _Unusable(f"an unusable length at byte {at}")
    length = int.from_bytes(data[at + 2 : start], "big")
    if length < 0x80 or data[at + 2] == 0:
        found.append(f"a length in more octets than needed at byte {at}")
    return start, length


def _constructed(data: bytes, tag: int, start: int, end: int, depth: int, found: list[str]) -> None:
    if tag < 0x40 and tag & _HIGH_TAG not in _STRUCTURES:
        found.append(f"a string in pieces at byte {start}")
    at, before = start, b""
    while at < end:
        here = at
        at = _value(data, at, end, depth + 1, found)
        if tag == _SET:
            member = data[here:at]
            if member < before:
                found.append(f"a set out of order at byte {here}")
            before = member


def _primitive(tag: int, data: bytes, start: int, end: int, at: int) -> Iterator[str]:
    if tag < 0x40 and tag in _STRUCTURES:
        yield f"a structure that has no parts at byte {at}"
    elif tag == _BOOLEAN:
        if data[start:end] not in (b"\x00", b"\xff"):
            yield f"a boolean that is neither 00 nor FF at byte {at}"
    elif tag in (_INTEGER, _ENUMERATED):
        if start == end:
            yield f"a number without octets at byte {at}"
        elif end - start > 1 and (data[start], data[start + 1] >> 7) in ((0, 0), (0xFF, 1)):
            yield f"a number in more octets than needed at byte {at}"
    elif tag == _BIT_STRING:
        yield from _bits(data, start, end, at)


def _bits(data: bytes, start: int, end: int, at: int) -> Iterator[str]:
    if start == end or data[start] > 7 or (end - start == 1 and data[start]):
        yield f"a bit string without a usable count of unused bits at byte {at}"
    elif data[start] and data[end - 1] & ((1 << data[start]) - 1):
        yield f"unused bits that are set at byte {at}"
