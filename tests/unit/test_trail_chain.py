# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail's chain: whatever is done to a line shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pki import trail, trail_chain
from pki.trail_chain import Head

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def written(count: int) -> tuple[list[bytes], Head]:
    """A trail of so many lines, and its head."""
    lines, head = [], Head()
    for number in range(count):
        entry = {"run": "r", "host": "gw1", **trail.event(f"thing {number} done")}
        raw = trail_chain.line(entry, head, NOW + timedelta(seconds=number))
        head = Head(head.number + 1, trail_chain.digest(raw))
        lines.append(raw)
    return lines, head


def content(lines: list[bytes]) -> bytes:
    return b"".join(one + b"\n" for one in lines)


def told(lines: list[bytes], head: Head | None) -> trail_chain.Told:
    return trail_chain.read([("trail-2026-11.jsonl", content(lines))], head)


def test_a_line_is_one_object_with_the_moment_to_the_microsecond() -> None:
    (raw,), _ = written(1)
    assert b"\n" not in raw
    assert raw.isascii()
    assert (trail_chain.parsed(raw) or {})["time"] == "2026-11-22T12:00:00.123456Z"


def test_an_untouched_trail_has_no_fault_over_several_files() -> None:
    lines, head = written(7)
    found = trail_chain.read(
        [("a", content(lines[:3])), ("b", b""), ("c", content(lines[3:]))], head
    )
    assert (found.faults, found.notes, found.head) == ((), (), head)
    assert [one["n"] for one in found.lines] == [1, 2, 3, 4, 5, 6, 7]


@given(st.data(), st.integers(1, 6))
def test_any_byte_that_is_changed_shows(data: st.DataObject, count: int) -> None:
    lines, head = written(count)
    number = data.draw(st.integers(0, count - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(lines[number][place] != byte)
    lines[number] = lines[number][:place] + bytes([byte]) + lines[number][place + 1 :]
    assert told(lines, head).faults


@given(st.data(), st.integers(1, 6))
def test_any_line_that_is_cut_shows(data: st.DataObject, count: int) -> None:
    lines, head = written(count)
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    assert told([*lines[:first], *lines[last:]], head).faults


@given(st.permutations(range(5)))
def test_any_other_order_shows(order: list[int]) -> None:
    lines, head = written(5)
    assert bool(told([lines[n] for n in order], head).faults) is (order != sorted(order))


@given(st.integers(0, 4), st.integers(0, 5))
def test_a_line_that_stands_there_twice_shows(which: int, where: int) -> None:
    lines, head = written(5)
    twice = [*lines[:where], lines[which], *lines[where:]]
    assert told(twice, head).faults


@given(st.binary(max_size=40), st.integers(0, 5))
def test_anything_between_the_lines_shows(junk: bytes, where: int) -> None:
    lines, head = written(6)
    assert told([*lines[:where], junk, *lines[where:]], head).faults


@given(st.binary(max_size=300))
def test_no_file_whatever_is_in_it_stops_the_reader(junk: bytes) -> None:
    trail_chain.read([("x", junk)], None)


@pytest.mark.parametrize("head", [None, Head(3, "0" * 64), Head(9, "ab" * 32)])
def test_a_head_that_is_missing_or_names_another_line_shows(head: Head | None) -> None:
    lines, _ = written(3)
    assert told(lines, head).faults


def test_a_head_that_lags_is_what_a_killed_writer_leaves_and_no_fault() -> None:
    lines, _ = written(3)
    assert told(lines, Head(2, trail_chain.digest(lines[1]))).faults == ()


def test_an_unfinished_line_is_no_fault_at_the_end_and_once_it_is_closed() -> None:
    lines, head = written(2)
    rest = b'{"n":3,"prev":"'
    found = trail_chain.read([("x", content(lines) + rest)], head)
    assert found.faults == ()
    assert found.notes
    entry = {"run": "r", "event": trail_chain.TORN, "artefacts": trail_chain.torn([rest])}
    closing = trail_chain.line(entry, head, NOW)
    found = told([*lines, rest, closing], Head(3, trail_chain.digest(closing)))
    assert found.faults == ()
    assert len(found.lines) == 3
    other = told([*lines, rest + b" ", closing], Head(3, trail_chain.digest(closing)))
    assert other.faults


def test_a_beginning_that_is_gone_is_a_fault_unless_a_line_says_that_its_time_was_over() -> None:
    lines, head = written(4)
    assert told(lines[2:], head).faults
    artefacts = {trail_chain.LAST_LINE: trail_chain.digest(lines[1])}
    entry = {"run": "r", "event": trail_chain.REMOVED, "artefacts": artefacts}
    line = trail_chain.line(entry, head, NOW)
    after = Head(5, trail_chain.digest(line))
    assert told([*lines[2:], line], after).faults == ()
    assert told([*lines[3:], line], after).faults
