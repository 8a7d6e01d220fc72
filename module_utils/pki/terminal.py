# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal of whoever started the run: the one place where a secret may be shown.

A module's output is Ansible's: printed, logged, kept by callbacks. And a module, like the worker
that started it, has no terminal of its own: Ansible detaches its workers. But some process above
it was started at one, and its name can be asked for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import PkiError

RULE = "EXPORT-TERMINAL"
_DEEPEST = 64
# Linux: major numbers of pseudo-terminals, 256 of them each, and of consoles and serial lines.
_PSEUDO = range(136, 144)
_CONSOLE = 4
_SERIAL_FROM = 64


class Terminal:
    """An open terminal; use it as a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def show(self, text: str) -> None:
        """Write lines, and nothing of them anywhere else.

        Raises:
            PkiError: EXPORT-TERMINAL when the terminal is gone; the text is not part of it.
        """
        left = memoryview(f"\n{text}\n".encode())
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as exc:
            problem = exc.strerror or "closed"
        else:
            return
        raise _none(problem, "the passphrase is lost: delete the file and export again")


def find() -> Terminal:
    """The terminal at which the nearest process above this one was started.

    Raises:
        PkiError: EXPORT-TERMINAL without one (a pipeline, cron), or with one of another user's.
    """
    process = os.getpid()
    for _ in range(_DEEPEST):
        told = _status(process)
        if told is None:
            break
        parent, number = told
        if number:
            return _opened(number)
        process = parent
    raise _none("no process above this one has a terminal")


def _status(process: int) -> tuple[int, int] | None:
    """Parent and terminal of a process (fields 4 and 7 of its stat); None when there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        # The second field is the program's name in brackets, and may hold anything.
        fields = text.rpartition(")")[2].split()
        return int(fields[1]), int(fields[4])
    except (OSError, ValueError, IndexError):
        return None


def _opened(number: int) -> Terminal:
    path = _path(os.major(number), os.minor(number))
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        problem = f"{path}: {exc.strerror}"
    else:
        status = os.fstat(descriptor)
        right = stat.S_ISCHR(status.st_mode) and status.st_rdev == number
        if right and os.isatty(descriptor) and status.st_uid == os.geteuid():
            return Terminal(descriptor)
        os.close(descriptor)
        problem = f"{path} is not a terminal of this user"
    raise _none(problem)


def _path(major: int, minor: int) -> str:
    if major in _PSEUDO:
        return f"/dev/pts/{(major - _PSEUDO.start) * 256 + minor}"
    if major == _CONSOLE:
        serial = minor - _SERIAL_FROM
        return f"/dev/tty{minor}" if serial < 0 else f"/dev/ttyS{serial}"
    raise _none(f"a terminal of another kind (device {major}, {minor})")


def _none(found: str, next_step: str = "") -> PkiError:
    return PkiError(
        "there is no terminal to show the passphrase on",
        rule=RULE,
        found=found,
        expected="a run that a person started at a terminal of theirs",
        where="show=true",
        next_step=next_step
        or "leave show out: the passphrase goes to Vault, where the receiver reads it",
    )
