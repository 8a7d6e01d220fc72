# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of replaced versions leave a host; what is in service, or newer, never does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pki_host import files, old_releases
from pki_host.errors import HostError
from pki_host.old_releases import Keep

DIGEST = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Versions 1 to 3 of one entry, of which 2 is in service, and another entry's version 1."""
    for entry, versions in (("dip", (1, 2, 3)), ("other", (1,))):
        for version in versions:
            directory = tmp_path / entry / "releases" / f"v{version}-{DIGEST}"
            files.write(str(directory / "key.pem"), b"a key", files.PRIVATE)
            files.write(str(directory / "certificate.pem"), b"public", files.PUBLIC)
    serve(str(tmp_path), 2)
    return str(tmp_path)


def serve(root: str, version: int) -> None:
    files.link(os.path.join(root, "dip", "current"), f"releases/v{version}-{DIGEST}")


def names(root: str, entry: str = "dip") -> list[str]:
    return sorted(os.listdir(os.path.join(root, entry, "releases")))


def test_what_is_there_is_told_with_what_is_in_service(root: str) -> None:
    told = [one.as_result() for one in old_releases.found(root, "dip")]
    assert [(one["version"], one["in_service"], one["key"]) for one in told] == [
        (1, False, True),
        (2, True, True),
        (3, False, True),
    ]


def test_only_what_is_older_goes_and_a_second_time_nothing_does(root: str) -> None:
    gone = old_releases.remove(root, [Keep("dip", 2)])
    assert [one.name for one in gone] == [f"v1-{DIGEST}"]
    assert names(root) == [f"v2-{DIGEST}", f"v3-{DIGEST}"]
    assert names(root, "other") == [f"v1-{DIGEST}"]
    assert old_releases.remove(root, [Keep("dip", 2)]) == []


@pytest.mark.parametrize("version", [1, 2])
def test_while_an_old_version_is_in_service_nothing_at_all_is_removed(
    root: str, version: int
) -> None:
    serve(root, version)
    with pytest.raises(HostError) as caught:
        old_releases.remove(root, [Keep("other", 2), Keep("dip", 3)])
    assert caught.value.rule == "RELEASE-IN-SERVICE"
    assert caught.value.found == f"v{version}-{DIGEST}"
    assert len(names(root)) == 3
    assert len(names(root, "other")) == 1


@pytest.mark.parametrize("target", ["./releases//v1-{}/", "{root}/dip/releases/v1-{}"])
def test_a_link_that_is_written_otherwise_still_says_what_is_in_service(
    root: str, target: str
) -> None:
    files.link(os.path.join(root, "dip", "current"), target.format(DIGEST, root=root))
    with pytest.raises(HostError, match="old version in service"):
        old_releases.remove(root, [Keep("dip", 2)])


def test_a_run_that_was_killed_between_key_and_directory_is_finished_by_the_next(root: str) -> None:
    os.unlink(os.path.join(root, "dip", "releases", f"v1-{DIGEST}", "key.pem"))
    assert [one.has_key for one in old_releases.found(root, "dip")] == [False, True, True]
    assert [one.version for one in old_releases.remove(root, [Keep("dip", 2)])] == [1]
    assert names(root) == [f"v2-{DIGEST}", f"v3-{DIGEST}"]


def test_what_is_no_release_of_ours_is_left_alone(root: str) -> None:
    for name in ("v1-short", "backup", "v0-0123456789abcdef", ".new-1"):
        os.mkdir(os.path.join(root, "dip", "releases", name))
    old_releases.remove(root, [Keep("dip", 2)])
    assert {"v1-short", "backup", "v0-0123456789abcdef", ".new-1"} <= set(names(root))


def test_a_link_below_the_root_is_not_followed(root: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "releases" / f"v1-{DIGEST}").mkdir(parents=True)
    os.symlink(outside, os.path.join(root, "linked"))
    with pytest.raises(HostError) as caught:
        old_releases.remove(root, [Keep("linked", 2)])
    assert caught.value.rule == "FILE-UNSAFE"
    assert (outside / "releases" / f"v1-{DIGEST}").is_dir()


def test_a_release_that_is_a_link_is_not_followed(root: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    files.write(str(outside / "key.pem"), b"another's", files.PRIVATE)
    os.symlink(outside, os.path.join(root, "dip", "releases", "v1-fedcba9876543210"))
    with pytest.raises(HostError) as caught:
        old_releases.remove(root, [Keep("dip", 2)])
    assert caught.value.rule == "FILE-UNSAFE"
    assert (outside / "key.pem").exists()


def test_a_host_without_releases_has_nothing_to_remove(tmp_path: Path) -> None:
    assert old_releases.remove(str(tmp_path), [Keep("dip", 2)]) == []


@pytest.mark.parametrize(
    ("name", "version"), [("../etc", 2), ("", 2), ("a/b", 2), (".hidden", 2), ("dip", 0)]
)
def test_names_that_leave_the_root_and_versions_that_keep_nothing_are_refused(
    name: str, version: int
) -> None:
    with pytest.raises(HostError) as caught:
        Keep.of({"certificate": name, "version": version})
    assert caught.value.rule == "RELEASE-MALFORMED"
