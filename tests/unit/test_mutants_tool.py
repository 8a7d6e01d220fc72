# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind ``make mutants`` counts honestly and asks a reason for each survivor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.controller_world import load_file

TOOL: Any = load_file("tools/mutants.py")


def mutant(status: str = "survived", was: str = "if a:", now: str = "if b:") -> Any:
    return TOOL.Mutant("path", "build", status, (was, now))


@pytest.mark.parametrize(
    ("was", "now", "prose"),
    [
        ('raise E("no anchor given")', 'raise E("NO ANCHOR GIVEN")', True),
        ('raise E("no anchor given")', 'raise E("XXno anchor givenXX")', True),
        ('f(a, "not a CA", "b c")', 'f(a, "not a ca", "b c")', True),
        ('f(a, "not a CA", b)', 'f(None, "not a CA", b)', False),
        ('if mode == "require":', 'if mode == "REQUIRE":', False),
        ('f("no anchor given")', 'f("")', False),
        ("if a < b:", "if a <= b:", False),
    ],
)
def test_only_the_letters_of_prose_are_called_words(was: str, now: str, prose: bool) -> None:
    assert mutant(was=was, now=now).of_words is prose


def test_what_no_test_runs_through_is_not_covered_and_words_are_not_noticed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = mutant(was='"a b"', now='"A B"')
    found = [mutant("killed"), mutant("timeout"), mutant("no tests"), mutant("suspicious"), words]
    assert TOOL.report(found) == 50
    assert "path                   5        4        2      50.0       1" in capsys.readouterr().out


def test_a_survivor_needs_a_reason_and_keeps_it_when_the_list_is_written_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(TOOL, "SURVIVORS", tmp_path / "survivors.yml")
    plain, words = mutant(), mutant(was='"a b"', now='"A B"')
    assert TOOL.unexplained([plain, words, mutant("killed")]) == [plain, words]
    TOOL.record([plain, words])
    assert TOOL.unexplained([plain, words]) == [plain]
    text = TOOL.SURVIVORS.read_text()
    TOOL.SURVIVORS.write_text(text.replace("reason: ''", "reason: both are the same"))
    TOOL.record([plain])
    assert TOOL.unexplained([plain]) == []
    assert "A B" not in TOOL.SURVIVORS.read_text(), "what is noticed now is not listed"


def test_the_list_that_is_kept_has_a_reason_for_each() -> None:
    reasons = TOOL.known_reasons()
    assert reasons
    assert all(reasons.values())
