# SPDX-License-Identifier: GPL-3.0-or-later
"""The Vault client against a real OpenBao, and against peers that misbehave."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.loopback import Answer, Relay, scripted
from integration.openbao_server import (
    SIGNING_MOUNT,
    TLS_MOUNT,
    OpenBao,
    make_tls,
    write_secret,
)
from integration.own_ports import free_port
from pki.errors import PkiError
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration
EXPORT = f"{TLS_MOUNT}/export/signing-key"
CANARY = "s.CANARYcanaryCANARYcanary"


@pytest.fixture
def pipeline(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("pipeline") as client:
        yield client


@pytest.fixture
def operator(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("operator") as client:
        yield client


@pytest.fixture
def release(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("release") as client:
        yield client


@pytest.fixture
def exported_key(openbao: OpenBao) -> str:
    """Name of a small exportable key."""
    name = f"client-{secrets.token_hex(4)}"
    with openbao.client("pipeline") as client:
        client.write(f"{TLS_MOUNT}/keys/{name}", {"type": "rsa-2048", "exportable": True}, True)
    return name


def refused(call: Callable[[], object], rule: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    error = caught.value
    assert error.rule == rule, str(error)
    for value in error.as_result().values():
        assert value, str(error)
    # The HTTP library's exception holds the request with its headers: none may hang on.
    assert error.__cause__ is None
    assert error.__context__ is None or isinstance(error.__context__, OSError)
    return error


def token_client(
    address: str, directory: Path, *, patience: float = 0.0, **options: object
) -> Client:
    """A client with a made-up token, for peers that never get to judge it."""
    path = directory / f"token-{secrets.token_hex(4)}"
    write_secret(path, CANARY.encode())
    given = {"address": address, "token_file": str(path), **options}
    return Client(dataclasses.replace(Settings.resolve(given, {}), patience=patience))


# Reading and writing


def test_what_is_written_is_read_and_listed(pipeline: Client, exported_key: str) -> None:
    data = pipeline.read(f"{TLS_MOUNT}/keys/{exported_key}")
    assert data is not None
    assert (data["type"], data["latest_version"]) == ("rsa-2048", 1)
    assert exported_key in pipeline.list(f"{TLS_MOUNT}/keys")


def test_nothing_there_is_none_and_an_empty_list(operator: Client) -> None:
    mount = f"empty-{secrets.token_hex(4)}"
    assert operator.write(f"sys/mounts/{mount}", {"type": "transit"}) == {}
    assert operator.read(f"{mount}/keys/none") is None
    assert operator.list(f"{mount}/keys") == []


def test_a_wrong_mount_is_not_an_absent_key(operator: Client) -> None:
    for call in (operator.read, operator.list, operator.write):
        error = refused(lambda call=call: call("no-mount/keys/a"), "VAULT-NO-MOUNT")
        assert "no-mount/keys/a" in error.where


def test_signing_with_an_absent_key_says_not_found(pipeline: Client) -> None:
    path = f"{TLS_MOUNT}/sign/absent/sha2-256"
    refused(lambda: pipeline.write(path, {"input": "AAAA"}), "VAULT-NOT-FOUND")


def test_a_wrong_parameter_is_answered_with_the_servers_words(operator: Client) -> None:
    call = lambda: operator.write(f"{TLS_MOUNT}/keys/odd", {"type": "rsa-1024"})  # noqa: E731
    assert "rsa-1024" in refused(call, "VAULT-REQUEST").found


def test_a_second_writer_sees_the_check_and_set_conflict(operator: Client) -> None:
    mount = f"kv-{secrets.token_hex(4)}"
    operator.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    entry = {"data": {"serial": "01"}, "options": {"cas": 0}}
    deadline = time.monotonic() + 10
    while True:  # a new KV mount upgrades itself for a moment and refuses writes
        try:
            operator.write(f"{mount}/data/a", entry)
            break
        except PkiError as error:
            if "upgrading" not in error.found.lower() or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    refused(lambda: operator.write(f"{mount}/data/a", entry), "VAULT-CAS")


@pytest.mark.parametrize("path", ["a/../b", "a//b", "a b", "a?list=true", "a#b", "", "a/%2e%2e/b"])
def test_a_path_that_means_something_else_is_never_sent(path: str, tmp_path: Path) -> None:
    with scripted(Answer(200, b"{}")) as peer:
        with token_client(peer.address, tmp_path) as client:
            refused(lambda: client.read(path), "VAULT-PATH")
        assert peer.seen == []


def test_health_needs_no_login(openbao: OpenBao) -> None:
    settings = Settings.resolve(openbao.options("pipeline"), {})
    absent = dataclasses.replace(settings, role_id_file="/nonexistent")
    with Client(absent) as client:
        health = client.health()
    assert (health["initialized"], health["sealed"]) == (True, False)


def test_capabilities_of_more_paths_than_one_question_may_have_are_told(pipeline: Client) -> None:
    paths = [f"{TLS_MOUNT}/keys/k{number}" for number in range(1_500)]
    told = pipeline.capabilities(paths)
    assert list(told) == paths
    assert set(told.values()) == {told[paths[0]]}
    assert "read" in told[paths[0]]


def test_capabilities_are_told_without_trying(pipeline: Client) -> None:
    told = pipeline.capabilities([f"{TLS_MOUNT}/keys/a", f"{EXPORT}/a/1"])
    assert set(told[f"{TLS_MOUNT}/keys/a"]) == {"create", "read", "update"}
    assert told[f"{EXPORT}/a/1"] == ("deny",)


# Who we are


@pytest.mark.parametrize("part", ["role_id", "secret_id"])
def test_a_wrong_approle_credential_is_a_refused_login(
    openbao: OpenBao, tmp_path: Path, part: str
) -> None:
    write_secret(tmp_path / part, CANARY.encode())
    with openbao.client("pipeline", **{f"{part}_file": str(tmp_path / part)}) as client:
        error = refused(lambda: client.read(f"{TLS_MOUNT}/keys/a"), "VAULT-LOGIN")
    assert CANARY not in str(error)
    assert error.where.endswith("auth/approle/login")


def test_a_credential_file_open_to_others_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    for part in ("role_id", "secret_id"):
        write_secret(tmp_path / part, b"x")
    (tmp_path / "secret_id").chmod(0o644)
    with scripted(Answer(200, b"{}")) as peer:
        options = {
            "address": peer.address,
            "role_id_file": str(tmp_path / "role_id"),
            "secret_id_file": str(tmp_path / "secret_id"),
        }
        with Client(Settings.resolve(options, {})) as client:
            error = refused(lambda: client.read("a/b"), "VAULT-CREDENTIALS")
        assert peer.seen == []
    assert error.found == "mode 0644"


def test_a_wrong_token_is_told_from_a_policy_that_denies(
    openbao: OpenBao, pipeline: Client, tmp_path: Path
) -> None:
    with token_client(openbao.address, tmp_path, ca_cert=str(openbao.ca_cert)) as client:
        error = refused(lambda: client.read(f"{TLS_MOUNT}/keys/a"), "VAULT-TOKEN")
    assert CANARY not in str(error)
    denied = refused(lambda: pipeline.read(f"{EXPORT}/a/1"), "VAULT-DENIED")
    assert "pipeline" in denied.found
    assert denied.expected == f"capability read on {EXPORT}/a/1"


def test_a_denied_parameter_is_told_from_a_denied_path(pipeline: Client) -> None:
    path = f"{SIGNING_MOUNT}/keys/wish"
    wish = {"type": "rsa-2048", "exportable": True}
    error = refused(lambda: pipeline.write(path, wish, idempotent=True), "VAULT-DENIED")
    assert "parameters" in error.expected
    assert pipeline.read(path) is None


def test_the_token_of_the_login_is_revoked_at_the_end(openbao: OpenBao, operator: Client) -> None:
    with openbao.client("pipeline") as client:
        own = client.read("auth/token/lookup-self")
        assert own is not None
        accessor = {"accessor": own["accessor"]}
        assert operator.write("auth/token/lookup-accessor", accessor)["policies"]
    with pytest.raises(PkiError):
        operator.write("auth/token/lookup-accessor", accessor)


def test_a_token_that_was_handed_over_is_left_alive(
    openbao: OpenBao, pipeline: Client, tmp_path: Path
) -> None:
    own = pipeline.read("auth/token/lookup-self")
    assert own is not None
    write_secret(tmp_path / "token", own["id"].encode())
    options = {
        "address": openbao.address,
        "ca_cert": str(openbao.ca_cert),
        "token_file": str(tmp_path / "token"),
    }
    with Client(Settings.resolve(options, {})) as guest:
        assert guest.read("auth/token/lookup-self") is not None
    assert pipeline.read("auth/token/lookup-self") is not None


def test_a_token_that_dies_during_the_run_is_replaced_by_a_new_login(
    pipeline: Client, operator: Client, exported_key: str
) -> None:
    first = pipeline.read("auth/token/lookup-self")
    assert first is not None
    operator.write("auth/token/revoke-accessor", {"accessor": first["accessor"]})
    assert pipeline.read(f"{TLS_MOUNT}/keys/{exported_key}") is not None
    second = pipeline.read("auth/token/lookup-self")
    assert second is not None
    assert second["accessor"] != first["accessor"]


def test_threads_share_one_login(openbao: OpenBao) -> None:
    accessors: list[str] = []
    with openbao.client("pipeline") as client:

        def ask() -> None:
            accessors.append((client.read("auth/token/lookup-self") or {})["accessor"])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(accessors) == 4
    assert len(set(accessors)) == 1


def test_a_closed_client_is_not_quietly_reopened(openbao: OpenBao) -> None:
    client = openbao.client("pipeline")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.read("auth/token/lookup-self")


# Wrapping


def test_a_wrapped_key_is_opened_once_and_then_reported_as_intercepted(
    release: Client, pipeline: Client, exported_key: str
) -> None:
    info = release.wrap(f"{EXPORT}/{exported_key}/1", 60)
    assert (info.creation_path, info.ttl) == (f"{EXPORT}/{exported_key}/1", 60)
    assert info.creation_time.tzinfo is not None
    assert info.token not in repr(info)
    # The release client's own token dies here; the wrapped answer must not die with it.
    release.close()
    opened = pipeline.write("sys/wrapping/unwrap", {"token": info.token})
    assert opened["keys"]["1"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    again = lambda: pipeline.write("sys/wrapping/unwrap", {"token": info.token})  # noqa: E731
    error = refused(again, "VAULT-WRAP-USED")
    assert "interception" in error.next_step
    assert info.token not in str(error)


def test_the_release_role_may_not_wrap_for_longer_nor_read_in_clear(
    release: Client, exported_key: str
) -> None:
    path = f"{EXPORT}/{exported_key}/1"
    error = refused(lambda: release.wrap(path, 3600), "VAULT-DENIED")
    assert "3600 s" in error.expected
    refused(lambda: release.read(path), "VAULT-DENIED")
    refused(lambda: release.list(f"{TLS_MOUNT}/keys"), "VAULT-DENIED")


def test_wrapping_an_absent_key_or_version_says_not_found(
    release: Client, exported_key: str
) -> None:
    refused(lambda: release.wrap(f"{EXPORT}/absent/1", 60), "VAULT-NOT-FOUND")
    refused(lambda: release.wrap(f"{EXPORT}/{exported_key}/9", 60), "VAULT-NOT-FOUND")


def test_an_answer_that_should_be_wrapped_and_is_not_is_thrown_away(tmp_path: Path) -> None:
    body = b'{"data": {"keys": {"1": "PRIVATE-CANARY"}}, "wrap_info": null}'
    with (
        scripted(Answer(200, body)) as peer,
        token_client(peer.address, tmp_path) as client,
    ):
        error = refused(lambda: client.wrap(f"{EXPORT}/a/1", 60), "VAULT-NOT-WRAPPED")
    assert "PRIVATE-CANARY" not in str(error)


# The way there


def test_a_certificate_of_another_ca_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    other = make_tls(tmp_path)
    with openbao.client("pipeline", ca_cert=str(other)) as client:
        error = refused(lambda: client.read("a/b"), "VAULT-TLS")
    assert "never skip verification" in error.next_step


def test_without_a_ca_file_the_private_ca_is_refused_whatever_the_environment_says(
    openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"):
        monkeypatch.setenv(name, str(openbao.ca_cert))
    monkeypatch.setenv("VAULT_SKIP_VERIFY", "true")
    with openbao.client("pipeline", ca_cert=None) as client:
        refused(lambda: client.read("a/b"), "VAULT-TLS")


def test_a_certificate_for_another_name_is_refused(openbao: OpenBao) -> None:
    with openbao.client("pipeline", address=f"https://localhost:{openbao.port}") as client:
        error = refused(lambda: client.read("a/b"), "VAULT-TLS")
    assert "localhost" in error.found


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(
    openbao: OpenBao, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with openbao.client("pipeline", ca_cert=str(path)) as client:
        error = refused(lambda: client.read("a/b"), "VAULT-TLS")
    assert error.where == str(path)
    assert "ca_cert" in error.next_step


def test_plain_http_to_the_tls_port_says_https(openbao: OpenBao) -> None:
    with openbao.client("pipeline", address=f"http://127.0.0.1:{openbao.port}") as client:
        error = refused(lambda: client.read("a/b"), "VAULT-TLS")
    assert "https://" in error.next_step


def test_https_to_a_plain_port_says_that_the_server_speaks_no_tls(tmp_path: Path) -> None:
    with (
        scripted(Answer(200, b"{}")) as peer,
        token_client(peer.address.replace("http:", "https:"), tmp_path) as client,
    ):
        error = refused(lambda: client.read("a/b"), "VAULT-TLS")
    assert "does not speak TLS" in error.message


def test_a_closed_port_and_an_unknown_name_are_unreachable(tmp_path: Path) -> None:
    with token_client(f"https://127.0.0.1:{free_port()}", tmp_path) as client:
        error = refused(lambda: client.read("a/b"), "VAULT-UNREACHABLE")
    assert error.found == "connection refused"
    with token_client("https://vault.invalid:8200", tmp_path) as client:
        error = refused(lambda: client.read("a/b"), "VAULT-UNREACHABLE")
    assert error.found == "the host name does not resolve"


def test_a_server_that_stays_silent_is_a_timeout_that_may_be_repeated(tmp_path: Path) -> None:
    with (
        # The system completes the connection; nobody ever takes it up.
        socket.create_server(("127.0.0.1", 0)) as listener,
        token_client(
            f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, timeout="0.2"
        ) as client,
    ):
        error = refused(lambda: client.write("a/b", {}, idempotent=True), "VAULT-TIMEOUT")
    assert "raise the option timeout" in error.next_step


def test_a_redirect_is_not_followed_because_it_would_carry_the_token(tmp_path: Path) -> None:
    with scripted(Answer(200, b'{"data": {}}')) as thief:
        away = Answer(307, headers={"Location": f"{thief.address}/v1/a/b"})
        with scripted(away) as peer, token_client(peer.address, tmp_path) as client:
            refused(lambda: client.read("a/b"), "VAULT-REDIRECT")
        assert thief.seen == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>welcome</html>"),
        (200, b"[1]"),
        (403, b"<html>blocked by the proxy</html>"),
        (404, b"<html>not found</html>"),
        (400, b"bad request"),
    ],
)
def test_a_peer_that_is_not_vault_is_recognised(tmp_path: Path, status: int, body: bytes) -> None:
    with (
        scripted(Answer(status, body)) as peer,
        token_client(peer.address, tmp_path) as client,
    ):
        refused(lambda: client.read("a/b"), "VAULT-ANSWER")


def test_the_server_echoing_our_token_does_not_make_us_print_it(tmp_path: Path) -> None:
    body = b'{"errors": ["bad token ' + CANARY.encode() + b'"]}'
    with (
        scripted(Answer(400, body)) as peer,
        token_client(peer.address, tmp_path) as client,
    ):
        error = refused(lambda: client.read("a/b"), "VAULT-REQUEST")
    assert CANARY not in str(error)
    assert "bad token" in error.found


# Once more, or not


def test_only_what_is_harmless_is_sent_again_after_a_lost_answer(tmp_path: Path) -> None:
    def attempts(call: Callable[[Client], object]) -> int:
        with scripted(Answer(0)) as peer:
            with token_client(peer.address, tmp_path, patience=0.5) as client:
                refused(lambda: call(client), "VAULT-UNREACHABLE")
            return len(peer.seen)

    assert attempts(lambda client: client.read("a/b")) > 1
    assert attempts(lambda client: client.write("a/b", {}, idempotent=True)) > 1
    assert attempts(lambda client: client.write("a/b/rotate", {})) == 1
    assert attempts(lambda client: client.wrap("a/b", 60)) == 1


def test_a_call_the_server_never_acted_on_is_sent_again_in_any_case(tmp_path: Path) -> None:
    no_leader = b'{"errors": ["local node not active but active cluster node not found"]}'
    with scripted(Answer(500, no_leader)) as peer:
        with token_client(peer.address, tmp_path, patience=0.5) as client:
            refused(lambda: client.write("a/b/rotate", {}), "VAULT-NO-LEADER")
        assert len(peer.seen) > 1


def test_a_plain_server_error_is_not_repeated(tmp_path: Path) -> None:
    with scripted(Answer(500, b'{"errors": ["already exists"]}')) as peer:
        with token_client(peer.address, tmp_path, patience=5.0) as client:
            refused(lambda: client.read("a/b"), "VAULT-SERVER")
        assert len(peer.seen) == 1


def test_the_next_address_serves_when_the_first_is_dead(openbao: OpenBao) -> None:
    dead = f"https://127.0.0.1:{free_port()}"
    with openbao.client("pipeline", address=f"{dead},{openbao.address}") as client:
        assert isinstance(client.list(f"{TLS_MOUNT}/keys"), list)


def test_the_final_error_names_every_address_that_was_given(tmp_path: Path) -> None:
    dead = [f"https://127.0.0.1:{free_port()}" for _ in range(2)]
    with token_client(",".join(dead), tmp_path) as client:
        error = refused(lambda: client.read("a/b"), "VAULT-UNREACHABLE")
    assert all(address in error.found for address in dead)


def test_a_lost_answer_of_a_read_goes_unnoticed(openbao: OpenBao) -> None:
    relay = Relay(openbao.port)
    try:
        with openbao.client("pipeline", address=relay.address) as client:
            client.list(f"{TLS_MOUNT}/keys")
            relay.lose_next_answer.set()
            assert isinstance(client.list(f"{TLS_MOUNT}/keys"), list)
            assert not relay.lose_next_answer.is_set()
    finally:
        relay.close()


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of this module's own, to be killed and sealed."""
    server = OpenBao(tmp_path_factory.mktemp("victim"))
    server.prepare()
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_killed_and_restarted_server_is_waited_for(victim: OpenBao) -> None:
    with victim.client("pipeline") as client:
        path = f"{TLS_MOUNT}/keys/survivor"
        client.write(path, {"type": "rsa-2048", "exportable": True}, idempotent=True)
        before = client.read(path)
        victim.kill()
        timer = threading.Timer(0.5, victim.start, kwargs={"wait": False})
        timer.start()
        try:
            assert client.read(path) == before
        finally:
            timer.join()
        victim.wait_until_usable()


def test_a_sealed_server_is_called_sealed_and_its_health_says_so(victim: OpenBao) -> None:
    with victim.client("operator") as operator:
        operator.write("sys/seal")
        settings = Settings.resolve(victim.options("pipeline"), {})
        with Client(dataclasses.replace(settings, patience=0.0)) as client:
            error = refused(lambda: client.read(f"{TLS_MOUNT}/keys/survivor"), "VAULT-SEALED")
            assert client.health()["sealed"] is True
    assert "unseal" in error.next_step
    victim.stop()
    victim.start()


# What must never be seen


def test_no_credential_reaches_a_log_a_repr_or_the_audit_log(
    openbao: OpenBao, exported_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with openbao.client("release") as client:
        own = client.read("auth/token/lookup-self")
        assert own is not None
        info = client.wrap(f"{EXPORT}/{exported_key}/1", 60)
        shown = repr(client) + repr(info)
    shown += caplog.text + openbao.audit_log.read_text(encoding="utf-8")
    shown += (openbao.directory / "server.log").read_text(encoding="utf-8")
    assert f"{EXPORT}/{exported_key}/1" in shown
    credentials = [own["id"], info.token]
    for part in ("role_id", "secret_id"):
        path = Path(openbao.options("release")[f"{part}_file"])
        credentials.append(path.read_text(encoding="ascii").strip())
    for credential in credentials:
        assert credential not in shown


def test_a_vault_client_adds_nothing_from_the_users_home(
    openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a token file nor a .netrc in the home directory is ever used."""
    write_secret(tmp_path / ".vault-token", CANARY.encode())
    write_secret(tmp_path / ".netrc", b"machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    with openbao.client("pipeline") as client:
        own = client.read("auth/token/lookup-self")
    assert own is not None
    assert own["policies"] == ["default", "pipeline"]
    with pytest.raises(PkiError) as caught:
        Settings.resolve({"address": openbao.address}, {"HOME": os.fspath(tmp_path)})
    assert caught.value.rule == "VAULT-SETTINGS"
