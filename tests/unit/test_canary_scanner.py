# SPDX-License-Identifier: GPL-3.0-or-later
"""The scanner for secrets: every encoding is seen, public numbers are not, places count."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from integration.canary import Scanner

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
TOKEN = "hvs." + secrets.token_urlsafe(24)


@cache
def key(kind: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if kind == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(
    kind: str, encoding: serialization.Encoding, layout: serialization.PrivateFormat
) -> bytes:
    return key(kind).private_bytes(encoding, layout, serialization.NoEncryption())


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    known = Scanner()
    for kind in ("RSA", "EC"):
        known.add_key(kind, encoded(kind, PEM, PKCS8))
    known.add_text("token", TOKEN)
    return known


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "base64": base64.b64encode,
    "base64 after one byte": lambda data: base64.b64encode(b"x" + data),
    "base64 after two bytes": lambda data: base64.b64encode(b"xx" + data),
    "base64 without its padding": lambda data: base64.b64encode(data).rstrip(b"="),
    "base64 for URLs": base64.urlsafe_b64encode,
    "base64 in lines": base64.encodebytes,
    "lower-case hex": lambda data: data.hex().encode(),
    "upper-case hex": lambda data: data.hex().upper().encode(),
    "hex with colons": lambda data: data.hex(":").encode(),
    "hex with blanks": lambda data: data.hex(" ").upper().encode(),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("layout", [PKCS8, PKCS1], ids=["PKCS8", "PKCS1"])
@pytest.mark.parametrize("form", [PEM, DER], ids=["PEM", "DER"])
@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_a_key_is_seen_in_every_encoding(
    kind: str,
    form: serialization.Encoding,
    layout: serialization.PrivateFormat,
    encode: Callable[[bytes], bytes],
    scanner: Scanner,
) -> None:
    found = scanner.scan_text(b"before " + encode(encoded(kind, form, layout)) + b" after")
    assert kind in {finding.secret for finding in found}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_token_is_seen_in_every_encoding(
    encode: Callable[[bytes], bytes], scanner: Scanner
) -> None:
    found = scanner.scan_text(b"x" + encode(TOKEN.encode()) + b"y")
    assert {finding.secret for finding in found} == {"token"}


@pytest.mark.parametrize("layout", [PKCS8, PKCS1], ids=["PKCS8", "PKCS1"])
def test_every_single_line_with_a_secret_number_in_it_is_seen(
    layout: serialization.PrivateFormat, scanner: Scanner
) -> None:
    lines = [line for line in encoded("RSA", PEM, layout).splitlines() if len(line) == 64]
    # Header and modulus fill the first lines; the secret numbers are all the others.
    for line in lines[6:]:
        assert {finding.secret for finding in scanner.scan_text(line)} == {"RSA"}


def test_a_key_inside_json_is_seen_by_its_escaped_line_ends(scanner: Scanner) -> None:
    text = json.dumps({"key": encoded("RSA", PEM, PKCS8).decode()})
    assert "json-pkcs8" in {finding.kind for finding in scanner.scan_text(text)}


def public(kind: str) -> bytes:
    layout = serialization.PublicFormat.SubjectPublicKeyInfo
    return key(kind).public_key().public_bytes(DER, layout)


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_a_public_key_is_no_finding_in_any_encoding(
    kind: str, encode: Callable[[bytes], bytes], scanner: Scanner
) -> None:
    for shift in range(4):
        assert scanner.scan_text(encode(b"0" * shift + public(kind))) == ()


def test_another_key_of_the_same_size_is_no_finding(scanner: Scanner) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for form in (PEM, DER):
        for layout in (PKCS8, PKCS1):
            data = other.private_bytes(form, layout, serialization.NoEncryption())
            for encode in ENCODINGS.values():
                assert scanner.scan_text(encode(data)) == ()


def test_a_secret_too_short_to_be_recognised_is_refused(scanner: Scanner) -> None:
    with pytest.raises(ValueError, match="too short"):
        scanner.add_text("pin", "1234")


def test_no_finding_and_no_scanner_shows_the_secret(scanner: Scanner) -> None:
    (finding, *_) = scanner.scan_text(TOKEN)
    assert TOKEN not in f"{finding}{finding!r}{scanner!r}"


# -- places ----------------------------------------------------------------------------------


def write(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"token={TOKEN}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_in_an_allowed_directory_is_fine(
    mode: int, scanner: Scanner, tmp_path: Path
) -> None:
    write(tmp_path / "secrets/deep/file", mode)
    assert scanner.scan_tree(tmp_path, [tmp_path / "secrets"]) == ()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o700, 0o610])
def test_a_wider_file_in_an_allowed_directory_is_a_finding(
    mode: int, scanner: Scanner, tmp_path: Path
) -> None:
    path = write(tmp_path / "secrets/file", mode)
    (finding,) = scanner.scan_tree(tmp_path, [tmp_path / "secrets"])
    assert finding.place == f"{path} (mode {mode:04o})"


def test_a_private_file_elsewhere_is_a_finding(scanner: Scanner, tmp_path: Path) -> None:
    write(tmp_path / "log/file", 0o600)
    assert scanner.scan_tree(tmp_path, [tmp_path / "secrets"])


def test_a_secret_in_a_name_or_a_link_is_a_finding(scanner: Scanner, tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / TOKEN).touch()
    (tmp_path / "links").mkdir()
    os.symlink(TOKEN, tmp_path / "links/current")
    for folder in ("names", "links"):
        assert scanner.scan_tree(tmp_path / folder, [tmp_path])


def test_a_link_out_of_an_allowed_directory_allows_nothing(
    scanner: Scanner, tmp_path: Path
) -> None:
    target = write(tmp_path / "open/file", 0o600)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/link").symlink_to(target)
    assert scanner.scan_tree(tmp_path / "open", [tmp_path / "secrets"])
