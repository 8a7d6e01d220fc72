# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs, from which commit, and that every playbook that changes something is watched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from pki import git_log, trail_run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, {}),
        ({"GITHUB_ACTOR": ""}, {}),
        (
            {"GITHUB_ACTOR": "octocat", "GITHUB_RUN_ID": "17"},
            {"system": "github", "actor": "octocat", "run": "17"},
        ),
        ({"GITLAB_USER_LOGIN": "ann"}, {"system": "gitlab", "actor": "ann"}),
        ({"BUILD_REQUESTEDFOR": "Ann B"}, {"system": "azure", "actor": "Ann B"}),
        ({"BUILD_USER_ID": "ann\x1b[2J"}, {"system": "jenkins", "actor": "ann\\x1b[2J"}),
    ],
)
def test_a_pipeline_names_the_actor(environ: dict[str, str], told: dict[str, str]) -> None:
    assert trail_run.pipeline(environ) == told


def test_sudo_does_not_hide_who_it_was() -> None:
    own = trail_run.user({})
    assert own
    assert trail_run.user({"SUDO_USER": "somebody"}) == f"{own}, by sudo of somebody"
    assert trail_run.user({"SUDO_USER": own}) == own


def test_a_run_is_known_to_the_children_of_its_process_only() -> None:
    environ: dict[str, str] = {}
    fields = trail_run.begin("playbooks/site.yml", environ)
    assert fields["playbook"] == "site.yml"
    assert trail_run.of_parent(os.getpid(), environ) == (fields, 0)
    assert trail_run.of_parent(os.getpid() + 1, environ) is None
    trail_run.lost(fields, 3, environ)
    assert trail_run.of_parent(os.getpid(), environ) == (fields, 3)


@pytest.mark.parametrize("kept", ["", "{", "[]", "{}", json.dumps({"pid": 1}), "7"])
def test_no_run_is_read_from_what_is_none(kept: str) -> None:
    assert trail_run.of_parent(1, {trail_run.VARIABLE: kept}) is None
    assert trail_run.of_parent(1, {}) is None


# --- git --------------------------------------------------------------------------------------


class Checkout:
    """A repository in which a person commits."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.git("init", "-q")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Ann\x1fB", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(self.base), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, subject: str, *names: str) -> None:
        for name in names:
            path = self.base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(subject)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return Checkout(tmp_path)


def test_commits_of_a_directory_are_told_oldest_first_with_their_files(checkout: Checkout) -> None:
    checkout.commit("Ask", "certificates/a/1/request.csr", "other")
    checkout.commit("Elsewhere", "other")
    checkout.commit("Reply\x1e\x1f, with \N{SNOWMAN}", "certificates/a/1/reply.pem",
                    "certificates/a/1/na\nme", "certificates/b")  # fmt: skip
    found = git_log.commits(checkout.base / "certificates/a")
    assert found is not None
    assert [one.subject for one in found] == ["Ask", "Reply\x1e\x1f, with \N{SNOWMAN}"]
    assert found[0].files == ("certificates/a/1/request.csr",)
    assert set(found[1].files) == {"certificates/a/1/reply.pem", "certificates/a/1/na\nme"}
    assert found[0].author == "Ann\x1fB"
    assert found[1].sha == checkout.git("rev-parse", "HEAD")


def test_a_directory_that_is_gone_still_has_its_commits(checkout: Checkout) -> None:
    checkout.commit("Ask", "certificates/a/1/request.csr")
    checkout.git("rm", "-q", "-r", "certificates")
    checkout.commit("Remove")
    found = git_log.commits(checkout.base / "certificates/a")
    assert [one.subject for one in found or ()] == ["Ask", "Remove"]


def test_no_repository_and_no_commit_are_told_apart(checkout: Checkout, tmp_path: Path) -> None:
    assert git_log.commits(checkout.base / "certificates") == ()
    assert git_log.commits(Path("/proc/self")) is None
    assert git_log.clean_commit(Path("/proc/self")) == ""


def test_without_git_nothing_is_told(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.commit("Ask", "a")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert git_log.commits(checkout.base) is None
    assert git_log.clean_commit(checkout.base) == ""


def test_a_commit_is_told_of_a_clean_checkout_only(checkout: Checkout) -> None:
    checkout.commit("Ask", "a")
    assert git_log.clean_commit(checkout.base) == checkout.git("rev-parse", "HEAD")
    (checkout.base / "b").write_text("")
    assert git_log.clean_commit(checkout.base) == ""


def test_no_program_that_a_checkout_names_is_run(checkout: Checkout) -> None:
    checkout.commit("Ask", "a")
    trap = checkout.base / ".git/trap"
    trap.write_text(f"#!/bin/sh\ntouch {checkout.base}/.git/ran\n")
    trap.chmod(0o755)
    for name in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand"):
        checkout.git("config", name, str(trap))
    git_log.clean_commit(checkout.base)
    git_log.commits(checkout.base)
    assert not (checkout.base / ".git/ran").exists()


# --- playbooks --------------------------------------------------------------------------------

#: Those that only look, those that others import, and the stand-in for the CA.
READ_ONLY = {"explain", "history", "preflight", "status", "verify"}
PARTS = {
    "deploy", "generations", "host_keys", "host_requests", "host_status", "trail", "trail_written",
}  # fmt: skip
STAND_IN = {"lab"}
#: Those that are run with -l, which leaves localhost out: they delegate the same tasks to it.
LIMITED = {"rollback", "crl_grace", "crl_refresh"}


def imports(path: Path) -> list[str]:
    plays = yaml.safe_load(path.read_text())
    return [str(play.get("ansible.builtin.import_playbook", "")) for play in plays]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem
)
def test_every_playbook_that_changes_something_opens_and_closes_the_trail(path: Path) -> None:
    found = imports(path)
    if path.stem in READ_ONLY | PARTS | STAND_IN:
        assert "trail.yml" not in found
        return
    if path.stem in LIMITED:
        plays = yaml.safe_load(path.read_text())
        first, last = (plays[at]["tasks"][0] for at in (0, -1))
        assert "pki_trail" in first
        assert last["pki_trail"]["state"] == "written"
        assert {first["delegate_to"], last["delegate_to"]} == {"localhost"}
        return
    assert found[0] == "trail.yml"
    assert found[-1] == "trail_written.yml"
