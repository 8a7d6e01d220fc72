# SPDX-License-Identifier: GPL-3.0-or-later
"""One ansible-playbook that is watched while it runs, and may be made to die in the middle."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from scenarios.scenario import REPOSITORY, STEP_SECONDS, Done, Scenario

# Beside the project's own, without which no run begins.
_PLUGINS = (REPOSITORY / "tests/scenarios/callback_plugins", REPOSITORY / "callback_plugins")
_TASK = re.compile(r"^TASK \[(.*)\] \*+$")
_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


class ControllerRun:
    """A running ``ansible-playbook`` and what it has printed so far."""

    def __init__(
        self, scenario: Scenario, command: Sequence[str], environment: Mapping[str, str] = {}
    ) -> None:
        self._lines: list[str] = []
        self._tasks: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **scenario.environment, **scenario.settings, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                if task := _TASK.match(line):
                    self._tasks.append(task.group(1))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    # -- looking -------------------------------------------------------------------

    @property
    def output(self) -> str:
        with self._news:
            return "".join(self._lines)

    @property
    def over(self) -> bool:
        with self._news:
            return self._ended

    def wait_for(self, task: str) -> None:
        """Return when the task begins; a run that ends without it fails the test."""
        with self._news:
            self._news.wait_for(lambda: self._ended or task in self._tasks, STEP_SECONDS)
            begun = task in self._tasks
        assert begun, f"no task {task!r} in\n{self.output[-8000:]}"

    # -- ending --------------------------------------------------------------------

    def done(self) -> Done:
        """Wait for the end."""
        self._finish()
        return Done(self.process.returncode, self.output)

    def _finish(self) -> None:
        self.process.wait(STEP_SECONDS)
        # What outlives a killed run may keep the pipe open; nothing more is expected from it.
        self._reader.join(5)


def dying(task: str, delay: float, hit: Path) -> dict[str, str]:
    """Environment of a run that is killed with all it started, ``delay`` seconds into a task.

    ``hit`` is the file that then names the task that was killed.
    """
    return {
        "ANSIBLE_CALLBACK_PLUGINS": ":".join(map(str, _PLUGINS)),
        "ANSIBLE_CALLBACKS_ENABLED": "dies",
        "FAULTS_TASK": task,
        "FAULTS_DELAY": f"{delay:.3f}",
        "FAULTS_HIT": str(hit),
    }


def changed(done: Done) -> dict[str, int]:
    """Number of changed tasks by host, from the recap."""
    recap = {host: int(count) for host, count, _, _ in _RECAP.findall(done.output)}
    assert recap, done.output[-4000:]
    return recap
