# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about requests, certificates and their paths: one object of each kind a version.

Known from committed files alone, so they are the same offline and live but for revocation:
offline there is nothing to ask and the answer is pending; live it comes from the cached CRLs, and
of accepted certificates from the responder that they name as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509

from .. import certificate_facts, chain_facts, days, key_hygiene, request_facts, revocation, session
from ..certificate_facts import NOT_ASKED, PENDING, Ocsp, Revocation
from ..certs import DECODE_ERRORS, to_der
from ..der import Malformed, why
from ..documents import Collected, Declaration, Document
from ..download import Patience
from ..errors import PkiError
from ..policy import Place
from ..trust_files import Ca, LoadedTrust
from . import issued
from .issued import Issued
from .responders import Responders
from .scene import Collector, Scene

KINDS = frozenset({"request", "certificate", "chain"})
_PAIR = 2  # a certificate and its issuer


@dataclass(frozen=True, slots=True)
class _Trust:
    """A trust set made ready once: parsed CAs, how facts name them, and parsed CRLs."""

    anchors: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]
    pinned_anchors: tuple[chain_facts.Pinned, ...]
    pinned_issuers: tuple[chain_facts.Pinned, ...]
    crls: tuple[revocation.Crl, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """What every document of one run needs."""

    scene: Scene
    read: issued.Read
    twins: issued.Twins
    trust: Mapping[str, _Trust]
    trust_for_new: Mapping[str, _Trust]
    listeners: Mapping[str, Sequence[str]]
    responders: Responders

    def trust_of(self, one: Issued) -> _Trust:
        """The CAs that may stand above it: retired ones only for what was accepted before."""
        sets = self.trust if one.files.accepted_record is not None else self.trust_for_new
        return sets[one.declared.trust]


def collect(scene: Scene) -> Collected:
    """The documents of every version; each is declared, since its files are there."""
    read, trust = issued.read(scene), _trust(scene)
    run = _Run(
        scene=scene,
        read=read,
        twins=issued.Twins.of(read.all),
        trust=trust,
        trust_for_new={
            name: _ready(pinned.for_new, trust[name].crls) if pinned.kept else trust[name]
            for name in trust
            if (pinned := scene.inputs.trust[name])
        },
        listeners=_listeners(scene.gateways),
        responders=Responders(scene.inputs.now),
    )
    documents = [
        document
        for one in read.all
        for document in (*_request(run, one), *_issued(run, one))
        if scene.inputs.policies[document.policy].of_kind(document.kind)
    ]
    declarations = [Declaration(d.kind, d.object, d.policy, d.place) for d in documents]
    return scene.collected(declarations, documents, read.problems)


def _request(run: _Run, one: Issued) -> Iterator[Document]:
    if one.files.request is None and one.files.request_record is None:
        return
    admins = one.declared.organisation.certificate_admins
    settled = one.version.settled
    beside = request_facts.Beside(
        expectation=one.expectation(today=not settled),
        limits=_limits(run, one),
        certificate_admins=[person.name for person in admins],
        record=one.files.request_record,
        submission=one.submission,
        compromised=run.scene.inputs.compromised,
        settled=settled,
        age_days=_age(run, one),
    )
    facts = request_facts.document(one.files.request, beside)
    yield _document("request", one, facts, one.place("request.csr"))


def _age(run: _Run, one: Issued) -> int:
    asked = one.version.requested
    if asked is None:
        return days.NEVER
    return certificate_facts.days_since(asked.created, run.scene.inputs.now)


def _issued(run: _Run, one: Issued) -> Iterator[Document]:
    if not one.presented:
        return
    name = "certificate.pem" if one.files.certificate is not None else one.files.replies[0][0]
    place = one.place(name)
    state = issued.state(one, run.read.versions[one.declared.name])
    found, answers = _path(run, one)
    chain_around = _chain_around(run, one, state, answers)
    around = _around(run, one, state, answers[0] if answers else PENDING)
    around = replace(around, ocsp=_ocsp(run, one, found))
    try:
        certificate, chain = _readable(one, found, around, chain_around)
    except (PkiError, *DECODE_ERRORS) as exc:
        problem = f"{exc.message}: {exc.found}" if isinstance(exc, PkiError) else why(exc)
        certificate = certificate_facts.unreadable(problem, around)
        chain = chain_facts.unreadable(problem, chain_around)
    yield _document("certificate", one, certificate, place)
    yield _document("chain", one, chain, place)


def _readable(
    one: Issued,
    found: chain_facts.Found | None,
    around: certificate_facts.Around,
    chain_around: chain_facts.Around,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of certificate and path; Malformed when there is nothing to read them from."""
    if one.leaf is None or found is None:
        raise Malformed(one.problem)
    return (
        certificate_facts.document(one.leaf, around),
        chain_facts.document(found, chain_around),
    )


def _document(kind: str, one: Issued, facts: dict[str, Any], place: Place) -> Document:
    return Document(kind, one.label, one.policy, facts, place)


def _path(
    run: _Run, one: Issued
) -> tuple[chain_facts.Found | None, tuple[certificate_facts.Revocation, ...]]:
    """The path of a version's certificate, and what is known of each below its anchor."""
    if one.leaf is None:
        return None, ()
    trust, now = run.trust_of(one), run.scene.inputs.now
    found = chain_facts.find(one.leaf, [*trust.issuers, *one.offered], trust.anchors, now)
    if not found.verified:
        # Nobody vouches for the CA whose CRL would be asked.
        return found, (Revocation("none", "there is no verified path"),)
    if not run.scene.live:
        return found, ()
    ders = [to_der(certificate) for certificate in found.certificates]
    statuses = revocation.check(ders, trust.crls, now)
    return found, chain_facts.answers(statuses, pending=False)


def _ocsp(run: _Run, one: Issued, found: chain_facts.Found | None) -> Ocsp:
    """What its responder says of an accepted certificate that has not ended and has a path."""
    if not run.scene.live or one.files.accepted_record is None or one.leaf is None:
        return NOT_ASKED
    ended = one.leaf.not_valid_after_utc < run.scene.inputs.now
    if ended or found is None or not found.verified or len(found.certificates) < _PAIR:
        return NOT_ASKED
    wait = Patience.of(run.scene.inputs.policies[one.policy])
    return run.responders.ask(found.certificates[0], found.certificates[1], wait)


def _around(
    run: _Run, one: Issued, state: str, answer: certificate_facts.Revocation
) -> certificate_facts.Around:
    return certificate_facts.Around(
        expectation=one.expectation(today=False),
        now=run.scene.inputs.now,
        limits=_limits(run, one),
        request=one.request,
        state=state,
        source=one.source,
        vetted=one.declared.organisation.subject,
        revocation=answer,
        neighbours=issued.neighbours(one, run.read.versions[one.declared.name]),
        acceptance=issued.acceptance(one),
        key_also_in=run.twins.key(one),
        serial_seen_in=run.twins.serial(one),
        compromised_in=_compromised(run, one),
        deployed=issued.repeats(one, run.read.versions[one.declared.name]),
        listener_names=run.listeners.get(one.declared.entry, ()),
    )


def _limits(run: _Run, one: Issued) -> key_hygiene.Limits:
    """How far weaknesses of a key are looked for, by the policy of its request."""
    return key_hygiene.Limits.of(run.scene.inputs.policies[one.policy].parameter)


def _compromised(run: _Run, one: Issued) -> list[str]:
    """Who says that the key of a version's certificate is compromised."""
    says = run.scene.inputs.compromised.get(issued.spki_digest(one.leaf))
    return [says] if says is not None else []


def _chain_around(
    run: _Run, one: Issued, state: str, answers: Sequence[certificate_facts.Revocation]
) -> chain_facts.Around:
    trust = run.trust_of(one)
    return chain_facts.Around(
        expectation=one.expectation(today=False),
        now=run.scene.inputs.now,
        anchors=trust.pinned_anchors,
        issuers=trust.pinned_issuers,
        state=state,
        answers=answers,
        at_hand=run.scene.live,
    )


def _trust(scene: Scene) -> dict[str, _Trust]:
    wanted = {one.trust for one in scene.inputs.declared.certificates.values()}
    sets = session.cached_crls(scene.inputs, wanted) if scene.live else {}
    return {
        name: _ready(scene.inputs.trust[name], sets[name].crls if name in sets else ())
        for name in sorted(wanted)
    }


def _ready(trust: LoadedTrust, crls: Sequence[bytes | revocation.Crl]) -> _Trust:
    anchors, issuers = _parsed(trust.anchors), _parsed(trust.issuers)
    return _Trust(
        anchors=anchors,
        issuers=issuers,
        pinned_anchors=tuple(map(chain_facts.Pinned.of, anchors)),
        pinned_issuers=tuple(map(chain_facts.Pinned.of, issuers)),
        crls=tuple(
            crl
            for given in crls
            for crl in (
                (given,) if isinstance(given, revocation.Crl) else revocation.parse_crls(given)
            )
        ),
    )


def _parsed(authorities: Sequence[Ca]) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_der_x509_certificate(ca.der) for ca in authorities)


def _listeners(gateways: Any) -> dict[str, list[str]]:
    """Host names of the ingress listeners by entry; other collectors judge the entries."""
    found: dict[str, list[str]] = {}
    for gateway in gateways if isinstance(gateways, list) else ():
        entries = gateway.get("ingress") if isinstance(gateway, Mapping) else None
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and {"certificate", "server_name"} <= entry.keys():
                found.setdefault(str(entry["certificate"]), []).append(str(entry["server_name"]))
    return found


COLLECTOR = Collector(kinds=KINDS, scopes=frozenset({"offline", "live"}), collect=collect)
