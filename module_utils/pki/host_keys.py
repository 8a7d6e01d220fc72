# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts tell of the keys they keep, read as strictly as anything that others send.

A host speaks for its own keys only: names are put together here, from the inventory and the
host that answered. What is not told, or not usable, is not known, and never "no key".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .certs import DECODE_ERRORS
from .errors import PkiError
from .inventory import Certificate, Declared
from .stores.base import KeyRecord, KeyVersion

#: More versions of one key than anybody has.
_MOST_VERSIONS = 1000
_LONGEST_KEY = 1 << 13


def read(declared: Declared, told: Mapping[str, Any]) -> dict[str, KeyRecord | None]:
    """Keys by their name, from the results of ``pki_host_key`` by host; None: there is no key.

    A host that did not answer, or not usably, is left out with all its keys.
    """
    found: dict[str, KeyRecord | None] = {}
    for certificate in declared.certificates.values():
        entry = _entry(told.get(certificate.host), certificate) if certificate.host else None
        if entry is None:
            continue
        try:
            found[certificate.key_name] = record(certificate, entry)
        except PkiError:
            continue
    return found


def _entry(answer: object, certificate: Certificate) -> Mapping[str, Any] | None:
    """What a host's answer says of one entry; None when it says nothing, or only what is wrong."""
    results = answer if isinstance(answer, Iterable) else ()
    for result in results:
        if isinstance(result, Mapping) and result.get("entry") == certificate.entry:
            return None if "error" in result else result
    return None


def record(certificate: Certificate, result: Mapping[str, Any]) -> KeyRecord | None:
    """One key as its host told it; None when it has no version. PkiError HOST-KEY for the rest."""
    versions = result.get("versions")
    if not isinstance(versions, list) or len(versions) > _MOST_VERSIONS:
        raise _unusable(certificate, "no list of versions")
    read_ones = [_version(certificate, one) for one in versions]
    if not read_ones:
        return None
    newest = max(read_ones, key=lambda one: one[0].number)
    return KeyRecord(
        name=certificate.key_name,
        type=newest[1],
        exportable=False,
        versions={one.number: one for one, _, _ in sorted(read_ones, key=lambda o: o[0].number)},
        imported=newest[2],
    )


def of_version(certificate: Certificate, result: Mapping[str, Any], version: int) -> KeyRecord:
    """The key as if there were this version alone: type and origin are then its own."""
    mine = [one for one in result.get("versions", ()) if one.get("version") == version]
    found = record(certificate, {"versions": mine})
    if found is None:
        raise _unusable(certificate, f"no version {version}")
    return found


def _version(certificate: Certificate, raw: object) -> tuple[KeyVersion, str, bool]:
    """One version, the kind of its key, and whether it was brought there."""
    try:
        if not isinstance(raw, Mapping) or len(str(raw["public"])) > _LONGEST_KEY:
            raise _unusable(certificate, "a version without a usable public key")
        number, imported = raw["version"], raw["imported"]
        spki = base64.b64decode(str(raw["public"]), validate=True)
        public = serialization.load_der_public_key(spki)
        created = datetime.strptime(str(raw["created"]), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (*DECODE_ERRORS, KeyError, binascii.Error) as exc:
        raise _unusable(certificate, type(exc).__name__) from None
    if type(number) is not int or number < 1 or type(imported) is not bool:
        raise _unusable(certificate, "a version that is no number")
    if not isinstance(public, rsa.RSAPublicKey):
        raise _unusable(certificate, type(public).__name__)
    # Encoded again, so that equal keys have equal bytes.
    again = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyVersion(number, created, again), f"rsa-{public.key_size}", imported


def _unusable(certificate: Certificate, found: str) -> PkiError:
    return PkiError(
        f"{certificate.name}: what the host tells of its key is not usable",
        rule="HOST-KEY",
        found=found,
        expected="versions with number, date, RSA public key and origin",
        where=f"host {certificate.host}",
        next_step="find out what runs on that host in place of pki_host_key",
    )
