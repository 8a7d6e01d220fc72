# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate requests (PKCS #10): build one that will not be bounced, read one back.

The same inputs and the same key give the same bytes: PKCS #1 v1.5 signatures are
deterministic, so a request is rebuilt instead of being kept somewhere safe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from . import names
from .certs import DECODE_ERRORS
from .errors import PkiError

RULE = "DIP-6.1.1-PKCS10"
MAX_REQUEST_BYTES = 64 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request. ``attributes`` and ``extensions`` list what goes beyond a subject,
    a key and a SAN, as dotted OIDs, so that a policy can refuse what it does not know."""

    common_name: str
    subject: Mapping[str, str]
    subject_order: tuple[str, ...]
    spki_der: bytes
    spki_sha256: str
    algorithm: str
    bits: int
    exponent: int
    signature_hash: str
    signature_valid: bool
    san: tuple[str, ...]
    attributes: tuple[str, ...]
    extensions: tuple[str, ...]


def build(
    private_key: rsa.RSAPrivateKey,
    cn: str,
    subject: Mapping[str, str],
    san: Sequence[str] = (),
) -> bytes:
    """A PEM request signed by ``private_key`` with SHA-256 and PKCS #1 v1.5.

    ``private_key`` may be a subclass whose ``sign`` works in a remote engine. There is a
    SAN only when ``san`` names hosts: the portal compares the request field by field.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject(cn, subject))
    if san:
        hosts = [x509.DNSName(names.check_domain(host, "san")) for host in san]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    request = builder.sign(private_key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def parse(pem: bytes) -> Request:
    """Read a request, PEM or DER.

    Raises:
        PkiError: rule DIP-6.1.1-PKCS10; not a request, or one with unreadable parts.
    """
    request = _load(pem)
    key = _part("public key", request.public_key)
    spki = _part("public key", lambda: spki_der(key))
    extensions = _part("extensions", lambda: list(request.extensions))
    return Request(
        common_name=_part("subject", lambda: names.common_names(request.subject)),
        subject=_part("subject", lambda: names.subject_attributes(request.subject)),
        subject_order=_part("subject", lambda: tuple(names.attribute_order(request.subject))),
        spki_der=spki,
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        algorithm=key_algorithm(key),
        bits=key_bits(key),
        exponent=key_exponent(key),
        signature_hash=signature_hash(request),
        signature_valid=_signature_valid(request),
        san=_san(extensions),
        attributes=_part("attributes", lambda: _other_attributes(request)),
        extensions=tuple(
            item.oid.dotted_string
            for item in extensions
            if item.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ),
    )


def key_digest(data: bytes) -> str:
    """SHA-256 of a request's public key, without a look at the rest; PkiError as :func:`parse`."""
    request = _load(data)
    return hashlib.sha256(_part("public key", lambda: spki_der(request.public_key()))).hexdigest()


def _load(data: bytes) -> x509.CertificateSigningRequest:
    if len(data) > MAX_REQUEST_BYTES:
        raise _unreadable(f"{len(data)} bytes", f"at most {MAX_REQUEST_BYTES} bytes")
    try:
        if data[:1] == b"\x30":
            return x509.load_der_x509_csr(data)
        # keytool writes the older label, which means the same.
        return x509.load_pem_x509_csr(data.replace(b" NEW CERTIFICATE", b" CERTIFICATE"))
    except DECODE_ERRORS as exc:
        raise _unreadable(names.printable(str(exc)), "one PKCS #10 request, PEM or DER") from None


def _part(what: str, read: Callable[[], _T]) -> _T:
    """Parts of a request are decoded when first touched: any of them may be malformed."""
    try:
        return read()
    except DECODE_ERRORS as exc:
        raise _unreadable(f"{what}: {names.printable(str(exc))}", f"a well-formed {what}") from None


def _unreadable(found: str, expected: str) -> PkiError:
    return PkiError(
        "the certificate request cannot be read",
        rule=RULE,
        found=found,
        expected=expected,
        next_step="run the request stage again: it rebuilds request.csr byte for byte",
    )


def _signature_valid(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except DECODE_ERRORS:
        return False


def _san(extensions: list[x509.Extension[x509.ExtensionType]]) -> tuple[str, ...]:
    for item in extensions:
        if isinstance(item.value, x509.SubjectAlternativeName):
            return tuple(_san_text(name) for name in item.value)
    return ()


def _san_text(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        return name.value
    return names.printable(f"{type(name).__name__}:{name.value}")


def _other_attributes(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    return tuple(
        item.oid.dotted_string
        for item in request.attributes
        if item.oid != x509.ObjectIdentifier("1.2.840.113549.1.9.14")
    )


# --- what requests and certificates have in common -------------------------------------


def spki_der(key: Any) -> bytes:
    """SubjectPublicKeyInfo in DER, re-encoded so that equal keys have equal bytes."""
    encoded = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return bytes(encoded)


def key_algorithm(key: object) -> str:
    """RSA, EC, DSA, Ed25519, Ed448, or the class name of anything else."""
    known: tuple[tuple[type[object], str], ...] = (
        (rsa.RSAPublicKey, "RSA"),
        (ec.EllipticCurvePublicKey, "EC"),
        (dsa.DSAPublicKey, "DSA"),
        (ed25519.Ed25519PublicKey, "Ed25519"),
        (ed448.Ed448PublicKey, "Ed448"),
    )
    return next((name for kind, name in known if isinstance(key, kind)), type(key).__name__)


def key_bits(key: object) -> int:
    """Size in bits of the modulus, group or curve; 0 where the algorithm has only one size."""
    size = getattr(key, "key_size", 0)
    return size if isinstance(size, int) else 0


def key_exponent(key: object) -> int:
    """The public exponent of an RSA key, 0 for any other."""
    return key.public_numbers().e if isinstance(key, rsa.RSAPublicKey) else 0


def signature_hash(signed: Any) -> str:
    """Lower-case name of the hash that was signed; empty if unknown or built in (EdDSA)."""
    try:
        algorithm = signed.signature_hash_algorithm
    except DECODE_ERRORS:
        return ""
    return "" if algorithm is None else str(algorithm.name)
