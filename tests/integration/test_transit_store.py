# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in a real transit engine: made once, signing for ever, leaving only wrapped."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import secrets
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asym_utils
from integration.loopback import Relay
from integration.openbao_server import SIGNING_MOUNT, TLS_MOUNT, OpenBao
from integration.own_ports import free_port
from pki.errors import PkiError
from pki.stores.base import KeyRecord
from pki.stores.transit import TransitStore, mount_for
from pki.vault import Client, Settings, WrapInfo

pytestmark = pytest.mark.integration
SHA256 = hashes.SHA256()
V15 = padding.PKCS1v15()


@pytest.fixture(scope="module")
def client(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("pipeline") as client:
        yield client


@pytest.fixture(scope="module")
def operator(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("operator") as client:
        yield client


@pytest.fixture(scope="module")
def store(client: Client) -> TransitStore:
    """RSA-2048 where the size is not the point: RSA-4096 takes seconds to make."""
    return TransitStore(client, TLS_MOUNT, key_type="rsa-2048", exportable=True)


@pytest.fixture
def name() -> str:
    return f"cert-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def rotated(store: TransitStore) -> KeyRecord:
    """A key with two versions, for the tests that only look at it."""
    return store.ensure(f"rotated-{secrets.token_hex(4)}", 2)


def refused(call: Any, rule: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    error = caught.value
    assert error.rule == rule, str(error)
    assert all(error.as_result().values()), str(error)
    return error


def public_key(record: KeyRecord, version: int) -> rsa.RSAPublicKey:
    key = serialization.load_der_public_key(record.versions[version].spki_der)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


# Making


def test_the_default_is_a_4096_bit_key_that_the_engine_describes(client: Client, name: str) -> None:
    before = datetime.datetime.now(datetime.UTC)
    record = TransitStore(client, SIGNING_MOUNT, exportable=False).ensure(name, 1)
    assert (record.name, record.type, record.exportable) == (name, "rsa-4096", False)
    assert list(record.versions) == [1]
    assert public_key(record, 1).key_size == 4096
    created = record.versions[1].created
    assert created.utcoffset() == datetime.timedelta(0)
    assert before <= created <= datetime.datetime.now(datetime.UTC)


def test_an_absent_key_is_described_as_none_and_is_not_among_the_names(
    store: TransitStore, name: str
) -> None:
    assert store.describe(name) is None
    assert name not in store.names()
    record = store.ensure(name, 1)
    assert store.describe(name) == record
    assert name in store.names()


def test_ensuring_again_makes_no_second_version(store: TransitStore, name: str) -> None:
    first = store.ensure(name, 1)
    assert store.ensure(name, 1) == first


def test_a_wanted_version_is_reached_by_as_many_rotations_as_it_takes(
    store: TransitStore, name: str
) -> None:
    first = store.ensure(name, 1)
    third = store.ensure(name, 3)
    assert list(third.versions) == [1, 2, 3]
    assert third.versions[1] == first.versions[1]
    assert len({version.spki_der for version in third.versions.values()}) == 3


def test_a_newer_version_than_wanted_is_an_error_that_says_who_may_have_made_it(
    store: TransitStore, rotated: KeyRecord
) -> None:
    error = refused(lambda: store.ensure(rotated.name, 1), "KEY-VERSION")
    assert error.found == "version 2 as the newest"
    assert f"{TLS_MOUNT}/keys/{rotated.name}/rotate" in error.next_step
    assert store.describe(rotated.name) == rotated


def test_automatic_rotation_is_named_when_it_is_on(
    store: TransitStore, operator: Client, name: str
) -> None:
    store.ensure(name, 2)
    operator.write(f"{TLS_MOUNT}/keys/{name}/config", {"auto_rotate_period": "720h"})
    assert (
        "auto_rotate_period is 2592000 s"
        in refused(lambda: store.ensure(name, 1), "KEY-VERSION").found
    )


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({"type": "rsa-2048", "exportable": False}, "rsa-2048, not exportable"),
        ({"type": "rsa-3072", "exportable": True}, "rsa-3072, exportable"),
        ({"type": "ecdsa-p256", "exportable": True}, "ecdsa-p256, exportable"),
        ({"type": "ed25519", "exportable": True}, "ed25519, exportable"),
        ({"type": "aes256-gcm96", "exportable": True}, "aes256-gcm96, exportable"),
    ],
)
def test_a_key_of_another_kind_is_refused_and_left_as_it_is(
    store: TransitStore, operator: Client, name: str, made: dict[str, object], found: str
) -> None:
    path = f"{TLS_MOUNT}/keys/{name}"
    operator.write(path, made)
    before = operator.read(path)
    for version in (1, 2):
        error = refused(lambda version=version: store.ensure(name, version), "KEY-TYPE")
        assert (error.found, error.expected) == (found, "rsa-2048, exportable")
    assert operator.read(path) == before
    described = store.describe(name)
    assert described is not None
    assert described.type == made["type"]


def test_two_runs_at_once_make_one_key(openbao: OpenBao, name: str) -> None:
    records: list[KeyRecord] = []

    def run() -> None:
        with openbao.client("pipeline") as own:
            records.append(
                TransitStore(own, TLS_MOUNT, "rsa-2048", exportable=True).ensure(name, 1)
            )

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records) == 3
    assert records[0] == records[1] == records[2]


@pytest.fixture
def relay(openbao: OpenBao) -> Iterator[Relay]:
    relay = Relay(openbao.port)
    yield relay
    relay.close()


class Interrupted(Client):
    """A client whose writes arrive while something happens to their answers."""

    interrupt: threading.Event

    def write(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        idempotent: bool = False,
        *,
        seconds: float = 0.0,
    ) -> dict[str, Any]:
        self.interrupt.set()
        return super().write(path, data, idempotent, seconds=seconds)


def interrupted(openbao: OpenBao, relay: Relay, interrupt: threading.Event) -> Interrupted:
    options = {**openbao.options("pipeline"), "address": relay.address, "timeout": "2"}
    settings = dataclasses.replace(Settings.resolve(options, {}), patience=0.0)
    client = Interrupted(settings)
    client.interrupt = interrupt
    return client


def test_after_a_timeout_the_next_run_ends_with_one_version(
    openbao: OpenBao, relay: Relay, store: TransitStore, name: str
) -> None:
    with interrupted(openbao, relay, relay.withhold_answers) as own:
        hasty = TransitStore(own, TLS_MOUNT, "rsa-2048", exportable=True, creation_seconds=2.0)
        refused(lambda: hasty.ensure(name, 1), "VAULT-TIMEOUT")
        relay.withhold_answers.clear()
    assert list(store.ensure(name, 1).versions) == [1]


def test_a_rotation_whose_answer_was_lost_is_found_and_not_done_again(
    openbao: OpenBao, relay: Relay, store: TransitStore, name: str
) -> None:
    store.ensure(name, 1)
    with interrupted(openbao, relay, relay.lose_next_answer) as own:
        record = TransitStore(own, TLS_MOUNT, "rsa-2048", exportable=True).ensure(name, 2)
        assert not relay.lose_next_answer.is_set()
    assert list(record.versions) == [1, 2]


class Standby:
    """The real client, but what was written shows only after ``lag`` seconds."""

    def __init__(self, client: Client, lag: float) -> None:
        self.client, self.lag, self.fresh_at = client, lag, 0.0
        self.known: dict[str, dict[str, Any] | None] = {}

    def read(self, path: str) -> dict[str, Any] | None:
        if time.monotonic() >= self.fresh_at or path not in self.known:
            self.known[path] = self.client.read(path)
        return self.known[path]

    def list(self, path: str) -> list[str]:
        return self.client.list(path)

    def write(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        idempotent: bool = False,
        *,
        seconds: float = 0.0,
    ) -> dict[str, Any]:
        answer = self.client.write(path, data, idempotent, seconds=seconds)
        self.fresh_at = time.monotonic() + self.lag
        return answer

    def wrap(self, path: str, ttl_seconds: int) -> WrapInfo:
        return self.client.wrap(path, ttl_seconds)


def test_a_standby_that_lags_behind_is_waited_for_and_no_version_is_made_twice(
    client: Client, name: str
) -> None:
    lagging = TransitStore(Standby(client, 0.2), TLS_MOUNT, "rsa-2048", exportable=True)
    assert list(lagging.ensure(name, 2).versions) == [1, 2]


def test_a_standby_that_never_catches_up_is_an_error_and_no_second_rotation(
    client: Client, store: TransitStore, name: str
) -> None:
    stuck = TransitStore(Standby(client, 3600), TLS_MOUNT, "rsa-2048", exportable=True)
    refused(lambda: stuck.ensure(name, 1), "KEY-NOT-FOUND")
    stuck = TransitStore(Standby(client, 3600), TLS_MOUNT, "rsa-2048", exportable=True)
    refused(lambda: stuck.ensure(name, 3), "KEY-VERSION")
    described = store.describe(name)
    assert described is not None
    assert list(described.versions) == [1, 2]


def test_a_key_that_was_marked_as_deleted_is_not_quietly_taken_up_again(
    openbao: OpenBao, store: TransitStore, operator: Client, name: str
) -> None:
    store.ensure(name, 1)
    own = operator.read("auth/token/lookup-self")
    assert own is not None
    deletion = urllib.request.Request(
        f"{openbao.address}/v1/{TLS_MOUNT}/keys/{name}/soft-delete",
        method="DELETE",
        headers={"X-Vault-Token": own["id"]},
    )
    context = ssl.create_default_context(cafile=str(openbao.ca_cert))
    with urllib.request.urlopen(deletion, context=context) as answer:
        assert answer.status < 300
    error = refused(lambda: store.ensure(name, 1), "KEY-DELETED")
    assert "soft-delete-restore" in error.next_step


@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a b", ".a", "a-", "*", "ä", "a\n"])
def test_a_name_that_transit_would_read_otherwise_is_refused(store: TransitStore, bad: str) -> None:
    for call in (store.describe, lambda bad: store.ensure(bad, 1)):
        refused(lambda call=call: call(bad), "KEY-NAME")


def test_versions_are_counted_from_one(store: TransitStore, name: str) -> None:
    refused(lambda: store.ensure(name, 0), "KEY-VERSION")
    assert store.describe(name) is None


# Signing


def request_for(key: rsa.RSAPrivateKey) -> x509.CertificateSigningRequest:
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "energydip-nonprod.example")])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
        .add_extension(usage, critical=True)
        .sign(key, SHA256)
    )


def test_openssl_accepts_a_request_signed_in_the_engine(
    store: TransitStore, rotated: KeyRecord, tmp_path: Path
) -> None:
    request = request_for(store.signing_key(rotated.name, 1))
    path = tmp_path / "request.csr"
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    shown = subprocess.run(
        ["openssl", "req", "-in", str(path), "-noout", "-verify", "-text"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verify OK" in shown.stdout + shown.stderr
    assert "DNS:a.example" in shown.stdout
    assert "X509v3 Key Usage: critical" in shown.stdout
    assert "sha256WithRSAEncryption" in shown.stdout


def test_the_same_request_is_the_same_bytes_every_time(
    store: TransitStore, rotated: KeyRecord
) -> None:
    der = serialization.Encoding.DER
    first, second = (
        request_for(store.signing_key(rotated.name, 2)).public_bytes(der) for _ in range(2)
    )
    assert first == second


def test_an_older_version_goes_on_signing_beside_the_newest(
    store: TransitStore, rotated: KeyRecord
) -> None:
    for version in (1, 2):
        key = store.signing_key(rotated.name, version)
        signature = key.sign(b"message", V15, SHA256)
        public_key(rotated, version).verify(signature, b"message", V15, SHA256)
        assert key.public_key() == public_key(rotated, version)
        assert key.key_size == 2048


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_a_ready_digest_is_signed_like_the_message_itself(
    store: TransitStore, rotated: KeyRecord, algorithm: hashes.HashAlgorithm
) -> None:
    key = store.signing_key(rotated.name, 1)
    digest = hashes.Hash(algorithm)
    digest.update(b"message")
    prehashed = key.sign(digest.finalize(), V15, asym_utils.Prehashed(algorithm))
    assert prehashed == key.sign(b"message", V15, algorithm)
    public_key(rotated, 1).verify(prehashed, b"message", V15, algorithm)


def test_a_copy_of_the_handle_signs_the_same(store: TransitStore, rotated: KeyRecord) -> None:
    key = store.signing_key(rotated.name, 1)
    for twin in (copy.copy(key), copy.deepcopy(key)):
        assert twin.sign(b"m", V15, SHA256) == key.sign(b"m", V15, SHA256)


def test_what_the_handle_cannot_do_it_says_in_words(
    store: TransitStore, rotated: KeyRecord
) -> None:
    key = store.signing_key(rotated.name, 1)
    pss = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)
    clear = serialization.NoEncryption()
    wishes = [
        lambda: key.sign(b"m", pss, SHA256),
        lambda: key.sign(b"m", V15, hashes.SHA1()),
        lambda: key.sign(b"too short", V15, asym_utils.Prehashed(SHA256)),
        lambda: key.decrypt(b"c", V15),
        key.private_numbers,
        lambda: key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, clear
        ),
    ]
    for wish in wishes:
        assert rotated.name in refused(wish, "KEY-OPERATION").message


def test_a_signature_of_a_replaced_key_is_noticed(
    store: TransitStore, operator: Client, name: str
) -> None:
    store.ensure(name, 1)
    key = store.signing_key(name, 1)
    path = f"{TLS_MOUNT}/keys/{name}"
    backup_of = f"{TLS_MOUNT}/keys/{name}-other"
    operator.write(backup_of, {"type": "rsa-2048", "exportable": True})
    operator.write(f"{backup_of}/config", {"allow_plaintext_backup": True})
    backup = operator.read(f"{TLS_MOUNT}/backup/{name}-other")
    assert backup is not None
    restore = {"backup": backup["backup"], "force": True}
    operator.write(f"{TLS_MOUNT}/restore/{name}", restore)
    assert operator.read(path) is not None
    refused(lambda: key.sign(b"m", V15, SHA256), "KEY-SIGNATURE")


def test_a_version_that_was_never_made_or_was_archived_does_not_sign(
    store: TransitStore, operator: Client, name: str
) -> None:
    refused(lambda: store.signing_key(name, 1), "KEY-NOT-FOUND")
    store.ensure(name, 2)
    assert "versions 1, 2" in refused(lambda: store.signing_key(name, 3), "KEY-VERSION").found
    operator.write(f"{TLS_MOUNT}/keys/{name}/config", {"min_decryption_version": 2})
    assert "versions 2" in refused(lambda: store.signing_key(name, 1), "KEY-VERSION").found
    assert store.ensure(name, 2).versions.keys() == {2}


def test_a_key_that_is_not_rsa_does_not_pose_as_one(
    store: TransitStore, operator: Client, name: str
) -> None:
    operator.write(f"{TLS_MOUNT}/keys/{name}", {"type": "ecdsa-p256", "exportable": True})
    refused(lambda: store.signing_key(name, 1), "KEY-TYPE")


# Leaving


def test_a_released_key_is_the_key_of_the_record(
    openbao: OpenBao, client: Client, rotated: KeyRecord
) -> None:
    with openbao.client("release") as releasing:
        store = TransitStore(releasing, TLS_MOUNT, "rsa-2048", exportable=True)
        info = store.wrap(rotated.name, 1, 30)
        assert info.creation_path == store.release_path(rotated.name, 1)
    opened = client.write("sys/wrapping/unwrap", {"token": info.token})
    key = serialization.load_pem_private_key(opened["keys"]["1"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key() == public_key(rotated, 1)
    assert set(opened["keys"]) == {"1"}


def test_the_release_path_names_mount_key_and_version(store: TransitStore) -> None:
    expected = "transit-nonprod-tls/export/signing-key/dip-nonprod/2"
    assert store.release_path("dip-nonprod", 2) == expected


def test_the_pipeline_cannot_release(store: TransitStore, rotated: KeyRecord) -> None:
    refused(lambda: store.wrap(rotated.name, 1, 30), "VAULT-DENIED")


def test_a_store_of_signing_keys_refuses_release_without_asking_the_server(
    openbao: OpenBao,
) -> None:
    with openbao.client("release", address=f"https://127.0.0.1:{free_port()}") as nowhere:
        store = TransitStore(nowhere, SIGNING_MOUNT, exportable=False)
        for call in (lambda: store.wrap("a", 1, 30), lambda: store.release_path("a", 1)):
            assert SIGNING_MOUNT in refused(call, "KEY-OPERATION").found


def test_the_pipeline_cannot_make_an_exportable_signing_key(client: Client, name: str) -> None:
    wrong = TransitStore(client, SIGNING_MOUNT, "rsa-2048", exportable=True)
    refused(lambda: wrong.ensure(name, 1), "VAULT-DENIED")
    assert wrong.describe(name) is None


@pytest.mark.parametrize(
    ("purposes", "mount"),
    [
        (["mtls"], "transit-prod-tls"),
        (["mtls", "signing"], "transit-prod-tls"),
        (["signing"], "transit-prod-signing"),
    ],
)
def test_a_key_lives_where_its_purposes_put_it(purposes: list[str], mount: str) -> None:
    assert mount_for("prod", purposes) == mount


def test_names_are_one_list_and_a_description_is_one_read(client: Client) -> None:
    """One call however many keys there are: counted at the client's own door."""
    calls: list[str] = []

    class Counting(Standby):
        def read(self, path: str) -> dict[str, Any] | None:
            calls.append(f"read {path}")
            return super().read(path)

        def list(self, path: str) -> list[str]:
            calls.append(f"list {path}")
            return super().list(path)

    store = TransitStore(Counting(client, 0.0), TLS_MOUNT, "rsa-2048", exportable=True)
    assert len(store.names()) > 1
    assert calls == [f"list {TLS_MOUNT}/keys"]
    store.describe("any")
    assert calls[1:] == [f"read {TLS_MOUNT}/keys/any"]
