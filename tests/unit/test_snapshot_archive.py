# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is a whole snapshot, or it is refused in words, and never read into memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import snapshot_archive
from pki.errors import PkiError

LARGEST = 1 << 24
STATE = bytes(range(256)) * 64


def archive(state: bytes = STATE, **changes: Any) -> bytes:
    """A snapshot as servers write it; ``changes`` replace members, None leaves one out."""
    meta = json.dumps({"Version": 1, "Index": 89, "Term": 3, "Size": len(state)}).encode()
    digests = (
        (hashlib.sha256(one).hexdigest(), name)
        for one, name in ((meta, "meta.json"), (state, "state.bin"))
    )
    sums = "".join(f"{digest}  {name}\n" for digest, name in digests).encode()
    members = {"meta.json": meta, "state.bin": state, "SHA256SUMS": sums, "SHA256SUMS.sealed": b"x"}
    members |= {name.replace("_", "."): content for name, content in changes.items()}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            if content is not None:
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    return made.getvalue()


def inspect(tmp_path: Path, content: bytes, largest: int = LARGEST) -> snapshot_archive.Snapshot:
    path = tmp_path / "one.snap"
    path.write_bytes(content)
    return snapshot_archive.inspect(path, largest)


def refused(tmp_path: Path, content: bytes, largest: int = LARGEST) -> PkiError:
    with pytest.raises(PkiError) as caught:
        inspect(tmp_path, content, largest)
    return caught.value


def test_a_whole_snapshot_tells_digest_size_and_raft_index(tmp_path: Path) -> None:
    content = archive()
    found = inspect(tmp_path, content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert (found.size, found.state_bytes, found.raft_index) == (len(content), len(STATE), 89)


def link() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        header = tarfile.TarInfo("state.bin")
        header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(header)
    return made.getvalue()


# what it is -> (its bytes, words of the refusal)
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends in the middle"),
    "a text": (b"not a snapshot", "no gzip"),
    "gzip of something else": (gzip.compress(b"hello" * 1000), "a header that no snapshot has"),
    "without a state": (archive(state_bin=None), "no state.bin"),
    "without sums": (archive(SHA256SUMS=None), "no SHA256SUMS"),
    "another state": (archive(state_bin=STATE[:-1] + b"x"), "state.bin is not what SHA256SUMS"),
    "another meta": (archive(meta_json=b'{"Index": 1}'), "meta.json is not what SHA256SUMS says"),
    "sums of nothing": (archive(SHA256SUMS=b""), "is not what SHA256SUMS says"),
    "sums that are none": (archive(SHA256SUMS=b"hello\n"), "a line of SHA256SUMS"),
    "sums without end": (archive(SHA256SUMS=b"x" * 70_000), "SHA256SUMS of 70000 bytes"),
    "a stranger in it": (archive(etc_passwd=b"root"), "'etc.passwd'"),
    "a link in it": (link(), "a header that no snapshot has"),
    "cut off": (archive()[:-30], "ends in the middle"),
    "something behind it": (archive() + b"more", "something behind its end"),
    "two of them": (archive() + archive(), "something behind its end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    error = refused(tmp_path, content)
    assert error.rule == "BACKUP-DAMAGED"
    assert words in error.found
    assert error.next_step


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_change_of_any_bit_is_refused_or_does_not_touch_what_is_restored(
    tmp_path: Path, place: int, bit: int
) -> None:
    whole = archive()
    content = bytearray(whole)
    content[place % len(content)] ^= 1 << bit
    try:
        found = inspect(tmp_path, bytes(content))
    except PkiError as error:
        refusal = error.rule
    else:
        refusal = ""
        # gzip has bits that mean nothing: in its header, and in how it tells of zeroes.
        assert gzip.decompress(bytes(content)) == gzip.decompress(whole)
        assert found.state_bytes == len(STATE)
    assert refusal in ("", "BACKUP-DAMAGED", "BACKUP-SIZE")


def test_a_larger_file_than_allowed_is_refused_unread(tmp_path: Path) -> None:
    assert refused(tmp_path, archive(), 100).rule == "BACKUP-SIZE"


def test_what_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    bomb = archive(bytes(8 << 20))
    assert len(bomb) < 20_000
    assert refused(tmp_path, bomb, 20_000).rule == "BACKUP-SIZE"


def test_a_large_snapshot_is_not_read_into_memory(tmp_path: Path) -> None:
    content = archive(bytes(8 << 20))
    tracemalloc.start()
    try:
        inspect(tmp_path, content, 1 << 20)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2 << 20


@pytest.mark.parametrize("what", ["link", "directory", "nothing", "NUL"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "real").write_bytes(archive())
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "directory").mkdir()
    name = {"NUL": "a\0b"}.get(what, what)
    with pytest.raises(PkiError) as caught:
        snapshot_archive.inspect(tmp_path / name, LARGEST)
    assert caught.value.rule == "BACKUP-DAMAGED"
