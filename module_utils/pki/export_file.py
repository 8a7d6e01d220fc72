# SPDX-License-Identifier: GPL-3.0-or-later
"""A file for its owner alone, in a directory that nobody else may enter; never over another one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from .errors import PkiError

RULE = "EXPORT-FILE"
DIRECTORY_MODE, FILE_MODE = 0o700, 0o600


def must_be_private(directory: Path, name: str) -> None:
    """Refuse a place where others could come, or where the file is already.

    A directory that is not there yet will be made. Raises PkiError EXPORT-FILE.
    """
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _unusable(directory, exc.strerror or "unreadable") from None
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(directory, "a link or a file")
    if status.st_uid != os.geteuid():
        raise _unusable(directory, f"owned by user id {status.st_uid}")
    if mode & 0o077:
        raise _unusable(directory, f"mode {mode:04o}", f"chmod 700 {directory}")
    if (directory / name).exists() or (directory / name).is_symlink():
        raise _unusable(directory / name, "a file of that name", "choose another id")


def write(directory: Path, name: str, content: bytes, before: Callable[[], None]) -> Path:
    """Put a file there, whole or not at all, and durably.

    ``before`` is called when the bytes are safe on disk under a hidden name and before they get
    their own: what must not be missing beside the file is written there. A run that is killed in
    between leaves the hidden file, for its owner alone.
    """
    path, hidden = directory / name, directory / f".{name}.part"
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        must_be_private(directory, name)
        _fill(hidden, content)
    except OSError as exc:
        raise _unusable(path, exc.strerror or "not writable") from None
    try:
        before()
        # Not a rename, which would replace what somebody has put there meanwhile.
        os.link(hidden, path)
    except OSError as exc:
        raise _unusable(path, exc.strerror or "not writable") from None
    finally:
        hidden.unlink(missing_ok=True)
        _sync(directory)
    return path


def _fill(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), FILE_MODE)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, found: str, next_step: str = "name another directory") -> PkiError:
    return PkiError(
        "an exported key cannot be put there",
        rule=RULE,
        found=found,
        expected="a directory of yours with mode 0700, and no file of that name in it",
        where=str(path),
        next_step=f"{next_step}; no key was handed out",
    )
