# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate authorities, leaves, CRLs and OCSP responses for tests, made when asked for.

Keys are the slow part: they are made once a process by name, RSA-2048 unless a test says
that size matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pki import csr, der

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
CN = "energydip-nonprod.example-energy.co.uk"
SUBJECT = {"C": "GB", "ST": "London", "L": "London", "O": "Example Energy Ltd"}
CDP = "http://crl.example/issuing.crl"
MTLS = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}


@cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def name(cn: str, subject: Mapping[str, str] | None = None) -> x509.Name:
    pairs = [*(subject or {}).items(), ("CN", cn)]
    return x509.Name([x509.NameAttribute(_OIDS[short], value) for short, value in pairs])


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and key, and all that it can sign."""

    certificate: x509.Certificate
    private: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def authority(self, cn: str, **options: Any) -> Authority:
        return authority(cn, issuer=self, **options)

    def leaf(
        self,
        cn: str = CN,
        subject: Mapping[str, str] | None = None,
        *,
        public: Any = None,
        start: datetime = NOW - DAY,
        end: datetime = NOW + 397 * DAY,
        eku: Iterable[x509.ObjectIdentifier] = MTLS,
        san: Sequence[str] = (),
        cdp: str | None = CDP,
        ca: bool = False,
        key_usage: Sequence[str] = ("digital_signature", "key_encipherment"),
        serial: int | None = None,
        full_name: x509.Name | None = None,
        hash_algorithm: Any = None,
        rsa_padding: Any = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        builder = _builder(
            full_name or name(cn, SUBJECT if subject is None else subject),
            self.certificate.subject,
            public or key("leaf").public_key(),
            start,
            end,
            serial,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        if key_usage:
            builder = builder.add_extension(usage(*key_usage), True)
        builder = _identifiers(builder, public or key("leaf").public_key(), self.private)
        if eku:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), False)
        if san:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host) for host in san]), False
            )
        if cdp:
            builder = builder.add_extension(x509.CRLDistributionPoints([point(cdp)]), False)
        for value, critical in extra:
            builder = builder.add_extension(value, critical)
        signed = builder.sign(
            self.private, hash_algorithm or hashes.SHA256(), rsa_padding=rsa_padding
        )
        return signed.public_bytes(Encoding.DER)

    def crl(
        self,
        revoked: Iterable[int] = (),
        *,
        start: datetime = NOW - timedelta(hours=1),
        end: datetime = NOW + timedelta(hours=23),
        number: int | None = 1,
        reason: x509.ReasonFlags | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        signer: rsa.RSAPrivateKey | None = None,
        revoked_at: datetime = NOW - 2 * DAY,
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder()
        builder = builder.issuer_name(self.certificate.subject)
        builder = builder.last_update(start).next_update(end)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            entry = entry.revocation_date(revoked_at)
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), False)
            builder = builder.add_revoked_certificate(entry.build())
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), False)
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        signed = builder.sign(signer or self.private, hashes.SHA256())
        return signed.public_bytes(Encoding.DER)

    def ocsp(
        self,
        certificate: bytes,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        *,
        start: datetime = NOW - timedelta(hours=1),
        end: datetime | None = NOW + timedelta(hours=23),
        responder: x509.Certificate | None = None,
        signer: rsa.RSAPrivateKey | None = None,
        about: x509.Certificate | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """``about`` is the CA that the CertID names, if not the one that answers."""
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=x509.load_der_x509_certificate(certificate),
            issuer=about or self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=start,
            next_update=end,
            revocation_time=NOW - 2 * DAY if revoked else None,
            revocation_reason=x509.ReasonFlags.superseded if revoked else None,
        )
        builder = builder.responder_id(
            ocsp.OCSPResponderEncoding.HASH, responder or self.certificate
        )
        if responder is not None:
            builder = builder.certificates([responder])
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(signer or self.private, hashes.SHA256()).public_bytes(Encoding.DER)


def authority(
    cn: str,
    *,
    issuer: Authority | None = None,
    start: datetime = NOW - 100 * DAY,
    end: datetime = NOW + 3000 * DAY,
    path_length: int | None = None,
    key_usage: Sequence[str] = ("key_cert_sign", "crl_sign"),
    eku: Sequence[x509.ObjectIdentifier] = (),
    key_name: str = "",
    serial: int | None = None,
    cdp: str | None = None,
) -> Authority:
    private = key(key_name or cn)
    signer = issuer.private if issuer else private
    builder = _builder(
        name(cn),
        issuer.certificate.subject if issuer else name(cn),
        private.public_key(),
        start,
        end,
        serial,
    )
    builder = builder.add_extension(x509.BasicConstraints(True, path_length), True)
    builder = builder.add_extension(usage(*key_usage), True)
    builder = _identifiers(builder, private.public_key(), signer)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), False)
    if cdp:
        builder = builder.add_extension(x509.CRLDistributionPoints([point(cdp)]), False)
    return Authority(builder.sign(signer, hashes.SHA256()), private)


def usage(*bits: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{bit: bit in bits for bit in _USAGES})


def point(uri: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(uri)], None, None, None)


def idp(uri: str | None = None, **options: Any) -> tuple[x509.ExtensionType, bool]:
    """A critical issuingDistributionPoint, as public CAs write it."""
    fields: dict[str, Any] = {
        "full_name": [x509.UniformResourceIdentifier(uri)] if uri else None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**fields, **options}), True


def request(cn: str = CN, key_name: str = "leaf", san: Sequence[str] = ()) -> bytes:
    return csr.build(key(key_name), cn, SUBJECT, san)


def serial(der: bytes) -> int:
    return x509.load_der_x509_certificate(der).serial_number


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def without_next_update(crl: bytes, signer: rsa.RSAPrivateKey) -> bytes:
    """The CRL without its optional nextUpdate, which no builder leaves out."""
    parts = [part.raw for part in der.elements(_signed(crl))]
    return _resigned([*parts[:4], *parts[5:]], signer, hashes.SHA256(), b"\x0b")


def with_sha1(crl: bytes, signer: rsa.RSAPrivateKey) -> bytes:
    """The CRL signed with SHA-1, which no builder does any more."""
    parts = [part.raw for part in der.elements(_signed(crl))]
    parts[1] = _RSA_PREFIX + b"\x05" + parts[1][len(_RSA_PREFIX) + 1 :]
    return _resigned(parts, signer, hashes.SHA1(), b"\x05")


_RSA_PREFIX = bytes.fromhex("300d06092a864886f70d0101")


def _signed(crl: bytes) -> bytes:
    return next(der.elements(der.element(crl).content)).content


def _resigned(
    parts: Sequence[bytes], signer: rsa.RSAPrivateKey, algorithm: Any, oid_end: bytes
) -> bytes:
    signed = tlv(0x30, b"".join(parts))
    signature = signer.sign(signed, padding.PKCS1v15(), algorithm)
    identifier = _RSA_PREFIX + oid_end + b"\x05\x00"
    return tlv(0x30, signed + identifier + tlv(0x03, b"\0" + signature))


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: Any,
    start: datetime,
    end: datetime,
    serial_number: int | None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _identifiers(
    builder: x509.CertificateBuilder, public: Any, signer: rsa.RSAPrivateKey
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(identifier, False)
