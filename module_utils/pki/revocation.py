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
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from . import names, ocsp_response
from .certs import (
    DECODE_ERRORS,
    check_signature_octets,
    in_seconds,
    issuer_of,
    name_bytes,
    sha256,
    short,
    stamp,
    subject_of,
)
from .errors import PkiError

RULE = "DIP-3.5.2.5-RP-CHECK"
MAX_CRL_BYTES = 64 * 1024 * 1024
SHA2 = frozenset({"sha256", "sha384", "sha512"})
_UNDERSTOOD = frozenset(
    {ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.CRL_NUMBER, ExtensionOID.FRESHEST_CRL}
)
_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_T = TypeVar("_T", bound=x509.ExtensionType)

Verdict = Literal["good", "revoked", "unknown"]


@dataclass(frozen=True, slots=True)
class Status:
    """The answer for one certificate of a chain.

    ``when`` and ``reason`` belong to ``revoked``; ``why`` says, for ``unknown``, what was
    tried and why it is no answer. ``source`` names what gave a good or bad answer.
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


@dataclass(frozen=True, slots=True)
class Crl:
    """A parsed CRL; nothing about it is verified yet.

    ``silent`` says why it can never answer "good" (delta, indirect, ...), or is empty.
    """

    parsed: x509.CertificateRevocationList
    der: bytes
    issuer: bytes
    issuer_name: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    idp: x509.IssuingDistributionPoint | None
    silent: str

    @classmethod
    def parse(cls, data: bytes) -> Crl:
        """One CRL, DER or PEM.

        Raises:
            PkiError: rule DIP-3.5.2.5-RP-CHECK; too large, malformed, or not exactly one.
        """
        found = parse_crls(data)
        if len(found) != 1:
            raise _unreadable(f"{len(found)} CRLs in one file")
        return found[0]

    @property
    def scope(self) -> str:
        """Whom it speaks for: ``all``, ``user`` or ``ca`` certificates, or ``none``."""
        return "none" if self.silent else _scope(self.idp)

    @property
    def distribution_points(self) -> tuple[str, ...]:
        """The URIs of its issuingDistributionPoint."""
        return tuple(sorted(_uris(self.idp.full_name if self.idp else None)))

    def signed_by(self, issuer_der: bytes) -> bool:
        """Whether this CA issued and signed it, whatever its dates and scope are."""
        return not _not_from(self, x509.load_der_x509_certificate(issuer_der))

    def describe(self) -> str:
        """Issuer, number and date, for messages."""
        number = "without number" if self.number is None else f"number {self.number}"
        return f"CRL {number} of {self.issuer_name} from {stamp(self.this_update)}"


def parse_crls(data: bytes) -> tuple[Crl, ...]:
    """The CRLs of a file: one DER, or any number of PEM blocks; raises like ``Crl.parse``."""
    if len(data) > MAX_CRL_BYTES:
        raise _unreadable(f"{len(data)} bytes, where {MAX_CRL_BYTES} are the limit")
    if data[:1] == b"\x30":
        return (_parse(data, x509.load_der_x509_crl),)
    return tuple(_parse(block, x509.load_pem_x509_crl) for block in _PEM.findall(data))


def _parse(data: bytes, load: Callable[[bytes], x509.CertificateRevocationList]) -> Crl:
    try:
        parsed = load(data)
        check_signature_octets(parsed.public_bytes(Encoding.DER))
        idp = _extension(parsed.extensions, x509.IssuingDistributionPoint)
        number = _extension(parsed.extensions, x509.CRLNumber)
        return Crl(
            parsed=parsed,
            der=parsed.public_bytes(Encoding.DER),
            issuer=parsed.issuer.public_bytes(),
            issuer_name=names.display(parsed.issuer),
            number=None if number is None else number.crl_number,
            this_update=parsed.last_update_utc,
            next_update=parsed.next_update_utc,
            idp=idp,
            silent=_never_good(parsed, idp),
        )
    except DECODE_ERRORS as exc:
        raise _unreadable(names.printable(str(exc))) from None


def _never_good(
    parsed: x509.CertificateRevocationList, idp: x509.IssuingDistributionPoint | None
) -> str:
    for item in parsed.extensions:
        if item.oid == ExtensionOID.DELTA_CRL_INDICATOR:
            return "is a delta CRL"
        if item.critical and item.oid not in _UNDERSTOOD:
            return f"has the unknown critical extension {item.oid.dotted_string}"
    if idp is None:
        return ""
    if idp.indirect_crl:
        return "is an indirect CRL"
    if idp.only_some_reasons:
        return "covers only some reasons"
    if idp.only_contains_attribute_certs:
        return "covers attribute certificates only"
    return "names a distribution point relative to its issuer" if idp.relative_name else ""


def check(
    chain: Sequence[bytes],
    crls: Iterable[bytes | Crl],
    now: datetime,
    *,
    ocsp: Iterable[bytes] = (),
) -> tuple[Status, ...]:
    """One status per certificate below the last one of ``chain`` (DER, leaf first).

    The chain must have been verified. Files that cannot be read do not raise: they are
    named in the ``why`` of what stays unknown.
    """
    moment = in_seconds(now)
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    lists, problems = _parsed(crls)
    responses, more = ocsp_response.parse_all(ocsp)
    problems += more
    return tuple(
        _status(certificate, issuer, lists, responses, moment, problems)
        for certificate, issuer in itertools.pairwise(certificates)
    )


def require_good(statuses: Iterable[Status], *, pending: bool = False) -> None:
    """Refuse the first revoked certificate, then the first without an answer.

    ``pending=True`` lets a missing answer pass; a revoked certificate never passes.

    Raises:
        PkiError: rule DIP-3.5.2.5-RP-CHECK.
    """
    known = tuple(statuses)
    for status in known:
        if status.verdict == "revoked":
            raise _revoked_error(status)
    for status in known:
        if status.verdict != "good" and not pending:
            raise _unknown_error(status)


def verify_crl(crl_bytes: bytes, issuer_cert_der: bytes, now: datetime) -> CrlInfo:
    """The facts of a CRL that ``issuer_cert_der`` signed and that is valid at ``now``.

    A CRL for CA or user certificates only is accepted and says so in ``scope``.

    Raises:
        PkiError: rule DIP-3.5.2.5-RP-CHECK; unreadable, another issuer, bad signature,
            outside its dates, or of a kind that never answers (delta, indirect, ...).
    """
    crl = Crl.parse(crl_bytes)
    try:
        issuer = x509.load_der_x509_certificate(issuer_cert_der)
    except DECODE_ERRORS as exc:
        raise _unreadable(f"its issuer's certificate: {names.printable(str(exc))}") from None
    moment = in_seconds(now)
    fault = _not_from(crl, issuer) or crl.silent or _outside_dates(crl, moment)
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


def to_pem(crl_bytes: bytes) -> bytes:
    """One CRL as PEM with line feeds, as gateways load it; raises like ``Crl.parse``."""
    return Crl.parse(crl_bytes).parsed.public_bytes(Encoding.PEM)


def _scope(idp: x509.IssuingDistributionPoint | None) -> str:
    if idp is not None and idp.only_contains_user_certs:
        return "user"
    return "ca" if idp is not None and idp.only_contains_ca_certs else "all"


def _parsed(crls: Iterable[bytes | Crl]) -> tuple[list[Crl], list[str]]:
    lists: list[Crl] = []
    problems: list[str] = []
    for number, item in enumerate(crls, start=1):
        if isinstance(item, Crl):
            lists.append(item)
            continue
        try:
            found = parse_crls(item)
        except PkiError as exc:
            problems.append(f"CRL file {number} is unreadable ({exc.found})")
            continue
        lists += found
        if not found:
            problems.append(f"CRL file {number} holds no CRL")
    return lists, problems


def _status(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[Crl],
    responses: Sequence[ocsp_response.Response],
    now: datetime,
    problems: Sequence[str],
) -> Status:
    answers = [
        *_crl_answers(certificate, issuer, lists, now),
        *(response.answer(certificate, issuer, now) for response in responses),
    ]
    # Revoked from any source wins over good from another.
    for wanted in ("revoked", "good"):
        for answer in answers:
            if answer.verdict == wanted:
                return _make_status(certificate, answer)
    tried = [answer.note for answer in answers if answer.note] + list(problems)
    why = "; ".join(tried) or "no CRL and no OCSP response of this issuer was given"
    return _make_status(certificate, ocsp_response.Answer("unknown", note=why))


def _make_status(certificate: x509.Certificate, answer: ocsp_response.Answer) -> Status:
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
    wanted = name_bytes(certificate, "issuer")
    for crl in lists:
        if crl.issuer != wanted:
            continue
        fault = _not_from(crl, issuer)
        if fault:
            answers.append(_nothing(crl, fault))
            continue
        listing = _listing(crl, certificate)
        if listing is not None:
            answers.append(listing)
            continue
        fault = crl.silent or _out_of_scope(crl, certificate)
        if fault:
            answers.append(_nothing(crl, fault))
        else:
            covering.append(crl)
    if covering:
        newest = max(covering, key=lambda crl: (crl.this_update, crl.number or 0))
        fault = _outside_dates(newest, now)
        answers.append(_nothing(newest, fault) if fault else _good(newest))
    return answers


def _nothing(crl: Crl, fault: str) -> ocsp_response.Answer:
    return ocsp_response.Answer("unknown", note=f"{crl.describe()} {fault}")


def _good(crl: Crl) -> ocsp_response.Answer:
    return ocsp_response.Answer("good", note=crl.describe())


def _listing(crl: Crl, certificate: x509.Certificate) -> ocsp_response.Answer | None:
    """The certificate's entry, if it is on the list.

    Serials of an indirect CRL may belong to another CA, and a delta's removeFromCRL takes
    an entry away: neither is a revocation by itself.
    """
    if crl.idp is not None and crl.idp.indirect_crl:
        return None
    try:
        entry = crl.parsed.get_revoked_certificate_by_serial_number(certificate.serial_number)
    except DECODE_ERRORS:
        # A list whose entries cannot be walked may hide the very serial we look for.
        return _nothing(crl, "has entries that cannot be read")
    if entry is None:
        return None
    reason = _reason(entry)
    if reason == "removeFromCRL":
        return None
    return ocsp_response.Answer("revoked", entry.revocation_date_utc, reason, crl.describe())


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        found = _extension(entry.extensions, x509.CRLReason)
    except DECODE_ERRORS:
        return "unreadable reason"
    return "no reason given" if found is None else str(found.reason.value)


def _not_from(crl: Crl, issuer: x509.Certificate) -> str:
    """Why the CRL is not one of this issuer's, or empty."""
    if crl.issuer != name_bytes(issuer, "subject"):
        return f"is not issued by {subject_of(issuer)}"
    try:
        algorithm = crl.parsed.signature_hash_algorithm
        if algorithm is not None and algorithm.name not in SHA2:
            return f"is signed with {algorithm.name}, which proves nothing"
        usage = _extension(issuer.extensions, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            return "comes from a CA that may not sign CRLs (no cRLSign)"
        key = issuer.public_key()
        if crl.parsed.is_signature_valid(key):  # type: ignore[arg-type]
            return ""
    except DECODE_ERRORS:
        pass
    return f"is not signed by the key of {subject_of(issuer)}"


def _outside_dates(crl: Crl, now: datetime) -> str:
    if crl.next_update is None:
        return "has no nextUpdate"
    if now < crl.this_update:
        return f"is valid only from {stamp(crl.this_update)}"
    if now > crl.next_update:
        return f"is stale since {stamp(crl.next_update)}"
    return ""


def _out_of_scope(crl: Crl, certificate: x509.Certificate) -> str:
    """Why an issuingDistributionPoint leaves the certificate out, or empty."""
    if crl.idp is None:
        return ""
    try:
        constraints = _extension(certificate.extensions, x509.BasicConstraints)
        points = _extension(certificate.extensions, x509.CRLDistributionPoints)
    except DECODE_ERRORS:
        return "has a scope, and the certificate's extensions cannot be read"
    authority = constraints is not None and constraints.ca
    if crl.idp.only_contains_user_certs and authority:
        return "covers user certificates only"
    if crl.idp.only_contains_ca_certs and not authority:
        return "covers CA certificates only"
    if crl.idp.full_name is None:
        return ""
    if _uris(crl.idp.full_name) & _certificate_uris(points):
        return ""
    return "is for another distribution point than the certificate names"


def _certificate_uris(points: x509.CRLDistributionPoints | None) -> frozenset[str]:
    """URIs of distribution points that speak for all reasons and for the issuer itself."""
    usable = [point for point in points or () if not point.reasons and not point.crl_issuer]
    return frozenset(uri for point in usable for uri in _uris(point.full_name))


def _uris(general: Iterable[x509.GeneralName] | None) -> frozenset[str]:
    return frozenset(
        name.value for name in general or () if isinstance(name, x509.UniformResourceIdentifier)
    )


def _extension(extensions: x509.Extensions, kind: type[_T]) -> _T | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _unreadable(found: str) -> PkiError:
    return PkiError(
        "a CRL cannot be read",
        rule=RULE,
        found=found,
        expected="one X.509 CRL, DER or PEM",
        next_step="fetch the CRL again from its distribution point",
    )


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


def _unknown_error(status: Status) -> PkiError:
    return PkiError(
        f"nobody says whether the certificate of {status.certificate} is revoked",
        rule=RULE,
        found=f"no usable answer of {status.issuer} for serial {status.serial}: {status.why}",
        expected=f"a valid, complete CRL or OCSP response of {status.issuer}",
        where=f"certificate {short(status.certificate_sha256)}",
        next_step=f"refresh the CRLs of this trust entry and check the CRL address of "
        f"{status.issuer}",
    )
