# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that reaches nothing: no network but its own loopback, no files but one directory.

For servers that are started from a copy of a real one's storage: what is in there may tell them to
revoke leases, rotate passwords or write logs elsewhere. Linux only; standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path
from typing import NoReturn

from .errors import PkiError

RULE = "DRILL-ISOLATION"
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_REQUEST = struct.Struct("16sh14x")


def leave_the_network() -> None:
    """Give this process a network of its own, with a loopback and nothing else.

    Ordinary users get a user namespace for it, in which they are who they are.

    Raises:
        PkiError: DRILL-ISOLATION where the system does not allow it; nothing has changed then.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = _NEW_NET if user == 0 else _NEW_NET | _NEW_USER
    if libc.unshare(wanted) != 0 and (user or libc.unshare(_NEW_NET | _NEW_USER) != 0):
        raise _refused(os.strerror(ctypes.get_errno()))
    try:
        if user or not _is_mapped():
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _raise_loopback()
    except OSError as exc:
        found = os.strerror(exc.errno or 0)
    else:
        return
    raise _refused(found)


def _is_mapped() -> bool:
    return bool(Path("/proc/self/uid_map").read_text().strip())


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _GET_FLAGS, _REQUEST.pack(b"lo", 0))
        flags = _REQUEST.unpack(answer)[1]
        fcntl.ioctl(asked, _SET_FLAGS, _REQUEST.pack(b"lo", flags | _UP))


def die_with(parent: int) -> None:
    """Be killed when ``parent``, who started this process, is gone; at once if it is already.

    After :func:`leave_the_network`: a change of identity takes this back.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def become(program: int, arguments: list[str], root: Path) -> NoReturn:
    """Turn this process into a program that sees ``root`` as the whole file system.

    ``program`` is an open descriptor of it; it has to need no libraries. The environment is
    empty. Never comes back: what fails ends the process with status 126.
    """
    try:
        os.chroot(root)
        os.chdir("/")
        os.umask(0o077)
        os.execve(program, arguments, {})
    finally:
        os._exit(126)


def _refused(found: str) -> PkiError:
    return PkiError(
        "a restored server cannot be kept from the network here",
        rule=RULE,
        found=found,
        expected="the right to make network namespaces, as root or by user namespaces",
        where="this machine",
        next_step="run the drill on a machine that allows them: a restored server that reached "
        "others could revoke their leases; nothing was changed",
    )
