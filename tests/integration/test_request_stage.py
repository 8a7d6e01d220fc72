# SPDX-License-Identifier: GPL-3.0-or-later
"""Three nightly runs on three fresh runners before the merge: one key version, the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from integration.lab_fixture import Lab
from integration.test_make_lab import Clone, copy_of_the_repository

pytestmark = [pytest.mark.integration, pytest.mark.lab]
pytest_plugins = ("integration.lab_plugin",)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def newest_version(lab: Lab) -> int:
    """The key's newest version; other tests of this world may have made some before."""
    with lab.client("auditor") as client:
        key = client.read("transit-nonprod-tls/keys/dip-nonprod")
    return int(key["latest_version"]) if key else 0


def test_three_fresh_clones_without_a_merge_write_one_request(lab: Lab, tmp_path: Path) -> None:
    written = []
    before = newest_version(lab)
    for night in ("monday", "tuesday", "wednesday"):
        runner = Clone(copy_of_the_repository(tmp_path / night))
        (runner.root / ".venv").symlink_to(sys.prefix)
        mine = runner.root / "certificates"
        run = runner.play(
            "site",
            "-e", f"lab_dir={lab.home}", "-e", f"certificates_dir={mine}",
            "-e", f"release_certificates_dir={mine}",
        )  # fmt: skip
        assert "dip-nonprod  requested" in run.output
        written.append(contents(mine))
    assert written[0]
    assert set(written[0]) == {
        "dip-nonprod/1/request.csr",
        "dip-nonprod/1/request.yml",
        "dip-nonprod/1/submission.txt",
    }
    assert written[0] == written[1] == written[2]
    assert newest_version(lab) == max(before, 1)
