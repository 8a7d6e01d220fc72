# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking systemd, and what its units can name and see: for whoever has units of their own."""

from __future__ import annotations

import re

from .errors import HostError
from .service import last_lines, run_program

# Characters that a unit file takes as they are.
PLAIN = re.compile(r"[A-Za-z0-9_/.,:=@+-]+")
# Inside our units these are empty or private (ProtectHome, PrivateTmp).
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")


def ask(*arguments: str, about: str) -> str:
    """What ``systemctl`` answered; HostError SERVICE-MANAGER when it refused.

    ``about``: the unit whose status and journal say more.
    """
    code, output = run_program(["systemctl", *arguments], "/")
    if code != 0:
        raise HostError(
            "systemd refused",
            rule="SERVICE-MANAGER",
            found=last_lines(output) or f"exit code {code}",
            expected="exit code 0",
            where=f"systemctl {' '.join(arguments)}",
            next_step=f"read systemctl status {about} and its journal",
        )
    return output


def is_hidden(path: str) -> bool:
    """Whether a unit of ours would not see this path."""
    return any(path == hidden or path.startswith(f"{hidden}/") for hidden in HIDDEN)
