# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore drill from beginning to end: a private directory, a process of its own, a verdict.

The work is done by a forked process that has left the network and dies with its parent, and its
server with it. Whatever happens the directory is removed; after a kill -9 by the next drill.
"""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from . import drill, isolation, private_directory
from .drill import Looked, Wanted
from .errors import PkiError
from .scratch_server import ScratchServer, Seal
from .session import Inputs

RULE = "DRILL"
WHAT = "the directory for drills"
#: A restored server that nobody heard of for so long is given up.
SECONDS = 900.0
_PREFIX = "drill-"
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a drill that reached the snapshot.

    ``looked`` is None when the server did not get so far, and then ``error`` says why.
    """

    looked: Looked | None
    error: PkiError | None
    server_version: str
    seconds: int

    @property
    def passed(self) -> bool:
        return self.looked is not None and not self.looked.problems


#: Asks the restored server, given what of a login's options is another there.
Look = Callable[[Mapping[str, str]], Looked]


def run(base: Path, program: int, seal: Seal, snapshot: Path, look: Look) -> Outcome:
    """Hold a drill below ``base``, a directory for nothing else.

    Raises:
        PkiError: whatever keeps the drill from reaching the snapshot.
    """
    private_directory.make(base, WHAT)
    with private_directory.alone(base, "holding a drill"):
        tidy(base)
        home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        try:
            return _supervised(home, program, seal, snapshot, look)
        finally:
            remove(home)


def tidy(base: Path) -> None:
    """Remove what killed drills have left; only for whoever holds the lock."""
    for path in base.glob(f"{_PREFIX}*"):
        remove(path)


def remove(home: Path) -> None:
    """Remove a drill's directory. Blocks are not overwritten; the keys were never in there."""
    # A server that was killed this moment may still have made a file: once more, then.
    for _ in range(2):
        shutil.rmtree(home, ignore_errors=True)
    if home.exists():
        raise PkiError(
            "the directory of a drill cannot be removed",
            rule=RULE,
            found="something in it that this run may not remove",
            expected="nothing left of a drill",
            where=str(home),
            next_step="remove it by hand: it holds a restored storage",
        )


def _supervised(home: Path, program: int, seal: Seal, snapshot: Path, look: Look) -> Outcome:
    reader, writer = os.pipe()
    parent, begun = os.getpid(), time.monotonic()
    worker = os.fork()
    if worker == 0:
        try:
            os.close(reader)
            _work(parent, writer, ScratchServer(home, program, seal), snapshot, look)
        finally:
            # Above it stands its parent's code.
            os._exit(1)
    os.close(writer)
    try:
        said = _heard(reader, begun + SECONDS)
    finally:
        os.close(reader)
        # The server dies with it.
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    looked, error, version, reached = said
    if error is not None and not reached:
        raise error
    return Outcome(looked, error, version, round(time.monotonic() - begun))


_Said = tuple[Looked | None, PkiError | None, str, bool]


def _heard(reader: int, deadline: float) -> _Said:
    """What the worker says; words of our own when it dies or is late."""
    poll, content = select.poll(), bytearray()
    poll.register(reader, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(reader, _CHUNK)
        if not part:
            break
        content += part
    else:
        return None, _silent(f"no verdict after {SECONDS:.0f} seconds"), "", True
    try:
        said: _Said = pickle.loads(bytes(content))  # what our own fork wrote
    except Exception:
        return None, _silent("its process ended without a word"), "", False
    return said


def _silent(found: str) -> PkiError:
    return PkiError(
        "the drill was given up",
        rule=RULE,
        found=found,
        expected="a verdict",
        where="the drill's process",
        next_step="look whether this machine has memory and disk left, and run again",
    )


def _work(parent: int, writer: int, server: ScratchServer, snapshot: Path, look: Look) -> NoReturn:
    """The whole life of the process that does it. It never comes back."""
    looked: Looked | None = None
    error: PkiError | None = None
    version, reached = "", False
    try:
        isolation.leave_the_network()
        isolation.die_with(parent)
        server.start()
        reached = True
        version = str(server.restore(snapshot).get("version", ""))[:100]
        looked = look(server.options)
    except PkiError as exc:
        error = exc
    except BaseException as exc:
        # Its type only: the text of what nobody expected could quote a secret.
        error = _silent(f"{type(exc).__name__}, a fault of this program")
    try:
        server.stop()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps((looked, error, version, reached)))
    finally:
        os._exit(0)


def looking(
    inputs: Inputs, keys: tuple[Wanted, ...], login: Mapping[str, Any], taken: datetime | None
) -> Look:
    """The question to the restored server: the pipeline's own login, at another address."""

    def look(options: Mapping[str, str]) -> Looked:
        return drill.look(inputs, keys, {**login, **options}, taken)

    return look
