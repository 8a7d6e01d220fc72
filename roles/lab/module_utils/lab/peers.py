# SPDX-License-Identifier: GPL-3.0-or-later
"""The other parties of the lab: the good peer and every kind of bad one.

A peer is three files in a directory of its own: key.pem (0600), certificate.pem and
fullchain.pem. They are kept as long as they are what the peer is meant to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ansible.module_utils.pki.vault import Client
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from . import authority, files, material

GOOD, EXPIRED, REVOKED = "good", "expired", "revoked"
ROLE = "peer"
# The shortest life the CA signs; its backdating makes the certificate begin in the past,
# so that it is expired, and was valid once, when the next step looks at it.
EXPIRED_TTL = "1s"
LONG_TTL = "90d"
RESERVE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Peer:
    """One party: who signs it (a PKI mount), its names, and what became of it."""

    name: str
    mount: str
    common_name: str
    dns: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Key and certificate of a peer."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def on_disk(directory: Path) -> tuple[rsa.RSAPrivateKey | None, x509.Certificate | None]:
    """What an earlier run left."""
    key = material.load_key(files.read(directory / "key.pem"))
    certificate = material.load_certificate(files.read(directory / "certificate.pem"))
    return key, certificate


def fits(
    peer: Peer, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
) -> bool:
    """True if the certificate still is what the peer should present."""
    lives = certificate.not_valid_after_utc - now
    return (
        material.issued_by(certificate, issuer)
        and material.common_name(certificate) == peer.common_name
        and set(peer.dns) <= set(material.dns_names(certificate))
        and (peer.state == EXPIRED or lives > RESERVE)
        and (peer.state != EXPIRED or lives < timedelta(minutes=1))
    )


def sign(client: Client, peer: Peer, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate from the peer's CA for this key."""
    answer = client.write(
        f"{peer.mount}/sign/{ROLE}",
        {
            "csr": material.request(key, peer.common_name, peer.dns),
            "ttl": EXPIRED_TTL if peer.state == EXPIRED else LONG_TTL,
        },
    )
    return x509.load_pem_x509_certificate(str(answer["certificate"]).encode())


def write(directory: Path, identity: Identity, issuer: x509.Certificate, check: bool) -> bool:
    """The peer's files; True if one of them changed. The key goes first."""
    leaf = material.certificate_pem(identity.certificate)
    chain = leaf + material.certificate_pem(issuer)
    changed = [
        files.ensure_directory(directory, 0o700, check),
        files.ensure(directory / "key.pem", material.key_pem(identity.key), 0o600, check),
        files.ensure(directory / "certificate.pem", leaf, 0o644, check),
        files.ensure(directory / "fullchain.pem", chain, 0o644, check),
    ]
    return any(changed)


def ensure_files(
    client: Client, peer: Peer, issuer: x509.Certificate, home: Path, now: datetime, check: bool
) -> tuple[x509.Certificate | None, list[str]]:
    """Key and certificate of one peer; the certificate is None only in check mode."""
    directory = home / peer.name
    key, certificate = on_disk(directory)
    kept = key and certificate and material.belongs(key, certificate)
    if key and certificate and kept and fits(peer, certificate, issuer, now):
        changed = write(directory, Identity(key, certificate), issuer, check)
        return certificate, [f"repaired the files of peer {peer.name}"] if changed else []
    if check:
        return None, [f"would sign peer {peer.name}"]
    key = key or material.new_key()
    certificate = sign(client, peer, key)
    write(directory, Identity(key, certificate), issuer, check)
    return certificate, [f"signed peer {peer.name} ({peer.common_name}, {peer.state})"]


def ensure_revoked(client: Client, mount: str, serials: Iterable[int], check: bool) -> list[str]:
    """Revoke what is not revoked yet, and have the CRL name all of it.

    The CRL is looked at, not the memory of having revoked: a run that ended between the
    two leaves a revoked certificate that no CRL names.
    """
    crl = authority.current_crl(client, mount)
    missing = [
        material.octets(serial)
        for serial in serials
        if crl is None or crl.get_revoked_certificate_by_serial_number(serial) is None
    ]
    if missing and not check:
        for one in missing:
            # Revoking twice is answered with the first revocation; nothing changes.
            client.write(f"{mount}/revoke", {"serial_number": one}, True)
        authority.rotate_crl(client, mount)
    return [f"revoked {one} and signed a new CRL of {mount}" for one in missing]


def ensure_all(
    client: Client, peers: Sequence[Peer], home: Path, now: datetime, check: bool
) -> list[str]:
    """All peers; then the revocations, one CRL per CA however many there are."""
    issuers: dict[str, x509.Certificate] = {}
    revoked: dict[str, list[int]] = {}
    steps: list[str] = []
    for peer in peers:
        if peer.mount not in issuers:
            found = authority.default_issuer(client, peer.mount)
            issuers[peer.mount] = authority.require(found, peer.mount)
        certificate, made = ensure_files(client, peer, issuers[peer.mount], home, now, check)
        steps += made
        if peer.state == REVOKED and certificate is not None:
            revoked.setdefault(peer.mount, []).append(certificate.serial_number)
    for mount, serials in revoked.items():
        steps += ensure_revoked(client, mount, serials, check)
    return steps
