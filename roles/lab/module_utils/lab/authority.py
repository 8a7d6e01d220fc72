# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate authorities of the lab, in the PKI engine of its OpenBao.

Everything is read first and written only if it differs: an unchanged lab keeps its CAs
and keeps its CRLs byte for byte. Each step can be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.vault import Client
from cryptography import x509

from . import files, material

NO_ISSUER = "00000000-0000-0000-0000-000000000000"
# The engine renews a CRL by itself four hours before its end. Only a lab that slept past
# that finds one with less than this left, and asks for a new one at once.
CRL_RESERVE = timedelta(hours=3)
CRL_CONFIG: Mapping[str, object] = {
    "expiry": "24h",
    "auto_rebuild": True,
    "auto_rebuild_grace_period": "4h",
    "enable_delta": False,
    "ocsp_expiry": "1h",
}


@dataclass(frozen=True, slots=True)
class Authority:
    """One CA: a PKI mount of its own. ``parent`` is "" for a root."""

    name: str
    mount: str
    parent: str
    common_name: str
    bits: int
    ttl: str


@dataclass(frozen=True, slots=True)
class Issuing:
    """A signing role of a CA: the mount, the role's name and its parameters."""

    mount: str
    name: str
    parameters: Mapping[str, object]


def crl_url(base: str, mount: str) -> str:
    """Where the CRL of a mount is fetched without a credential."""
    return f"{base}/v1/{mount}/crl"


def urls(base: str, mount: str) -> dict[str, list[str]]:
    """What certificates of a mount say about where to find CRL, issuer and OCSP."""
    return {
        "issuing_certificates": [f"{base}/v1/{mount}/issuer/default/der"],
        "crl_distribution_points": [crl_url(base, mount)],
        "ocsp_servers": [f"{base}/v1/{mount}/ocsp"],
    }


def same(current: Mapping[str, Any] | None, wanted: Mapping[str, object]) -> bool:
    """True if every wanted value is what the server already has."""
    return current is not None and all(current.get(key) == value for key, value in wanted.items())


def ensure_written(
    client: Client, path: str, wanted: Mapping[str, object], check: bool
) -> list[str]:
    """Write a configuration path if it differs."""
    if same(client.read(path), wanted):
        return []
    if not check:
        client.write(path, dict(wanted), idempotent=True)
    return [f"configured {path}"]


def default_issuer(client: Client, mount: str) -> x509.Certificate | None:
    """The CA certificate of a mount, or None before it has one."""
    known = (client.read(f"{mount}/config/issuers") or {}).get("default") or NO_ISSUER
    if known == NO_ISSUER:
        return None
    found = client.read(f"{mount}/issuer/{known}") or {}
    return material.load_certificate(str(found.get("certificate", "")).encode())


def subject_of(authority: Authority) -> dict[str, object]:
    """Subject and key of a CA as the engine's parameters."""
    return {
        "common_name": authority.common_name,
        "organization": "Lab Certificate Authority",
        "country": "GB",
        "key_type": "rsa",
        "key_bits": authority.bits,
        "exclude_cn_from_sans": True,
    }


def make_root(client: Client, authority: Authority) -> None:
    """A self-signed CA whose key is born in the engine and stays there."""
    parameters = {**subject_of(authority), "ttl": authority.ttl, "max_path_length": 1}
    client.write(f"{authority.mount}/root/generate/internal", parameters)


def make_issuing(client: Client, authority: Authority, parent: Authority) -> None:
    """An issuing CA: request from its mount, signed by the parent's, set back."""
    request = client.write(
        f"{authority.mount}/issuers/generate/intermediate/internal", subject_of(authority)
    )
    signed = client.write(
        f"{parent.mount}/root/sign-intermediate",
        {
            "csr": request["csr"],
            "common_name": authority.common_name,
            "organization": "Lab Certificate Authority",
            "country": "GB",
            "exclude_cn_from_sans": True,
            "ttl": authority.ttl,
            "max_path_length": 0,
            "format": "pem",
        },
    )
    imported = client.write(
        f"{authority.mount}/intermediate/set-signed", {"certificate": signed["certificate"]}
    )
    client.write(
        f"{authority.mount}/config/issuers",
        {"default": imported["imported_issuers"][0]},
        idempotent=True,
    )


def ensure_certificate(
    client: Client, authority: Authority, parents: Mapping[str, Authority], check: bool
) -> tuple[x509.Certificate | None, list[str]]:
    """The CA's certificate, made if there is none (None only in check mode)."""
    found = default_issuer(client, authority.mount)
    if found is not None:
        return found, []
    step = [f"made the CA {authority.common_name}, RSA-{authority.bits}"]
    if check:
        return None, step
    if authority.parent:
        make_issuing(client, authority, parents[authority.parent])
    else:
        make_root(client, authority)
    return default_issuer(client, authority.mount), step


def current_crl(client: Client, mount: str) -> x509.CertificateRevocationList | None:
    """The CRL that the engine serves now, or None."""
    found = client.read(f"{mount}/cert/crl") or {}
    try:
        return x509.load_pem_x509_crl(str(found.get("certificate", "")).encode())
    except ValueError:
        return None


def rotate_crl(client: Client, mount: str) -> None:
    """Have the engine sign a new CRL now. With auto_rebuild a revocation waits for this."""
    client.read(f"{mount}/crl/rotate")


def ensure_crl(client: Client, mount: str, now: datetime, check: bool) -> list[str]:
    """A CRL with time left; nothing is signed anew while it has."""
    crl = current_crl(client, mount)
    if crl is not None and material.crl_until(crl) - now > CRL_RESERVE:
        return []
    if not check:
        rotate_crl(client, mount)
    return [f"signed a new CRL of {mount}: the old one was about to end"]


def ensure_authority(
    client: Client,
    authority: Authority,
    parents: Mapping[str, Authority],
    base: str,
    now: datetime,
    check: bool,
) -> tuple[x509.Certificate | None, list[str]]:
    """One CA, complete: certificate, addresses, CRL."""
    certificate, steps = ensure_certificate(client, authority, parents, check)
    if certificate is None:
        return None, steps
    mount = authority.mount
    # The parent's addresses are written before a child is signed: they go into the child.
    steps += ensure_written(client, f"{mount}/config/urls", urls(base, mount), check)
    steps += ensure_written(client, f"{mount}/config/crl", CRL_CONFIG, check)
    steps += ensure_crl(client, mount, now, check)
    return certificate, steps


def ensure_all(
    client: Client,
    authorities: Sequence[Authority],
    roles: Sequence[Issuing],
    directory: Path,
    base: str,
    now: datetime,
    check: bool,
) -> tuple[dict[str, dict[str, object]], list[str]]:
    """All CAs (parents first in the list), their signing roles and their public files.

    Returns per CA the entry that inventories pin: file, sha256 and crl_urls.
    """
    known = {authority.name: authority for authority in authorities}
    pinned: dict[str, dict[str, object]] = {}
    steps: list[str] = []
    for authority in authorities:
        certificate, made = ensure_authority(client, authority, known, base, now, check)
        steps += made
        if certificate is None:
            continue
        path = directory / (f"{authority.name}.pem")
        if files.ensure(path, material.certificate_pem(certificate), 0o644, check):
            steps.append(f"wrote {path}")
        pinned[authority.name] = {
            "file": str(path),
            "sha256": material.fingerprint(certificate),
            "crl_urls": [crl_url(base, authority.mount)],
        }
    for role in roles:
        steps += ensure_written(client, f"{role.mount}/roles/{role.name}", role.parameters, check)
    return pinned, steps


def require(certificate: x509.Certificate | None, mount: str) -> x509.Certificate:
    """The CA certificate, or a refusal that says which step is missing."""
    if certificate is None:
        raise PkiError(
            "the lab's CA has no certificate yet",
            rule="LAB-CA",
            found=f"no default issuer in {mount}",
            expected="a CA certificate",
            where=mount,
            next_step="run playbooks/lab.yml -t up",
        )
    return certificate
