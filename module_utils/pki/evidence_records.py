# SPDX-License-Identifier: GPL-3.0-or-later
"""What people vouch for: the records of ``evidence.yml``, read strictly.

Pure. The file stands beside the inventory and holds what no software can see:

.. code-block:: yaml

    evidence:
      - id: DIP-2.2-RISK              # the rule it answers
        date: "2026-03-01"            # when it was done, or confirmed again
        owner: Olive Owner            # who vouches for it
        reference: RISK-2026-03       # where to find it: a document, a ticket
        valid_days: 180               # optional: when it runs out before the policy says so

A place that still says FILL-IN is no record. Everything else that is not as above is an error: a
record that is misread could vouch for what it does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import days
from .errors import PkiError
from .inventory import PLACEHOLDER

FILE = "evidence.yml"
_REQUIRED = ("id", "date", "owner", "reference")
_FIELDS = (*_REQUIRED, "valid_days")
_LONGEST_TEXT = 1000
_LONGEST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Record:
    """One thing somebody vouches for; ``valid_days`` is None when the record sets no limit."""

    id: str
    date: str
    owner: str
    reference: str
    valid_days: int | None


@dataclass(frozen=True, slots=True)
class Records:
    """Every usable record by the id of its rule, and what is wrong with the others."""

    by_id: Mapping[str, Record]
    problems: tuple[PkiError, ...]


def parse(raw: object, known: Collection[str]) -> Records:
    """The records of a file's value; ``known`` are the ids that a record may have.

    ``raw`` is None when there is no file, which is nothing wrong in itself.
    """
    if raw is None:
        return Records({}, ())
    entries = raw.get("evidence") if isinstance(raw, Mapping) and set(raw) == {"evidence"} else None
    if not isinstance(entries, list):
        return Records(
            {}, (_error("", "the file holds no list of records", raw, "evidence: [...]"),)
        )
    found: dict[str, Record] = {}
    problems: list[PkiError] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        try:
            record = _record(entry, index, known)
            if record.id in seen:
                place = f"evidence[{index}].id"
                raise _error(place, "a second record for this rule", record.id, "one record a rule")
        except PkiError as exc:
            problems.append(exc)
            continue
        seen.add(record.id)
        if not any(PLACEHOLDER in text for text in _texts(record)):
            found[record.id] = record
    return Records(found, tuple(problems))


def _record(entry: object, index: int, known: Collection[str]) -> Record:
    where = f"evidence[{index}]"
    if not isinstance(entry, Mapping):
        raise _error(where, "the record is not a map", entry, ", ".join(_REQUIRED))
    for key in entry:
        if key not in _FIELDS:
            raise _error(where, "the record has an unknown key", key, ", ".join(_FIELDS))
    for key in _REQUIRED:
        if key not in entry:
            raise _error(where, f"the record has no {key}", "nothing", key)
    name = _text(entry, "id", where)
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        wanted = f"did you mean {close[0]}?" if close else "the id of a rule that is vouched for"
        raise _error(f"{where}.id", "no policy asks for such a record", name, wanted)
    return Record(
        id=name,
        date=_day(entry, f"{where}.date"),
        owner=_text(entry, "owner", where),
        reference=_text(entry, "reference", where),
        valid_days=_valid_days(entry, f"{where}.valid_days"),
    )


def _texts(record: Record) -> Iterator[str]:
    yield from (record.date, record.owner, record.reference)


def _text(entry: Mapping[Any, Any], key: str, where: str) -> str:
    value = entry[key]
    if isinstance(value, str) and value.strip() and len(value) <= _LONGEST_TEXT:
        return value.strip()
    wanted = f"text of at most {_LONGEST_TEXT} characters"
    raise _error(f"{where}.{key}", f"{key} is not usable text", value, wanted)


def _day(entry: Mapping[Any, Any], where: str) -> str:
    value = entry["date"]
    if value == PLACEHOLDER:
        return PLACEHOLDER
    try:
        return days.text(value)
    except ValueError:
        wanted = "a day as YYYY-MM-DD"
        raise _error(where, "the date is not a day", value, wanted) from None


def _valid_days(entry: Mapping[Any, Any], where: str) -> int | None:
    if "valid_days" not in entry:
        return None
    value = entry["valid_days"]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and 0 < value <= _LONGEST_DAYS:
        return int(value)
    raise _error(where, "valid_days is not a number of days", value, f"1 to {_LONGEST_DAYS}")


def _error(where: str, message: str, found: object, expected: str) -> PkiError:
    return PkiError(
        f"{FILE}: {message}",
        rule="EVIDENCE-FILE",
        found=found if isinstance(found, str) else repr(found),
        expected=expected,
        where=f"{FILE}: {where}" if where else FILE,
        next_step=f"correct the record in {FILE} beside the inventory",
    )
