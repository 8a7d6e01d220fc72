# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and certificates that no library would make: parts replaced, then signed again."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import der
from unit import pki_factory as factory

SEQUENCE, SET, INTEGER, BOOLEAN, BIT_STRING, OCTETS, UTF8 = 0x30, 0x31, 2, 1, 3, 4, 0x0C
PRINTABLE, TELETEX, IA5, BMP = 0x13, 0x14, 0x16, 0x1E
SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
SHA512_RSA = bytes.fromhex("300d06092a864886f70d01010d0500")
#: One attribute of a name, or several that share a relative name.
Part = bytes | tuple[bytes, ...]
#: Positions in a TBSCertificate that has a version.
_PARTS = ("version", "serial", "algorithm", "issuer", "validity", "subject", "key", "extensions")


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    octets = bytes([40 * first + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        octets += bytes(reversed(groups))
    return tlv(der.OID, octets)


def attribute(kind: str, text: str | bytes, tag: int = UTF8) -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return tlv(SEQUENCE, oid(kind), tlv(tag, content))


def name(*parts: Part) -> bytes:
    """A name of relative names, each one attribute or a tuple of several."""
    sets = [tlv(SET, *((part,) if isinstance(part, bytes) else sorted(part))) for part in parts]
    return tlv(SEQUENCE, *sets)


def good_name(*more: Part, **changed: Part) -> bytes:
    """The vetted subject; ``O=...`` and the like replace an attribute."""
    subject = factory.SUBJECT
    parts: dict[str, Part] = {
        "C": attribute("2.5.4.6", subject["C"], PRINTABLE),
        "ST": attribute("2.5.4.8", subject["ST"]),
        "L": attribute("2.5.4.7", subject["L"]),
        "O": attribute("2.5.4.10", subject["O"]),
        "CN": attribute("2.5.4.3", factory.CN),
    }
    return name(*{**parts, **changed}.values(), *more)


def extension(kind: str, value: bytes, *, critical: bytes = b"") -> bytes:
    """``critical`` is the encoded boolean, if there is to be one."""
    return tlv(SEQUENCE, oid(kind), critical, tlv(OCTETS, value))


def san(*names: bytes) -> bytes:
    return extension("2.5.29.17", tlv(SEQUENCE, *names))


def csr_attribute(kind: str, *values: bytes) -> bytes:
    return tlv(SEQUENCE, oid(kind), tlv(SET, *values))


def request(
    *attributes: bytes,
    subject: bytes | None = None,
    version: bytes = b"\x02\x01\x00",
    unused_bits: int = 0,
    after: bytes = b"",
    label: str = "CERTIFICATE REQUEST",
    key: rsa.RSAPrivateKey | None = None,
) -> bytes:
    """A request whose signature is right, whatever else it holds; PEM."""
    private = key or factory.key("leaf")
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = tlv(SEQUENCE, version, subject or good_name(), spki, tlv(0xA0, *attributes))
    data = _signed(info, SHA256_RSA, private, unused_bits) + after
    body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def certificate(
    issuer: factory.Authority,
    *more: bytes,
    unused_bits: int = 0,
    outer: bytes = SHA256_RSA,
    without: tuple[str, ...] = (),
    leaf: Mapping[str, Any] | None = None,
    **parts: bytes,
) -> bytes:
    """A leaf of the factory with parts of its TBSCertificate replaced; ``more`` extensions."""
    tbs = next(der.elements(der.element(issuer.leaf(**(leaf or {}))).content))
    found = dict(zip(_PARTS, (part.raw for part in der.elements(tbs.content)), strict=True))
    found.update(parts)
    if more:
        old = der.element(der.element(found["extensions"]).content)
        found["extensions"] = tlv(0xA3, tlv(SEQUENCE, old.content, *more))
    kept = [raw for part, raw in found.items() if part not in without]
    return _signed(tlv(SEQUENCE, *kept), outer, issuer.private, unused_bits)


def _signed(content: bytes, algorithm: bytes, key: rsa.RSAPrivateKey, unused_bits: int) -> bytes:
    digest = hashes.SHA512() if algorithm == SHA512_RSA else hashes.SHA256()
    signature = key.sign(content, padding.PKCS1v15(), digest)
    return tlv(SEQUENCE, content, algorithm, tlv(BIT_STRING, bytes([unused_bits]), signature))


def parsed(data: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(data)


def indefinite(tag: int, *parts: bytes) -> bytes:
    """As tlv, in BER of indefinite length."""
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def signed_data(*certificates: bytes, wrap: Any = tlv, crls: bytes = b"") -> bytes:
    """A PKCS #7 file; ``wrap`` makes its structures."""
    return wrap(
        0x30,
        oid("1.2.840.113549.1.7.2"),
        wrap(
            0xA0,
            wrap(
                0x30,
                b"\x02\x01\x01",
                tlv(0x31),
                wrap(0x30, oid("1.2.840.113549.1.7.1")),
                wrap(0xA0, *certificates),
                crls,
                tlv(0x31),
            ),
        ),
    )
