# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that a host makes and keeps: made once, whole or not at all, readable by nobody else."""

from __future__ import annotations

import base64
import functools
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given
from hypothesis import strategies as st
from pki_host import files, key, openssl
from pki_host.errors import HostError
from unit import pki_factory

ENTRY = "dip"
PASSPHRASE = secrets.token_hex(32)
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def refused(call: Callable[[], object], rule: str) -> HostError:
    with pytest.raises(HostError) as caught:
        call()
    assert caught.value.rule == rule, caught.value
    for name, text in caught.value.as_result().items():
        assert text, f"nothing in {name}"
        assert PASSPHRASE not in text
    return caught.value


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"{stat.S_IMODE(path.lstat().st_mode):04o}"
        for path in sorted(folder.rglob("*"))
    }


def public(one: key.HostKey) -> rsa.RSAPublicKey:
    loaded = serialization.load_der_public_key(base64.b64decode(one.public))
    assert isinstance(loaded, rsa.RSAPublicKey)
    return loaded


def brought(label: str = "leaf", form: str = "PKCS8") -> bytes:
    return pki_factory.key(label).private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, form),
        serialization.NoEncryption(),
    )


@pytest.fixture(params=[None, PASSPHRASE], ids=["plain", "encrypted"])
def passphrase(request: pytest.FixtureRequest) -> str | None:
    return request.param  # type: ignore[no-any-return]


# -- making ----------------------------------------------------------------------------------


def test_a_key_is_made_once_and_stays_as_it_is(tmp_path: Path, passphrase: str | None) -> None:
    root = str(tmp_path)
    made, new = key.make(root, ENTRY, 1, 2048, passphrase)
    assert new
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again, new = key.make(root, ENTRY, 1, 4096, passphrase)
    assert not new
    assert again == made == key.inspect(root, ENTRY)[0]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert (public(made).key_size, public(made).public_numbers().e) == (2048, 65537)
    assert modes(tmp_path / ENTRY / "keys") == {
        "1": "0700",
        "1/key.json": "0600",
        "1/key.pem": "0600",
    }
    assert stat.S_IMODE((tmp_path / ENTRY / "keys").stat().st_mode) == 0o700


def test_versions_are_told_in_order_of_their_number(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        key.make(str(tmp_path), ENTRY, number, 2048)
    told = key.inspect(str(tmp_path), ENTRY)
    assert [one.version for one in told] == [1, 2, 10]
    assert len({one.public for one in told}) == 3


def test_a_host_without_keys_has_none(tmp_path: Path) -> None:
    assert key.inspect(str(tmp_path), ENTRY) == []
    assert list(tmp_path.iterdir()) == []


def test_the_record_has_the_public_half_of_the_key_beside_it(
    tmp_path: Path, passphrase: str | None
) -> None:
    made, _ = key.make(str(tmp_path), ENTRY, 1, 2048, passphrase)
    pem = (tmp_path / ENTRY / "keys/1/key.pem").read_bytes()
    assert made.encrypted == (passphrase is not None)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY" if passphrase else b"-----BEGIN PRIV")
    loaded = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.public_key().public_numbers() == public(made).public_numbers()


def test_an_encrypted_key_is_protected_by_pbkdf2_and_aes_256(tmp_path: Path) -> None:
    key.make(str(tmp_path), ENTRY, 1, 2048, PASSPHRASE)
    key.place(str(tmp_path), ENTRY, 2, brought(), PASSPHRASE)
    for number in (1, 2):
        text = (tmp_path / ENTRY / f"keys/{number}/key.pem").read_text()
        der = base64.b64decode("".join(text.splitlines()[1:-1]))
        for name in ("2a864886f70d01050d", "2a864886f70d01050c", "60864801650304012a"):
            assert bytes.fromhex(name) in der[:120]  # PBES2, PBKDF2, aes-256-cbc


WATCHED = """#!{python}
import json, os, stat, sys
told = {{
    "argv": sys.argv[1:],
    "environ": dict(os.environ),
    "umask": oct(os.umask(0)),
    "output": stat.S_IMODE(os.fstat(1).st_mode) if stat.S_ISREG(os.fstat(1).st_mode) else None,
    "around": [stat.S_IMODE(os.stat(os.path.join(top, name)).st_mode)
               for top, _, names in os.walk({root!r}) for name in names],
}}
with open({log!r}, "a") as stream:
    stream.write(json.dumps(told) + "\\n")
os.execv({openssl!r}, ["openssl", *sys.argv[1:]])
"""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """An openssl that notes how it was called, and which files were there, then does its work."""
    log, program = tmp_path / "log", tmp_path / "bin/openssl"
    program.parent.mkdir()
    real = shutil.which("openssl")
    assert real
    program.write_text(
        WATCHED.format(
            python=sys.executable, root=str(tmp_path / "root"), log=str(log), openssl=real
        )
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_the_key_is_nobody_elses_from_the_first_byte(
    tmp_path: Path, watched: Callable[[], list[dict[str, Any]]], passphrase: str | None
) -> None:
    before = os.umask(0)  # the most careless host there is
    try:
        key.make(str(tmp_path / "root"), ENTRY, 1, 2048, passphrase)
    finally:
        os.umask(before)
    calls = watched()
    assert calls[0]["argv"][0] == "genpkey"
    assert calls[0]["output"] == 0o600  # the program writes to a file that is private already
    assert calls[0]["around"] == [0o600]
    assert {mode for call in calls for mode in call["around"]} == {0o600}


def test_a_passphrase_is_in_no_argument_and_no_environment(
    tmp_path: Path, watched: Callable[[], list[dict[str, Any]]]
) -> None:
    root = str(tmp_path / "root")
    key.make(root, ENTRY, 1, 2048, PASSPHRASE)
    key.place(root, ENTRY, 2, brought(), PASSPHRASE)
    key.sign(root, ENTRY, 1, secrets.token_bytes(32), "sha256", PASSPHRASE)
    key.private_key(root, ENTRY, 1, PASSPHRASE)
    calls = watched()
    assert {call["argv"][0] for call in calls} == {"genpkey", "pkey", "pkcs8", "pkeyutl"}
    assert PASSPHRASE not in json.dumps(calls)
    assert "PRIVATE KEY" not in json.dumps(calls)


def test_a_key_that_openssl_cannot_make_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssl, "generate_rsa", lambda *_: False)
    refused(lambda: key.make(str(tmp_path), ENTRY, 1, 2048), "KEY-NOT-MADE")
    assert list((tmp_path / ENTRY / "keys").iterdir()) == []


def test_a_size_that_was_not_said_is_not_guessed(tmp_path: Path) -> None:
    refused(lambda: key.make(str(tmp_path), ENTRY, 1, 0), "KEY-REFUSED")
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=30))
def test_no_name_leads_out_of_the_root(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    rule, place = "", ""
    try:
        place = key._directory("/root-of-releases", name, 1)
    except HostError as error:
        rule = error.rule
    inside = "/" not in name and os.path.normpath(place) == f"/root-of-releases/{name}/keys/1"
    assert inside or (rule, place) == ("KEY-REFUSED", "")


# -- interrupted -----------------------------------------------------------------------------

STEPS = {
    "generate": (openssl, "generate_rsa"),
    "describe": (openssl, "public_der"),
    "record": (files, "write"),
    "move": (files, "move_directory"),
}


def die_at(step: str, root: str, passphrase: str | None) -> None:
    """Make a key in a process that is gone, as by kill -9, at a step."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return

    def gone(*arguments: Any, **_named: Any) -> None:
        if step == "generate":
            os.write(arguments[1], b"half a key")
        os._exit(0)

    try:
        module, name = STEPS[step]
        setattr(module, name, gone)
        key.make(root, ENTRY, 1, 2048, passphrase)
    finally:
        os._exit(1)


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_the_next_run_makes_the_one_key_there_is(
    tmp_path: Path, step: str, passphrase: str | None
) -> None:
    root = str(tmp_path)
    die_at(step, root, passphrase)
    left = [path.name for path in (tmp_path / ENTRY / "keys").iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".new-"), "the version has its name before it is whole"
    assert key.inspect(root, ENTRY) == []
    made, new = key.make(root, ENTRY, 1, 2048, passphrase)
    assert new
    assert [path.name for path in (tmp_path / ENTRY / "keys").iterdir()] == ["1"]
    assert key.inspect(root, ENTRY) == [made]


# -- damaged ---------------------------------------------------------------------------------


def rewrite(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps({**record, **changes}))


def exchange(folder: Path) -> None:
    (folder / "key.pem").write_bytes(brought("other"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no key": lambda folder: (folder / "key.pem").unlink(),
    "no record": lambda folder: (folder / "key.json").unlink(),
    "half a record": lambda folder: (folder / "key.json").write_text("{"),
    "a record that is a list": lambda folder: (folder / "key.json").write_text("[]"),
    "a record with more": lambda folder: rewrite(folder, more=1),
    "a record of another version": lambda folder: rewrite(folder, version=2),
    "a version that is no number": lambda folder: rewrite(folder, version="1"),
    "a date that is none": lambda folder: rewrite(folder, created="yesterday"),
    "a public key that is no base64": lambda folder: rewrite(folder, public="*"),
    "another key": exchange,
    "a plain key where it was encrypted": lambda folder: rewrite(folder, encrypted=True),
    "a link to a key": lambda folder: (
        (folder / "key.pem").rename(folder / "moved"),
        (folder / "key.pem").symlink_to("moved"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_version_that_is_not_as_it_was_made_is_neither_used_nor_replaced(
    tmp_path: Path, damage: str
) -> None:
    root = str(tmp_path)
    key.make(root, ENTRY, 1, 2048)
    folder = tmp_path / ENTRY / "keys/1"
    DAMAGES[damage](folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for use in (
        lambda: key.inspect(root, ENTRY),
        lambda: key.make(root, ENTRY, 1, 2048),
        lambda: key.sign(root, ENTRY, 1, b"0" * 32, "sha256"),
        lambda: key.private_key(root, ENTRY, 1),
    ):
        assert "backup" in refused(use, "KEY-DAMAGED").next_step
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("link", ["", "keys", "keys/1"])
def test_a_link_is_not_followed_to_where_a_key_would_be_kept(tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = tmp_path / "root" / ENTRY / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    refused(lambda: key.make(str(tmp_path / "root"), ENTRY, 1, 2048), "FILE-UNSAFE")
    assert list(elsewhere.iterdir()) == []


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    key.make(str(tmp_path), ENTRY, 1, 2048)
    assert key.wide_modes(str(tmp_path), ENTRY) == []
    (tmp_path / ENTRY / "keys/1/key.pem").chmod(0o644)
    (told,) = key.wide_modes(str(tmp_path), ENTRY)
    assert "0644" in told
    assert "chmod 0600" in told


# -- signing and releasing -------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_signature_is_the_keys_own_and_always_the_same(
    tmp_path: Path, algorithm: str, passphrase: str | None
) -> None:
    made, _ = key.make(str(tmp_path), ENTRY, 1, 2048, passphrase)
    digest = secrets.token_bytes(HASHES[algorithm].digest_size)
    signature = key.sign(str(tmp_path), ENTRY, 1, digest, algorithm, passphrase)
    assert signature == key.sign(str(tmp_path), ENTRY, 1, digest, algorithm, passphrase)
    verified = Prehashed(HASHES[algorithm])
    public(made).verify(signature, digest, padding.PKCS1v15(), verified)
    other = secrets.token_bytes(len(digest))
    with pytest.raises(InvalidSignature):
        public(made).verify(signature, other, padding.PKCS1v15(), verified)


def test_a_key_is_released_in_the_clear_on_its_own_host(
    tmp_path: Path, passphrase: str | None
) -> None:
    made, _ = key.make(str(tmp_path), ENTRY, 1, 2048, passphrase)
    pem = key.private_key(str(tmp_path), ENTRY, 1, passphrase)
    loaded = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.public_key().public_numbers() == public(made).public_numbers()
    assert key.needs_passphrase(str(tmp_path), ENTRY, 1) == (passphrase is not None)


def test_an_encrypted_key_is_used_with_its_own_passphrase_only(tmp_path: Path) -> None:
    root, other = str(tmp_path), secrets.token_hex(32)
    key.make(root, ENTRY, 1, 2048, PASSPHRASE)
    cases = {None: "KEY-PASSPHRASE", "": "KEY-PASSPHRASE", other: "KEY-LOCKED"}
    for tried, rule in cases.items():
        error = refused(functools.partial(key.private_key, root, ENTRY, 1, tried), rule)
        assert other not in str(error)
        signing = functools.partial(key.sign, root, ENTRY, 1, b"0" * 32, "sha256", tried)
        assert other not in str(refused(signing, rule))


def test_what_is_not_there_is_not_used(tmp_path: Path) -> None:
    key.make(str(tmp_path), ENTRY, 1, 2048)
    error = refused(lambda: key.private_key(str(tmp_path), ENTRY, 2), "KEY-NOT-FOUND")
    assert error.found == "versions 1"
    refused(lambda: key.sign(str(tmp_path), ENTRY, 1, b"", "md5"), "KEY-REFUSED")


# -- brought ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_key_that_is_brought_is_kept_like_one_made_here(
    tmp_path: Path, form: str, passphrase: str | None
) -> None:
    root = str(tmp_path)
    placed, new = key.place(root, ENTRY, 3, brought("leaf", form), passphrase)
    assert new
    assert placed.imported
    assert public(placed).public_numbers() == pki_factory.key("leaf").public_key().public_numbers()
    assert key.private_key(root, ENTRY, 3, passphrase) == brought()
    assert key.place(root, ENTRY, 3, brought("leaf", form), passphrase) == (placed, False)
    refused(lambda: key.place(root, ENTRY, 3, brought("other"), passphrase), "KEY-EXISTS")
    assert key.inspect(root, ENTRY) == [placed]


def test_what_is_no_key_is_not_kept(tmp_path: Path) -> None:
    refused(lambda: key.place(str(tmp_path), ENTRY, 1, b"not a key"), "KEY-REFUSED")
    assert list(tmp_path.iterdir()) == []


# -- retired ---------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> str:
    for number in (1, 2, 3):
        key.place(str(tmp_path), ENTRY, number, brought("leaf" if number > 1 else "other"))
    (tmp_path / ENTRY / "current").symlink_to("releases/v3-" + "0" * 16)
    return str(tmp_path)


def test_without_destroy_nothing_is_done_and_that_is_said(three: str) -> None:
    done, said = key.retire(three, ENTRY, 3)
    assert done == []
    assert len(said) == 2
    assert all("stays as it is" in sentence for sentence in said)
    assert key.versions(three, ENTRY) == [1, 2, 3]


def test_older_versions_are_destroyed_when_that_is_asked_for(three: str) -> None:
    announced, _ = key.retire(three, ENTRY, 3, destroy=True, check=True)
    assert key.versions(three, ENTRY) == [1, 2, 3]
    assert key.retire(three, ENTRY, 3, destroy=True) == (announced, [])
    assert [sentence.rsplit("/", 1)[-1].split(":")[0] for sentence in announced] == ["1", "2"]
    assert sorted(os.listdir(f"{three}/{ENTRY}/keys")) == ["3"]
    assert key.retire(three, ENTRY, 3, destroy=True) == ([], [])


def test_a_killed_destruction_leaves_no_half_version_and_is_ended_by_the_next_run(
    three: str,
) -> None:
    child = os.fork()
    if not child:
        files.remove_tree = lambda _: os._exit(0)  # type: ignore[assignment]
        key.retire(three, ENTRY, 3, destroy=True)
        os._exit(1)
    os.waitpid(child, 0)
    assert key.versions(three, ENTRY) == [2, 3]
    assert len(key.inspect(three, ENTRY)) == 2
    key.retire(three, ENTRY, 3, destroy=True)
    assert sorted(os.listdir(f"{three}/{ENTRY}/keys")) == ["3"]


@pytest.mark.parametrize(("keep", "current"), [(4, "v3"), (3, "v2")])
def test_nothing_is_retired_below_a_version_that_is_not_in_service(
    three: str, keep: int, current: str
) -> None:
    link = Path(three, ENTRY, "current")
    link.unlink()
    link.symlink_to(f"releases/{current}-" + "0" * 16)
    refused(lambda: key.retire(three, ENTRY, keep, destroy=True), "KEY-VERSION")
    assert key.versions(three, ENTRY) == [1, 2, 3]
