# SPDX-License-Identifier: GPL-3.0-or-later
"""A key's way from its store to one host: role, action, module, real OpenBao."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator

import pytest
from integration.openbao_server import OpenBao
from integration.release_world import ReleaseWorld
from pki_host import openssl
from pki_host.errors import HostError
from pki_host.unwrap import VaultAddress, unwrap_key
from unit import pki_factory

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> ReleaseWorld:
    return ReleaseWorld(tmp_path_factory.mktemp("release"), openbao)


@pytest.fixture
def world(shared: ReleaseWorld) -> Iterator[ReleaseWorld]:
    """The world with a virgin host."""
    shutil.rmtree(shared.release_root, ignore_errors=True)
    yield shared
    shutil.rmtree(shared.release_root, ignore_errors=True)


@pytest.fixture
def vault(openbao: OpenBao) -> VaultAddress:
    return VaultAddress(openbao.address, openbao.ca_cert.read_text())


def token(world: ReleaseWorld, path: str = "") -> str:
    with world.openbao.client("release") as client:
        return client.wrap(path or world.key_path, 60).token


def secrets_in(output: str, world: ReleaseWorld) -> list[str]:
    """Everything in ``output`` that looks like a token of this server or is the host's key."""
    prefix, _, body = token(world).partition(".")
    found = re.findall(rf"\b{prefix}\.[A-Za-z0-9_-]{{{len(body) - 8},}}", output)
    lines = (world.directory / "key.pem").read_text().splitlines()[1:-1]
    return found + [line for line in lines if line in output]


def test_without_pipelining_no_key_is_delivered_and_nobody_logs_in(world: ReleaseWorld) -> None:
    """A module that is copied to the host is a file with the token in it."""
    before = world.logins()
    ran = world.play("-vvvv", "--diff", pipelining=False)
    assert ran.code != 0
    assert "RELEASE-PIPELINING" in ran.output
    assert world.logins() == before
    assert not list(world.release_root.rglob("key.pem"))


def test_a_virgin_host_gets_the_release_once_and_no_secret_is_printed_at_any_verbosity(
    world: ReleaseWorld,
) -> None:
    before = world.logins()
    ran = world.play("-vvvv", "--diff")
    assert ran.code == 0, ran.output
    assert ran.changed
    key = world.directory / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert openssl.belongs_together(key.read_bytes(), world.certificate_pem())
    assert (world.directory / "fullchain.pem").read_bytes() == world.reply
    assert world.logins() == before + 1
    assert not (world.release_root / world.name / "current").exists()
    # The scanner finds what it looks for, and nothing of it is in the output.
    assert len(secrets_in(f"x {token(world)} y\n{key.read_text()}", world)) > 5
    assert secrets_in(ran.output, world) == []
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in ran.output

    # Without a missing key there is nothing secret to deliver, so the connection may copy.
    again = world.play(pipelining=False)
    assert (again.code, again.changed) == (0, False), again.output
    # The scanner made three tokens of its own; a run without a missing key logs in nowhere.
    assert world.logins() == before + 4


def test_check_mode_on_a_virgin_host_says_changed_and_does_nothing(world: ReleaseWorld) -> None:
    before = world.logins()
    ran = world.play("--check", "--diff")
    assert ran.code == 0, ran.output
    assert ran.changed
    assert "key.pem is missing" in ran.output
    assert not world.release_root.exists()
    assert world.logins() == before


def test_drift_is_repaired_without_a_login_and_an_exposed_key_is_named(
    world: ReleaseWorld,
) -> None:
    assert world.play().code == 0
    before = world.logins()
    (world.directory / "key.pem").chmod(0o644)
    (world.directory / "chain.pem").unlink()
    (world.directory / "certificate.pem").write_text("edited\n")
    ran = world.play("--diff")
    assert ran.code == 0, ran.output
    assert ran.changed
    words = re.sub(r"\s+", " ", ran.output)
    assert "others on this host could read the private key" in words
    assert stat.S_IMODE((world.directory / "key.pem").stat().st_mode) == 0o600
    assert (world.directory / "certificate.pem").read_bytes() == world.certificate_pem()
    assert (world.directory / "chain.pem").read_bytes() == world.issuing.pem
    assert world.logins() == before


@pytest.mark.parametrize("setting", ["ANSIBLE_DEBUG", "ANSIBLE_KEEP_REMOTE_FILES"])
def test_debugging_is_refused_before_anything_is_delivered(
    world: ReleaseWorld, setting: str
) -> None:
    before = world.logins()
    ran = world.play(**{setting: "1"})
    assert ran.code != 0
    assert f"{setting} is on" in ran.output
    assert not world.release_root.exists()
    assert world.logins() == before


def test_a_certificate_of_another_key_never_reaches_the_host_whatever_the_record_says(
    world: ReleaseWorld,
) -> None:
    directory = world.base / "certificates" / world.name / "1"
    stranger = pki_factory.pem(world.issuing.leaf(world.certificate.common_name))
    (directory / "certificate.pem").write_bytes(stranger)
    (directory / "chain.pem").write_bytes(world.issuing.pem)
    try:
        ran = world.play()
    finally:
        (directory / "certificate.pem").unlink()
        (directory / "chain.pem").unlink()
    assert "DIP-6.1.2-SAME-HOST" in ran.output
    assert not ran.changed
    assert not world.release_root.exists()


def test_a_token_that_somebody_used_first_is_called_an_interception(
    world: ReleaseWorld, vault: VaultAddress
) -> None:
    stolen = token(world)
    assert openssl.belongs_together(
        unwrap_key(vault, stolen, world.key_path), world.certificate_pem()
    )
    with pytest.raises(HostError, match="possible interception") as caught:
        unwrap_key(vault, stolen, world.key_path)
    assert caught.value.rule == "VAULT-WRAP-USED"
    assert "audit log" in caught.value.next_step
    assert stolen not in str(caught.value)


def test_an_exchanged_token_is_refused_and_not_spent(
    world: ReleaseWorld, vault: VaultAddress
) -> None:
    wrapped = token(world)
    other = world.key_path.replace(world.name, "another-certificate")
    with pytest.raises(HostError) as caught:
        unwrap_key(vault, wrapped, other)
    assert caught.value.rule == "VAULT-WRAP-PATH"
    assert (caught.value.found, caught.value.expected) == (world.key_path, other)
    assert unwrap_key(vault, wrapped, world.key_path).startswith(b"-----BEGIN")


def test_a_server_of_another_ca_gets_no_token(world: ReleaseWorld, vault: VaultAddress) -> None:
    wrapped = token(world)
    stranger = VaultAddress(vault.address, world.root.pem.decode())
    with pytest.raises(HostError) as caught:
        unwrap_key(stranger, wrapped, world.key_path)
    assert caught.value.rule == "VAULT-TLS"
    assert unwrap_key(vault, wrapped, world.key_path).startswith(b"-----BEGIN")


def test_a_server_that_is_not_there_and_plain_http_are_named(vault: VaultAddress) -> None:
    with pytest.raises(HostError) as caught:
        unwrap_key(VaultAddress("https://127.0.0.1:1", vault.ca_pem), "x", "m/n")
    assert caught.value.rule == "VAULT-UNREACHABLE"
    with pytest.raises(HostError, match="over TLS only"):
        unwrap_key(VaultAddress("http://127.0.0.1:1", vault.ca_pem), "x", "m/n")
