# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that other hands have put there: read whole and bounded, or not at all.

Whoever may commit beside the inventory may commit a link to a device that never ends, or a
directory, and on a runner a pipe that nobody writes to. None of them may stop or fill a run.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotPlain(OSError):
    """There is something of that name, but no regular file of a sensible size."""


def read(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes.

    ``follow``: a link in the last component is allowed, for paths that a person configured.

    Raises:
        FileNotFoundError: nothing there.
        NotPlain: something else than a regular file, or a larger one.
        OSError: unreadable.
    """
    # Without O_NONBLOCK opening a pipe waits for its writer, for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise NotPlain(errno.ELOOP, "a symbolic link") from None
        raise
    except ValueError as exc:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, "no such name") from exc
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotPlain(errno.EINVAL, "not a regular file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise NotPlain(errno.EFBIG, f"more than {limit} bytes")
    return content
