# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a program of the host: bounded, without a shell, in English."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from .errors import HostError

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 60


@dataclass(frozen=True)
class Done:
    """What a program left: exit code and both its outputs."""

    code: int
    output: str
    errors: str

    @property
    def told(self) -> str:
        """Its last words, for a message."""
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return " | ".join(line.strip() for line in lines[:3]) or f"exit code {self.code}"


def find(name: str) -> str:
    """Absolute path of a program, or an empty text. A login without sbin finds it, too."""
    return shutil.which(name, path=_PATH) or ""


def run(program: str, *arguments: str) -> Done:
    """Run it to its end; HostError when it cannot be run or does not end."""
    path = find(program)
    if not path:
        raise _failed(program, "no such program", "install it")
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(program, f"no end after {_SECONDS} s", "find out what holds it") from None
    except OSError as exc:
        raise _failed(program, os.strerror(exc.errno or 0), "check the program") from None
    return Done(done.returncode, done.stdout, done.stderr)


def _failed(program: str, found: str, next_step: str) -> HostError:
    return HostError(
        f"the program {program} could not be run",
        rule="PROGRAM-FAILED",
        found=found,
        expected=f"{program} runs and ends",
        where=program,
        next_step=f"{next_step} and run again",
    )
