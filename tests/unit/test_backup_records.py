# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of backups, and which of them may be removed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import backup, backup_records, private_directory
from pki.backup_records import BACKUP, DRILL, REMOVED, Event
from pki.errors import PkiError

NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)


def digest(number: int) -> str:
    return f"{number:064x}"


def name(number: int) -> str:
    return backup.name_of(["nonprod"], NOW + timedelta(days=number), digest(number << 192))


def made(number: int) -> Event:
    said = {"file": name(number), "sha256": digest(number), "bytes": 1, "raft_index": 1}
    return Event(BACKUP, NOW + timedelta(days=number), {**said, "server_version": "2", "by": ""})


def drilled(number: int, passed: bool = True) -> Event:
    said = {"sha256": digest(number), "passed": passed}
    return Event(DRILL, NOW + timedelta(days=90), said)


LINE = backup_records.line(BACKUP, NOW, made(1).said)


def refused(content: bytes) -> PkiError:
    with pytest.raises(PkiError) as caught:
        backup_records.parse(content)
    assert caught.value.rule == "BACKUP-RECORD"
    return caught.value


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    removed = {"file": name(1), "sha256": digest(1), "by": "Ada"}
    lines = [LINE, backup_records.line(REMOVED, NOW, removed)]
    backup_records.append(tmp_path, lines[:1])
    backup_records.append(tmp_path, lines[1:])
    first, second = backup_records.read(tmp_path)
    assert (first.kind, first.at, first.said) == (BACKUP, NOW, made(1).said)
    assert (second.kind, second.said) == (REMOVED, removed)
    assert (tmp_path / backup_records.FILE).read_bytes() == b"".join(lines)


def test_no_file_is_no_event(tmp_path: Path) -> None:
    assert backup_records.read(tmp_path) == ()


CHANGED: dict[str, Any] = {
    "another schema": {"schema": 2},
    "an unknown event": {"event": "party"},
    "a time of another kind": {"at": "yesterday"},
    "a time with another zone": {"at": "2026-03-01T02:00:00+01:00"},
    "a digest that is none": {"sha256": "x"},
    "a count below nothing": {"bytes": -1},
    "a count that is true": {"bytes": True},
    "text without end": {"by": "x" * 1001},
    "a field too many": {"more": 1},
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_line_that_we_do_not_write_is_refused_with_its_number(what: str) -> None:
    changed = json.dumps({**json.loads(LINE), **CHANGED[what]}).encode() + b"\n"
    assert refused(LINE + changed).where == "backups.jsonl:2"


@pytest.mark.parametrize("field", json.loads(LINE))
def test_a_line_that_lacks_a_field_is_refused(field: str) -> None:
    lacking = {name: value for name, value in json.loads(LINE).items() if name != field}
    refused(json.dumps(lacking).encode() + b"\n")


@pytest.mark.parametrize("content", [LINE[:-1], b"{}\n", b"[]\n", b"\xff\n", b"[" * 9999 + b"\n"])
def test_what_is_no_line_of_ours_is_refused(content: bytes) -> None:
    refused(content)


@given(st.binary(max_size=200))
def test_no_content_does_more_than_being_refused(content: bytes) -> None:
    rule = "BACKUP-RECORD"
    try:
        backup_records.parse(content)
    except PkiError as error:
        rule = error.rule
    assert rule == "BACKUP-RECORD"


def test_nothing_is_added_to_a_damaged_record(tmp_path: Path) -> None:
    (tmp_path / backup_records.FILE).write_bytes(LINE[:-1])
    with pytest.raises(PkiError):
        backup_records.append(tmp_path, [LINE])
    assert (tmp_path / backup_records.FILE).read_bytes() == LINE[:-1]


def test_a_link_in_place_of_the_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / backup_records.FILE).symlink_to("elsewhere")
    with pytest.raises(PkiError):
        backup_records.append(tmp_path, [LINE])
    assert (tmp_path / "elsewhere").read_bytes() == b""


# -- which may be removed ------------------------------------------------------------------------


def superfluous(tmp_path: Path, events: list[Event], keep: int) -> list[int]:
    for one in events:
        if one.kind == BACKUP:
            (tmp_path / one.said["file"]).write_bytes(b"")
    found = backup.superfluous(tmp_path, events, keep)
    return [int(one.said["sha256"], 16) for one in found]


# (backups, drills (of, passed), how many to keep) -> what may go
ROWS: dict[str, tuple[list[int], list[tuple[int, bool]], int, list[int]]] = {
    "fewer than kept": ([1, 2], [], 3, []),
    "more than kept": ([1, 2, 3, 4], [], 2, [1, 2]),
    "never the newest": ([1, 2], [], 0, [1]),
    "not the newest proven one": ([1, 2, 3, 4], [(1, True), (2, True)], 1, [1, 3]),
    "a proven one among the kept": ([1, 2, 3], [(3, True)], 1, [1, 2]),
    "one that failed since": ([1, 2, 3], [(1, True), (1, False)], 1, [1, 2]),
    "one that passed again": ([1, 2, 3], [(1, False), (1, True)], 1, [2]),
    "none": ([], [], 1, []),
}


@pytest.mark.parametrize("what", ROWS)
def test_old_backups_are_removed_by_count(tmp_path: Path, what: str) -> None:
    backups, drills, keep, wanted = ROWS[what]
    events = [made(number) for number in backups]
    events += [drilled(number, passed) for number, passed in drills]
    assert superfluous(tmp_path, events, keep) == wanted


def test_a_backup_in_no_record_is_named_and_not_removed(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / name(number)).write_bytes(b"")
    assert backup.unrecorded(tmp_path, [made(2)]) == (name(1),)
    assert backup.superfluous(tmp_path, [made(2)], 1) == ()


def test_no_file_but_a_backup_of_ours_is_ever_removed(tmp_path: Path) -> None:
    odd = Event(BACKUP, NOW, {**made(1).said, "file": "../../etc/passwd"})
    assert backup.superfluous(tmp_path, [odd, made(2), made(3)], 1) == ()


# -- private directories -------------------------------------------------------------------------


def test_a_directory_is_made_private(tmp_path: Path) -> None:
    private_directory.make(tmp_path / "new", "the directory")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    private_directory.make(tmp_path / "new", "the directory")


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o711, 0o777])
def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(PkiError) as caught:
        private_directory.make(tmp_path / "open", "the directory")
    assert caught.value.found == f"mode {mode:04o}"


@pytest.mark.parametrize("what", ["a link", "a file", "no parent"])
def test_what_is_no_directory_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "a link").symlink_to("real")
    (tmp_path / "a file").write_text("")
    path = tmp_path / ("missing/child" if what == "no parent" else what)
    with pytest.raises(PkiError) as caught:
        private_directory.make(path, "the directory")
    assert caught.value.rule == "PRIVATE-DIRECTORY"


def test_one_process_works_in_a_directory_at_a_time(tmp_path: Path) -> None:
    with private_directory.alone(tmp_path, "making a backup"):
        with pytest.raises(PkiError) as caught, private_directory.alone(tmp_path, "x"):
            pass
        assert caught.value.rule == "BACKUP-BUSY"
    with private_directory.alone(tmp_path, "making a backup"):
        assert os.listdir(tmp_path) == ["lock"]
