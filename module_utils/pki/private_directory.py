# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that nobody but their owner may enter, and the one process that works in them."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import PkiError

RULE = "PRIVATE-DIRECTORY"
RULE_BUSY = "BACKUP-BUSY"
LOCK = "lock"


def check(path: Path, what: str) -> bool:
    """Whether the directory is there; PkiError PRIVATE-DIRECTORY when others may enter it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as exc:
        raise _unusable(path, what, getattr(exc, "strerror", None) or "no such name") from None
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(path, what, "a link or a file")
    if status.st_uid != os.geteuid():
        raise _unusable(path, what, f"owned by user id {status.st_uid}")
    if mode & 0o077:
        raise _unusable(path, what, f"mode {mode:04o}")
    return True


def make(path: Path, what: str) -> None:
    """Make the directory, 0700, if it is not there; its parent must be."""
    if check(path, what):
        return
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise _unusable(path, what, exc.strerror or "not made") from None
    check(path, what)


@contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Hold the directory's lock; it ends with this process and those it forked.

    Raises:
        PkiError: BACKUP-BUSY while another process holds it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path / LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PkiError(
                f"another process is {doing}",
                rule=RULE_BUSY,
                found="its lock is held",
                expected="one at a time",
                where=str(path / LOCK),
                next_step="wait for it to end, then run again; nothing was changed",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _unusable(path: Path, what: str, found: str) -> PkiError:
    return PkiError(
        f"{what} cannot be used",
        rule=RULE,
        found=found,
        expected="a directory of mode 0700, owned by the user who runs this",
        where=str(path),
        next_step=f"chmod 700 {path}, or name another one; nothing was changed",
    )
