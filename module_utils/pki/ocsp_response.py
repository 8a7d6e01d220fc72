# SPDX-License-Identifier: GPL-3.0-or-later
"""What one OCSP response says about one certificate. Used by ``revocation`` only.

A response counts when its CertID matches serial, issuer name and issuer key, and it was
signed by the issuer or by a responder whose certificate the issuer itself issued for OCSP
signing and that is valid now. ``unknown``, ``tryLater`` and the like are no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from . import der, names, path_profile
from .certs import DECODE_ERRORS, issued_by, name_bytes, stamp
from .csr import spki_der

MAX_RESPONSE_BYTES = 1024 * 1024
_MAX_RESPONDERS = 4
_SHA2 = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_RSA_PKCS1 = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)

# Extensions of a responder's certificate that may be critical: we look at the first two, and the
# others ask nothing of who verifies it.
_OF_A_RESPONDER = frozenset(
    {
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.OCSP_NO_CHECK,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
_BOOLEAN, _EXTENSIONS = 0x01, 0xA1  # the latter is [1] of one part of a response

IsListed = Callable[[x509.Certificate], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """One source's word: ``note`` names the source, or says why it is no answer."""

    verdict: Literal["good", "revoked", "unknown"]
    when: datetime | None = None
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """A parsed, successful response; nothing about it is verified yet."""

    parsed: ocsp.OCSPResponse

    def answer(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        now: datetime,
        is_listed: IsListed = lambda _responder: False,
    ) -> Answer:
        """The response's word on ``certificate``; ``issuer`` is the CA above it.

        ``is_listed`` tells whether a CRL of the issuer lists a responder it appointed.
        """
        try:
            return self._answer(certificate, issuer, now, is_listed)
        except DECODE_ERRORS:
            return Answer("unknown", note="an OCSP response has parts that cannot be read")

    def _answer(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        now: datetime,
        is_listed: IsListed,
    ) -> Answer:
        matching = [one for one in self.parsed.responses if _is_about(one, certificate, issuer)]
        if not matching:
            return Answer("unknown")
        name = f"OCSP response of {names.display(issuer.subject)}"
        if self._has_critical_extension():
            return Answer("unknown", note=f"{name} has an unknown critical extension")
        if not self._signed_for(issuer, now, is_listed):
            return Answer("unknown", note=f"{name} is not signed by it or for it")
        answers = [_word(one, f"{name} from {stamp(one.this_update_utc)}", now) for one in matching]
        ranking = {"revoked": 0, "unknown": 1, "good": 2}
        return min(answers, key=lambda answer: ranking[answer.verdict])

    def _has_critical_extension(self) -> bool:
        """In the response or in any of its parts: we know none that would have to be."""
        if any(extension.critical for extension in self.parsed.extensions):
            return True
        # ResponseData's only SEQUENCE is that of the parts; the library shows the extensions of
        # a part only when there is no other. They are the part's last element, [1].
        data = der.elements(der.element(self.parsed.tbs_response_bytes).content)
        parts = next((one for one in data if one.tag == der.SEQUENCE), None)
        if parts is None:
            return True
        last = (tuple(der.elements(part.content))[-1] for part in der.elements(parts.content))
        return any(_some_critical(one) for one in last if one.tag == _EXTENSIONS)

    def _signed_for(self, issuer: x509.Certificate, now: datetime, is_listed: IsListed) -> bool:
        return any(
            self._signed_by(candidate) for candidate in self._responders(issuer, now, is_listed)
        )

    def _responders(
        self, issuer: x509.Certificate, now: datetime, is_listed: IsListed
    ) -> Iterator[x509.Certificate]:
        yield issuer
        for candidate in self.parsed.certificates[:_MAX_RESPONDERS]:
            # Whether a responder without id-pkix-ocsp-nocheck needs an answer of its own is ours
            # to say (RFC 6960 4.2.2.2.1): no, but one that its issuer has revoked is none.
            if _may_answer(candidate, issuer, now) and not is_listed(candidate):
                yield candidate

    def _signed_by(self, responder: x509.Certificate) -> bool:
        key = responder.public_key()
        if self.parsed.responder_name is not None:
            if self.parsed.responder_name.public_bytes() != name_bytes(responder, "subject"):
                return False
        elif self.parsed.responder_key_hash != _hashed(hashes.SHA1(), _key_bits(responder)):
            return False
        algorithm = self.parsed.signature_hash_algorithm
        if not isinstance(algorithm, _SHA2):
            return False
        signature, signed = self.parsed.signature, self.parsed.tbs_response_bytes
        try:
            if isinstance(key, rsa.RSAPublicKey):
                if self.parsed.signature_algorithm_oid not in _RSA_PKCS1:
                    return False
                key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, signed, ec.ECDSA(algorithm))
            else:
                return False
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Responses that were parsed once for many certificates, by the serials they are about.

    ``problems`` says in words what is wrong with those that could not be parsed.
    """

    by_serial: Mapping[int, Sequence[Response]]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, files: Iterable[bytes]) -> Pool:
        """The responses of these files, DER."""
        found, problems = parse_all(files)
        by_serial: dict[int, list[Response]] = {}
        for number, response in enumerate(found, start=1):
            try:
                serials = {one.serial_number for one in response.parsed.responses}
            except DECODE_ERRORS:
                problems.append(f"OCSP response {number} has parts that cannot be read")
                continue
            for serial in serials:
                by_serial.setdefault(serial, []).append(response)
        return cls(by_serial, tuple(problems))

    def about(self, certificate: x509.Certificate) -> Sequence[Response]:
        """Those that name the certificate's serial; whose serial it is, each says itself."""
        return self.by_serial.get(certificate.serial_number, ())


def may_serve(data: bytes, now: datetime) -> bool:
    """Whether a response of ours could still be an answer: in time, or revoking. Not verified."""
    found, _ = parse_all([data])
    try:
        return any(
            one.certificate_status is ocsp.OCSPCertStatus.REVOKED
            or (one.next_update_utc is not None and now <= one.next_update_utc)
            for response in found
            for one in response.parsed.responses
        )
    except DECODE_ERRORS:
        return False


def parse_all(files: Iterable[bytes]) -> tuple[list[Response], list[str]]:
    """The successful responses (DER), and in words what is wrong with the others."""
    found: list[Response] = []
    problems: list[str] = []
    for number, data in enumerate(files, start=1):
        if len(data) > MAX_RESPONSE_BYTES:
            problems.append(f"OCSP response {number} is larger than {MAX_RESPONSE_BYTES} bytes")
            continue
        try:
            parsed = ocsp.load_der_ocsp_response(data)
            status = parsed.response_status
        except DECODE_ERRORS as exc:
            problems.append(f"OCSP response {number} is unreadable ({names.printable(str(exc))})")
            continue
        if status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            found.append(Response(parsed))
        else:
            problems.append(f"OCSP response {number} says {status.name.lower()}")
    return found, problems


def _is_about(
    one: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    algorithm = one.hash_algorithm
    return (
        one.serial_number == certificate.serial_number
        and one.issuer_name_hash == _hashed(algorithm, name_bytes(certificate, "issuer"))
        and one.issuer_key_hash == _hashed(algorithm, _key_bits(issuer))
    )


def _word(one: ocsp.OCSPSingleResponse, source: str, now: datetime) -> Answer:
    if one.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        # Also when the response is stale: revocation does not lapse.
        reason = one.revocation_reason
        text = "no reason given" if reason is None else str(reason.value)
        return Answer("revoked", one.revocation_time_utc, text, source)
    if one.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return Answer("unknown", note=f"{source} does not know the certificate")
    if one.next_update_utc is None:
        return Answer("unknown", note=f"{source} has no nextUpdate")
    if not one.this_update_utc <= now <= one.next_update_utc:
        return Answer("unknown", note=f"{source} is not valid on {stamp(now)}")
    return Answer("good", note=source)


def _some_critical(extensions: der.Element) -> bool:
    every = der.elements(der.element(extensions.content).content)
    return any(part.tag == _BOOLEAN for one in every for part in der.elements(one.content))


def _may_answer(candidate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    if not candidate.not_valid_before_utc <= now <= candidate.not_valid_after_utc:
        return False
    try:
        usage = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    if not _may_sign(candidate) or path_profile.fault_of_key(candidate) is not None:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage and issued_by(candidate, issuer)


def _may_sign(candidate: x509.Certificate) -> bool:
    """Whether a responder's other extensions let it sign (RFC 5280, 4.2 and 4.2.1.12)."""
    for extension in candidate.extensions:
        if extension.critical and extension.oid not in _OF_A_RESPONDER:
            return False
        if isinstance(extension.value, x509.KeyUsage) and not (
            extension.value.digital_signature or extension.value.content_commitment
        ):
            return False
    return True


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The subjectPublicKey's bits without the unused-bits octet, as CertID hashes them."""
    sequence = der.element(spki_der(certificate.public_key()))
    return tuple(der.elements(sequence.content))[1].content[1:]


def _hashed(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()
