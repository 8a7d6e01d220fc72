# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at processes and listening sockets through ``/proc``; nothing is changed here."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_LISTEN = "0A"
_WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Process:
    """One process. ``start`` (clock ticks since boot) tells a reused pid from the old one."""

    pid: int
    parent: int
    start: int
    uid: int
    title: str

    @property
    def identity(self) -> str:
        """Unique on this host for ever: boot, pid and start time."""
        return f"{boot_id()}:{self.pid}:{self.start}"


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def process(pid: int) -> Process | None:
    """The process of this id, or None when it is gone (or only its zombie is left)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            # The second field is the command in parentheses and may itself hold ")".
            fields = handle.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            title = handle.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except (OSError, IndexError):
        return None
    return Process(pid, int(fields[1]), int(fields[19]), uid, title)


def processes() -> Iterator[Process]:
    """Every process this user can see."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = process(int(name))
            if found is not None:
                yield found


def open_files(pid: int) -> list[str]:
    """What the process's descriptors point to; empty when this user may not look."""
    targets = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                targets.append(os.readlink(f"/proc/{pid}/fd/{name}"))
            except OSError:
                continue
    except OSError:
        return []
    return targets


def is_listening(pid: int) -> bool:
    """Whether the process holds a TCP socket that listens, as far as this user may look."""
    inodes = {
        inode
        for table in ("tcp", "tcp6")
        # In the network of that process: who asks may have none (PrivateNetwork of the guard).
        for _, state, inode in _sockets(table, str(pid))
        if state == _LISTEN
    }
    return not {f"socket:[{inode}]" for inode in inodes}.isdisjoint(open_files(pid))


def listening_inodes(address: str, port: int) -> set[str]:
    """Inodes of sockets that listen on this port in a way that blocks this address."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for local, state, inode in _sockets(table):
            host, _, number = local.rpartition(":")
            if state != _LISTEN or int(number, 16) != port:
                continue
            bound = _address(host, family)
            if bound == address or bound in _WILDCARDS or address in _WILDCARDS:
                found.add(inode)
    return found


def holders(inodes: set[str]) -> list[Process]:
    """Processes that hold one of these sockets, as far as this user can see."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return [found for found in processes() if wanted.intersection(open_files(found.pid))]


def _sockets(table: str, process: str = "self") -> Iterator[tuple[str, str, str]]:
    try:
        with open(f"/proc/{process}/net/{table}", encoding="ascii") as handle:
            next(handle)
            for line in handle:
                fields = line.split()
                yield fields[1], fields[3], fields[9]
    except FileNotFoundError:  # a kernel without IPv6, or the process has ended
        return


def _address(text: str, family: int) -> str:
    # Each 32-bit group is printed as a number in host byte order.
    groups = [int(text[index : index + 8], 16) for index in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(group.to_bytes(4, sys.byteorder) for group in groups))
