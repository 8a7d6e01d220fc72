# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run decides of its trust sets: which retired CAs stay, and which CRLs gateways can use.

An edge: reads the committed certificates, and only when something hangs on them. The judgements
are those of :mod:`.trust_generations` and :mod:`.crl_fitness`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography import x509

from . import (
    certs,
    crl_fitness,
    crl_scope,
    gather,
    public_state,
    revocation,
    session,
    trust_generations,
)
from .certs import DECODE_ERRORS
from .crl_cache import CrlSet
from .crl_fitness import Leaves
from .errors import PkiError
from .inventory import Certificate
from .lifecycle import Version
from .policy import Policy
from .public_state import VersionFiles
from .session import Inputs
from .trust_files import LoadedTrust
from .trust_generations import Decision, Own

#: What each host that runs a gateway told, by name; None for one that told nothing.
Watched = Mapping[str, Mapping[str, Any] | None]


def decide(inputs: Inputs, watched: Watched | None) -> dict[str, Decision]:
    """The decision of every trust set that a certificate follows.

    ``watched`` is None where the hosts were not asked: then nothing is known of peers, and every
    retired CA stays without a word.
    """
    decisions = {}
    for name, trust in inputs.trust.items():
        policy = inputs.policies.get(inputs.declared.trust[name].policy)
        if policy is None:  # used by nobody
            continue
        if watched is None or not trust.retired(inputs.now):
            decisions[name] = Decision(trust.whole_at(inputs.now))
            continue
        age = timedelta(days=policy.number("ca_peer_days"))
        certificates = own(inputs, name)
        decisions[name] = trust_generations.decide(trust, inputs.now, certificates, watched, age)
    return decisions


def deciding(inputs: Inputs, watched: Watched | None) -> Inputs:
    """The inputs with the CAs that :func:`decide` leaves, for whoever reports and never refuses.

    A trust set of which nothing is left stays as it is pinned: what is wrong is found one by one.
    """
    trust = dict(inputs.trust)
    for name, pinned in inputs.trust.items():
        try:
            decided = decide(replace(inputs, trust={name: pinned}), watched)
        except PkiError:
            continue
        trust |= {name: one.trust for name, one in decided.items()}
    return replace(inputs, trust=trust)


def notices(inputs: Inputs) -> list[str]:
    """A sentence for each CA that ends soon."""
    return [
        sentence
        for name, trust in inputs.trust.items()
        if (policy := inputs.policies.get(inputs.declared.trust[name].policy)) is not None
        for sentence in trust_generations.ending(trust, inputs.now, _notice(policy))
    ]


def _notice(policy: Policy) -> timedelta:
    return timedelta(days=policy.number("ca_notice_days"))


def sentences(inputs: Inputs, gateways: object) -> list[str]:
    """What a plan says of trust: CRLs that gateways wait for, CAs that end soon or are retired."""
    users = {name: products_of(gateways, name) for name in inputs.trust}
    sets = session.cached_crls(inputs, (name for name, products in users.items() if products))
    waiting = [
        f"gateways that use {name} keep the CRLs they have: {fault.message} ({fault.found}); "
        f"next: {fault.next_step}"
        for name, crls in sets.items()
        for fault in unfit(inputs, crls, users[name])
    ]
    retired = [
        f"{name}: the CA {ca.common_name} is retired since {ca.retire_after}; it vouches for "
        "nothing new, and stays in bundles while something depends on it"
        for name, trust in inputs.trust.items()
        for ca in {one.sha256: one for one in trust.authorities}.values()
        if ca.sha256 in trust.kept
    ]
    return [*waiting, *retired, *notices(inputs)]


def unfit(
    inputs: Inputs, crls: CrlSet, products: Iterable[str], leaf_only: Collection[str] = ()
) -> tuple[PkiError, ...]:
    """Why gateways of these products could not use a set of CRLs; empty if they can.

    ``leaf_only`` are those of them whose TLS library looks for the CRL of the leaf alone.
    """
    lists = [one for data in crls.crls for one in revocation.parse_crls(data)]
    used = sorted(set(products))
    if not used or not crl_fitness.matters(lists):
        return ()
    trust = inputs.trust[crls.trust]
    leaves = _leaves(trust, own(inputs, crls.trust))
    found: dict[str, PkiError] = {}
    for product in used:
        whole = product not in leaf_only
        for fault in crl_fitness.judge(trust, lists, leaves, product, whole_chain=whole):
            found.setdefault(fault.found, fault)
    return tuple(found.values())


def products_of(gateways: object, trust: str) -> frozenset[str]:
    """The products of the gateways that use a trust set, of an inventory as it is written."""
    return frozenset(
        str(entry.get("product"))
        for entry in (gateways if isinstance(gateways, list | tuple) else ())
        if isinstance(entry, Mapping)
        and any(listener.get("trust") == trust for listener in _listeners(entry))
    )


def _listeners(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for side in ("ingress", "egress"):
        for listener in entry.get(side) or ():
            if isinstance(listener, Mapping):
                yield listener


def own(inputs: Inputs, trust: str) -> tuple[Own, ...]:
    """Our certificates in service that follow a trust set: newest accepted ones, and those before
    them while they wait for a window. Pending requests are none."""
    return tuple(
        one
        for certificate in inputs.declared.certificates.values()
        if certificate.trust == trust
        for one in _in_service(inputs, certificate)
    )


def own_after(
    inputs: Inputs, trust: str, accepted: Mapping[str, tuple[int, bytes]]
) -> tuple[Own, ...]:
    """:func:`own` once certificates are kept that check mode only judged.

    ``accepted``: version and PEM by name. The one before it counts as replaced.
    """
    made = tuple(
        Own(name, version, x509.load_pem_x509_certificate(pem))
        for name, (version, pem) in accepted.items()
        if inputs.declared.certificates[name].trust == trust
    )
    return (*made, *(one for one in own(inputs, trust) if one.certificate not in accepted))


def _in_service(inputs: Inputs, certificate: Certificate) -> Iterator[Own]:
    files = public_state.scan(inputs.certificates_dir, certificate.name)
    by_number = {one.number: one for one in files}
    accepted = [one for one in map(public_state.observed_version, files) if _serves(one, inputs)]
    newest = accepted[-1:]
    before = gather.kept(inputs, certificate, accepted)
    for version in (*newest, *([before] if before else [])):
        found = _own(certificate.name, version, by_number[version.number])
        if found is not None:
            yield found


def _serves(version: Version, inputs: Inputs) -> bool:
    accepted = version.accepted
    return accepted is not None and accepted.not_after >= inputs.now and version.retired is None


def _own(name: str, version: Version, files: VersionFiles) -> Own | None:
    """A committed certificate; None for one that cannot be read, which is refused elsewhere."""
    try:
        leaf = x509.load_pem_x509_certificate(files.certificate or b"")
        chain = x509.load_pem_x509_certificates(files.chain) if files.chain else []
    except DECODE_ERRORS:
        return None
    accepted_at = version.accepted.accepted_at if version.accepted else None
    return Own(name, version.number, leaf, tuple(chain), accepted_at)


def _leaves(trust: LoadedTrust, certificates: Sequence[Own]) -> dict[str, Leaves]:
    """Where certificates of ours, by the CA that issued them, say that its CRL is."""
    found: dict[str, set[frozenset[crl_scope.Point]]] = {}
    for one in certificates:
        for ca in trust.issuers:
            if certs.issued_by(one.leaf, ca.certificate):
                found.setdefault(ca.sha256, set()).add(_points(one.leaf))
    return {
        digest: Leaves(tuple(sorted(points, key=lambda one: sorted(map(repr, one)))), "as ours do")
        for digest, points in found.items()
    }


def _points(leaf: x509.Certificate) -> frozenset[crl_scope.Point]:
    try:
        return crl_scope.points_of(leaf)
    except DECODE_ERRORS:
        return frozenset()
