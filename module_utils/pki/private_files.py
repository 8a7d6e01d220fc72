# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with secrets that a person brings: read whole and bounded, refused when others could read.

Whatever is wrong is said of the file, never of what is in it.
"""

from __future__ import annotations

import os
import stat

from .errors import PkiError

RULE = "PRIVATE-FILE"


def read(path: str, limit: int, what: str) -> bytes:
    """The bytes of a regular file that only its owner can read: you, or root.

    The mode is judged on the open file, so that what is checked is what is read. ``what`` names
    the file in messages ("the key file").

    Raises:
        PkiError: PRIVATE-FILE; missing, unreadable, not regular, above ``limit`` bytes, empty,
            owned by somebody else, or open to others.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits for its writer, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        found = getattr(exc, "strerror", None) or "no such name"
        raise _unusable(path, what, found, "name a file that this run can read") from None
    try:
        _check_private(os.fstat(descriptor), path, what)
    except PkiError:
        os.close(descriptor)
        raise
    # Not before: Python makes no file of a directory's descriptor.
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(limit + 1)
    if not 0 < len(content) <= limit:
        found = f"more than {limit} bytes" if content else "nothing in it"
        raise _unusable(path, what, found, "name the right file")
    return content


def _check_private(status: os.stat_result, path: str, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(path, what, "not a regular file", "name a file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        next_step = f"chmod 600 {path}; if others could read it for long, have a new key made"
        raise _unusable(path, what, f"mode {mode:04o}", next_step)
    if status.st_uid not in (os.geteuid(), 0):
        next_step = "copy it as the user who runs this, with mode 0600"
        raise _unusable(path, what, f"owned by user id {status.st_uid}", next_step)


def _unusable(path: str, what: str, found: str, next_step: str) -> PkiError:
    return PkiError(
        f"{what} cannot be used",
        rule=RULE,
        found=found,
        expected="a regular file of mode 0600, yours or root's",
        where=path,
        next_step=f"{next_step}; nothing was changed",
    )
