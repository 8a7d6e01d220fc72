# SPDX-License-Identifier: GPL-3.0-or-later
"""On a host nothing of ours goes where somebody else could lead it, or exchange it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pki import plain_files
from pki_host import files
from pki_host.errors import HostError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A release root with one release directory in it."""
    root = tmp_path / "tls"
    files.make_directory(str(root / "dip" / "releases" / "v1"))
    return root


def require(root: Path) -> None:
    files.require_own(str(root), "dip", "releases", "v1")


def test_directories_as_we_make_them_and_missing_ones_are_fine(root: Path, tmp_path: Path) -> None:
    require(root)
    require(tmp_path / "nothing" / "yet")


def test_the_root_itself_may_be_a_link_of_the_administrator(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    require(tmp_path / "link")


@pytest.mark.parametrize("part", ["dip", "dip/releases", "dip/releases/v1"])
def test_a_planted_link_is_refused_wherever_it_leads(root: Path, tmp_path: Path, part: str) -> None:
    moved = (root / part).rename(tmp_path / "elsewhere")
    (root / part).symlink_to(moved)
    with pytest.raises(HostError) as caught:
        require(root)
    assert caught.value.rule == "FILE-UNSAFE"
    assert caught.value.found == "a symbolic link"
    assert caught.value.where == str(root / part)


@pytest.mark.parametrize("part", [".", "dip", "dip/releases", "dip/releases/v1"])
def test_a_directory_that_everybody_may_write_to_is_refused(root: Path, part: str) -> None:
    (root / part).chmod(0o777)
    with pytest.raises(HostError, match="open to others") as caught:
        require(root)
    assert caught.value.found == "mode 0777"


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file_is_read_as_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    makers = {"directory": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    makers.get(kind, lambda: path.symlink_to("/dev/zero"))()
    assert files.read(str(path)) is None
    with pytest.raises(OSError, match=r"link|regular|directory"):
        plain_files.read(path, 10)
