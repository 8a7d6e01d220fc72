# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's way in: ssh with the key and the known host key that the inventory names."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from scenarios.scenario import Done, Scenario

USER = "deploy"


@dataclass(frozen=True)
class Way:
    """How to get to one host. Every call is a new connection."""

    address: str
    keys: Path

    @classmethod
    def of(cls, scenario: Scenario, host: str = "gateway") -> Way:
        return cls(scenario.addresses["hosts"][host], scenario.state / "ssh")

    def run(self, command: str, *options: str, user: str = USER, seconds: int = 5) -> Done:
        """A command on the host, as the operator's user unless another is named."""
        done = subprocess.run(
            [
                *("ssh", "-F", "/dev/null", "-o", "ControlPath=none", "-o", "BatchMode=yes"),
                *("-o", f"ConnectTimeout={seconds}", "-o", "IdentitiesOnly=yes"),
                *("-i", str(self.keys / "id_ed25519"), "-o", "GlobalKnownHostsFile=/dev/null"),
                *("-o", f"UserKnownHostsFile={self.keys / 'known_hosts'}"),
                *options,
                f"{user}@{self.address}",
                command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def is_open(self, seconds: int = 3) -> bool:
        return self.run("true", seconds=seconds).returncode == 0

    def wait(self, seconds: int) -> None:
        """Until somebody can log in again."""
        end = time.monotonic() + seconds
        while not self.is_open():
            assert time.monotonic() < end, f"nobody can log in to {self.address}"
            time.sleep(0.5)
