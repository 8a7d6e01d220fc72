# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and requests as their bytes say it: every attribute, extension and name, in order.

A library shows what it understands. A policy that refuses what it does not name must see the
rest, too: the second common name in one relative name, the string type, the repeated or unknown
extension. Values that do not decode are shown as DER in hexadecimal; only a structure that is no
certificate or request at all raises ValueError.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import der, names
from .der import Element

LARGEST = 2**53  # JSON's largest exact whole number
_OCTETS, _BOOLEAN, _SET = 0x04, 0x01, 0x31
_VERSION, _EXTENSIONS, _ATTRIBUTES = 0xA0, 0xA3, 0xA0

EXTENSION_NAMES = {
    "2.5.29.9": "subjectDirectoryAttributes",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.16": "privateKeyUsagePeriod",
    "2.5.29.17": "subjectAltName",
    "2.5.29.18": "issuerAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    "2.5.29.37": "extKeyUsage",
    "2.5.29.46": "freshestCRL",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.3": "qcStatements",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
    "1.3.6.1.5.5.7.1.24": "tlsFeature",
    "1.3.6.1.5.5.7.48.1.5": "ocspNoCheck",
    "1.3.6.1.4.1.11129.2.4.2": "signedCertificateTimestamps",
    "1.3.6.1.4.1.11129.2.4.3": "precertificatePoison",
}
ATTRIBUTE_NAMES = {
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.14": "extensionRequest",
}
USAGE_NAMES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "2.5.29.37.0": "anyExtendedKeyUsage",
}
KEY_USAGE_BITS = (
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
STRING_TYPES = {
    0x0C: "UTF8String",
    0x12: "NumericString",
    0x13: "PrintableString",
    0x14: "TeletexString",
    0x15: "VideotexString",
    0x16: "IA5String",
    0x19: "GraphicString",
    0x1A: "VisibleString",
    0x1B: "GeneralString",
    0x1C: "UniversalString",
    0x1E: "BMPString",
}
_GENERAL_NAMES = ("other", "email", "dns", "x400", "directory", "ediparty", "uri", "ip", "id")
_TEXT_NAMES = frozenset({"email", "dns", "uri"})
_MAX_USAGE_OCTETS = 64
_OCSP, _FULL_NAME = "1.3.6.1.5.5.7.48.1", 0xA0


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; ``value`` is the DER inside its octet string."""

    name: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class GeneralName:
    """One GeneralName: its kind, and its text or its DER in hexadecimal."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """A distinguished name by its relative names, each with its attributes."""

    parts: tuple[tuple[names.Attribute, ...], ...]

    @property
    def attributes(self) -> tuple[names.Attribute, ...]:
        """Every attribute, in encoded order."""
        return tuple(item for part in self.parts for item in part)

    @property
    def multi_valued(self) -> int:
        """How many relative names hold more than one attribute."""
        return sum(len(part) > 1 for part in self.parts)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The parts of a certificate that a policy judges by their bytes."""

    version: int
    serial: bytes
    inner_algorithm: bytes
    outer_algorithm: bytes
    subject: Name
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """The same of a request. ``attributes`` are names or dotted OIDs, repeats included."""

    version: int
    algorithm: bytes
    subject: Name
    attributes: tuple[str, ...]
    extensions: tuple[Extension, ...]


def certificate(data: bytes) -> Certificate:
    """Walk a certificate's DER; ValueError when it has not the shape of one."""
    tbs, outer, _ = _exactly(der.element(data), 3)
    parts = list(der.elements(tbs.content))
    version = 1
    if parts and parts[0].tag == _VERSION:
        version = _number(der.element(parts.pop(0).content)) + 1
    if len(parts) < 6:
        raise der.Malformed("not the parts of a certificate")
    serial, inner, _issuer, _validity, subject, _key, *rest = parts
    return Certificate(
        version=version,
        serial=serial.content,
        inner_algorithm=inner.raw,
        outer_algorithm=outer.raw,
        subject=_name(subject),
        extensions=tuple(
            item for part in rest if part.tag == _EXTENSIONS for item in extensions(part.content)
        ),
    )


def request(data: bytes) -> Request:
    """Walk a PKCS #10 request's DER; ValueError when it has not the shape of one."""
    info, algorithm, _ = _exactly(der.element(data), 3)
    parts = list(der.elements(info.content))
    if len(parts) < 3:
        raise der.Malformed("not the parts of a request")
    version, subject, _key, *rest = parts
    attributes = [
        tuple(der.elements(item.content))
        for part in rest
        if part.tag == _ATTRIBUTES
        for item in der.elements(part.content)
    ]
    named = [(_oid_name(pair[0], ATTRIBUTE_NAMES), pair) for pair in attributes if pair]
    return Request(
        version=_number(version),
        algorithm=algorithm.raw,
        subject=_name(subject),
        attributes=tuple(name for name, _ in named),
        extensions=tuple(
            item
            for name, pair in named
            if name == "extensionRequest" and len(pair) > 1
            for value in der.elements(pair[1].content)
            for item in extensions(value.raw)
        ),
    )


def extensions(data: bytes) -> Iterator[Extension]:
    """The extensions of an encoded sequence of them."""
    for item in der.elements(der.element(data).content):
        parts = tuple(der.elements(item.content))
        if len(parts) < 2:
            raise der.Malformed("an extension without a value")
        critical = len(parts) > 2 and parts[1].tag == _BOOLEAN and parts[1].content != b"\x00"
        yield Extension(_oid_name(parts[0], EXTENSION_NAMES), critical, parts[-1].content)


def values(found: Sequence[Extension], name: str) -> tuple[bytes, ...]:
    """The values of every extension of a name: a repeated one is seen each time."""
    return tuple(item.value for item in found if item.name == name)


def general_names(data: bytes) -> tuple[GeneralName, ...]:
    """The names of an encoded GeneralNames, which has at least one (RFC 5280, 4.2.1.6)."""
    found = tuple(_general_name(item) for item in der.elements(der.element(data).content))
    if not found:
        raise der.Malformed("names without a name")
    return found


def is_ca(data: bytes) -> bool:
    """Whether basicConstraints say CA."""
    parts = tuple(der.elements(der.element(data).content))
    return bool(parts) and parts[0].tag == _BOOLEAN and parts[0].content != b"\x00"


def key_usage(data: bytes) -> tuple[str, ...]:
    """The bits that are set, by name; ``bit 9`` and on for bits nobody defined.

    At least one is set (RFC 5280, 4.2.1.3): what allows nothing is not what says nothing.
    """
    content = der.element(data).content
    if len(content) > _MAX_USAGE_OCTETS:
        raise der.Malformed("key usage of more bits than anybody could have defined")
    bits = [octet >> (7 - at) & 1 for octet in content[1:] for at in range(8)]
    if not any(bits):
        raise der.Malformed("a key usage that allows nothing")
    known = len(KEY_USAGE_BITS)
    return tuple(
        KEY_USAGE_BITS[at] if at < known else f"bit {at}" for at, bit in enumerate(bits) if bit
    )


def extended_key_usage(data: bytes) -> tuple[str, ...]:
    """The usages by name, or dotted OID."""
    return tuple(_oid_name(item, USAGE_NAMES) for item in der.elements(der.element(data).content))


def ocsp_urls(data: bytes) -> tuple[str, ...]:
    """URIs of the OCSP responders in an authority information access."""
    pairs = (tuple(der.elements(item.content)) for item in der.elements(der.element(data).content))
    return tuple(
        name.value
        for method, place in pairs
        if der.dotted(method.content) == _OCSP
        for name in [_general_name(place)]
        if name.type == "uri"
    )


def distribution_points(data: bytes) -> tuple[str, ...]:
    """URIs of the CRL distribution points."""
    found: list[str] = []
    for point in der.elements(der.element(data).content):
        for part in der.elements(point.content):
            for name in der.elements(part.content) if part.tag == _FULL_NAME else ():
                if name.tag == _FULL_NAME:
                    every = (_general_name(item) for item in der.elements(name.content))
                    found += [item.value for item in every if item.type == "uri"]
    return tuple(found)


def algorithm_oid(identifier: bytes) -> str:
    """The dotted OID of an AlgorithmIdentifier."""
    return der.dotted(next(der.elements(der.element(identifier).content)).content)


def string_type(attribute: names.Attribute) -> str:
    """The ASN.1 string type of an attribute's value, or its tag when it is no string."""
    return STRING_TYPES.get(attribute.tag, f"tag {attribute.tag:#04x}")


def _exactly(sequence: Element, count: int) -> tuple[Element, ...]:
    parts = tuple(der.elements(sequence.content))
    if len(parts) != count:
        raise der.Malformed(f"{len(parts)} parts instead of {count}")
    return parts


def _name(element: Element) -> Name:
    return Name(
        tuple(
            tuple(_attribute(pair) for pair in der.elements(part.content))
            for part in der.elements(element.content)
        )
    )


def _attribute(pair: Element) -> names.Attribute:
    parts = tuple(der.elements(pair.content))
    if len(parts) != 2:
        raise der.Malformed("a name's attribute without type or value")
    oid, value = parts
    return names.Attribute(der.dotted(oid.content), value.tag, value.content, value.raw)


def _general_name(item: Element) -> GeneralName:
    number = item.tag & 0x1F
    known = item.tag & 0xC0 == 0x80 and number < len(_GENERAL_NAMES)
    kind = _GENERAL_NAMES[number] if known else f"tag {item.tag:#04x}"
    if kind in _TEXT_NAMES and item.content.isascii():
        return GeneralName(kind, item.content.decode("ascii"))
    if kind == "ip" and len(item.content) in (4, 16):
        return GeneralName(kind, str(ipaddress.ip_address(item.content)))
    return GeneralName(kind, "#" + item.raw.hex().upper())


def _oid_name(element: Element, table: dict[str, str]) -> str:
    dotted = der.dotted(element.content)
    return table.get(dotted, dotted)


def _number(element: Element) -> int:
    """A small whole number; one that is out of all proportion is shown as the largest."""
    return max(-1, min(int.from_bytes(element.content, "big", signed=True), LARGEST))
