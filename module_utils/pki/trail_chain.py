# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail's lines and how each holds the one before. Pure.

A line is one JSON object in ASCII. ``n`` counts lines from 1 through all files, ``prev`` is the
SHA-256 of the line before, without its line feed: whoever changes, removes, adds or moves a line
would have to write every later one anew. The *head* names the newest line from outside the chain,
so that a trail that was cut at its end shows, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

NOTHING = "0" * 64
#: Events of the trail itself.
TORN = "unfinished line found"
REMOVED = "old trail file removed"
#: What the line about a removed file names: the digest of that file's last line.
LAST_LINE = "last line"
#: Of a run, and of the host that told it; the event's own fields follow.
HEAD_FIELDS = ("n", "prev", "time", "run", "user", "ci", "playbook", "inventory", "classes",
               "commit", "host")  # fmt: skip
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Head:
    """A line by its number and its SHA-256; number 0 stands before the first."""

    number: int = 0
    digest: str = NOTHING

    def as_bytes(self) -> bytes:
        """The head's file."""
        return json.dumps({"n": self.number, "sha256": self.digest}).encode() + b"\n"

    @classmethod
    def of(cls, content: bytes) -> Head:
        """A head's file read back; ValueError when it is none."""
        value = json.loads(content)
        if (
            not isinstance(value, dict)
            or not _is_number(value.get("n"), 0)
            or not _is_digest(value.get("sha256"))
        ):
            raise ValueError("not the head of a trail")
        return cls(value["n"], value["sha256"])


@dataclass(frozen=True, slots=True)
class Told:
    """A trail as it was read.

    Attributes:
        lines: what the lines say, oldest first, those of a damaged trail included.
        faults: what shows that somebody, or a fault, changed it; one sentence each.
        notes: what is odd and harmless.
        head: the newest line.
        digests: the SHA-256 of every line.
    """

    lines: tuple[Mapping[str, Any], ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    head: Head
    digests: frozenset[str] = frozenset()

    def holds(self, digest: str) -> bool:
        """Whether one of its lines has this SHA-256."""
        return digest in self.digests


def digest(line: bytes) -> str:
    """What the next line holds of this one."""
    return hashlib.sha256(line).hexdigest()


def stamp(moment: datetime) -> str:
    """A moment (UTC) as lines tell it, to the microsecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(entry: Mapping[str, Any], before: Head, moment: datetime) -> bytes:
    """The next line after ``before``, without a line feed."""
    record = {"n": before.number + 1, "prev": before.digest, "time": stamp(moment), **entry}
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def parsed(raw: bytes) -> dict[str, Any] | None:
    """What a line says; None for what is no line of a trail."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not _is_number(value.get("n"), 1):
        return None
    shaped = _is_digest(value.get("prev")) and isinstance(value.get("event"), str)
    return value if shaped and isinstance(value.get("time"), str) else None


def head_of(raw: bytes, record: Mapping[str, Any]) -> Head:
    """A whole line as the head it makes."""
    return Head(int(record["n"]), digest(raw))


def torn(fragments: Sequence[bytes]) -> dict[str, str]:
    """Unfinished lines, as the line that closes them names them."""
    return {f"line {number}": digest(one) for number, one in enumerate(fragments, 1)}


def read(files: Iterable[tuple[str, bytes]], head: Head | None) -> Told:
    """Every line of a trail's files, oldest first, and what is wrong with them.

    ``head`` is what the trail's head says; None where it is missing or unreadable.
    """
    reader = _Reader()
    for name, content in files:
        reader.file(name, content)
    return reader.told(head)


@dataclass(slots=True)
class _Reader:
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    before: Head | None = None
    first: Head | None = None
    fragments: list[tuple[str, bytes]] = field(default_factory=list)

    def file(self, name: str, content: bytes) -> None:
        *whole, rest = content.split(b"\n")
        if parsed(rest) is not None:
            self.notes.append(f"{name}: the last line lacks its line feed")
        for number, raw in enumerate([*whole, *([rest] if rest else [])], 1):
            self._line(f"{name}, line {number}", raw)

    def _line(self, place: str, raw: bytes) -> None:
        record = parsed(raw)
        if record is None:
            self.fragments.append((place, raw))
            return
        self._close_fragments(place, record)
        self._chain(place, record)
        self.before = head_of(raw, record)
        self.digests[self.before.number] = self.before.digest
        self.lines.append(record)

    def _close_fragments(self, place: str, record: Mapping[str, Any]) -> None:
        """What is no line may stand there only if the line after it says so."""
        if not self.fragments:
            return
        wanted = torn([raw for _, raw in self.fragments])
        if record["event"] == TORN and record.get("artefacts") == wanted:
            self.notes.append(f"{self.fragments[0][0]}: a line was not finished; {place} closed it")
        else:
            self.faults += [f"{where}: this is no line of a trail" for where, _ in self.fragments]
        self.fragments.clear()

    def _chain(self, place: str, record: Mapping[str, Any]) -> None:
        if self.before is None:
            self.first = Head(record["n"] - 1, record["prev"])
            return
        expected = self.before.number + 1
        if record["n"] != expected:
            self.faults.append(f"{place}: line {record['n']} stands where {expected} belongs")
        elif record["prev"] != self.before.digest:
            self.faults.append(f"{place}: the line before it was changed")

    def told(self, head: Head | None) -> Told:
        self.notes += [f"{place}: the last line is not finished" for place, _ in self.fragments]
        if self.first is not None and self.first != Head() and not self._was_removed(self.first):
            self.faults.append(
                f"the trail begins with line {self.first.number + 1}, and no line says that "
                "earlier ones were removed when their time was over"
            )
        self._judge_end(head)
        return Told(
            tuple(self.lines),
            tuple(self.faults),
            tuple(self.notes),
            self.before or Head(),
            frozenset(self.digests.values()),
        )

    def _was_removed(self, first: Head) -> bool:
        return any(
            one["event"] == REMOVED and (one.get("artefacts") or {}).get(LAST_LINE) == first.digest
            for one in self.lines
        )

    def _judge_end(self, head: Head | None) -> None:
        newest = self.before or Head()
        if head is None:
            self.faults.append(
                "the trail's head, which names its newest line, is missing or damaged"
            )
        elif head.number > newest.number:
            self.faults.append(
                f"the trail ends with line {newest.number}, and there was a line {head.number}"
            )
        elif head.number and self.digests.get(head.number, head.digest) != head.digest:
            self.faults.append(f"line {head.number} is not the one that was written")


def _is_number(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
