# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison with Debian's fetch-crl is what both do today, on a server that breaks.

When it is not: ``tests/benchmarks/fetch_crl_compare.py --write``, and read what changed.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from benchmarks import fetch_crl_compare as comparison
from unit import broken_crl_server as broken
from unit import pki_factory as factory
from unit.broken_crl_server import Material

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not shutil.which(comparison.FETCH_CRL) and os.environ.get("CI") != "true",
        reason="no fetch-crl: apt-get install fetch-crl",
    ),
]


@pytest.fixture(scope="module")
def compared() -> list[str]:
    """The table as it comes out now, without its seconds."""
    with contextlib.redirect_stderr(io.StringIO()):
        done = comparison.compare(comparison.OursHere)
    return comparison.without_seconds(comparison.table(done))


@pytest.fixture(scope="module")
def page() -> list[str]:
    """The table of the page, the same way."""
    lines, start, end = comparison.in_page()
    return comparison.without_seconds(lines[start:end])


def ours(rows: list[str]) -> list[tuple[str, str]]:
    """The two columns that do not depend on the other program's version."""
    cells = [row.split(" | ") for row in rows[1:]]
    return [(row[0], row[-1]) for row in cells]


def test_the_page_says_of_ours_what_it_does(compared: list[str], page: list[str]) -> None:
    assert ours(compared) == ours(page)


def test_the_page_says_of_fetch_crl_what_it_does(compared: list[str], page: list[str]) -> None:
    if compared[0] != page[0]:
        pytest.skip(f"the page measured another version: {page[0]}, here {compared[0]}")
    assert compared == page


def test_the_page_says_what_openssl_makes_of_what_only_fetch_crl_installs(tmp_path: Path) -> None:
    material = Material.made()
    validity = {"start": material.now - broken.HOUR, "end": material.now + broken.HOUR}
    for name, serial in (("revoked", broken.REVOKED), ("other", broken.REVOKED + 100)):
        leaf = material.authority.leaf(serial=serial, **validity)
        (tmp_path / name).write_bytes(factory.pem(leaf))
    (tmp_path / "ca").write_bytes(material.authority.pem)

    def seen(crl: bytes, certificate: str) -> str:
        (tmp_path / "crl").write_bytes(crl)
        command = ["openssl", "verify", "-crl_check", "-CAfile", "ca", "-CRLfile", "crl"]
        done = subprocess.run(
            [*command, certificate], cwd=tmp_path, capture_output=True, check=False
        )
        return "refused" if done.returncode else "good"

    lines = comparison.PAGE.read_text().splitlines()
    start = lines.index("| the CRL | revoked before | never revoked |") + 2
    for line in lines[start : lines.index("", start)]:
        title, revoked, other = line.strip("| ").split(" | ")
        (row,) = (row for row in comparison.ROWS if row.title == title)
        crl = broken.pem(material.of(row.behaviours[0]))
        assert (seen(crl, "revoked"), seen(crl, "other")) == (revoked, other), title
