# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned CA files: read, compared with their SHA-256, and nothing else is ever trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import plain_files
from .certs import DECODE_ERRORS
from .errors import PkiError
from .inventory import CaFile, Declared, TrustSet

MAXIMUM_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Ca:
    """A CA certificate whose pin was checked."""

    der: bytes
    pem: bytes
    sha256: str
    common_name: str
    crl_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedTrust:
    """A trust set with its certificates."""

    name: str
    anchors: tuple[Ca, ...]
    issuers: tuple[Ca, ...]

    @property
    def authorities(self) -> tuple[Ca, ...]:
        """Every CA whose CRL is needed: issuing CAs first, then anchors."""
        return (*self.issuers, *self.anchors)


def load_all(declared: Declared, base: str | Path) -> Mapping[str, LoadedTrust]:
    """Every trust set of the inventory; relative files are looked up below ``base``."""
    return {name: _load(item, Path(base)) for name, item in declared.trust.items()}


def _load(trust: TrustSet, base: Path) -> LoadedTrust:
    def read(kind: str, files: tuple[CaFile, ...]) -> tuple[Ca, ...]:
        return tuple(
            _ca(entry, base, f"group_vars/all/trust.yml: trust.{trust.name}.{kind}[{index}]")
            for index, entry in enumerate(files)
        )

    return LoadedTrust(trust.name, read("anchors", trust.anchors), read("issuers", trust.issuers))


def _ca(entry: CaFile, base: Path, where: str) -> Ca:
    path = base / entry.file
    certificate = _parse(_read(path, where), path, where)
    der = certificate.public_bytes(Encoding.DER)
    digest = hashlib.sha256(der).hexdigest()
    if digest != entry.sha256:
        raise PkiError(
            f"{path.name} is not the CA certificate that is pinned",
            rule="TRUST-PIN",
            found=f"SHA-256 {digest}",
            expected=f"SHA-256 {entry.sha256}",
            where=f"{where} ({path})",
            next_step="compare both with the fingerprint the CA publishes before changing either",
        )
    name = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Ca(
        der=der,
        pem=certificate.public_bytes(Encoding.PEM),
        sha256=digest,
        common_name=str(name[0].value) if name else certificate.subject.rfc4514_string(),
        crl_urls=entry.crl_urls,
    )


def _read(path: Path, where: str) -> bytes:
    try:
        # Configured by a person, so a link is fine; what it leads to must be a file that ends.
        return plain_files.read(path, MAXIMUM_BYTES, follow=True)
    except OSError as exc:
        raise PkiError(
            f"the CA file {path.name} cannot be read",
            rule="TRUST-FILE",
            found=exc.strerror or "unreadable",
            expected="a readable file with a PEM or DER certificate",
            where=f"{where} ({path})",
            next_step="put the CA certificate there; trust is an input and is never downloaded",
        ) from exc


def _parse(content: bytes, path: Path, where: str) -> x509.Certificate:
    try:
        if b"-----BEGIN" in content:
            certificates = x509.load_pem_x509_certificates(content)
            if len(certificates) != 1:
                raise ValueError("more than one certificate")
            return certificates[0]
        return x509.load_der_x509_certificate(content)
    except DECODE_ERRORS as exc:
        raise PkiError(
            f"{path.name} is not one CA certificate",
            rule="TRUST-FILE",
            found="something else",
            expected="exactly one certificate in PEM or DER",
            where=f"{where} ({path})",
            next_step="put one certificate per file and pin each",
        ) from exc
