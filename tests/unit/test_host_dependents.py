# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's logs tell of peers that still come with certificates of a CA."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from pki_host import dependents

OLD, NEW = "CN=Old Issuing CA,O=A\\, B & Co,C=GB", "CN=New Issuing CA,O=A\\, B & Co,C=GB"
SINCE = 1_000_000.0


def line(issuer: str, number: int, verify: str = "SUCCESS", **more: str) -> str:
    entry = {"time": f"2026-11-22T00:00:{number:02}+00:00", "verify": verify, "issuer": issuer}
    return json.dumps({**entry, "subject": f"CN=peer {number}", "serial": f"{number:X}", **more})


def write(path: Path, *lines: str, age: float = 0) -> None:
    text = "".join(f"{one}\n" for one in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    os.utime(path, (SINCE + 100 - age, SINCE + 100 - age))


def newest(log: Path, largest: int = 1 << 20) -> tuple[list[str], str]:
    found, unread = dependents.newest(str(log), [OLD, NEW], SINCE, largest)
    return [f"{one['issuer'][3:6]} {one['subject']}" for one in found], unread


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_the_newest_verified_request_of_each_issuer_is_told(log: Path) -> None:
    write(log, line(OLD, 1), line(NEW, 2), line(OLD, 3), line(NEW, 4), line("CN=Other", 5))
    assert newest(log) == (["New CN=peer 4", "Old CN=peer 3"], "")


def test_requests_that_were_not_verified_say_nothing(log: Path) -> None:
    write(log, line(OLD, 1, "FAILED:certificate has expired"), line(OLD, 2, "NONE"))
    assert newest(log) == ([], "")


def test_another_issuer_with_the_name_inside_is_another_one(log: Path) -> None:
    write(log, line(f"CN=x {OLD}", 1), line(OLD.lower(), 2), line("CN=y", 3, subject=OLD))
    assert newest(log) == ([], "")


def test_rotated_logs_count_newest_first_packed_ones_too(log: Path) -> None:
    write(log, line("CN=Other", 9))
    write(log.with_name("access.log.1"), line(NEW, 5), age=10)
    write(log.with_name("access.log.2.gz"), line(OLD, 1), line(OLD, 2), line(NEW, 3), age=20)
    write(log.with_name("error.log"), line(OLD, 8))
    assert newest(log) == (["New CN=peer 5", "Old CN=peer 2"], "")


def test_a_log_from_before_the_time_in_question_does_not_matter(log: Path) -> None:
    write(log, line(NEW, 9))
    write(log.with_name("access.log.1"), line(OLD, 1), age=101)
    assert newest(log) == (["New CN=peer 9"], "")


def test_a_log_that_is_too_long_is_read_back_as_far_as_the_limit_and_says_so(log: Path) -> None:
    write(log, line(OLD, 1), *(line(NEW, number % 60) for number in range(2, 900)))
    found, unread = newest(log, 10_000)
    assert found == ["New CN=peer 59"]
    assert unread.startswith("its log was read back to 2026-11-22T00:00:")


def test_lines_across_blocks_and_odd_lines_are_read(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependents, "_BLOCK", 64)
    odd = "[ALERT] Old Issuing CA New Issuing CA"
    write(log, line(OLD, 1), odd, "{Old Issuing CA", line(NEW, 2), '["Old Issuing CA"]', "")
    assert newest(log) == (["New CN=peer 2", "Old CN=peer 1"], "")


def test_escapes_of_names_do_not_matter(log: Path) -> None:
    write(log, line(OLD, 1).replace("O=A", "\\u004f=A"))
    assert newest(log) == (["Old CN=peer 1"], "")


def test_no_log_has_nobody_in_it(tmp_path: Path) -> None:
    assert newest(tmp_path / "nowhere" / "access.log") == ([], "")


def test_a_link_in_the_place_of_a_log_is_not_followed(log: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", line(OLD, 1))
    log.symlink_to(tmp_path / "secret")
    assert newest(log) == ([], "")


def test_a_damaged_log_is_said_to_be_one(log: Path) -> None:
    log.with_name("access.log.1.gz").write_bytes(b"no gzip")
    gateway = {"name": "edge", "product": "nginx", "root": str(log.parent), "far_ends": []}
    log.parent.joinpath("log").mkdir()
    log.with_name("access.log.1.gz").rename(log.parent / "log/access.log.1.gz")
    told = dependents.observe({"issuers": [OLD], "since": 0, "gateways": [gateway]})
    assert told["unread"] == [
        "edge: its log cannot be read: access.log.1.gz: Not a gzipped file (b'no')"
    ]


def test_a_far_end_that_does_not_answer_says_why(tmp_path: Path) -> None:
    end = {"listener": "api", "address": "127.0.0.1", "port": 1, "server_name": "api.example"}
    gateway = {"name": "edge", "product": "nginx", "root": str(tmp_path), "far_ends": [end]}
    told = dependents.observe({"issuers": [], "since": 0, "gateways": [gateway]})
    assert told["far_ends"] == [
        {"gateway": "edge", "listener": "api", "chain": [], "problem": "Connection refused"}
    ]
