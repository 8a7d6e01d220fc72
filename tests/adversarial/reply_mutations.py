# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of replies that are wrong in one thing: every one must be refused.

Three kinds. *Spoiled*: bytes flipped, cut, inserted, spliced, and every node of the
certificate's DER changed in turn with the lengths made right again; nobody signed these.
*Signed*: the right CA signed a certificate that is wrong. *Swapped*: good pieces in the wrong
place. The set is the same in every run, apart from the keys.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from adversarial import der_tree, mutations
from adversarial.der_tree import Node
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from pki import csr, der, reply
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.hostile_x509 import attribute, extension, good_name, tlv
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
FOREIGN = factory.authority("Foreign Root")
LEAF = ISSUING.leaf()
PEM = factory.pem(LEAF)
CRLS = (ISSUING.crl(), ROOT.crl())
EXPECTATION = reply.Expectation(CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod")
TRUST = reply.Trust([ROOT.der], [ISSUING.der], [ISSUING.sha256])
GOOD = (LEAF, ISSUING.der)
REQUEST = factory.request()


@dataclass(frozen=True)
class Mutant:
    """A reply and the request it answers; ``signed`` when the right CA signed its leaf."""

    name: str
    files: tuple[bytes, ...]
    signed: bool = False
    csr: bytes = REQUEST


def every(seed: int = 5) -> Iterator[Mutant]:
    """The whole set."""
    yield from spoiled(seed)
    yield from swapped()
    for name, leaf in {**NAMES, **CONTENT}.items():
        yield Mutant(name, (leaf,), signed=True)
    yield from weak_keys()


# --- spoiled ------------------------------------------------------------------------------


def spoiled(seed: int) -> Iterator[Mutant]:
    rng = random.Random(seed)
    yield from _nodes(rng)
    donors = (LEAF, ISSUING.der, CRLS[0], FOREIGN.der)
    for at in range(0, len(LEAF) * 8, 11):
        changed = bytearray(LEAF)
        changed[at // 8] ^= 1 << at % 8
        yield Mutant(f"bit {at} flipped", (bytes(changed),))
    for cut in range(1, len(LEAF), 13):
        yield Mutant(f"cut at {cut}", (LEAF[:cut],))
        yield Mutant(f"an octet inserted at {cut}", (LEAF[:cut] + b"\0" + LEAF[cut:],))
        yield Mutant(f"an octet lost at {cut}", (LEAF[:cut] + LEAF[cut + 1 :],))
    for at in range(0, len(LEAF), 31):
        for name, donor in (("CA", ISSUING.der), ("stranger", FOREIGN.der), ("list", CRLS[0])):
            yield Mutant(f"spliced with the {name} at {at}", (LEAF[:at] + donor[at:],))
    for number in range(300):
        data = mutations.change_tree(rng, LEAF, donors)
        yield Mutant(f"several changes of the tree, number {number}", (data,))
        data = mutations.change_bytes(rng, PEM, (PEM, ISSUING.pem))
        yield Mutant(f"several changes of the text, number {number}", (data,))


def _nodes(rng: random.Random) -> Iterator[Mutant]:
    """Every node of the certificate, changed in every way that fits it."""
    count = sum(1 for _ in der_tree.parse(LEAF).walk())
    donors = list(der_tree.parse(ISSUING.der).walk())
    for at in range(count):
        for change in der_tree.CHANGES:
            root = der_tree.parse(LEAF)
            node = list(root.walk())[at]
            if change.wants(node):
                change.apply(rng, node, donors)
                yield Mutant(f"node {at}: {change.name}", (root.encode(),))


def resigned(seed: int) -> Iterator[Mutant]:
    """Every node of what is signed, changed and signed again: many of these are harmless."""
    rng = random.Random(seed)
    donors = list(der_tree.parse(ISSUING.der).walk())
    count = sum(1 for _ in _tbs(der_tree.parse(LEAF)).walk())
    for at in range(count):
        for change in der_tree.CHANGES:
            tbs = _tbs(der_tree.parse(LEAF))
            node = list(tbs.walk())[at]
            if change.wants(node):
                change.apply(rng, node, donors)
                leaf = mutations.signed(tbs.encode(), ISSUING.private)
                yield Mutant(f"node {at}: {change.name}, signed", (leaf,), signed=True)


def _tbs(root: Node) -> Node:
    assert root.children
    return root.children[0]


# --- swapped ------------------------------------------------------------------------------


def swapped() -> Iterator[Mutant]:
    """Good certificates in the wrong place."""
    public = factory.key("leaf").public_key()
    parts = [part.raw for part in der.elements(der.element(LEAF).content)]
    others = [part.raw for part in der.elements(der.element(ISSUING.leaf(serial=99)).content)]
    own = factory.Authority(x509.load_der_x509_certificate(LEAF), factory.key("leaf"))
    imitation = factory.authority("Example Root", key_name="imitated root")
    imitated = imitation.authority("Example Issuing", key_name="imitated issuing", path_length=0)
    below = ISSUING.authority("Below Issuing")  # ISSUING may have no CA below it
    files: Mapping[str, tuple[bytes, ...]] = {
        "the signature of another certificate": (tlv(0x30, parts[0], parts[1], others[2]),),
        "the content of another certificate": (tlv(0x30, others[0], parts[1], parts[2]),),
        "signed by its own key": (own.leaf(),),
        "signed by its own key, calling itself the CA": (
            factory.Authority(ISSUING.certificate, factory.key("leaf")).leaf(),
        ),
        "signed by a foreign CA": (FOREIGN.leaf(), FOREIGN.der),
        "signed by a CA of the same name": (imitated.leaf(), imitated.der, imitation.der),
        "signed by the root": (ROOT.leaf(), ROOT.der),
        "signed by a CA beyond the path length": (below.leaf(), below.der),
        "signed by another end entity": (
            factory.Authority(
                x509.load_der_x509_certificate(ISSUING.leaf(public=public)), factory.key("leaf")
            ).leaf(serial=7),
            LEAF[:-1] + bytes([LEAF[-1] ^ 1]),
        ),
        "the issuing CA alone": (ISSUING.der,),
        "the root alone": (ROOT.der,),
        "a list instead": (CRLS[0],),
        "the request instead": (REQUEST,),
        "the certificate of another key": (ISSUING.leaf(public=factory.key("other").public_key()),),
    }
    for name, one in files.items():
        yield Mutant(name, one)


# --- signed -------------------------------------------------------------------------------

CN_OID, O_OID, C_OID, L_OID, ST_OID, OU_OID = (
    "2.5.4.3", "2.5.4.10", "2.5.4.6", "2.5.4.7", "2.5.4.8", "2.5.4.11",
)  # fmt: skip
ORGANISATION = SUBJECT["O"]


def named(*more: hostile.Part, **changed: hostile.Part) -> bytes:
    return hostile.certificate(ISSUING, subject=good_name(*more, **changed))


def without(*keys: str) -> bytes:
    parts = {
        "C": attribute(C_OID, SUBJECT["C"], hostile.PRINTABLE),
        "ST": attribute(ST_OID, SUBJECT["ST"]),
        "L": attribute(L_OID, SUBJECT["L"]),
        "O": attribute(O_OID, ORGANISATION),
        "CN": attribute(CN_OID, CN),
    }
    kept = [part for key, part in parts.items() if key not in keys]
    return hostile.certificate(ISSUING, subject=hostile.name(*kept))


_OTHER_CNS = {
    "in capitals": CN.upper(), "with one capital": CN.capitalize(), "with a dot behind": CN + ".",
    "with a dot before": "." + CN, "with a blank behind": CN + " ", "with a blank before": " " + CN,
    "with a line feed behind": CN + "\n", "with a NUL behind": CN + "\0",
    "with a NUL and another name": CN + "\0.evil.example", "with a look-alike letter":
    CN.replace("e", "е", 1), "with a full-width dot": CN.replace(".", "．", 1),
    "with a soft hyphen": CN.replace("-", "-\u00ad", 1),
    "with a joiner": CN[:5] + "\u200d" + CN[5:],
    "with a non-breaking hyphen": CN.replace("-", "\u2011", 1), "with a bidi override":
    "\u202e" + CN, "of production": CN.replace("nonprod", "prod"), "of the parent domain":
    CN.split(".", 1)[1], "of a child domain": "a." + CN,
    "as a wildcard": "*." + CN.split(".", 1)[1],
    "empty": "", "of another organisation": "energydip-nonprod.other.example", "doubled": CN + CN,
    "with a port": CN + ":443", "as an address": "https://" + CN, "cut short": CN[:-1],
}  # fmt: skip
_OTHER_ORGANISATIONS = {
    "in capitals": ORGANISATION.upper(), "with a blank behind": ORGANISATION + " ",
    "with two blanks": ORGANISATION.replace(" ", "  ", 1), "with a no-break space":
    ORGANISATION.replace(" ", "\u00a0", 1), "with a look-alike letter":
    ORGANISATION.replace("a", "а", 1), "with a full stop": ORGANISATION + ".",
    "spelled out": ORGANISATION.replace("Ltd", "Limited"), "with a NUL": ORGANISATION + "\0",
    "empty": "", "with a newline": ORGANISATION + "\n",
}  # fmt: skip
NAMES: dict[str, bytes] = {
    **{f"a common name {how}": named(CN=attribute(CN_OID, text))
       for how, text in _OTHER_CNS.items()},
    **{f"an organisation {how}": named(O=attribute(O_OID, text))
       for how, text in _OTHER_ORGANISATIONS.items()},
    **{f"without {key}": without(key) for key in ("C", "ST", "L", "O", "CN")},
    "without a subject": hostile.certificate(ISSUING, subject=hostile.name()),
    "two common names": named(attribute(CN_OID, "other.example")),
    "two common names, the good one last": named(
        attribute(CN_OID, CN), CN=attribute(CN_OID, "other.example")
    ),
    "the same common name twice": named(attribute(CN_OID, CN)),
    "two common names in one relative name": named(
        CN=(attribute(CN_OID, CN), attribute(CN_OID, "other.example"))
    ),
    "common name and organisation in one relative name": named(
        CN=(attribute(CN_OID, CN), attribute(O_OID, ORGANISATION))
    ),
    "a unit added": named(attribute(OU_OID, "Sales")),
    "two organisations": named(attribute(O_OID, "Other Ltd")),
    "two countries": named(attribute(C_OID, "FR", hostile.PRINTABLE)),
    "a mail address added": named(
        attribute("1.2.840.113549.1.9.1", "a@b.example", hostile.IA5)
    ),
    "a serial number of the subject added": named(
        attribute("2.5.4.5", "1", hostile.PRINTABLE)
    ),
    "an unknown attribute added": named(attribute("1.3.6.1.4.1.99999.1", "x")),
    "another country": named(C=attribute(C_OID, "FR", hostile.PRINTABLE)),
    "a country in small letters": named(C=attribute(C_OID, "gb", hostile.PRINTABLE)),
    "another town": named(L=attribute(L_OID, "Londres")),
    "another county": named(ST=attribute(ST_OID, "Greater London")),
    "a teletex common name": named(CN=attribute(CN_OID, CN, hostile.TELETEX)),
    "a common name in BMP": named(CN=attribute(CN_OID, CN.encode("utf-16-be"), hostile.BMP)),
    "a teletex organisation": named(O=attribute(O_OID, ORGANISATION, hostile.TELETEX)),
    "an organisation in BMP": named(
        O=attribute(O_OID, ORGANISATION.encode("utf-16-be"), hostile.BMP)
    ),
    "an organisation that is no string": named(O=attribute(O_OID, b"\x01", hostile.INTEGER)),
    "an organisation of bad UTF-8": named(O=attribute(O_OID, b"\xff\xfe")),
    "an empty relative name": hostile.certificate(
        ISSUING, subject=tlv(0x30, good_name()[2:], tlv(0x31))
    ),
}  # fmt: skip


def made(**options: Any) -> bytes:
    return ISSUING.leaf(**options)


def with_extension(kind: str, value: bytes, critical: bool = False) -> bytes:
    mark = tlv(hostile.BOOLEAN, b"\xff") if critical else b""
    return hostile.certificate(ISSUING, extension(kind, value, critical=mark))


def moments(start: bytes, end: bytes) -> bytes:
    return hostile.certificate(ISSUING, validity=tlv(0x30, start, end))


def serial(content: bytes) -> bytes:
    return hostile.certificate(ISSUING, serial=tlv(2, content))


_ANY = x509.ObjectIdentifier("2.5.29.37.0")
_START, _END = tlv(0x17, b"261120120000Z"), tlv(0x17, b"271221120000Z")
_MD5_RSA = bytes.fromhex("300d06092a864886f70d0101040500")
_SHA1_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
_NO_NULL = bytes.fromhex("300b06092a864886f70d01010b")
CONTENT: dict[str, bytes] = {
    "a CA flag": made(ca=True),
    "a CA flag and keyCertSign": made(ca=True, key_usage=["digital_signature", "key_cert_sign"]),
    "keyCertSign": made(key_usage=["digital_signature", "key_encipherment", "key_cert_sign"]),
    "cRLSign": made(key_usage=["digital_signature", "key_encipherment", "crl_sign"]),
    "no digitalSignature": made(key_usage=["key_encipherment"]),
    "only keyAgreement": made(key_usage=["key_agreement"]),
    "a key usage that allows nothing": hostile.certificate(
        ISSUING, extension("2.5.29.15", tlv(3, b"\0"), critical=b"\x01\x01\xff"),
        leaf={"key_usage": ()},
    ),
    "a key usage of bits nobody defined": hostile.certificate(
        ISSUING, extension("2.5.29.15", tlv(3, b"\x00\xa0\x00\x80")), leaf={"key_usage": ()}
    ),
    "alternative names without a name": with_extension("2.5.29.17", tlv(0x30), True),
    "no clientAuth": made(eku=[Usage.SERVER_AUTH]),
    "only codeSigning": made(eku=[Usage.CODE_SIGNING]),
    "any extended key usage": made(eku=[_ANY]),
    "no extended key usage": made(eku=[]),
    "OCSPSigning besides": made(eku=[*factory.MTLS, Usage.OCSP_SIGNING]),
    "ended a second ago": made(end=NOW - SECOND),
    "begins in a second": made(start=NOW + SECOND),
    "ended years ago": made(start=NOW - 900 * DAY, end=NOW - 500 * DAY),
    "ends before it begins": moments(_END, _START),
    "no seconds in its times": moments(tlv(0x17, b"2611201200Z"), _END),
    "a time zone in its times": moments(tlv(0x17, b"261120120000+0100"), _END),
    "fractions of seconds": moments(tlv(0x18, b"20261120120000.5Z"), _END),
    "a month that does not exist": moments(tlv(0x17, b"261320120000Z"), _END),
    "a critical extension nobody knows": with_extension("1.3.6.1.4.1.99999.1", b"\x05\0", True),
    "an extension nobody knows": with_extension("1.3.6.1.4.1.99999.1", b"\x05\0"),
    "basicConstraints twice": with_extension("2.5.29.19", tlv(0x30)),
    "extended key usage twice": with_extension(
        "2.5.29.37", tlv(0x30, hostile.oid("1.3.6.1.5.5.7.3.2"))
    ),
    "name constraints": with_extension(
        "2.5.29.30", tlv(0x30, tlv(0xA0, tlv(0x30, tlv(0x82, b"example")))), True
    ),
    "a precertificate": with_extension("1.3.6.1.4.1.11129.2.4.3", b"\x05\0", True),
    "a name of somebody else": made(san=[CN, "www.other.example"]),
    "a wildcard name": made(san=[CN, "*.example-energy.co.uk"]),
    "a name in another form": with_extension("2.5.29.17", tlv(0x30, tlv(0x81, b"a@b.example"))),
    "an address": with_extension("2.5.29.17", tlv(0x30, tlv(0x87, bytes([10, 0, 0, 1])))),
    "a name with a NUL": with_extension("2.5.29.17", tlv(0x30, tlv(0x82, b"a\0b.example"))),
    "names that do not decode": with_extension("2.5.29.17", b"\x05\0"),
    "noise behind an extension": with_extension(
        "2.5.29.17", tlv(0x30, tlv(0x82, CN.encode())) + b"\0"
    ),
    "a negative serial": serial(b"\xff"),
    "a serial of nought": serial(b"\0"),
    "a serial of twenty-one octets": serial(b"\x7f" + bytes(20)),
    "a serial in more octets than needed": serial(b"\0\x01"),
    "a huge serial": serial(b"\x01" + bytes(5000)),
    "SHA-512": made(hash_algorithm=hashes.SHA512()),
    "PSS": made(rsa_padding=factory.PSS),
    "another algorithm inside": hostile.certificate(ISSUING, algorithm=hostile.SHA512_RSA),
    "another algorithm outside": hostile.certificate(ISSUING, outer=hostile.SHA512_RSA),
    "SHA-1 inside and outside": hostile.certificate(
        ISSUING, algorithm=_SHA1_RSA, outer=_SHA1_RSA
    ),
    "MD5 inside and outside": hostile.certificate(ISSUING, algorithm=_MD5_RSA, outer=_MD5_RSA),
    "no parameters of the algorithm outside": hostile.certificate(ISSUING, outer=_NO_NULL),
    "unused bits in the signature": hostile.certificate(ISSUING, unused_bits=1),
    "version 1": hostile.certificate(ISSUING, without=("version",)),
    "version 1 without extensions": hostile.certificate(ISSUING, without=("version", "extensions")),
    "version 2": hostile.certificate(ISSUING, version=tlv(0xA0, tlv(2, b"\x01"))),
    "version 4": hostile.certificate(ISSUING, version=tlv(0xA0, tlv(2, b"\x03"))),
    "no extensions": hostile.certificate(ISSUING, without=("extensions",)),
    "noise inside what is signed": hostile.certificate(
        ISSUING, extensions=der.element(LEAF).content[-2:] + b"\x05\0"
    ),
    "a length in too many octets": hostile.certificate(
        ISSUING, subject=b"\x30\x82" + len(good_name()[2:]).to_bytes(2, "big") + good_name()[2:]
    ),
}  # fmt: skip


def weak_keys() -> Iterator[Mutant]:
    """Requests and certificates that agree about a key that is too weak or of another kind."""
    for name, key in _weak().items():
        public = key.public_key()
        if isinstance(key, rsa.RSAPrivateKey):
            request = csr.build(key, CN, SUBJECT)
        else:
            builder = x509.CertificateSigningRequestBuilder().subject_name(
                factory.name(CN, SUBJECT)
            )
            request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        yield Mutant(name, (ISSUING.leaf(public=public),), True, request)


@cache
def _weak() -> dict[str, Any]:
    return {
        "e = 3": rsa.generate_private_key(3, 2048),
        "2047 bits": rsa.generate_private_key(65537, 2047),
        "1024 bits": rsa.generate_private_key(65537, 1024),
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "P-521": ec.generate_private_key(ec.SECP521R1()),
    }


def is_der(data: bytes) -> bool:
    """Whether bytes are one DER element and nothing behind it."""
    try:
        return der.element(data).raw == data
    except ValueError:
        return False


def spki(data: bytes) -> bytes:
    key = x509.load_der_x509_certificate(data).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
