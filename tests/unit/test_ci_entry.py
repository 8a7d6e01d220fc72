# SPDX-License-Identifier: GPL-3.0-or-later
"""What continuous integration's entry point installs, and that it starts no service with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from unit.controller_world import REPOSITORY

ENTRY = REPOSITORY / ".ci/run"
POLICY = "/usr/sbin/policy-rc.d"


class Machine:
    """A Debian machine of programs that only note how they were called."""

    def __init__(self, base: Path) -> None:
        self.calls = base / "calls"
        self.policy = base / "policy-rc.d"
        self.programs = base / "bin"
        self.programs.mkdir()
        self.program("dpkg-query", "exit 1")
        self.program("id", "echo 0")
        self.program("make")
        # What dpkg would be told about a service, while the packages are installed.
        self.program("apt-get", f"case $* in *install*) {self.policy} >&2; echo $? ;; esac")
        (base / ".ci").mkdir()
        self.entry = base / ".ci/run"
        text = ENTRY.read_text()
        assert text.count(POLICY) == 1
        self.entry.write_text(text.replace(POLICY, str(self.policy)))

    def program(self, name: str, body: str = "true") -> None:
        path = self.programs / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{{ {body}; }} | tee -a {self.calls}\n'
        )
        path.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name != "CI"}
        path = f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", self.entry],
            env={**kept, "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_pipeline_gets_the_gateways_and_their_services_may_not_start(machine: Machine) -> None:
    done = machine.run(CI="true")
    assert done.returncode == 0, done.stderr
    (install,) = (call for call in machine.called if " install " in call)
    assert {"nginx-core", "haproxy", "podman"} <= set(install.split())
    assert machine.called[machine.called.index(install) + 1] == "101"
    assert machine.called[-1] == "make test"


def test_what_keeps_services_from_starting_is_gone_before_the_tests_begin(
    machine: Machine,
) -> None:
    machine.program("make", f"ls {machine.policy} 2>&1")
    machine.run(CI="true")
    assert "No such file" in machine.called[-1]


def test_a_machine_that_has_an_answer_of_its_own_keeps_it(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    machine.policy.chmod(0o755)
    machine.run(CI="true")
    assert "104" in machine.called
    assert machine.policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_a_failed_installation_stops_the_run_and_leaves_no_answer_behind(machine: Machine) -> None:
    (machine.programs / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    done = machine.run(CI="true")
    assert done.returncode == 1
    assert "Next: see its words above" in done.stderr
    assert not any(call.startswith("make") for call in machine.called)
    assert not machine.policy.exists()


def test_nothing_is_installed_on_a_machine_that_is_no_pipeline(machine: Machine) -> None:
    machine.run()
    assert machine.called == ["make test"]
