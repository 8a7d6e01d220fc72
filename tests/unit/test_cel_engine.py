# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule engine comes without its command line, and whoever came first keeps what they had."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from unit.controller_world import REPOSITORY


def modules_after(*statements: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after some statements."""
    code = [*statements, "import json, sys", "print(json.dumps(sorted(sys.modules)))"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env={"PYTHONPATH": str(REPOSITORY / "module_utils")},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_rules_are_judged_without_the_command_line_of_the_package() -> None:
    loaded = modules_after(
        "from pki.cel_engine import Context, compile_expression",
        "rule = compile_expression('a.b > 1')",
        "assert rule.execute(Context({'a': {'b': 2}})) is True",
        "assert rule.execute(Context({'a': {'b': 1}})) is False",
    )
    assert "cel" in loaded
    assert not loaded & {"cel.cli", "typer", "rich", "prompt_toolkit"}


def test_the_empty_stand_in_is_gone_afterwards_so_that_others_get_the_real_one() -> None:
    loaded = modules_after(
        "import pki.cel_engine, cel, importlib",
        "assert not hasattr(cel, 'cli')",
        "importlib.import_module('cel.cli').__file__",
    )
    assert "cel.cli" in loaded


@pytest.mark.parametrize("first", ["import cel", "import cel.cli"])
def test_an_engine_that_is_already_there_is_used_as_it_is(first: str) -> None:
    loaded = modules_after(
        first,
        "import cel; before = cel.cli",
        "import pki.cel_engine",
        "assert pki.cel_engine.compile_expression is cel.compile",
        "assert cel.cli is before and before.__file__",
    )
    assert "cel.cli" in loaded
