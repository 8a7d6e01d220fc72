# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may be handed which key, on whose word; what is kept of it; what a check sees of that."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import export_file, export_records, export_stage, inventory
from pki.desk import Desk
from pki.errors import PkiError
from pki.export_records import Export, Receipt
from pki.export_stage import Decision, Wish
from pki.history import Committed
from pki.public_state import VersionFiles
from unit.test_inventory_parties import ADMIN, POLICIES, entry, load, organisation

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HANDED = {"store": "transit", "handover": True}
ORGANISATIONS = ("supplier-b", "provider-x", "provider-y")
FACTS: dict[str, Any] = {
    "format": "pkcs12", "mode": "0600", "private_keys": 1, "key_matches": True, "chain_length": 3,
    "ends_at_anchor": True, "key_encryption": "aes-256-cbc", "certificates_encrypted": True,
    "mac": "sha256", "iterations": 100000, "salt_octets": 16,
    "password": {"length": 30, "words": 3, "entropy_bits": 68, "letters_and_digits": False,
                 "earlier_uses": 0},
}  # fmt: skip


def made(id: str = "one", recipient: str = "provider-x", **changes: Any) -> Export:
    export = Export(
        id=id,
        date="2026-11-20T10:00:00Z",
        recipient=recipient,
        by="Ada Admin",
        file=f"{id}.p12",
        file_sha256="ab" * 32,
        passphrase_in=f"kv-nonprod/data/exports/{id}",
        facts=FACTS,
    )
    return replace(export, **changes)


def files(number: int = 1, mount: str = "transit-nonprod-tls", **changes: Any) -> VersionFiles:
    key = {"store": "transit", "mount": mount, "spki_sha256": "cd" * 32}
    record = {"purposes": ["signing"], "provider": "provider-x", "key": key}
    found = VersionFiles(
        path=Path(f"certificates/b-nonprod/{number}"),
        number=number,
        request=b"request",
        request_record=record,
        replies=(),
        certificate=b"certificate",
        chain=b"chain",
        accepted_record={"serial": "0a"},
        outcome_record=None,
    )
    return replace(found, **changes)


def certificate(**changes: Any) -> inventory.Certificate:
    people = [
        {**ADMIN, "name": "Ada Admin"},
        {**ADMIN, "name": "Gone Admin", "email": "gone@example.com", "left": "2026-02-03"},
        {**ADMIN, "name": "Ulla User", "email": "u@example.com", "role": "user_administrator"},
    ]
    other = {
        "party": "dip_connection_provider",
        "subject": {"O": "Y", "L": "L", "ST": "S", "C": "GB"},
    }
    return load(
        organisation("supplier-b", roster=people),
        lambda raw: raw["organisations"].update({"provider-y": other}),
        entry(**{"key": HANDED, **changes}),
    ).certificates["b-nonprod"]


def desk(*versions: VersionFiles, **changes: Any) -> Desk:
    return Desk(
        certificate=certificate(**changes),
        rules=POLICIES["mhhs-dip"],
        versions=versions or (files(),),
        known=Committed.of({}, {}),
        directory=Path("certificates"),
        now=NOW,
    )


def decide(
    place: Desk, exports: Mapping[int, tuple[Export, ...]] | None = None, **wish: Any
) -> Decision:
    given = {"recipient": "provider-x", "by": "Ada Admin", **wish}
    return export_stage.decide(place, Wish(**given), ORGANISATIONS, exports or {}, "0f3a")


def refused(place: Desk, exports: Any = None, **wish: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        decide(place, exports, **wish)
    assert all(caught.value.as_result().values())
    return caught.value


# --- who, and to whom -------------------------------------------------------------------------


def test_the_provider_of_the_entry_gets_the_newest_key_on_an_admins_word() -> None:
    decided = decide(desk(files(1), files(2)), by="  ada   ADMIN ")
    assert (decided.files.number, decided.by, decided.done) == (2, "Ada Admin", None)
    assert decided.id == "b-nonprod-v2-20261122T120000Z-0f3a"
    assert str(decided.place) == "transit-nonprod-tls/keys/b-nonprod"


@pytest.mark.parametrize("by", ["", "Eve", "Gone Admin", "Ulla User"])
def test_nobody_but_a_present_certificate_admin_of_the_holder_has_it_done(by: str) -> None:
    error = refused(desk(), by=by)
    assert (error.rule, error.expected) == ("DIP-5.4.3-ROLES", "Ada Admin")


@pytest.mark.parametrize(
    ("recipient", "rule"),
    [
        ("provider-y", "DIP-4.1.2-UNIQUE-PER-DCP"),
        ("supplier-b", "DIP-4.1.2-UNIQUE-PER-DCP"),
        ("Mallory", "EXPORT"),
        ("", "EXPORT"),
    ],
)
def test_nobody_but_the_entrys_provider_gets_it(recipient: str, rule: str) -> None:
    assert refused(desk(), recipient=recipient).rule == rule


def test_a_holder_without_a_provider_may_have_its_own_key_and_nobody_else() -> None:
    key = {"store": "transit", "mount": "transit-nonprod-tls", "spki_sha256": "cd" * 32}
    own = files(request_record={"purposes": ["mtls"], "key": key})
    changes: dict[str, Any] = {"purposes": ["mtls"], "key": {"store": "transit"}}
    place = desk(own, **changes)
    place = replace(place, certificate=replace(place.certificate, provider=""))
    assert decide(place, recipient="supplier-b").recipient == "supplier-b"
    assert refused(place, recipient="provider-x").rule == "DIP-4.1.2-UNIQUE-PER-DCP"


def test_a_key_that_serves_tls_is_nobody_elses() -> None:
    record = {**(files().request_record or {}), "purposes": ["mtls", "signing"]}
    place = desk(files(request_record=record))
    assert refused(place).rule == "DIP-4.1.2-DCP-TLS"


def test_a_version_that_was_asked_for_one_provider_is_never_anothers() -> None:
    place = desk(files(), provider="provider-y")
    assert refused(place, recipient="provider-y").rule == "DIP-4.1.2-UNIQUE-PER-DCP"
    assert refused(place, recipient="provider-x").rule == "DIP-4.1.2-UNIQUE-PER-DCP"


def test_a_key_that_one_provider_has_is_never_anothers_even_if_its_request_names_none() -> None:
    record = dict(files().request_record or {})
    del record["provider"]
    place = desk(files(request_record=record), provider="provider-y")
    assert decide(place, recipient="provider-y").recipient == "provider-y"
    error = refused(place, {1: (made(recipient="provider-x"),)}, recipient="provider-y")
    assert error.rule == "DIP-4.1.2-UNIQUE-PER-DCP"
    assert "provider-x" in error.found


# --- which key --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "wanted"),
    [
        ((files(certificate=None),), 0),
        ((files(accepted_record=None),), 0),
        ((files(),), 2),
        ((files(retired_record={"version": 1}),), 0),
    ],
)
def test_a_version_that_is_not_accepted_or_was_ended_is_refused(
    versions: tuple[VersionFiles, ...], wanted: int
) -> None:
    assert refused(desk(*versions), version=wanted).rule == "EXPORT"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"store": "transit", "mount": "transit-nonprod-signing"}, "handover: true"),
        ({"store": "host"}, "openssl pkcs12 -export"),
        ({"store": "external"}, "export it there"),
    ],
)
def test_a_key_that_its_store_does_not_give_out_is_refused_with_the_way_there_is(
    key: dict[str, str], words: str
) -> None:
    record = {**(files().request_record or {}), "key": {**key, "spki_sha256": "cd" * 32}}
    error = refused(desk(files(request_record=record)))
    assert error.rule == "KEY-OPERATION"
    assert words in error.next_step


# --- the same again ---------------------------------------------------------------------------


def test_the_same_id_is_done_and_another_export_of_it_is_refused() -> None:
    before = {1: (made("mine"),)}
    assert decide(desk(), before, id="mine").done == made("mine")
    place = desk(files(1), files(2))
    assert refused(place, before, id="mine", version=2).rule == "EXPORT"
    assert decide(desk(), before, id="other").done is None


@pytest.mark.parametrize("id", ["../x", "a/b", ".hidden", "a b", "x" * 200, "a\n"])
def test_an_id_that_cannot_be_a_files_name_is_refused(id: str) -> None:
    assert refused(desk(), id=id).rule == "EXPORT"


# --- the record -------------------------------------------------------------------------------


def written(tmp_path: Path, *exports: Export) -> Path:
    path = tmp_path / "1"
    path.mkdir()
    for one in exports:
        export_records.append(path, "b-nonprod", one)
    return path


def test_what_was_written_is_read_back_and_says_nothing_secret(tmp_path: Path) -> None:
    path = written(tmp_path, made("one"), made("two"))
    assert export_records.read(path) == (made("one"), made("two"))
    receipt = Receipt("2026-11-22T12:00:00Z", "separate", "Xena")
    export_records.receive(path, "b-nonprod", "one", receipt)
    assert export_records.read(path) == (made("one", receipt=receipt), made("two"))


def test_nothing_was_exported_where_there_is_no_record(tmp_path: Path) -> None:
    assert export_records.read(tmp_path / "1") == ()


def test_many_at_once_lose_no_export(tmp_path: Path) -> None:
    path = written(tmp_path)
    threads = [
        threading.Thread(target=export_records.append, args=(path, "b-nonprod", made(f"e{n}")))
        for n in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {one.id for one in export_records.read(path)} == {f"e{n}" for n in range(8)}


def test_an_id_is_there_once(tmp_path: Path) -> None:
    path = written(tmp_path, made("one"))
    with pytest.raises(PkiError, match="cannot be used"):
        export_records.append(path, "b-nonprod", made("one"))


DAMAGED: dict[str, Any] = {
    "no map": lambda raw: [],
    "another schema": lambda raw: {**raw, "schema": 2},
    "another version": lambda raw: {**raw, "version": 2},
    "a field more": lambda raw: {**raw, "passphrase": "x"},
    "no list": lambda raw: {**raw, "exports": {}},
    "an entry without its recipient": lambda raw: _entry(raw, recipient=None),
    "a recipient that is a number": lambda raw: _entry(raw, recipient=7),
    "a recipient with control characters": lambda raw: _entry(raw, recipient="a\x1b[2J"),
    "an id that is a path": lambda raw: _entry(raw, id="../../x"),
    "a digest that is none": lambda raw: _entry(raw, file_sha256="abc"),
    "rounds in words": lambda raw: _entry(raw, facts={**FACTS, "iterations": "many"}),
    "a fact more": lambda raw: _entry(raw, facts={**FACTS, "text": "x"}),
    "a receipt of another way": lambda raw: _entry(
        raw, receipt={"date": "2026-01-01", "sent_with": "pigeon", "received_by": "X"}
    ),
}


def _entry(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kept = {**raw["exports"][0], **changes}
    return {**raw, "exports": [{name: one for name, one in kept.items() if one is not None}]}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, made("one"))
    raw = yaml.safe_load((path / "exports.yml").read_text())
    (path / "exports.yml").write_text(yaml.safe_dump(DAMAGED[name](raw)))
    with pytest.raises(PkiError) as caught:
        export_records.read(path)
    assert caught.value.rule == "EXPORT-RECORD"


def test_a_link_is_no_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "exports.yml").symlink_to("/dev/zero")
    with pytest.raises(PkiError, match="cannot be used"):
        export_records.read(path)


# --- the receipt ------------------------------------------------------------------------------


def receipt(export: Export, **changes: str) -> Receipt | None:
    given = {"id": "one", "sent_with": "separate", "received_by": "Xena", **changes}
    return export_stage.receipt(desk(), {1: (export,)}, **given, now=NOW)[1]


def test_a_receipt_is_recorded_once_and_said_differently_it_is_refused() -> None:
    first = receipt(made())
    assert first == Receipt("2026-11-22T12:00:00Z", "separate", "Xena")
    assert receipt(made(receipt=first), received_by=" xena ") is None
    with pytest.raises(PkiError, match="says something else"):
        receipt(made(receipt=first), sent_with="file")


@pytest.mark.parametrize(
    "changes",
    [{"id": "two"}, {"id": ""}, {"sent_with": ""}, {"sent_with": "pigeon"}, {"received_by": " "},
     {"received_by": "a\nb"}],
)  # fmt: skip
def test_a_receipt_that_says_too_little_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(PkiError) as caught:
        receipt(made(), **changes)
    assert caught.value.rule == "EXPORT"


# --- what the policy says of it ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"receipt": Receipt("2026-11-22", "separate", "Xena")}, set()),
        ({"receipt": Receipt("2026-11-22", "file", "Xena")}, {"DIP-4.1.2-TRANSFER"}),
        ({"facts": {**FACTS, "mac": "sha1"}}, {"DIP-6.2-P12"}),
    ],
)
def test_a_recorded_export_is_judged_as_it_was_made(
    changes: dict[str, Any], failing: set[str]
) -> None:
    findings = POLICIES["mhhs-dip"].judge("export", made(**changes).as_facts("b-nonprod", 1))
    assert {one.rule for one in findings if not one.passed} == failing


# --- the file ---------------------------------------------------------------------------------


def test_a_file_is_whole_private_and_recorded_before_it_has_its_name(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    out = tmp_path / "out"

    def record() -> None:
        seen.append(sorted(path.name for path in out.iterdir()))

    path = export_file.write(out, "a.p12", b"content", record)
    assert seen == [[".a.p12.part"]]
    assert [one.name for one in out.iterdir()] == ["a.p12"]
    assert path.read_bytes() == b"content"
    assert (path.stat().st_mode & 0o7777, out.stat().st_mode & 0o7777) == (0o600, 0o700)


def test_a_record_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(PkiError, match="cannot be put there"):
        export_file.write(tmp_path / "out", "a.p12", b"content", full)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["open", "file", "link", "taken", "taken by a link"])
def test_a_place_that_is_not_ours_alone_is_refused(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("")
    elif kind == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        out.symlink_to("real")
    else:
        out.mkdir(mode=0o750 if kind == "open" else 0o700)
    if kind == "taken":
        (out / "a.p12").write_text("kept")
    if kind == "taken by a link":
        (out / "a.p12").symlink_to("nowhere")
    with pytest.raises(PkiError) as caught:
        export_file.must_be_private(out, "a.p12")
    assert caught.value.rule == "EXPORT-FILE"


def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PkiError, match="cannot be put there"):
        export_file.write(
            out, "a.p12", b"ours", lambda: (out / "a.p12").write_bytes(b"theirs") and None
        )
    assert (out / "a.p12").read_bytes() == b"theirs"
    assert [one.name for one in out.iterdir()] == ["a.p12"]
