# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a certificate: every witness in order, and no word that steers a terminal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import records, story, story_files, trail, trail_file
from pki.errors import PkiError
from pki.git_log import Commit

DIGEST, SPKI = "ab" * 32, "cd" * 32
RUN = {"run": "r", "user": "ann", "ci": {}, "playbook": "site.yml", "host": "localhost"}


class World:
    """A repository with an inventory, certificates and a trail."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.trail = base / ".trail"
        self.git("init", "-q")

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=Ann", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", str(self.base), *who, *arguments], check=True)

    def record(self, place: str, **fields: Any) -> None:
        path = self.base / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(records.dump({"schema": 1, **fields}))

    def commit(self, subject: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)

    def append(self, *events: dict[str, Any], **run: Any) -> None:
        trail_file.prepare(self.trail)
        trail_file.append(self.trail, [{**RUN, **run, **one} for one in events])

    def tell(self, name: str = "dip", **options: Any) -> story_files.Story:
        return story_files.tell(
            name,
            trail_dir=self.trail,
            certificates_dir=self.base / "certificates",
            base_dir=self.base,
            **options,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return World(tmp_path)


def request(world: World, name: str = "dip", version: int = 1) -> None:
    key = {"store": "transit", "spki_sha256": SPKI}
    world.record(f"certificates/{name}/{version}/request.yml", created="2026-01-01T10:00:00Z",
                 key=key, common_name="dip.example", request_sha256=DIGEST)  # fmt: skip


def whats(found: story_files.Story) -> list[str]:
    return [one.what for one in found.told]


def test_records_commits_trail_and_ledger_are_told_in_order(world: World) -> None:
    request(world)
    world.record("certificates/dip/1/accepted.yml", accepted_at="2026-01-03T10:00:00Z",
                 serial="0a1b", certificate_sha256=DIGEST,
                 not_after="2027-01-01T00:00:00Z")  # fmt: skip
    world.record(
        "certificates/dip/2/asked.yml", date="2026-01-02T10:00:00Z", reason="window", by="Bo"
    )
    entry = {"spki_sha256": SPKI, "certificate": "dip", "since": "2026-01-04", "reason": "lost"}
    world.record("compromised.yml", compromised=[entry, {**entry, "spki_sha256": DIGEST}])
    world.commit("Ask for it")
    event = trail.event("request written", "dip", 1, {"request.csr": DIGEST}, vault=["id-1"])
    world.append(event, ci={"system": "github", "actor": "octocat"})
    found = world.tell()
    assert whats(found) == [
        "dip v1: key of the request for dip.example is from (transit)",
        "dip v2: a new request is asked for: window",
        "dip v1: accepted, valid until 2027-01-01T00:00:00Z",
        "dip v1: its key is compromised: lost",
        *sorted(["committed: Ask for it", "v1: request written"], key=whats(found).index),
    ]
    assert (found.faults, found.notes) == ((), [])
    written = next(one for one in found.told if one.source == story.TRAIL)
    assert written.who == "run by octocat as ann, site.yml"
    assert written.evidence == (f"request.csr {DIGEST}", "Vault request id-1")
    assert found.told[2].evidence == ("serial 0a1b", f"certificate {DIGEST}")


def test_an_entry_has_the_stories_of_its_hosts_and_each_host_its_own(world: World) -> None:
    request(world, "dip/gw1")
    request(world, "dip/gw2")
    world.append(trail.event("key made", "dip/gw1", 1))
    world.append(trail.event("release staged", "dip", 1), host="gw1")
    world.append(trail.event("release staged", "dip", 1), host="gw2")
    world.append(trail.event("key made", "dip2", 1), trail.event("CRLs fetched"))
    staged = "dip v1: release staged on gw1"
    assert whats(world.tell("dip/gw1"))[1:] == ["v1: key made", staged]
    assert len(whats(world.tell("dip"))) == 2 + 3
    assert len(whats(world.tell("dip/gw2"))) == 1 + 1


def test_nothing_older_than_asked_for_is_told(world: World) -> None:
    request(world)
    world.append(trail.event("key made", "dip", 1))
    assert whats(world.tell(since=story.since("2026-02-01"))) == ["v1: key made"]
    assert len(whats(world.tell(since=story.since("2026-01-01T10:00:00Z")))) == 2
    with pytest.raises(PkiError) as caught:
        story.since("yesterday")
    assert caught.value.rule == "HISTORY"


@pytest.mark.parametrize("name", ["", "other", "../dip", "dip/../x", "/etc", "dip/a/b", "di p"])
def test_a_name_of_which_nothing_is_known_is_refused(world: World, name: str) -> None:
    request(world)
    with pytest.raises(PkiError) as caught:
        world.tell(name)
    assert caught.value.rule == "HISTORY"


def test_a_changed_trail_is_said_and_the_story_is_told_all_the_same(world: World) -> None:
    world.append(trail.event("key made", "dip", 1), trail.event("request written", "dip", 1))
    (path,) = world.trail.glob("trail-*")
    path.write_bytes(path.read_bytes().replace(b"key made", b"key lost"))
    found = world.tell()
    assert len(found.faults) == 1
    assert whats(found) == ["v1: key lost", "v1: request written"]


def test_a_trail_that_was_written_anew_does_not_hold_the_line_somebody_noted(world: World) -> None:
    world.append(trail.event("key made", "dip", 1))
    head = json.loads((world.trail / "head.json").read_text())["sha256"]
    assert world.tell(head=head).faults == ()
    assert world.tell(head="0" * 64).faults


def test_what_is_missing_or_damaged_is_named(world: World) -> None:
    request(world)
    (world.base / "certificates/dip/1/accepted.yml").write_text("{")
    (world.base / "compromised.yml").write_text("&a [*a]")
    found = world.tell()
    assert len(found.told) == 1
    assert len(found.notes) == 3
    assert "no audit trail" in found.notes[0]


def test_exports_and_revocation_are_told_step_by_step(world: World) -> None:
    request(world)
    world.record("certificates/dip/1/exports.yml", exports=[{
        "id": "e1", "date": "2026-02-01", "recipient": "prov", "by": "Ann", "file_sha256": DIGEST,
        "receipt": {"date": "2026-02-02", "received_by": "Bo", "sent_with": "separate"},
    }])  # fmt: skip
    world.record("certificates/dip/1/revocation.yml", cause="key_compromise", text="lost", by="Ann",
                 serial="0a", prepared="2026-03-01T10:00:00Z", revoked="2026-03-03T10:00:00Z",
                 incident={"raised": "2026-03-02T10:00:00Z", "reference": "INC1"})  # fmt: skip
    assert whats(world.tell())[1:] == [
        "dip v1: key exported for prov",
        "dip v1: export e1 received",
        "dip v1: revocation for key_compromise prepared: lost",
        "dip v1: the security incident was raised, INC1",
        "dip v1: seen to be revoked",
    ]


TEXT = st.text(max_size=30)


@given(TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT | st.none() | st.integers(), max_size=3))
def test_no_text_of_a_witness_steers_a_terminal(
    what: str, who: str, subject: str, record: dict[str, Any]
) -> None:
    line = {"certificate": "dip", "event": what, "user": who, "time": what, "artefacts": record}
    told = story.of_trail([line], "dip") + story.of_git([Commit("a", who, who, subject, (what,))])
    for file in story.FILES:
        told += story.of_records("dip", 1, {file: {**record, "reason": what, "exports": [record]}})
    for text in story.lines(story.ordered(told)):
        assert text.isprintable()
