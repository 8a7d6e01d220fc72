# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a release that a person holds on a host, and what it keeps from being removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pki_host import files, hold, kept, old_releases, transaction
from pki_host.errors import HostError
from pki_host.hold import Hold

NAME = "dip-nonprod"
V1, V2, V3 = (f"v{number}-{'0' * 15}{number}" for number in (1, 2, 3))
HELD = Hold(V1, "Ada Admin", "the DIP refuses the new one", "2026-11-22T02:10:00Z")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A release root with three releases, the third in service."""
    for release in (V1, V2, V3):
        files.write(str(tmp_path / NAME / "releases" / release / "key.pem"), b"key")
    (tmp_path / NAME / "current").symlink_to(f"releases/{V3}")
    return str(tmp_path)


def releases(root: str) -> list[str]:
    return sorted(os.listdir(os.path.join(root, NAME, "releases")))


def test_it_is_read_as_it_was_written_and_anybody_may_read_it(root: str) -> None:
    assert hold.read(root, NAME) is None
    hold.write(root, NAME, HELD)
    assert hold.read(root, NAME) == HELD
    assert hold.read_all(root, [NAME, "other"]) == {NAME: HELD}
    assert HELD.version == 1
    assert files.mode_of(hold.path(root, NAME)) == 0o644
    hold.remove(root, NAME)
    hold.remove(root, NAME)
    assert hold.read(root, NAME) is None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"release": "../x", "by": "", "reason": "", "since": ""}']
)
def test_one_that_cannot_be_read_stops_whoever_asks_and_says_what_to_do(
    root: str, content: bytes
) -> None:
    Path(hold.path(root, NAME)).write_bytes(content)
    with pytest.raises(HostError) as caught:
        hold.read(root, NAME)
    assert caught.value.rule == "HOST-HOLD"
    assert "rollback.yml" in caught.value.expected
    # And nothing at all is removed meanwhile.
    assert not hold.may_remove(os.path.join(root, NAME), V2)


def test_a_link_in_its_place_is_not_followed(root: str) -> None:
    os.symlink("/etc/passwd", hold.path(root, NAME))
    with pytest.raises(HostError, match="cannot be used"):
        hold.read(root, NAME)


@pytest.mark.parametrize("name", ["../x", "a/b", ""])
def test_a_name_that_would_leave_the_root_is_refused(root: str, name: str) -> None:
    with pytest.raises(HostError):
        hold.read(root, name)


def test_pruning_leaves_what_is_held(root: str) -> None:
    hold.write(root, NAME, HELD)
    for age, release in enumerate((V3, V2, V1)):
        os.utime(os.path.join(root, NAME, "releases", release), (1000 - age, 1000 - age))
    transaction._prune_beside(os.path.join(root, NAME, "releases", V3), 1)
    assert releases(root) == [V1, V3]
    hold.remove(root, NAME)
    transaction._prune_beside(os.path.join(root, NAME, "releases", V3), 1)
    assert releases(root) == [V3]


def test_retiring_leaves_what_is_held_and_everything_else_with_it(root: str) -> None:
    hold.write(root, NAME, HELD)
    with pytest.raises(HostError) as caught:
        old_releases.remove(root, [old_releases.Keep(NAME, 3)])
    assert caught.value.rule == "RELEASE-HELD"
    assert "rollback_state=released" in caught.value.next_step
    assert releases(root) == [V1, V2, V3]
    hold.remove(root, NAME)
    old_releases.remove(root, [old_releases.Keep(NAME, 3)])
    assert releases(root) == [V3]


def test_what_is_kept_is_told_with_what_is_in_service_and_held(root: str) -> None:
    hold.write(root, NAME, HELD)
    (entry,) = kept.entries(root)
    assert (entry.certificate, entry.current, entry.held) == (NAME, V3, HELD)
    assert [one.id for one in entry.releases] == [V1, V2, V3]
    assert {one.problem for one in entry.releases} == {""}
    (judged,) = kept.entries(root, judged=True)
    assert {one.problem for one in judged.releases} == {
        "its certificate is not on this host any more"
    }
    # What is no release of ours is not told: API keys, a list, somebody's link.
    (Path(root) / "compromised.json").write_text("{}")
    (Path(root) / "api-keys" / "x" / "releases").mkdir(parents=True)
    (Path(root) / "elsewhere").symlink_to(Path(root) / NAME)
    assert [one.certificate for one in kept.entries(root)] == [NAME]
