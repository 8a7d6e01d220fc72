# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs with an issuingDistributionPoint, as public CAs publish them.

The engine's own CRL has no such extension, and gateways treat one that has it in ways that
surprise. The lab publishes the same revocations a second time in that form. The engine
signs these lists but does not serve them; the far end does.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ansible.module_utils.pki.vault import Client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from . import authority, files, material

RESERVE = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Publication:
    """One published CRL: its CA's mount, its file, and the address in the extension."""

    mount: str
    path: Path
    uri: str


def entries(crl: x509.CertificateRevocationList | None) -> list[tuple[int, datetime]]:
    """(serial, date) of each revocation, sorted."""
    return sorted((one.serial_number, one.revocation_date_utc) for one in crl or ())


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
    wanted: list[tuple[int, datetime]],
    now: datetime,
) -> bool:
    """True if the published list may stay as it is."""
    try:
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return False
    return (
        material.crl_signed_by(crl, issuer)
        and material.crl_until(crl) - now > RESERVE
        and point.public_bytes() == material.distribution_point(publication.uri)
        and entries(crl) == wanted
    )


def sign(
    client: Client, publication: Publication, wanted: list[tuple[int, datetime]], crl_number: int
) -> bytes:
    """A list signed by the CA of the mount, DER."""
    revoked = [
        {
            "serial_number": serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex(":"),
            "revocation_time": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        for serial, when in wanted
    ]
    extension = {
        "id": ExtensionOID.ISSUING_DISTRIBUTION_POINT.dotted_string,
        "critical": "true",
        "value": base64.b64encode(material.distribution_point(publication.uri)).decode(),
    }
    answer = client.write(
        f"{publication.mount}/issuer/default/sign-revocation-list",
        {
            "crl_number": crl_number,
            "next_update": "24h",
            "format": "pem",
            "revoked_certs": revoked,
            "extensions": [extension],
        },
    )
    return x509.load_pem_x509_crl(str(answer["crl"]).encode()).public_bytes(Encoding.DER)


def ensure(client: Client, publication: Publication, now: datetime, check: bool) -> list[str]:
    """Publish the CA's revocations; a list that still says the same stays byte for byte."""
    found = authority.default_issuer(client, publication.mount)
    issuer = authority.require(found, publication.mount)
    engine = authority.current_crl(client, publication.mount)
    wanted = entries(engine)
    old = load(files.read(publication.path))
    if old is not None and fits(old, publication, issuer, wanted, now):
        return []
    if not check:
        following = max(number(old), number(engine)) + 1
        content = sign(client, publication, wanted, following)
        files.ensure(publication.path, content, 0o644)
    return [f"published {publication.uri}"]
