# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind ``make test`` runs everything, says what ran, and never calls red green."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.controller_world import REPOSITORY, load_file

CHECK: Any = load_file("tools/check.py")


def passing() -> bool:
    return True


def failing() -> bool:
    return False


def checks(monkeypatch: pytest.MonkeyPatch, **groups: tuple[Callable[[], bool], ...]) -> None:
    monkeypatch.setattr(CHECK, "CHECKS", groups)


def test_all_groups_run_when_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, lint=(passing,), unit=(lambda: True,))
    assert CHECK.main([]) == 0
    printed = capsys.readouterr().out
    assert "passed  lint: passing" in printed
    assert "passed  unit " in printed
    assert "not run" not in printed


@pytest.mark.parametrize("place", range(3))
def test_one_failure_makes_the_run_fail_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    ran: list[str] = []

    def noted(name: str, passed: bool) -> Callable[[], bool]:
        def check() -> bool:
            ran.append(name)
            return passed

        return check

    a, b, c = (noted(name, place != number) for number, name in enumerate("abc"))
    checks(monkeypatch, lint=(a, b), unit=(c,))
    assert CHECK.main([]) == 1
    assert ran == ["a", "b", "c"]
    assert capsys.readouterr().out.count("FAILED") == 1


def test_only_what_is_named_runs_and_the_rest_is_said_not_to_have_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, lint=(failing,), unit=(passing,), integration=(failing,))
    assert CHECK.main(["unit"]) == 0
    assert "not run: lint, integration" in capsys.readouterr().out


def test_an_unknown_group_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, unit=(passing,))
    assert CHECK.main(["unit", "units"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "units" in printed.err


def test_a_program_passes_only_with_exit_code_0() -> None:
    assert CHECK.run(sys.executable, "-c", "")
    assert not CHECK.run(sys.executable, "-c", "raise SystemExit(1)")


def test_programs_of_the_environment_are_found_first_and_ansible_reads_our_file() -> None:
    code = (
        "import os, sys; first = os.environ['PATH'].split(':')[0]; "
        "sys.exit(not (os.path.samefile(first, os.path.dirname(sys.executable)) "
        "and os.path.samefile(os.environ['ANSIBLE_CONFIG'], 'ansible.cfg')))"
    )
    assert CHECK.run(sys.executable, "-c", code)


def test_modules_that_run_on_targets_are_held_to_the_targets_python() -> None:
    found = CHECK.target_modules()
    assert "library/pki_release.py" in found
    assert "library/pki_plan.py" not in found


def test_every_module_of_the_project_and_of_the_lab_is_validated_and_can_be_imported() -> None:
    folders = (REPOSITORY / "library", REPOSITORY / "roles/lab/library")
    names = {path.name for folder in folders for path in folder.glob("*.py")}
    assert {"pki_plan.py", "lab_sign.py"} <= names
    with CHECK.collection() as base:
        modules = sorted((base / "plugins" / "modules").glob("*.py"))
        assert {path.name for path in modules} == names
        code = (
            "import runpy, sys; "
            "[runpy.run_path(path, run_name='validated') for path in sys.argv[1:]]"
        )
        environment = {"PYTHONPATH": str(base.parents[2]), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, modules)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode == 0
        kept = Path(base)
    assert not kept.exists()
