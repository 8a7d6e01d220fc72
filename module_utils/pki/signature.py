# SPDX-License-Identifier: GPL-3.0-or-later
"""Message signatures: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2), and nothing else.

Strict. The padding is compared with the one encoding there is: no absent NULL in the digest's
algorithm, no long-form lengths, no short or trailing padding. The key is a SubjectPublicKeyInfo
in DER as RFC 3279, 2.3.1 writes it. Anything else does not verify, whatever a lenient reader
might make of it: two parties who read one signature differently are how forgeries begin.

The size of the key is not judged here: that is the policy's business.
"""

from __future__ import annotations

from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from . import csr
from .certs import DECODE_ERRORS

# What the library raises for keys and numbers it cannot or will not handle.
_UNUSABLE = (*DECODE_ERRORS, InternalError, OverflowError)


def verify_pkcs1v15_sha256(spki_der: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` under the RSA key ``spki_der``.

    Args:
        spki_der: SubjectPublicKeyInfo, DER, not a byte more.
        signature: as many octets as the modulus has, leading zeros included.
        message: what was signed, not its hash.

    Returns:
        True for the one valid signature, False for everything else: another kind of key, a
        key in BER or with bytes after it, a signature of another length. Never raises for
        any bytes.
    """
    key = _rsa_key(spki_der)
    if key is None or len(signature) != (key.key_size + 7) // 8:
        return False
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, *_UNUSABLE):
        return False
    return True


def _rsa_key(spki_der: bytes) -> rsa.RSAPublicKey | None:
    """The RSA key, if the bytes are exactly how DER writes it."""
    try:
        key = load_der_public_key(spki_der)
        # The loader also reads a bare RSAPublicKey, absent parameters and RSASSA-PSS keys.
        same = csr.spki_der(key) == bytes(spki_der)
    except _UNUSABLE:
        return None
    return key if same and isinstance(key, rsa.RSAPublicKey) else None
