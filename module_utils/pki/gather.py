# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what the plan needs: keys from their stores, files beside the inventory, CRLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from . import csr, key_place, keystores, public_state, revocation, session
from .certs import DECODE_ERRORS
from .inventory import Certificate
from .key_place import KeyPlace
from .lifecycle import Asked, Hold, Intent, KeyVersion, Limits, Observed, Version, Wanted
from .plan import CertificatePlan, plan
from .plan_case import Case
from .public_state import VersionFiles
from .stores.base import KeyRecord
from .stores.base import KeyVersion as StoredVersion
from .trust_files import LoadedTrust

Served = Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class Keys:
    """The key versions of certificates by name and number, for those that have any.

    ``silent`` are, by certificate, the kinds of store that could not be asked: a host that did
    not answer, and every device. ``files`` are the committed versions that were read on the way,
    so that a plan directly afterwards need not read a thousand directories again.
    """

    versions: Mapping[str, Mapping[int, KeyVersion]] = field(default_factory=dict)
    silent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    files: Mapping[str, tuple[VersionFiles, ...]] = field(default_factory=dict, repr=False)


def plans(
    inputs: session.Inputs,
    keys: Keys,
    served: Served,
    asked: Mapping[str, str] = MappingProxyType({}),
    deploy_now: str = "",
    held: Mapping[str, tuple[Hold, ...]] = MappingProxyType({}),
) -> tuple[CertificatePlan, ...]:
    """The plan of every declared certificate, in the order of the inventory.

    ``asked`` are people's words for new requests by certificate, as this run would have
    recorded them if it were not a check; ``deploy_now`` is one not to wait for any window.
    ``held`` are, by certificate, the rules for which nothing new is asked for.
    """
    sets = session.cached_crls(inputs, (c.trust for c in inputs.declared.certificates.values()))
    parsed = {
        name: [crl for data in crls.crls for crl in revocation.parse_crls(data)]
        for name, crls in sets.items()
    }
    results = []
    for name, certificate in inputs.declared.certificates.items():
        versions = with_word(
            _versions(inputs, name, keys.files.get(name), parsed[certificate.trust]),
            asked.get(name),
            inputs.now,
        )
        observed = Observed(
            keys=keys.versions.get(name, {}),
            versions=versions,
            served=_served(certificate, served),
            keys_known=_store_of_next(certificate, versions) not in keys.silent.get(name, ()),
        )
        wish = replace(wanted(inputs, certificate), held_by=held.get(name, ()))
        results.append(plan(wish, observed, limits(inputs, name), inputs.now, deploy_now))
    return tuple(results)


def _store_of_next(certificate: Certificate, versions: tuple[Version, ...]) -> str:
    """Where the key of the open request is, or else of the next one."""
    open_requests = [one.requested for one in versions if one.requested and not one.settled]
    return (open_requests[-1].intent.store if open_requests else "") or certificate.store


def _served(certificate: Certificate, served: Served) -> Mapping[str, str | None]:
    """What hosts were seen to serve: of a host's own certificate that host alone."""
    hosts = served.get(certificate.entry, {})
    if not certificate.host:
        return hosts
    return {host: serial for host, serial in hosts.items() if host == certificate.host}


def _versions(
    inputs: session.Inputs,
    name: str,
    files: Sequence[VersionFiles] | None,
    crls: Sequence[revocation.Crl],
) -> tuple[Version, ...]:
    trust = inputs.trust[inputs.declared.certificates[name].trust]
    seen = (
        public_state.observed_version(one, _revoked_at(one, trust, crls, inputs.now))
        for one in (public_state.scan(inputs.certificates_dir, name) if files is None else files)
    )
    return tuple(marked(version, inputs.compromised) for version in seen)


def marked(version: Version, compromised: Mapping[str, str]) -> Version:
    """The version with what a ledger says of its key."""
    said = compromised.get(version.requested.spki_sha256, "") if version.requested else ""
    return replace(version, compromised=said) if said else version


def with_word(
    versions: tuple[Version, ...], reason: str | None, now: datetime
) -> tuple[Version, ...]:
    """The versions with a person's word for the next one, unless it is recorded or begun."""
    number = max((one.number for one in versions if one.settled), default=0) + 1
    if reason is None or any(one.number == number for one in versions):
        return versions
    return (*versions, Version(number, asked=Asked(reason, now)))


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


def wanted(inputs: session.Inputs, certificate: Certificate) -> Wanted:
    """A declared certificate as the plan wants it."""
    makes_it = certificate.store != key_place.EXTERNAL
    policy = inputs.policies[certificate.policy]
    return Wanted(
        name=certificate.name,
        intent=Intent(
            certificate.common_name,
            certificate.subject,
            certificate.purposes,
            certificate.policy,
            certificate.san,
            certificate.store,
            keystores.key_type(policy) if makes_it else "",
            certificate.provider,
            certificate.handover,
        ),
        hosts=certificate.hosts,
        store=certificate.store,
        renewal=certificate.renewal,
    )


def kept(
    inputs: session.Inputs, certificate: Certificate, accepted: Sequence[Version]
) -> Version | None:
    """The one before the newest of these accepted versions, while that waits for its window."""
    if not accepted:
        return None
    case = Case(
        wanted(inputs, certificate),
        Observed(versions=tuple(accepted)),
        limits(inputs, certificate.name),
        inputs.now,
    )
    newest = accepted[-1]
    return case.before(newest) if case.timing(newest).held_why else None


def limits(inputs: session.Inputs, name: str) -> Limits:
    """The policy's numbers for a certificate's plan."""
    policy = inputs.policy_of(name)
    return Limits(
        renewal_window=timedelta(days=policy.number("renewal_window_days")),
        deploy_margin=timedelta(days=policy.number("deploy_margin_days")),
    )


def keys(inputs: session.Inputs, stores: keystores.Stores) -> Keys:
    """Every declared certificate's key versions."""
    looked = look(inputs, stores)
    return Keys(
        versions={
            name: {
                number: KeyVersion(one.version.created, one.spki_sha256)
                for number, one in versions.items()
            }
            for name, versions in looked.found.items()
            if versions
        },
        silent=looked.silent,
        files=looked.files,
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """One key version, and where it is."""

    place: KeyPlace
    record: KeyRecord
    version: StoredVersion

    @property
    def spki_sha256(self) -> str:
        """SHA-256 of its public key."""
        return sha256(self.version.spki_der).hexdigest()

    def as_fact(self) -> dict[str, Any]:
        """What the store tells, as plain JSON; nothing in it is secret."""
        key = serialization.load_der_public_key(self.version.spki_der)
        return {
            "store": self.place.store,
            "mount": self.place.mount,
            "algorithm": csr.key_algorithm(key),
            "bits": csr.key_bits(key),
            "exportable": self.record.exportable,
            "imported": self.record.imported,
            "created": public_state.iso(self.version.created),
            "spki_sha256": self.spki_sha256,
        }


def key_facts(
    inputs: session.Inputs, stores: keystores.Stores
) -> dict[str, dict[int, dict[str, Any]]]:
    """What the stores tell of every declared certificate's keys, for whoever judges them.

    A certificate whose key no store has is there with no version: it was asked for.
    """
    return {
        name: {number: one.as_fact() for number, one in versions.items()}
        for name, versions in look(inputs, stores).found.items()
    }


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found where certificates' keys are; ``silent`` and ``files`` as in :class:`Keys`."""

    found: dict[str, dict[int, Stored]]
    silent: dict[str, frozenset[str]]
    files: dict[str, tuple[VersionFiles, ...]]


def look(inputs: session.Inputs, stores: keystores.Stores) -> Looked:
    """Every declared certificate's key versions: one list per store, one read per key and store.

    A version with a request is looked up where its request says its key is.
    """
    known: dict[KeyPlace, frozenset[str]] = {}
    found: dict[str, dict[int, Stored]] = {}
    silent: dict[str, frozenset[str]] = {}
    scanned: dict[str, tuple[VersionFiles, ...]] = {}
    for name, certificate in inputs.declared.certificates.items():
        scanned[name] = public_state.scan(inputs.certificates_dir, name)
        files = {item.number: item for item in scanned[name]}
        places = {number: key_place.of_version(certificate, one) for number, one in files.items()}
        versions = found.setdefault(name, {})
        today = key_place.declared(certificate)
        for place in dict.fromkeys([today, *places.values()]):
            if not stores.known(certificate, place):
                silent[name] = silent.get(name, frozenset()) | {place.store}
                continue
            store, listed = stores.at(certificate, place), replace(place, name="")
            if listed not in known:
                known[listed] = store.names()
            record = store.describe(place.name) if place.name in known[listed] else None
            for number, version in record.versions.items() if record else ():
                if record and places.get(number, today) == place:
                    versions[number] = Stored(place, record, version)
    return Looked(found, silent, scanned)
