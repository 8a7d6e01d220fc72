# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what the plan needs: keys from their stores, files beside the inventory, CRLs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256

from . import public_state, revocation, session
from .acceptance import Key
from .inventory import Certificate
from .plan import CertificatePlan, Intent, KeyVersion, Limits, Observed, Version, Wanted, plan

Served = Mapping[str, Mapping[str, str | None]]


def plans(
    inputs: session.Inputs, keys: Mapping[str, Mapping[int, KeyVersion]], served: Served
) -> tuple[CertificatePlan, ...]:
    """The plan of every declared certificate, in the order of the inventory."""
    sets = session.cached_crls(inputs, (c.trust for c in inputs.declared.certificates.values()))
    results = []
    for name, certificate in inputs.declared.certificates.items():
        observed = Observed(
            keys=keys.get(name, {}),
            versions=_versions(inputs, name, revoked(sets[certificate.trust].crls)),
            served=served.get(name, {}),
        )
        results.append(plan(wanted(certificate), observed, limits(inputs, name), inputs.now))
    return tuple(results)


def _versions(
    inputs: session.Inputs, name: str, revoked_serials: Mapping[str, datetime]
) -> tuple[Version, ...]:
    files = public_state.scan(inputs.certificates_dir, name)
    return tuple(public_state.observed_version(item, revoked_serials) for item in files)


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


def keys(inputs: session.Inputs, stores: session.Stores) -> dict[str, dict[int, KeyVersion]]:
    """Every declared certificate's key versions: one list per store, one read per key."""
    known: dict[str, frozenset[str]] = {}
    found: dict[str, dict[int, KeyVersion]] = {}
    for name, certificate in inputs.declared.certificates.items():
        mount, store = session.mount_of(certificate), stores.of(certificate)
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


def revoked(crls: Iterable[bytes]) -> dict[str, datetime]:
    """Serials (hexadecimal) and revocation times of every entry of verified CRLs."""
    return {serial: moment for crl in crls for serial, moment in revocation.entries(crl)}
