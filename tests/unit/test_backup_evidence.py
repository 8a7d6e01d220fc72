# SPDX-License-Identifier: GPL-3.0-or-later
"""A fresh restore drill vouches for backups, and one that failed speaks against them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import backup_records
from pki.documents import Validators
from pki.facts import evidence
from pki.facts.scene import Scene
from pki.policy import Outcome
from pki.policy_files import load_fact_schemas
from unit.controller_world import REPOSITORY, World
from unit.pki_factory import NOW

VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))
ITEM = "DIP-6.2-BACKUP"
OTHER = "DIP-2.2-RISK"
DIGEST = "ab" * 32


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def drill(days_ago: int, *, passed: bool = True) -> bytes:
    said = {
        "sha256": DIGEST,
        "passed": passed,
        "keys_expected": 2,
        "keys_found": 2 if passed else 1,
        "problems": [] if passed else ["dip v1: not in the snapshot"],
        "signed_with": "dip v1",
        "compromised": 0,
        "seal": "shamir",
        "server_version": "2.7.2",
        "seconds": 9,
        "by": "Ada",
    }
    return backup_records.line(backup_records.DRILL, NOW - timedelta(days=days_ago), said)


def written(days_ago: int) -> dict[str, Any]:
    day = (NOW - timedelta(days=days_ago)).date().isoformat()
    return {"evidence": [{"id": ITEM, "date": day, "owner": "Olive", "reference": "R-1"}]}


def judged(world: World, raw: Any = None) -> tuple[Outcome, dict[str, Any], tuple[Any, ...]]:
    scene = Scene(inputs=world.inputs(), scope="offline", name="nonprod", evidence=raw)
    collected = evidence.collect(scene)
    (document,) = [one for one in collected.documents if one.object == ITEM]
    assert not VALIDATORS.fault(document.kind, document.facts)
    policy = world.inputs().policies["mhhs-dip"]
    (finding,) = [
        one for one in policy.evaluate("evidence", document.facts, ITEM) if one.rule == ITEM
    ]
    return finding.outcome, dict(document.facts), collected.problems


# drills (days ago, passed), a person's record (days ago), what comes of it, and who vouches
ROWS: dict[str, tuple[list[tuple[int, bool]], int | None, Outcome, str]] = {
    "nothing at all": ([], None, Outcome.FAILED, ""),
    "a drill of today": ([(0, True)], None, Outcome.PASSED, "Ada"),
    "a drill a year ago": ([(365, True)], None, Outcome.PASSED, "Ada"),
    "a drill that is too old": ([(366, True)], None, Outcome.FAILED, "Ada"),
    "a drill that failed": ([(1, False)], None, Outcome.FAILED, ""),
    "a drill that failed after one that passed": (
        [(9, True), (1, False)],
        None,
        Outcome.FAILED,
        "",
    ),
    "a drill that passed after one that failed": (
        [(9, False), (1, True)],
        None,
        Outcome.PASSED,
        "Ada",
    ),
    "a person's word": ([], 3, Outcome.PASSED, "Olive"),
    "a person's word and a newer drill": ([(1, True)], 3, Outcome.PASSED, "Ada"),
    "a person's word and an older drill": ([(9, True)], 3, Outcome.PASSED, "Olive"),
    "a person's word and a newer drill that failed": ([(1, False)], 3, Outcome.FAILED, "Olive"),
    "a person's word of the day of a drill that failed": ([(3, False)], 3, Outcome.FAILED, "Olive"),
    "a person's word after a drill that failed": ([(9, False)], 3, Outcome.PASSED, "Olive"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_is_newest_counts(world: World, name: str) -> None:
    drills, person, wanted, owner = ROWS[name]
    if drills:
        lines = [drill(ago, passed=passed) for ago, passed in drills]
        backup_records.append(world.inputs().base_dir, lines)
    outcome, facts, problems = judged(world, written(person) if person is not None else None)
    assert (outcome, facts["owner"]) == (wanted, owner)
    assert bool(facts["against"]) is bool(drills and not drills[-1][1] and wanted is Outcome.FAILED)
    assert problems == ()


def test_a_record_of_backups_that_cannot_be_read_is_told(world: World) -> None:
    (world.inputs().base_dir / backup_records.FILE).write_bytes(b"{}\n")
    outcome, _, problems = judged(world)
    assert outcome is Outcome.FAILED
    (problem,) = problems
    assert problem["rule"] == "BACKUP-RECORD"


def test_a_drill_answers_no_other_item(world: World) -> None:
    backup_records.append(world.inputs().base_dir, [drill(0)])
    scene = Scene(inputs=world.inputs(), scope="offline", name="nonprod")
    documents = {one.object: one.facts for one in evidence.collect(scene).documents}
    assert [name for name, facts in documents.items() if facts["recorded"]] == [ITEM]
    assert OTHER in documents
