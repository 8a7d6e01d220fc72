# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab packs for another host: the same bytes for the same files, and nothing odd."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from unit.lab_imports import PkiError

from ansible.module_utils.lab import archive  # isort: skip

DATE = 1_700_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Credentials as the lab keeps them, with what a killed write leaves beside them."""
    home = tmp_path / "secrets"
    (home / "deep").mkdir(parents=True)
    home.chmod(0o700)
    for name, text, mode in (("b.secret_id", "two", 0o600), ("deep/a.pem", "one", 0o644)):
        (home / name).write_text(text)
        (home / name).chmod(mode)
        os.utime(home / name, (DATE, DATE))
    (home / ".b.secret_id.4f2a").write_text("half")
    return home


def entry(
    source: Path, name: str = "/etc/openbao/secrets", owner: str = "openbao"
) -> archive.Entry:
    return archive.entry_of({"source": str(source), "name": name, "owner": owner, "group": None})


def members(content: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(content) as found:
        return {one.name: one for one in found.getmembers()}


def test_modes_and_dates_are_the_sources_and_owners_are_names(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vault.tar"
    assert archive.ensure(path, [entry(source)], check=False) == [f"packed {path}"]
    found = members(path)
    assert list(found) == [
        "etc/openbao/secrets",
        "etc/openbao/secrets/b.secret_id",
        "etc/openbao/secrets/deep",
        "etc/openbao/secrets/deep/a.pem",
    ]
    assert [oct(one.mode) for one in found.values()] == ["0o700", "0o600", "0o755", "0o644"]
    assert {(one.uname, one.gname) for one in found.values()} == {("openbao", "openbao")}
    assert {one.mtime for one in found.values()} == {DATE}


def test_the_archive_is_for_its_owner_alone_and_its_digest_beside_it(
    source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "vault.tar"
    archive.ensure(path, [entry(source)], check=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    digest = (tmp_path / "vault.tar.sha256").read_text()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest() + "\n"


def test_packing_again_changes_nothing(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vault.tar"
    archive.ensure(path, [entry(source)], check=False)
    before = path.read_bytes()
    (source / ".another.half").write_text("also left out")
    assert archive.ensure(path, [entry(source)], check=False) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["content", "mode", "new file"])
def test_what_changed_on_disk_changes_the_archive(
    source: Path, tmp_path: Path, change: str
) -> None:
    path, secret = tmp_path / "vault.tar", source / "b.secret_id"
    archive.ensure(path, [entry(source)], check=False)
    before = (tmp_path / "vault.tar.sha256").read_text()
    if change == "content":
        secret.write_text("owt")
        os.utime(secret, (DATE, DATE))
    elif change == "mode":
        secret.chmod(0o640)
    else:
        (source / "c.secret_id").write_text("three")
    assert archive.ensure(path, [entry(source)], check=False) == [f"packed {path}"]
    assert (tmp_path / "vault.tar.sha256").read_text() != before


def test_a_host_that_unpacked_it_has_no_difference_to_it(source: Path, tmp_path: Path) -> None:
    """By the program with which Ansible's unarchive decides whether anything changes."""
    path, host = tmp_path / "vault.tar", tmp_path / "host"
    host.mkdir()
    me = pwd.getpwuid(os.geteuid()).pw_name
    options = {"source": str(source), "name": "/etc/x", "owner": me}
    options["group"] = grp.getgrgid(os.getegid()).gr_name
    archive.ensure(path, [archive.entry_of(options)], check=False)
    subprocess.run(["tar", "--extract", "-f", path, "-C", host], check=True)
    compare = ["tar", "--diff", "-f", str(path), "-C", str(host)]
    assert subprocess.run(compare, capture_output=True, text=True, check=False).stdout == ""
    (host / "etc/x/b.secret_id").write_text("other")
    assert subprocess.run(compare, capture_output=True, check=False).returncode == 1


def test_a_link_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "planted").symlink_to("/etc/shadow")
    with pytest.raises(PkiError) as refused:
        archive.ensure(tmp_path / "vault.tar", [entry(source)], check=False)
    assert refused.value.rule == "LAB-ARCHIVE"
    assert str(source / "planted") in str(refused.value.where)
    assert not (tmp_path / "vault.tar").exists()


def test_a_missing_source_is_refused_and_announced_by_a_check(tmp_path: Path) -> None:
    path, missing = tmp_path / "vault.tar", [entry(tmp_path / "nothing")]
    with pytest.raises(PkiError):
        archive.ensure(path, missing, check=False)
    assert archive.ensure(path, missing, check=True) == [f"would pack {path}"]
    assert not path.exists()


def test_a_check_writes_nothing(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vault.tar"
    assert archive.ensure(path, [entry(source)], check=True) == [f"packed {path}"]
    assert not path.exists()
    assert not (tmp_path / "vault.tar.sha256").exists()
