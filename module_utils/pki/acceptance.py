# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges what lies beside the inventory: every certificate a plan wants accepted or deployed.

Used twice in a run, on purpose: by ``pki_accept``, which writes the record, and by the
release action plugin, which hands out only what it has just judged itself. A record on
disk is never a permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import public_state, reply, session
from .errors import PkiError
from .inventory import Declared
from .lifecycle import Kind
from .policy import Policy
from .public_state import VersionFiles
from .trust_files import LoadedTrust

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A certificate that may not be used, and the whole reason."""

    certificate: str
    version: int
    error: PkiError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was accepted (in memory) and what was refused, by certificate and version."""

    accepted: Mapping[Key, reply.Accepted]
    files: Mapping[Key, VersionFiles]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a judgement rests on besides the files themselves.

    ``crls`` maps a trust set's name to its CRLs; ``keys`` maps certificate and version to
    the SPKI digest of the store's key, for whoever could ask the store.
    """

    policies: Mapping[str, Policy]
    trust: Mapping[str, LoadedTrust]
    crls: Mapping[str, Sequence[bytes]]
    keys: Mapping[Key, str]
    now: datetime


def run(
    declared: Declared,
    wanted: Iterable[Key],
    certificates_dir: str | Path,
    evidence: Evidence,
) -> Outcome:
    """Judge each wanted certificate, oldest version first; a refusal does not stop the others."""
    accepted: dict[Key, reply.Accepted] = {}
    files: dict[Key, VersionFiles] = {}
    refused: list[Refusal] = []
    for name, version in sorted(set(wanted)):
        try:
            found = _files(certificates_dir, name, version)
            files[(name, version)] = found
            accepted[(name, version)] = judge(declared, name, found, evidence)
        except PkiError as exc:
            refused.append(Refusal(name, version, _named(name, found_where(exc, version), exc)))
    return Outcome(accepted, files, tuple(refused))


def judge(declared: Declared, name: str, files: VersionFiles, evidence: Evidence) -> reply.Accepted:
    """Accept one version's certificate against its own request, or raise PkiError.

    The expectation is the committed request's, not today's inventory entry: a certificate
    stays valid when the entry is edited, and the plan asks for a new one beside it.
    """
    certificate = declared.certificates[name]
    request, record = files.request, files.request_record
    if request is None or record is None:
        raise PkiError(
            f"{name}: there is a certificate but no request it could belong to",
            rule="DIP-6.1.2-SAME-HOST",
            found="no request.csr and request.yml",
            expected="the committed request",
            where=str(files.path),
            next_step="restore the request files from git, or run the request stage",
        )
    _key_is_the_stores(name, files, evidence)
    asked = public_state.intent(record, files.path / "request.yml")
    trust = evidence.trust[certificate.trust]
    return reply.accept(
        files.presented,
        csr=request,
        expectation=reply.Expectation(
            common_name=asked.common_name,
            subject=asked.subject,
            purposes=asked.purposes,
            policy=asked.policy,
            environment=certificate.environment,
        ),
        trust=reply.Trust(
            anchors=tuple(ca.der for ca in trust.anchors),
            intermediates=tuple(ca.der for ca in trust.issuers),
            allowed_issuers=tuple(ca.sha256 for ca in trust.issuers),
        ),
        revocation=reply.Revocation(
            crls=tuple(evidence.crls.get(certificate.trust, ())), ocsp=(), mode="require"
        ),
        now=evidence.now,
        policy=_policy(asked.policy, files, evidence),
    )


def _policy(name: str, files: VersionFiles, evidence: Evidence) -> Policy:
    """The policy the request was made under; another one judges nothing of it."""
    if name in evidence.policies:
        return evidence.policies[name]
    raise PkiError(
        f"the request was made under a policy that is not in use: {name}",
        rule="POLICY-UNKNOWN",
        found=name,
        expected=", ".join(sorted(evidence.policies)),
        where=str(files.path / "request.yml"),
        next_step="restore the file from git; or withdraw the request and ask for a new one",
    )


def _files(certificates_dir: str | Path, name: str, version: int) -> VersionFiles:
    for files in public_state.scan(certificates_dir, name):
        if files.number == version:
            return files
    raise PkiError(
        f"{name}: version {version} has no directory",
        rule="STATE-LAYOUT",
        found="nothing",
        expected=f"{name}/{version}/",
        where=str(certificates_dir),
        next_step="run the request stage first",
    )


def _key_is_the_stores(name: str, files: VersionFiles, evidence: Evidence) -> None:
    """The request's recorded key must be the store's, where the store could be asked."""
    stored = evidence.keys.get((name, files.number))
    if stored is None:
        return
    recorded = public_state.key_digest(files.request_record or {}, files.path / "request.yml")
    if stored == recorded:
        return
    raise PkiError(
        f"{name}: request v{files.number} belongs to another key than the store's",
        rule="DIP-6.1.2-SAME-HOST",
        found=f"public key {recorded}",
        expected=f"public key {stored}",
        where=str(files.path / "request.yml"),
        next_step="find out who replaced key or request; nothing was changed",
    )


def found_where(exc: PkiError, version: int) -> str:
    """The place an error names, or the version it was found in."""
    return exc.where or f"version {version}"


def _named(name: str, where: str, exc: PkiError) -> PkiError:
    message = exc.message if exc.message.startswith(f"{name}:") else f"{name}: {exc.message}"
    return PkiError(
        message,
        rule=exc.rule,
        found=exc.found,
        expected=exc.expected,
        where=where,
        next_step=exc.next_step,
    )


def wanted(actions: Iterable[Mapping[str, object]]) -> list[Key]:
    """Certificate and version of every action that needs a judged certificate."""
    kinds = {Kind.ACCEPT.value, Kind.DEPLOY.value}
    pairs = [
        (str(action["certificate"]), int(str(action["version"])))
        for action in actions
        if action["kind"] in kinds
    ]
    return list(dict.fromkeys(pairs))


def digests(by_certificate: Mapping[str, Mapping[str, str]]) -> dict[Key, str]:
    """The plan's ``key_digests`` as acceptance looks them up."""
    return {
        (str(name), int(number)): str(digest)
        for name, versions in by_certificate.items()
        for number, digest in versions.items()
    }


def evidence(inputs: session.Inputs, keys: Mapping[Key, str]) -> Evidence:
    """Everything a run judges with: policies, pinned CAs, cached CRLs, the stores' keys."""
    sets = session.cached_crls(inputs, (c.trust for c in inputs.declared.certificates.values()))
    return Evidence(
        policies=inputs.policies,
        trust=inputs.trust,
        crls={name: crls.crls for name, crls in sets.items()},
        keys=keys,
        now=inputs.now,
    )
