# SPDX-License-Identifier: GPL-3.0-or-later
"""PKCS #12 files (RFC 7292): a key with its certificate and whole chain, made and looked at. Pure.

Made by ``cryptography``, except for the integrity check: its library derives that one's key in
2048 rounds and leaves no choice, which would be the cheapest way to guess the passphrase.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
    pkcs12,
)

from . import der
from .certs import DECODE_ERRORS

FORMAT = "pkcs12"
#: A file's permissions: its owner's alone.
MODE = 0o600
SALT_OCTETS = 16
_BLOCK_OCTETS = 64  # of SHA-1 and of SHA-256
_MAC_KEY = b"\x03"  # RFC 7292, B.3: what the derived bytes are for

_DATA, _ENCRYPTED_DATA = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.6"
_KEY_BAG, _SHROUDED_KEY_BAG = "1.2.840.113549.1.12.10.1.1", "1.2.840.113549.1.12.10.1.2"
_PBES2 = "1.2.840.113549.1.5.13"
_CIPHERS = {
    "2.16.840.1.101.3.4.1.2": "aes-128-cbc",
    "2.16.840.1.101.3.4.1.22": "aes-192-cbc",
    "2.16.840.1.101.3.4.1.42": "aes-256-cbc",
    "1.2.840.113549.3.7": "des-ede3-cbc",
    "1.2.840.113549.1.12.1.3": "pbeWithSHAAnd3-KeyTripleDES-CBC",
    "1.2.840.113549.1.12.1.6": "pbeWithSHAAnd40BitRC2-CBC",
}
_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_HASH_OIDS = {
    "sha1": bytes.fromhex("2b0e03021a"),
    "sha256": bytes.fromhex("608648016503040201"),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a file is, as facts of kind ``export`` have it; nothing in it is secret.

    Attributes:
        private_keys: in the file, counted in its structure.
        key_matches: whether the key is that of the end entity's certificate.
        chain_length: certificates, the end entity's included.
        ends_at_anchor: whether they lead, each issued by the next, to an anchor in the file.
        key_encryption: name of the cipher, of the older scheme, or ``none``.
        mac: hash of the integrity check, or ``none``.
        iterations: fewest rounds of any step that starts from the passphrase.
        salt_octets: length of the shortest salt, in bytes.
    """

    private_keys: int
    key_matches: bool
    chain_length: int
    ends_at_anchor: bool
    key_encryption: str
    certificates_encrypted: bool
    mac: str
    iterations: int
    salt_octets: int

    def as_facts(self) -> dict[str, Any]:
        """The same as JSON types, with the format's name."""
        names = self.__dataclass_fields__
        return {"format": FORMAT, **{name: getattr(self, name) for name in names}}


# --- made -------------------------------------------------------------------------------------


def build(
    key: rsa.RSAPrivateKey,
    chain: Sequence[bytes],
    passphrase: str,
    *,
    name: str,
    rounds: int,
    legacy: bool = False,
) -> bytes:
    """The bytes of a file: ``chain`` is DER, the key's certificate first, the anchor last.

    PBES2 with AES-256-CBC and PBKDF2 (HMAC-SHA256) and a SHA-256 integrity check, or, with
    ``legacy``, the scheme that Java before 8u301 and Windows before Server 2019 read: triple DES
    and SHA-1. ``rounds`` hold for every step. The passphrase must be ASCII.
    """
    leaf, *above = (x509.load_der_x509_certificate(one) for one in chain)
    word = passphrase.encode("ascii")
    made = pkcs12.serialize_key_and_certificates(
        name.encode("utf-8"), key, leaf, above, _encryption(word, rounds, legacy)
    )
    return _with_mac(made, passphrase, "sha1" if legacy else "sha256", rounds)


def _encryption(word: bytes, rounds: int, legacy: bool) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds)
    if legacy:
        scheme, digest = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1()
        return builder.key_cert_algorithm(scheme).hmac_hash(digest).build(word)
    strong = pkcs12.PBES.PBESv2SHA256AndAES256CBC
    return builder.key_cert_algorithm(strong).hmac_hash(hashes.SHA256()).build(word)


def _with_mac(made: bytes, passphrase: str, digest: str, rounds: int) -> bytes:
    """The same file with an integrity check whose key takes as many rounds to derive."""
    version, content, _ = der.elements(der.element(made).content)
    salt = secrets.token_bytes(SALT_OCTETS)
    key = _mac_key(passphrase, salt, rounds, digest)
    value = hmac.digest(key, _authenticated(content), digest)
    algorithm = _tlv(der.SEQUENCE, _tlv(der.OID, _HASH_OIDS[digest]), b"\x05\x00")
    info = _tlv(der.SEQUENCE, algorithm, _tlv(der.OCTET_STRING, value))
    # One round is the default, which DER leaves out.
    number = rounds.to_bytes(rounds.bit_length() // 8 + 1, "big")
    count = _tlv(der.INTEGER, number) if rounds > 1 else b""
    mac = _tlv(der.SEQUENCE, info, _tlv(der.OCTET_STRING, salt), count)
    return _tlv(der.SEQUENCE, version.raw, content.raw, mac)


def _mac_key(passphrase: str, salt: bytes, rounds: int, digest: str) -> bytes:
    """RFC 7292, B.2, for as many bytes as the hash has: one block is enough."""
    # BMPString with its end: two bytes a character, and two zeros.
    word = passphrase.encode("utf-16-be") + b"\0\0"
    found = hashlib.new(digest, _MAC_KEY * _BLOCK_OCTETS + _filled(salt) + _filled(word)).digest()
    for _ in range(rounds - 1):
        found = hashlib.new(digest, found).digest()
    return found


def _filled(value: bytes) -> bytes:
    """The value over and over until a whole number of the hash's blocks is full."""
    length = -(-len(value) // _BLOCK_OCTETS) * _BLOCK_OCTETS
    return (value * (length // len(value) + 1))[:length]


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


# --- looked at --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """One step that starts from the passphrase: what it makes, its salt and its rounds."""

    name: str
    salt_octets: int
    rounds: int


def look(data: bytes, passphrase: str, anchors: Sequence[bytes]) -> Look:
    """Open a file and say what is in it; ``anchors`` are DER.

    Raises:
        der.Malformed: no PKCS #12 file, or one that the passphrase does not open. What the
            library says of it is not passed on.
    """
    try:
        return _look(data, passphrase, anchors)
    except der.Malformed:
        raise
    except DECODE_ERRORS as exc:
        problem = f"{type(exc).__name__} while opening it"
    raise der.Malformed(problem)


def _look(data: bytes, passphrase: str, anchors: Sequence[bytes]) -> Look:
    _, content, *mac = der.elements(der.element(data).content)
    keys, certificates = _steps(_authenticated(content))
    checked = [_mac_step(one) for one in mac]
    opened = pkcs12.load_pkcs12(data, passphrase.encode("ascii"))
    every = [one.certificate for one in (opened.cert, *opened.additional_certs) if one]
    steps = [one for one in (*keys, *certificates, *checked) if one.rounds]
    return Look(
        private_keys=len(keys),
        key_matches=_matches(opened.key, opened.cert),
        chain_length=len(every),
        ends_at_anchor=_leads_to_anchor(every, set(anchors)),
        key_encryption=keys[0].name if keys else "none",
        certificates_encrypted=bool(certificates),
        mac=checked[0].name if checked else "none",
        iterations=min((one.rounds for one in steps), default=0),
        salt_octets=min((one.salt_octets for one in steps), default=0),
    )


def _matches(key: Any, owner: pkcs12.PKCS12Certificate | None) -> bool:
    if key is None or owner is None:
        return False
    return bool(key.public_key() == owner.certificate.public_key())


def _leads_to_anchor(certificates: Sequence[x509.Certificate], anchors: set[bytes]) -> bool:
    """From the first certificate, each issued by another one of the file, to a pinned anchor."""
    if not certificates:
        return False
    current, *others = certificates
    while current.public_bytes(Encoding.DER) not in anchors:
        issuer = next((one for one in others if _issued(current, one)), None)
        if issuer is None:
            return False
        others.remove(issuer)
        current = issuer
    return True


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except Exception:
        return False  # another name, or a signature that is not this one's
    return True


def _authenticated(content: der.Element) -> bytes:
    """The AuthenticatedSafe: what the integrity check is over."""
    return _inside(content).content


def _inside(info: der.Element) -> der.Element:
    """The content of a ContentInfo, out of its ``[0]``."""
    parts = list(der.elements(info.content))
    if len(parts) < 2:
        raise der.Malformed("content without a value")
    return der.element(parts[1].content)


def _steps(authenticated: bytes) -> tuple[list[_Step], list[_Step]]:
    """How each key, and each part with encrypted certificates, is encrypted."""
    keys: list[_Step] = []
    certificates: list[_Step] = []
    for info in der.elements(der.element(authenticated).content):
        kind = _oid(der.element(info.content))
        if kind == _ENCRYPTED_DATA:
            _, encrypted = der.elements(_inside(info).content)
            certificates.append(_algorithm(list(der.elements(encrypted.content))[1]))
        elif kind == _DATA:
            keys += _keys(_inside(info).content)
    return keys, certificates


def _keys(safe: bytes) -> Iterator[_Step]:
    for bag in der.elements(der.element(safe).content):
        kind, value = list(der.elements(bag.content))[:2]
        if _oid(kind) == _KEY_BAG:
            yield _Step("none", 0, 0)
        elif _oid(kind) == _SHROUDED_KEY_BAG:
            shrouded = der.element(value.content)
            yield _algorithm(der.element(shrouded.content))


def _algorithm(identifier: der.Element) -> _Step:
    """The cipher of an AlgorithmIdentifier, with salt and rounds of its key's derivation."""
    kind, parameters = list(der.elements(identifier.content))[:2]
    name = _oid(kind)
    if name != _PBES2:
        salt, rounds = list(der.elements(parameters.content))[:2]
        return _Step(_CIPHERS.get(name, name), len(salt.content), _integer(rounds))
    derivation, cipher = der.elements(parameters.content)
    inner = list(der.elements(derivation.content))[1]
    salt, rounds = list(der.elements(inner.content))[:2]
    used = _oid(der.element(cipher.content))
    return _Step(_CIPHERS.get(used, used), len(salt.content), _integer(rounds))


def _mac_step(mac: der.Element) -> _Step:
    info, salt, *rounds = der.elements(mac.content)
    used = _oid(der.element(der.element(info.content).content))
    # RFC 7292: one round where the file does not say.
    count = _integer(rounds[0]) if rounds else 1
    return _Step(_HASHES.get(used, used), len(salt.content), count)


def _oid(found: der.Element) -> str:
    if found.tag != der.OID:
        raise der.Malformed("no object identifier where one belongs")
    return der.dotted(found.content)


def _integer(found: der.Element) -> int:
    if found.tag != der.INTEGER:
        raise der.Malformed("no number where one belongs")
    return int.from_bytes(found.content, "big", signed=True)
