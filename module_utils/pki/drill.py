# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restored key server must have, and what it has (Code of Connection, 6.2).

Every committed version whose key is in transit is looked for by the digest of its public key; one
key signs, and the signature is verified with the public key that stands in git.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import csr, key_place, keystores, ledger, public_state
from .errors import PkiError
from .inventory import Certificate
from .key_place import KeyPlace
from .public_state import VersionFiles
from .session import Inputs
from .vault import Client

_MESSAGE_OCTETS = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key version that a snapshot of the key server has to hold.

    ``spki_der`` is its public key as the committed request, else the certificate, has it; empty
    where there is neither. ``created``: when the request was made.
    """

    certificate: Certificate
    version: int
    place: KeyPlace
    spki_sha256: str
    spki_der: bytes
    created: datetime

    @property
    def label(self) -> str:
        return f"{self.certificate.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in the restored server; ``problems`` and ``notes`` are sentences."""

    expected: int
    found: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    signed_with: str
    compromised: int


def wanted(inputs: Inputs) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    """Every key that must be in a snapshot, and by name those that cannot be in one."""
    found, elsewhere = [], []
    for name, certificate in sorted(inputs.declared.certificates.items()):
        for files in public_state.scan(inputs.certificates_dir, name):
            if files.request_record is None or files.retired_record is not None:
                continue
            place = key_place.of_version(certificate, files)
            if place.store == key_place.TRANSIT:
                found.append(_wanted(certificate, files, place))
            elif place.store == key_place.HOST:
                elsewhere.append(f"{name} v{files.number}: its key is kept by {certificate.host}")
            else:
                elsewhere.append(f"{name} v{files.number}: its key is kept by whoever uses it")
    return tuple(found), tuple(elsewhere)


def _wanted(certificate: Certificate, files: VersionFiles, place: KeyPlace) -> Wanted:
    record, path = files.request_record or {}, files.path / "request.yml"
    requested = public_state.observed_version(files).requested
    return Wanted(
        certificate=certificate,
        version=files.number,
        place=place,
        spki_sha256=public_state.key_digest(record, path),
        spki_der=_committed_key(files),
        created=requested.created if requested else datetime.min,
    )


def _committed_key(files: VersionFiles) -> bytes:
    try:
        if files.request is not None:
            return csr.parse(files.request).spki_der
        if files.certificate is not None:
            return csr.spki_der(x509.load_pem_x509_certificate(files.certificate).public_key())
    except (PkiError, ValueError):
        pass
    return b""


def look(
    inputs: Inputs, keys: tuple[Wanted, ...], options: Mapping[str, Any], taken: datetime | None
) -> Looked:
    """Ask the restored server for everything; ``options`` are a login to it.

    ``taken``: when the snapshot was made, for what cannot be in it yet.

    Raises:
        PkiError: nobody can log in, or the ledger of compromised keys is not there.
    """
    with keystores.vault(options, os.environ) as client:
        stores = keystores.Stores(client, inputs.policies)
        problems: list[str] = []
        notes: list[str] = []
        good: list[Wanted] = []
        for one in keys:
            said, lost = _found(client, stores, one, taken)
            if not said:
                good.append(one)
            (problems if lost else notes).extend([said] if said else [])
        signed = _signature(stores, good, problems)
        stored = ledger.stored(client, inputs.environment_classes)
    notes += list(_of_ledger(inputs, stored))
    return Looked(len(keys), len(good), tuple(problems), tuple(notes), signed, len(stored))


def _found(
    client: Client, stores: keystores.Stores, one: Wanted, taken: datetime | None
) -> tuple[str, bool]:
    """What is wrong with a key, and whether that makes it lost; nothing when it is there."""
    record = stores.at(one.certificate, one.place).describe(one.place.name)
    version = record.versions.get(one.version) if record else None
    if version is not None:
        digest = sha256(version.spki_der).hexdigest()
        if digest == one.spki_sha256:
            return "", False
        return f"{one.label}: another key is in its place, {digest}", True
    bounds = client.read(str(one.place)) or {}
    if int(bounds.get("min_available_version") or 0) <= one.version < _oldest(bounds):
        return f"{one.label}: withdrawn, so it cannot be looked at", False
    if taken is not None and one.created > taken:
        return f"{one.label}: made after this snapshot; take another backup", True
    return f"{one.label}: not in the snapshot ({one.place})", True


def _oldest(bounds: Mapping[str, Any]) -> int:
    return int(bounds.get("min_decryption_version") or 0)


def _signature(stores: keystores.Stores, good: list[Wanted], problems: list[str]) -> str:
    """Sign with one of the keys that are there; its label once that was verified."""
    one = next((one for one in good if one.spki_der), None)
    if one is None:
        problems.append("no signature could be made: no key of a committed request is there")
        return ""
    public = serialization.load_der_public_key(one.spki_der)
    message = os.urandom(_MESSAGE_OCTETS)
    signer = stores.at(one.certificate, one.place).signing_key(one.place.name, one.version)
    signature = signer.sign(message, padding.PKCS1v15(), hashes.SHA256())
    try:
        if not isinstance(public, rsa.RSAPublicKey):
            raise InvalidSignature
        public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        problems.append(f"{one.label}: its signature does not fit the committed public key")
        return ""
    return one.label


def _of_ledger(inputs: Inputs, stored: Mapping[str, str]) -> Iterator[str]:
    """What only the committed ledger knows refuses there, and is no loss."""
    for digest in sorted(set(inputs.compromised) - set(stored)):
        yield f"the key {digest} is marked as compromised beside the inventory and not in Vault"
