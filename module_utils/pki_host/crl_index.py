# SPDX-License-Identifier: GPL-3.0-or-later
"""What two CRLs of one CA differ in, from their serial indexes (:mod:`.crl_numbers`).

A new CRL is compared without reading the old one again. Only where something is gone the old one
is walked once more, to tell serials and dates.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from . import crl_der, crl_entries, crl_numbers
from .crl_entries import Entry
from .crl_numbers import FACTOR, PRIME, Numbers
from .crl_watch import Known

_SLICE = 32 * 1024
_FEW = 1 << 16  # numbers of which a set is no trouble
_DAY = 86400


@dataclass(frozen=True)
class Difference:
    """How many serials two CRLs differ in, and the numbers of those that are gone."""

    added: int
    removed: int
    removed_hashes: Numbers


@dataclass(frozen=True)
class Removed:
    """What is known of serials that are no longer listed.

    ``expired``: certainly past their end, so a CA may take them off the list (RFC 5280, 3.3).
    ``known``: certificates that this host knows and that are not expired: an alarm.
    ``uncertain``: nobody can tell. A CRL says when a serial was revoked and never when its
    certificate ends, so one that was revoked lately may have had a day left or a year.
    """

    expired: int
    known: tuple[Known, ...]
    uncertain: int


def difference(old_index: str, new_index: str) -> Difference:
    """What is in one index and not in the other.

    Raises:
        HostError: CRL-INDEX, a file is no index; read its CRL again to make it anew.
    """
    old, new = crl_numbers.load(old_index), crl_numbers.load(new_index)
    removed, added = array("Q"), 0
    # Slice by slice: sets compare fast, and sets of millions are larger than the files.
    for these, those in _pairs(old, new):
        one, other = set(these), set(those)
        added += len(other - one)
        removed.extend(sorted(one - other))
    return Difference(added, len(removed), Numbers(removed))


def removed_serials(old_der: str, difference: Difference) -> list[Entry]:
    """The entries of the old CRL that are gone. :func:`classify` needs less memory for many."""
    return list(_removed(old_der, difference))


def classify(
    old_der: str,
    difference: Difference,
    known: Sequence[Known],
    issuer: str,
    longest_validity_days: int,
    now: float,
) -> Removed:
    """Which removals are right, which are an alarm, and which nobody can judge (:class:`Removed`).

    ``issuer`` is the SHA-256 of the CA that both CRLs are of; ``longest_validity_days`` what its
    certificates live at most: one revoked longer ago has ended, whatever it was.
    """
    ours = {one.serial: one for one in known if one.issuer == issuer}
    expired = uncertain = 0
    alarms: list[Known] = []
    horizon = now - longest_validity_days * _DAY
    for entry in _removed(old_der, difference):
        mine = ours.get(entry.serial)
        end = _epoch(mine.not_after) if mine is not None else None
        # Where its end is not known, it was at the horizon at the latest.
        if end < now if end is not None else entry.revoked_at < horizon:
            expired += 1
        elif mine is not None:
            alarms.append(mine)
        else:
            uncertain += 1
    return Removed(expired, tuple(alarms), uncertain)


def _removed(old_der: str, difference: Difference) -> Iterator[Entry]:
    if not difference.removed:
        return
    gone = _Once(difference.removed_hashes)
    value = int.from_bytes
    with crl_der.opened(old_der) as source:
        for batch in crl_entries.batches(source, *crl_der.frame(source).entries):
            for e in batch.plain:
                # Written out: this line runs a million times.
                if gone.first(value(e[4 : 4 + e[3]], "big") * FACTOR % PRIME):
                    yield crl_entries.entry_of(e)
            if batch.odd is not None:
                entry = batch.odd.entry
                if gone.first(crl_numbers.number_of(entry.serial)):
                    yield entry


class _Once:
    """Whether a number is among some, and was not asked for before. A list may repeat a serial."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._seen = bytearray(len(numbers))
        few = frozenset(numbers) if len(numbers) < _FEW else numbers
        self._among: Callable[[object], bool] = few.__contains__

    def first(self, number: int) -> bool:
        if not self._among(number):
            return False
        place = self._numbers.place(number)
        seen, self._seen[place] = self._seen[place], 1
        return not seen


def _pairs(old: array[int], new: array[int]) -> Iterator[tuple[array[int], array[int]]]:
    """Slices of both that hold the same range of numbers; together all of them."""
    here = there = 0
    while here < len(old) or there < len(new):
        ends = [
            numbers[min(at + _SLICE, len(numbers)) - 1]
            for numbers, at in ((old, here), (new, there))
            if at < len(numbers)
        ]
        end, until = bisect_right(old, min(ends), here), bisect_right(new, min(ends), there)
        yield old[here:end], new[there:until]
        here, there = end, until


def _epoch(iso: str) -> float | None:
    try:
        read = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=timezone.utc)).timestamp()
