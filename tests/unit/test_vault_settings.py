# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and environment become settings; credential files are read with suspicion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from pki.errors import PkiError
from pki.vault import Settings
from pki.vault_credentials import read_secret

APPROLE = {
    "address": "https://vault.example:8200",
    "role_id_file": "/run/role",
    "secret_id_file": "/run/secret",
}
CANARY = "s.CANARYcanaryCANARY"


def resolve(options: Mapping[str, object], **environ: str) -> Settings:
    return Settings.resolve(options, environ)


def refusal(options: Mapping[str, object], **environ: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        resolve(options, **environ)
    assert caught.value.rule == "VAULT-SETTINGS"
    return caught.value


def test_an_option_wins_over_both_families_of_variables() -> None:
    settings = resolve(
        {**APPROLE, "ca_cert": "/ca/option", "namespace": "option"},
        BAO_ADDR="https://bao.example",
        VAULT_ADDR="https://old.example",
        BAO_CACERT="/ca/bao",
        VAULT_CACERT="/ca/vault",
        BAO_NAMESPACE="bao",
        VAULT_NAMESPACE="vault",
    )
    assert settings.addresses == ("https://vault.example:8200",)
    assert (settings.ca_cert, settings.namespace) == ("/ca/option", "option")


def test_the_openbao_family_wins_over_the_vault_family() -> None:
    settings = resolve(
        {},
        BAO_ADDR="https://bao.example",
        VAULT_ADDR="https://old.example",
        BAO_CACERT="/ca/bao",
        VAULT_CACERT="/ca/vault",
        BAO_NAMESPACE="bao",
        VAULT_NAMESPACE="vault",
        BAO_TOKEN="s.bao",
        VAULT_TOKEN="s.vault",
    )
    assert settings.addresses == ("https://bao.example",)
    assert (settings.ca_cert, settings.namespace, settings.token) == ("/ca/bao", "bao", "s.bao")


def test_the_vault_family_alone_is_enough() -> None:
    settings = resolve({}, VAULT_ADDR="https://v.example", VAULT_TOKEN="s.v")
    assert (settings.addresses, settings.token) == (("https://v.example",), "s.v")


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_an_empty_option_counts_as_not_given(nothing: str | None) -> None:
    settings = resolve({**APPROLE, "ca_cert": nothing}, BAO_CACERT="/ca/bao")
    assert settings.ca_cert == "/ca/bao"


def test_an_empty_variable_does_not_hide_the_other_family() -> None:
    settings = resolve({}, BAO_ADDR="", VAULT_ADDR="https://v.example", VAULT_TOKEN="s.v")
    assert settings.addresses == ("https://v.example",)


def test_several_addresses_keep_their_order_and_lose_slashes_and_doubles() -> None:
    address = "https://b.example/, https://a.example:8200 ,https://b.example"
    settings = resolve({**APPROLE, "address": address})
    assert settings.addresses == ("https://b.example", "https://a.example:8200")


def test_a_missing_address_names_the_option_and_both_variables() -> None:
    error = refusal({})
    assert "address" in error.where
    assert "BAO_ADDR" in error.where
    assert "VAULT_ADDR" in error.where


@pytest.mark.parametrize(
    "address",
    [
        "vault.example:8200",
        "ftp://vault.example",
        "https://",
        "https://vault.example:port",
        "https://vault.example?x=1",
        "https://vault.example#x",
        "http://vault.example:8200",
        "http://10.0.0.1:8200",
    ],
)
def test_an_address_that_could_not_be_meant_is_refused(address: str) -> None:
    error = refusal({**APPROLE, "address": f"https://good.example,{address}"})
    assert "https://" in error.expected
    assert "BAO_ADDR" in error.where


@pytest.mark.parametrize("host", ["127.0.0.1:8200", "localhost:8200", "[::1]:8200"])
def test_plain_http_is_accepted_on_loopback_only(host: str) -> None:
    assert resolve({**APPROLE, "address": f"http://{host}"}).addresses == (f"http://{host}",)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    error = refusal({**APPROLE, "address": f"https://me:{CANARY}@vault.example"})
    assert CANARY not in str(error)


def test_role_id_file_alone_chooses_approle_and_its_absence_token() -> None:
    assert resolve(APPROLE).auth_method == "approle"
    assert resolve({}, VAULT_ADDR="https://v.example", VAULT_TOKEN="s.v").auth_method == "token"


def test_approle_never_picks_up_a_token_of_the_environment() -> None:
    assert resolve(APPROLE, BAO_TOKEN=CANARY).token is None


def test_a_token_file_wins_over_a_token_of_the_environment() -> None:
    options = {"address": "https://v.example", "token_file": "/run/token"}
    settings = resolve(options, BAO_TOKEN=CANARY)
    assert (settings.token, settings.token_file) == (None, "/run/token")


def test_an_unknown_login_method_is_refused_by_name() -> None:
    error = refusal({**APPROLE, "auth_method": "ldap"})
    assert (error.found, error.expected) == ("ldap", "approle or jwt or cert or token")


def test_approle_without_secret_id_names_the_missing_option() -> None:
    error = refusal({"address": "https://v.example", "role_id_file": "/run/role"})
    assert error.found == "no secret_id_file"


def test_token_login_without_a_token_names_option_and_variables() -> None:
    error = refusal({"address": "https://v.example"})
    assert "token_file" in error.where
    assert "BAO_TOKEN" in error.where
    assert "VAULT_TOKEN" in error.where


@pytest.mark.parametrize("token", [f"{CANARY} x", f"{CANARY}\nX-Evil: 1", f"{CANARY}é"])
def test_a_token_that_would_break_the_header_is_refused_without_showing_it(token: str) -> None:
    error = refusal({"address": "https://v.example"}, VAULT_TOKEN=token)
    assert CANARY not in str(error)


def test_the_token_is_not_in_the_settings_repr() -> None:
    settings = resolve({"address": "https://v.example"}, BAO_TOKEN=CANARY)
    assert settings.token == CANARY
    assert CANARY not in repr(settings)


def test_the_timeout_is_two_minutes_unless_given() -> None:
    assert resolve(APPROLE).timeout == 120.0
    assert resolve({**APPROLE, "timeout": 300}).timeout == 300.0
    assert resolve({**APPROLE, "timeout": "0.5"}).timeout == 0.5


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "inf", "nan"])
def test_a_timeout_that_is_no_time_is_refused(timeout: str) -> None:
    assert refusal({**APPROLE, "timeout": timeout}).found == timeout


def test_an_unknown_option_is_refused_by_name() -> None:
    error = refusal({**APPROLE, "verify": False, "role_idfile": "x"})
    assert error.found == "role_idfile, verify"


JWT = {"address": "https://v.example", "jwt_file": "/run/id-token"}
CERT = {
    "address": "https://v.example",
    "auth_method": "cert",
    "client_cert": "/run/client.pem",
    "client_key": "/run/client.key",
}


@pytest.mark.parametrize(
    ("options", "method", "mount"),
    [
        (APPROLE, "approle", "approle"),
        ({**APPROLE, "auth_mount": "approle-ci"}, "approle", "approle-ci"),
        (JWT, "jwt", "jwt"),
        ({**JWT, "auth_mount": "forge/jwt", "auth_role": "nightly"}, "jwt", "forge/jwt"),
        (CERT, "cert", "cert"),
        # A certificate may be there for TLS alone: by itself it says nothing of the login.
        ({**CERT, "auth_method": None, "token_file": "/run/token"}, "token", ""),
    ],
)
def test_the_credentials_given_choose_the_method_and_its_mount(
    options: Mapping[str, object], method: str, mount: str
) -> None:
    settings = resolve(options)
    assert (settings.auth_method, settings.auth_mount) == (method, mount)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        # What a method needs and has not.
        ({"auth_method": "jwt"}, "no jwt_file"),
        ({"jwt_env": "NOT_SET"}, "no jwt_env"),
        ({"jwt_env": "SET", "jwt_file": "/f"}, "no jwt_env"),
        ({"auth_method": "cert"}, "no client_cert and no client_key"),
        ({**CERT, "client_key": None}, "no client_key"),
        ({**APPROLE, "client_cert": "/c"}, "no client_key"),
        # What it does not read: another method is meant.
        ({**APPROLE, "auth_role": "a"}, "auth_role"),
        ({"token_file": "/t", "auth_mount": "a", "auth_role": "b"}, "auth_mount, auth_role"),
        ({**CERT, "jwt_env": "SET"}, "jwt_env"),
        # What is no place.
        ({**JWT, "auth_mount": "auth/jwt"}, "auth/jwt"),
        ({**JWT, "auth_mount": "jwt/../sys"}, "jwt/../sys"),
        ({**JWT, "auth_mount": "/jwt/"}, "/jwt/"),
    ],
)
def test_a_login_that_could_not_be_meant_is_refused(
    options: Mapping[str, object], found: str
) -> None:
    error = refusal({"address": "https://v.example", **options}, SET="a.b.c")
    assert error.found == found
    assert error.next_step


def test_an_id_token_instead_of_a_variables_name_is_refused_and_not_repeated() -> None:
    error = refusal({"address": "https://v.example", "jwt_env": f"{CANARY}.b.c"})
    assert CANARY not in str(error)


@pytest.mark.parametrize("token", [f"{CANARY} x", f"{CANARY}é"])
def test_an_id_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    error = refusal({"address": "https://v.example", "jwt_env": "T"}, T=token)
    assert CANARY not in str(error)
    assert error.where == "T"


def test_the_id_token_is_not_in_the_settings_repr() -> None:
    settings = resolve({"address": "https://v.example", "jwt_env": "T"}, T=CANARY)
    assert settings.jwt == CANARY
    assert CANARY not in repr(settings)


@pytest.mark.parametrize("family", ["BAO", "VAULT"])
def test_a_client_certificate_may_come_from_the_environment(family: str) -> None:
    variables = {f"{family}_CLIENT_CERT": "/c", f"{family}_CLIENT_KEY": "/k"}
    settings = resolve(APPROLE, **variables)
    assert (settings.client_cert, settings.client_key) == ("/c", "/k")


def test_tagged_strings_become_plain_ones() -> None:
    class Tagged(str):
        __slots__ = ()

    settings = Settings.resolve({Tagged(k): Tagged(v) for k, v in APPROLE.items()}, {})
    assert type(settings.addresses[0]) is str
    assert type(settings.role_id_file) is str


def secret_file(path: Path, data: bytes = b"s.secret\n", mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def bad_credential(path: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        read_secret(path, "token_file")
    assert caught.value.rule == "VAULT-CREDENTIALS"
    assert "token_file" in caught.value.where
    return caught.value


def test_a_private_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    assert read_secret(secret_file(tmp_path / "t"), "token_file") == "s.secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o610, 0o602, 0o666])
def test_a_file_open_to_others_is_refused_with_its_mode(tmp_path: Path, mode: int) -> None:
    error = bad_credential(secret_file(tmp_path / "t", mode=mode))
    assert error.found == f"mode {mode:04o}"
    assert "0600" in error.expected
    assert "chmod 600" in error.next_step


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    assert "No such file" in bad_credential(str(tmp_path / "none")).found


def test_a_directory_or_a_pipe_is_not_a_credential_file(tmp_path: Path) -> None:
    assert bad_credential(str(tmp_path)).found == "not a regular file"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert bad_credential(str(tmp_path / "pipe")).found == "not a regular file"


@pytest.mark.parametrize("data", [b"", b"\n", b"two words", b"\xff\xfe", b"a\nb\n", b"a" * 70000])
def test_a_file_that_is_not_one_word_is_refused(tmp_path: Path, data: bytes) -> None:
    bad_credential(secret_file(tmp_path / "t", data))


def test_no_refusal_repeats_the_content_of_the_file(tmp_path: Path) -> None:
    for data in (f"{CANARY} x".encode(), CANARY.encode() + b"\xff"):
        assert CANARY not in str(bad_credential(secret_file(tmp_path / "t", data)))
