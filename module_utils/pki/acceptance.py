# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges what lies beside the inventory: every certificate a plan wants accepted or deployed.

Used twice in a run, on purpose: by ``pki_accept``, which writes the record, and by the
release action plugin, which hands out only what it has just judged itself. A record on
disk is never a permission.

Replies are foreign bytes, so the batch is judged in a supervised worker. A
:class:`~.reply.Accepted` does not leave the process that made it: what a caller wants of
it, its ``make`` makes in the worker right after the acceptance, and only that plain value
comes back. No value of a refused reply can: ``make`` is called with an Accepted or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from . import public_state, reply, revocation_sources, session, supervised
from .download import Patience
from .errors import PkiError, shown
from .expectation import History
from .history import Committed
from .inventory import Declared
from .lifecycle import Kind
from .ocsp_response import Pool
from .policy import Policy
from .public_state import VersionFiles
from .revocation import Ask, Crl, Unanswered
from .revocation_sources import Fetched
from .trust_files import LoadedTrust

MEMORY = 2 << 30  # bytes a worker may take for a batch; an ordinary one needs some megabytes

Key = tuple[str, int]
T = TypeVar("T")
Make = Callable[[str, VersionFiles, reply.Accepted], T]
#: Answers to what was asked in vain, for certificates of one policy, whose name comes first.
Fetch = Callable[[str, Sequence[Ask]], Fetched]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A certificate that may not be used, and the whole reason."""

    certificate: str
    version: int
    error: PkiError


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What was made of each accepted certificate, what was refused, and what was fetched."""

    accepted: Mapping[Key, T]
    files: Mapping[Key, VersionFiles]
    refused: tuple[Refusal, ...]
    fetched: Fetched = field(default_factory=Fetched)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a judgement rests on besides the files themselves.

    ``crls`` maps a trust set's name to its CRLs; ``more_crls`` and ``ocsp`` are answers from
    certificates' own addresses or from a person, for whichever set. ``keys`` maps certificate
    and version to the SPKI digest of the store's key, for whoever could ask the store;
    ``compromised`` are the keys of the ledger, by SPKI digest. ``seconds`` is what one
    judgement may take.
    """

    policies: Mapping[str, Policy]
    trust: Mapping[str, LoadedTrust]
    crls: Mapping[str, Sequence[Crl]]
    keys: Mapping[Key, str]
    now: datetime
    seconds: float
    compromised: Mapping[str, str] = field(default_factory=dict)
    more_crls: tuple[Crl, ...] = ()
    ocsp: Sequence[bytes] = ()

    def with_answers(self, found: Fetched) -> Evidence:
        """With what was fetched in addition."""
        more, ocsp = (*self.more_crls, *found.crls), (*self.ocsp, *found.ocsp)
        return replace(self, more_crls=more, ocsp=ocsp)


@dataclass(frozen=True, slots=True)
class _Case:
    """One version that is to be judged, and what was before it."""

    name: str
    files: VersionFiles
    history: History

    @property
    def key(self) -> Key:
        return self.name, self.files.number


def run(
    declared: Declared,
    wanted: Iterable[Key],
    certificates_dir: str | Path,
    evidence: Evidence,
    make: Make[T],
    fetch: Fetch | None = None,
) -> Outcome[T]:
    """Judge each wanted certificate, oldest version first; a refusal does not stop the others.

    ``make`` runs in the worker; what it returns must be plain values that can be pickled. A
    PkiError that it raises refuses the certificate. Where nobody said whether a certificate of
    a verified path is revoked, ``fetch`` is asked once for all of them, here and not in the
    worker, and they are judged once more.
    """
    keys = sorted(set(wanted))
    cases, refused = _cases(keys, certificates_dir, evidence.compromised)
    answers = _judged(declared, cases, evidence, make)
    fetched = Fetched()
    asking = [case for case in cases if isinstance(answers[case.key], Unanswered)]
    if fetch is not None and asking:
        fetched = _fetched(declared, asking, answers, fetch)
        answers |= _judged(declared, asking, evidence.with_answers(fetched), make)
    refused |= {key: found for key, found in answers.items() if isinstance(found, PkiError)}
    files = {case.key: case.files for case in cases}
    return Outcome(
        accepted={key: found for key, found in answers.items() if not isinstance(found, PkiError)},
        files=files,
        refused=tuple(
            _refusal(key, refused[key], files.get(key)) for key in keys if key in refused
        ),
        fetched=fetched,
    )


def _judged(
    declared: Declared, cases: Sequence[_Case], evidence: Evidence, make: Make[T]
) -> dict[Key, T | PkiError]:
    """What was made of each case, or why it is refused; from one supervised worker."""
    # Parsed once for the batch, and by serial: responses may be as many as certificates.
    pool = Pool.of(evidence.ocsp)

    def work(case: _Case) -> T:
        accepted = judge(declared, case.name, case.files, evidence, case.history, pool)
        return make(case.name, case.files, accepted)

    limits = supervised.Limits(evidence.seconds, MEMORY)
    answers = supervised.run(cases, work, limits)
    return {case.key: answer for case, answer in zip(cases, answers, strict=True)}


def _fetched(
    declared: Declared,
    cases: Sequence[_Case],
    answers: Mapping[Key, object],
    fetch: Fetch,
) -> Fetched:
    """What could be had for the unanswered; each policy has a patience of its own."""
    asks: dict[str, dict[Ask, None]] = {}
    for case in cases:
        error = answers[case.key]
        if isinstance(error, Unanswered):
            policy = declared.certificates[case.name].policy
            asks.setdefault(policy, {}).update(dict.fromkeys(error.asks))
    found = [fetch(policy, tuple(wanted)) for policy, wanted in asks.items()]
    return Fetched(
        crls=tuple(crl for one in found for crl in one.crls),
        ocsp=tuple(response for one in found for response in one.ocsp),
        problems=tuple(problem for one in found for problem in one.problems),
    )


def _cases(
    keys: Sequence[Key], certificates_dir: str | Path, compromised: Mapping[str, str]
) -> tuple[list[_Case], dict[Key, PkiError]]:
    """The versions to judge, and why the others cannot be; every directory is read once."""
    versions = dict(public_state.scan_every(certificates_dir))
    committed = Committed.of(versions, compromised)
    unreadable: dict[str, PkiError] = {}
    for name in {name for name, _ in keys}.difference(versions):
        try:
            versions[name] = public_state.scan(certificates_dir, name)
        except PkiError as exc:
            unreadable[name] = exc
    cases: list[_Case] = []
    refused: dict[Key, PkiError] = {}
    for name, version in keys:
        found = [one for one in versions.get(name, ()) if one.number == version]
        if found:
            cases.append(_Case(name, found[0], committed.before(name, version)))
        else:
            error = unreadable.get(name)
            refused[(name, version)] = error or _no_directory(name, version, certificates_dir)
    return cases, refused


def judge(
    declared: Declared,
    name: str,
    files: VersionFiles,
    evidence: Evidence,
    history: History | None = None,
    ocsp: Pool | None = None,
) -> reply.Accepted:
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
    if files.accepted_record is None:
        # A retired CA keeps what is in service, and vouches for nothing new.
        trust = trust.for_new
    return reply.accept(
        files.presented,
        csr=request,
        expectation=reply.Expectation(
            common_name=asked.common_name,
            subject=asked.subject,
            purposes=asked.purposes,
            policy=asked.policy,
            environment=certificate.environment,
            history=history,
        ),
        trust=reply.Trust(
            anchors=tuple(ca.der for ca in trust.anchors),
            intermediates=tuple(ca.der for ca in trust.issuers),
            allowed_issuers=tuple(ca.sha256 for ca in trust.issuers),
        ),
        revocation=reply.Revocation(
            crls=(*evidence.crls.get(certificate.trust, ()), *evidence.more_crls),
            ocsp=Pool.of(evidence.ocsp) if ocsp is None else ocsp,
            mode="require",
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


def _no_directory(name: str, version: int, certificates_dir: str | Path) -> PkiError:
    return PkiError(
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


def _refusal(key: Key, error: PkiError, files: VersionFiles | None) -> Refusal:
    """The error with the certificate's name before it, and with the file it is about."""
    name, version = key
    if not error.message.startswith(f"{name}:"):
        error.message = shown(f"{name}: {error.message}")
    error.where = shown(_where(error.where, files) if files else error.where)
    return Refusal(name, version, error)


def _where(said: str, files: VersionFiles) -> str:
    """A place inside a reply, as a place on disk: the judgement knows no file names."""
    directory = str(files.path)
    if directory in said:
        return said
    paths = [str(files.path / name) for name, _ in files.presented_files]
    alone = paths[0] if len(paths) == 1 else directory
    known = {f"file {number}": path for number, path in enumerate(paths, start=1)}
    for words, path in {"the reply": alone, **known}.items():
        if said == words or said.endswith(f" {words}"):
            return said[: len(said) - len(words)] + path
    return f"{said} in {alone}" if said else alone


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


def evidence(
    inputs: session.Inputs, keys: Mapping[Key, str], also: Fetched | None = None
) -> Evidence:
    """Everything a run judges with: policies, pinned CAs, cached answers, the stores' keys.

    ``also`` are answers that were fetched in this run and not kept.
    """
    sets = session.cached_crls(inputs, (c.trust for c in inputs.declared.certificates.values()))
    found = Evidence(
        policies=inputs.policies,
        trust=inputs.trust,
        # Parsed once for the batch: each value remembers whose signature it has and its entries.
        crls={name: tuple(map(Crl.parse, crls.crls)) for name, crls in sets.items()},
        keys=keys,
        now=inputs.now,
        # Of several policies the one that waits longest decides: a batch has one worker.
        seconds=max(
            (float(one.parameter("judgement_seconds")) for one in inputs.policies.values()),
            default=0.0,
        ),
        compromised=inputs.compromised,
    )
    return found.with_answers(session.answers(inputs)).with_answers(also or Fetched())


def fetching(inputs: session.Inputs, *, keep: bool) -> Fetch:
    """A way to the addresses that verified certificates name, as patient as their policy.

    What is found is kept beside the CRLs of the trust sets, unless ``keep`` is off.
    """

    def fetch(policy: str, asks: Sequence[Ask]) -> Fetched:
        return revocation_sources.fetch(
            asks,
            patience=Patience.of(inputs.policies[policy]),
            cache_dir=inputs.crl_cache_dir if keep else None,
            now=inputs.now,
        )

    return fetch
