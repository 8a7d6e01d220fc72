# SPDX-License-Identifier: GPL-3.0-or-later
"""A DIP Connection Provider's inventory of any size: participants, their providers, and requests.

Written to disk as a person commits it, both classes beside each other; every name follows from a
number. Every tenth participant uses two providers (scenario 3), the others one (scenario 2).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from pki import acceptance, accepted_record, check_run, crl_cache, csr, policy_files, public_state
from pki.inventory import Certificate
from pki.session import Inputs
from pki.stores.transit import mount_for
from unit import pki_factory
from unit.pki_factory import DAY, NOW
from unit.twin import CLASSES, POLICIES

PROVIDERS = 3
QUOTA = 4
#: Of registration, vetting and all that has to be there before the first request.
READY = (NOW - 30 * DAY).date().isoformat()


def write(folder: Path, participants: int, providers: int = PROVIDERS) -> Path:
    """The inventories of both classes below ``folder``; returns that of nonprod."""
    authorities = {one: _authorities(one) for one in CLASSES}
    for environment_class, (root, issuing) in authorities.items():
        base = folder / environment_class
        (base / "trust").mkdir(parents=True)
        pins = {"anchors": _pin(base, "root", root), "issuers": _pin(base, "issuing", issuing)}
        trust = {"policy": "mhhs-dip", "environment_class": environment_class, **pins}
        _dump(base, "organisations", _organisations(participants, providers))
        _dump(base, "certificates", list(_certificates(participants, providers, environment_class)))
        _dump(base, "trust", {f"dip-{environment_class}": trust})
        (base / "evidence.yml").write_text(yaml.safe_dump({"evidence": _evidence()}))
    return folder / CLASSES[0]


def issue(inventory: Path) -> Inputs:
    """Every certificate asked for, answered and accepted, as committed; returns what is declared.

    Each has a key of its own. The last certificate has a second request that is still open.
    """
    inputs = load(inventory)
    root, issuing = _authorities(inventory.name)
    _cache_crls(inputs, root, issuing)
    declared = inputs.declared.certificates
    keys = cheap_keys(len(declared) + 1)
    for certificate in declared.values():
        private = next(keys)
        _ask(inventory, certificate, 1, private)
        leaf = issuing.leaf(
            certificate.common_name,
            certificate.subject,
            public=private.public_key(),
            eku=pki_factory.MTLS,
        )
        public_state.write(
            _directory(inventory, certificate, 1), {"reply.txt": pki_factory.pem(leaf)}
        )
    _accept(inputs)
    _ask(inventory, list(declared.values())[-1], 2, next(keys))
    return inputs


def load(inventory: Path, now: datetime = NOW) -> Inputs:
    """What is declared, as the check loads it."""
    return check_run.scene(inventory, POLICIES, now).inputs


def cheap_keys(count: int, bits: int = 2048) -> Iterator[rsa.RSAPrivateKey]:
    """Keys of few primes, in no time: each another one, and worthless."""
    primes: list[int] = []
    while len(primes) * (len(primes) - 1) < 2 * count:
        numbers = rsa.generate_private_key(65537, bits).private_numbers()
        primes += [numbers.p, numbers.q]
    for high in range(len(primes)):
        for low in range(high):
            yield _key(primes[high], primes[low])


def _key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(65537, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(65537, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)  # fmt: skip


def _authorities(environment_class: str) -> tuple[pki_factory.Authority, pki_factory.Authority]:
    root = _root(environment_class)
    return root, _issuing(environment_class)


@functools.cache
def _root(environment_class: str) -> pki_factory.Authority:
    return pki_factory.authority(f"Parties Root {environment_class}")


@functools.cache
def _issuing(environment_class: str) -> pki_factory.Authority:
    name = f"Parties Issuing {environment_class}"
    return _root(environment_class).authority(name, path_length=0)


def _pin(base: Path, label: str, ca: pki_factory.Authority) -> list[dict[str, Any]]:
    file = f"trust/{label}.pem"
    (base / file).write_bytes(ca.pem)
    url = f"http://crl.example/{base.name}/{label}"
    return [{"file": file, "sha256": ca.sha256, "crl_urls": [url]}]


def _dump(base: Path, variable: str, value: Any) -> None:
    file = base / "group_vars" / "all" / f"{variable}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({variable: value}, sort_keys=False))


def _organisations(participants: int, providers: int) -> dict[str, Any]:
    found = {
        f"provider-{number}": _organisation(f"provider-{number}", "dip_connection_provider")
        for number in range(1, providers + 1)
    }
    for number in range(1, participants + 1):
        key = f"participant-{number}"
        found[key] = _organisation(key, "market_participant_non_active")
        provider = _provider(number, providers)
        admin = {**_person(provider, 1, "certificate_admin"), "employer": provider}
        del admin["permanent"]
        found[key]["roster"].append(admin)
    return found


def _organisation(key: str, party: str) -> dict[str, Any]:
    return {
        "party": party,
        "subject": {"O": f"{key} Ltd", "L": "London", "ST": "London", "C": "GB"},
        "registered": READY,
        "vetted": READY,
        "quota": QUOTA,
        "owner": {"name": f"Owner of {key}", "accepted": READY},
        "roster": [
            _person(key, number, role)
            for role in ("certificate_admin", "user_administrator")
            for number in (1, 2)
        ],
    }


def _person(key: str, number: int, role: str) -> dict[str, Any]:
    name, email = f"Person {number} of {key}", f"person-{number}@{key}.example"
    return {"name": name, "email": email, "role": role, "permanent": number == 1}


def _evidence() -> list[dict[str, str]]:
    policy = policy_files.load_policies(POLICIES, ["mhhs-dip"])["mhhs-dip"]
    return [
        {"id": rule.item, "date": READY, "owner": "Owner", "reference": f"GRC-{number}"}
        for number, rule in enumerate(policy.rules)
        if rule.item
    ]


def _certificates(participants: int, providers: int, cls: str) -> Iterator[dict[str, Any]]:
    for number in range(1, providers + 1):
        key = f"provider-{number}"
        yield _entry(f"tls-{number}-{cls}", key, cls, ["mtls"])
    for number in range(1, participants + 1):
        for way in range(2 if number % 10 == 0 else 1):
            provider = _provider(number + way, providers)
            name = f"signing-{number}-{provider}-{cls}"
            yield _entry(name, f"participant-{number}", cls, ["signing"], provider=provider)


def _provider(number: int, providers: int) -> str:
    return f"provider-{1 + number % providers}"


def _entry(
    name: str, organisation: str, cls: str, purposes: list[str], **more: str
) -> dict[str, Any]:
    return {
        "name": name,
        "organisation": organisation,
        "policy": "mhhs-dip",
        "environment": cls,
        "domain": f"{organisation}.example",
        "domain_verified": READY,
        "purposes": purposes,
        "key": {"store": "transit"},
        "hosts": "gateways",
        **more,
    }


def _ask(
    inventory: Path, certificate: Certificate, version: int, private: rsa.RSAPrivateKey
) -> None:
    request = csr.build(private, certificate.common_name, certificate.subject)
    record = {
        "schema": 1,
        "certificate": certificate.name,
        "version": version,
        "organisation": certificate.organisation.key,
        "policy": certificate.policy,
        "environment": certificate.environment,
        "common_name": certificate.common_name,
        "subject": dict(certificate.subject),
        "purposes": sorted(certificate.purposes),
        "key": _key_record(certificate, version, request),
        "created": public_state.iso(NOW - 3 * DAY),
        "request_sha256": hashlib.sha256(request).hexdigest(),
    }
    contents = {"request.csr": request, "request.yml": public_state.dump(record)}
    public_state.write(_directory(inventory, certificate, version), contents)


def _key_record(certificate: Certificate, version: int, request: bytes) -> Mapping[str, Any]:
    return {
        "store": "transit",
        "mount": mount_for(certificate.environment_class, certificate.purposes),
        "name": certificate.key_name,
        "version": version,
        "spki_sha256": csr.parse(request).spki_sha256,
    }


def _directory(inventory: Path, certificate: Certificate, version: int) -> Path:
    return inventory / check_run.CERTIFICATES / certificate.name / str(version)


def _cache_crls(
    inputs: Inputs, root: pki_factory.Authority, issuing: pki_factory.Authority
) -> None:
    for trust in inputs.trust.values():
        published = {
            url: authority.crl()
            for ca, authority in ((trust.anchors[0], root), (trust.issuers[0], issuing))
            for url in ca.crl_urls
        }
        crl_cache.refresh(
            trust, inputs.crl_cache_dir, now=NOW, max_age=DAY, fetch=published.__getitem__
        )


def _accept(inputs: Inputs) -> None:
    outcome = acceptance.run(
        inputs.declared,
        [(name, 1) for name in inputs.declared.certificates],
        inputs.certificates_dir,
        acceptance.evidence(inputs, {}),
        functools.partial(accepted_record.of, inputs),
    )
    assert not outcome.refused, outcome.refused[0].error
    for kept in outcome.accepted.values():
        kept.save()
