# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of compromised keys beside the inventory: strict, and never silently empty."""

from __future__ import annotations

import os
import re
import tempfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pki import ledger, session
from pki.errors import PkiError
from unit.controller_world import REPOSITORY, World, spki, whole
from unit.pki_factory import NOW

POLICIES = REPOSITORY / "policies"
DIGEST = "ab" * 32
ENTRY = {
    "spki_sha256": DIGEST,
    "certificate": "dip-nonprod",
    "since": "2026-11-20",
    "reason": "a laptop was stolen",
}
SAID = "compromised.yml: dip-nonprod, since 2026-11-20: a laptop was stolen"


def write(folder: Path, value: object) -> Path:
    text = value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False)
    path = folder / ledger.FILE
    path.write_text(text)
    return path


def read(folder: Path) -> dict[str, str]:
    return ledger.committed(folder, POLICIES)


def outcome(folder: Path) -> dict[str, str] | str:
    try:
        return read(folder)
    except PkiError as exc:
        return exc.rule


def test_without_a_file_no_key_is_compromised(tmp_path: Path) -> None:
    assert read(tmp_path) == {}


def test_an_empty_list_is_an_empty_ledger(tmp_path: Path) -> None:
    write(tmp_path, {"compromised": []})
    assert read(tmp_path) == {}


def test_an_entry_is_told_in_words_by_its_key(tmp_path: Path) -> None:
    write(tmp_path, {"compromised": [ENTRY]})
    assert read(tmp_path) == {DIGEST: SAID}


def test_a_key_that_is_named_twice_keeps_both_reasons(tmp_path: Path) -> None:
    write(tmp_path, {"compromised": [ENTRY, {**ENTRY, "reason": "and the backup"}]})
    assert read(tmp_path)[DIGEST].count("compromised.yml") == 2


DAMAGED = {
    "no list": {"compromised": "none"},
    "another key beside the list": {"compromised": [], "comment": "x"},
    "an entry without reason": {"compromised": [{**ENTRY, "reason": ""}]},
    "an entry that says more": {"compromised": [{**ENTRY, "until": "2027-01-01"}]},
    "an entry without its key": {"compromised": [{k: v for k, v in ENTRY.items() if k[0] != "s"}]},
    "a digest in capitals": {"compromised": [{**ENTRY, "spki_sha256": DIGEST.upper()}]},
    "a digest with colons": {"compromised": [{**ENTRY, "spki_sha256": "ab:" * 31 + "ab"}]},
    "a digest cut short": {"compromised": [{**ENTRY, "spki_sha256": DIGEST[:-1]}]},
    "a digest with a line feed": {"compromised": [{**ENTRY, "spki_sha256": f"{DIGEST}\n"}]},
    "a day that is none": {"compromised": [{**ENTRY, "since": "2026-02-30"}]},
    "a day in words": {"compromised": [{**ENTRY, "since": "yesterday"}]},
    "an empty file": "",
    "no YAML": "compromised: [",
    "a key twice": "compromised: []\ncompromised: []\n",
    "an alias": "compromised: &a []\nmore: *a\n",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_ledger_is_refused_and_never_empty(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, DAMAGED[kind])
    with pytest.raises(PkiError) as caught:
        read(tmp_path)
    error = whole(caught.value)
    assert error.rule == "LEDGER-FILE"
    assert str(path) in error.where
    assert error.message == "the ledger of compromised keys cannot be used"


def test_what_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, {"compromised": [ENTRY, {**ENTRY, "since": "2026-02-30"}]})
    with pytest.raises(PkiError) as caught:
        read(tmp_path)
    assert (caught.value.where, caught.value.found) == (f"{path}:8", "2026-02-30")


def unreadable_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    (path.parent / "elsewhere.yml").write_text("compromised: []\n")
    path.symlink_to("elsewhere.yml")


def too_large(path: Path) -> None:
    path.write_bytes(b"#" * (ledger.MAXIMUM_BYTES + 1))


@pytest.mark.parametrize("make", [unreadable_bytes, a_directory, a_pipe, a_link, too_large])
def test_what_is_no_plain_text_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / ledger.FILE)  # type: ignore[operator]
    with pytest.raises(PkiError) as caught:
        read(tmp_path)
    assert whole(caught.value).rule == "LEDGER-FILE"


@given(st.text(max_size=200))
def test_whatever_the_text_it_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ledger.FILE
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert outcome(Path(folder)) in ({}, "LEDGER-FILE")


@pytest.mark.parametrize("name", ["nonprod", "prod"])
def test_the_shipped_inventories_have_an_empty_ledger(name: str) -> None:
    folder = REPOSITORY / "inventories" / name
    assert (folder / ledger.FILE).exists()
    assert read(folder) == {}


# --- in a run ---------------------------------------------------------------------------------


def test_a_run_knows_both_ledgers(tmp_path: Path) -> None:
    world = World(tmp_path)
    write(tmp_path, {"compromised": [ENTRY]})
    other = "cd" * 32
    params = world.params(compromised={DIGEST: "Vault kv-nonprod", other: "Vault kv-nonprod"})
    assert session.load(params, NOW).compromised == {
        DIGEST: f"{SAID}; Vault kv-nonprod",
        other: "Vault kv-nonprod",
    }


def test_a_run_without_ledgers_knows_no_compromised_key(tmp_path: Path) -> None:
    assert session.load(World(tmp_path).params(), NOW).compromised == {}


def test_a_run_ends_with_a_damaged_ledger(tmp_path: Path) -> None:
    write(tmp_path, {"compromised": None})
    with pytest.raises(PkiError) as caught:
        session.load(World(tmp_path).params(), NOW)
    assert caught.value.rule == "LEDGER-FILE"


def test_inputs_can_learn_of_a_ledger_later(tmp_path: Path) -> None:
    inputs = World(tmp_path).inputs()
    assert session.knowing(inputs, {spki("leaf"): "Vault"}).compromised == {spki("leaf"): "Vault"}


def test_ansible_does_not_parse_the_ledger_as_inventory() -> None:
    config = ConfigParser(interpolation=None)
    config.read(REPOSITORY / "ansible.cfg")
    patterns = config["inventory"]["ignore_patterns"].split(",")
    assert any(re.match(pattern.strip(), ledger.FILE) for pattern in patterns)
