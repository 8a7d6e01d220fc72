# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a person names on the command line and that hold nothing secret."""

from __future__ import annotations

from pathlib import Path

from . import plain_files
from .errors import PkiError

RULE = "BROUGHT-FILE"


def read(path: str, limit: int, what: str) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; links are followed.

    ``what`` names the file in messages ("the request's file").

    Raises:
        PkiError: BROUGHT-FILE; missing, unreadable, not regular, too large or empty.
    """
    try:
        content = plain_files.read(Path(path), limit, follow=True)
    except OSError as exc:
        found, content = exc.strerror or "unreadable", b""
    else:
        found = "nothing in it"
    if content:
        return content
    raise PkiError(
        f"{what} cannot be used",
        rule=RULE,
        found=found,
        expected=f"a regular file of at most {limit} bytes",
        where=path or "nothing was named",
        next_step="name a file that this run can read; nothing was changed",
    )
