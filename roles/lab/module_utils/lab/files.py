# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a file whole or not at all, and only if its bytes or its mode differ."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file as it should be. ``mode`` is a number (``0o600``)."""

    path: Path
    content: bytes
    mode: int


def read(path: Path) -> bytes | None:
    """The bytes of ``path``, or None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def mode_of(path: Path) -> int | None:
    """Permission bits of ``path``, or None if there is no such file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def differs(wanted: Wanted) -> bool:
    """True if the file is missing, has other bytes or another mode."""
    return read(wanted.path) != wanted.content or mode_of(wanted.path) != wanted.mode


def write(wanted: Wanted) -> None:
    """Replace ``wanted.path`` by a rename; at no moment is it half written or too readable."""
    path = wanted.path
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(wanted.content)
            stream.flush()
            os.fchmod(stream.fileno(), wanted.mode)
            os.fsync(stream.fileno())
        os.rename(scratch, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
        raise


def ensure(path: Path, content: bytes, mode: int, check: bool = False) -> bool:
    """Make the file so; return True if it was (or, in check mode, would be) changed."""
    wanted = Wanted(path, content, mode)
    if not differs(wanted):
        return False
    if not check:
        write(wanted)
    return True


def ensure_directory(path: Path, mode: int, check: bool = False) -> bool:
    """Make the directory with exactly this mode; return True on a change."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise PkiError(
            f"{path} is in the way of a directory of the lab",
            rule="LAB-FILES",
            found="a file or a symbolic link",
            expected="a directory, or nothing yet",
            where=str(path),
            next_step="move it away, then run the lab again",
        )
    if mode_of(path) == mode:
        return False
    if not check:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(mode)
    return True


def ensure_all(
    entries: Iterable[Mapping[str, str]], check: bool
) -> tuple[list[str], list[dict[str, str]]]:
    """Write public files (path, content, mode in octal); return the steps and Ansible's diff."""
    steps, diff = [], []
    for entry in entries:
        path, content = Path(str(entry["path"])), str(entry["content"])
        before = (read(path) or b"").decode("utf-8", "replace")
        if ensure(path, content.encode(), int(entry["mode"], 8), check):
            steps.append(f"wrote {path}")
            header = {"before_header": str(path), "after_header": str(path)}
            diff.append({**header, "before": before, "after": content})
    return steps, diff
