# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a staged set is believed, and only while the file is the set that was judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pki_host import crl_links, gateway_check

BYTES = b"-----BEGIN X509 CRL-----\n...\n-----END X509 CRL-----\n"
IDENTITY = hashlib.sha256(BYTES).hexdigest()[:16]
BEGINS, ENDS = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
NOON = 1767268800.0  # 2026-01-01T12:00:00Z
DAY = 86400.0


def staged(base: Path, *, identity: str = IDENTITY, begins: str = BEGINS, ends: str = ENDS) -> Path:
    folder = base / "dip/sets" / identity
    folder.mkdir(parents=True)
    told = [
        {"authority": ca, "this_update": begins, "next_update": ends} for ca in ("root", "issuing")
    ]
    (folder / "set.json").write_text(json.dumps({"crls": told}))
    (folder / "crl.pem").write_bytes(BYTES)
    return folder / "crl.pem"


def test_the_record_of_a_set_is_believed_while_its_bytes_are_those_it_is_named_by(
    tmp_path: Path,
) -> None:
    path = staged(tmp_path)
    assert crl_links.judged(str(path)) == {"root": (BEGINS, ENDS), "issuing": (BEGINS, ENDS)}


SPOILT: dict[str, Callable[[Path], Any]] = {
    "somebody edited the list": lambda path: path.write_bytes(BYTES + b"\n"),
    "somebody put an older list there": lambda path: path.write_bytes(b"older"),
    "the list is gone": lambda path: path.unlink(),
    "the record is gone": lambda path: path.with_name("set.json").unlink(),
    "the record is damaged": lambda path: path.with_name("set.json").write_text('{"crls": [{}'),
    "the record says something else": lambda path: path.with_name("set.json").write_text("[]"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_any_other_set_has_to_be_looked_into(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    path = staged(tmp_path)
    spoil(path)
    assert crl_links.judged(str(path)) == {}


def test_a_file_that_is_no_set_of_the_cache_has_to_be_looked_into(tmp_path: Path) -> None:
    path = staged(tmp_path)
    elsewhere = path.parent.parent.parent / "releases" / IDENTITY
    elsewhere.parent.mkdir()
    path.parent.rename(elsewhere)
    assert crl_links.judged(str(elsewhere / "crl.pem")) == {}
    other = staged(tmp_path / "other", identity="0" * 16)
    assert crl_links.judged(str(other)) == {}


class Ca:
    """What the check asks of a CA here."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256


@pytest.mark.parametrize(
    ("cas", "now", "believed"),
    [
        (("root", "issuing"), NOON, True),
        (("issuing",), NOON, True),
        (("root", "issuing", "another"), NOON, False),
        (("root",), NOON + DAY, False),
        (("root",), NOON - DAY, False),
    ],
    ids=["all", "some of them", "a CA that the set has no CRL of", "past its end", "before it"],
)
def test_the_record_counts_for_its_own_cas_and_its_own_time(
    tmp_path: Path, cas: tuple[str, ...], now: float, believed: bool
) -> None:
    path = str(staged(tmp_path))
    assert gateway_check._were_judged([Ca(name) for name in cas], path, now) is believed


def test_a_set_without_an_end_has_to_be_looked_into(tmp_path: Path) -> None:
    path = str(staged(tmp_path, ends=""))
    assert not gateway_check._were_judged([Ca("root")], path, NOON)
