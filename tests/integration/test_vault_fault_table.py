# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what can go wrong with Vault, a row a case: rule, what is said, what to do next.

What a healthy server cannot be brought to say in a test comes from a peer with a script.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from integration.loopback import Answer, scripted
from integration.openbao_server import KV_MOUNT, TLS_MOUNT, OpenBao, make_tls, write_secret
from integration.own_ports import free_port
from pki.errors import PkiError
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration

EXPORT = f"{TLS_MOUNT}/export/signing-key"
NO_LEADER = b'{"errors": ["local node not active but active cluster node not found"]}'


@dataclass
class Place:
    """Servers and files that the rows need."""

    openbao: OpenBao
    sealed: OpenBao
    uninitialised: OpenBao
    folder: Path
    key: str

    def as_role(self, role: str, **options: Any) -> Client:
        return quick({**self.openbao.options(role), **options})

    def as_token(self, address: str, **options: Any) -> Client:
        path = self.folder / f"token-{secrets.token_hex(4)}"
        write_secret(path, b"s.nobody-knows-this-token")
        return quick({"address": address, "token_file": str(path), **options})

    def trusting(self, server: OpenBao) -> Client:
        return self.as_token(server.address, ca_cert=str(server.ca_cert))


def quick(options: dict[str, Any]) -> Client:
    """A client that does not wait for anything to pass."""
    return Client(replace(Settings.resolve(options, {}), patience=0.0))


def wait_for_status(server: OpenBao, sealed: bool) -> None:
    deadline = time.monotonic() + 60
    options = {"address": server.address, "ca_cert": str(server.ca_cert)}
    with Client(replace(Settings.resolve({**options, "token_file": "/none"}, {}))) as client:
        while time.monotonic() < deadline:
            try:
                if client.health().get("sealed") is sealed:
                    return
            except PkiError:
                time.sleep(0.1)
    raise RuntimeError(server.last_log_lines())


@pytest.fixture(scope="module")
def place(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    sealed = OpenBao(tmp_path_factory.mktemp("sealed"))
    uninitialised = OpenBao(tmp_path_factory.mktemp("uninitialised"))
    key = f"table-{secrets.token_hex(4)}"
    with openbao.client("pipeline") as pipeline:
        body = {"type": "rsa-2048", "exportable": True}
        pipeline.write(f"{TLS_MOUNT}/keys/{key}", body, idempotent=True)
    try:
        sealed.prepare()
        sealed.start()
        with sealed.client("operator") as operator:
            operator.write("sys/seal")
        uninitialised.prepare()
        file = uninitialised.directory / "openbao.hcl"
        file.write_text(file.read_text().split("initialize ", 1)[0])
        uninitialised.start(wait=False)
        wait_for_status(uninitialised, sealed=True)
        folder = tmp_path_factory.mktemp("table")
        yield Place(openbao, sealed, uninitialised, folder, key)
    finally:
        sealed.kill()
        uninitialised.kill()


@contextmanager
def peer(place: Place, answer: Answer, scheme: str = "http") -> Iterator[Client]:
    with scripted(answer) as server:
        address = server.address.replace("http:", f"{scheme}:")
        with place.as_token(address) as client:
            yield client


@contextmanager
def silent(place: Place) -> Iterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with place.as_token(address, timeout="0.3") as client:
            yield client


def unwrapped_twice(client: Client, place: Place) -> None:
    with place.as_role("release") as release:
        token = release.wrap(f"{EXPORT}/{place.key}/1", 60).token
    client.write("sys/wrapping/unwrap", {"token": token})
    client.write("sys/wrapping/unwrap", {"token": token})


def written_twice(client: Client, place: Place) -> None:
    entry = {"data": {"a": "b"}, "options": {"cas": 0}}
    path = f"{KV_MOUNT}/data/compromised/{secrets.token_hex(32)}"
    with place.as_role("operator") as first:
        first.write(path, entry, idempotent=True)
        first.write(path, entry, idempotent=True)


def other_ca(place: Place) -> str:
    folder = place.folder / f"ca-{secrets.token_hex(4)}"
    folder.mkdir()
    return str(make_tls(folder))


def wrong_secret(place: Place) -> str:
    path = place.folder / f"secret-{secrets.token_hex(4)}"
    write_secret(path, secrets.token_hex(24).encode())
    return str(path)


Do = Callable[[Client, Place], object]
KEY = f"{TLS_MOUNT}/keys/absent"


def read(client: Client, _place: Place) -> object:
    return client.read(KEY)


#: situation, client, call, rule, a piece of the message, a piece of found, a piece of next step
ROWS: list[tuple[str, Callable[[Place], Any], Do, str, str, str, str]] = [
    ("sealed", lambda p: p.trusting(p.sealed), read,
     "VAULT-SEALED", "sealed", "Vault is sealed", "unseal"),
    # It calls itself sealed; only its health says more.
    ("not initialised", lambda p: p.trusting(p.uninitialised), read,
     "VAULT-UNINITIALISED", "never been initialised", "Vault is sealed", "initialise the server"),
    ("not initialised, by its words",
     lambda p: peer(p, Answer(503, b'{"errors": ["Vault is not initialized"]}')), read,
     "VAULT-UNINITIALISED", "never been initialised", "HTTP 503", "initialise the server"),
    ("refused", lambda p: p.as_token(f"https://127.0.0.1:{free_port()}"), read,
     "VAULT-UNREACHABLE", "cannot be reached", "connection refused", "firewall"),
    ("unknown name", lambda p: p.as_token("https://vault.invalid:8200"), read,
     "VAULT-UNREACHABLE", "cannot be reached", "does not resolve", "name resolution"),
    ("leader lost", lambda p: peer(p, Answer(500, NO_LEADER)), read,
     "VAULT-NO-LEADER", "no active node", "local node not active", "election"),
    ("connection lost", lambda p: peer(p, Answer(0)), read,
     "VAULT-UNREACHABLE", "broke before the answer", "", "restarted"),
    ("plain http to the TLS port",
     lambda p: p.as_token(f"http://127.0.0.1:{p.openbao.port}"), read,
     "VAULT-TLS", "plain http", "HTTP 400", "https://"),
    ("https to a plain port", lambda p: peer(p, Answer(200, b"{}"), "https"), read,
     "VAULT-TLS", "does not speak TLS", "", "host and port"),
    ("unknown CA", lambda p: p.as_role("pipeline", ca_cert=other_ca(p)), read,
     "VAULT-TLS", "not trusted", "", "never skip verification"),
    ("CA file absent", lambda p: p.as_role("pipeline", ca_cert="/nonexistent/ca.pem"), read,
     "VAULT-TLS", "CA file", "No such file", "ca_cert"),
    ("timeout", silent, read,
     "VAULT-TIMEOUT", "in time", "silence", "raise the option timeout"),
    ("denied", lambda p: p.as_role("release"), read,
     "VAULT-DENIED", "denied", "it may: deny", "policy of this identity"),
    ("bad token", lambda p: p.trusting(p.openbao), read,
     "VAULT-TOKEN", "does not know the token", "HTTP 403", "issue a new one"),
    ("wrong mount", lambda p: p.as_role("operator"),
     lambda client, _place: client.read("no-mount/keys/a"),
     "VAULT-NO-MOUNT", "no secrets engine", "no handler for route", "namespace"),
    ("no such key to release", lambda p: p.as_role("release"),
     lambda client, _place: client.wrap(f"{EXPORT}/absent/1", 60),
     "VAULT-NOT-FOUND", "nothing under this name", "HTTP 404", "makes missing keys"),
    ("no such key to sign with", lambda p: p.as_role("pipeline"),
     lambda client, _place: client.write(f"{TLS_MOUNT}/sign/absent/sha2-256", {"input": "AAAA"}),
     "VAULT-NOT-FOUND", "nothing under this name", "not found", "makes missing keys"),
    ("wrong namespace", lambda p: p.as_role("pipeline", namespace="nowhere"), read,
     "VAULT-NAMESPACE", "namespace does not exist", "namespace not found", "BAO_NAMESPACE"),
    ("wrapping token used twice", lambda p: p.as_role("pipeline"), unwrapped_twice,
     "VAULT-WRAP-USED", "used already or has expired", "wrapping token", "possible interception"),
    ("bad AppRole",
     lambda p: p.as_role("pipeline", secret_id_file=wrong_secret(p)), read,
     "VAULT-LOGIN", "refused the login", "invalid role or secret ID", "used up, expired"),
    ("check-and-set", lambda p: p.as_role("operator"), written_twice,
     "VAULT-CAS", "somebody else wrote", "check-and-set", "read the entry again"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_situation_has_its_rule_its_words_and_its_next_step(
    place: Place, row: tuple[str, Any, Do, str, str, str, str]
) -> None:
    _situation, made, call, rule, message, found, next_step = row
    with made(place) as client, pytest.raises(PkiError) as caught:
        call(client, place)
    error = caught.value
    assert error.rule == rule, str(error)
    assert message in error.message
    assert found in error.found
    assert next_step in error.next_step
    assert error.where
    assert error.expected


def test_an_absent_key_is_an_answer_when_it_is_only_looked_for(place: Place) -> None:
    with place.as_role("pipeline") as client:
        assert client.read(KEY) is None
