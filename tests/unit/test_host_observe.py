# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of itself: TLS asked by hand, handshakes, log retention, keys and CRL sets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from cryptography.hazmat.primitives.serialization import Encoding as Enc
from cryptography.hazmat.primitives.serialization import PrivateFormat as Form
from pki_host import files, handshake, hello, logrotate, observe_files, observe_host
from unit import pki_factory as factory
from unit.controller_world import spki

ISSUING = factory.authority("Example Root").authority("Example Issuing")
NAME = "gw.example"
OLD, NEW = "TLSv1.1", "TLSv1.3"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> handshake.Identity:
    folder = tmp_path_factory.mktemp("identity")
    leaf = factory.pem(ISSUING.leaf())
    (folder / "chain.pem").write_bytes(leaf + ISSUING.pem)
    key = factory.key("leaf").private_bytes(Enc.PEM, Form.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    return handshake.Identity(str(folder / "chain.pem"), str(folder / "key.pem"))


def server(
    identity: handshake.Identity, minimum: str, maximum: str, *, wants: bool = False
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.set_ciphers("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion(hello.VERSIONS[maximum])
        context.minimum_version = ssl.TLSVersion(hello.VERSIONS[minimum])
    if wants:
        context.load_verify_locations(cadata=ISSUING.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of one connection after the other on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(3)
                with connection, contextlib.suppress(OSError):
                    handle(connection)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stopping.set()
        thread.join()
        listener.close()


def speaking(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(REFUSAL)

    return handle


def outcomes(port: int) -> dict[str, str]:
    return {
        version: hello.offer(
            "127.0.0.1",
            port,
            NAME,
            number,
            hello.MODERN if number == hello.NEWEST else hello.CLASSIC,
        ).outcome
        for version, number in hello.VERSIONS.items()
    }


# -- the first message ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minimum", "maximum", "accepted"),
    [
        ("TLSv1.2", "TLSv1.3", {"TLSv1.2", "TLSv1.3"}),
        ("TLSv1.2", "TLSv1.2", {"TLSv1.2"}),
        ("TLSv1.3", "TLSv1.3", {"TLSv1.3"}),
        ("TLSv1", "TLSv1.2", {"TLSv1", "TLSv1.1", "TLSv1.2"}),
    ],
)
def test_exactly_the_versions_that_a_server_speaks_are_accepted(
    identity: handshake.Identity, minimum: str, maximum: str, accepted: set[str]
) -> None:
    with serving(speaking(server(identity, minimum, maximum))) as port:
        found = outcomes(port)
    assert {version for version, outcome in found.items() if outcome == "accepted"} == accepted
    assert set(found.values()) <= {"accepted", "refused"}


def test_every_suite_is_found_the_ones_a_library_would_not_offer_too(
    identity: handshake.Identity,
) -> None:
    with serving(speaking(server(identity, "TLSv1.2", "TLSv1.2"))) as port:
        numbers = hello.suites_of("127.0.0.1", port, NAME, hello.VERSIONS["TLSv1.2"])
    assert set(hello.suite_names(numbers)) == {"AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"}


def test_a_suite_without_a_name_is_told_by_its_number() -> None:
    assert hello.suite_names([0xC0B5]) == ["0xC0B5"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x15",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00",
    ],
)
def test_what_is_no_server_hello_accepts_nothing(answer: bytes) -> None:
    assert hello.answer_of(answer, hello.NEWEST).outcome == "refused"


def test_an_alert_is_told_by_its_number() -> None:
    assert hello.answer_of(b"\x15\x03\x03\x00\x02\x02\x46", hello.NEWEST).alert == 0x46


def test_a_server_that_says_nothing_is_neither_accepting_nor_refusing() -> None:
    done = threading.Event()

    def silent(_connection: socket.socket) -> None:
        done.wait(3)

    with serving(silent) as port:
        answer = hello.offer("127.0.0.1", port, NAME, hello.NEWEST, hello.MODERN, seconds=0.2)
        done.set()
    assert answer.outcome == "silent"


# -- whole handshakes ----------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("wants", [False, True])
def test_a_handshake_tells_the_chain_as_sent_and_whether_a_certificate_was_asked_for(
    identity: handshake.Identity, version: str, wants: bool
) -> None:
    with serving(speaking(server(identity, version, version, wants=wants))) as port:
        seen = handshake.connect(handshake.context_of(), "127.0.0.1", port, NAME)
    assert seen.completed
    assert seen.protocol == version
    assert [files.sha256(der) for der in seen.chain][1] == ISSUING.sha256
    assert seen.requested is wants
    assert seen.status == 403


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_that_is_taken_up_again_is_seen(
    identity: handshake.Identity, version: str
) -> None:
    with serving(speaking(server(identity, version, version))) as port:
        context = handshake.context_of(hello.VERSIONS[version])
        first = handshake.connect(context, "127.0.0.1", port, NAME)
        again = handshake.connect(context, "127.0.0.1", port, NAME, session=first.session)
    assert not first.resumed
    assert again.resumed


def test_nobody_there_is_a_problem_and_not_an_exception() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    seen = handshake.connect(handshake.context_of(), "127.0.0.1", port, NAME)
    assert not seen.completed
    assert seen.problem
    assert handshake.call("127.0.0.1", port, NAME) == 0


@pytest.mark.parametrize("message", [b"", b"\x0b\x00\x00", b"\x0b\x00\x00\x03\x00\x00\x09"])
def test_a_broken_certificate_message_holds_no_certificate(message: bytes) -> None:
    assert handshake.certificates(message) == []


# -- logs ----------------------------------------------------------------------------------


def stanza(body: str, pattern: str = "LOGS/*.log") -> str:
    return f"{pattern} {{\n{body}\n}}\n"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("", -1),
        (stanza("daily\nrotate 92"), 92),
        (stanza("weekly\nrotate 13"), 91),
        (stanza("monthly\nrotate 3"), 93),
        (stanza("hourly\nrotate 48"), 2),
        (stanza("daily\nrotate 400\nmaxage 30"), 30),
        (stanza("daily\nrotate -1"), -1),
        (stanza("daily\nrotate -1\nmaxage 100"), 100),
        (stanza("rotate 100\nsize 10M"), 0),
        (stanza("daily\nrotate 100\nmaxsize 10M"), 0),
        (stanza("daily"), 0),
        ("daily\nrotate 7\n" + stanza("rotate 100"), 100),
        ("monthly\nrotate 4\n" + stanza("compress"), 124),
        (stanza("daily\nrotate 1", "/elsewhere/*.log"), -1),
        (stanza("daily\nrotate 1", "LOGS/*/x.log"), -1),
        (stanza("daily\nrotate 9") + stanza("daily\nrotate 5"), 5),
        ("# rotate 1\n" + stanza("  daily # of course\n\trotate 95"), 95),
        (stanza("daily\npostrotate\n rotate 1\n }\nendscript\nrotate 96"), 96),
        ('"LOGS/access.log"\nLOGS/error.log\n{\ndaily\nrotate 97\n}\n', 97),
    ],
)
def test_a_log_stays_as_long_as_the_rotation_promises(tmp_path: Path, text: str, days: int) -> None:
    logs = tmp_path / "log"
    logs.mkdir()
    (logs / "access.log").touch()
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(text.replace("LOGS", str(logs)))
    (found,) = observe_host.logs([str(logs)], str(configuration))
    assert found["live_days"] == days, found["bound_by"]
    assert found["log"] == str(logs / "access.log")


def test_included_directories_are_read_and_keep_their_settings_to_themselves(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logrotate.d"
    folder.mkdir()
    (folder / "a").write_text("rotate 3\n/a.log {\n daily\n}\n")
    (folder / "b").write_text("/b.log {\n daily\n}\n")
    (folder / ".hidden").write_text("/c.log {\n daily\n}\n")
    main = tmp_path / "logrotate.conf"
    main.write_text(f"rotate 50\ninclude {folder}\ninclude {main}\n")
    assert [(one.patterns, one.days) for one in logrotate.read(str(main))] == [
        (("/a.log",), 3),
        (("/b.log",), 50),
    ]


def test_the_kernels_clock_can_be_asked_without_privilege() -> None:
    clock = observe_host.clock()
    assert clock["problem"] == "" or not clock["synchronised"]
    assert isinstance(clock["offset_seconds"], float)


# -- files ---------------------------------------------------------------------------------


def release(root: Path, name: str, key: bytes) -> Path:
    folder = root / "dip" / "releases" / name
    folder.mkdir(parents=True)
    path = folder / "key.pem"
    path.write_bytes(key)
    path.chmod(0o600)
    return path


def key_pem(encryption: Any = None) -> bytes:
    form = encryption or NoEncryption()
    return factory.key("leaf").private_bytes(Enc.PEM, Form.PKCS8, form)


def test_of_a_key_only_what_protects_it_and_its_public_half_is_told(tmp_path: Path) -> None:
    release(tmp_path, "v1-aa", key_pem()).chmod(0o640)
    release(tmp_path, "v2-bb", key_pem(BestAvailableEncryption(b"x")))
    release(tmp_path, "v3-cc", b"not a key")
    (tmp_path / "dip/current").symlink_to("releases/v2-bb")
    found = {one["release"]: one for one in observe_files.releases(str(tmp_path), ["dip"])}
    assert found["v1-aa"]["key"]["mode"] == "0640"
    assert found["v1-aa"]["spki_sha256"] == spki("leaf")
    assert found["v2-bb"]["in_service"]
    assert not found["v1-aa"]["in_service"]
    assert found["v2-bb"]["key"]["encrypted"]
    assert found["v2-bb"]["spki_sha256"] == ""
    assert found["v3-cc"]["spki_sha256"] == ""
    assert "PRIVATE" not in repr(found)


def test_a_release_without_a_key_is_told_as_such(tmp_path: Path) -> None:
    release(tmp_path, "v1-aa", b"x").unlink()
    (found,) = observe_files.releases(str(tmp_path), ["dip", "never-delivered"])
    assert found["key"]["mode"] == ""


LIST = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"


def test_what_lies_in_the_place_of_crls_and_is_none_stays_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "dca/current").mkdir(parents=True)
    other = LIST.replace("X509 CRL", "PRIVATE KEY").replace("MAA=", "CANARY")
    (tmp_path / "dca/current/crl.pem").write_text(f"CANARY\n{LIST}{other}CANARY")
    (found,) = observe_files.crl_sets(str(tmp_path), ["dca"])
    assert found["pem"] == LIST
    assert found["sha256"] == files.sha256((tmp_path / "dca/current/crl.pem").read_bytes())


def test_the_crl_set_in_service_is_told_whole_and_a_large_one_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dca" / "sets" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "crl.pem").write_text(LIST)
    (tmp_path / "dca/current").symlink_to("sets/0123456789abcdef")
    (found,) = observe_files.crl_sets(str(tmp_path), ["dca"])
    assert (found["pem"], found["poll"]["set"], found["problem"]) == (LIST, folder.name, "")
    monkeypatch.setattr(observe_files, "LARGEST_CRL", 3)
    (found,) = observe_files.crl_sets(str(tmp_path), ["dca"])
    assert found["pem"] == ""
    assert found["sha256"] == files.sha256(LIST.encode())


@pytest.mark.parametrize("poll", ["", "[]", "{", '{"set": 1}'])
def test_a_host_without_crls_says_so_whatever_its_notes_are(tmp_path: Path, poll: str) -> None:
    (tmp_path / "dca").mkdir()
    (tmp_path / "dca/fetched.json").write_text(poll)
    (found,) = observe_files.crl_sets(str(tmp_path), ["dca"])
    assert found["problem"] == "no CRL file is in service"
    assert found["poll"]["fetched_at"] == ""
