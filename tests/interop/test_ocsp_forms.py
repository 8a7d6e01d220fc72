# SPDX-License-Identifier: GPL-3.0-or-later
"""OCSP responses right and wrong in one thing, by ours and by pyHanko's judgement alike.

The families are those of OpenSSL's own OCSP tests, whose files are all signed with SHA-1 and
so are no answer here: signature, responder, names and keys, of direct and delegated responses,
for the leaf and for the CA above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from interop import oracles
from pki import certs, der
from pki.csr import spki_der
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW, SECOND

# Without an address for OCSP in a certificate, pyHanko does not look at responses.
ACCESS = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP,
            x509.UniformResourceIdentifier("http://ocsp.example/"),
        )
    ]
)


def with_address(authority: factory.Authority, above: factory.Authority) -> factory.Authority:
    old = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(authority.private.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(ACCESS, False)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return factory.Authority(builder.sign(above.private, hashes.SHA256()), authority.private)


ROOT = factory.authority("Example Root")
ISSUING = with_address(ROOT.authority("Example Issuing"), ROOT)
OTHER = ROOT.authority("Other Issuing")
TWIN = ROOT.authority("Example Issuing", key_name="twin")
LEAF = ISSUING.leaf(extra=[(ACCESS, False)])


@dataclass(frozen=True)
class Form:
    """A response to be made: which part of it is not as it should be."""

    name_of: factory.Authority | None = None  # whose name CertID hashes, if not the issuer's
    key_of: factory.Authority | None = None  # whose key CertID hashes, if not the issuer's
    answered_by: str = ""  # the key that signs, if not the responder's
    claimed: str = ""  # the name in responderID, if not the responder's
    spoilt: bool = False  # the response's signature
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    start: int = -3600
    end: int | None = 3600
    # of a responder's certificate
    appointed_by: factory.Authority | None = None
    eku: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.OCSP_SIGNING,)
    until: int = 3600
    spoilt_certificate: bool = False


GOOD = Form()
BOTH = {
    "a changed signature": Form(spoilt=True),
    "a signature by another key": Form(answered_by="stranger"),
    "another responder's identifier": Form(claimed="Somebody Else"),
    "another issuer's name": Form(name_of=OTHER),
    "another issuer's key": Form(key_of=OTHER),
    "the key of a CA of the same name": Form(key_of=TWIN),
    "an unknown certificate": Form(status=ocsp.OCSPCertStatus.UNKNOWN),
    "a revoked certificate": Form(status=ocsp.OCSPCertStatus.REVOKED),
    "an answer out of date": Form(end=-1),
    "an answer of tomorrow": Form(start=1),
}
DELEGATED = {
    **BOTH,
    "a responder of another CA": Form(appointed_by=OTHER),
    "a responder of a CA of the same name": Form(appointed_by=TWIN),
    "a responder without OCSPSigning": Form(eku=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    "a responder out of date": Form(until=-1),
    "a responder with a changed certificate": Form(spoilt_certificate=True),
}


def response(form: Form, subject: bytes, issuer: factory.Authority, delegated: bool) -> bytes:
    certificate = x509.load_der_x509_certificate(subject)
    name = "Responder" if delegated else certs.subject_of(issuer.certificate)
    # The builder signs only with the key of the certificate it names: one of that name.
    signer = factory.authority(
        form.claimed or name, key_name=form.answered_by or ("responder" if delegated else name)
    )
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=sha1((form.name_of or issuer).certificate.subject.public_bytes()),
        issuer_key_hash=sha1(key_bits(form.key_of or issuer)),
        serial_number=certificate.serial_number,
        algorithm=hashes.SHA1(),
        cert_status=form.status,
        this_update=NOW + form.start * SECOND,
        next_update=None if form.end is None else NOW + form.end * SECOND,
        revocation_time=NOW - DAY if form.status is ocsp.OCSPCertStatus.REVOKED else None,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
    if delegated:
        builder = builder.certificates([appointed(form, issuer)])
    made = builder.sign(signer.private, hashes.SHA256())
    data = made.public_bytes(Encoding.DER)
    return flipped(data, made.signature) if form.spoilt else data


def appointed(form: Form, issuer: factory.Authority) -> x509.Certificate:
    data = (form.appointed_by or issuer).leaf(
        "Responder",
        {},
        public=factory.key("responder").public_key(),
        eku=form.eku,
        end=NOW + form.until * SECOND,
        key_usage=("digital_signature",),
        extra=[(x509.OCSPNoCheck(), False)],
    )
    certificate = x509.load_der_x509_certificate(data)
    if not form.spoilt_certificate:
        return certificate
    return x509.load_der_x509_certificate(flipped(data, certificate.signature))


def flipped(data: bytes, signature: bytes) -> bytes:
    """The object with the last bit of its signature changed."""
    assert data.count(signature) == 1
    return data.replace(signature, signature[:-1] + bytes([signature[-1] ^ 1]))


def sha1(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA1())
    digest.update(data)
    return digest.finalize()


def key_bits(authority: factory.Authority) -> bytes:
    key = der.element(spki_der(authority.certificate.public_key()))
    return tuple(der.elements(key.content))[1].content[1:]


def accepted(make: Callable[[bytes, factory.Authority], bytes], above: bool) -> bool:
    """Whether ours and pyHanko's judgement, which must be one, is that nothing is revoked.

    ``make`` answers for the leaf or, ``above``, for the CA; the other has a good answer.
    """
    leaf, authority = (LEAF, ISSUING), (ISSUING.der, ROOT)
    odd, plain = (authority, leaf) if above else (leaf, authority)
    answers = [make(*odd), response(GOOD, *plain, delegated=False)]
    question = oracles.Question(LEAF, [ISSUING.der], ROOT.der, None, NOW, ocsp=answers)
    error, other = oracles.ours(question), oracles.pyhanko(question)
    assert other is not None, "pyHanko has crashed"
    assert (error is None) == (other == ""), (error, other)
    if error is not None:
        assert error.rule == "DIP-3.5.2.5-RP-CHECK"
        assert certs.subject_of(x509.load_der_x509_certificate(odd[0])) in error.message
    return error is None


@pytest.mark.parametrize("above", [False, True], ids=["leaf", "CA"])
@pytest.mark.parametrize("delegated", [False, True], ids=["direct", "delegated"])
def test_a_right_response_is_an_answer(delegated: bool, above: bool) -> None:
    assert accepted(lambda who, issuer: response(GOOD, who, issuer, delegated), above)


@pytest.mark.parametrize("above", [False, True], ids=["leaf", "CA"])
@pytest.mark.parametrize("name", list(BOTH))
def test_a_direct_response_is_no_answer_with(name: str, above: bool) -> None:
    assert not accepted(lambda who, issuer: response(BOTH[name], who, issuer, False), above)


@pytest.mark.parametrize("above", [False, True], ids=["leaf", "CA"])
@pytest.mark.parametrize("name", list(DELEGATED))
def test_a_delegated_response_is_no_answer_with(name: str, above: bool) -> None:
    assert not accepted(lambda who, issuer: response(DELEGATED[name], who, issuer, True), above)
