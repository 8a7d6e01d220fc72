# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on a host: whole or not at all, and never readable for a moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pki_host import files
from pki_host.errors import HostError


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every file that comes into being or place, with its mode at that moment."""
    seen: list[tuple[str, int]] = []
    real_open, real_chmod, real_rename = os.open, os.fchmod, os.rename

    def opened(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if flags & os.O_CREAT:
            seen.append(("open", stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    def chmodded(descriptor: int, mode: int) -> None:
        real_chmod(descriptor, mode)
        seen.append(("chmod", stat.S_IMODE(os.fstat(descriptor).st_mode)))

    def renamed(source: str, target: str) -> None:
        seen.append(("rename", stat.S_IMODE(os.lstat(source).st_mode)))
        real_rename(source, target)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fchmod", chmodded)
    monkeypatch.setattr(os, "rename", renamed)
    return seen


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_private_file_is_0600_from_its_first_moment_whatever_the_umask(
    tmp_path: Path, steps: list[tuple[str, int]], umask: int
) -> None:
    before = os.umask(umask)
    try:
        files.write(str(tmp_path / "key.pem"), b"secret")
    finally:
        os.umask(before)
    assert steps[-1] == ("rename", 0o600)
    assert all(mode & 0o177 == 0 for _, mode in steps)


def test_a_public_file_becomes_readable_only_when_it_is_whole(
    tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    files.write(str(tmp_path / "a.pem"), b"text", files.PUBLIC)
    assert steps == [("open", 0o600), ("chmod", 0o644), ("rename", 0o644)]


def test_a_write_that_fails_leaves_the_old_bytes_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write(str(path), b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError) as caught:
        files.write(str(path), b"new")
    assert caught.value.rule == "FILE-REFUSED"
    assert "No space left on device" in str(caught.value)
    assert "make room" in str(caught.value)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_file_in_place_of_a_directory_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"")
    for act in (files.make_directory, lambda path: files.write(path, b"x")):
        with pytest.raises(HostError) as caught:
            act(str(tmp_path / "blocked" / "below"))
        assert caught.value.rule == "FILE-REFUSED"
        assert "move away the file" in str(caught.value)


def test_a_link_in_place_of_a_file_is_replaced_and_what_it_points_to_is_not_touched(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    path = tmp_path / "file"
    path.symlink_to("elsewhere")
    assert files.read(str(path)) is None
    assert files.mode_of(str(path)) is None
    files.write(str(path), b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not path.is_symlink()


def test_a_link_is_switched_by_rename_and_a_directory_in_its_place_is_named(
    tmp_path: Path,
) -> None:
    link = str(tmp_path / "current")
    files.link(link, "releases/a")
    files.link(link, "releases/b")
    assert files.link_target(link) == "releases/b"
    (tmp_path / "taken").mkdir()
    with pytest.raises(HostError, match="a directory stands where a link belongs"):
        files.link(str(tmp_path / "taken"), "releases/a")


def test_leftovers_of_a_killed_writer_are_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".new-0123", ".link-0123", "file", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    files.sweep(str(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {".link-0123", "file", ".hidden"}
    files.sweep_links(str(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"file", ".hidden"}


def test_a_second_run_waits_for_the_lock_and_then_says_who_it_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / ".lock")
    with files.HostLock(path), pytest.raises(HostError, match="another run"):
        files.HostLock(path, wait_seconds=0.2).__enter__()
    with files.HostLock(path, wait_seconds=0.2):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    child = os.fork()
    if child == 0:
        files.HostLock(path).__enter__()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with files.HostLock(path, wait_seconds=0.2):
        pass
