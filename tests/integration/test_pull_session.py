# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own login and the reading of its own key, against a real OpenBao."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.host_identities import Hosts
from integration.openbao_server import TLS_MOUNT, OpenBao, write_secret
from integration.test_vault_fault_table import wait_for_status
from pki_host.errors import HostError
from pki_host.pull import Auth, Session
from pki_host.vault_http import VaultAddress

pytestmark = pytest.mark.integration
BASE = f"{TLS_MOUNT}/export/signing-key"
OURS, SHARED, THEIRS = "pull-dip_gw1", "pull-shared", "pull-dip_gw2"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> Hosts:
    """Three keys: one of each host, and one that both share and whose first version is old."""
    with openbao.client("operator") as operator:
        for name in (OURS, SHARED, THEIRS):
            kind = {"type": "rsa-2048", "exportable": True}
            operator.write(f"{TLS_MOUNT}/keys/{name}", kind)
        path = f"{TLS_MOUNT}/keys/{SHARED}"
        operator.write(f"{path}/rotate")
        bounds = {"min_decryption_version": 2, "min_encryption_version": 2}
        operator.write(f"{path}/config", bounds)
    return Hosts(openbao, tmp_path_factory.mktemp("hosts"))


MAPPED = {"mtls_key_nonprod_1": OURS, "mtls_key_nonprod_3": SHARED}


@pytest.fixture
def vault(openbao: OpenBao) -> VaultAddress:
    return VaultAddress(openbao.address, openbao.ca_cert.read_text())


@pytest.fixture(params=["approle", "cert"])
def session(request: pytest.FixtureRequest, hosts: Hosts, vault: VaultAddress) -> Iterator[Session]:
    make = hosts.approle if request.param == "approle" else hosts.certificate
    opened = Session(vault, Auth.of(make("gw1", MAPPED)))
    yield opened
    opened.close()


def refused(session: Session, path: str) -> HostError:
    with pytest.raises(HostError) as caught:
        session.key(path)
    assert caught.value.next_step
    return caught.value


def test_a_host_reads_its_own_key_and_the_one_it_shares(session: Session) -> None:
    for path in (f"{BASE}/{OURS}/1", f"{BASE}/{SHARED}/2"):
        assert session.key(path).startswith(b"-----BEGIN RSA PRIVATE KEY-----")


def test_a_host_is_denied_the_key_of_another_and_told_who_it_is(session: Session) -> None:
    error = refused(session, f"{BASE}/{THEIRS}/1")
    assert error.rule == "VAULT-DENIED"
    assert "policies default, pull" in error.found
    assert f"mtls_key_nonprod_<n>={THEIRS}" in error.expected


def test_a_withdrawn_version_and_one_that_never_was_are_not_handed_out(session: Session) -> None:
    for path in (f"{BASE}/{SHARED}/1", f"{BASE}/{OURS}/7"):
        error = refused(session, path)
        assert (error.rule, "withdrawn" in error.found) == ("VAULT-NOT-FOUND", True)


def test_a_mapping_to_a_key_that_is_gone_is_told_from_a_denial(
    hosts: Hosts, vault: VaultAddress
) -> None:
    session = Session(vault, Auth.of(hosts.approle("gw1", {"mtls_key_nonprod_1": "pull-gone"})))
    error = refused(session, f"{BASE}/pull-gone/1")
    assert error.rule == "VAULT-NOT-FOUND"


def test_a_change_of_the_mapping_holds_for_a_token_that_is_in_use(
    hosts: Hosts, vault: VaultAddress
) -> None:
    auth = hosts.approle("gw1", MAPPED)
    session = Session(vault, Auth.of(auth))
    assert session.key(f"{BASE}/{OURS}/1")
    hosts.map(auth, {"mtls_key_nonprod_1": SHARED})
    assert refused(session, f"{BASE}/{OURS}/1").rule == "VAULT-DENIED"


@pytest.mark.parametrize("name", ["+", "*", "pull-*", "pull-dip_gw1/1", "../../keys", ""])
def test_a_mapping_that_is_no_name_opens_nothing(
    hosts: Hosts, vault: VaultAddress, name: str
) -> None:
    keys = {"mtls_key_nonprod_1": name}
    session = Session(vault, Auth.of(hosts.approle("gw1", keys)))
    for key in (OURS, THEIRS, SHARED):
        assert refused(session, f"{BASE}/{key}/2").rule == "VAULT-DENIED"


def test_the_mapping_of_one_class_opens_nothing_in_another(
    hosts: Hosts, vault: VaultAddress
) -> None:
    keys = {"mtls_key_prod_1": OURS, "mtls_key_1": OURS, "mtls_key": OURS}
    session = Session(vault, Auth.of(hosts.approle("gw1", keys)))
    assert refused(session, f"{BASE}/{OURS}/1").rule == "VAULT-DENIED"


def test_a_wrong_and_an_expired_secret_id_are_refused_at_the_login(
    hosts: Hosts, vault: VaultAddress, tmp_path: Path
) -> None:
    expired = hosts.approle("gw1", MAPPED, ttl="1s")
    write_secret(tmp_path / "other", b"not-the-right-one\n")
    wrong = {**hosts.approle("gw1", MAPPED), "secret_id_file": str(tmp_path / "other")}
    time.sleep(1.5)
    for auth in (expired, wrong):
        error = refused(Session(vault, Auth.of(auth)), f"{BASE}/{OURS}/1")
        assert error.rule == "VAULT-LOGIN"
        assert auth["secret_id_file"] in error.next_step


def test_a_certificate_that_nobody_vouches_for_is_refused_at_the_login(
    hosts: Hosts, vault: VaultAddress
) -> None:
    first, other = hosts.certificate("gw1", MAPPED), hosts.certificate("gw2", MAPPED)
    error = refused(Session(vault, Auth.of({**first, "mount": other["mount"]})), f"{BASE}/{OURS}/1")
    assert (error.rule, "certs" in error.next_step) == ("VAULT-LOGIN", True)


def test_a_login_that_is_not_mounted_there_is_named(hosts: Hosts, vault: VaultAddress) -> None:
    auth = {**hosts.approle("gw1", MAPPED), "mount": "no-such-login"}
    error = refused(Session(vault, Auth.of(auth)), f"{BASE}/{OURS}/1")
    assert error.rule == "VAULT-LOGIN"
    assert "auth/no-such-login/login" in error.where


def test_a_dead_address_is_passed_over_and_a_dead_end_is_named(
    hosts: Hosts, vault: VaultAddress
) -> None:
    auth = Auth.of(hosts.approle("gw1", MAPPED))
    both = VaultAddress(f"https://127.0.0.1:1, {vault.address}/", vault.ca_pem)
    assert Session(both, auth).key(f"{BASE}/{OURS}/1")
    nowhere = VaultAddress("https://127.0.0.1:1", vault.ca_pem)
    assert refused(Session(nowhere, auth), f"{BASE}/{OURS}/1").rule == "VAULT-UNREACHABLE"


def test_the_token_ends_with_the_session(hosts: Hosts, vault: VaultAddress) -> None:
    session = Session(vault, Auth.of(hosts.approle("gw1", MAPPED)))
    session.key(f"{BASE}/{OURS}/1")
    token = session._token
    session.close()
    again = Session(vault, Auth.of(hosts.approle("gw1", MAPPED)))
    again._token = token
    assert refused(again, f"{BASE}/{OURS}/1").rule == "VAULT-DENIED"


def test_a_sealed_server_is_named_before_and_after_the_login(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = OpenBao(tmp_path_factory.mktemp("to-be-sealed"))
    server.prepare()
    server.start()
    try:
        with server.client("operator") as operator:
            kind = {"type": "rsa-2048", "exportable": True}
            operator.write(f"{TLS_MOUNT}/keys/{OURS}", kind)
            auth = Auth.of(Hosts(server, tmp_path_factory.mktemp("ids")).approle("gw1", MAPPED))
            vault = VaultAddress(server.address, server.ca_cert.read_text())
            session = Session(vault, auth)
            assert session.key(f"{BASE}/{OURS}/1")
            operator.write("sys/seal")
        # The server answers before it has let go of what it holds.
        wait_for_status(server, sealed=True)
        assert refused(session, f"{BASE}/{OURS}/1").rule == "VAULT-SEALED"
        assert refused(Session(vault, auth), f"{BASE}/{OURS}/1").rule == "VAULT-SEALED"
    finally:
        server.kill()
