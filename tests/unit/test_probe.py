# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe says about real TLS servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pki import probe
from pki.errors import PkiError

NAME = "gw.example"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Issued:
    """A certificate and key on disk and in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    identity: probe.ClientIdentity

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def issue(folder: Path, name: str, issuer: Issued | None = None) -> Issued:
    """A CA (no issuer) or a leaf for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    identity = probe.ClientIdentity(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    Path(identity.certificate_file).write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
    )
    Path(identity.key_file).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Issued(certificate, key, identity)


@dataclass(frozen=True)
class Pki:
    ca: Issued
    server: Issued
    client: Issued
    foreign: Issued


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    ca = issue(folder, "ca.example")
    return Pki(
        ca,
        issue(folder, NAME, ca),
        issue(folder, "client.example", ca),
        issue(folder, "foreign.example"),
    )


def server_context(
    pki: Pki, minimum: str = "TLSv1.2", maximum: str = "TLSv1.3", *, client: bool = False
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.identity.certificate_file, pki.server.identity.key_file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = probe.VERSIONS[maximum]
        context.minimum_version = probe.VERSIONS[minimum]
    if minimum in ("TLSv1", "TLSv1.1"):
        context.set_ciphers("ALL:@SECLEVEL=0")
    if client:
        context.load_verify_locations(cadata=pki.ca.pem)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def reply(data: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)

    return handle


@contextlib.contextmanager
def serve(
    handle: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server of one connection at a time on a free port; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stopping = threading.Event()

    def one(connection: socket.socket) -> None:
        connection.settimeout(3)
        # A refused handshake or a client that hangs up is what these tests provoke.
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if context is None:
                handle(connection)
                return
            with context.wrap_socket(connection, server_side=True) as tls:
                handle(tls)
                with contextlib.suppress(OSError):
                    tls.unwrap()

    def run() -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                one(listener.accept()[0])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        thread.join()
        listener.close()


def test_a_good_answer_is_observed_with_protocol_status_body_and_the_peers_leaf(pki: Pki) -> None:
    with serve(reply(OK), server_context(pki, client=True)) as port:
        seen = probe.connect(
            "127.0.0.1",
            port,
            server_name=NAME,
            anchors_pem=pki.ca.pem,
            client=pki.client.identity,
        )
    leaf = pki.server.certificate
    assert seen.reached
    assert (seen.protocol, seen.http_status, seen.body) == ("TLSv1.3", 200, b"hello")
    assert (seen.alert, seen.local_error, seen.closed, seen.resumed) == (None, "", False, False)
    assert seen.peer_serial == format(leaf.serial_number, "x")
    der = leaf.public_bytes(serialization.Encoding.DER)
    assert seen.peer_sha256 == sha256(der).hexdigest()
    assert seen.peer_not_after == leaf.not_valid_after_utc


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_an_old_version_refused_by_the_peer_is_alert_70_and_not_our_own_refusal(
    pki: Pki, version: str
) -> None:
    with serve(reply(OK), server_context(pki)) as port:
        seen = probe.connect(
            "127.0.0.1", port, server_name=NAME, legacy=True, minimum=version, maximum=version
        )
    assert (seen.alert, seen.local_error, seen.protocol) == (70, "", None)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_the_legacy_client_really_speaks_the_old_versions(pki: Pki, version: str) -> None:
    with serve(reply(OK), server_context(pki, "TLSv1", "TLSv1.1")) as port:
        seen = probe.connect(
            "127.0.0.1", port, server_name=NAME, legacy=True, minimum=version, maximum=version
        )
    assert (seen.protocol, seen.http_status, seen.alert) == (version, 200, None)


def test_a_version_our_own_library_refuses_is_a_local_error_and_never_an_alert(pki: Pki) -> None:
    with serve(reply(OK), server_context(pki)) as port:
        seen = probe.connect(
            "127.0.0.1", port, server_name=NAME, minimum="TLSv1", maximum="TLSv1.1"
        )
    assert seen.reached
    assert seen.alert is None
    assert seen.local_error


@pytest.mark.parametrize(("version", "alert"), [("TLSv1.2", 40), ("TLSv1.3", 116)])
def test_a_missing_client_certificate_is_seen_in_both_versions(
    pki: Pki, version: str, alert: int
) -> None:
    """In TLS 1.3 the client's handshake succeeds and only reading shows the refusal."""
    with serve(reply(OK), server_context(pki, client=True)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME, minimum=version, maximum=version)
    assert (seen.alert, seen.http_status) == (alert, None)


def test_a_client_certificate_of_another_ca_is_refused_with_unknown_ca(pki: Pki) -> None:
    with serve(reply(OK), server_context(pki, client=True)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME, client=pki.foreign.identity)
    assert seen.alert == 48


@pytest.mark.parametrize("anchors", ["foreign", "wrong name"])
def test_a_peer_we_do_not_trust_is_our_refusal(pki: Pki, anchors: str) -> None:
    pem = pki.foreign.pem if anchors == "foreign" else pki.ca.pem
    name = NAME if anchors == "foreign" else "other.example"
    with serve(reply(OK), server_context(pki)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=name, anchors_pem=pem)
    assert seen.local_error.startswith("peer not trusted: ")
    assert (seen.alert, seen.http_status) == (None, None)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_kept_from_one_connection_resumes_the_next(pki: Pki, version: str) -> None:
    with serve(reply(OK), server_context(pki)) as port:
        first = probe.connect("127.0.0.1", port, server_name=NAME, minimum=version, maximum=version)
        assert first.session is not None
        again = probe.connect("127.0.0.1", port, server_name=NAME, session=first.session)
    assert (first.resumed, again.resumed, again.protocol) == (False, True, version)
    assert again.http_status == 200


def test_a_server_without_resumption_makes_a_full_handshake_of_an_offered_session(
    pki: Pki,
) -> None:
    # A context per server: the second one cannot read what the first one sealed.
    with serve(reply(OK), server_context(pki)) as port:
        first = probe.connect("127.0.0.1", port, server_name=NAME)
    with serve(reply(OK), server_context(pki)) as port:
        again = probe.connect("127.0.0.1", port, server_name=NAME, session=first.session)
    assert (again.resumed, again.http_status) == (False, 200)


def test_nobody_listening_is_an_observation() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert not seen.reached
    assert seen.local_error.startswith("no TCP connection: ")


def test_a_peer_that_hangs_up_before_answering_is_closed_and_nothing_else(pki: Pki) -> None:
    with serve(lambda _connection: None, server_context(pki)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert seen.closed
    assert (seen.http_status, seen.alert, seen.local_error) == (None, None, "")


def test_a_peer_that_hangs_up_during_the_handshake_is_closed() -> None:
    with serve(lambda connection: connection.close()) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert (seen.reached, seen.closed, seen.protocol) == (True, True, None)


@pytest.mark.parametrize("silence", ["handshake", "answer", "drip"])
def test_a_silent_peer_costs_no_more_than_the_timeout(pki: Pki, silence: str) -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(20):
            connection.sendall(b"H")
            time.sleep(0.1)

    handle = drip if silence == "drip" else lambda _connection: time.sleep(1.5)
    context = None if silence == "handshake" else server_context(pki)
    with serve(handle, context) as port:
        started = time.monotonic()
        seen = probe.connect("127.0.0.1", port, server_name=NAME, timeout=0.5)
        elapsed = time.monotonic() - started
    assert elapsed < 1.2
    assert seen.http_status is None
    assert seen.local_error == ("the answer is not HTTP" if silence == "drip" else "timed out")


def test_an_answer_of_announced_length_is_not_waited_for_after_its_end(pki: Pki) -> None:
    def keep_open(connection: socket.socket) -> None:
        reply(OK)(connection)
        time.sleep(1.5)

    with serve(keep_open, server_context(pki)) as port:
        started = time.monotonic()
        seen = probe.connect("127.0.0.1", port, server_name=NAME, timeout=3)
        elapsed = time.monotonic() - started
    assert (seen.http_status, seen.body) == (200, b"hello")
    assert elapsed < 1.2


def test_a_chunked_body_is_put_together(pki: Pki) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    with serve(reply(answer), server_context(pki)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert (seen.http_status, seen.body) == (200, b"hello")


def test_no_more_of_a_body_is_kept_than_the_limit(pki: Pki) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (3 * probe.BODY_LIMIT)
    with serve(reply(endless), server_context(pki)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert seen.http_status == 200
    assert probe.BODY_LIMIT // 2 < len(seen.body) <= probe.BODY_LIMIT


def test_an_answer_that_is_not_http_is_said_to_be_none(pki: Pki) -> None:
    with serve(reply(b"SSH-2.0-x\r\n"), server_context(pki)) as port:
        seen = probe.connect("127.0.0.1", port, server_name=NAME)
    assert (seen.http_status, seen.local_error) == (None, "the answer is not HTTP")


def test_plain_http_is_asked_on_loopback() -> None:
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with serve(handle) as port:
        seen = probe.request("127.0.0.1", port, host="api.example", request_path="/x?y=1")
    assert (seen.http_status, seen.protocol, seen.peer_serial) == (502, None, None)
    assert asked[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: api.example\r\n")


def test_served_names_the_leaf_without_trusting_anybody(pki: Pki) -> None:
    with serve(reply(OK), server_context(pki)) as port:
        seen = probe.served("127.0.0.1", port, NAME)
    der = pki.server.certificate.public_bytes(serialization.Encoding.DER)
    assert seen == probe.Served(
        sha256(der).hexdigest(),
        format(pki.server.certificate.serial_number, "x"),
        pki.server.certificate.not_valid_after_utc,
    )


def test_served_says_why_it_saw_no_certificate() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        seen = probe.served("127.0.0.1", unused.getsockname()[1], NAME)
    assert seen.sha256 is None
    assert seen.error.startswith("no TCP connection: ")


def test_a_missing_client_key_is_an_error_of_the_caller(pki: Pki, tmp_path: Path) -> None:
    identity = probe.ClientIdentity(
        pki.client.identity.certificate_file, str(tmp_path / "absent.key")
    )
    with pytest.raises(PkiError) as caught:
        probe.connect("127.0.0.1", 1, server_name=NAME, client=identity)
    assert caught.value.rule == "PROBE-CLIENT"


def test_an_encrypted_client_key_is_refused_instead_of_asking_at_the_terminal(
    pki: Pki, tmp_path: Path
) -> None:
    sealed = tmp_path / "sealed.key"
    sealed.write_bytes(
        pki.client.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x" * 8),
        )
    )
    identity = probe.ClientIdentity(pki.client.identity.certificate_file, str(sealed))
    with pytest.raises(PkiError) as caught:
        probe.connect("127.0.0.1", 1, server_name=NAME, client=identity)
    assert caught.value.rule == "PROBE-CLIENT"


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(PkiError) as caught:
        probe.connect("127.0.0.1", 1, server_name=NAME, minimum="SSLv3")
    assert caught.value.rule == "PROBE-VERSION"
    assert "SSLv3" in str(caught.value)
