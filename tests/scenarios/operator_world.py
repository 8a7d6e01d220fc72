# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at the controller, and the one gateway they reach over ssh."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scenarios.faults_processes import kill_tree
from scenarios.operator_way import Way
from scenarios.scenario import REPOSITORY, TOOL, Done, Scenario

SITE, FIREWALL = "playbooks/site.yml", "playbooks/firewall.yml"
ARMED = "/run/pki-firewall/armed.json"
_RECAP = re.compile(r"^gateway\s+:.*\bchanged=(\d+)\b", re.MULTILINE)
_WRITTEN = re.compile(r"/etc/pki/gateway/[^/]+/(?:log|run)/")
_SECONDS = 600


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

    def start(self, path: str, *options: str) -> Running:
        """A playbook that goes on while the test looks."""
        command = self.scenario.playbook_command(path, *options)
        return Running(
            subprocess.Popen(
                [str(TOOL), "--in", self.scenario.name, *command],
                cwd=REPOSITORY,
                env={**os.environ, **self.scenario.settings},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        )

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


@dataclass(frozen=True)
class Running:
    """A playbook under way."""

    process: subprocess.Popen[str]

    def kill_at(self, words: str) -> str:
        """SIGKILL for it and all it started when it says these words; what it said until then."""
        assert self.process.stdout is not None
        said = []
        with self.process:
            for line in self.process.stdout:
                said.append(line)
                if words in line:
                    kill_tree(self.process.pid)
                    break
            else:
                raise AssertionError(f"it never said {words!r}:\n{''.join(said)}")
        return "".join(said)

    def end(self) -> Done:
        output, _ = self.process.communicate(timeout=_SECONDS)
        return Done(self.process.returncode, output)


def changed(done: Done) -> int:
    """Number of changed tasks on the gateway."""
    recap = _RECAP.search(done.output)
    assert recap, done.output
    return int(recap.group(1))


def variables(**values: object) -> tuple[str, str]:
    """Extra variables of a run."""
    return "-e", json.dumps(values)
