# SPDX-License-Identifier: GPL-3.0-or-later
"""A process with everything below it, as /proc shows it: to end all of it, or to look into it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 8 << 20
# One needle may lie across the border of two chunks.
_OVERLAP = 256


def tree(root: int) -> list[int]:
    """``root`` and all its descendants that live now, whatever session they moved to."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]


def kill_tree(root: int) -> int:
    """SIGKILL for all of a tree at one moment; how many there were.

    Workers of Ansible lead sessions of their own, so a process group is not enough. All are
    stopped first: nobody sees another one die, or starts a new one meanwhile. The caller may be
    one of them; it goes last.
    """
    stopped: set[int] = {os.getpid()}
    while fresh := [pid for pid in tree(root) if pid not in stopped]:
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)
            stopped.add(pid)
    own = {os.getpid()} & {*tree(root)}
    killed = [*(stopped - {os.getpid()}), *own]
    for pid in killed:
        _signal(pid, signal.SIGKILL)
    return len(killed)


def command_line(pid: int) -> bytes:
    return _read(pid, "cmdline")


def environment(pid: int) -> bytes:
    return _read(pid, "environ")


def memory_has(pid: int, needles: Iterable[bytes]) -> set[bytes]:
    """Which needles a process has in memory that it can write to: heaps, stacks, buffers.

    What cannot be read any more, because the process has ended, holds nothing.
    """
    wanted, found = set(needles), set()
    for data in _memory(pid):
        found |= {needle for needle in wanted - found if needle in data}
    return found


def _memory(pid: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in _writable(pid):
            for offset in range(start, end, _CHUNK):
                # A mapping may vanish between the two looks; the others are still of interest.
                with contextlib.suppress(OSError):
                    memory.seek(offset)
                    yield memory.read(min(_CHUNK + _OVERLAP, end - offset))


def _writable(pid: int) -> list[tuple[int, int]]:
    regions = []
    for line in _read(pid, "maps").decode().splitlines():
        place, rights, *_ = line.split()
        if rights.startswith("rw"):
            start, end = place.split("-")
            regions.append((int(start, 16), int(end, 16)))
    return regions


def _parents() -> Iterator[tuple[int, int]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            # The name in brackets may hold anything, blanks and brackets included.
            fields = _read(int(entry), "stat").rpartition(b")")[2].split()
            if len(fields) > 1:
                yield int(entry), int(fields[1])


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
