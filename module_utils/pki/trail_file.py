# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail on disk: one file a month, appended to by whoever holds the lock.

``trail-YYYY-MM.jsonl`` for as long as logs are live, ``archive/trail-YYYY-MM.jsonl.gz`` after
that (DIP-2.3-LOG-RETENTION), ``head.json`` with the newest line and ``lock``. Nothing here
depends on having run to its end: a writer that died leaves at most an unfinished last line, which
the next one closes and names.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import plain_files, trail_chain
from .errors import PkiError
from .trail_chain import Head, Told

RULE = "TRAIL-FILE"
RULE_BROKEN = "TRAIL-BROKEN"
ARCHIVE = "archive"
HEAD_FILE, LOCK_FILE = "head.json", "lock"
FILE_MODE, FOLDER_MODE = 0o600, 0o700
#: A month of a large estate has some tens of megabytes.
MAXIMUM_BYTES = 1_073_741_824
#: Room that a run's lines need at most; without it nothing is begun.
FREE_BYTES = 1_048_576
_BLOCK = 65_536
_LIVE = re.compile(r"trail-[0-9]{4}-(0[1-9]|1[0-2])\.jsonl")
_ARCHIVED = re.compile(r"trail-[0-9]{4}-(0[1-9]|1[0-2])\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class _Tail:
    """Where the trail ends: its last whole line, and what was not finished after it."""

    head: Head
    fragments: tuple[bytes, ...] = ()
    #: Whether the newest file ends within a line.
    open_line: bool = False


def prepare(directory: Path) -> None:
    """Make sure that lines can be written, before anything is changed that they tell of.

    Raises:
        PkiError: TRAIL-FILE when the directory or a file cannot be written, or is open to others;
            TRAIL-BROKEN when the trail does not end where it ended.
    """
    with _faults(directory):
        new = not directory.exists()
        directory.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        _private(directory)
        # Of several first runs at once one begins the trail, and the others go on with it.
        with _locked(directory):
            _begin(directory, ours=new)
            _enough_room(directory)
            tail = _tail(directory)
            _append_mode(_current(directory, datetime.now(UTC)))
            _write_head(directory, tail.head)


def look(directory: Path) -> None:
    """What :func:`prepare` would refuse, without writing anything."""
    with _faults(directory):
        there = directory
        while not there.exists() and there != there.parent:
            there = there.parent
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable", str(there))
        if there == directory:
            _private(directory)
            if any(_files(directory)) or (directory / HEAD_FILE).exists():
                _tail(directory)


def append(directory: Path, entries: Sequence[Mapping[str, Any]]) -> Head:
    """Write a line for each entry, one write each, durably; the newest line.

    Raises:
        PkiError: TRAIL-FILE or TRAIL-BROKEN; the lines before it are written.
    """
    with _faults(directory), _locked(directory):
        return _append(directory, entries, datetime.now(UTC))


def rotate(
    directory: Path, now: datetime, live_days: int, archive_days: int, run: Mapping[str, Any]
) -> tuple[str, ...]:
    """Pack months that are over since ``live_days``, remove those packed ``archive_days`` ago.

    The trail says so of a file that is removed, before it is: its beginning is missed by nobody.
    ``run`` are the fields of a line that name the run.

    Returns: what was done, one sentence each.
    """
    with _faults(directory), _locked(directory):
        done = []
        _append(directory, [], now, run)
        for path in _live(directory):
            if _age(path, now) > live_days and path != _current(directory, now):
                _pack(directory, path)
                done.append(f"{path.name} is packed in {ARCHIVE}")
        for path in _archived(directory):
            if _age(path, now) > live_days + archive_days:
                _remove(directory, path, now, run)
                done.append(f"{path.name} is removed, its time is over")
        return tuple(done)


def outdated(directory: Path, now: datetime, live_days: int, archive_days: int) -> tuple[str, ...]:
    """What :func:`rotate` would do, without doing it."""
    packed = [
        f"{path.name} would be packed in {ARCHIVE}"
        for path in _live(directory)
        if _age(path, now) > live_days and path != _current(directory, now)
    ]
    removed = [
        f"{path.name} would be removed, its time is over"
        for path in _archived(directory)
        if _age(path, now) > live_days + archive_days
    ]
    return (*packed, *removed)


def read(directory: Path) -> Told | None:
    """The whole trail with what is wrong with it; None where there is none.

    Raises:
        PkiError: TRAIL-FILE when a file cannot be read.
    """
    with _faults(directory):
        if not directory.is_dir():
            return None
        # Not while a line is being written. Who may only read cannot lock, and may see one.
        with contextlib.ExitStack() as held:
            if os.access(directory / LOCK_FILE, os.W_OK):
                held.enter_context(_locked(directory))
            files = [(path.name, _content(path)) for path in _files(directory)]
            head = _head(directory)
        if not files and head is None:
            return None
        return trail_chain.read(files, head)


# --- files ------------------------------------------------------------------------------------


def _live(directory: Path) -> list[Path]:
    return _named(directory, _LIVE)


def _archived(directory: Path) -> list[Path]:
    return _named(directory / ARCHIVE, _ARCHIVED)


def _named(directory: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if pattern.fullmatch(path.name))


def _files(directory: Path) -> list[Path]:
    """All files, oldest first; one that is packed and not yet removed counts once."""
    live = _live(directory)
    names = {path.name for path in live}
    packed = [path for path in _archived(directory) if path.stem not in names]
    return sorted([*live, *packed], key=lambda path: path.name)


def _content(path: Path) -> bytes:
    content = plain_files.read(path, MAXIMUM_BYTES)
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, ValueError) as exc:
        raise OSError(5, "not a whole gzip file", str(path)) from exc


def _current(directory: Path, now: datetime) -> Path:
    """This month's file. A clock that went back writes into no older one."""
    this = directory / f"trail-{now:%Y-%m}.jsonl"
    return max([this, *_live(directory)], key=lambda path: path.name)


def _age(path: Path, now: datetime) -> int:
    """Days since the file's month was over."""
    year, month = int(path.name[6:10]), int(path.name[11:13])
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return (now - end).days


# --- writing ----------------------------------------------------------------------------------


def _append(
    directory: Path,
    entries: Sequence[Mapping[str, Any]],
    now: datetime,
    run: Mapping[str, Any] | None = None,
) -> Head:
    """Lines for the entries, after what a dead writer left was closed in the name of this run."""
    tail = _tail(directory)
    if tail.open_line:
        _write(_live(directory)[-1], [b""])
    head, lines = tail.head, []
    if tail.fragments:
        ours = run if run is not None else entries[0]
        named = {name: ours[name] for name in trail_chain.HEAD_FIELDS if name in ours}
        closing = {"event": trail_chain.TORN, "artefacts": trail_chain.torn(tail.fragments)}
        entries = [{**named, **closing}, *entries]
    for entry in entries:
        raw = trail_chain.line(entry, head, now)
        head = Head(head.number + 1, trail_chain.digest(raw))
        lines.append(raw)
    if lines:
        _write(_current(directory, now), lines)
    _write_head(directory, head)
    return head


def _write(path: Path, lines: Sequence[bytes]) -> None:
    descriptor = _append_mode(path, keep=True)
    try:
        for raw in lines:
            whole = raw + b"\n"
            if os.write(descriptor, whole) != len(whole):
                raise OSError(28, "no room for a whole line", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync(path.parent)


def _append_mode(path: Path, keep: bool = False) -> int:
    """The file opened for appending, if it is private; made only when it is to be kept open."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if not keep and not path.exists():
        return -1
    descriptor = os.open(path, flags | os.O_CREAT, FILE_MODE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o037:
            raise _open_to_others(path, status.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    if not keep:
        os.close(descriptor)
    return descriptor


def _pack(directory: Path, path: Path) -> None:
    """Move a month into the archive: whole there before it is gone here."""
    folder = directory / ARCHIVE
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    content = _content(path)
    packed = folder / f"{path.name}.gz"
    if not packed.exists() or _content(packed) != content:
        _replace(packed, gzip.compress(content, mtime=0))
    path.unlink()
    _sync(directory)


def _remove(directory: Path, path: Path, now: datetime, run: Mapping[str, Any]) -> None:
    content = plain_files.read(path, MAXIMUM_BYTES)
    told = trail_chain.read([(path.name, _content(path))], None)
    artefacts = {path.name: trail_chain.digest(content), trail_chain.LAST_LINE: told.head.digest}
    entry = {**run, "event": trail_chain.REMOVED, "artefacts": artefacts}
    _append(directory, [entry], now)
    path.unlink()
    _sync(path.parent)


def _replace(path: Path, content: bytes) -> None:
    """A private file, whole or as before; what a dead writer left of it is overwritten."""
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the end of the trail ---------------------------------------------------------------------


def _head(directory: Path) -> Head | None:
    try:
        return Head.of(plain_files.read(directory / HEAD_FILE, _BLOCK))
    except FileNotFoundError:
        return None
    except (ValueError, plain_files.NotPlain):
        return None


def _write_head(directory: Path, head: Head) -> None:
    if _head(directory) != head:
        _replace(directory / HEAD_FILE, head.as_bytes())


def _tail(directory: Path) -> _Tail:
    """Where to go on; TRAIL-BROKEN when that is not where the head says the trail ended."""
    head = _head(directory)
    files = _live(directory)
    if head is None:
        if files or _archived(directory):
            raise _broken(directory, f"no usable {HEAD_FILE} beside the trail's files")
        return _Tail(Head())
    fragments: list[bytes] = []
    newest, open_line = None, False
    for path in reversed(files):
        found, unfinished, unended = _end_of(path)
        open_line = open_line or (path == files[-1] and unended)
        fragments = [*unfinished, *fragments]
        if found is not None:
            newest = found
            break
    newest = newest or _newest_packed(directory)
    if newest.number < head.number or (newest.number == head.number and newest != head):
        raise _broken(
            directory,
            f"it ends with line {newest.number}, SHA-256 {newest.digest}; its head names "
            f"line {head.number}, {head.digest}",
        )
    return _Tail(newest, tuple(fragments), open_line)


def _newest_packed(directory: Path) -> Head:
    """The last line of the archive, where no run wrote one since."""
    for path in reversed(_archived(directory)):
        for raw in reversed(_content(path).split(b"\n")):
            record = trail_chain.parsed(raw)
            if record is not None:
                return trail_chain.head_of(raw, record)
    return Head()


def _end_of(path: Path) -> tuple[Head | None, list[bytes], bool]:
    """A file's last whole line, what follows it, and whether the file ends within a line."""
    size = path.stat().st_size
    length = _BLOCK
    while True:
        with open(path, "rb") as stream:
            stream.seek(max(0, size - length))
            content = stream.read()
        raws = content.split(b"\n")
        unended = raws[-1] != b""
        if not unended:
            raws.pop()
        if size > length:  # the first piece may be the end of a line
            raws = raws[1:]
        fragments: list[bytes] = []
        for raw in reversed(raws):
            record = trail_chain.parsed(raw)
            if record is not None:
                return trail_chain.head_of(raw, record), fragments, unended
            fragments.insert(0, raw)
        if size <= length:
            return None, fragments, unended
        length *= 4


# --- directories, locks and faults -------------------------------------------------------------


def _begin(directory: Path, *, ours: bool) -> None:
    """The files of a trail without lines. Under the lock: all writers use the same other name."""
    if ours and not (directory / ".gitignore").exists():
        # Wherever the directory lies, git leaves it alone.
        _replace(directory / ".gitignore", b"*\n")
    if not any(_files(directory)) and not (directory / HEAD_FILE).exists():
        _replace(directory / HEAD_FILE, Head().as_bytes())


def _private(directory: Path) -> None:
    mode = directory.stat().st_mode
    if not stat.S_ISDIR(mode) or mode & 0o022:
        raise _open_to_others(directory, mode)


def _enough_room(directory: Path) -> None:
    status = os.statvfs(directory)
    if status.f_bavail * status.f_frsize < FREE_BYTES:
        raise OSError(28, "no space left on device", str(directory))


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory / LOCK_FILE, flags, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _faults(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        found = getattr(exc, "strerror", None) or "no such name"
        where = str(getattr(exc, "filename", None) or directory)
    else:
        return
    raise PkiError(
        "the audit trail cannot be written or read",
        rule=RULE,
        found=found,
        expected="a directory that this run may write to, with room for its lines",
        where=where,
        next_step="correct owner, mode or free space, or name another directory in trail_dir",
    )


def _open_to_others(path: Path, mode: int) -> PkiError:
    return PkiError(
        "the audit trail is open to others",
        rule=RULE,
        found=f"mode {stat.S_IMODE(mode):04o}",
        expected="a directory of mode 0700 or 0750 with files of mode 0600 or 0640",
        where=str(path),
        next_step="find out who could change it, and take the rights away (chmod go-w)",
    )


def _broken(directory: Path, found: str) -> PkiError:
    return PkiError(
        "the audit trail was cut or changed",
        rule=RULE_BROKEN,
        found=found,
        expected="the trail as the last run left it",
        where=str(directory),
        next_step="have playbooks/history.yml say where; keep the directory as it is under another "
        "name and find out who did that. The next run then begins a new trail",
    )
