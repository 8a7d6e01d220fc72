# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing up to a megabyte makes a judgement raise anything but PkiError, last, or swell.

Most of these are signed by the right CA and have the request's key: they get to the end. Each
runs in a process of its own, whose memory is bounded for real.
"""

from __future__ import annotations

import json
import os
import random
import resource
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from adversarial import mutations
from adversarial import reply_mutations as world
from adversarial.der_tree import Node
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import path, reply, revocation, shipped
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.hostile_x509 import attribute, extension, good_name, oid, tlv
from unit.pki_factory import NOW

SECONDS = 5.0
MEMORY = 2 << 30  # bytes more than the tests have anyway
MEGABYTE = 1_000_000
JUDGE = shipped.policy("mhhs-dip")
ISSUING, ROOT, LEAF = world.ISSUING, world.ROOT, world.LEAF
NUMBERS = random.Random(3)


#: How large the large thing in a reply is: all that may be read, or all that is judged.
SIZES = {"a megabyte": MEGABYTE - 3000, "all of a certificate": 60_000}
room = MEGABYTE - 3000


def many(make: Callable[[int], bytes], size: int = 0) -> bytes:
    """Different elements until there are about ``size`` octets, or as much as there is room."""
    parts, total = [], 0
    while total < (size or room):
        parts.append(make(len(parts)))
        total += len(parts[-1])
    return b"".join(parts)


def leaf(*more: bytes, **parts: Any) -> bytes:
    return hostile.certificate(ISSUING, *more, **parts)


def big(kind: str, content: Callable[[], bytes], critical: bool = False) -> bytes:
    mark = b"\x01\x01\xff" if critical else b""
    return leaf(extension(kind, content(), critical=mark))


def deep(levels: int, tag: int = 0x30, end: bytes = b"") -> bytes:
    """An element in an element in an element, built from the inside without a stack."""
    parts, size = [end], len(end)
    for _ in range(levels):
        head = tlv(tag, bytes(size))[: len(tlv(tag, bytes(size))) - size] if size < 128 else (
            bytes([tag, 0x83]) + size.to_bytes(3, "big")
        )  # fmt: skip
        parts.append(head)
        size += len(head)
    return b"".join(reversed(parts))


def number(bits: int) -> bytes:
    value = NUMBERS.getrandbits(bits) | 1 << bits - 1 | 1
    return tlv(2, b"\0" + value.to_bytes((bits + 7) // 8, "big"))


def rsa_spki(modulus: bytes, exponent: bytes) -> bytes:
    algorithm = tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\x05\0")
    return tlv(0x30, algorithm, tlv(3, b"\0", tlv(0x30, modulus, exponent)))


def explicit_curve() -> bytes:
    """P-256 with its parameters written out, as CVE-2020-0601 used it."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    encoded = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    whole = [tlv(2, b"\0" + value.to_bytes(32, "big")) for value in (p, n)]
    curve = tlv(0x30, tlv(4, (p - 3).to_bytes(32, "big")), tlv(4, b.to_bytes(32, "big")))
    field = tlv(0x30, oid("1.2.840.10045.1.1"), whole[0])
    parameters = tlv(
        0x30, b"\x02\x01\x01", field, curve, tlv(4, encoded), whole[1], b"\x02\x01\x01"
    )
    algorithm = tlv(0x30, oid("1.2.840.10045.2.1"), parameters)
    return tlv(0x30, algorithm, tlv(3, b"\0", encoded))


def impostor_ca(spki: bytes) -> bytes:
    """A certificate named like the issuing CA, with another key; signed by the root."""
    return hostile.certificate(
        ROOT, key=spki, subject=ISSUING.certificate.subject.public_bytes(),
        leaf={"ca": True, "key_usage": ["key_cert_sign", "crl_sign"], "serial": 3},
    )  # fmt: skip


def constrained_ca(at: int, size: int) -> bytes:
    """A CA of the issuing CA's name and key, with name constraints of ``size`` octets."""
    names = many(lambda n: tlv(0x30, tlv(0x82, b"n%d-%d.example" % (at, n))), size)
    value = tlv(0x30, tlv(0xA1, names))
    return hostile.certificate(
        ROOT, extension("2.5.29.30", value, critical=b"\x01\x01\xff"),
        key=_spki(ISSUING), subject=ISSUING.certificate.subject.public_bytes(),
        leaf={"ca": True, "key_usage": ["key_cert_sign", "crl_sign"], "serial": at + 100},
    )  # fmt: skip


def _spki(ca: factory.Authority) -> bytes:
    key = ca.private.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request_of(spki: bytes) -> bytes:
    """A request for a key that nobody has; its signature is wrong, which is not judged here."""
    info = tlv(0x30, b"\x02\x01\0", good_name(), spki, tlv(0xA0))
    return mutations.signed(info, factory.key("leaf"))


def named_leaf(at: int) -> bytes:
    return tlv(0x82, b"host%d.example" % at)


def p7(*certificates: bytes) -> bytes:
    inner = tlv(0x30, oid("1.2.840.113549.1.7.1"))
    signed = tlv(0x30, b"\x02\x01\x01", tlv(0x31), inner, tlv(0xA0, *certificates), tlv(0x31))
    return tlv(0x30, oid("1.2.840.113549.1.7.2"), tlv(0xA0, signed))


FOREIGN_KEY = {"public": factory.key("other").public_key()}
HUGE = rsa_spki(number(16384), number(16384))
GIANT = rsa_spki(number(480_000), b"\x02\x03\x01\x00\x01")  # a request holds 64 kB
CLOSE = rsa_spki(number(16384), b"\x02\x03\x01\x00\x01")

#: The files of a reply.
REPLIES: dict[str, Callable[[], Sequence[bytes]]] = {
    "DER of twenty thousand levels": lambda: [deep(20_000)],
    "DER of two hundred thousand levels": lambda: [deep(200_000)],
    "sets of twenty thousand levels": lambda: [deep(20_000, 0x31)],
    "twenty thousand levels in an extension": lambda: [
        big("1.3.6.1.4.1.99999.1", lambda: deep(room // 50))
    ],
    "twenty thousand levels in the names": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, deep(room // 50, 0xA4)))
    ],
    "twenty thousand levels in the subject": lambda: [
        leaf(subject=hostile.name(attribute("2.5.4.3", b""), deep(room // 50)))
    ],
    "strings in pieces, deep": lambda: [deep(20_000, 0x24, b"\x04\0")],
    "512 certificates of the request's key": lambda: [
        b"".join(ISSUING.leaf(serial=n + 1) for n in range(512))
    ],
    "512 certificates of the request's key by others": lambda: [
        b"".join(world.FOREIGN.leaf(serial=n + 1) for n in range(512))
    ],
    "300 strangers": lambda: [
        b"".join(world.FOREIGN.leaf(f"s{n}.example", {}, **FOREIGN_KEY) for n in range(300)), LEAF
    ],
    "nine CAs of the issuer's name": lambda: [
        LEAF, *(impostor_ca(_spki(world.FOREIGN)[:-9] + bytes([n]) * 9) for n in range(9))
    ],
    "six CAs of the issuer's name with huge keys": lambda: [
        LEAF,
        *(impostor_ca(rsa_spki(number(16384), number(16384))) for _ in range(6)),
    ],
    "six CAs of the issuer's name with a large exponent": lambda: [
        LEAF, *(impostor_ca(rsa_spki(number(3072), number(3071))) for _ in range(6))
    ],
    "a CA with a modulus of a megabyte": lambda: [
        LEAF, impostor_ca(rsa_spki(number(room * 7), b"\x02\x03\x01\x00\x01"))
    ],
    "six CAs with a hundred kilobytes of constraints": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, many(named_leaf, room // 10))),
        *(constrained_ca(n, room // 10 if room > 99_999 else room) for n in range(6)),
    ],
    "a CA with a megabyte of constraints": lambda: [
        leaf(hostile.san(*(named_leaf(n) for n in range(900)))), constrained_ca(1, room - 3000)
    ],
    "a curve with its parameters written out": lambda: [leaf(key=explicit_curve())],
    "a CA with such a curve": lambda: [LEAF, impostor_ca(explicit_curve())],
    "ten thousand attributes": lambda: [
        leaf(subject=good_name(*(attribute("2.5.4.11", f"unit {n}") for n in range(room // 24))))
    ],
    "ten thousand common names": lambda: [
        leaf(subject=good_name(*(attribute("2.5.4.3", f"n{n}.example") for n in range(room // 24))))
    ],
    "ten thousand attributes in one relative name": lambda: [
        leaf(subject=good_name(
            tuple(attribute("2.5.4.11", f"unit {n}") for n in range(room // 24))
        ))
    ],
    "a hundred thousand empty relative names": lambda: [
        leaf(subject=tlv(0x30, good_name()[4:], b"\x31\0" * (room // 3)))
    ],
    "an issuer of ten thousand attributes": lambda: [
        hostile.certificate(ISSUING, **{"validity": Node(0x30, good_name(*(
            attribute("2.5.4.11", f"u {n}") for n in range(room // 24)))).encode()})
    ],
    "a common name of a megabyte": lambda: [
        leaf(subject=good_name(CN=attribute("2.5.4.3", "\u202e" * (room // 4))))
    ],
    "an unknown attribute of a megabyte": lambda: [
        leaf(subject=good_name(attribute("1.3.6.1.4.1.99999.1", b"x" * (room - 3000), 4)))
    ],
    "an attribute whose type is endless": lambda: [
        leaf(subject=hostile.name(tlv(0x30, tlv(6, b"\x81" * (room - 3000) + b"\x01"), tlv(12))))
    ],
    "a megabyte of alternative names": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, many(named_leaf)))
    ],
    "a megabyte of alternative names of one letter": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, many(lambda n: tlv(0x82, b"a"))))
    ],
    "a megabyte of other names": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, many(
            lambda n: tlv(0xA0, oid("1.3.6.1.4.1.311.20.2.3"), tlv(0xA0, tlv(12, b"x"))))))
    ],
    "a megabyte of directory names": lambda: [
        big("2.5.29.17", lambda: tlv(0x30, many(lambda n: tlv(0xA4, good_name()))))
    ],
    "a megabyte of extended key usages": lambda: [
        leaf(extensions=_only("2.5.29.37", tlv(0x30, many(
            lambda n: oid(f"1.3.6.1.5.5.7.3.{n + 1}")))))
    ],
    "a megabyte of key usage": lambda: [
        leaf(extensions=_only("2.5.29.15", tlv(3, b"\0" + b"\xff" * (room - 3000))))
    ],
    "a megabyte of distribution points": lambda: [
        big("2.5.29.31", lambda: tlv(0x30, many(
            lambda n: tlv(0x30, tlv(0xA0, tlv(0xA0, tlv(0x86, b"http://h%d.example/" % n)))))))
    ],
    "a megabyte of responders": lambda: [
        big("1.3.6.1.5.5.7.1.1", lambda: tlv(0x30, many(
            lambda n: tlv(0x30, oid("1.3.6.1.5.5.7.48.1"), tlv(0x86, b"http://h%d.example" % n)))))
    ],
    "a megabyte of policies": lambda: [
        big("2.5.29.32", lambda: tlv(0x30, many(
            lambda n: tlv(0x30, oid(f"1.3.6.1.4.1.99999.{n + 1}")))))
    ],
    "twenty thousand extensions": lambda: [
        leaf(*(extension(f"1.3.6.1.4.1.99999.{n + 1}", b"") for n in range(room // 40)))
    ],
    "twenty thousand times the same extension": lambda: [
        leaf(*(extension("1.3.6.1.4.1.99999.1", b"") for _ in range(room // 40)))
    ],
    "a serial of a megabyte": lambda: [leaf(serial=tlv(2, b"\x7f" + b"\xff" * (room - 3000)))],
    "a negative serial of a megabyte": lambda: [
        leaf(serial=tlv(2, b"\x80" + b"\0" * (room - 3000)))
    ],
    "a hundred thousand faults of encoding": lambda: [
        leaf(subject=tlv(0x30, good_name()[4:], b"\x31\x81\0" * (room // 4)))
    ],
    "PKCS #7 in PKCS #7": lambda: [_onion(5000)],
    "PKCS #7 with all of it": lambda: [
        p7(LEAF, *(ISSUING.leaf(serial=n + 1) for n in range(500)))
    ],
    "PKCS #7 with a list of a megabyte": lambda: [_with_list()],
    "a key as large as a request holds": lambda: [leaf(key=GIANT)],
    "a key of 16384 bits": lambda: [leaf(key=CLOSE)],
    "a key of 16384 bits with such an exponent": lambda: [leaf(key=HUGE)],
    "a key with a modulus of nought": lambda: [
        leaf(key=rsa_spki(b"\x02\x01\0", b"\x02\x01\0"))
    ],
}  # fmt: skip
#: The request of a reply, where it is not the usual one.
REQUESTS: Mapping[str, bytes] = {
    "a key as large as a request holds": request_of(GIANT),
    "a key of 16384 bits": request_of(CLOSE),
    "a key of 16384 bits with such an exponent": request_of(HUGE),
    "a key with a modulus of nought": request_of(rsa_spki(b"\x02\x01\0", b"\x02\x01\0")),
    "a curve with its parameters written out": request_of(explicit_curve()),
}


def _only(kind: str, value: bytes) -> bytes:
    """The extensions of a leaf with one of them replaced."""
    old = [part.raw for part in _extensions() if oid(kind) not in part.raw]
    return tlv(0xA3, tlv(0x30, *old, extension(kind, value)))


def _extensions() -> Sequence[Any]:
    from pki import der

    tbs = next(der.elements(der.element(LEAF).content))
    last = tuple(der.elements(tbs.content))[-1]
    return tuple(der.elements(der.element(last.content).content))


def _onion(levels: int) -> bytes:
    inner = Node(0x30, LEAF)
    data = inner.encode()
    for _ in range(levels):
        data = p7(data)
        if len(data) > MEGABYTE * 9 // 10:
            break
    return data


def _with_list() -> bytes:
    crl = ISSUING.crl(range(1000, 30_000))
    inner = tlv(0x30, oid("1.2.840.113549.1.7.1"))
    parts = (tlv(0x31), inner, tlv(0xA0, LEAF), tlv(0xA1, crl), tlv(0x31))
    signed = tlv(0x30, b"\x02\x01\x01", *parts)
    return tlv(0x30, oid("1.2.840.113549.1.7.2"), tlv(0xA0, signed))


def judged(files: Sequence[bytes], csr: bytes) -> str:
    """The outcome in a word."""
    try:
        reply.accept(
            files,
            csr=csr,
            expectation=world.EXPECTATION,
            trust=world.TRUST,
            revocation=reply.Revocation(world.CRLS),
            now=NOW,
            policy=JUDGE,
        )
    except PkiError as exc:
        return exc.rule if len(str(exc)) < 100_000 else "raised endless words"
    return "accepted"


def measured(work: Callable[[], str]) -> tuple[str, float]:
    """Outcome and CPU seconds of ``work`` in a process with bounded memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with open("/proc/self/statm") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        before = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = work()
        except BaseException as exc:
            outcome = f"raised {type(exc).__name__}: {str(exc)[:200]}"
        told = json.dumps((outcome, time.process_time() - before)).encode()
        os.write(writing, told)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process ended with {status}"
    outcome, seconds = json.loads(told)
    return outcome, seconds


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", REPLIES)
def test_a_reply_is_judged_in_time_and_in_bounded_memory(
    what: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "room", SIZES[size])
    files = REPLIES[what]()
    assert sum(map(len, files)) < 1_100_000
    outcome, seconds = measured(lambda: judged(files, REQUESTS.get(what, world.REQUEST)))
    assert not outcome.startswith("raised"), outcome
    assert outcome != "accepted" or what in HARMLESS
    assert seconds < SECONDS


#: What is large and right all the same: strangers, and a list beside the certificate.
HARMLESS = frozenset(
    {
        "300 strangers",
        "512 certificates of the request's key",
        "PKCS #7 with all of it",
        "a megabyte of policies",
        "PKCS #7 with a list of a megabyte",
        "six CAs of the issuer's name with huge keys",
        "six CAs of the issuer's name with a large exponent",
        "a CA with a modulus of a megabyte",
        "a CA with such a curve",
    }
)


def entries() -> bytes:
    return ISSUING.crl(range(10**18, 10**18 + 20_000))


SOURCES: dict[str, Callable[[], tuple[Sequence[bytes], Sequence[bytes]]]] = {
    "a list of a megabyte": lambda: ([entries()], ()),
    "two hundred lists": lambda: ([ISSUING.crl(number=n) for n in range(200)], ()),
    "a list of twenty thousand levels": lambda: ([deep(20_000)], ()),
    "a PEM file of BEGIN lines": lambda: ([b"-----BEGIN X509 CRL-----\n" * 40_000], ()),
    "a PEM file of empty lists": lambda: (
        [b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n" * 18_000], ()
    ),
    "a distribution point of a megabyte": lambda: (
        [ISSUING.crl(extensions=[factory.idp("http://" + "a" * 900_000)])], ()
    ),
    "a response of a megabyte": lambda: ((), [deep(20_000)]),
    "a response with a thousand certificates": lambda: ((), [_response()]),
    "a response that is nothing": lambda: ((), [b"\x30" * MEGABYTE]),
}  # fmt: skip


def _response() -> bytes:
    """A right response with many responders' certificates, of which none is one."""
    good = ISSUING.ocsp(LEAF, start=NOW, end=NOW + factory.DAY)
    from adversarial import der_tree

    root = der_tree.parse(good)
    octets = next(node for node in root.walk() if node.tag == 0x04 and node.children)
    assert octets.children
    basic = octets.children[0]
    assert basic.children
    basic.children.append(Node(0xA0, tlv(0x30, LEAF * 900)))
    return root.encode()


@pytest.mark.parametrize("what", SOURCES)
def test_what_tells_of_revocation_is_read_in_time_and_in_bounded_memory(what: str) -> None:
    crls, responses = SOURCES[what]()
    assert sum(map(len, (*crls, *responses))) < 1_100_000

    def work() -> str:
        try:
            chain = path.validate(
                LEAF, [ISSUING.der], [ROOT.der], crls=crls, ocsp=responses, now=NOW
            )
        except PkiError as exc:
            return exc.rule
        return f"{len(chain)} certificates"

    outcome, seconds = measured(work)
    assert not outcome.startswith("raised"), outcome
    assert seconds < SECONDS


def test_a_list_of_a_megabyte_is_searched() -> None:
    """The bound is no excuse: a listed serial is found among twenty thousand."""
    crl = ISSUING.crl([*range(10**18, 10**18 + 20_000), factory.serial(LEAF)])
    (status,) = revocation.check([LEAF, ISSUING.der], [crl], NOW)
    assert status.verdict == "revoked"


def test_the_measure_would_notice() -> None:
    outcome, _ = measured(lambda: str(len(bytearray(MEMORY + (1 << 28)))))
    assert outcome.startswith("raised MemoryError")
    assert x509.load_der_x509_certificate(leaf()).version is x509.Version.v3
