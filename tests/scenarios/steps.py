# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a scenario that are taken between two looks at everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from integration import digests
from scenarios.scenario import Change, Scenario, difference

GATEWAYS = ("gateway", "gateway-old")


@dataclass(frozen=True)
class Checked:
    """A check run: what it announced, and what it moved although it must not move a thing."""

    announced: frozenset[Change]
    moved: dict[str, Any]


def check(scenario: Scenario) -> Checked:
    """molecule check between two snapshots of everything it could have touched."""
    before = everything(scenario)
    scenario.molecule("check").succeeded()
    after = everything(scenario)
    moved = {name: difference(before[name], after[name]) for name in before}
    return Checked(scenario.changes("check"), {name: what for name, what in moved.items() if what})


def everything(scenario: Scenario) -> dict[str, dict[str, str]]:
    seen = {host: scenario.snapshot(host) for host in scenario.hosts if host != "vault"}
    seen["controller"] = scenario.controller_files()
    seen["Vault"] = {name: str(value) for name, value in digests.vault(scenario.lab).items()}
    return seen
