# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a piece of work die at any of its operations, and let a power cut take what was not synced.

The work runs in a forked process. There every operation on files and processes is counted, and
before the wanted one the process gets SIGKILL. What had not reached the disk by then is told to
the parent, which can take it away again as a power cut would.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_COUNTED = {
    "os.rename", "os.remove", "os.symlink", "os.link", "os.mkdir", "os.rmdir", "os.chmod",
    "os.truncate", "os.kill", "subprocess.Popen", "fcntl.flock",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

State = tuple[str, bytes | str, int] | None  # what stood at a path: kind, content, mode


@dataclass
class Death:
    """How the work ended: its operations so far, and what was not on the disk for sure."""

    killed: bool
    operations: list[str]
    pending: list[tuple[str, Any, Any]] = field(default_factory=list)

    def lose_what_was_not_synced(self) -> None:
        """Directory entries go back to what they were, files that were never synced are empty."""
        for kind, path, before in reversed(self.pending):
            if kind == "data" and os.path.isfile(path) and not os.path.islink(path):
                os.truncate(path, 0)
            elif kind == "entry":
                _put(path, before)


def die(work: Callable[[], object], at: int = 0, below: str = "") -> Death:
    """Run ``work`` in a process that is killed before its operation number ``at``; 0: never.

    ``below``: where entries and files are watched for being synced.
    """
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            watch = _Watch(at, below, told.fileno())
            try:
                watch.begin()
                work()
                watch.tell()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        operations, pending = pickle.loads(told.read())
    return Death(os.WIFSIGNALED(status), operations, pending)


class _Watch:
    """Counts in the child, and knows what a power cut would take."""

    def __init__(self, at: int, below: str, told: int) -> None:
        self._at, self._below, self._told = at, below, told
        self._operations: list[str] = []
        self._pending: list[tuple[str, Any, Any]] = []
        self._unsynced: dict[tuple[int, int], str] = {}
        self._over = False

    def begin(self) -> None:
        for name in ("rename", "symlink", "link", "unlink", "mkdir", "rmdir", "open", "fsync"):
            setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
        os.remove = os.unlink
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._over:
            return
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & _WRITING:
                self._step(f"open {os.path.basename(str(arguments[0]))}")
        elif event in _COUNTED:
            self._step(event)

    def _step(self, name: str) -> None:
        self._operations.append(name)
        if len(self._operations) == self._at:
            self.tell()
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self) -> None:
        self._over = True
        files = [("data", path, None) for path in self._unsynced.values()]
        os.write(self._told, pickle.dumps((self._operations, [*self._pending, *files])))

    # -- what is known of the disk -------------------------------------------------------

    def _entry(self, path: str) -> None:
        if self._below and path.startswith(self._below) and not self._over:
            self._pending.append(("entry", path, _state(path)))

    def _rename(self, real: Any) -> Any:
        def call(source: str, target: str) -> None:
            moved, before = _state(source), _state(target)
            real(source, target)
            if self._below and target.startswith(self._below):
                self._pending += [("entry", source, moved), ("entry", target, before)]
                for inode, path in self._unsynced.items():
                    if path == source:
                        self._unsynced[inode] = target

        return call

    def _symlink(self, real: Any) -> Any:
        def call(target: str, path: str) -> None:
            self._entry(path)
            real(target, path)

        return call

    _link = _symlink

    def _unlink(self, real: Any) -> Any:
        def call(path: str, *, dir_fd: int | None = None) -> None:
            self._entry(_whole(path, dir_fd))
            real(path, dir_fd=dir_fd)

        return call

    _rmdir = _unlink

    def _mkdir(self, real: Any) -> Any:
        def call(path: str, mode: int = 0o777) -> None:
            self._entry(path)
            real(path, mode)

        return call

    def _open(self, real: Any) -> Any:
        def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            ours = isinstance(path, str) and bool(self._below) and path.startswith(self._below)
            new = ours and flags & os.O_CREAT and not os.path.lexists(path)
            if new:
                self._entry(path)
            descriptor: int = real(path, flags, mode, dir_fd=dir_fd)
            if new:
                status = os.fstat(descriptor)
                self._unsynced[status.st_dev, status.st_ino] = path
            return descriptor

        return call

    def _fsync(self, real: Any) -> Any:
        def call(descriptor: int) -> None:
            if not self._over:
                self._step("fsync")
            real(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                directory = os.readlink(f"/proc/self/fd/{descriptor}")
                self._pending = [
                    entry for entry in self._pending if os.path.dirname(entry[1]) != directory
                ]
            else:
                self._unsynced.pop((status.st_dev, status.st_ino), None)

        return call


def _whole(path: str, directory: int | None) -> str:
    if directory is None:
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), path)


def _state(path: str) -> State:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path), mode
    if stat.S_ISDIR(status.st_mode):
        return "directory", "", mode
    with open(path, "rb") as handle:
        return "file", handle.read(), mode


def _put(path: str, before: State) -> None:
    """Make a path what it was."""
    now = _state(path)
    if now == before:
        return
    if now is not None:
        if now[0] == "directory":
            shutil.rmtree(path)  # with what others put into it
        else:
            os.unlink(path)
    if before is None or not os.path.isdir(os.path.dirname(path)):
        return
    kind, content, mode = before
    if kind == "link":
        os.symlink(str(content), path)
    elif kind == "directory":
        os.mkdir(path, mode)
    else:
        with open(path, "wb") as handle:
            handle.write(bytes(content) if isinstance(content, bytes) else b"")
        os.chmod(path, mode)
