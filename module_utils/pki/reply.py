# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door through which a certificate gets in: ``accept`` a CA's reply, or refuse it.

Judged in this order, the first problem decides: readable; no private key; a certificate
with the request's key; a path to a pinned anchor; an allowed issuer; not revoked; the
policy's rules. What else the policy refuses is named after it. What comes out can be made
nowhere else: see :class:`Accepted`.

No file, clock or network: bytes and values in, a value or a PkiError out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeVar, final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import certificate_facts, chain_facts, key_hygiene, names, path, revocation
from . import csr as requests
from .certs import DECODE_ERRORS, in_seconds, load, sha256, short, subject_of, to_der
from .errors import PkiError
from .expectation import Expectation as Expectation
from .expectation import History as History
from .expectation import Seen as Seen
from .ocsp_response import Pool
from .reading import read as read

if TYPE_CHECKING:
    from .policy import Finding

RULE_KEY = "DIP-6.1.2-SAME-HOST"
RULE_ISSUER = "DIP-4.1-DCA-ONLY"
RULE_EVALUATION = "POLICY-EVALUATION"
MAX_CANDIDATES = 8  # certificates of one key that are worth trying
_T = TypeVar("_T", bound=x509.ExtensionType)


class Judge(Protocol):
    """What ``accept`` needs of a policy."""

    def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Every finding about a facts document; raises PkiError if a rule cannot be judged."""
        ...

    def parameter(self, name: str) -> Any:
        """A value of the policy."""
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """Pinned anchors and known intermediates (DER or PEM).

    ``allowed_issuers`` are SHA-256 digests of issuing CAs' DER; empty allows any CA under
    the anchors.
    """

    anchors: Sequence[bytes]
    intermediates: Sequence[bytes] = ()
    allowed_issuers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """CRLs and OCSP responses at hand. ``pending`` lets a missing answer pass, as a fact
    the policy sees; ``require`` refuses it. A revoked certificate passes in neither."""

    crls: Sequence[bytes | revocation.Crl]
    ocsp: Sequence[bytes] | Pool = ()
    mode: Literal["require", "pending"] = "require"

    def __post_init__(self) -> None:
        if self.mode not in ("require", "pending"):
            raise ValueError(f"no such revocation mode: {self.mode}")


_SEAL = object()


@final
@dataclass(frozen=True, slots=True)
class Accepted:
    """A reply that passed every check: the only thing a release may be made from.

    Only ``accept`` can make one: the constructor demands a key that does not leave this
    module, so direct construction, ``dataclasses.replace``, subclassing and unpickling all
    fail. Copying gives the same object.

    Attributes:
        chain: DER, leaf first, intermediates after it, without the anchor.
        anchor: DER of the pinned anchor the path ends at.
        findings: every finding of the policy, the passed ones included.
        not_before, not_after: aware UTC.
        serial: lower-case hexadecimal.
        facts: the facts documents that were judged, by kind, for the record.
    """

    chain: tuple[bytes, ...]
    anchor: bytes
    findings: tuple[Finding, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    spki_sha256: str
    certificate_sha256: str
    facts: Mapping[str, Any] = field(repr=False)
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("an Accepted is made by pki.reply.accept and nowhere else")

    def __init_subclass__(cls) -> None:
        raise TypeError("Accepted cannot be subclassed")

    def __copy__(self) -> Accepted:
        return self

    def __deepcopy__(self, memo: object) -> Accepted:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an Accepted cannot be pickled: accept the reply again")

    def __setstate__(self, state: object) -> NoReturn:
        raise TypeError("an Accepted cannot be restored: accept the reply again")

    def certificate_pem(self) -> bytes:
        """The leaf: PEM, line feeds, 64 columns."""
        return _pem(self.chain[:1])

    def chain_pem(self) -> bytes:
        """The intermediates from the leaf upwards, without the anchor; may be empty."""
        return _pem(self.chain[1:])

    def fullchain_pem(self) -> bytes:
        """Leaf and intermediates, as gateways serve them."""
        return _pem(self.chain)


def accept(
    files: Sequence[bytes],
    *,
    csr: bytes,
    expectation: Expectation,
    trust: Trust,
    revocation: Revocation,
    now: datetime,
    policy: Judge | None = None,
) -> Accepted:
    """Judge a reply to the request ``csr``.

    ``policy`` judges the facts; None loads the shipped policy named by the expectation.

    Raises:
        PkiError: the first decisive problem. Rules of this module and those it calls:
            DIP-12.2-16-CER, REPLY-PRIVATE-KEY, DIP-6.1.1-PKCS10, DIP-6.1.2-SAME-HOST,
            DIP-3.5.1-CHAIN, DIP-3.5.1-EXPIRY, DIP-4.1-DCA-ONLY, DIP-3.5.2.5-RP-CHECK;
            then the first failed finding that refuses.
    """
    moment = in_seconds(now)
    certificates = read(files)
    request = requests.parse(csr)
    judge = policy or _shipped(expectation.policy)
    case = _Case(request, expectation, trust, moment, judge)
    candidates = _with_key(certificates, case)
    chain = _first_path(candidates, certificates, case)
    answers = _revocation_answers(chain, revocation, case)
    facts = _facts(chain, answers, case)
    findings = _findings(judge, facts)
    refused = _refusals(findings)
    if refused:
        raise _with_others(refused[0], refused[1:])
    _backstop(chain[0])
    leaf = chain[0]
    return Accepted(
        chain=tuple(to_der(certificate) for certificate in chain[:-1]),
        anchor=to_der(chain[-1]),
        findings=findings,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        serial=f"{leaf.serial_number:x}",
        spki_sha256=request.spki_sha256,
        certificate_sha256=sha256(leaf),
        facts=facts,
        seal=_SEAL,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """What a reply is judged by, whatever it holds."""

    request: requests.Request
    expectation: Expectation
    trust: Trust
    now: datetime
    policy: Judge


def _shipped(name: str) -> Judge:
    # Imported here because it reads a file: nothing else in this module's imports does.
    from . import shipped

    return shipped.policy(name)


def _spki(certificate: x509.Certificate) -> bytes:
    """Normalised SPKI; empty for a key the library does not know, which matches nothing."""
    try:
        return requests.spki_der(certificate.public_key())
    except DECODE_ERRORS:
        return b""


def _with_key(certificates: Sequence[x509.Certificate], case: _Case) -> list[x509.Certificate]:
    """The certificates of the request's key, newest first."""
    request = case.request
    matching = [one for one in certificates if _spki(one) == request.spki_der]
    if matching:
        matching.sort(key=lambda one: (-one.not_valid_before_utc.timestamp(), sha256(one)))
        return matching[:MAX_CANDIDATES]
    several = "none of the reply's certificates" if len(certificates) > 1 else "the reply's"
    message = (
        f"{several} belongs to the request's key"
        if len(certificates) > 1
        else f"{several} certificate belongs to another key"
    )
    digests = ", ".join(
        f"{short(hashlib.sha256(_spki(one)).hexdigest())} ({subject_of(one)})"
        for one in certificates[:4]
    )
    more = f" and {len(certificates) - 4} more" if len(certificates) > 4 else ""
    raise PkiError(
        message,
        rule=RULE_KEY,
        found=f"public key {digests}{more}",
        expected=f"public key {short(request.spki_sha256)}, the key of request.csr",
        next_step="ask the portal for the certificate of this very request; nothing was changed",
        also=_else_wrong(certificates[0], case, RULE_KEY) if len(certificates) == 1 else (),
    )


def _first_path(
    candidates: Sequence[x509.Certificate],
    certificates: Sequence[x509.Certificate],
    case: _Case,
) -> path.Chain:
    """The path of the first candidate that has one, or the newest candidate's refusal.

    More than one candidate is rare: a re-issue without a new key, or a self-signed
    certificate that somebody made with the request's key.
    """
    trust = case.trust
    anchors = path.certificates(trust.anchors, "anchor")
    pool = [*path.certificates(trust.intermediates, "intermediate"), *certificates]
    refusals: list[PkiError] = []
    for leaf in candidates:
        try:
            chain = path.build(leaf, pool, anchors, now=case.now, judge_leaf=False)
            _check_issuer(chain, trust)
        except PkiError as exc:
            refusals.append(exc)
        else:
            return chain
    raise _with_others(refusals[0], _else_wrong(candidates[0], case, refusals[0].rule))


def _normalised(digests: Sequence[str]) -> frozenset[str]:
    return frozenset(str(one).replace(":", "").lower() for one in digests)


def _check_issuer(chain: path.Chain, trust: Trust) -> None:
    allowed = _normalised(trust.allowed_issuers)
    issuer = chain[1]
    if not allowed or sha256(issuer) in allowed:
        return
    raise PkiError(
        f"the certificate of {subject_of(chain[0])} was issued by a CA that is not allowed to",
        rule=RULE_ISSUER,
        found=f"issuing CA {subject_of(issuer)} ({short(sha256(issuer))}), under "
        f"the same anchor {subject_of(chain[-1])}",
        expected="issuing CA " + " or ".join(short(one) for one in sorted(allowed)),
        where=f"certificate {short(sha256(chain[0]))}",
        next_step="get the certificate from the DCA's portal; if the DCA has a new issuing CA, "
        "check its SHA-256 with the DCA and add it to the trust entry's issuers",
    )


def _revocation_answers(
    chain: path.Chain, sources: Revocation, case: _Case
) -> tuple[certificate_facts.Revocation, ...]:
    """What is known of each certificate below the anchor, once none of it refuses."""
    statuses = revocation.check(
        [to_der(certificate) for certificate in chain], sources.crls, case.now, ocsp=sources.ocsp
    )
    pending = sources.mode == "pending"
    try:
        revocation.require_good(statuses, pending=pending)
    except PkiError as exc:
        exc.also = (*exc.also, *_else_wrong(chain[0], case, exc.rule))
        raise
    return chain_facts.answers(statuses, pending=pending)


# --- findings ---------------------------------------------------------------------------


def _findings(policy: Judge, facts: Mapping[str, Mapping[str, Any]]) -> tuple[Finding, ...]:
    return tuple(one for kind, document in facts.items() for one in _judged(policy, kind, document))


def _judged(policy: Judge, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
    try:
        return tuple(policy.judge(kind, facts))
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as exc:
        # What was not judged is never approved.
        raise PkiError(
            "the policy could not be evaluated on this certificate",
            rule=RULE_EVALUATION,
            found=type(exc).__name__,
            expected="a verdict of every rule",
            next_step="report this with the certificate; nothing was changed",
        ) from None


def _refusals(findings: Sequence[Finding]) -> list[PkiError]:
    """The findings that keep a certificate out, in the order of the policy."""
    return [
        PkiError(
            names.printable(str(finding.message), 400),
            rule=str(finding.rule),
            found=names.printable(str(finding.found), 400),
            expected=names.printable(str(finding.expected), 400),
            next_step=str(finding.next_step),
        )
        for finding in findings
        if finding.refuses and not finding.passed
    ]


def _else_wrong(leaf: x509.Certificate, case: _Case, decisive: str) -> tuple[PkiError, ...]:
    """What the policy refuses besides what already decided: a person mends all of it at once."""
    try:
        facts = certificate_facts.document(leaf, _around(leaf, case, certificate_facts.PENDING))
        found = _refusals(_judged(case.policy, "certificate", facts))
    except PkiError:
        return ()
    return tuple(one for one in found if one.rule != decisive)


def _with_others(error: PkiError, others: Sequence[PkiError]) -> PkiError:
    error.also = (*error.also, *others)
    return error


def _backstop(leaf: x509.Certificate) -> None:
    """A CA certificate never passes, whatever the policy file says or forgets.

    The path leaves this to the policy for its better words; a policy without the rule
    must not open the door.
    """
    constraints = _extension(leaf, x509.BasicConstraints)
    usage = _extension(leaf, x509.KeyUsage)
    if (constraints is not None and constraints.ca) or (usage is not None and usage.key_cert_sign):
        raise PkiError(
            f"the certificate of {subject_of(leaf)} is a CA certificate",
            rule=path.RULE_CHAIN,
            found="basicConstraints CA:TRUE or the key usage keyCertSign",
            expected="an end entity certificate",
            where=f"certificate {short(sha256(leaf))}",
            next_step="ask the CA to reissue it as an end entity certificate",
        )


# --- facts ------------------------------------------------------------------------------


def _facts(
    chain: path.Chain, answers: Sequence[certificate_facts.Revocation], case: _Case
) -> dict[str, dict[str, Any]]:
    """The facts documents of certificate and chain, by kind."""
    trust = case.trust
    anchors = path.certificates(trust.anchors, "anchor")
    known = path.certificates(trust.intermediates, "intermediate")
    allowed = _normalised(trust.allowed_issuers)
    return {
        "certificate": certificate_facts.document(chain[0], _around(chain[0], case, answers[0])),
        "chain": chain_facts.document(
            chain_facts.Found(chain, True),
            chain_facts.Around(
                expectation=case.expectation,
                now=case.now,
                anchors=[chain_facts.Pinned.of(ca) for ca in anchors],
                # Without a list of issuers every CA under the anchors may issue.
                issuers=[
                    chain_facts.Pinned.of(ca)
                    for ca in dict.fromkeys((*known, *chain[1:]))
                    if not allowed or sha256(ca) in allowed
                ],
                answers=answers,
                at_hand=True,
            ),
        ),
    }


def _around(
    leaf: x509.Certificate, case: _Case, answer: certificate_facts.Revocation
) -> certificate_facts.Around:
    """Where the certificate stands: its request, its revocation, and what was before it.

    A certificate that was accepted for this request before is *kept*: rules about what a new
    one must be leave it alone, all others hold for it as for a new one.
    """
    history = case.expectation.history or History()
    digest, spki = sha256(leaf), hashlib.sha256(_spki(leaf)).hexdigest()
    kept = history.accepted == digest
    return certificate_facts.Around(
        expectation=case.expectation,
        now=case.now,
        limits=key_hygiene.Limits.of(case.policy.parameter),
        request=case.request,
        source="kept" if kept else "reply",
        revocation=answer,
        # Only whether it is this certificate is asked of the record here, not when.
        acceptance=certificate_facts.Acceptance(history.accepted, case.now) if kept else None,
        key_also_in=[history.keys[spki]] if spki in history.keys else [],
        serial_seen_in=history.seen(f"{leaf.serial_number:x}", names.rfc2253(leaf.issuer)),
        compromised_in=[history.compromised[spki]] if spki in history.compromised else [],
        deployed=history.deployed == digest,
    )


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _pem(chain: Sequence[bytes]) -> bytes:
    return b"".join(load(one).public_bytes(Encoding.PEM) for one in chain)
