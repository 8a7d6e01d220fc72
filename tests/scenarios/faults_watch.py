# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a run of the controller lets out: what it prints, starts, stores and remembers.

Command lines, environments and files are kept as they come and go, for a search afterwards.
Memory is too much to keep: it is searched while the run lives, for needles that are known
before. The needles of a key are numbers and lines that nobody else has; a modulus is public.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from scenarios import faults_processes as processes
from scenarios.faults_controller import ControllerRun

_PAUSE = 0.05
_LARGEST = 4 << 20  # a file of a run that is larger is not one of ours
_WINDOW = 32
_LINES = 6


def memory_needles(pem: str) -> dict[bytes, str]:
    """What a key looks like in memory, by name: text lines, DER bytes, and numbers as OpenSSL
    keeps them (least significant byte first)."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    needles = {}
    for name in ("d", "p", "q"):
        number = getattr(numbers, name)
        data = number.to_bytes((number.bit_length() + 7) // 8, "big")
        needles[data[:_WINDOW]] = f"{name}, most significant byte first"
        needles[data[::-1][:_WINDOW]] = f"{name}, least significant byte first"
    lines = [line.encode() for line in pem.splitlines() if not line.startswith("-")]
    # The modulus comes first and takes less than a third.
    secret = lines[len(lines) // 3 : -1]
    for number in range(_LINES):
        line = secret[number * len(secret) // _LINES]
        needles[line] = f"line {lines.index(line) + 1} of the PEM text"
    return needles


@dataclass
class Watch:
    """One watched run. ``home`` is where it keeps its files; ``needles`` are looked for in memory
    from the beginning of ``task`` on."""

    run: ControllerRun
    home: Path
    task: str
    needles: dict[bytes, str]
    kept: dict[str, bytes] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)
    looks: int = 0

    def follow(self) -> None:
        """Until the run is over."""
        looking = threading.Thread(target=self._look_into_memory)
        looking.start()
        while not self.run.over:
            for pid in processes.tree(self.run.process.pid):
                self._keep(f"command line {pid}", processes.command_line(pid))
                self._keep(f"environment {pid}", processes.environment(pid))
            self._keep_files()
            time.sleep(_PAUSE)
        looking.join()
        self.kept["output"] = self.run.output.encode()

    def _look_into_memory(self) -> None:
        self.run.wait_for(self.task)
        while not self.run.over:
            found: set[bytes] = set()
            # Those that live shortest first: workers, and what they started.
            for pid in reversed(processes.tree(self.run.process.pid)):
                found |= processes.memory_has(pid, self.needles)
            self.remembered |= {self.needles[needle] for needle in found}
            self.looks += 1
            time.sleep(_PAUSE)

    def _keep_files(self) -> None:
        """Also of files that are gone at the end."""
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    status = path.stat()
                    if status.st_size < _LARGEST and path.is_file():
                        self._keep_once(f"{path} {status.st_mtime_ns} {status.st_size}", path)

    def _keep_once(self, label: str, path: Path) -> None:
        if label not in self.kept:
            self.kept[label] = path.read_bytes()

    def _keep(self, what: str, data: bytes) -> None:
        # A process may change both by becoming another program.
        if data:
            self.kept[f"{what} ({hash(data):x})"] = data
