# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's inputs, loaded and checked before anything else happens.

Every controller module starts here, so that bad input has one voice and no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import (
    crl_cache,
    crl_drop,
    declarations,
    inventory,
    ledger,
    policy_files,
    revocation_sources,
    shipped,
    trust_files,
)
from .errors import PkiError
from .inventory import Declared
from .policy import Policy
from .trust_files import LoadedTrust


@dataclass(frozen=True, slots=True)
class Inputs:
    """The declared inventory with its policies and pinned CAs.

    ``base_dir`` is the inventory's directory: file names in the inventory start there;
    ``policy_dir`` has the policies and the schemas of facts.
    ``trust`` are the CAs that count at ``now``; retired ones are among them while nobody said that
    nothing depends on them (:mod:`.trust_decision`), and vouch for nothing new.
    ``compromised`` are the keys that must never be used again, by SPKI digest, and who says so.
    """

    declared: Declared
    policies: Mapping[str, Policy]
    trust: Mapping[str, LoadedTrust]
    certificates_dir: Path
    crl_cache_dir: Path
    now: datetime
    given_crls: Mapping[str, bytes] = field(default_factory=dict)
    base_dir: Path = Path()
    compromised: Mapping[str, str] = field(default_factory=dict)
    policy_dir: Path = shipped.DIRECTORY

    def policy_of(self, certificate: str) -> Policy:
        """The policy that a declared certificate follows, by its name or its entry's."""
        return self.policies[self.declared.like(certificate).policy]

    @property
    def environment_classes(self) -> frozenset[str]:
        """The classes of environments that the declared certificates are of."""
        return frozenset(one.environment_class for one in self.declared.certificates.values())


def load(params: Mapping[str, Any], now: datetime | None = None, *, judged: bool = True) -> Inputs:
    """Inputs from a module's parameters; PkiError names file, field, found and expected.

    What the policy refuses of an entry ends a run here. Not ``judged`` is for whoever reports
    instead of acting: there it is a finding beside the others.
    """
    moment = now or datetime.now(UTC)
    declared, policies = written(params, moment)
    if judged:
        declarations.refuse(declared, policies, moment.date())
    return Inputs(
        declared=declared,
        policies=policies,
        trust=_trust(declared, policies, _directory(params, "base_dir"), moment, judged),
        certificates_dir=_directory(params, "certificates_dir"),
        crl_cache_dir=_directory(params, "crl_cache_dir"),
        now=moment,
        given_crls=_given_crls(params.get("crl_sets") or ()),
        base_dir=_directory(params, "base_dir"),
        compromised=ledger.merged(
            ledger.committed(_directory(params, "base_dir"), _directory(params, "policy_dir")),
            params.get("compromised") or {},
        ),
        policy_dir=_directory(params, "policy_dir"),
    )


def written(params: Mapping[str, Any], moment: datetime) -> tuple[Declared, Mapping[str, Policy]]:
    """What the inventory declares, and the policies that it names with the overlay beside it.

    ``params``: organisations, certificates, trust, groups, policy_dir and base_dir.
    """
    policies = policy_files.load_policies(
        _directory(params, "policy_dir"),
        inventory.policy_names(params["certificates"]),
        _directory(params, "base_dir") / policy_files.OVERLAYS,
        moment,
    )
    declared = inventory.load(
        organisations=params["organisations"],
        certificates=params["certificates"],
        trust=params["trust"],
        policies=policies,
        groups=params.get("groups") or None,
    )
    return declared, policies


def _trust(
    declared: Declared,
    policies: Mapping[str, Policy],
    base: Path,
    now: datetime,
    judged: bool,
) -> Mapping[str, LoadedTrust]:
    """The CAs that count now, retired ones included: what depends on those is not known here.

    A trust set that a certificate follows must have some; whoever only reports is told of those
    that are pinned.
    """
    trust = dict(trust_files.load_all(declared, base))
    for name, pinned in trust.items():
        if declared.trust[name].policy not in policies:
            continue
        try:
            trust[name] = pinned.whole_at(now)
        except PkiError:
            if judged:
                raise
    return trust


def knowing(inputs: Inputs, compromised: Mapping[str, str]) -> Inputs:
    """The inputs with a ledger of compromised keys that was read since."""
    return replace(inputs, compromised=ledger.merged(inputs.compromised, compromised))


def _directory(params: Mapping[str, Any], name: str) -> Path:
    """A directory option, if the system can have a directory of that name at all."""
    text = str(params.get(name, "certificates"))
    if "\0" not in text and all(len(os.fsencode(part)) < 256 for part in text.split("/")):
        return Path(text)
    raise PkiError(
        f"the option {name} is not the name of a directory",
        rule="OPTION",
        found=text,
        expected="a path, each part at most 255 bytes long and without NUL",
        where=f"option {name}",
        next_step="correct the option and run again; nothing was changed",
    )


def crl_max_age(policy: Policy) -> timedelta:
    """How old a cached CRL may be (DIP-3.5.2.6-CRL-TTL)."""
    return timedelta(hours=policy.number("crl_max_age_hours"))


def _given_crls(sets: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """CRLs handed on inside a run, by trust set: in check mode the fetch keeps nothing."""
    return {str(item["trust"]): str(item["pem"]).encode("ascii") for item in sets if item["pem"]}


def cached_crls(inputs: Inputs, trust_sets: Iterable[str]) -> dict[str, crl_cache.CrlSet]:
    """The CRLs of the named trust sets, verified again; no network."""
    return {name: _crl_set(inputs, name) for name in sorted(set(trust_sets))}


def answers(inputs: Inputs) -> revocation_sources.Fetched:
    """What earlier runs fetched from the certificates' own addresses, and OCSP responses that a
    person put beside the inventory; no network.

    It is judged again by whoever uses it, beside the CRLs of the trust sets.
    """
    found = revocation_sources.load(inputs.crl_cache_dir, inputs.now)
    return replace(found, ocsp=(*found.ocsp, *crl_drop.read(inputs.base_dir).ocsp))


def _crl_set(inputs: Inputs, name: str) -> crl_cache.CrlSet:
    trust = inputs.trust[name]
    if name in inputs.given_crls:
        return crl_cache.given(trust, inputs.given_crls[name], now=inputs.now)
    rules = inputs.policies[inputs.declared.trust[name].policy]
    return crl_cache.load(trust, inputs.crl_cache_dir, now=inputs.now, max_age=crl_max_age(rules))
