# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs that the lab publishes itself: with reasons, and with an issuingDistributionPoint.

The engine's own CRL has neither. Gateways treat an issuingDistributionPoint in ways that
surprise, so the same revocations are published a second time in that form. Once a revocation has a
reason, a list with the reasons takes the place of the engine's own. The engine signs these lists
but does not serve them; the far end does.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ansible.module_utils.pki.vault import Client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from . import authority, files, material, revocations
from .revocations import Ledger, Revocation

RESERVE = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Publication:
    """One published CRL: its CA's mount, its file, and the address in the extension.

    Without an address it is the list at the CA's own place, and only there when a revocation of the
    CA has a reason.
    """

    mount: str
    path: Path
    uri: str


def number(crl: x509.CertificateRevocationList | None) -> int:
    """The CRL's number, 0 if there is none."""
    if crl is None:
        return 0
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def load(content: bytes | None) -> x509.CertificateRevocationList | None:
    """The published CRL (DER), or None if it is missing or broken."""
    if content is None:
        return None
    try:
        return x509.load_der_x509_crl(content)
    except ValueError:
        return None


def fits(
    crl: x509.CertificateRevocationList,
    publication: Publication,
    issuer: x509.Certificate,
    wanted: list[Revocation],
    now: datetime,
) -> bool:
    """True if the published list may stay as it is."""
    return (
        material.crl_signed_by(crl, issuer)
        and material.crl_until(crl) - now > RESERVE
        and point_of(crl) == point(publication)
        and revocations.entries(crl) == wanted
    )


def point(publication: Publication) -> bytes:
    """DER of the wanted issuingDistributionPoint; empty for none."""
    return material.distribution_point(publication.uri) if publication.uri else b""


def point_of(crl: x509.CertificateRevocationList) -> bytes:
    """DER of the CRL's issuingDistributionPoint; empty for none."""
    try:
        found = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    except x509.ExtensionNotFound:
        return b""
    return found.value.public_bytes()


def revoked(one: Revocation) -> dict[str, object]:
    """One entry as the engine takes it. No reason is no extension (RFC 5280 5.3.1)."""
    entry: dict[str, object] = {
        "serial_number": material.octets(one.serial),
        "revocation_time": one.when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if one.code:
        # CRLReason ::= ENUMERATED, one octet.
        entry["extensions"] = [
            extension(CRLEntryExtensionOID.CRL_REASON, False, b"\x0a\x01" + bytes([one.code]))
        ]
    return entry


def extension(oid: x509.ObjectIdentifier, critical: bool, value: bytes) -> dict[str, str]:
    """One extension as the engine takes it."""
    return {
        "id": oid.dotted_string,
        "critical": "true" if critical else "false",
        "value": base64.b64encode(value).decode(),
    }


def sign(
    client: Client, publication: Publication, wanted: list[Revocation], crl_number: int
) -> bytes:
    """A list signed by the CA of the mount, DER."""
    idp = point(publication)
    extensions = [extension(ExtensionOID.ISSUING_DISTRIBUTION_POINT, True, idp)] if idp else []
    answer = client.write(
        f"{publication.mount}/issuer/default/sign-revocation-list",
        {
            "crl_number": crl_number,
            "next_update": "24h",
            "format": "pem",
            "revoked_certs": [revoked(one) for one in wanted],
            "extensions": extensions,
        },
    )
    return x509.load_pem_x509_crl(str(answer["crl"]).encode()).public_bytes(Encoding.DER)


def ensure(
    client: Client, publication: Publication, ledger: Ledger, now: datetime, check: bool
) -> list[str]:
    """Publish the CA's revocations; a list that still says the same stays byte for byte.

    In check mode ``ledger`` may know more than the engine, which was not told.
    """
    told = ledger.of(publication.mount)
    if not publication.uri and not told:
        return []
    found = authority.default_issuer(client, publication.mount)
    issuer = authority.require(found, publication.mount)
    engine = authority.current_crl(client, publication.mount)
    wanted = revocations.merged(engine, told)
    old = load(files.read(publication.path))
    if old is not None and fits(old, publication, issuer, wanted, now):
        return []
    if not check:
        following = max(number(old), number(engine)) + 1
        content = sign(client, publication, wanted, following)
        files.ensure(publication.path, content, 0o644)
    place = publication.uri or f"the list of {publication.mount} with reasons"
    return [f"published {place}"]
