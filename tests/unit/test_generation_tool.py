# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind ``make generations`` finds a Python that works, or says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.controller_world import REPOSITORY, load_file

TOOL: Any = load_file("tools/generation.py")
MINE = "{}.{}".format(*sys.version_info)


@pytest.fixture
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Directories for programs and for pyenv's versions, both empty, and no uv."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyenv").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(TOOL.shutil, "which", lambda *names, **options: None)
    return tmp_path


def generation(*pythons: str) -> Any:
    return TOOL.Generation("2.99", pythons, "Python 9.9", "python9.9 or pyenv")


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("core", "other"), [("2.19.14", "2.21"), ("2.21.5", "2.19"), ("2.20.0", "2.19")]
)
def test_each_generation_tries_the_other(core: str, other: str) -> None:
    assert TOOL.other(core).core == other


def test_the_generations_are_those_of_the_pinned_requirements() -> None:
    pins = (REPOSITORY / "requirements.in").read_text()
    for one in (TOOL.OLD, TOOL.NEW):
        assert f"ansible-core=={one.core}." in pins


def test_a_machine_without_such_a_python_has_none(empty_machine: Path) -> None:
    assert TOOL.find(generation("9.9", "9.8")) is None


def test_what_is_missing_and_how_to_get_it_is_one_sentence() -> None:
    assert TOOL.NEW.missing == (
        "no Python 3.12 or newer was found; install python3.13 or pyenv, then make generations"
    )


def test_a_shim_that_answers_for_no_python_is_passed_over(empty_machine: Path) -> None:
    program(
        empty_machine / f"bin/python{MINE}", "#!/bin/sh\necho command not found >&2\nexit 127\n"
    )
    assert TOOL.find(generation(MINE)) is None
    real = empty_machine / f"pyenv/versions/{MINE}.1/bin/python"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    assert TOOL.find(generation(MINE)) == real


def test_a_python_of_another_version_than_its_name_is_passed_over(empty_machine: Path) -> None:
    (empty_machine / "bin/python9.9").symlink_to(sys.executable)
    assert TOOL.find(generation("9.9")) is None
    assert TOOL.works(Path(sys.executable), MINE)


def test_a_python_that_cannot_make_environments_is_passed_over(empty_machine: Path) -> None:
    text = f"#!/bin/sh\nexec {sys.executable} -S -I -c 'import no_such_module'\n"
    bare = program(empty_machine / f"bin/python{MINE}", text)
    assert not TOOL.works(bare, MINE)


def test_the_first_version_of_the_generation_s_order_wins(empty_machine: Path) -> None:
    (empty_machine / f"bin/python{MINE}").symlink_to(sys.executable)
    found = TOOL.find(generation("9.9", MINE))
    assert found == empty_machine / f"bin/python{MINE}"


def test_the_doctor_looks_only_and_says_what_it_found() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools/generation.py", "--doctor"],
        env={**os.environ, "PATH": "/nonexistent", "PYENV_ROOT": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, TOOL.CANNOT), done.stderr
    assert done.stdout.count("\n") == 1
    words = "can be tried with" if done.returncode == 0 else "was found; install"
    assert words in done.stdout


def test_a_changed_pin_makes_the_environment_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in TOOL.MADE_OF:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as it was")
    monkeypatch.setattr(TOOL, "ROOT", tmp_path)
    before = TOOL.stamp(Path("/python"))
    assert TOOL.stamp(Path("/python")) == before
    assert TOOL.stamp(Path("/another/python")) != before
    (tmp_path / "requirements-dev.txt").write_text("as it is")
    assert TOOL.stamp(Path("/python")) != before
