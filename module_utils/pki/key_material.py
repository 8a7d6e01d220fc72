# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise private keys wherever they lie: under any label, inside anything, cut short, too.

Nothing is decoded and nothing of what is found leaves this file: the answer is yes or no.
Every search is one pass over the bytes, so that hostile input costs time in its length only.
"""

from __future__ import annotations

import re

_DASH = r"-[ \t]{0,8}"
_KIND = r"(?:[A-Z0-9#]{1,20}\s{1,8}){0,4}PRIVATE\s{1,8}KEY"
_TEXT = (
    # A marker, even one that lost its dashes; or the end of a key whose beginning is missing.
    re.compile(rf"BEGIN\s{{1,8}}{_KIND}"),
    re.compile(rf"{_DASH}(?:BEGIN|END)\s{{1,8}}{_KIND}", re.IGNORECASE),
    re.compile(r"PuTTY-User-Key-File|Private-Lines:|AGE-SECRET-KEY-1", re.IGNORECASE),
    # What `openssl pkey -text` prints.
    re.compile(
        r"^[ \t]{0,8}(?:privateExponent|priv):\s{0,80}[0-9a-f]{2}:", re.IGNORECASE | re.MULTILINE
    ),
    re.compile(r"minisign (?:encrypted )?secret key|signify secret key"),
)
#: One of these is in every text that any pattern finds; most texts have none.
_WORDS = ("priv", "secret", "putty", "kty", "keyvalue")
_JWK = (re.compile(r'"kty"\s{0,8}:'), re.compile(r'"(?:d|k)"\s{0,8}:\s{0,8}"[A-Za-z0-9+/_=-]{16}'))
_XML = (re.compile(r"<RSAKeyValue\b|<DSAKeyValue\b"), re.compile(r"<(?:D|P|X)>[\sA-Za-z0-9+/]{16}"))

_VERSION = re.compile(rb"\x02\x01[\x00\x01\x03]")
_PASSWORD_BASED = re.compile(
    rb"\x06[\x09\x0a]\x2a\x86\x48\x86\xf7\x0d\x01(?:\x05|\x0c\x01)"  # PKCS #5, PKCS #12
)
_LONG_LENGTHS = ((3, 0x81), (4, 0x82), (5, 0x83), (6, 0x84))  # octets of a header
_PKCS7_TYPE = bytes.fromhex("2a864886f70d0107")
_INTEGER, _OCTETS, _OID, _SEQUENCE = 0x02, 0x04, 0x06, 0x30
_SMALLEST_MODULUS = 32  # octets; nobody keeps a secret with less than RSA-256
_SCALARS = range(16, 73)  # octets of an elliptic curve's private key, up to P-521 and some
_KEYSTORES = (
    b"\xfe\xed\xfe\xed",  # Java keystore
    b"\xce\xce\xce\xce",  # Java keystore of the JCE kind
    b"\x1e\xf1\xb5\xb0",  # Microsoft PVK
)
# An OpenPGP secret key packet: its tag and length, a version, a date and a known algorithm.
_OPENPGP = re.compile(
    rb"(?:\x94.|\x95..|\xc5(?:[\x00-\xbf]|[\xc0-\xdf].|\xff....))[\x03-\x06]....[\x01-\x03\x10-\x1c]",
    re.DOTALL,
)


def in_text(text: str) -> bool:
    """Whether a text holds a private key, or the visible part of one."""
    small = text.lower()
    return any(word in small for word in _WORDS) and (
        any(pattern.search(text) for pattern in _TEXT)
        or all(pattern.search(text) for pattern in _JWK)
        or all(pattern.search(text) for pattern in _XML)
    )


def in_binary(data: bytes) -> bool:
    """Whether a private key, or a container that carries one as a rule, is anywhere in bytes.

    PKCS #1, SEC 1, DSA, PKCS #8 plain and encrypted, PKCS #12, Java keystores, OpenSSH,
    OpenPGP and Microsoft's forms. A key with a damaged or missing tail is one, too.
    """
    return (
        data.startswith(_KEYSTORES)
        or b"openssh-key-v1\0" in data
        or (data[:2] == b"\x07\x02" and data[8:12] == b"RSA2")  # Microsoft's PRIVATEKEYBLOB
        or _OPENPGP.match(data) is not None
        or any(_goes_on_as_key(data, found.start()) for found in _VERSION.finditer(data))
        or any(_is_encrypted(data, found.start()) for found in _PASSWORD_BASED.finditer(data))
    )


def _sequences_opened(data: bytes, at: int) -> list[int]:
    """Where a sequence begins whose content begins at ``at``; more than one reading may fit."""
    found = [at - 2] if at >= 2 and data[at - 2] == _SEQUENCE and data[at - 1] <= 0x80 else []
    for octets, first in _LONG_LENGTHS:
        start = at - octets
        if start >= 0 and data[start] == _SEQUENCE and data[start + 1] == first:
            found.append(start)
    return found


def _goes_on_as_key(data: bytes, at: int) -> bool:
    """Whether a version number begins a sequence and goes on as in a private key."""
    if not _sequences_opened(data, at):
        return False
    version = data[at + 2]
    second = _header(data, at + 3)
    if second is None:
        return False
    tag, start, end = second
    if version == 3:  # PKCS #12: the protected bags are PKCS #7
        return tag == _SEQUENCE and data[start + 2 : start + 10] == _PKCS7_TYPE
    if tag == _INTEGER:  # PKCS #1 and DSA; a public key begins with its modulus
        return end - start >= _SMALLEST_MODULUS
    if tag == _OCTETS:  # SEC 1
        return version == 1 and end - start in _SCALARS
    third = _header(data, end)
    return (  # PKCS #8
        tag == _SEQUENCE
        and data[start : start + 1] == bytes([_OID])
        and (third is None or third[0] == _OCTETS)
        and data[end : end + 1] in (b"", bytes([_OCTETS]))
    )


def _is_encrypted(data: bytes, at: int) -> bool:
    """Whether an algorithm for passwords is followed by the octets that it protects."""
    algorithms = (
        _header(data, start)
        for start in _sequences_opened(data, at)
        if _sequences_opened(data, start)
    )
    return any(
        found is not None and data[found[2] : found[2] + 1] in (b"", bytes([_OCTETS]))
        for found in algorithms
    )


def _header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Tag, start and announced end of the element at ``at``; its end may be missing."""
    if at + 2 > len(data):
        return None
    start, length = at + 2, data[at + 1]
    if length > 0x80:
        octets = length & 0x7F
        if octets > 4 or start + octets > len(data):
            return None
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    return data[at], start, start + length
