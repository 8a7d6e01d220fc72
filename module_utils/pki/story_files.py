# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate's story is told from, as it lies on disk. Reads only, and misses nothing for
one damaged file: that one is named instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from . import git_log, ledger, plain_files, public_state, records, story, trail_file
from .errors import PkiError
from .story import Told

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_VERSION = re.compile(r"[1-9][0-9]*")


class Story:
    """One certificate's story, and what is wrong with its witnesses.

    Attributes:
        told: the sentences, in order.
        faults: what shows that somebody changed the trail; decisive.
        notes: what could not be read, and which witness there is not.
    """

    def __init__(self, told: list[Told], faults: tuple[str, ...], notes: list[str]) -> None:
        self.told = told
        self.faults = faults
        self.notes = notes


def tell(
    name: str,
    *,
    trail_dir: Path,
    certificates_dir: Path,
    base_dir: Path,
    since: datetime | None = None,
    head: str = "",
) -> Story:
    """Everything that is known of a certificate, or of an entry with all of its hosts.

    ``head`` is the SHA-256 of a line as some earlier run printed it; without it in the trail, the
    trail was written anew since.

    Raises:
        PkiError: HISTORY for a name that nothing is known of; TRAIL-FILE for an unreadable trail.
    """
    if not _NAME.fullmatch(name):
        raise _nothing(name, "the name of a certificate's entry, or ENTRY/HOST")
    told: list[Told] = []
    notes: list[str] = []
    trail = trail_file.read(trail_dir)
    faults: tuple[str, ...] = ()
    if trail is None:
        notes.append(f"there is no audit trail in {trail_dir}")
    else:
        told += story.of_trail(trail.lines, name)
        faults, notes = trail.faults, [*notes, *trail.notes]
    if head and (trail is None or not trail.holds(head)):
        faults = (*faults, f"no line of the trail has the SHA-256 {head}")
    commits = git_log.commits(certificates_dir / name)
    if commits is None:
        notes.append(f"{certificates_dir} is in no git repository: nobody tells who merged what")
    told += story.of_git(commits or ())
    found, digests = _records(certificates_dir, name, notes)
    told += found
    told += story.of_ledger(_ledger(base_dir, notes), digests)
    if not told and not faults:
        raise _nothing(name, "a certificate that there is or was")
    return Story(story.ordered(told, since), faults, notes)


def _records(directory: Path, name: str, notes: list[str]) -> tuple[list[Told], dict[str, str]]:
    """What the records of all versions say, and which keys they name."""
    told: list[Told] = []
    digests: dict[str, str] = {}
    for one in public_state.names(directory):
        if one != name and not one.startswith(f"{name}/"):
            continue
        for version in _versions(directory / one):
            kept = _kept(version, notes)
            told += story.of_records(one, int(version.name), kept)
            key = kept.get("request.yml", {}).get("key")
            if isinstance(key, Mapping):
                digests[str(key.get("spki_sha256"))] = f"{one} v{version.name}"
    return told, digests


def _versions(directory: Path) -> list[Path]:
    try:
        there = [path for path in directory.iterdir() if _VERSION.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(there, key=lambda path: int(path.name))


def _kept(version: Path, notes: list[str]) -> dict[str, Mapping[str, Any]]:
    found = {}
    for file in story.FILES:
        try:
            record = records.load(plain_files.read(version / file, records.MAXIMUM_BYTES))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            notes.append(f"{version / file} cannot be read")
            continue
        if isinstance(record, Mapping):
            found[file] = record
    return found


def _ledger(base_dir: Path, notes: list[str]) -> list[Mapping[str, Any]]:
    path = base_dir / ledger.FILE
    try:
        value = records.load(plain_files.read(path, records.MAXIMUM_BYTES))
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        notes.append(f"{path} cannot be read")
        return []
    entries = value.get("compromised") if isinstance(value, Mapping) else None
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list) else []


def _nothing(name: str, expected: str) -> PkiError:
    return PkiError(
        "nothing is known of this certificate",
        rule=story.RULE,
        found=name or "no name",
        expected=expected,
        where="option certificate, the trail, git and the certificates' directory",
        next_step="correct the name; playbooks/status.yml shows those that are declared",
    )
