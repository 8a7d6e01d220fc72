# SPDX-License-Identifier: GPL-3.0-or-later
"""What planning costs a DIP Connection Provider: many participants, and half as many."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from unit import many_parties
from unit.pki_factory import NOW

PARTICIPANTS = 40
GOAL = 2.0  # CPU seconds of the whole process
ROUNDS = 3

Line = Callable[[str, float, str, float], None]


def planned(inventory: Path) -> dict[str, Any]:
    """One plan in a process of its own, as ``plan_once`` tells it."""
    command = [sys.executable, str(Path(__file__).with_name("plan_once.py"))]
    done = subprocess.run(
        [*command, str(inventory), NOW.isoformat()], stdout=subprocess.PIPE, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def cost(inventory: Path, what: str) -> float:
    """Median CPU seconds of several plans: of the ``process``, or of the ``plan`` in it."""
    return median(planned(inventory)[what] for _ in range(ROUNDS))


def issued(folder: Path, participants: int) -> Path:
    """An inventory whose certificates are all issued."""
    inventory = many_parties.write(folder, participants)
    many_parties.issue(inventory)
    return inventory


def report(line: Line) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = issued(Path(folder, "whole"), PARTICIPANTS)
        half = issued(Path(folder, "half"), PARTICIPANTS // 2)
        names = f"{PARTICIPANTS} participants, {many_parties.PROVIDERS} providers"
        peer = f"with {PARTICIPANTS // 2} participants"
        line(
            f"plan {names}, a process (goal {GOAL})",
            cost(whole, "process"),
            peer,
            cost(half, "process"),
        )
        line(f"plan {names}, after imports", cost(whole, "plan"), peer, cost(half, "plan"))
