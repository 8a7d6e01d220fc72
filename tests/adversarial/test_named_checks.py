# SPDX-License-Identifier: GPL-3.0-or-later
"""Each named check matters: whoever disables one makes a test fail.

A copy of the core gets one edit of :mod:`.named_checks`, and the tests that should notice are
run on it in a process of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from adversarial.named_checks import CHECKS, Check

ROOT = Path(__file__).parents[2]
CORE = Path("module_utils/pki")
UNIT = "tests/unit"
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
LONGEST = 300  # seconds, on a busy machine; alone each takes one
# What a mistake in the table would raise; a check that is gone raises something else, or nothing.
CLUMSY = re.compile(r"^E\s+(NameError|UnboundLocalError|SyntaxError|ImportError|IndentationError)")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the tests need, on which every test of the table passes."""
    copy = tmp_path_factory.mktemp("sound")
    shutil.copytree(ROOT / CORE, copy / CORE)
    for folder in (UNIT, "policies"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy2(ROOT / "pyproject.toml", copy)
    done = run(copy, {test for check in CHECKS.values() for test in check.noticed_by})
    assert done.returncode == 0, done.stdout[-3000:]
    return copy


@pytest.mark.parametrize("name", CHECKS)
def test_somebody_notices_when_this_is_not_checked(name: str, sound: Path, tmp_path: Path) -> None:
    check = CHECKS[name]
    disable(check, sound, tmp_path)
    done = run(tmp_path, check.noticed_by)
    assert done.returncode == 1, f"nobody notices\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    clumsy = [line for line in done.stdout.splitlines() if CLUMSY.match(line)]
    assert not clumsy, "the edit breaks more than its check"


def disable(check: Check, sound: Path, copy: Path) -> None:
    """A copy of the core without the check; the rest is shared with the sound copy."""
    shutil.copytree(sound / CORE, copy / CORE)
    for shared in ("tests", "policies", "pyproject.toml"):
        (copy / shared).symlink_to(sound / shared)
    file = copy / CORE / check.file
    text = file.read_text()
    times = text.count(check.sound)
    assert times == 1, f"{check.file} has {check.sound!r} {times} times: name the check anew"
    file.write_text(text.replace(check.sound, check.broken))


def run(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """The tests on the core that lies in ``copy``; 0 is passed and 1 is failed."""
    ours = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    ours.pop("PYTHONPATH", None)
    ours["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half of the time of so short a run
    return subprocess.run(
        [*PYTEST, *(f"{UNIT}/{test}" for test in sorted(tests))],
        cwd=copy,
        env=ours,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )


def test_at_least_twenty_five_checks_have_a_name_and_each_an_edit_of_its_own() -> None:
    assert len(CHECKS) >= 25
    edits = {(check.file, check.sound, check.broken) for check in CHECKS.values()}
    assert len(edits) == len(CHECKS)
    assert all(check.noticed_by for check in CHECKS.values())
