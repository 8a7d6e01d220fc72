# SPDX-License-Identifier: GPL-3.0-or-later
"""However a drill ends, there is a verdict in words, and nothing of it is left.

The server is a stand-in here; tests/integration/test_backup.py has the real one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pki import drill_run, isolation
from pki.drill import Looked
from pki.errors import PkiError
from pki.scratch_server import Seal

CANARY = "hvs.c4n4ry-dies-with-the-drill-0123456789"
GOOD = Looked(2, 2, (), ("a note",), "dip v1", 1)
SEAL = Seal("static", (b"k" * 32,), "tests-1")


class Server:
    """What a drill asks of its server; it leaves a file behind, as the real one does."""

    started: Callable[[], None] = staticmethod(lambda: None)
    restored: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, home: Path, program: int, seal: Seal) -> None:
        self._home = home
        self.options = {"address": "https://127.0.0.1:1", "ca_cert": str(home / "ca.pem")}

    def start(self) -> None:
        (self._home / "root").mkdir(mode=0o700)
        (self._home / "root" / "vault.db").write_bytes(b"x")
        type(self).started()

    def restore(self, snapshot: Path) -> Mapping[str, Any]:
        type(self).restored()
        return {"version": "2.7.2"}

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill_run, "ScratchServer", Server)
    monkeypatch.setattr(isolation, "leave_the_network", lambda: None)


def run(base: Path, look: drill_run.Look | None = None) -> drill_run.Outcome:
    try:
        return drill_run.run(base, 0, SEAL, base / "one.snap", look or (lambda options: GOOD))
    finally:
        assert os.listdir(base) == ["lock"]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def fault(rule: str) -> PkiError:
    return PkiError("it failed", rule=rule, found="this", expected="that", next_step="do")


def test_what_was_looked_at_comes_back_whole(tmp_path: Path) -> None:
    outcome = run(tmp_path / "drills")
    assert (outcome.looked, outcome.error, outcome.server_version) == (GOOD, None, "2.7.2")
    assert outcome.passed


def test_a_problem_is_no_pass(tmp_path: Path) -> None:
    outcome = run(tmp_path / "drills", lambda options: Looked(2, 1, ("lost",), (), "", 0))
    assert not outcome.passed


def test_a_server_that_did_not_start_is_no_verdict_on_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "started", staticmethod(raising(fault("DRILL-PROGRAM"))))
    with pytest.raises(PkiError) as caught:
        run(tmp_path / "drills")
    assert caught.value.rule == "DRILL-PROGRAM"


def test_a_snapshot_that_does_not_open_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "restored", staticmethod(raising(fault("DRILL-SEAL"))))
    outcome = run(tmp_path / "drills")
    assert not outcome.passed
    assert outcome.error is not None
    assert outcome.error.rule == "DRILL-SEAL"


@pytest.mark.parametrize("error", [RuntimeError(CANARY), SystemExit(CANARY), KeyboardInterrupt()])
def test_an_exception_that_nobody_meant_is_named_by_its_type_alone(
    tmp_path: Path, error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tmp_path / "drills", raising(error))
    assert outcome.error is not None
    assert type(error).__name__ in outcome.error.found
    assert CANARY not in str(outcome.error)
    assert CANARY not in "".join(capfd.readouterr())


def test_a_process_that_dies_without_a_word_is_told(tmp_path: Path) -> None:
    with pytest.raises(PkiError) as caught:
        run(tmp_path / "drills", lambda options: os.kill(os.getpid(), signal.SIGKILL))
    assert "without a word" in caught.value.found


def test_a_process_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill_run, "SECONDS", 0.5)
    outcome = run(tmp_path / "drills", lambda options: time.sleep(60))  # type: ignore[arg-type,return-value]
    assert outcome.error is not None
    assert "no verdict after" in outcome.error.found
    assert not outcome.passed


def test_what_a_killed_drill_has_left_goes_and_nothing_else_does(tmp_path: Path) -> None:
    base = tmp_path / "drills"
    base.mkdir(mode=0o700)
    (base / "drill-left" / "root").mkdir(parents=True)
    (base / "drill-left" / "root" / "vault.db").write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (base / "drill-left" / "link").symlink_to(elsewhere)
    run(base)
    assert (elsewhere / "kept").exists()


def test_two_drills_do_not_meet(tmp_path: Path) -> None:
    base = tmp_path / "drills"

    def look(options: Mapping[str, str]) -> Looked:
        try:
            drill_run.run(base, 0, SEAL, base / "one.snap", lambda options: GOOD)
        except PkiError as exc:
            return Looked(0, 0, (exc.rule,), (), "", 0)
        return GOOD

    outcome = run(base, look)
    assert outcome.looked is not None
    assert outcome.looked.problems == ("BACKUP-BUSY",)
