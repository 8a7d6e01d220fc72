# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's login to the key server: what is refused before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pki_host.errors import HostError
from pki_host.pull import Auth, Session, session
from pki_host.release import Release, present
from pki_host.vault_http import VaultAddress

NOWHERE = VaultAddress("https://127.0.0.1:1", "")
PATH = "transit-nonprod-tls/export/signing-key/dip_gw1/1"


def refused(raw: dict[str, Any]) -> HostError:
    with pytest.raises(HostError) as caught:
        Session(NOWHERE, Auth.of(raw)).key(PATH)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "missing"),
    [
        ({"method": "approle"}, "no role_id_file and no secret_id_file"),
        ({"method": "approle", "role_id_file": "/r"}, "no secret_id_file"),
        ({"method": "cert", "client_cert": "/c", "client_key": None}, "no client_key"),
    ],
)
def test_a_login_that_lacks_a_file_names_it(raw: dict[str, Any], missing: str) -> None:
    error = refused(raw)
    assert (error.rule, error.found) == ("VAULT-SETTINGS", missing)


@pytest.mark.parametrize(
    ("content", "mode", "found"),
    [
        (b"s3cr3t\n", 0o640, "mode 0640"),
        (b"s3cr3t\n", 0o604, "mode 0604"),
        (b"s3cr3t s3cr3t\n", 0o600, "2 words"),
        (b"", 0o600, "0 words"),
        (b"s3cr3t\xc3\xa4\n", 0o600, "1 words"),
        (b"s3cr3t\nHeader: b\n", 0o600, "3 words"),
        (b"s3cr3t" * 11000, 0o600, "1 words"),
    ],
)
def test_a_credential_file_that_is_loose_or_no_single_word_is_not_sent(
    tmp_path: Path, content: bytes, mode: int, found: str
) -> None:
    path = tmp_path / "secret_id"
    path.write_bytes(content)
    path.chmod(mode)
    good = tmp_path / "role_id"
    good.write_bytes(b"role\n")
    good.chmod(0o600)
    error = refused({"method": "approle", "role_id_file": good, "secret_id_file": path})
    assert error.rule == "VAULT-CREDENTIALS"
    assert error.found.startswith(found)
    assert "s3cr3t" not in str(error)


def test_a_credential_that_is_a_directory_a_pipe_or_missing_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in (".", "pipe", "nothing"):
        place = str(tmp_path / name)
        error = refused({"method": "approle", "role_id_file": place, "secret_id_file": place})
        assert error.rule == "VAULT-CREDENTIALS"
        assert place in error.where


def test_a_client_key_that_is_no_key_is_named_and_nobody_is_asked_for_a_password(
    tmp_path: Path,
) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_bytes(b"no PEM\n")
        (tmp_path / name).chmod(0o600)
    raw = {
        "method": "cert",
        "client_cert": str(tmp_path / "certificate.pem"),
        "client_key": str(tmp_path / "key.pem"),
    }
    assert refused(raw).rule == "VAULT-CREDENTIALS"


def test_several_addresses_are_read_as_a_person_writes_them() -> None:
    assert VaultAddress(" https://a:8200/, https://b:8200 ,", "").each == (
        "https://a:8200",
        "https://b:8200",
    )


def test_without_a_login_of_its_own_there_is_no_session() -> None:
    for vault, auth in ((None, {"method": "approle"}), (NOWHERE, None), (NOWHERE, {})):
        with session(vault, auth) as opened:
            assert opened is None


def test_a_token_does_not_stand_in_for_the_login_of_a_host_that_pulls(tmp_path: Path) -> None:
    """The controller decides by the inventory; a host never takes what it did not ask for."""
    from unit.test_host_release import raw

    release = Release.of({**raw(), "key_source": "pull"})
    with pytest.raises(HostError) as caught:
        present(str(tmp_path), release, NOWHERE, "a-token")
    assert caught.value.rule == "RELEASE-NO-LOGIN"
    assert not list(tmp_path.rglob("*.pem"))
