# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what the plan needs: keys from their stores, files beside the inventory, CRLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import keystores, public_state, revocation, session
from .acceptance import Key
from .certs import DECODE_ERRORS
from .inventory import Certificate
from .plan import CertificatePlan, Intent, KeyVersion, Limits, Observed, Version, Wanted, plan
from .public_state import VersionFiles
from .trust_files import LoadedTrust

Served = Mapping[str, Mapping[str, str | None]]


def plans(
    inputs: session.Inputs, keys: Mapping[str, Mapping[int, KeyVersion]], served: Served
) -> tuple[CertificatePlan, ...]:
    """The plan of every declared certificate, in the order of the inventory."""
    sets = session.cached_crls(inputs, (c.trust for c in inputs.declared.certificates.values()))
    parsed = {
        name: [crl for data in crls.crls for crl in revocation.parse_crls(data)]
        for name, crls in sets.items()
    }
    results = []
    for name, certificate in inputs.declared.certificates.items():
        observed = Observed(
            keys=keys.get(name, {}),
            versions=_versions(inputs, name, parsed[certificate.trust]),
            served=served.get(name, {}),
        )
        results.append(plan(wanted(certificate), observed, limits(inputs, name), inputs.now))
    return tuple(results)


def _versions(
    inputs: session.Inputs, name: str, crls: Sequence[revocation.Crl]
) -> tuple[Version, ...]:
    trust = inputs.trust[inputs.declared.certificates[name].trust]
    return tuple(
        public_state.observed_version(files, _revoked_at(files, trust, crls, inputs.now))
        for files in public_state.scan(inputs.certificates_dir, name)
    )


def _revoked_at(
    files: VersionFiles, trust: LoadedTrust, crls: Sequence[revocation.Crl], now: datetime
) -> datetime | None:
    """When a kept certificate was revoked, by a verified CRL of its pinned issuer.

    Only for planning: what cannot be read here is refused with its reason when it is judged.
    """
    if files.certificate is None or files.accepted_record is None:
        return None
    try:
        leaf = x509.load_pem_x509_certificate(files.certificate).public_bytes(Encoding.DER)
        answers = [revocation.check((leaf, ca.der), crls, now)[0] for ca in trust.issuers]
    except DECODE_ERRORS:
        return None
    return next((answer.when for answer in answers if answer.verdict == "revoked"), None)


def wanted(certificate: Certificate) -> Wanted:
    """A declared certificate as the plan wants it."""
    return Wanted(
        name=certificate.name,
        intent=Intent(
            certificate.common_name,
            certificate.subject,
            certificate.purposes,
            certificate.policy,
        ),
        hosts=certificate.hosts,
    )


def limits(inputs: session.Inputs, name: str) -> Limits:
    """The policy's numbers for a certificate's plan."""
    return Limits(timedelta(days=inputs.policy_of(name).number("renewal_window_days")))


def keys(inputs: session.Inputs, stores: keystores.Stores) -> dict[str, dict[int, KeyVersion]]:
    """Every declared certificate's key versions: one list per store, one read per key."""
    known: dict[str, frozenset[str]] = {}
    found: dict[str, dict[int, KeyVersion]] = {}
    for name, certificate in inputs.declared.certificates.items():
        mount, store = keystores.mount_of(certificate), stores.of(certificate)
        if mount not in known:
            known[mount] = store.names()
        record = store.describe(name) if name in known[mount] else None
        if record is not None:
            found[name] = {
                number: KeyVersion(version.created, sha256(version.spki_der).hexdigest())
                for number, version in record.versions.items()
            }
    return found


def key_digests(keys: Mapping[str, Mapping[int, KeyVersion]]) -> dict[Key, str]:
    """The same, as acceptance compares it with requests."""
    return {
        (name, number): version.spki_sha256
        for name, versions in keys.items()
        for number, version in versions.items()
    }
