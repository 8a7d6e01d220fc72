# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail on disk: nothing is lost, whoever writes at the same time or dies meanwhile."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import trail, trail_chain, trail_file
from pki.errors import PkiError

ROOT = Path(__file__).parents[2]
RUN = {"run": "r1", "user": "somebody", "host": "localhost"}
LIVE, ARCHIVE = 92, 365


def entry(what: str) -> dict[str, Any]:
    return {**RUN, **trail.event(what)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "trail"
    trail_file.prepare(directory)
    return directory


def whole(directory: Path) -> list[str]:
    """What the lines say; the trail must be without fault."""
    told = trail_file.read(directory)
    assert told is not None
    assert told.faults == ()
    return [str(one["event"]) for one in told.lines]


def refused(directory: Path) -> PkiError:
    with pytest.raises(PkiError) as caught:
        trail_file.prepare(directory)
    return caught.value


def only_file(directory: Path) -> Path:
    (path,) = directory.glob("trail-*.jsonl")
    return path


def test_a_prepared_directory_is_private_holds_no_line_and_is_left_alone_by_git(
    place: Path,
) -> None:
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert (place / ".gitignore").read_text() == "*\n"
    assert whole(place) == []
    assert not list(place.glob("trail-*"))


def test_lines_are_appended_in_a_private_file(place: Path) -> None:
    trail_file.append(place, [entry("a done"), entry("b done")])
    head = trail_file.append(place, [entry("c done")])
    assert whole(place) == ["a done", "b done", "c done"]
    assert stat.S_IMODE(only_file(place).stat().st_mode) == 0o600
    assert json.loads((place / "head.json").read_text()) == {"n": 3, "sha256": head.digest}


def test_nothing_to_write_writes_nothing(place: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    trail_file.prepare(place)
    trail_file.append(place, [])
    trail_file.look(place)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_looking_makes_nothing(tmp_path: Path) -> None:
    trail_file.look(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    assert trail_file.read(tmp_path / "a") is None


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o770])
def test_a_directory_that_others_may_change_is_refused(place: Path, mode: int) -> None:
    place.chmod(mode)
    assert refused(place).rule == "TRAIL-FILE"
    with pytest.raises(PkiError):
        trail_file.look(place)


def test_a_file_that_others_may_change_or_a_link_is_refused(place: Path) -> None:
    trail_file.append(place, [entry("a")])
    path = only_file(place)
    path.chmod(0o666)
    assert refused(place).rule == "TRAIL-FILE"
    path.chmod(0o640)
    trail_file.prepare(place)
    path.rename(place / "elsewhere")
    path.symlink_to(place / "elsewhere")
    assert refused(place).rule == "TRAIL-FILE"


def test_a_place_that_is_no_directory_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file").rule == "TRAIL-FILE"
    assert refused(tmp_path / "file" / "below").rule == "TRAIL-FILE"
    with pytest.raises(PkiError):
        trail_file.look(tmp_path / "file" / "below")


def cut_file(directory: Path) -> None:
    path = only_file(directory)
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")


def change_last(directory: Path) -> None:
    path = only_file(directory)
    path.write_bytes(path.read_bytes().replace(b"b done", b"x done"))


def spoil_last(directory: Path) -> None:
    path = only_file(directory)
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "harm",
    [
        cut_file,
        change_last,
        spoil_last,
        lambda directory: only_file(directory).unlink(),
        lambda directory: (directory / "head.json").unlink(),
        lambda directory: (directory / "head.json").write_text("{}"),
    ],
)  # fmt: skip
def test_no_run_goes_on_with_a_trail_that_does_not_end_where_it_ended(
    place: Path, harm: Any
) -> None:
    trail_file.append(place, [entry("a done"), entry("b done")])
    harm(place)
    assert refused(place).rule == "TRAIL-BROKEN"
    with pytest.raises(PkiError):
        trail_file.append(place, [entry("c done")])
    told = trail_file.read(place)
    assert told is not None
    assert told.faults


@given(st.integers(0, 200))
def test_whatever_a_dead_writer_left_of_a_line_is_closed_by_the_next(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    place = tmp_path_factory.mktemp("torn") / "trail"
    trail_file.prepare(place)
    head = trail_file.append(place, [entry("a done")])
    raw = trail_chain.line(entry("b done"), head, datetime.now(UTC))
    piece = raw[: min(length, len(raw))]
    with open(only_file(place), "ab") as stream:
        stream.write(piece)
    trail_file.prepare(place)
    trail_file.append(place, [entry("c done")])
    expected = [trail_chain.TORN, "c done"] if 0 < len(piece) < len(raw) else ["c done"]
    expected = ["b done", "c done"] if piece == raw else expected
    assert whole(place) == ["a done", *expected]


def test_a_writer_that_died_while_it_closed_a_line_is_closed_as_well(place: Path) -> None:
    trail_file.append(place, [entry("a done")])
    with open(only_file(place), "ab") as stream:
        stream.write(b'{"n":2\n{"n":2,"prev"')
    trail_file.append(place, [entry("b done")])
    assert whole(place) == ["a done", trail_chain.TORN, "b done"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {utils!r})
from pki import trail, trail_file
place, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
trail_file.prepare(place)
print("ready", flush=True)
for number in range(count):
    entry = {{"run": name, "host": "h", **trail.event(f"{{name}} {{number}}")}}
    trail_file.append(place, [entry] * 3)
"""


def writer(place: Path, name: str, count: int) -> subprocess.Popen[str]:
    program = WRITER.format(utils=str(ROOT / "module_utils"))
    command = [sys.executable, "-c", program, str(place), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_writers_of_several_processes_make_one_chain(tmp_path: Path) -> None:
    place = tmp_path / "trail"
    writers = [writer(place, name, 15) for name in ("one", "two", "three")]
    for one in writers:
        one.communicate(timeout=60)
        assert one.returncode == 0
    found = whole(place)
    assert len(found) == 3 * 15 * 3
    for name in ("one", "two", "three"):
        mine = [text for text in found if text.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(15) for _ in range(3)]


def test_a_writer_that_is_killed_at_any_moment_leaves_a_trail_that_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "trail"
    for turn in range(6):
        one = writer(place, f"turn{turn}", 10_000)
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
        time.sleep(0.02 + turn * 0.013)
        os.kill(one.pid, signal.SIGKILL)
        one.communicate(timeout=30)
        trail_file.prepare(place)
        trail_file.append(place, [entry(f"after {turn}")])
        assert whole(place)[-1] == f"after {turn}"


# --- rotation ---------------------------------------------------------------------------------


def of_month(directory: Path, month: str, *events: str) -> None:
    """Lines as if they had been written then."""
    there = sorted(directory.glob("trail-*.jsonl"))
    moment = datetime.fromisoformat(f"{month}-15T12:00:00+00:00")
    trail_file._append(directory, [entry(one) for one in events], moment)
    assert len(sorted(directory.glob("trail-*.jsonl"))) == len(there) + 1


def rotate(directory: Path, day: str) -> tuple[str, ...]:
    now = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return trail_file.rotate(directory, now, LIVE, ARCHIVE, RUN)


@pytest.mark.parametrize(
    ("day", "packed"),
    [("2026-02-01", False), ("2026-05-04", False), ("2026-05-05", True), ("2026-07-01", True)],
)
def test_a_month_is_packed_when_it_was_over_for_more_than_the_live_days(
    place: Path, day: str, packed: bool
) -> None:
    of_month(place, "2026-01", "a", "b")
    done = rotate(place, day)
    assert bool(done) is packed
    assert (place / "archive" / "trail-2026-01.jsonl.gz").exists() is packed
    assert (place / "trail-2026-01.jsonl").exists() is not packed
    of_month(place, day[:7], "c")
    assert whole(place) == ["a", "b", "c"]


def test_packed_months_are_private_and_what_they_were(place: Path) -> None:
    of_month(place, "2026-01", "a")
    before = (place / "trail-2026-01.jsonl").read_bytes()
    now = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
    assert trail_file.outdated(place, now, LIVE, ARCHIVE) == (
        "trail-2026-01.jsonl would be packed in archive",
    )
    assert rotate(place, "2026-06-01") == ("trail-2026-01.jsonl is packed in archive",)
    packed = place / "archive" / "trail-2026-01.jsonl.gz"
    assert gzip.decompress(packed.read_bytes()) == before
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600
    assert rotate(place, "2026-06-01") == ()


def test_an_archived_month_is_removed_only_after_its_time_and_the_trail_says_so(
    place: Path,
) -> None:
    of_month(place, "2025-01", "a")
    of_month(place, "2026-01", "b")
    rotate(place, "2026-05-04")
    assert whole(place) == ["a", "b"]
    assert (place / "archive" / "trail-2025-01.jsonl.gz").exists()
    rotate(place, "2026-05-05")
    assert not (place / "archive" / "trail-2025-01.jsonl.gz").exists()
    assert whole(place) == ["b", trail_chain.REMOVED]


def test_an_archived_month_that_somebody_removed_before_its_time_shows(place: Path) -> None:
    of_month(place, "2026-01", "a")
    of_month(place, "2026-02", "b")
    rotate(place, "2026-06-20")
    (place / "archive" / "trail-2026-01.jsonl.gz").unlink()
    told = trail_file.read(place)
    assert told is not None
    assert told.faults


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_rotation_that_is_killed_between_any_two_steps_is_finished_by_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    of_month(place, "2025-01", "a")
    of_month(place, "2026-01", "b")
    steps = {"left": stop}

    def counted(name: str) -> Any:
        real = getattr(os, name)

        def step(*arguments: Any, **options: Any) -> Any:
            steps["left"] -= 1
            if steps["left"] < 0:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "write"):
            patch.setattr(os, name, counted(name))
        with contextlib.suppress(KeyboardInterrupt):
            rotate(place, "2026-06-01")
    trail_file.prepare(place)
    rotate(place, "2026-06-01")
    events = whole(place)
    assert [one for one in events if one != trail_chain.REMOVED] == ["b"]
    assert not list(place.glob("trail-2025*"))
    assert not list(place.glob("trail-2026-01*"))


def test_a_clock_that_goes_back_writes_into_no_older_file(place: Path) -> None:
    of_month(place, "2026-03", "a")
    now = datetime(2026, 2, 1, tzinfo=UTC)
    trail_file._append(place, [entry("b")], now)
    assert whole(place) == ["a", "b"]
    assert [path.name for path in place.glob("trail-*")] == ["trail-2026-03.jsonl"]
