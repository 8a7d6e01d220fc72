# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories, random credentials, the server's TLS identity and rendered files."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from . import files, material

TLS_DAYS = 825
TLS_RESERVE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential made once: ``bytes`` are 32 random bytes, ``text`` is printable."""

    path: Path
    kind: str


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Where a server's certificate, key and pinned CA are, and the server's names."""

    ca: Path
    certificate: Path
    key: Path
    dns: tuple[str, ...]
    addresses: tuple[material.Address, ...]


def new_secret(kind: str) -> bytes:
    """Fresh random bytes of a kind; 256 bits either way."""
    return secrets.token_bytes(32) if kind == "bytes" else secrets.token_hex(32).encode()


def ensure_secret(secret: Secret, check: bool) -> list[str]:
    """Make a credential if there is none; never change one. A wrong mode is repaired."""
    content = files.read(secret.path)
    if content is None:
        if not check:
            files.ensure(secret.path, new_secret(secret.kind), 0o600)
        return [f"made the credential {secret.path.name}"]
    if files.ensure(secret.path, content, 0o600, check):
        return [f"set the mode of the credential {secret.path.name} to 0600"]
    return []


def usable(tls: TlsIdentity, now: datetime) -> bool:
    """True if the three files fit together, name the server, and have time left."""
    ca = material.load_certificate(files.read(tls.ca))
    leaf = material.load_certificate(files.read(tls.certificate))
    key = material.load_key(files.read(tls.key))
    return (
        ca is not None
        and leaf is not None
        and key is not None
        and material.issued_by(leaf, ca)
        and material.belongs(key, leaf)
        and set(tls.dns) <= set(material.dns_names(leaf))
        and set(tls.addresses) <= set(material.ip_addresses(leaf))
        and leaf.not_valid_after_utc - now > TLS_RESERVE
    )


def ensure_tls(tls: TlsIdentity, now: datetime, check: bool) -> list[str]:
    """A server's TLS identity, kept while it is usable."""
    if usable(tls, now):
        key = files.read(tls.key) or b""
        changed = files.ensure(tls.key, key, 0o600, check)
        return [f"set the mode of {tls.key.name} to 0600"] if changed else []
    if not check:
        ca, leaf, key = material.server_identity(now, TLS_DAYS, tls.dns, tls.addresses)
        files.ensure(tls.key, key, 0o600)
        files.ensure(tls.ca, ca, 0o644)
        files.ensure(tls.certificate, leaf, 0o644)
    return [f"made the TLS identity {tls.certificate}"]
