# SPDX-License-Identifier: GPL-3.0-or-later
"""Release directories and CRL sets on a host, looked at and put right."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from pki_host import compromised, files, openssl, release
from pki_host import key as host_key
from pki_host.errors import HostError
from pki_host.release import Release
from unit import pki_factory

CA = pki_factory.authority("Host CA")
LEAF = CA.leaf()
PEM = pki_factory.pem(LEAF).decode()


def key_pem(label: str, form: str = "PKCS8", password: bytes = b"") -> bytes:
    protection: Any = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return pki_factory.key(label).private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), protection
    )


def raw(**changes: Any) -> dict[str, Any]:
    contents = {
        "certificate.pem": PEM,
        "chain.pem": CA.pem.decode(),
        "fullchain.pem": PEM + CA.pem.decode(),
        "release.json": "{}\n",
    }
    return {
        "certificate": "dip",
        "version": 1,
        "id": f"v1-{hashlib.sha256(LEAF).hexdigest()[:16]}",
        "files": contents,
        "key_path": "transit-nonprod-tls/export/signing-key/dip/1",
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A host on which the release is whole."""
    item = Release.of(raw())
    directory = Path(item.directory(str(tmp_path)))
    files.write(str(directory / "key.pem"), key_pem("leaf"))
    for name, text in item.contents.items():
        files.write(str(directory / name), text.encode(), files.PUBLIC)
    files.link(str(directory / "fullchain.pem.key"), "key.pem")
    return str(tmp_path)


def test_a_whole_release_is_right_and_tells_where_it_is(root: str) -> None:
    state = release.inspect(root, Release.of(raw()))
    assert state.right
    result = state.as_result(root)
    assert result["certificate_sha256"] == hashlib.sha256(LEAF).hexdigest()
    assert result["link"] == {"path": f"{root}/dip/current", "target": f"releases/{raw()['id']}"}


def test_an_empty_host_lacks_everything_and_says_so(tmp_path: Path) -> None:
    state = release.inspect(str(tmp_path), Release.of(raw()))
    assert state.needs_key
    assert state.problems == [
        "certificate.pem is missing",
        "chain.pem is missing",
        "fullchain.pem is missing",
        "release.json is missing",
        "key.pem is missing",
        "fullchain.pem.key is missing",
    ]


@pytest.mark.parametrize(
    ("name", "damage", "problem", "needs_key"),
    [
        ("chain.pem", b"x", "chain.pem is not what was accepted", False),
        ("key.pem", key_pem("stranger"), "key.pem is not the certificate's key", True),
        ("key.pem", b"garbage", "key.pem is not the certificate's key", True),
        ("key.pem", b"", "key.pem is not the certificate's key", True),
    ],
)
def test_wrong_bytes_are_found(
    root: str, name: str, damage: bytes, problem: str, needs_key: bool
) -> None:
    item = Release.of(raw())
    mode = files.PRIVATE if name == "key.pem" else files.PUBLIC
    files.write(f"{item.directory(root)}/{name}", damage, mode)
    state = release.inspect(root, item)
    assert state.problems == [problem]
    assert state.needs_key is needs_key


@pytest.mark.parametrize(("mode", "warned"), [(0o640, True), (0o604, True), (0o400, False)])
def test_a_key_with_another_mode_gets_it_back_and_an_exposed_one_is_named(
    root: str, mode: int, warned: bool
) -> None:
    item = Release.of(raw())
    path = f"{item.directory(root)}/key.pem"
    files.set_mode(path, mode)
    state = release.present(root, item, None, None)
    assert state.problems == [f"key.pem has mode {mode:04o}, not 0600"]
    assert bool(state.warnings) is warned
    assert files.mode_of(path) == 0o600
    assert release.inspect(root, item).right


def test_a_chain_leads_to_its_key_and_to_no_other(root: str, tmp_path: Path) -> None:
    item = Release.of(raw())
    link = Path(item.directory(root), "fullchain.pem.key")
    copy = Path(item.directory(root), "copy")
    for damage, found in (
        (link.unlink, "is missing"),
        (lambda: files.link(str(link), "../../other/key.pem"), "leads elsewhere"),
        (lambda: link.unlink() or link.write_bytes(key_pem("leaf")), "leads elsewhere"),
        (lambda: link.unlink() or copy.mkdir() or link.symlink_to(copy), "leads elsewhere"),
    ):
        damage()
        before = release.inspect(root, item)
        assert before.problems == [f"fullchain.pem.key {found}"]
        assert release.present(root, item, None, None).problems == before.problems
        assert link.readlink() == Path("key.pem")
        assert link.read_bytes() == key_pem("leaf")
        assert release.inspect(root, item).right


def test_without_a_token_a_missing_key_is_an_error_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(HostError) as caught:
        release.present(str(tmp_path), Release.of(raw()), None, None)
    assert caught.value.rule == "RELEASE-NO-KEY"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": "../dip"},
        {"certificate": ""},
        {"id": "v1-../../etc"},
        {"id": "v1-0123456789abcdef"},
        {"files": {"certificate.pem": PEM}},
        {"files": {**raw()["files"], "../key.pem": ""}},
        {"files": {**raw()["files"], "certificate.pem": "no certificate"}},
    ],
)
def test_a_malformed_release_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(HostError, match="malformed"):
        Release.of(raw(**changes))


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_both_pem_forms_of_a_key_belong_to_the_certificate(form: str) -> None:
    assert openssl.belongs_together(key_pem("leaf", form), PEM.encode())


def test_another_key_an_encrypted_key_and_garbage_do_not() -> None:
    for key in (key_pem("stranger"), key_pem("leaf", password=b"secret"), b"garbage", b""):
        assert not openssl.belongs_together(key, PEM.encode())


# -- keys that were made here ----------------------------------------------------------------

LOCAL = {
    "key_source": "local",
    "key_path": "dip/keys/1",
    "passphrase_path": "kv-nonprod/data/passphrases/dip_gw1",
}


@pytest.mark.parametrize("passphrase", [None, "0123456789abcdef" * 4], ids=["plain", "encrypted"])
def test_a_release_tells_whether_the_key_that_was_made_here_is_locked(
    tmp_path: Path, passphrase: str | None
) -> None:
    root = str(tmp_path)
    host_key.place(root, "dip", 1, key_pem("leaf"), passphrase)
    state = release.inspect(root, Release.of(raw(**LOCAL)))
    assert state.needs_key
    assert state.as_result(root)["needs_passphrase"] == (passphrase is not None)


def test_a_release_takes_the_key_that_was_made_here_and_asks_nobody(tmp_path: Path) -> None:
    root, item = str(tmp_path), Release.of(raw(**LOCAL))
    host_key.place(root, "dip", 1, key_pem("leaf"))
    release.present(root, item, None, None)
    key = Path(item.directory(root)) / "key.pem"
    assert key.read_bytes() == key_pem("leaf")
    assert files.mode_of(str(key)) == files.PRIVATE
    after = release.inspect(root, item)
    assert after.right
    assert not after.needs_passphrase


def other_key(root: str) -> None:
    host_key.place(root, "dip", 1, key_pem("other"))


def locked_key(root: str) -> None:
    host_key.place(root, "dip", 1, key_pem("leaf"), "0123456789abcdef" * 4)


@pytest.mark.parametrize(
    ("prepare", "rule"),
    [
        (lambda _: None, "KEY-NOT-FOUND"),
        (other_key, "RELEASE-KEY-MATCH"),
        (locked_key, "KEY-PASSPHRASE"),
    ],
    ids=["no key", "another key", "a locked key without its passphrase"],
)
def test_a_key_that_cannot_be_the_certificates_is_not_released(
    tmp_path: Path, prepare: Any, rule: str
) -> None:
    root, item = str(tmp_path), Release.of(raw(**LOCAL))
    prepare(root)
    with pytest.raises(HostError) as caught:
        release.present(root, item, None, None)
    assert caught.value.rule == rule
    assert not Path(item.directory(root)).exists()


# -- a key on the host's list of compromised keys ----------------------------------------------


def listed(root: str) -> compromised.Listed:
    """The release's key, on the host's list."""
    digest = openssl.spki_sha256(openssl.public_key_of_certificate(PEM.encode()))
    entry = compromised.Listed(digest, "dip", "2026-11-22T02:10:00Z")
    compromised.add(root, [entry])
    return entry


def test_a_listed_key_is_not_staged_whoever_asks_and_what_is_there_is_left(root: str) -> None:
    listed(root)
    item = Release.of(raw())
    (Path(item.directory(root)) / "chain.pem").unlink()
    for state in (
        release.inspect(root, item),
        release.present(root, item, None, None),
    ):
        assert state.right
        assert state.as_refused()["error"]["rule"] == "HOST-COMPROMISED"
    assert not (Path(item.directory(root)) / "chain.pem").exists()


def test_a_refused_staging_still_removes_what_a_killed_writer_left_of_the_key(root: str) -> None:
    listed(root)
    left = Path(Release.of(raw()).directory(root)) / ".new-0123"
    files.write(str(left), b"half a key")
    release.present(root, Release.of(raw()), None, None)
    assert not left.exists()


def test_a_list_that_cannot_be_read_stops_every_staging(root: str) -> None:
    Path(compromised.path(root)).write_text("{}")
    with pytest.raises(HostError) as caught:
        release.inspect(root, Release.of(raw()))
    assert caught.value.rule == "HOST-COMPROMISED-LIST"


def test_the_digest_is_the_one_that_ledgers_name() -> None:
    spki = pki_factory.key("leaf").public_key()
    der = spki.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    told = openssl.spki_sha256(openssl.public_key_of_key(key_pem("leaf")))
    assert told == hashlib.sha256(der).hexdigest()
    assert openssl.spki_sha256(b"no key") == ""
