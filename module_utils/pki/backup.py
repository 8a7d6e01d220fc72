# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a backup: a snapshot of the key server's whole storage as a private file, and a record.

A backup counts only once its file was looked through, is on the disk under its name, and stands in
the record beside the inventory. Old ones are removed by count: never the newest one, and never the
newest that a drill has restored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import backup_records, private_directory, snapshot_archive
from .backup_records import BACKUP, REMOVED, Event
from .errors import PkiError
from .snapshot_archive import Snapshot
from .vault_snapshots import SnapshotClient

WHAT = "the directory of backups"
_PART = ".part-"
_NAME = re.compile(r"vault-[a-z+]{1,40}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}\.snap")
_SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Taken:
    """A new backup: its file, what it tells, and the server that it is of."""

    path: Path
    snapshot: Snapshot
    server_version: str


def name_of(classes: Iterable[str], moment: datetime, sha256: str) -> str:
    """A backup's file name: environment classes, time and the beginning of its digest."""
    stamp = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"vault-{'+'.join(sorted(classes))}-{stamp}-{sha256[:_SHOWN_DIGITS]}.snap"


def take(
    client: SnapshotClient, directory: Path, classes: Iterable[str], moment: datetime, largest: int
) -> Taken:
    """Stream a snapshot into the directory, which the caller has locked.

    Raises:
        PkiError: VAULT-... for what the server refuses, BACKUP-DAMAGED or BACKUP-SIZE for what
            came, BACKUP-WRITE for the disk. No file is left then.
    """
    version = str(client.health().get("version", ""))[:100]
    part = directory / f"{_PART}{os.getpid()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            client.download(file, largest)
            file.flush()
            os.fsync(file.fileno())
        snapshot = snapshot_archive.inspect(part, largest)
        path = directory / name_of(classes, moment, snapshot.sha256)
        os.rename(part, path)
        _settle(directory)
    except OSError as exc:
        found = exc.strerror or type(exc).__name__
    else:
        return Taken(path, snapshot, version)
    finally:
        part.unlink(missing_ok=True)
    raise _unwritten(directory, found)


def recorded(taken: Taken, moment: datetime, by: str) -> bytes:
    """The line of the record for a backup."""
    said: dict[str, Any] = {
        "file": taken.path.name,
        "sha256": taken.snapshot.sha256,
        "bytes": taken.snapshot.size,
        "raft_index": taken.snapshot.raft_index,
        "server_version": taken.server_version,
        "by": by,
    }
    return backup_records.line(BACKUP, moment, said)


def tidy(directory: Path) -> None:
    """Remove what a killed run has left; only for whoever holds the directory's lock."""
    for path in directory.glob(f"{_PART}*"):
        path.unlink(missing_ok=True)


def unrecorded(directory: Path, events: Sequence[Event]) -> tuple[str, ...]:
    """Backups that are there and in no record: of a run that was killed in between."""
    known = {one.said["file"] for one in events if one.kind == BACKUP}
    return tuple(name for name in _names(directory) if name not in known)


def superfluous(directory: Path, events: Sequence[Event], keep: int) -> tuple[Event, ...]:
    """The backups that may be removed, oldest first: recorded ones beyond the newest ``keep``.

    A backup that stands in no record is nobody's to remove but a person's.
    """
    there = set(_names(directory))
    latest = {one.said["file"]: one for one in events if one.kind == BACKUP}
    backups = sorted((one for name, one in latest.items() if name in there), key=_age)
    proven = backup_records.proven(events)
    held = {one.said["file"] for one in backups[-max(keep, 1) :]}
    held |= {one.said["file"] for one in [b for b in backups if b.said["sha256"] in proven][-1:]}
    return tuple(one for one in backups if one.said["file"] not in held)


def remove(directory: Path, old: Iterable[Event], moment: datetime, by: str) -> list[bytes]:
    """Remove backups; the lines of the record that say so."""
    lines = []
    for one in old:
        try:
            (directory / one.said["file"]).unlink(missing_ok=True)
        except OSError as exc:
            raise _unwritten(directory, exc.strerror or type(exc).__name__) from None
        said = {"file": one.said["file"], "sha256": one.said["sha256"], "by": by}
        lines.append(backup_records.line(REMOVED, moment, said))
    return lines


def made(events: Iterable[Event]) -> dict[str, datetime]:
    """When each recorded backup was made, by its digest."""
    return {one.said["sha256"]: one.at for one in events if one.kind == BACKUP}


def prepare(directory: Path) -> None:
    """The directory, private and there."""
    private_directory.make(directory, WHAT)


def _age(event: Event) -> tuple[datetime, str]:
    return event.at, event.said["file"]


def _names(directory: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return []


def _settle(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(directory: Path, found: str) -> PkiError:
    return PkiError(
        "the backup cannot be written",
        rule="BACKUP-WRITE",
        found=found,
        expected="a directory with room that this run may write to",
        where=str(directory),
        next_step="make room or correct the directory, and run again; no backup was made",
    )
