# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes keys where they belong and writes the request a human can submit.

The files are a function of the key and the inventory entry: PKCS #1 signatures are
deterministic and the only date is the key's creation. A fresh runner that finds the key
but no files writes the very same bytes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from . import csr, key_place, policy, public_state, request_facts, submission, trail
from .errors import PkiError
from .expectation import Expectation, History
from .inventory import Certificate
from .key_hygiene import Limits
from .policy import Policy
from .request_facts import Beside
from .stores.base import KeyRecord, KeyStore

NOTHING = History()


@dataclass(frozen=True, slots=True)
class Written:
    """A request as it is to be on disk, and which of its files differ from that."""

    certificate: str
    version: int
    directory: Path
    contents: dict[str, bytes]
    missing: tuple[str, ...]

    def as_event(self, what: str, ids: Sequence[str] = ()) -> dict[str, Any]:
        """The files that were missing as written, for the audit trail."""
        digests = {name: sha256(self.contents[name]).hexdigest() for name in self.missing}
        return trail.event(what, self.certificate, self.version, digests, vault=ids)


def build(
    certificate: Certificate,
    rules: Policy,
    store: KeyStore,
    record: KeyRecord,
    version: int,
    certificates_dir: Path,
    history: History = NOTHING,
) -> Written:
    """The request of one key version, judged by the policy before anyone sees it.

    ``history`` is what is known of all other requests, and of keys that must never be used again.
    """
    key = store.signing_key(certificate.key_name, version)
    return build_with(key, certificate, rules, record, version, certificates_dir, history)


def build_with(
    key: rsa.RSAPrivateKey,
    certificate: Certificate,
    rules: Policy,
    record: KeyRecord,
    version: int,
    certificates_dir: Path,
    history: History = NOTHING,
) -> Written:
    """The same with a key at hand, for one that is not in its store yet."""
    version_of_key = record.versions[version]
    asked = _Key(
        type=record.type,
        spki_sha256=sha256(version_of_key.spki_der).hexdigest(),
        created=version_of_key.created,
        imported=record.imported,
    )
    _never_asked_for(certificate, asked, version, history)
    request = csr.build(key, certificate.common_name, certificate.subject, certificate.san)
    return _judged(certificate, rules, asked, version, request, certificates_dir, history)


def take_in(
    certificate: Certificate,
    rules: Policy,
    request: bytes,
    version: int,
    supplied: datetime,
    certificates_dir: Path,
    history: History = NOTHING,
) -> Written:
    """A request (PEM) that a device made with a key of its own, judged like ours.

    ``supplied`` is when it was handed over: since when the device has its key nobody knows.
    """
    parsed = csr.parse(request)
    asked = _Key(
        type=f"{parsed.algorithm.lower()}-{parsed.bits}",
        spki_sha256=parsed.spki_sha256,
        created=supplied,
    )
    _never_asked_for(certificate, asked, version, history)
    return _judged(certificate, rules, asked, version, request, certificates_dir, history)


@dataclass(frozen=True, slots=True)
class _Key:
    """The key of a request as its record tells it."""

    type: str
    spki_sha256: str
    created: datetime
    imported: bool = False


def _judged(
    certificate: Certificate,
    rules: Policy,
    asked: _Key,
    version: int,
    request: bytes,
    certificates_dir: Path,
    history: History,
) -> Written:
    """The request with its record and submission text, once the policy lets it pass."""
    described = _record(certificate, asked, version, request)
    text = submission.text(certificate, described, request)
    _judge(certificate, rules, request, described, text, history.compromised)
    # The record comes last: a reader that finds it finds the other two complete.
    contents = {
        "request.csr": request,
        "submission.txt": text,
        "request.yml": public_state.dump(described),
    }
    directory = certificates_dir / certificate.name / str(version)
    return Written(
        certificate=certificate.name,
        version=version,
        directory=directory,
        contents=contents,
        missing=tuple(public_state.differing(directory, contents)),
    )


def _never_asked_for(certificate: Certificate, asked: _Key, version: int, history: History) -> None:
    """Refuse a key that stood in another request, whatever became of that one."""
    digest = asked.spki_sha256
    if digest not in history.keys:
        return
    raise PkiError(
        f"{certificate.name}: the key of v{version} was in another request already",
        rule="REQUEST-KEY",
        found=f"public key {digest} in {history.keys[digest]}",
        expected="a key that no other request has: the same request is never offered twice",
        where=str(key_place.declared(certificate)),
        next_step="find out who put this key there; have the store make a new version of it, "
        "and record this one as withdrawn",
    )


def _judge(
    certificate: Certificate,
    rules: Policy,
    request: bytes,
    record: Mapping[str, Any],
    text: bytes,
    compromised: Mapping[str, str],
) -> None:
    admins = certificate.organisation.certificate_admins
    beside = Beside(
        expectation=Expectation(
            common_name=certificate.common_name,
            subject=certificate.subject,
            purposes=certificate.purposes,
            policy=certificate.policy,
            environment=certificate.environment,
            san=certificate.san,
        ),
        certificate_admins=[person.name for person in admins],
        limits=Limits.of(rules.parameter),
        record=record,
        submission=text,
        compromised=compromised,
    )
    findings = rules.judge("request", request_facts.document(request, beside))
    for finding in policy.refused(findings):
        raise PkiError(
            f"{certificate.name}: {finding.message}",
            rule=finding.rule,
            found=finding.found,
            expected=finding.expected,
            where=f"{rules.document}, {finding.clause}",
            next_step=finding.next_step,
        )


def _record(certificate: Certificate, asked: _Key, version: int, request: bytes) -> dict[str, Any]:
    place = key_place.declared(certificate)
    return {
        "schema": public_state.SCHEMA,
        "certificate": certificate.name,
        "version": version,
        "organisation": certificate.organisation.key,
        **({"provider": certificate.provider} if certificate.provider else {}),
        "policy": certificate.policy,
        "environment": certificate.environment,
        "common_name": certificate.common_name,
        "subject": {name: certificate.subject[name] for name in ("O", "L", "ST", "C")},
        **({"san": list(certificate.san)} if certificate.san else {}),
        "purposes": sorted(certificate.purposes),
        "key": {
            "store": place.store,
            **({"mount": place.mount} if place.mount else {}),
            "name": place.name,
            "version": version,
            "type": asked.type,
            **({"imported": True} if asked.imported else {}),
            "spki_sha256": asked.spki_sha256,
        },
        "created": public_state.iso(asked.created),
        "request_sha256": sha256(request).hexdigest(),
    }
