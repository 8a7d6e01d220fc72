# SPDX-License-Identifier: GPL-3.0-or-later
"""The files beside the inventory: read strictly, written whole, in order and readable."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import public_state
from pki.errors import PkiError
from pki.lifecycle import Asked, Intent, Version
from unit.controller_world import NAME, World, spki, whole
from unit.pki_factory import CN, NOW, SUBJECT

ACCEPTED: dict[str, Any] = {
    "schema": 1,
    "serial": "0a",
    "not_before": "2026-11-20T12:00:00Z",
    "not_after": "2027-12-23T12:00:00Z",
    "accepted_at": "2026-11-21T12:00:00Z",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def scan(world: World) -> tuple[public_state.VersionFiles, ...]:
    return public_state.scan(world.kept, NAME)


def observed(world: World) -> Version:
    (files,) = scan(world)
    return public_state.observed_version(files)


def refusal(action: Callable[[], object], where: Path, rule: str = "STATE-FILE") -> PkiError:
    with pytest.raises(PkiError) as caught:
        action()
    error = whole(caught.value)
    assert (error.rule, error.where) == (rule, str(where))
    return error


# --- the layout -----------------------------------------------------------------------------


def test_a_certificate_without_directory_has_no_versions(world: World) -> None:
    assert scan(world) == ()


def test_versions_come_oldest_first_as_numbers(world: World) -> None:
    for number in range(1, 12):
        world.put(number, reply_txt=b"")
    assert [files.number for files in scan(world)] == list(range(1, 12))


@pytest.mark.parametrize("name", ["0", "00", "01", "-1", "1.0", "v1", "1 ", "١", "²", "reply.txt"])
def test_only_directories_named_by_a_version_may_be_there(world: World, name: str) -> None:
    world.put(1, reply_txt=b"")
    stray = world.kept / NAME / name
    stray.mkdir()
    error = refusal(lambda: scan(world), stray, "STATE-LAYOUT")
    assert error.found == name
    assert error.message.startswith(f"{NAME}:")


def test_a_file_named_like_a_version_is_no_version(world: World) -> None:
    world.put(1, reply_txt=b"")
    (world.kept / NAME / "2").write_bytes(b"")
    refusal(lambda: scan(world), world.kept / NAME / "2", "STATE-LAYOUT")


def test_hidden_files_are_nobodys_business(world: World) -> None:
    world.put(1, reply_txt=b"")
    (world.kept / NAME / ".gitkeep").write_bytes(b"")
    (world.directory() / ".certificate.pem.abc123").write_bytes(b"left by a killed run")
    (files,) = scan(world)
    assert files.certificate is None


def test_every_file_of_a_version_is_read_and_what_is_not_there_is_none(world: World) -> None:
    world.request()
    world.put(reply_txt=b"second", reply_cer=b"first")
    (files,) = scan(world)
    assert files.request == (world.directory() / "request.csr").read_bytes()
    assert files.replies == (("reply.cer", b"first"), ("reply.txt", b"second"))
    assert (files.certificate, files.chain) == (None, None)
    assert (files.accepted_record, files.outcome_record) == (None, None)
    assert files.path == world.directory()


ASKED = {"schema": 1, "date": "2026-11-10T08:00:00Z", "reason": "the portal was down"}


def test_a_persons_word_may_be_alone_in_a_version(world: World) -> None:
    world.put(asked_yml=public_state.dump(ASKED))
    version = observed(world)
    assert version.asked == Asked("the portal was down", datetime(2026, 11, 10, 8, tzinfo=UTC))
    assert not version.begun
    assert scan(world)[0].only_asked


@pytest.mark.parametrize(
    "name",
    ["request.csr", "reply.txt", "certificate.pem", "request.yml", "accepted.yml", "outcome.yml"],
)
def test_a_version_with_anything_else_is_more_than_asked_for(world: World, name: str) -> None:
    world.put(asked_yml=public_state.dump(ASKED), **{name: b"schema: 1\n"})
    assert not scan(world)[0].only_asked


def test_without_a_persons_word_nothing_was_asked_for(world: World) -> None:
    world.request()
    assert observed(world).asked is None
    assert observed(world).begun
    assert not scan(world)[0].only_asked


@pytest.mark.parametrize(
    "record", [{"schema": 1, "reason": "x"}, {"schema": 1, "date": "2026-11-10"}], ids=str
)
def test_a_persons_word_has_a_date_and_a_reason(world: World, record: dict[str, Any]) -> None:
    world.put(asked_yml=public_state.dump(record))
    (files,) = scan(world)
    refusal(lambda: public_state.observed_version(files), world.directory() / "asked.yml")


def test_an_empty_reply_is_a_reply(world: World) -> None:
    world.request()
    world.put(reply_txt=b"")
    assert observed(world).has_reply


def test_what_is_judged_is_the_kept_certificate_and_before_that_the_reply(world: World) -> None:
    world.put(reply_txt=b"reply", accepted_yml=public_state.dump(ACCEPTED), chain_pem=b"chain")
    assert scan(world)[0].presented == (b"reply",), "a record alone is no certificate"
    world.put(certificate_pem=b"kept")
    assert scan(world)[0].presented == (b"kept", b"chain")
    (world.directory() / "chain.pem").unlink()
    assert scan(world)[0].presented == (b"kept",)


# --- damaged files --------------------------------------------------------------------------


def test_a_file_may_be_a_mebibyte_and_no_larger(world: World) -> None:
    world.put(reply_txt=b"x" * public_state.MAXIMUM_BYTES)
    assert len(scan(world)[0].replies[0][1]) == 1_048_576
    world.put(reply_txt=b"x" * (public_state.MAXIMUM_BYTES + 1))
    assert "1048576" in refusal(lambda: scan(world), world.directory() / "reply.txt").expected


def test_a_link_to_something_without_end_is_refused(world: World) -> None:
    world.put(reply_txt=b"")
    (world.directory() / "certificate.pem").symlink_to("/dev/zero")
    refusal(lambda: scan(world), world.directory() / "certificate.pem")


def test_a_directory_in_the_place_of_a_file_is_refused(world: World) -> None:
    (world.directory() / "request.csr").mkdir(parents=True)
    error = refusal(lambda: scan(world), world.directory() / "request.csr")
    assert error.found


DAMAGED = {
    "empty": b"",
    "not YAML": b"schema: [1",
    "binary": b"\xff\xfe\x00\x01",
    "a list": b"- schema: 1\n",
    "a text": b"schema 1\n",
    "another schema": b"schema: 2\n",
    "no schema": b"serial: 1\n",
    "a schema as text": b"schema: '1'\n",
    "conflict markers": b"<<<<<<< ours\nschema: 1\n=======\nschema: 1\n>>>>>>> theirs\n",
    "an object of Python": b"schema: !!python/object/apply:os.getcwd []\n",
    "a date that is none": b"schema: 1\ncreated: 2026-13-45\n",
    "brackets in brackets": b"schema: 1\nx: " + b"[" * 2_000,
}


@pytest.mark.parametrize("name", ["request.yml", "accepted.yml", "outcome.yml", "asked.yml"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record_is_named_and_not_guessed_at(world: World, kind: str, name: str) -> None:
    world.request()
    (world.directory() / name).write_bytes(DAMAGED[kind])
    error = refusal(lambda: scan(world), world.directory() / name)
    assert error.message == f"{name} cannot be used"


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_named_refusal(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as base:
        place = Path(base, NAME, "1")
        place.mkdir(parents=True)
        (place / "request.yml").write_bytes(b"schema: 1\n" + content)
        try:
            (files,) = public_state.scan(base, NAME)
        except PkiError as exc:
            assert exc.rule == "STATE-FILE"  # noqa: PT017 - either outcome is right
        else:
            assert files.request_record is not None
            assert files.request_record["schema"] == 1


INCOMPLETE: dict[str, dict[str, Any]] = {
    "no common name": {"common_name": ...},
    "no subject": {"subject": ...},
    "a subject of text": {"subject": "O=Example"},
    "a subject of nothing": {"subject": None},
    "no purposes": {"purposes": ...},
    "purposes of text": {"purposes": "mtls"},
    "purposes of nothing": {"purposes": None},
    "no policy": {"policy": ...},
    "no key": {"key": ...},
    "a key of nothing": {"key": None},
    "a key without digest": {"key": {"name": NAME}},
    "no date": {"created": ...},
    "a date in words": {"created": "last Tuesday"},
    "a date of nothing": {"created": None},
}


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_a_request_record_with_a_part_missing_or_wrong_is_refused(world: World, kind: str) -> None:
    world.request(**INCOMPLETE[kind])
    path = world.directory() / "request.yml"
    (files,) = scan(world)
    refusal(lambda: public_state.observed_version(files), path)


@pytest.mark.parametrize("field", ["serial", "not_before", "not_after", "accepted_at"])
def test_an_acceptance_record_with_a_part_missing_is_refused(world: World, field: str) -> None:
    record = {key: value for key, value in ACCEPTED.items() if key != field}
    world.put(certificate_pem=b"kept", accepted_yml=public_state.dump(record))
    (files,) = scan(world)
    error = refusal(
        lambda: public_state.observed_version(files), world.directory() / "accepted.yml"
    )
    assert field in error.found


# --- what the plan sees ---------------------------------------------------------------------


def test_a_request_is_seen_with_its_intent_key_and_date(world: World) -> None:
    world.request()
    version = observed(world)
    assert version.requested is not None
    assert version.requested.intent == Intent(
        CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", store="transit"
    )
    assert version.requested.spki_sha256 == spki("leaf")
    assert version.requested.created == datetime(2026, 11, 14, 8, tzinfo=UTC)
    assert not version.has_reply
    assert not version.settled


@pytest.mark.parametrize("missing", ["request.csr", "request.yml"])
def test_a_request_with_one_of_its_files_missing_is_no_request(world: World, missing: str) -> None:
    world.request()
    (world.directory() / missing).unlink()
    assert observed(world).requested is None


def test_an_accepted_certificate_is_seen_with_its_record(world: World) -> None:
    world.put(certificate_pem=b"kept", accepted_yml=public_state.dump(ACCEPTED))
    (files,) = scan(world)
    accepted = public_state.observed_version(files, NOW).accepted
    assert accepted is not None
    assert accepted.serial == "0a"
    assert accepted.not_before == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert accepted.not_after == datetime(2027, 12, 23, 12, tzinfo=UTC)
    assert accepted.accepted_at == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert accepted.revoked_at == NOW


def test_a_record_without_its_certificate_accepts_nothing(world: World) -> None:
    world.put(accepted_yml=public_state.dump(ACCEPTED))
    assert observed(world).accepted is None


def test_a_certificate_without_its_record_is_not_settled(world: World) -> None:
    world.put(certificate_pem=b"kept")
    assert not observed(world).settled


@pytest.mark.parametrize("outcome", ["rejected", "withdrawn"])
def test_an_outcome_settles_a_request(world: World, outcome: str) -> None:
    world.request()
    record = {"schema": 1, "outcome": outcome, "date": "2026-11-10"}
    world.put(outcome_yml=public_state.dump(record))
    version = observed(world)
    assert version.outcome == outcome
    assert version.outcome_at == datetime(2026, 11, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "record",
    [
        {"schema": 1, "outcome": "lost", "date": "2026-11-10"},
        {"schema": 1, "outcome": "rejected"},
        {"schema": 1, "date": "2026-11-10"},
    ],
    ids=["another word", "no date", "no outcome"],
)
def test_an_outcome_is_one_of_two_words_with_a_date(world: World, record: dict[str, Any]) -> None:
    world.put(outcome_yml=public_state.dump(record))
    (files,) = scan(world)
    refusal(lambda: public_state.observed_version(files), world.directory() / "outcome.yml")


DATES = {
    "2026-11-21T12:00:00Z": NOW,
    "'2026-11-21T12:00:00Z'": NOW,
    "2026-11-21T12:00:00": NOW,
    "'2026-11-21T12:00:00'": NOW,
    "2026-11-21 12:00:00": NOW,
    "2026-11-21T13:00:00+01:00": NOW,
    "'2026-11-21T07:00:00-05:00'": NOW,
    "2026-11-21": NOW - timedelta(hours=12),
    "'2026-11-21'": NOW - timedelta(hours=12),
}


@pytest.mark.parametrize("text", DATES)
def test_a_date_is_utc_unless_it_says_otherwise(world: World, text: str) -> None:
    content = f"schema: 1\noutcome: rejected\ndate: {text}\n"
    world.put(outcome_yml=content.encode())
    moment = observed(world).outcome_at
    assert moment == DATES[text]
    assert moment is not None
    assert moment.tzinfo is not None


# --- what is written ------------------------------------------------------------------------


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1)),
    st.integers(-14, 14),
)
def test_a_moment_is_written_in_utc_in_whole_seconds_and_read_back_as_itself(
    naive: datetime, hours: int
) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    text = public_state.iso(moment)
    assert len(text) == len("2026-11-21T12:00:00Z")
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == moment.replace(microsecond=0)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
RECORDS = st.dictionaries(
    TEXT, st.one_of(TEXT, st.integers(), st.lists(TEXT, max_size=3), st.none()), max_size=5
)


@given(RECORDS)
def test_a_record_is_dumped_in_the_order_given_and_reads_back_as_itself(
    record: dict[str, Any],
) -> None:
    content = public_state.dump(record)
    assert content == public_state.dump(dict(record))
    assert content.startswith(b"---\n")
    read = yaml.safe_load(content)
    assert read == record
    assert list(read) == list(record)


def test_a_dump_is_plain_text_that_a_person_can_review() -> None:
    record = {"schema": 1, "O": "Énergie Ltd", "purposes": ["mtls"], "created": "2026-11-21"}
    assert public_state.dump(record).decode() == (
        "---\nschema: 1\nO: Énergie Ltd\npurposes:\n- mtls\ncreated: '2026-11-21'\n"
    )


def test_differing_names_missing_and_changed_files_in_order(world: World) -> None:
    world.put(reply_txt=b"same", request_csr=b"old")
    wanted = {"request.yml": b"new", "reply.txt": b"same", "request.csr": b"new"}
    assert public_state.differing(world.directory(), wanted) == ["request.yml", "request.csr"]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_public_files_are_0644_under_any_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        public_state.write(tmp_path, {"request.csr": b"x"})
    assert stat.S_IMODE((tmp_path / "request.csr").stat().st_mode) == 0o644


def test_a_file_that_is_replaced_is_0644_again_and_no_part_is_left(tmp_path: Path) -> None:
    (tmp_path / "request.csr").write_bytes(b"old")
    (tmp_path / "request.csr").chmod(0o600)
    public_state.write(tmp_path, {"request.csr": b"new"})
    assert (tmp_path / "request.csr").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "request.csr").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["request.csr"]


def test_a_reader_sees_the_old_file_or_the_new_one_and_nothing_between(tmp_path: Path) -> None:
    path = tmp_path / "request.csr"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        public_state.write(tmp_path, {"request.csr": b"new and longer"})
        assert reader.read() == b"old", "the file was written in place"
    assert path.read_bytes() == b"new and longer"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "request.csr").symlink_to(outside)
    public_state.write(folder, {"request.csr": b"new"})
    assert outside.read_bytes() == b"mine"
    assert not (folder / "request.csr").is_symlink()


class Killed(BaseException):
    """What a signal would be."""


@pytest.mark.parametrize("survives", range(3))
def test_files_appear_in_the_order_given_so_that_the_last_one_means_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    names = ["certificate.pem", "chain.pem", "accepted.yml"]
    renames: list[object] = []
    real = os.replace

    def rename(source: str, target: Path) -> None:
        if len(renames) == survives:
            raise Killed
        renames.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", rename)
    with pytest.raises(Killed):
        public_state.write(tmp_path, dict.fromkeys(names, b"x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[:survives])


def test_bytes_are_on_disk_before_the_name_is_and_the_name_before_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observed from the calls themselves; a power cut cannot be had in a test."""
    seen: list[str] = []
    sync, rename = os.fsync, os.replace

    def noted_sync(handle: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def noted_rename(source: str, target: Path) -> None:
        seen.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    public_state.write(tmp_path, {"a": b"1", "b": b"2"})
    assert seen == ["file", "rename", "folder"] * 2


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "dip-nonprod").write_text("a file in the way")
    place = tmp_path / "dip-nonprod" / "1"
    error = refusal(lambda: public_state.write(place, {"request.csr": b"x"}), place, "STATE-WRITE")
    assert error.found == "Not a directory"
