# SPDX-License-Identifier: GPL-3.0-or-later
"""Message signatures: the one encoding verifies, everything near it does not."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pki import csr
from pki.signature import verify_pkcs1v15_sha256
from unit.hostile_x509 import tlv
from unit.pki_factory import key

MESSAGE = b"POST\nhttps://dip.example/v1\n2026-11-21T12:00:00.000Z\n"
#: DigestInfo of SHA-256 up to the hash: RFC 8017, 9.2, note 1.
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
PRIVATE = key("signature")
SPKI = csr.spki_der(PRIVATE.public_key())
SIGNATURE = PRIVATE.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
OCTETS = 256
MODULUS = PRIVATE.public_key().public_numbers().n
HASH = hashlib.sha256(MESSAGE).digest()


@cache
def cubic() -> rsa.RSAPrivateKey:
    """A key with the exponent 3, for which some forgeries need no private key."""
    return rsa.generate_private_key(public_exponent=3, key_size=2048)


def raw_signature(private: rsa.RSAPrivateKey, encoded: bytes) -> bytes:
    """What a signer makes of an encoded message of any form."""
    numbers = private.private_numbers()
    modulus = numbers.public_numbers.n
    return pow(int.from_bytes(encoded, "big"), numbers.d, modulus).to_bytes(OCTETS, "big")


def padded(content: bytes, *, kind: bytes = b"\x01", fill: bytes = b"\xff") -> bytes:
    """An encoded message of the key's length around ``content``."""
    return b"\x00" + kind + fill * (OCTETS - 3 - len(content)) + b"\x00" + content


def info(algorithm: str, digest: bytes = HASH) -> bytes:
    """A DigestInfo around the given algorithm (hexadecimal), lengths in DER."""
    inner = bytes.fromhex(algorithm) + b"\x04" + bytes([len(digest)]) + digest
    return b"\x30" + bytes([len(inner)]) + inner


# A key of no use, and what openssl dgst -sha256 -sign made with it.
KNOWN_SPKI = (
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100eee1c0017a8a0e"
    "e27d152c349980dcce01eb4b06ed982f19fbc5521dc2da53f7f584b787574095ed1fbd09ddc54b7b"
    "17769db6aff435580cb2e76bdb0382dad6a5ec7c3fb7bdff456af8ba57df2cdc3a82b41c52cab8a6"
    "fd9b96c9c4d3e6baaf332b13e65662dd4231d6b9d4a85a8249e5c610bd7f29e022f47f21f3288e9e"
    "d86c81d0345f97723e717ee66fdbed77e2075810a5de7f224336342aec9852b6136674d9e4a20b17"
    "c08a2b92dd8cdbf8736faab9d6276f7970258821673c9aa70cd90850f6ee7e91d1520b7090fb19ea"
    "2f5d818d4c9c65af67a0c2fa16d509144a2e3d6bee4c2d0d53632dadc5fde344018015986399fcf1"
    "a2b391568f1142e27b0203010001"
)
KNOWN_SIGNATURE = (
    "cb3918ab52add6312c32734fbf49d388ee05214dcbfbba29e6a99b734e90eb38fac3bb92a32e3b31"
    "171af7e89e51b3979413437814e51f2b377b0853ba29716ab7713059e5374996fe145de07a5949f0"
    "66739955a03f54b4667810949b9dab78885a64d40f835d906d3b35648d120e3d2840484e0edbc469"
    "a6ac5fb5fe9ae1f75ff9cc97183e853da63f370f98572c74cdc858308b626bb2d163865a906e93f3"
    "8f656cd1d08c7e4085985eba207e21b3c541c9ef62cecfac1fbcc061c2965b5023759eb841ac6278"
    "0572af283aef60d5f7710b42fc7dd42c81a25e5f289479ee4515f357fea17e1e1791b9227147620f"
    "faa11162861dba8e58c44f8df51e292f"
)
GOOD = SHA256_INFO + HASH


def test_a_signature_verifies() -> None:
    assert verify_pkcs1v15_sha256(SPKI, SIGNATURE, MESSAGE) is True


def test_the_encoding_of_these_tests_is_the_right_one() -> None:
    assert raw_signature(PRIVATE, padded(GOOD)) == SIGNATURE


def test_a_known_signature_verifies() -> None:
    assert verify_pkcs1v15_sha256(
        bytes.fromhex(KNOWN_SPKI), bytes.fromhex(KNOWN_SIGNATURE), b"a message of old"
    )


ENCODINGS = {
    "no NULL in the digest's algorithm": padded(info("300b0609608648016503040201")),
    "a NULL with a long length": padded(info("300e0609608648016503040201058100")),
    "something else instead of the NULL": padded(info("300d06096086480165030402010400")),
    "parameters after the NULL": padded(info("300f060960864801650304020105000500")),
    "a long length outside": padded(b"\x30\x81\x31" + GOOD[2:]),
    "a long length of the hash": padded(b"\x30\x32" + SHA256_INFO[2:17] + b"\x04\x81\x20" + HASH),
    "an indefinite length outside": padded(b"\x30\x80" + GOOD[2:] + b"\x00\x00"),
    "a bare hash": padded(HASH),
    "another hash's algorithm": padded(
        bytes.fromhex("3031300d060960864801650304020405000420") + HASH
    ),
    "a cut hash": padded(info("300d06096086480165030402010500", HASH[:-1])),
    "bytes after the hash inside": padded(info("300d06096086480165030402010500", HASH + b"\x00")),
    "bytes after the DigestInfo": padded(GOOD + b"\x00"),
    "short padding and bytes after it": b"\x00\x01"
    + b"\xff" * 8
    + b"\x00"
    + GOOD
    + b"\x5a" * (OCTETS - 11 - len(GOOD)),
    "no padding and bytes after it": b"\x00\x01\x00" + GOOD + b"\x00" * (OCTETS - 3 - len(GOOD)),
    "leading zeros instead of padding": (b"\x00\x01" + b"\xff" * 8 + b"\x00" + GOOD).rjust(
        OCTETS, b"\x00"
    ),
    "padding of another octet": padded(GOOD, fill=b"\xfe"),
    "zero padding": padded(GOOD, fill=b"\x00"),
    "one other octet in the padding": padded(GOOD)[:40] + b"\xfe" + padded(GOOD)[41:],
    "the padding of encryption": padded(GOOD, kind=b"\x02"),
    "block type zero": padded(GOOD, kind=b"\x00"),
    "no separator": b"\x00\x01" + b"\xff" * (OCTETS - 2 - len(GOOD)) + GOOD,
    "another hash value": padded(SHA256_INFO + hashlib.sha256(b"other").digest()),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_another_encoding_does_not_verify_though_its_key_made_it(name: str) -> None:
    assert len(ENCODINGS[name]) == OCTETS
    forged = raw_signature(PRIVATE, ENCODINGS[name])
    assert verify_pkcs1v15_sha256(SPKI, forged, MESSAGE) is False


def cube_root_above(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**3 >= number else (middle + 1, high)
    return low


@pytest.mark.parametrize("padding_octets", [0, 1, 8, 24])
@given(message=st.binary(max_size=40))
@settings(max_examples=8, deadline=None)
def test_a_forgery_made_without_the_key_for_exponent_3_does_not_verify(
    padding_octets: int, message: bytes
) -> None:
    """Bleichenbacher, 2006: a cube whose first octets are right, rubbish after the hash."""
    prefix = b"\x00\x01" + b"\xff" * padding_octets + b"\x00" + SHA256_INFO
    prefix += hashlib.sha256(message).digest()
    root = cube_root_above(int.from_bytes(prefix.ljust(OCTETS, b"\x00"), "big"))
    assert (root**3).to_bytes(OCTETS, "big").startswith(prefix)
    spki = csr.spki_der(cubic().public_key())
    assert verify_pkcs1v15_sha256(spki, root.to_bytes(OCTETS, "big"), message) is False


@given(message=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_what_was_signed_verifies_with_any_exponent(message: bytes) -> None:
    for private in (PRIVATE, cubic()):
        signature = private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        spki = csr.spki_der(private.public_key())
        assert verify_pkcs1v15_sha256(spki, signature, message)


@given(st.binary(max_size=200))
def test_no_other_message_verifies(message: bytes) -> None:
    assume(message != MESSAGE)
    assert not verify_pkcs1v15_sha256(SPKI, SIGNATURE, message)


@given(st.integers(0, OCTETS * 8 - 1))
def test_no_bit_of_the_signature_may_change(bit: int) -> None:
    changed = int.from_bytes(SIGNATURE, "big") ^ (1 << bit)
    assert not verify_pkcs1v15_sha256(SPKI, changed.to_bytes(OCTETS, "big"), MESSAGE)


@given(st.integers(0, len(SPKI) * 8 - 1))
@settings(max_examples=300, deadline=None)
def test_no_bit_of_the_key_may_change(bit: int) -> None:
    changed = (int.from_bytes(SPKI, "big") ^ (1 << bit)).to_bytes(len(SPKI), "big")
    assert not verify_pkcs1v15_sha256(changed, SIGNATURE, MESSAGE)


@given(st.binary(max_size=600), st.binary(max_size=600), st.binary(max_size=50))
def test_no_bytes_raise(spki: bytes, signature: bytes, message: bytes) -> None:
    assert verify_pkcs1v15_sha256(spki, signature, message) is False


LENGTHS = {
    "empty": b"",
    "one octet short": SIGNATURE[:-1],
    "without its first octet": SIGNATURE[1:],
    "a zero before it": b"\x00" + SIGNATURE,
    "a zero after it": SIGNATURE + b"\x00",
    "twice": SIGNATURE * 2,
    "all zeros": bytes(OCTETS),
    "one": (1).to_bytes(OCTETS, "big"),
    "all ones": b"\xff" * OCTETS,
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_signature_of_another_length_or_range_does_not_verify(name: str) -> None:
    assert not verify_pkcs1v15_sha256(SPKI, LENGTHS[name], MESSAGE)


def test_the_signature_plus_the_modulus_does_not_verify() -> None:
    """The same number modulo n, where it still fits the octets."""
    for message in (b"%d" % number for number in range(10_000)):
        signature = PRIVATE.sign(message, padding.PKCS1v15(), hashes.SHA256())
        larger = int.from_bytes(signature, "big") + MODULUS
        if larger < 1 << (8 * OCTETS):
            break
    assert larger < 1 << (8 * OCTETS)
    assert verify_pkcs1v15_sha256(SPKI, signature, message)
    assert not verify_pkcs1v15_sha256(SPKI, larger.to_bytes(OCTETS, "big"), message)


def test_a_leading_zero_of_a_small_signature_belongs_to_it() -> None:
    numbered = (b"%d" % number for number in range(10_000))
    message, signature = next(
        (one, made)
        for one in numbered
        if (made := PRIVATE.sign(one, padding.PKCS1v15(), hashes.SHA256()))[0] == 0
    )
    assert verify_pkcs1v15_sha256(SPKI, signature, message)
    assert not verify_pkcs1v15_sha256(SPKI, signature.lstrip(b"\x00"), message)


def spki_of(
    public: ec.EllipticCurvePublicKey | dsa.DSAPublicKey | ed25519.Ed25519PublicKey,
) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


_RSA_IDENTIFIER = bytes.fromhex("300d06092a864886f70d0101010500")
_PSS_IDENTIFIER = bytes.fromhex("300b06092a864886f70d01010a")


def with_identifier(identifier: bytes) -> bytes:
    """The key under another algorithm identifier, lengths in DER."""
    content = identifier + SPKI[4 + len(_RSA_IDENTIFIER) :]
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


KEYS = {
    "an EC key": spki_of(ec.generate_private_key(ec.SECP256R1()).public_key()),
    "an Ed25519 key": spki_of(ed25519.Ed25519PrivateKey.generate().public_key()),
    "another RSA key": csr.spki_der(key("other signature").public_key()),
    "nothing": b"",
    "a byte after it": SPKI + b"\x00",
    "a second key after it": SPKI * 2,
    "an end cut off": SPKI[:-1],
    "a long length": b"\x30\x83\x00" + SPKI[2:],
    "an indefinite length": b"\x30\x80" + SPKI[4:] + b"\x00\x00",
    "no NULL": with_identifier(bytes.fromhex("300b06092a864886f70d010101")),
    "a key for PSS only": with_identifier(_PSS_IDENTIFIER),
    "a bare RSAPublicKey": PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1),
    "PEM": PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
}


def test_the_identifier_of_these_tests_is_the_keys_own() -> None:
    assert with_identifier(_RSA_IDENTIFIER) == SPKI


@pytest.mark.parametrize("name", KEYS)
def test_another_key_or_form_of_it_does_not_verify(name: str) -> None:
    assert verify_pkcs1v15_sha256(KEYS[name], SIGNATURE, MESSAGE) is False


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [(MODULUS + 1, 65537), (MODULUS, 1), (MODULUS, 2)],
    ids=["an even modulus", "the exponent 1", "the exponent 2"],
)
def test_a_senseless_key_does_not_verify(modulus: int, exponent: int) -> None:
    """An even modulus; the exponent 1, for which every encoded message signs itself."""
    integers = (
        tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        for number in (modulus, exponent)
    )
    public = tlv(0x03, b"\0", tlv(0x30, *integers))
    assert (
        verify_pkcs1v15_sha256(tlv(0x30, _RSA_IDENTIFIER, public), padded(GOOD), MESSAGE) is False
    )
