# SPDX-License-Identifier: GPL-3.0-or-later
"""PKCS #12 files that are made, and what is seen in files of others."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import der, pkcs12_file
from unit import pki_factory as factory

WORD = "alpha-beta-gamma-7k2m9q"
KEY = factory.key("exported", 2048)
ROOT = factory.authority("File Root")
ISSUING = ROOT.authority("File Issuing", path_length=0)
CHAIN = [ISSUING.leaf(public=KEY.public_key()), ISSUING.der, ROOT.der]
STRONG = pkcs12_file.build(KEY, CHAIN, WORD, name="dip", rounds=2000)


def test_what_is_made_is_strong_and_whole() -> None:
    look = pkcs12_file.look(STRONG, WORD, [ROOT.der])
    assert look.as_facts() == {
        "format": "pkcs12",
        "private_keys": 1,
        "key_matches": True,
        "chain_length": 3,
        "ends_at_anchor": True,
        "key_encryption": "aes-256-cbc",
        "certificates_encrypted": True,
        "mac": "sha256",
        "iterations": 2000,
        "salt_octets": 16,
    }


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=70))
def test_the_library_verifies_our_integrity_check_whatever_the_passphrase(word: str) -> None:
    made = pkcs12_file.build(KEY, CHAIN, word, name="dip", rounds=10)
    assert pkcs12.load_pkcs12(made, word.encode()).key is not None
    assert pkcs12_file.look(made, word, [ROOT.der]).iterations == 10


@pytest.mark.parametrize("rounds", [1, 127, 128, 255, 256, 32767, 32768])
def test_any_number_of_rounds_is_written_as_der_has_it(rounds: int) -> None:
    made = pkcs12_file.build(KEY, CHAIN, WORD, name="dip", rounds=rounds)
    assert pkcs12_file.look(made, WORD, [ROOT.der]).iterations == rounds


def test_what_old_receivers_read_is_told_by_its_name() -> None:
    made = pkcs12_file.build(KEY, CHAIN, WORD, name="dip", rounds=2000, legacy=True)
    look = pkcs12_file.look(made, WORD, [ROOT.der])
    assert (look.key_encryption, look.mac) == ("pbeWithSHAAnd3-KeyTripleDES-CBC", "sha1")


def test_a_chain_that_does_not_reach_the_anchor_is_seen() -> None:
    missing = pkcs12_file.build(KEY, [CHAIN[0], CHAIN[2]], WORD, name="dip", rounds=10)
    assert not pkcs12_file.look(missing, WORD, [ROOT.der]).ends_at_anchor
    foreign = factory.authority("File Root").der
    assert not pkcs12_file.look(STRONG, WORD, [foreign]).ends_at_anchor


def test_the_order_of_the_cas_in_a_file_does_not_matter() -> None:
    made = pkcs12_file.build(KEY, [CHAIN[0], CHAIN[2], CHAIN[1]], WORD, name="dip", rounds=10)
    assert pkcs12_file.look(made, WORD, [ROOT.der]).ends_at_anchor


def test_a_key_of_another_certificate_cannot_be_put_in() -> None:
    with pytest.raises(ValueError, match=r"."):
        pkcs12_file.build(factory.key("another", 2048), CHAIN, WORD, name="dip", rounds=10)


@pytest.mark.parametrize(
    ("options", "cipher", "mac", "iterations"),
    [
        (["-keypbe", "NONE", "-certpbe", "NONE"], "none", "sha256", 2048),
        (["-keypbe", "aes-128-cbc", "-iter", "77"], "aes-128-cbc", "sha256", 77),
        (["-iter", "77", "-nomaciter"], "aes-256-cbc", "sha256", 1),
        (["-nomac"], "aes-256-cbc", "none", 2048),
        (["-keypbe", "PBE-SHA1-RC2-40", "-legacy"], "pbeWithSHAAnd40BitRC2-CBC", "sha256", 2048),
    ],
)
def test_files_that_openssl_made_are_told_as_they_are(
    tmp_path: Path, options: list[str], cipher: str, mac: str, iterations: int
) -> None:
    plain = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "all.pem").write_bytes(plain + b"".join(map(factory.pem, CHAIN)))
    made = tmp_path / "made.p12"
    word = f"pass:{WORD}"
    subprocess.run(
        ["openssl", "pkcs12", "-export", "-in", str(tmp_path / "all.pem"), "-out", str(made),
         "-passout", word, *options],
        check=True,
    )  # fmt: skip
    if cipher == "pbeWithSHAAnd40BitRC2-CBC":
        return broken_scheme(made, cipher)
    look = pkcs12_file.look(made.read_bytes(), WORD, [ROOT.der])
    assert (look.key_encryption, look.mac, look.iterations) == (cipher, mac, iterations)
    assert (look.private_keys, look.key_matches) == (1, True)
    return None


def broken_scheme(made: Path, cipher: str) -> None:
    """Whether the library still opens it is the library's; what it is called is ours."""
    try:
        look = pkcs12_file.look(made.read_bytes(), WORD, [ROOT.der])
    except der.Malformed:
        return
    assert look.key_encryption == cipher


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(STRONG) - 1), st.integers(1, 255))
def test_a_damaged_file_is_refused_without_a_word_of_the_library(at: int, change: int) -> None:
    damaged = bytearray(STRONG)
    damaged[at] ^= change
    with contextlib.suppress(der.Malformed):
        # What no check covers, such as an alternative form of a length, changes nothing.
        assert pkcs12_file.look(bytes(damaged), WORD, [ROOT.der]).key_matches


def test_a_wrong_passphrase_opens_nothing() -> None:
    with pytest.raises(der.Malformed) as caught:
        pkcs12_file.look(STRONG, "another", [ROOT.der])
    assert str(caught.value) == "ValueError while opening it"
    assert caught.value.__context__ is None


def test_certificates_are_read_back_as_they_were() -> None:
    opened = pkcs12.load_pkcs12(STRONG, WORD.encode())
    der_of = [
        one.certificate.public_bytes(serialization.Encoding.DER)
        for one in (opened.cert, *opened.additional_certs)
        if one
    ]
    assert der_of == CHAIN
    assert isinstance(opened.cert and opened.cert.certificate, x509.Certificate)
