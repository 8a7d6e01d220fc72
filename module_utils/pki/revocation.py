# SPDX-License-Identifier: GPL-3.0-or-later
"""Is any certificate of a verified chain revoked? Complete direct CRLs and OCSP, fail closed.

Narrower than RFC 5280 on purpose. A CRL *answers* for a certificate when it has the same
issuer name, verifies with the issuer's key (cRLSign, SHA-2), is inside its own dates, has
no critical extension we do not know, and its scope covers the certificate. Everything else
(delta, indirect, some reasons only, another distribution point) "says nothing" and is never
read as good. But a serial that is listed refuses, even in a stale or partial CRL: whoever
could sign the list meant it.

There is no clock skew: thisUpdate <= now <= nextUpdate in whole seconds. A tolerance
would let a CRL be used after the CA said it must not be.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from cryptography import x509

from . import crl as crl_file
from . import crl_scope, names, ocsp_response
from .ask import Ask as Ask
from .certs import (
    DECODE_ERRORS,
    in_seconds,
    issuer_of,
    load,
    name_bytes,
    sha256,
    short,
    stamp,
    subject_of,
)
from .crl import MAX_CRL_BYTES as MAX_CRL_BYTES
from .crl import RULE as RULE
from .crl import Crl as Crl
from .crl import parse_crls as parse_crls
from .crl import to_pem as to_pem
from .errors import PkiError

Verdict = Literal["good", "revoked", "unknown"]
_SHORT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Status:
    """The answer for one certificate of a chain.

    ``when`` and ``reason`` belong to ``revoked``; ``why`` says, for ``unknown``, what was
    tried and why it is no answer, and ``ask`` who else could be asked. ``source`` names what
    gave a good or bad answer.
    """

    certificate: str
    certificate_sha256: str
    serial: str
    issuer: str
    verdict: Verdict
    when: datetime | None = None
    reason: str = ""
    why: str = ""
    source: str = ""
    ask: Ask | None = field(default=None, repr=False, compare=False)


class Unanswered(PkiError):
    """Nobody said whether certificates of a verified path are revoked, and whom one could ask.

    Only the judgement of a path that leads to a pinned anchor raises it: so the addresses in
    ``asks`` are the words of CAs we trust, and never those of a certificate anybody made.
    """

    def __init__(self, message: str, *, asks: Sequence[Ask], **fields: Any) -> None:
        super().__init__(message, **fields)
        self.asks = tuple(asks)


@dataclass(frozen=True, slots=True)
class CrlInfo:
    """A CRL that one CA signed and that is valid now. Times are aware UTC.

    ``scope`` is ``all``, ``user`` or ``ca``; ``distribution_points`` are the URIs of an
    issuingDistributionPoint, for which gateways may refuse every good client.
    """

    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime
    sha256: str
    der: bytes
    scope: str
    distribution_points: tuple[str, ...]


def check(
    chain: Sequence[bytes],
    crls: Iterable[bytes | Crl],
    now: datetime,
    *,
    ocsp: Iterable[bytes] | ocsp_response.Pool = (),
) -> tuple[Status, ...]:
    """One status per certificate below the last one of ``chain`` (DER, leaf first).

    The chain must have been verified. Files that cannot be read do not raise: they are
    named in the ``why`` of what stays unknown.
    """
    moment = in_seconds(now)
    certificates = [load(der) for der in chain]
    lists, problems = _parsed(crls)
    pool = ocsp if isinstance(ocsp, ocsp_response.Pool) else ocsp_response.Pool.of(ocsp)
    problems += pool.problems
    return tuple(
        _status(certificate, issuer, lists, pool.about(certificate), moment, problems)
        for certificate, issuer in itertools.pairwise(certificates)
    )


def require_good(statuses: Iterable[Status], *, pending: bool = False) -> None:
    """Refuse the first revoked certificate, then the first without an answer.

    ``pending=True`` lets a missing answer pass; a revoked certificate never passes.

    Raises:
        PkiError: rule DIP-3.5.2.5-RP-CHECK, a revoked certificate.
        Unanswered: the same rule, a missing answer.
    """
    known = tuple(statuses)
    for status in known:
        if status.verdict == "revoked":
            raise _revoked_error(status)
    missing = [status for status in known if status.verdict != "good"]
    if missing and not pending:
        raise _unanswered(missing)


def verify_crl(crl_bytes: bytes | Crl, issuer_cert_der: bytes, now: datetime) -> CrlInfo:
    """The facts of a CRL that ``issuer_cert_der`` signed and that is valid at ``now``.

    A CRL for CA or user certificates only is accepted and says so in ``scope``.

    Raises:
        PkiError: rule DIP-3.5.2.5-RP-CHECK; unreadable, another issuer, bad signature,
            outside its dates, or of a kind that never answers (delta, indirect, ...).
    """
    crl = crl_bytes if isinstance(crl_bytes, Crl) else Crl.parse(crl_bytes)
    try:
        issuer = x509.load_der_x509_certificate(issuer_cert_der)
    except DECODE_ERRORS as exc:
        fault = f"its issuer's certificate: {names.printable(str(exc))}"
        raise crl_file.unreadable(fault) from None
    moment = in_seconds(now)
    fault = (
        crl.fault_of(issuer) or crl.silent or crl.unknown_in_entries or crl.outside_dates(moment)
    )
    if fault or crl.next_update is None:
        raise PkiError(
            f"the CRL of {crl.issuer_name} cannot be used: it {fault}",
            rule=RULE,
            found=f"{crl.describe()}; it {fault}",
            expected=f"a complete CRL signed by {subject_of(issuer)} "
            f"({short(sha256(issuer))}) and valid on {stamp(moment)}",
            next_step="fetch the CRL again from its distribution point, or drop in the file "
            "the CA publishes",
        )
    return CrlInfo(
        issuer=crl.issuer_name,
        number=crl.number,
        this_update=crl.this_update,
        next_update=crl.next_update,
        sha256=hashlib.sha256(crl.der).hexdigest(),
        der=crl.der,
        scope=crl.scope,
        distribution_points=crl.distribution_points,
    )


def _parsed(crls: Iterable[bytes | Crl]) -> tuple[list[Crl], list[str]]:
    lists: list[Crl] = []
    problems: list[str] = []
    for number, item in enumerate(crls, start=1):
        if isinstance(item, Crl):
            lists.append(item)
            continue
        try:
            found = _remembered(bytes(item)) if len(item) <= _SHORT_BYTES else parse_crls(item)
        except PkiError as exc:
            problems.append(f"CRL file {number} is unreadable ({exc.found})")
            continue
        lists += found
        if not found:
            problems.append(f"CRL file {number} holds no CRL")
    return lists, problems


@lru_cache(maxsize=32)
def _remembered(data: bytes) -> tuple[Crl, ...]:
    """A short list is often given again as bytes: the same value knows its signature already."""
    return parse_crls(data)


def _status(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[Crl],
    responses: Sequence[ocsp_response.Response],
    now: datetime,
    problems: Sequence[str],
) -> Status:
    own = [crl for crl in lists if crl.issuer == name_bytes(certificate, "issuer")]

    def is_listed(responder: x509.Certificate) -> bool:
        return any(_revokes(crl, responder) for crl in own if not crl.fault_of(issuer))

    answers = [
        *_crl_answers(certificate, issuer, own, now),
        *(response.answer(certificate, issuer, now, is_listed) for response in responses),
    ]
    # Revoked from any source wins over good from another.
    for wanted in ("revoked", "good"):
        for answer in answers:
            if answer.verdict == wanted:
                return _make_status(certificate, answer)
    tried = [answer.note for answer in answers if answer.note] + list(problems)
    why = "; ".join(tried) or "no CRL and no OCSP response of this issuer was given"
    ask = Ask.of(certificate, issuer)
    return _make_status(certificate, ocsp_response.Answer("unknown", note=why), ask)


def _revokes(crl: Crl, certificate: x509.Certificate) -> bool:
    answer = _listing(crl, certificate)
    return answer is not None and answer.verdict == "revoked"


def _make_status(
    certificate: x509.Certificate, answer: ocsp_response.Answer, ask: Ask | None = None
) -> Status:
    unknown = answer.verdict == "unknown"
    return Status(
        certificate=subject_of(certificate),
        certificate_sha256=sha256(certificate),
        serial=f"{certificate.serial_number:x}",
        issuer=issuer_of(certificate),
        verdict=answer.verdict,
        when=answer.when,
        reason=answer.reason,
        why=answer.note if unknown else "",
        source="" if unknown else answer.note,
        ask=ask,
    )


def _crl_answers(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[Crl],
    now: datetime,
) -> list[ocsp_response.Answer]:
    """Every listing, and the newest CRL that covers the certificate: older ones are out."""
    answers: list[ocsp_response.Answer] = []
    covering: list[Crl] = []
    for crl in lists:
        fault = crl.fault_of(issuer)
        if fault:
            answers.append(_nothing(crl, fault))
            continue
        listing = _listing(crl, certificate)
        if listing is not None:
            answers.append(listing)
            continue
        fault = crl.silent or _out_of_scope(crl, certificate) or crl.unknown_in_entries
        if fault:
            answers.append(_nothing(crl, fault))
        else:
            covering.append(crl)
    return [*answers, *_newest_answer(covering, now)]


def _newest_answer(covering: Sequence[Crl], now: datetime) -> Iterator[ocsp_response.Answer]:
    """The word of the newest CRL. Where number and date disagree about which that is, both
    have to be valid: no older one brings a certificate back."""
    if not covering:
        return
    by_date = max(covering, key=lambda crl: (crl.this_update, _number(crl)))
    # Numbers count up within one scope (RFC 5280 5.2.3) and say nothing about another's.
    same_scope = (crl for crl in covering if crl.idp == by_date.idp)
    by_number = max(same_scope, key=lambda crl: (_number(crl), crl.this_update))
    for crl in (by_date, by_number):
        fault = crl.outside_dates(now)
        if fault:
            yield _nothing(crl, fault)
            return
    yield _good(by_date)


def _number(crl: Crl) -> int:
    return -1 if crl.number is None else crl.number


def _nothing(crl: Crl, fault: str) -> ocsp_response.Answer:
    return ocsp_response.Answer("unknown", note=f"{crl.describe()} {fault}")


def _good(crl: Crl) -> ocsp_response.Answer:
    return ocsp_response.Answer("good", note=crl.describe())


def _listing(crl: Crl, certificate: x509.Certificate) -> ocsp_response.Answer | None:
    """The certificate's entry, if it is on the list.

    Serials of an indirect CRL may belong to another CA: none is a revocation by itself.
    """
    if crl.idp is not None and crl.idp.indirect_crl:
        return None
    try:
        entry = crl.entry(certificate.serial_number)
    except DECODE_ERRORS:
        # A list whose entries cannot be walked may hide the very serial we look for.
        return _nothing(crl, "has entries that cannot be read")
    if entry is None:
        return None
    reason = crl_file.reason_of(entry)
    return ocsp_response.Answer("revoked", entry.revocation_date_utc, reason, crl.describe())


def _out_of_scope(crl: Crl, certificate: x509.Certificate) -> str:
    """Why an issuingDistributionPoint leaves the certificate out, or empty."""
    if crl.idp is None:
        return ""
    try:
        authority = crl_scope.is_authority(certificate)
        points = crl_scope.points_of(certificate)
    except DECODE_ERRORS:
        return "has a scope, and the certificate's extensions cannot be read"
    return crl_scope.outside(crl.idp, authority, points)


def _revoked_error(status: Status) -> PkiError:
    when = stamp(status.when) if status.when else "an unknown date"
    return PkiError(
        f"the certificate of {status.certificate} is revoked",
        rule=RULE,
        found=f"serial {status.serial}, revoked by {status.issuer} on {when} "
        f"({status.reason}), by {status.source}",
        expected="a certificate that its CA has not revoked",
        where=f"certificate {short(status.certificate_sha256)}",
        next_step="a revoked certificate cannot be reclaimed: plan a new key and request, "
        "and find out why it was revoked",
    )


def _unanswered(missing: Sequence[Status]) -> Unanswered:
    status = missing[0]
    asks = [one.ask for one in missing if one.ask is not None]
    untried = [address for ask in asks for address in ask.not_tried]
    also = f"; not tried, no http address: {', '.join(untried[:3])}" if untried else ""
    return Unanswered(
        f"nobody says whether the certificate of {status.certificate} is revoked",
        asks=asks,
        rule=RULE,
        found=f"no usable answer of {status.issuer} for serial {status.serial}: {status.why}{also}",
        expected=f"a valid, complete CRL or OCSP response of {status.issuer}",
        where=f"certificate {short(status.certificate_sha256)}",
        next_step=f"refresh the CRLs of this trust entry and check the CRL address of "
        f"{status.issuer}",
    )
