# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of backups and drills: ``backups.jsonl`` beside the inventory, one line an event.

Lines are only ever added. Nothing in them is secret: times, digests, sizes and names. A person
commits the file; a drill in it is the evidence that backups can be restored (DIP-6.2-BACKUP).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import plain_files
from .errors import PkiError

FILE = "backups.jsonl"
RULE = "BACKUP-RECORD"
SCHEMA = 1
BACKUP, DRILL, REMOVED = "backup", "drill", "removed"
#: Forty years of nightly backups.
MAXIMUM_BYTES = 8 << 20
_LONGEST_TEXT = 1000
_MOST_NAMES = 10_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_NAMES and all(map(_is_text, value))


#: What each event says, and what a value of it is.
_FIELDS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    BACKUP: {
        "file": _is_text,
        "sha256": _is_digest,
        "bytes": _is_count,
        "raft_index": _is_count,
        "server_version": _is_text,
        "by": _is_text,
    },
    DRILL: {
        "sha256": _is_digest,
        "passed": _is_bool,
        "keys_expected": _is_count,
        "keys_found": _is_count,
        "problems": _is_names,
        "signed_with": _is_text,
        "compromised": _is_count,
        "seal": _is_text,
        "server_version": _is_text,
        "seconds": _is_count,
        "by": _is_text,
    },
    REMOVED: {"file": _is_text, "sha256": _is_digest, "by": _is_text},
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line. ``at`` is aware and in UTC; ``said`` are the fields of its kind."""

    kind: str
    at: datetime
    said: Mapping[str, Any]


def read(base_dir: Path) -> tuple[Event, ...]:
    """Every event, in the order in which they were written; none without the file.

    Raises:
        PkiError: BACKUP-RECORD, with the line, for anything that we do not write.
    """
    return parse(_content(base_dir / FILE), str(base_dir / FILE))


def parse(content: bytes, where: str = FILE) -> tuple[Event, ...]:
    """The events of a file's content."""
    lines = content.split(b"\n")
    if lines.pop():
        raise _damaged(f"{where}:{len(lines) + 1}", "a line that does not end", "whole lines")
    return tuple(_event(line, f"{where}:{number}") for number, line in enumerate(lines, 1))


def line(kind: str, at: datetime, said: Mapping[str, Any]) -> bytes:
    """One event as a line of the file."""
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = {"schema": SCHEMA, "event": kind, "at": moment, **said}
    written = f"{json.dumps(record, ensure_ascii=True)}\n".encode()
    parse(written)
    return written


def append(base_dir: Path, events: Iterable[bytes]) -> None:
    """Add lines to the file, durably, in one write."""
    path, content = base_dir / FILE, b"".join(events)
    # What is damaged must not grow, or a person could no longer tell where it began.
    parse(_content(path), str(path))
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        found = exc.strerror or type(exc).__name__
    else:
        return
    raise PkiError(
        f"{FILE} cannot be written",
        rule=RULE,
        found=found,
        expected="a file that this run may add to",
        where=str(path),
        next_step="correct owner, mode or free space, and run again",
    )


def last_drill(events: Iterable[Event]) -> Event | None:
    """The newest drill, passed or not; of two at the same second the one written last."""
    drills = sorted((one for one in events if one.kind == DRILL), key=lambda one: one.at)
    return drills[-1] if drills else None


def proven(events: Iterable[Event]) -> frozenset[str]:
    """The snapshots that were restored in a drill that passed, and in none that failed since."""
    found: set[str] = set()
    for one in events:
        if one.kind == DRILL:
            (found.add if one.said["passed"] else found.discard)(one.said["sha256"])
    return frozenset(found)


def _content(path: Path) -> bytes:
    try:
        return plain_files.read(path, MAXIMUM_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as exc:
        found = exc.strerror or "unreadable"
    raise _damaged(str(path), found, f"a plain file of at most {MAXIMUM_BYTES} bytes")


def _event(content: bytes, where: str) -> Event:
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _damaged(where, "no JSON", "one JSON object a line") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise _damaged(where, "another schema", f"an object with schema: {SCHEMA}")
    fields = _FIELDS.get(str(value.get("event")))
    if fields is None:
        raise _damaged(where, f"event: {value.get('event')}", ", ".join(_FIELDS))
    said = {name: one for name, one in value.items() if name not in ("schema", "event", "at")}
    if set(said) != set(fields):
        odd = ", ".join(sorted(set(said) ^ set(fields)))
        raise _damaged(where, f"missing or unknown: {odd}", ", ".join(fields))
    wrong = [name for name, good in fields.items() if not good(said[name])]
    if wrong:
        raise _damaged(where, f"{wrong[0]} of another kind", "as this program writes it")
    return Event(value["event"], _moment(value, where), said)


def _moment(value: Mapping[str, Any], where: str) -> datetime:
    try:
        return datetime.strptime(str(value.get("at")), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        found = str(value.get("at"))
    raise _damaged(where, f"at: {found}", "a time as 2026-03-01T02:00:00Z")


def _damaged(where: str, found: str, expected: str) -> PkiError:
    return PkiError(
        "the record of backups cannot be used",
        rule=RULE,
        found=found,
        expected=expected,
        where=where,
        next_step=f"restore {FILE} from git; nothing was changed",
    )
