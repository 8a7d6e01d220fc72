#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments with other releases of ``cryptography``, to ask them what they make of our requests.

Each pinned release (``tests/interop/cryptography/<version>.txt``, with hashes) gets an environment
of its own below ``.cache/cryptography``. Made when it is first asked for, and again when its pins
or this Python change; nothing but wheels is installed, so nothing is compiled.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tests/interop/cryptography"
KEPT = ROOT / ".cache/cryptography"


def releases() -> tuple[str, ...]:
    """The pinned releases, oldest first."""
    found = [path.stem for path in PINS.glob("*.txt")]
    return tuple(sorted(found, key=lambda text: [int(part) for part in text.split(".")]))


def python(release: str) -> Path:
    """The interpreter of a release's environment, which is made if need be.

    Raises:
        RuntimeError: it cannot be made, with the installer's own words.
    """
    environment, pins = KEPT / release, PINS / f"{release}.txt"
    interpreter, written = environment / "bin/python", environment / ".made-of"
    wanted = hashlib.sha256(sys.executable.encode() + pins.read_bytes()).hexdigest()
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (written.exists() and written.read_text() == wanted):
            shutil.rmtree(environment, ignore_errors=True)
            _run("venv", "--quiet", "--python", sys.executable, str(environment))
            _run(
                *("pip", "install", "--quiet", "--python", str(interpreter), "--require-hashes"),
                *("--only-binary", ":all:", "-r", str(pins)),
            )
            written.write_text(wanted)
    return interpreter


def _run(*arguments: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "--system-certs", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    for name in sys.argv[1:] or releases():
        print(python(name))
