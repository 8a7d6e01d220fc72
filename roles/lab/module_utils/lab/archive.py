# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack files for another host: the same files are the same bytes, whoever packs them.

One archive is one transfer and one comparison on the host, however many files it holds.
Modes and dates are those of the sources, owners are given by name: they exist there, not here.
"""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError

from . import files

MODE = 0o600  # an archive may hold keys


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a directory with all below it, and the name it gets in the archive."""

    source: Path
    name: str
    owner: str
    group: str


def entry_of(options: Mapping[str, object]) -> Entry:
    """An Entry out of one entry of a module's option."""
    owner = str(options["owner"])
    return Entry(
        Path(str(options["source"])),
        str(options["name"]).strip("/"),
        owner,
        str(options.get("group") or owner),
    )


def below(directory: Path) -> Iterator[Path]:
    """Everything below a directory, parents first.

    Names with a leading dot are left out: they are files that were being written when a
    run was killed.
    """
    for path in sorted(directory.rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(directory).parts):
            yield path


def tree(entry: Entry) -> Iterator[tuple[Path, str]]:
    """Every path of an entry with its name, parents first."""
    yield entry.source, entry.name
    if entry.source.is_dir():
        for path in below(entry.source):
            yield path, f"{entry.name}/{path.relative_to(entry.source)}"


def newest(directory: Path) -> int:
    """The date of the newest file below a directory, 0 if there is none."""
    files_below = (path for path in below(directory) if path.is_file())
    return max((int(path.stat().st_mtime) for path in files_below), default=0)


def header(path: Path, name: str, entry: Entry) -> tarfile.TarInfo:
    """What the archive says about one path."""
    found = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(found.st_mode)
    info.mtime = int(found.st_mtime)
    info.uname, info.gname = entry.owner, entry.group
    if stat.S_ISDIR(found.st_mode):
        # Its own date also moves with files that are only being written, and is no content.
        info.type, info.mtime = tarfile.DIRTYPE, newest(path)
    elif stat.S_ISREG(found.st_mode):
        info.size = found.st_size
    else:
        raise refusal(path, "neither a file nor a directory", "plain files and directories")
    return info


def refusal(path: Path, found: str, expected: str) -> PkiError:
    """Something cannot be packed."""
    return PkiError(
        "the lab cannot pack its files for another host",
        rule="LAB-ARCHIVE",
        found=found,
        expected=expected,
        where=str(path),
        next_step="run the lab again; if that does not help, move the path away",
    )


def pack(entries: Sequence[Entry]) -> bytes:
    """The archive. Raises PkiError (LAB-ARCHIVE) for a missing or an odd source."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            if not entry.source.exists():
                raise refusal(entry.source, "nothing", "a file or a directory")
            for path, name in tree(entry):
                info = header(path, name, entry)
                archive.addfile(info, io.BytesIO(path.read_bytes()) if info.isreg() else None)
    return stream.getvalue()


def ensure(path: Path, entries: Sequence[Entry], check: bool) -> list[str]:
    """Write the archive, and its SHA-256 beside it, if they differ; return the steps."""
    if check and not all(entry.source.exists() for entry in entries):
        return [f"would pack {path}"]
    content = pack(entries)
    digest = hashlib.sha256(content).hexdigest() + "\n"
    changed = [
        files.ensure(path, content, MODE, check),
        files.ensure(path.with_name(path.name + ".sha256"), digest.encode(), 0o644, check),
    ]
    return [f"packed {path}"] if any(changed) else []
