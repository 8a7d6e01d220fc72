# SPDX-License-Identifier: GPL-3.0-or-later
"""Safe files: nothing is ever half written, and nothing secret is ever readable for a moment.

A file is created beside its destination with ``O_EXCL`` and mode 0600, gets its final
mode while still under its temporary name, reaches the disk, and only then takes its
place by rename. A reader therefore sees the old bytes or the new bytes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

from .errors import HostError

PUBLIC = 0o644
PRIVATE = 0o600
DIRECTORY = 0o755
_TEMPORARY_PREFIX = ".new-"
_TEMPORARY_LINK_PREFIX = ".link-"


_REMEDIES = {
    errno.ENOSPC: "make room on that file system and run again",
    errno.EDQUOT: "raise the quota or make room, and run again",
    errno.EROFS: "mount that file system writable and run again",
    errno.EACCES: "check owner and mode of the directory and the user Ansible becomes",
    errno.EPERM: "check owner and mode of the directory and the user Ansible becomes",
    errno.ENOTDIR: "move away the file that stands where a directory belongs",
    errno.ELOOP: "move away the symbolic link that stands where a file belongs",
}


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what the system refuses about ``path`` into an error a person can act on."""
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else type(exc).__name__
        remedy = _REMEDIES.get(exc.errno or 0, "correct that and run again")
    else:
        return
    raise HostError(
        "the host refused to change a file",
        rule="FILE-REFUSED",
        found=reason,
        expected="a place this user can write to",
        where=path,
        next_step=remedy,
    )


def sha256(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def read(path: str) -> bytes | None:
    """The bytes of a regular file, or None when there is no regular file of that name.

    A symbolic link in the last component counts as "no file": what we install is a
    file, and somebody who put a link there is not to be followed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise HostError(
            "a file cannot be read",
            rule="FILE-UNREADABLE",
            found=exc.strerror or "unreadable",
            expected="a file this user can read",
            where=path,
            next_step="check the owner and mode of the file and the user Ansible becomes",
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # before fdopen(), which takes no directory
        return None
    with os.fdopen(descriptor, "rb") as handle:
        return handle.read()


def mode_of(path: str) -> int | None:
    """Permission bits of a regular file (a link is not followed), or None."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None


def require_own(root: str, *below: str) -> None:
    """Refuse directories through which somebody else decides what lies at ``root/below...``.

    A link below the root leads a private key to a place nobody chose, and in a directory
    that everybody may write to anybody exchanges what we put there. The root itself may be a
    link: where it leads is the administrator's choice. What does not exist yet is fine.
    """
    path = root
    for name in ("", *below):
        path = os.path.join(path, name) if name else path
        try:
            status = os.stat(path) if path == root else os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(status.st_mode):
            raise _unsafe(path, "a symbolic link", "move the link away and run again")
        if status.st_mode & stat.S_IWOTH:
            mode = stat.S_IMODE(status.st_mode)
            raise _unsafe(
                path, f"mode {mode:04o}", "find out who used it, then run chmod o-w on it"
            )


def _unsafe(path: str, found: str, next_step: str) -> HostError:
    return HostError(
        "a directory of ours is open to others",
        rule="FILE-UNSAFE",
        found=found,
        expected="a directory that only its owner and group may write to",
        where=path,
        next_step=next_step,
    )


def set_mode(path: str, mode: int) -> None:
    """Change the mode of the regular file itself, never of what a link points to."""
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(path: str, mode: int = DIRECTORY) -> bool:
    """Create the directory and its missing parents; True when something was created.

    Existing directories keep their mode: the parents may belong to the administrator.
    """
    if os.path.isdir(path):
        return False
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_directory(parent, DIRECTORY)
    with explained(path), contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
        os.chmod(path, mode)  # mkdir's mode passes through the umask
        _sync_directory(parent or ".")
    return True


def write_new(path: str, fill: Callable[[int], object], mode: int = PRIVATE) -> None:
    """Make a file that does not exist and let ``fill`` write to it; it is nobody else's before.

    Not atomic: for directories that get their name when they are whole.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with explained(path):
        descriptor = os.open(path, flags, mode)
        try:
            fill(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(path: str, data: bytes, mode: int = PRIVATE) -> None:
    """Replace ``path`` by a file of these bytes and this mode, atomically and durably."""
    write_stream(path, lambda handle: handle.write(data), mode)


def write_stream(path: str, fill: Callable[[BinaryIO], object], mode: int = PRIVATE) -> None:
    """The same for what ``fill`` writes, bit by bit; when it raises, ``path`` stays as it was.

    An OSError that leaves ``fill`` is told as one of this file.
    """
    directory = os.path.dirname(path)
    make_directory(directory)
    temporary = os.path.join(directory, _TEMPORARY_PREFIX + secrets.token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with explained(path):
        descriptor = os.open(temporary, flags, PRIVATE)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                fill(handle)
                handle.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)


def put_back(copy: str, path: str, mode: int) -> None:
    """Replace ``path`` by the file ``copy``, atomically and durably, and without any more room.

    Both names then belong to one file, so ``copy`` is for files that are given up afterwards; it
    is given to one place only.
    """
    directory = os.path.dirname(path)
    make_directory(directory)
    temporary = os.path.join(directory, _TEMPORARY_PREFIX + secrets.token_hex(8))
    try:
        if os.stat(copy).st_nlink > 1:
            raise FileExistsError
        os.link(copy, temporary)
    except OSError:  # also a file system without such links, or another one
        write(path, read(copy) or b"", mode)
        return
    with explained(path):
        os.chmod(temporary, mode)
        os.rename(temporary, path)
        _sync_directory(directory)


def new_directory(parent: str) -> str:
    """A directory of our own in ``parent``, mode 0700, to be filled and then moved into place.

    A killed writer leaves it behind under a name that :func:`sweep_directories` knows.
    """
    path = os.path.join(parent, _TEMPORARY_PREFIX + secrets.token_hex(8))
    with explained(path):
        os.mkdir(path, 0o700)
    return path


def move_directory(path: str, destination: str) -> None:
    """Give a directory its name, durably. A directory that has the name keeps what it holds."""
    with explained(destination):
        _sync_directory(path)
        os.rename(path, destination)
        _sync_directory(os.path.dirname(destination))
        if os.path.dirname(path) != os.path.dirname(destination):
            _sync_directory(os.path.dirname(path))


def discard_directory(path: str) -> None:
    """Remove a directory of ours: gone from its name at once, then from the disk."""
    if os.path.isdir(path) and not os.path.islink(path):
        name = _TEMPORARY_PREFIX + secrets.token_hex(8)
        aside = os.path.join(os.path.dirname(path), name)
        move_directory(path, aside)
        remove_tree(aside)


def remove(path: str) -> None:
    """Remove a file or link if it is there, durably."""
    with explained(path):
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        _sync_directory(os.path.dirname(path))


def link_target(path: str) -> str | None:
    """What the symbolic link says, or None when there is no link of that name."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def link(path: str, target: str) -> None:
    """Make ``path`` a symbolic link to ``target``; readers see the old or the new target."""
    directory = os.path.dirname(path)
    make_directory(directory)
    if os.path.isdir(path) and not os.path.islink(path):
        raise HostError(
            "a directory stands where a link belongs",
            rule="FILE-KIND",
            found="a directory",
            expected=f"a symbolic link to {target}",
            where=path,
            next_step="move that directory away; nothing of ours writes into it",
        )
    temporary = os.path.join(directory, _TEMPORARY_LINK_PREFIX + secrets.token_hex(8))
    with explained(path):
        os.symlink(target, temporary)
        try:
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)


def remove_tree(path: str) -> None:
    """Remove a directory of ours with all it holds, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        with explained(path):
            shutil.rmtree(path)


def sweep(directory: str) -> None:
    """Remove temporary files that a killed writer left in ``directory``.

    Call it only under the lock that every writer of the directory holds.
    """
    _sweep(directory, _TEMPORARY_PREFIX)


def sweep_directories(directory: str) -> bool:
    """The same for directories that were not moved into place, or not removed to the end."""
    left = [name for name in _names(directory) if name.startswith(_TEMPORARY_PREFIX)]
    for name in left:
        remove_tree(os.path.join(directory, name))
    return bool(left)


def sweep_links(directory: str) -> None:
    """The same for temporary links; links of a directory may have another owner."""
    _sweep(directory, _TEMPORARY_LINK_PREFIX)


def _sweep(directory: str, prefix: str) -> None:
    for name in _names(directory):
        if name.startswith(prefix):
            remove(os.path.join(directory, name))


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync_directory(path: str) -> None:
    # A rename is durable only once its directory is.
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class HostLock:
    """``with HostLock(path):`` one change at a time on this host.

    The kernel drops the lock when the process dies, however it dies, so there is no
    stale lock to break. Waiting is bounded: a stuck colleague is reported, not joined.
    """

    def __init__(self, path: str, wait_seconds: float = 120.0) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._descriptor = -1

    def __enter__(self) -> HostLock:
        make_directory(os.path.dirname(self._path))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with explained(self._path):
            self._descriptor = os.open(self._path, flags, PRIVATE)
        for _ in self._attempts():
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                continue
        os.close(self._descriptor)
        raise HostError(
            "another run is changing this host",
            rule="HOST-BUSY",
            found=f"the lock was held for more than {self._wait_seconds:.0f} s",
            expected="one run at a time",
            where=self._path,
            next_step="wait for the other run or end it, then start again",
        )

    def _attempts(self) -> Iterator[None]:
        deadline = time.monotonic() + self._wait_seconds
        yield
        while time.monotonic() < deadline:
            time.sleep(0.1)
            yield

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
