# SPDX-License-Identifier: GPL-3.0-or-later
"""The serials of a CRL as sorted numbers of eight octets, kept in a file beside it.

A number is ``serial * FACTOR mod PRIME``: the serial itself, shuffled, where it has 64 bits; of
longer ones two share a number with odds of 1 in 2**64. It is no defence against a CA that chooses
serials that collide: one that wants to hide something need not sign it. Known serials are never
looked up here, but in the CRL itself.

File: ``PKICRLX1``, the count of numbers in eight octets, and the numbers, little-endian, in order.
"""

from __future__ import annotations

import heapq
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from . import files
from .crl_entries import Batch
from .errors import HostError

_MAGIC = b"PKICRLX1"
_HEADER = len(_MAGIC) + 8
PRIME = 2**64 - 59
FACTOR = 0x9E3779B97F4A7C15
_BUCKETS = 64
_MANY = 500_000
_STEP = 2**64 // _BUCKETS


def number_of(serial: int) -> int:
    """The number under which a serial is in an index."""
    return serial * FACTOR % PRIME


class Collected:
    """The numbers of a CRL while it is read; in memory eight octets each."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKETS)]

    def add(self, batch: Batch) -> None:
        value = int.from_bytes
        # Written out: this line runs a million times.
        found = [value(e[4 : 4 + e[3]], "big") * FACTOR % PRIME for e in batch.plain]
        if batch.odd is not None:
            found.append(number_of(batch.odd.entry.serial))
        if len(found) < _BUCKETS:
            for one in found:
                self._buckets[one // _STEP].append(one)
            return
        found.sort()
        begin = 0
        for place, bucket in enumerate(self._buckets, 1):
            end = bisect_left(found, place * _STEP, begin)
            bucket.extend(found[begin:end])
            begin = end

    def write(self, path: str) -> None:
        """Put the index to ``path``, whole; the numbers are given up."""
        count = sum(map(len, self._buckets))
        parts = [_MAGIC, count.to_bytes(8, "little")]
        for place, bucket in enumerate(self._buckets):
            ordered = _ordered(bucket)
            self._buckets[place] = array("Q")
            if sys.byteorder == "big":
                ordered.byteswap()
            parts.append(ordered.tobytes())
        files.write(path, b"".join(parts), files.PUBLIC)


class Numbers:
    """Numbers of serials in order; a million take eight megabytes."""

    def __init__(self, ordered: array[int]) -> None:
        self._ordered = ordered

    def __len__(self) -> int:
        return len(self._ordered)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ordered)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.place(number) >= 0

    def place(self, number: int) -> int:
        """Its place among them, or -1."""
        place = bisect_left(self._ordered, number)
        return place if place < len(self._ordered) and self._ordered[place] == number else -1


def _ordered(numbers: array[int]) -> array[int]:
    """They in order. A list of many that share a bucket is made to cost memory: it gets none."""
    if len(numbers) <= _MANY:
        return array("Q", sorted(numbers))
    slices = range(0, len(numbers), _MANY)
    runs = [array("Q", sorted(numbers[at : at + _MANY])) for at in slices]
    return array("Q", heapq.merge(*runs))


def load(path: str) -> array[int]:
    """The numbers of an index, in order.

    Raises:
        HostError: CRL-INDEX, the file is no index; its CRL makes it anew.
    """
    numbers = array("Q")
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            head = handle.read(_HEADER)
            count = int.from_bytes(head[len(_MAGIC) :], "little")
            if head[: len(_MAGIC)] == _MAGIC and size == _HEADER + 8 * count:
                numbers.fromfile(handle, count)
                if sys.byteorder == "big":
                    numbers.byteswap()
                return numbers
        found = "a file that is no index"
    except (OSError, EOFError) as exc:
        found = getattr(exc, "strerror", None) or "a file that ends early"
    raise HostError(
        "the serial index of a CRL cannot be read",
        rule="CRL-INDEX",
        found=found,
        expected="an index as it was written",
        where=path,
        next_step="remove it; it is made again from the CRL beside it",
    )
