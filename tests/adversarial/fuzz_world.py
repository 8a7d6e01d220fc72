# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fuzz run knocks at: each door with a right world behind it, and inputs from a number.

An input is decided by the seed and its number alone, given the keys, which are kept with the
run's state: a run can stop anywhere and go on.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
from adversarial import mutations
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509 import ocsp
from pki import path, reading, reply, revocation, shipped
from unit import pki_factory as factory
from unit.pki_factory import CN, NOW, SUBJECT

LARGEST = 1_000_000
_VECTORS = Path(cryptography_vectors.__file__).parent


def keys_in(directory: Path) -> None:
    """Let the factory take its keys from files: the same input must come from the same number."""

    @cache
    def kept(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
        place = directory / f"{name.replace(' ', '-')}-{bits}.pem"
        if not place.exists():
            made = rsa.generate_private_key(public_exponent=65537, key_size=bits)
            form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            place.write_bytes(made.private_bytes(*form))
        loaded = load_pem_private_key(place.read_bytes(), None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded

    factory.key = kept


@dataclass(frozen=True)
class Unsound(Exception):
    """Something was accepted, or called good, that nobody signed."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Attempt:
    """One input: where it goes, how it was made, its bytes, and whether a CA signed it."""

    door: str
    how: str
    data: tuple[bytes, ...]
    genuine: bool = False


class World:
    """A right reply with its CAs, lists and responses, and seeds of other people."""

    def __init__(self) -> None:
        self.root = factory.authority("Example Root", serial=11)
        self.issuing = self.root.authority("Example Issuing", path_length=0, serial=12)
        self.foreign = factory.authority("Foreign Root", serial=13)
        self.leaf = self.issuing.leaf(serial=14)
        self.request = factory.request()
        self.pem = factory.pem(self.leaf)
        self.crls = (self.issuing.crl(), self.root.crl())
        self.responses = (
            self.issuing.ocsp(self.leaf, start=NOW, end=NOW + factory.DAY),
            self.root.ocsp(self.issuing.der, start=NOW, end=NOW + factory.DAY),
        )
        self.expectation = reply.Expectation(
            CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod"
        )
        self.policy = shipped.policy("mhhs-dip")
        self.trust = reply.Trust([self.root.der], [], [self.issuing.sha256])
        self.certificates = _vector_files("x509", "*.pem", b"CERTIFICATE") + _vector_files(
            "x509", "*.der", b""
        )
        self.lists = _vector_files("x509", "*crl*", b"")
        self.ocsp = _vector_files("x509/ocsp", "*.der", b"")
        loaded = [x509.load_der_x509_certificate(one) for one in (self.leaf, self.issuing.der)]
        self.forms = (
            self.pem + self.issuing.pem,
            self.issuing.der + self.leaf,
            pkcs7.serialize_certificates(loaded, Encoding.DER),
            pkcs7.serialize_certificates(loaded, Encoding.PEM),
            base64.encodebytes(self.leaf + self.issuing.der),
            self.request + self.pem + self.issuing.pem + self.foreign.pem,
        )
        self.donors = (
            self.leaf, self.issuing.der, self.crls[0], self.responses[0], *self.certificates[:60]
        )  # fmt: skip

    # --- inputs ---------------------------------------------------------------------------

    def attempt(self, seed: int, number: int) -> Attempt:
        """The input of this number."""
        rng = random.Random(f"{seed}:{number}")
        make: Callable[[random.Random], Attempt] = rng.choices(
            (
                self._mutated_reply, self._signed_leaf, self._signed_issuer, self._vector_reply,
                self._mutated_request, self._path, self._signed_path, self._crl, self._signed_crl,
                self._ocsp, self._reading,
            ),
            (22, 14, 5, 6, 4, 7, 7, 9, 9, 9, 8),
        )[0]  # fmt: skip
        made = make(rng)
        if rng.random() < 0.003:
            made = _inflated(rng, made)
        return made

    def _any(self, rng: random.Random, data: bytes) -> bytes:
        if data[:1] == b"\x30" and rng.random() < 0.6:
            return mutations.change_tree(rng, data, self.donors)
        return mutations.change_bytes(rng, data, self.donors)

    def _mutated_reply(self, rng: random.Random) -> Attempt:
        form = rng.choice(self.forms)
        if form[:1] != b"\x30" and rng.random() < 0.5:
            return Attempt("accept", "a reply through other programs", (_text(rng, form),))
        if rng.random() < 0.4:
            armoured = rng.random() < 0.5
            leaf = mutations.change_tree(rng, self.leaf, self.donors)
            data = _armoured(leaf) if armoured else leaf
            return Attempt("accept", "a leaf changed in its DER", (data, self.issuing.der))
        return Attempt("accept", "a reply changed in its bytes", (self._any(rng, form),))

    def _signed_leaf(self, rng: random.Random) -> Attempt:
        leaf = mutations.change_signed(rng, self.leaf, self.donors, self.issuing.private)
        return Attempt("accept", "a leaf changed and signed", (leaf, self.issuing.der), True)

    def _signed_issuer(self, rng: random.Random) -> Attempt:
        ca = mutations.change_signed(rng, self.issuing.der, self.donors, self.root.private)
        return Attempt("accept", "an issuing CA changed and signed", (self.leaf, ca), True)

    def _vector_reply(self, rng: random.Random) -> Attempt:
        some = rng.sample(self.certificates, rng.choice((1, 1, 2, 8)))
        files = [self._any(rng, one) if rng.random() < 0.7 else one for one in some]
        files += [self.leaf] * (rng.random() < 0.3)
        rng.shuffle(files)
        return Attempt("accept", "certificates of others", tuple(files))

    def _mutated_request(self, rng: random.Random) -> Attempt:
        request = x509.load_pem_x509_csr(self.request).public_bytes(Encoding.DER)
        if rng.random() < 0.5:
            own = factory.key("leaf")
            changed = mutations.change_signed(rng, request, self.donors, own)
            return Attempt("request", "a request changed and signed", (changed,), True)
        return Attempt("request", "a request changed", (self._any(rng, request),), True)

    def _path(self, rng: random.Random) -> Attempt:
        if rng.random() < 0.5:
            some = tuple(rng.sample(self.certificates, rng.choice((2, 3, 5))))
            files = tuple(self._any(rng, one) if rng.random() < 0.3 else one for one in some)
            return Attempt("path", "a path of others' certificates", files, True)
        place = rng.randrange(3)
        chain = [self.leaf, self.issuing.der, self.root.der]
        chain[place] = self._any(rng, chain[place])
        return Attempt("path", "a path with one certificate changed", tuple(chain), place == 2)

    def _signed_path(self, rng: random.Random) -> Attempt:
        chain = [self.leaf, self.issuing.der, self.root.der]
        keys = (self.issuing.private, self.root.private, self.root.private)
        place = rng.randrange(3)
        chain[place] = mutations.change_signed(rng, chain[place], self.donors, keys[place])
        return Attempt("path", "a path with one certificate changed and signed", tuple(chain), True)

    def _crl(self, rng: random.Random) -> Attempt:
        if rng.random() < 0.3:
            return Attempt("crl", "a list of others", (self._any(rng, rng.choice(self.lists)),))
        return Attempt("crl", "a list changed", (self._any(rng, self.crls[0]),))

    def _signed_crl(self, rng: random.Random) -> Attempt:
        crl = rng.choice((self.crls[0], self.issuing.crl([5, 14, 77]), self.issuing.crl([9])))
        changed = mutations.change_signed(rng, crl, self.donors, self.issuing.private)
        return Attempt("crl", "a list changed and signed", (changed,), True)

    def _ocsp(self, rng: random.Random) -> Attempt:
        own = rng.random() < 0.7
        source = self.responses[0] if own else rng.choice(self.ocsp)
        return Attempt("ocsp", "a response changed", (self._any(rng, source),))

    def _reading(self, rng: random.Random) -> Attempt:
        noise = rng.randbytes(rng.choice((3, 100, 3000)))
        start = rng.choice((b"", b"\x30", b"\x30\x82", b"\x30\x80", b"\xff\xfe", self.pem[:40]))
        if rng.random() < 0.5:
            return Attempt("read", "random bytes", (start + noise,))
        return Attempt("read", "text", (_text(rng, rng.choice(self.certificates)),))

    # --- doors ----------------------------------------------------------------------------

    def knock(self, attempt: Attempt) -> str:
        """The outcome in a word; raises PkiError, or Unsound, or what is a finding."""
        doors: dict[str, Callable[[Attempt], str]] = {
            "accept": self._accept,
            "request": self._accept_request,
            "path": self._validate,
            "crl": self._check_crl,
            "ocsp": self._check_ocsp,
            "read": lambda one: f"{min(len(reading.read(one.data)), 3)} certificates",
        }
        return doors[attempt.door](attempt)

    def _judged(self, files: Sequence[bytes], csr: bytes, **options: Any) -> reply.Accepted:
        return reply.accept(
            files,
            csr=csr,
            expectation=self.expectation,
            trust=self.trust,
            revocation=reply.Revocation(self.crls),
            now=NOW,
            policy=self.policy,
        )

    def _accept(self, attempt: Attempt) -> str:
        accepted = self._judged(attempt.data, self.request)
        if not attempt.genuine and accepted.chain != (self.leaf, self.issuing.der):
            raise Unsound("a certificate was accepted that no CA made")
        leaf = x509.load_der_x509_certificate(accepted.chain[0])
        good = x509.load_der_x509_certificate(self.leaf)
        # In any order: a CA writes a subject by its own template.
        subjects = [{(item.oid, item.value) for item in one.subject} for one in (leaf, good)]
        if leaf.public_key() != good.public_key() or subjects[0] != subjects[1]:
            raise Unsound("a certificate of another key or subject was accepted")
        return "accepted"

    def _accept_request(self, attempt: Attempt) -> str:
        self._judged((self.leaf, self.issuing.der), attempt.data[0])
        return "accepted"

    def _validate(self, attempt: Attempt) -> str:
        leaf, *others = attempt.data
        found = path.validate(leaf, others, others[-1:], crls=self.crls, now=NOW)
        if not attempt.genuine and found != [self.leaf, self.issuing.der, self.root.der]:
            raise Unsound("a path was found over a certificate that no CA made")
        return "valid"

    def _check_crl(self, attempt: Attempt) -> str:
        chain = (self.leaf, self.issuing.der)
        (status,) = revocation.check(chain, attempt.data, NOW)
        if status.verdict == "good" and not attempt.genuine:
            known = {crl.der for crl in revocation.parse_crls(attempt.data[0])}
            if not known & set(self.crls):
                raise Unsound("a list that no CA signed was believed")
        return status.verdict

    def _check_ocsp(self, attempt: Attempt) -> str:
        chain = (self.leaf, self.issuing.der)
        (status,) = revocation.check(chain, (), NOW, ocsp=attempt.data)
        if status.verdict == "good":
            told = ocsp.load_der_ocsp_response(attempt.data[0]).tbs_response_bytes
            if told != ocsp.load_der_ocsp_response(self.responses[0]).tbs_response_bytes:
                raise Unsound("a response that no CA signed was believed")
        return status.verdict


def _vector_files(folder: str, pattern: str, needle: bytes) -> tuple[bytes, ...]:
    files = sorted((_VECTORS / folder).rglob(pattern))
    contents = (file.read_bytes() for file in files if file.is_file())
    return tuple(data for data in contents if data and needle in data and len(data) < 40_000)


def _text(rng: random.Random, data: bytes) -> bytes:
    return mutations.change_text(rng, data)


def _armoured(data: bytes) -> bytes:
    body = base64.encodebytes(data)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def _inflated(rng: random.Random, made: Attempt) -> Attempt:
    """A part of the input again and again, up to what a file may hold."""
    data = made.data[0] or b"\x30"
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice((1, 2, 7, 64, 2000))] or b"\x30"
    size = rng.choice((100_000, LARGEST))
    grown = (data[:at] + piece * (size // len(piece)))[: size - 500] + data[at:][:500]
    how = f"{made.how}, then a part repeated up to {size} octets"
    return Attempt(made.door, how, (grown, *made.data[1:]))
