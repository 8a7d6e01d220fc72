# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail of real runs: who writes, when nothing is written, and what stops a run."""

from __future__ import annotations

import getpass
import json
import subprocess
from pathlib import Path

import pytest
from integration.trail_world import Runs, told
from pki import trail

DIGEST = "cd" * 32


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def event(what: str) -> dict[str, object]:
    return trail.event(
        what, "dip-nonprod", 2, {"request.csr": DIGEST}, "A. Person", "why", ["id-1"]
    )


def test_each_change_on_each_host_has_its_line_with_who_when_and_what(runs: Runs) -> None:
    output = runs.play(told([event("a done"), event("b done")]), told([event("c done")]),
                       GITHUB_ACTOR="octocat", GITHUB_RUN_ID="17")  # fmt: skip
    lines = runs.lines()
    assert [(one["event"], one["host"]) for one in lines if one["event"] != "c done"] in (
        [("a done", "gw1"), ("b done", "gw1"), ("a done", "gw2"), ("b done", "gw2")],
        [("a done", "gw2"), ("b done", "gw2"), ("a done", "gw1"), ("b done", "gw1")],
    )
    assert [one["event"] for one in lines[-2:]] == ["c done", "c done"]
    assert len({one["run"] for one in lines}) == 1
    for one in lines:
        assert {name: one[name] for name in trail.FIELDS} == event(str(one["event"]))
        assert one["user"] == getpass.getuser()
        assert one["ci"] == {"system": "github", "actor": "octocat", "run": "17"}
        assert (one["playbook"], one["inventory"]) == ("change.yml", "inventory")
    assert "WARNING" not in output
    assert f"audit trail: 6 lines in {runs.trail}" in output


def test_runs_have_ids_of_their_own_and_one_chain(runs: Runs) -> None:
    runs.play(told([event("a done")]))
    runs.play(told([event("b done")]))
    lines = runs.lines()
    assert [one["n"] for one in lines] == [1, 2, 3, 4]
    assert len({one["run"] for one in lines}) == 2


def test_the_commit_of_a_clean_checkout_is_told_and_none_of_a_changed_one(runs: Runs) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(runs.base / "inventory"), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    runs.play(told([event("a done")]), hosts="gw1")
    (runs.base / "inventory/new").write_text("")
    runs.play(told([event("b done")]), hosts="gw1")
    assert [one["commit"] for one in runs.lines()] == [git("rev-parse", "HEAD"), ""]


def test_what_changed_before_a_task_failed_has_its_line(runs: Runs) -> None:
    runs.play(told([event("a done")], fails=True), hosts="gw1", expect=2)
    assert [one["event"] for one in runs.lines()] == ["a done"]


def test_items_of_a_loop_and_rescued_failures_have_their_lines_once(runs: Runs) -> None:
    loop = {**told("{{ item }}"), "loop": [[event("a done")], [event("b done")]]}
    block = {
        "name": "Try",
        "block": [told([event("c done")], fails=True)],
        "rescue": [told([event("d done")])],
    }
    runs.play(loop, block, hosts="gw1")
    assert [one["event"] for one in runs.lines()] == ["a done", "b done", "c done", "d done"]


def test_a_run_without_changes_and_one_in_check_mode_write_no_line(runs: Runs) -> None:
    runs.play(told([event("a done")]), arguments=("--check",))
    assert not runs.trail.exists()
    output = runs.play(told([]), told(None))
    assert runs.lines() == []
    assert "audit trail:" not in output
    assert "AUDIT" not in output
    assert not list(runs.trail.glob("trail-*"))


def test_modules_of_others_are_not_listened_to(runs: Runs) -> None:
    foreign = (runs.base / "library/pki_pretend.py").read_text()
    (runs.base / "library/cloud.py").write_text(foreign)
    runs.play({"name": "Theirs", "cloud": {"trail": [event("a done")]}}, hosts="gw1")
    assert runs.lines() == []


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_nothing_is_changed_where_no_line_can_be_written(runs: Runs, mode: int) -> None:
    runs.trail.mkdir()
    runs.trail.chmod(mode)
    if mode == 0o755:
        (runs.trail / "head.json").write_text("{}")
        (runs.trail / "trail-2026-01.jsonl").write_text("{}\n")
    before = sorted(runs.trail.rglob("*"))
    for arguments in ((), ("--check",)):
        output = runs.play(told([event("a done")]), arguments=arguments, expect=2)
        assert "TRAIL-" in output
        assert "Pretend" not in output
    assert [path for path in sorted(runs.trail.rglob("*")) if path.name != "lock"] == before


def test_nothing_is_changed_where_the_callback_is_not_loaded(runs: Runs, tmp_path: Path) -> None:
    output = runs.play(told([event("a done")]), expect=2, ANSIBLE_CALLBACK_PLUGINS=str(tmp_path))
    assert "TRAIL-CALLBACK" in output
    assert "Pretend" not in output


def test_a_run_that_another_one_started_is_not_taken_for_that_one(runs: Runs) -> None:
    stale = json.dumps({"pid": 1, "fields": {"run": "x"}, "lost": 0})
    output = runs.play(told([event("a done")]), expect=2,
                       ANSIBLE_CALLBACK_PLUGINS=str(runs.base), PKI_TRAIL_RUN=stale)  # fmt: skip
    assert "TRAIL-CALLBACK" in output


def test_a_line_that_could_not_be_written_is_said_and_fails_the_run(runs: Runs) -> None:
    spoil = {
        "name": "Spoil the trail meanwhile",
        "ansible.builtin.file": {"path": str(runs.trail / "head.json"), "state": "absent"},
    }
    output = runs.play(
        told([event("a done")]), spoil, told([event("b done")]), hosts="gw1", expect=2
    )
    assert "AUDIT TRAIL: 1 changes of this run have no line" in output
    assert "TRAIL-LOST" in output


def test_changes_of_a_run_that_never_opened_the_trail_are_said_at_its_end(runs: Runs) -> None:
    output = runs.play(told([event("a done")]), hosts="gw1", opens=False)
    assert "AUDIT TRAIL: 1 changes of this run have no line: no task of this run opened" in output


SECRET = "-----BEGIN PRIVATE KEY-----CANARYCANARY"


@pytest.mark.parametrize(
    "raw",
    [
        SECRET,
        [SECRET],
        [{"event": "x", "key": SECRET}],
        [{"event": "x", "artefacts": {"key.pem": SECRET}}],
        [{"event": "x", "vault": [SECRET]}],
        {"event": SECRET},
    ],
)
def test_what_is_no_event_is_never_kept_and_is_said(runs: Runs, raw: object) -> None:
    output = runs.play(told(raw), told([event("b done")]), hosts="gw1", expect=2)
    assert [one["event"] for one in runs.lines()] == ["b done"]
    kept = b"".join(path.read_bytes() for path in runs.trail.rglob("*") if path.is_file())
    assert b"CANARY" not in kept
    assert "CANARY" not in output
    assert "AUDIT TRAIL" in output
