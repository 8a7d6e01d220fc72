# SPDX-License-Identifier: GPL-3.0-or-later
"""A key that somebody brings: every form it may come in, and what is said of all others."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import csr, import_files, key_import, key_owner, private_files
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.controller_world import whole

WORD = b"a passphrase with blanks"
PLAIN = serialization.NoEncryption()
SEALED = serialization.BestAvailableEncryption(WORD)
PKCS1, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
ROOT = factory.authority("Bring Root")


@cache
def key() -> rsa.RSAPrivateKey:
    return factory.key("leaf")


@cache
def leaf() -> x509.Certificate:
    return x509.load_der_x509_certificate(ROOT.leaf(public=key().public_key()))


def form(encoding: Encoding, layout: PrivateFormat, *, sealed: bool = False) -> bytes:
    return key().private_bytes(encoding, layout, SEALED if sealed else PLAIN)


def bag(*, sealed: bool = True, with_key: bool = True) -> bytes:
    held = key() if with_key else None
    above = [ROOT.certificate]
    how = SEALED if sealed else PLAIN
    return pkcs12.serialize_key_and_certificates(b"one", held, leaf(), above, how)


def by_openssl(*arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True)
    return done.stdout


FORMS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "PEM of PKCS #1": (lambda: form(Encoding.PEM, PKCS1), False),
    "PEM of PKCS #8": (lambda: form(Encoding.PEM, PKCS8), False),
    "DER of PKCS #1": (lambda: form(Encoding.DER, PKCS1), False),
    "DER of PKCS #8": (lambda: form(Encoding.DER, PKCS8), False),
    "PEM of PKCS #1, encrypted": (lambda: form(Encoding.PEM, PKCS1, sealed=True), True),
    "PEM of PKCS #8, encrypted": (lambda: form(Encoding.PEM, PKCS8, sealed=True), True),
    "DER of PKCS #8, encrypted": (lambda: form(Encoding.DER, PKCS8, sealed=True), True),
    "PKCS #12": (bag, True),
    "PKCS #12 without encryption": (lambda: bag(sealed=False), False),
    "PEM between other lines": (
        lambda: b"Bag Attributes\n  friendlyName: x\n" + form(Encoding.PEM, PKCS8) + b"\nbye\n",
        False,
    ),
    "PEM with Windows line ends": (
        lambda: form(Encoding.PEM, PKCS8).replace(b"\n", b"\r\n"),
        False,
    ),
    "PEM with a passphrase that it does not need": (lambda: form(Encoding.PEM, PKCS8), True),
    "DER with a passphrase that it does not need": (lambda: form(Encoding.DER, PKCS1), True),
    "openssl's PKCS #8 with scrypt": (
        lambda: by_openssl(
            *("pkcs8", "-topk8", "-scrypt", "-passout", f"pass:{WORD.decode()}"),
            given=form(Encoding.PEM, PKCS8),
        ),
        True,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_key(name: str) -> None:
    data, sealed = FORMS[name]
    read = key_import.read(data(), WORD if sealed else None)
    assert read.spki_der == csr.spki_der(key().public_key())
    assert read.bits == 2048
    for again in (
        serialization.load_der_private_key(read.pkcs8_der(), None),
        serialization.load_pem_private_key(read.pkcs8_pem(), None),
    ):
        assert isinstance(again, rsa.RSAPrivateKey)
        assert again.private_numbers() == key().private_numbers()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (bag, WORD),
        (lambda: form(Encoding.PEM, PKCS8) + factory.pem(leaf_der()) + ROOT.pem, None),
    ],
    ids=["PKCS #12", "PEM"],
)
def test_the_certificates_of_the_same_file_come_along(
    data: Callable[[], bytes], word: bytes | None
) -> None:
    assert key_import.read(data(), word).certificates == (leaf(), ROOT.certificate)


def leaf_der() -> bytes:
    return leaf().public_bytes(Encoding.DER)


def other_kind(made: object) -> bytes:
    assert isinstance(
        made, ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey
    )
    return made.private_bytes(Encoding.PEM, PKCS8, PLAIN)


def inconsistent() -> bytes:
    numbers = key().private_numbers()
    bad = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp,
        numbers.public_numbers,
    )  # fmt: skip
    made = bad.private_key(unsafe_skip_rsa_key_validation=True)
    return made.private_bytes(Encoding.DER, PKCS8, PLAIN)


def openssh() -> bytes:
    return key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, PLAIN)


REFUSED: dict[str, tuple[Callable[[], bytes], bytes | None, str]] = {
    "encrypted PEM": (lambda: form(Encoding.PEM, PKCS8, sealed=True), None, "a PEM key, encrypted"),
    "encrypted old PEM": (
        lambda: form(Encoding.PEM, PKCS1, sealed=True),
        None,
        "a PEM key, encrypted",
    ),
    "encrypted DER": (lambda: form(Encoding.DER, PKCS8, sealed=True), None, "a DER key, encrypted"),
    "encrypted PKCS #12": (bag, None, "a PKCS #12 file that cannot be opened: encrypted, damaged"),
    "wrong word for PEM": (
        lambda: form(Encoding.PEM, PKCS8, sealed=True),
        b"wrong",
        "a PEM key that its passphrase does not open",
    ),
    "wrong word for PKCS #12": (bag, b"wrong", "a PKCS #12 file that its passphrase does not open"),
    "PKCS #12 without a key": (
        lambda: bag(with_key=False),
        WORD,
        "a PKCS #12 file without a private key",
    ),
    "elliptic": (lambda: other_kind(ec.generate_private_key(ec.SECP256R1())), None, "the kind EC"),
    "DSA": (lambda: other_kind(dsa.generate_private_key(2048)), None, "the kind DSA"),
    "Ed25519": (lambda: other_kind(ed25519.Ed25519PrivateKey.generate()), None, "kind Ed25519"),
    "OpenSSH's form": (openssh, None, "a block OPENSSH PRIVATE KEY"),
    "numbers of two keys": (inconsistent, None, "a DER key that cannot be opened"),
    "two keys": (lambda: form(Encoding.PEM, PKCS8) * 2, None, "2 private keys"),
    "a certificate": (lambda: ROOT.pem, None, "no private key in the blocks CERTIFICATE"),
    "a public key": (
        lambda: (
            key()
            .public_key()
            .public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        ),
        None,
        "no private key in the blocks PUBLIC KEY",
    ),
    "text": (lambda: b"hello", None, "no private key in a file without PEM blocks"),
    "a damaged PEM": (
        lambda: form(Encoding.PEM, PKCS8).replace(b"MII", b"MIJ"),
        None,
        "a PEM key that cannot be opened",
    ),
    "a cut DER": (lambda: form(Encoding.DER, PKCS8)[:400], None, "a DER key that cannot be opened"),
    "a damaged certificate": (
        lambda: form(Encoding.PEM, PKCS8) + ROOT.pem.replace(b"MII", b"MIJ"),
        None,
        "a certificate beside the key that cannot be read",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_key_is_refused_in_words_without_a_byte_of_it(name: str) -> None:
    make, word, found = REFUSED[name]
    data = make()
    with pytest.raises(PkiError) as caught:
        key_import.read(data, word)
    error = whole(caught.value)
    assert error.rule == "KEY-IMPORT"
    assert found in error.found
    assert_silent(str(error), data)


def assert_silent(told: str, data: bytes) -> None:
    lines = [line.decode() for line in data.splitlines() if len(line) == 64 and line.isascii()]
    assert not [line for line in lines if line in told]
    assert WORD.decode() not in told
    assert not data[30:60] or base64.b64encode(data[30:60]).decode() not in told


def test_a_key_that_was_read_shows_nothing_of_itself() -> None:
    read = key_import.read(bag(), WORD)
    numbers = key().private_numbers()
    assert str(numbers.d) not in repr(read)
    assert "RSAPrivateKey" not in repr(read)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.builds(lambda tail: b"\x30\x82\x01\x00\x02\x01\x03" + tail, st.binary())
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        key_import.read(data, None)
    assert caught.value.rule == "KEY-IMPORT"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1200), st.integers(1, 255))
def test_a_changed_byte_of_a_key_is_another_key_or_a_refusal(at: int, change: int) -> None:
    data = bytearray(form(Encoding.DER, PKCS8))
    data[at % len(data)] ^= change
    with contextlib.suppress(PkiError):
        read = key_import.read(bytes(data), None)
        assert read.signing_key().key_size == read.bits


@pytest.mark.parametrize("line", [b"word", b"word\n", b"word\r\n"])
def test_a_passphrase_is_the_line_without_its_end(line: bytes) -> None:
    assert key_import.passphrase(line) == b"word"


@pytest.mark.parametrize("line", [b"\n", b"", b"one\ntwo", b"one\ntwo\n"])
def test_a_passphrase_file_has_one_line(line: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        key_import.passphrase(line)
    assert "one" not in whole(caught.value).found.replace("one line", "")


# --- the files -------------------------------------------------------------------------------


def put(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
@pytest.mark.parametrize("part", ["key", "passphrase"])
def test_a_secret_that_others_can_read_is_refused_with_its_mode(
    tmp_path: Path, mode: int, part: str
) -> None:
    key_file = put(tmp_path / "k", bag(), mode if part == "key" else 0o600)
    word_file = put(tmp_path / "w", WORD, mode if part == "passphrase" else 0o600)
    with pytest.raises(PkiError) as caught:
        import_files.read(key_file, word_file, "")
    error = whole(caught.value)
    assert error.rule == private_files.RULE
    assert error.found == f"mode {mode:04o}"
    assert "chmod 600" in error.next_step


def test_a_link_to_a_private_file_is_followed_and_judged_where_it_leads(tmp_path: Path) -> None:
    target = put(tmp_path / "k", form(Encoding.PEM, PKCS8))
    (tmp_path / "link").symlink_to(target)
    assert import_files.read(str(tmp_path / "link"), "", "")[0].bits == 2048
    Path(target).chmod(0o644)
    with pytest.raises(PkiError):
        import_files.read(str(tmp_path / "link"), "", "")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    empty = put(tmp_path / "empty", b"")
    large = put(tmp_path / "large", b"x" * (key_import.MAXIMUM_BYTES + 1))
    expected = {
        str(tmp_path / "pipe"): "not a regular file",
        str(tmp_path): "not a regular file",
        str(tmp_path / "nothing"): "No such file or directory",
        "with a \0": "no such name",
        "": "No such file or directory",
        empty: "nothing in it",
        large: f"more than {key_import.MAXIMUM_BYTES} bytes",
    }
    for path, found in expected.items():
        with pytest.raises(PkiError) as caught:
            import_files.read(path, "", "")
        assert caught.value.found == found


def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = put(tmp_path / "k", form(Encoding.PEM, PKCS8))
    os.chown(path, 12345, -1)
    with pytest.raises(PkiError) as caught:
        import_files.read(path, "", "")
    assert caught.value.found == "owned by user id 12345"


def test_a_certificate_beside_the_key_may_have_any_form_of_a_reply(tmp_path: Path) -> None:
    key_file = put(tmp_path / "k", form(Encoding.PEM, PKCS8))
    for content in (leaf_der(), b"Dear Ada,\n" + factory.pem(leaf_der()) + ROOT.pem):
        certificate = put(tmp_path / "c", content, 0o644)
        brought, along = import_files.read(key_file, "", certificate)
        owner = key_owner.of(brought.spki_sha256, along, None)
        assert owner.certificate == leaf()
        assert (owner.organisation, owner.common_name) == (factory.SUBJECT["O"], factory.CN)
