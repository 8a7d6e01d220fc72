# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door through which a certificate gets in: ``accept`` a CA's reply, or refuse it.

Judged in this order, the first problem decides: readable; no private key; a certificate
with the request's key; a path to a pinned anchor; an allowed issuer; not revoked; the
policy's rules. What comes out can be made nowhere else: see :class:`Accepted`.

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

from . import certificate_facts, chain_facts, names, path, revocation
from . import csr as requests
from .certs import DECODE_ERRORS, in_seconds, sha256, short, subject_of, to_der
from .errors import PkiError
from .expectation import Expectation as Expectation
from .reading import read as read

if TYPE_CHECKING:
    from .policy import Finding

RULE_KEY = "DIP-6.1.2-SAME-HOST"
RULE_ISSUER = "DIP-4.1-DCA-ONLY"
RULE_EVALUATION = "POLICY-EVALUATION"
_MAX_CANDIDATES = 8  # certificates of one key that are worth trying
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
    ocsp: Sequence[bytes] = ()
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
    candidates = _with_key(certificates, request)
    chain = _first_path(candidates, certificates, trust, moment)
    answers = _revocation_answers(chain, revocation, moment)
    facts = _facts(chain, request, expectation, trust, answers, moment)
    judge = policy or _shipped(expectation.policy)
    findings = tuple(
        one for kind, facts_of in facts.items() for one in _judged(judge, kind, facts_of)
    )
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


def _with_key(
    certificates: Sequence[x509.Certificate], request: requests.Request
) -> list[x509.Certificate]:
    """The certificates of the request's key, newest first."""
    matching = [one for one in certificates if _spki(one) == request.spki_der]
    if matching:
        matching.sort(key=lambda one: (-one.not_valid_before_utc.timestamp(), sha256(one)))
        return matching[:_MAX_CANDIDATES]
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
    )


def _first_path(
    candidates: Sequence[x509.Certificate],
    certificates: Sequence[x509.Certificate],
    trust: Trust,
    now: datetime,
) -> path.Chain:
    """The path of the first candidate that has one, or the newest candidate's refusal.

    More than one candidate is rare: a re-issue without a new key, or a self-signed
    certificate that somebody made with the request's key.
    """
    anchors = path.certificates(trust.anchors, "anchor")
    pool = [*path.certificates(trust.intermediates, "intermediate"), *certificates]
    refusals: list[PkiError] = []
    for leaf in candidates:
        try:
            chain = path.build(leaf, pool, anchors, now=now, judge_leaf=False)
            _check_issuer(chain, trust)
        except PkiError as exc:
            refusals.append(exc)
        else:
            return chain
    raise refusals[0]


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
    chain: path.Chain, sources: Revocation, now: datetime
) -> tuple[certificate_facts.Revocation, ...]:
    """What is known of each certificate below the anchor, once none of it refuses."""
    statuses = revocation.check(
        [to_der(certificate) for certificate in chain], sources.crls, now, ocsp=sources.ocsp
    )
    pending = sources.mode == "pending"
    revocation.require_good(statuses, pending=pending)
    return chain_facts.answers(statuses, pending=pending)


def _judged(policy: Judge, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
    try:
        findings = tuple(policy.judge(kind, facts))
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as exc:
        # What was not judged is never approved.
        raise PkiError(
            "the policy could not be evaluated on this certificate",
            rule=RULE_EVALUATION,
            found=type(exc).__name__,
            expected="a verdict of every rule",
            next_step="report this with the certificate; nothing was changed",
        ) from None
    for finding in findings:
        if finding.refuses and not finding.passed:
            raise PkiError(
                names.printable(str(finding.message), 400),
                rule=str(finding.rule),
                found=names.printable(str(finding.found), 400),
                expected=names.printable(str(finding.expected), 400),
                next_step=str(finding.next_step),
            )
    return findings


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
    chain: path.Chain,
    request: requests.Request,
    expectation: Expectation,
    trust: Trust,
    answers: Sequence[certificate_facts.Revocation],
    now: datetime,
) -> dict[str, dict[str, Any]]:
    """The facts documents of certificate and chain, by kind."""
    around = certificate_facts.Around(
        expectation=expectation, now=now, request=request, revocation=answers[0]
    )
    anchors = path.certificates(trust.anchors, "anchor")
    known = path.certificates(trust.intermediates, "intermediate")
    allowed = _normalised(trust.allowed_issuers)
    return {
        "certificate": certificate_facts.document(chain[0], around),
        "chain": chain_facts.document(
            chain_facts.Found(chain, True),
            chain_facts.Around(
                expectation=expectation,
                now=now,
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


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _pem(chain: Sequence[bytes]) -> bytes:
    return b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in chain)
