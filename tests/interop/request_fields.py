# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads certificate requests with whatever release of ``cryptography`` runs it; prints JSON.

A program of its own, for releases from 38 on: ``python request_fields.py FILE...``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"


def fields(pem: bytes) -> dict[str, object]:
    """What a request says, as plain values that every release spells the same way."""
    request = x509.load_pem_x509_csr(pem)
    key = request.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = request.signature_hash_algorithm
    return {
        "subject": [[item.oid.dotted_string, item.value] for item in request.subject],
        "subject_der": request.subject.public_bytes().hex(),
        "key": [key.key_size, key.public_numbers().e, hashlib.sha256(spki).hexdigest()],
        "signature": [request.signature_algorithm_oid.dotted_string, digest and digest.name],
        "signature_valid": request.is_signature_valid,
        "extensions": [
            [item.oid.dotted_string, item.critical, alternative_names(item.value)]
            for item in request.extensions
        ],
        "attributes": sorted(
            item.oid.dotted_string
            for item in request.attributes
            if item.oid.dotted_string != EXTENSION_REQUEST
        ),
        "der": hashlib.sha256(request.public_bytes(serialization.Encoding.DER)).hexdigest(),
    }


def alternative_names(value: x509.ExtensionType) -> list[str]:
    """The DNS names of an extension that has any."""
    if isinstance(value, x509.SubjectAlternativeName):
        return value.get_values_for_type(x509.DNSName)
    return []


if __name__ == "__main__":
    found = {path: fields(Path(path).read_bytes()) for path in sys.argv[1:]}
    print(json.dumps({"release": cryptography.__version__, "requests": found}))
