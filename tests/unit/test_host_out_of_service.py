# SPDX-License-Identifier: GPL-3.0-or-later
"""Compromised keys leave a host: listed first, then removed wherever they are, and for good."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from pki_host import compromised, files, key, openssl, out_of_service
from pki_host.compromised import Listed
from pki_host.errors import HostError
from unit import pki_factory

CA = pki_factory.authority("Night CA")
SINCE = "2026-11-22T02:10:00Z"
BAD, GOOD = "leaf", "other"


def private(label: str) -> bytes:
    return pki_factory.key(label).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def digest(label: str) -> str:
    return openssl.spki_sha256(openssl.public_key_of_key(private(label)))


def stage(root: Path, entry: str, version: int, label: str, *leave_out: str) -> Path:
    """A release directory as staging leaves it."""
    directory = root / entry / "releases" / f"v{version}-{version:016x}"
    certificate = pki_factory.pem(CA.leaf(public=pki_factory.key(label).public_key()))
    for name, data, mode in (
        ("key.pem", private(label), files.PRIVATE),
        ("certificate.pem", certificate, files.PUBLIC),
        ("fullchain.pem", certificate + CA.pem, files.PUBLIC),
    ):
        if name not in leave_out:
            files.write(str(directory / name), data, mode)
    return directory


def serve(directory: Path) -> Path:
    link = directory.parent.parent / "current"
    files.link(str(link), f"releases/{directory.name}")
    return link


def keys(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("key.pem"))


def run(root: Path, *labels: str, check: bool = False) -> out_of_service.Outcome:
    wanted = [Listed(digest(label), "dip", SINCE) for label in labels]
    return out_of_service.run(str(root), "", wanted, check=check)


def test_the_list_is_public_names_the_key_and_says_since_when(tmp_path: Path) -> None:
    outcome = run(tmp_path, BAD)
    path = tmp_path / "compromised.json"
    assert path.stat().st_mode & 0o777 == 0o644
    said = json.loads(path.read_text())
    assert said["keys"] == {digest(BAD): {"certificate": "dip", "since": SINCE}}
    assert [one.spki_sha256 for one in outcome.added] == [digest(BAD)]
    assert run(tmp_path, BAD).changed is False


def test_every_release_of_the_key_loses_it_under_whatever_name_and_others_keep_theirs(
    tmp_path: Path,
) -> None:
    link = serve(stage(tmp_path, "dip", 1, BAD))
    stage(tmp_path, "dip", 2, GOOD)
    stage(tmp_path, "copied", 7, BAD)
    outcome = run(tmp_path, BAD)
    assert keys(tmp_path) == [f"dip/releases/v2-{2:016x}/key.pem"]
    assert not os.path.lexists(link)
    told = [(one.certificate, one.version, one.linked) for one in outcome.removed]
    assert told == [("copied", 7, False), ("dip", 1, True)]
    # What is public stays: it says which key this was.
    assert (tmp_path / f"dip/releases/v1-{1:016x}/certificate.pem").exists()
    assert run(tmp_path, BAD).changed is False


@pytest.mark.parametrize(
    "missing",
    [("certificate.pem",), ("certificate.pem", "fullchain.pem")],
    ids=["by its chain", "by the key itself"],
)
def test_a_half_staged_release_is_found(tmp_path: Path, missing: tuple[str, ...]) -> None:
    stage(tmp_path, "dip", 1, BAD, *missing)
    assert len(run(tmp_path, BAD).removed) == 1
    assert keys(tmp_path) == []


def test_a_stranger_s_key_under_a_compromised_certificate_goes_too(tmp_path: Path) -> None:
    directory = stage(tmp_path, "dip", 1, BAD)
    (directory / "key.pem").write_bytes(b"no key at all")
    run(tmp_path, BAD)
    assert keys(tmp_path) == []


@pytest.mark.parametrize("passphrase", [None, "a passphrase of this key"])
def test_a_key_that_the_host_made_itself_is_destroyed(
    tmp_path: Path, passphrase: str | None
) -> None:
    root = str(tmp_path)
    key.place(root, "dip", 1, private(BAD), passphrase)
    key.place(root, "dip", 2, private(GOOD), passphrase)
    outcome = run(tmp_path, BAD)
    assert [one.place for one in outcome.removed] == ["keys/1"]
    assert key.versions(root, "dip") == [2]
    assert run(tmp_path, BAD).changed is False


def test_a_damaged_version_of_the_key_is_destroyed_by_what_is_left_of_it(tmp_path: Path) -> None:
    key.place(str(tmp_path), "dip", 1, private(BAD))
    (tmp_path / "dip/keys/1/key.json").write_text("damaged")
    run(tmp_path, BAD)
    assert key.versions(str(tmp_path), "dip") == []


def test_what_killed_writers_left_of_keys_goes_with_them(tmp_path: Path) -> None:
    directory = stage(tmp_path, "dip", 1, BAD)
    files.write(str(directory / ".new-0001"), private(BAD))
    files.write(str(tmp_path / "dip/keys/.new-0002/key.pem"), private(BAD))
    run(tmp_path, BAD)
    left = [path for path in tmp_path.rglob("*") if b"PRIVATE KEY" in contents(path)]
    assert left == []


def test_a_half_written_key_alone_goes_too(tmp_path: Path) -> None:
    files.write(str(tmp_path / f"dip/releases/v1-{1:016x}/.new-0001"), private(BAD))
    run(tmp_path, BAD)
    assert [path for path in tmp_path.rglob("*") if b"PRIVATE KEY" in contents(path)] == []


@pytest.mark.parametrize("copied", [False, True])
def test_the_key_s_second_name_goes_with_it_whether_it_is_a_link_or_a_copy(
    tmp_path: Path, copied: bool
) -> None:
    second = stage(tmp_path, "dip", 1, BAD) / "fullchain.pem.key"
    if copied:
        second.write_bytes(private(BAD))
        (second.parent / "key.pem").unlink()
    else:
        second.symlink_to("key.pem")
    assert run(tmp_path, BAD).changed
    assert not second.is_symlink()
    assert not second.exists()
    assert not run(tmp_path, BAD).changed


def contents(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_an_earlier_run_s_keys_are_looked_for_although_nobody_names_them(tmp_path: Path) -> None:
    run(tmp_path, BAD)
    stage(tmp_path, "dip", 1, BAD)
    assert len(run(tmp_path, GOOD).removed) == 1


def test_a_check_says_all_of_it_and_writes_nothing(tmp_path: Path) -> None:
    serve(stage(tmp_path, "dip", 1, BAD))
    before = sorted(tmp_path.rglob("*"))
    outcome = run(tmp_path, BAD, check=True)
    assert (len(outcome.added), len(outcome.removed)) == (1, 1)
    assert outcome.removed[0].paths("/r") == [
        f"/r/dip/releases/v1-{1:016x}/key.pem",
        "/r/dip/current",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_not_followed_out_of_the_root(tmp_path: Path) -> None:
    outside = stage(tmp_path / "outside", "dip", 1, BAD)
    root = tmp_path / "root"
    (root / "entry/releases").mkdir(parents=True)
    os.symlink(outside.parent.parent, root / "linked")
    os.symlink(outside, root / "entry/releases/v1-0123456789abcdef")
    assert run(root, BAD).removed == []
    assert (outside / "key.pem").exists()


def test_a_directory_that_everybody_may_write_to_is_refused_by_name(tmp_path: Path) -> None:
    directory = stage(tmp_path, "dip", 1, BAD)
    directory.chmod(0o777)
    with pytest.raises(HostError) as caught:
        run(tmp_path, BAD)
    assert caught.value.rule == "FILE-UNSAFE"
    assert digest(BAD) in compromised.read(str(tmp_path))


# --- the list ---------------------------------------------------------------------------------

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(runs=st.lists(st.lists(DIGESTS, max_size=4), max_size=5))
def test_whatever_runs_say_the_list_only_grows_and_the_first_word_stands(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[str]]
) -> None:
    root = str(tmp_path_factory.mktemp("list"))
    known: dict[str, Listed] = {}
    for number, digests in enumerate(runs):
        keys = [Listed(one, f"entry-{number}", SINCE) for one in digests]
        new = out_of_service.listing(root, keys, check=False)
        assert {one.spki_sha256 for one in new} == {*digests} - {*known}
        for one in new:
            known[one.spki_sha256] = one
        assert compromised.read(root) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": 2, "keys": {}}',
        '{"schema": 1, "keys": {"short": {"certificate": "a", "since": "b"}}}',
        '{"schema": 1, "keys": {"' + "0" * 64 + '": {"certificate": "a"}}}',
        '{"schema": 1, "keys": []}',
    ],
)
def test_a_list_that_cannot_be_read_is_refused_until_a_run_writes_it_anew(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "compromised.json"
    path.write_text(text)
    with pytest.raises(HostError) as caught:
        compromised.read(str(tmp_path))
    assert caught.value.rule == "HOST-COMPROMISED-LIST"
    run(tmp_path, BAD)
    assert [*compromised.read(str(tmp_path))] == [digest(BAD)]
    assert (tmp_path / "compromised.json.damaged").read_text() == text


def test_a_link_in_place_of_the_list_is_no_list(tmp_path: Path) -> None:
    os.symlink("/dev/null", tmp_path / "compromised.json")
    with pytest.raises(HostError, match="cannot be used"):
        compromised.read(str(tmp_path))


@pytest.mark.parametrize(
    "entry",
    [
        {"certificate": "../etc", "spki_sha256": ["0" * 64]},
        {"certificate": "dip", "spki_sha256": ["0" * 63]},
        {"certificate": "dip", "spki_sha256": ["A" * 64]},
    ],
)
def test_what_names_no_key_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(HostError) as caught:
        compromised.wanted([entry], SINCE)
    assert caught.value.rule == "HOST-COMPROMISED-LIST"


def test_a_link_says_whether_it_would_bring_a_listed_key_back(tmp_path: Path) -> None:
    bad, good = stage(tmp_path, "dip", 1, BAD), stage(tmp_path, "dip", 2, GOOD)
    run(tmp_path, BAD)
    link = str(tmp_path / "dip/current")
    for target, expected in (
        (f"releases/{bad.name}", True),
        (f"./releases//{bad.name}/", True),
        (f"releases/{good.name}", False),
        ("releases/v9-0123456789abcdef", False),
        ("sets/0123456789abcdef", False),
        (None, False),
    ):
        assert (compromised.of_link(link, target) is not None) is expected, target
