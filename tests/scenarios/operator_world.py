# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at the controller, and the one gateway they reach over ssh."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scenarios.faults_controller import ControllerRun, dying
from scenarios.operator_way import Way
from scenarios.scenario import Done, Scenario

SITE, FIREWALL = "playbooks/site.yml", "playbooks/firewall.yml"
ARMED = "/run/pki-firewall/armed.json"
_RECAP = re.compile(r"^gateway\s+:.*\bchanged=(\d+)\b", re.MULTILINE)
_WRITTEN = re.compile(r"/etc/pki/gateway/[^/]+/(?:log|run)/")


@dataclass(frozen=True)
class Operator:
    """Runs playbooks, and looks at the gateway from inside to see what they did."""

    scenario: Scenario

    @cached_property
    def way(self) -> Way:
        return Way.of(self.scenario)

    @property
    def gateway(self) -> Any:
        return self.scenario.host("gateway")

    # -- running -------------------------------------------------------------------

    def play(self, path: str, *options: str, **environment: str) -> Done:
        command = self.scenario.playbook_command(path, *options)
        settings = {**self.scenario.settings, **environment}
        return self.scenario.inside(*command, environment=settings)

    def start(self, path: str, *options: str, **environment: str) -> ControllerRun:
        """A playbook that goes on while the test looks."""
        command = self.scenario.playbook_command(path, *options)
        return ControllerRun(self.scenario, command, environment)

    def die_at(self, task: str, path: str, *options: str) -> None:
        """A playbook that gets kill -9 with all it started, at the beginning of a task."""
        hit = self.scenario.state / "killed-in"
        done = self.start(path, *options, **dying(task, 0, hit)).done()
        assert done.returncode == -signal.SIGKILL, done.output[-8000:]
        assert hit.read_text() == task

    # -- looking -------------------------------------------------------------------

    def rules(self) -> str:
        """Everything that is in force now, without counters."""
        return str(self.gateway.check_output("nft --stateless list ruleset"))

    def is_armed(self) -> bool:
        return bool(self.gateway.file(ARMED).exists)

    def settings(self) -> dict[str, str]:
        """Every file and link of the host's configuration, with what it holds; not what the
        running gateway writes."""
        return {
            path: facts
            for path, facts in self.scenario.snapshot("gateway").items()
            if path.startswith("/etc/") and facts[:1] in "fl" and not _WRITTEN.match(path)
        }

    def power_cut(self) -> None:
        container = self.scenario.container("gateway")
        self.scenario.podman("kill", "--signal", "KILL", container).succeeded()
        self.scenario.podman("start", container).succeeded()


def changed(done: Done) -> int:
    """Number of changed tasks on the gateway."""
    recap = _RECAP.search(done.output)
    assert recap, done.output
    return int(recap.group(1))


def variables(**values: object) -> tuple[str, str]:
    """Extra variables of a run."""
    return "-e", json.dumps(values)
