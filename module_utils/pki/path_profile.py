# SPDX-License-Identifier: GPL-3.0-or-later
"""What RFC 5280 asks of the certificates of a path, and the verifier does not look at.

Only ``path`` uses this, on a path whose signatures, names, dates and CA flags are already
right: nothing here can make a path good, it can only refuse one more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .certs import name_bytes, subject_of

MIN_RSA_OCTETS = 256  # of a modulus, as the verifier demands of CAs
MAX_NAME_BYTES = 8192  # of one subject, DER; a real one has a few hundred
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# The key usages of which a purpose needs at least one (RFC 5280, 4.2.1.12).
_USAGES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: ("digital_signature", "key_agreement"),
    ExtendedKeyUsageOID.SERVER_AUTH: ("digital_signature", "key_encipherment", "key_agreement"),
}
# RFC 1034, 3.5 as loosened by RFC 1123, with at most a whole leftmost label for any name.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}")
_MAX_HOST = 253
_T = TypeVar("_T", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a path is refused: what is there, and what should be."""

    found: str
    expected: str


def fault_of_path(chain: Sequence[x509.Certificate]) -> Fault | None:
    """The first fault of any certificate in a verified path, leaf first and anchor last.

    Raises what the library raises when it reads a damaged extension (``DECODE_ERRORS``).
    """
    for certificate in chain:
        if len(name_bytes(certificate, "subject")) > MAX_NAME_BYTES:
            return Fault(
                f"a subject of more than {MAX_NAME_BYTES} bytes", "a subject a person can read"
            )
    for certificate in chain[:-1]:
        if certificate.serial_number <= 0:
            return Fault(
                f"{subject_of(certificate)} has the serial number {certificate.serial_number}",
                "a positive serial number (RFC 5280, 4.1.2.2)",
            )
    for authority in chain[1:-1]:
        # A critical one is refused as unknown; one that is not critical means the same.
        if _extension(authority, x509.PolicyConstraints) is not None:
            return Fault(
                f"{subject_of(authority)} limits certificate policies, which are not processed",
                "a path without policy constraints",
            )
    return _escaped_constraints(chain)


def _escaped_constraints(chain: Sequence[x509.Certificate]) -> Fault | None:
    """Name constraints that the verifier, or one we allow, does not apply to what they bind."""
    for place, authority in enumerate(chain[1:], start=1):
        constraints = _extension(authority, x509.NameConstraints)
        if constraints is None:
            continue
        permitted = constraints.permitted_subtrees or ()
        kinds = {type(tree) for tree in (*permitted, *(constraints.excluded_subtrees or ()))}
        # Those bind every subject; only newer versions refuse them, and only critical ones.
        unprocessed = x509.DirectoryName in kinds
        # Those bind the address in a subject, too, where nobody looks.
        unprocessed |= x509.RFC822Name in kinds and any(map(_has_address, chain[:place]))
        hosts = [tree.value for tree in permitted if isinstance(tree, x509.DNSName)]
        if unprocessed or (hosts and _wildcard_beyond(chain[0], hosts)):
            return Fault(
                f"{subject_of(authority)} constrains names in a way that is not processed",
                "constraints on host names and addresses in the subjectAltName alone",
            )
    return None


def _has_address(certificate: x509.Certificate) -> bool:
    return bool(certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS))


def _wildcard_beyond(leaf: x509.Certificate, permitted: Sequence[str]) -> bool:
    """Whether a wildcard stands for names beyond the permitted ones (CVE-2025-61727)."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    hosts = names.get_values_for_type(x509.DNSName) if names is not None else []
    within = tuple(f".{tree.lower()}" for tree in permitted)
    return any(host.startswith("*.") and not host[1:].lower().endswith(within) for host in hosts)


def fault_of_leaf(
    leaf: x509.Certificate, purpose: x509.ObjectIdentifier | None = None
) -> Fault | None:
    """The first fault of the certificate that a path is for; raises like ``fault_of_path``.

    Without a purpose it may be a CA certificate, if it is one altogether: RFC 5280, 6.1 makes
    no difference. A purpose is that of an end entity.
    """
    return fault_of_key(leaf) or _wrong_flags(leaf, purpose) or _wrong_names(leaf)


def fault_of_key(leaf: x509.Certificate) -> Fault | None:
    """A key that is too weak to be worth anything that hangs on it; raises alike."""
    key = leaf.public_key()
    least = 8 * MIN_RSA_OCTETS
    expected = f"RSA of at least {least} bits, P-256, P-384, P-521 or Ed25519"
    if isinstance(key, rsa.RSAPublicKey):
        short = key.key_size < least
        return Fault(f"an RSA key of {key.key_size} bits", expected) if short else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        known = isinstance(key.curve, _CURVES)
        return None if known else Fault(f"a key on the curve {key.curve.name}", expected)
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return None
    return Fault("a key of another kind", expected)


def _wrong_flags(leaf: x509.Certificate, purpose: x509.ObjectIdentifier | None) -> Fault | None:
    constraints = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    authority = constraints is not None and constraints.ca
    signs = usage is not None and usage.key_cert_sign
    if authority != signs:
        return Fault(
            "basicConstraints and the key usage keyCertSign, of which one says CA and one not",
            "both or neither (RFC 5280, 4.2.1.3 and 4.2.1.9)",
        )
    if purpose is None:
        return None
    if authority:
        return Fault("a CA certificate", "an end entity certificate for this purpose")
    wanted = _USAGES.get(purpose, ())
    if wanted and usage is not None and not any(getattr(usage, one) for one in wanted):
        return Fault(
            "a key usage that leaves the purpose out",
            f"one of the key usages {', '.join(wanted)} (RFC 5280, 4.2.1.12)",
        )
    return None


def _wrong_names(leaf: x509.Certificate) -> Fault | None:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        found = None
    if not list(leaf.subject) and (found is None or not found.critical):
        return Fault(
            "no subject, and no critical subjectAltName in its place",
            "a subject, or a critical subjectAltName (RFC 5280, 4.1.2.6)",
        )
    names = found.value.get_values_for_type(x509.DNSName) if found is not None else []
    if all(_is_host(name) for name in names):
        return None
    return Fault(
        "a dNSName in the subjectAltName that is no host name",
        "letters, digits and hyphens between dots (RFC 5280, 4.2.1.6)",
    )


def _is_host(name: str) -> bool:
    """Also no address in the disguise of a name: no top level domain is a number."""
    if len(name) > _MAX_HOST or not _HOST.fullmatch(name):
        return False
    return not name.rpartition(".")[2].isdigit()


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
