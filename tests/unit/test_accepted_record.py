# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of an accepted certificate: once, whole, in order, and the same tomorrow."""

from __future__ import annotations

import os
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from pki import accepted_record, public_state
from unit import pki_factory as factory
from unit.controller_world import ISSUING, NAME, World, spki, tree
from unit.pki_factory import DAY, NOW

FILES = ["accepted.yml", "certificate.pem", "chain.pem"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.request()
    made.reply()
    made.crls()
    return made


def keep(world: World, now: datetime = NOW, *, save: bool = True) -> accepted_record.Kept:
    return world.keep(at=now, save=save)


def record(world: World) -> dict[str, object]:
    (files,) = public_state.scan(world.kept, NAME)
    assert files.accepted_record is not None
    return dict(files.accepted_record)


def test_certificate_chain_and_record_are_kept_beside_the_request(world: World) -> None:
    leaf = world.reply()
    kept = keep(world)
    assert sorted(kept.missing) == FILES
    assert (world.directory() / "certificate.pem").read_bytes() == factory.pem(leaf)
    assert (world.directory() / "chain.pem").read_bytes() == ISSUING.pem
    assert record(world) == {
        "schema": 1,
        "certificate": NAME,
        "version": 1,
        "serial": f"{factory.serial(leaf):x}",
        "certificate_sha256": kept_digest(leaf),
        "spki_sha256": spki("leaf"),
        "not_before": "2026-11-20T12:00:00Z",
        "not_after": "2027-12-23T12:00:00Z",
        "accepted_at": "2026-11-21T12:00:00Z",
        "policy": record(world)["policy"],
        "remarks": record(world)["remarks"],
    }
    assert "Code of Connection" in str(record(world)["policy"])
    assert str(record(world)["policy"]).startswith("mhhs-dip: ")


def kept_digest(leaf: bytes) -> str:
    return sha256(leaf).hexdigest()


def test_a_second_run_at_another_time_changes_nothing(world: World) -> None:
    keep(world)
    before = tree(world.kept)
    assert keep(world, NOW + 30 * DAY).missing == ()
    assert tree(world.kept) == before


def test_the_date_of_acceptance_stays_when_something_else_has_to_be_written_again(
    world: World,
) -> None:
    keep(world)
    (world.directory() / "chain.pem").write_bytes(b"edited\n")
    (world.directory() / "reply.txt").unlink()
    (world.directory() / "chain.pem").unlink()
    assert keep(world, NOW + 30 * DAY).missing == ("chain.pem",)
    assert record(world)["accepted_at"] == "2026-11-21T12:00:00Z"


def test_another_certificate_has_a_date_of_its_own(world: World) -> None:
    keep(world)
    (world.directory() / "certificate.pem").unlink()
    world.reply()
    keep(world, NOW + 30 * DAY)
    assert record(world)["accepted_at"] == "2026-12-21T12:00:00Z"


def test_an_edited_record_is_written_again_as_it_must_be(world: World) -> None:
    keep(world)
    right = tree(world.kept)["dip-nonprod/1/accepted.yml"][0]
    edited = {**record(world), "serial": "00", "remarks": []}
    world.put(accepted_yml=public_state.dump(edited))
    assert keep(world).missing == ("accepted.yml",)
    assert tree(world.kept)["dip-nonprod/1/accepted.yml"][0] == right


def test_check_mode_names_the_files_and_writes_none(world: World) -> None:
    before = tree(world.kept)
    assert sorted(keep(world, save=False).missing) == FILES
    assert tree(world.kept) == before


def test_remarks_are_the_failed_findings_that_do_not_refuse(world: World) -> None:
    keep(world)
    remarks = record(world)["remarks"]
    assert isinstance(remarks, list)
    assert [remark.partition(":")[0] for remark in remarks] == [
        "DIP-3.4.2-COMMITMENT",
        "DIP-7.1.2-RSA4096",
        "DIP-3.6.1-OCSP",
        "DIP-6.2-CA-4096",
        "DIP-3.5.2.5-CDP",
    ]
    assert remarks[1].endswith("(found 2048 bits)")


def test_a_longer_validity_than_the_document_says_is_a_remark(world: World) -> None:
    world.reply(end=NOW + 500 * DAY)
    keep(world)
    assert "DIP-6.1-398D" in str(record(world)["remarks"])


class Killed(BaseException):
    """What a signal would be."""


@pytest.mark.parametrize("survives", range(4))
def test_a_kill_between_files_never_leaves_a_record_without_its_certificate(
    world: World, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    done: list[object] = []
    rename = os.replace

    def until_killed(source: str, target: Path) -> None:
        if len(done) == survives:
            raise Killed
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", until_killed)
        try:
            keep(world)
        except Killed:
            assert survives < 3
        else:
            assert survives == 3
    there = {path.name for path in world.directory().iterdir()}
    assert there.isdisjoint(["accepted.yml"]) or there.issuperset(FILES)
    keep(world)
    assert there | set(FILES) == {path.name for path in world.directory().iterdir()}
    assert record(world)["accepted_at"] == "2026-11-21T12:00:00Z"


def test_the_result_names_the_directory_to_commit_and_shows_public_files_only(
    world: World,
) -> None:
    leaf = world.reply()
    kept = keep(world)
    serial = f"{factory.serial(leaf):x}"
    assert kept.as_result() == {
        "certificate": NAME,
        "version": 1,
        "serial": serial,
        "directory": str(world.directory()),
        "uncommitted": ["certificate.pem", "chain.pem", "accepted.yml"],
    }
    assert kept.sentence() == (f"{NAME} v1: accepted, serial {serial}; commit {world.directory()}")
    diff = kept.diff()
    assert diff["before"] == ""
    assert diff["after_header"] == f"{NAME} v1"
    assert yaml.safe_load(diff["after"].partition("\n---\n")[2])["serial"] == serial
    assert diff["after"].count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in diff["after"]


def test_the_diff_shows_only_what_was_not_there(world: World) -> None:
    keep(world)
    (world.directory() / "chain.pem").unlink()
    assert keep(world, save=False).diff()["after"] == ISSUING.pem.decode()
