# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, certificates and CRLs of the lab's actors, as values. Reads no file, asks nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEER_BITS = 2048  # speed: nothing in the lab checks the size of a peer's key
BACKDATED = timedelta(minutes=5)


def new_key() -> rsa.RSAPrivateKey:
    """A fresh key for one of the lab's actors."""
    return rsa.generate_private_key(public_exponent=65537, key_size=PEER_BITS)


def key_pem(key: rsa.RSAPrivateKey) -> bytes:
    """PKCS#8 without a passphrase: what the lab's servers read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(content: bytes | None) -> rsa.RSAPrivateKey | None:
    """The key in ``content``, or None if it holds none that can be used."""
    if content is None:
        return None
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, rsa.RSAPrivateKey) else None


def load_certificate(content: bytes | None) -> x509.Certificate | None:
    """The first certificate in ``content``, or None."""
    if content is None:
        return None
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        return None


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """PEM of one certificate."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER, in hexadecimal: how CA files are pinned."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def serial(certificate: x509.Certificate) -> str:
    """The certificate's serial number as Vault writes it: ``0a:1b:...``."""
    return octets(certificate.serial_number)


def octets(serial_number: int) -> str:
    """A serial number as Vault writes it: ``0a:1b:...``."""
    return serial_number.to_bytes((serial_number.bit_length() + 7) // 8 or 1, "big").hex(":")


def common_name(certificate: x509.Certificate) -> str:
    """The first CN, or "" if there is none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def dns_names(certificate: x509.Certificate) -> list[str]:
    """DNS names of the subject alternative name, in order."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value.get_values_for_type(x509.DNSName))


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_addresses(certificate: x509.Certificate) -> list[Address]:
    """IP addresses of the subject alternative name, in order; networks are not addresses."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    found = extension.value.get_values_for_type(x509.IPAddress)
    return [one for one in found if isinstance(one, Address)]


def belongs(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> bool:
    """True if the certificate is for this key."""
    return bool(key.public_key() == certificate.public_key())


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if ``issuer`` signed ``certificate`` (name and signature)."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def request(key: rsa.RSAPrivateKey, name: str, dns: Sequence[str]) -> str:
    """A certificate request for one of the lab's peers, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(item) for item in dns])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def server_identity(
    now: datetime, days: int, dns: Sequence[str], addresses: Sequence[Address]
) -> tuple[bytes, bytes, bytes]:
    """(CA certificate, server certificate, server key) for a server of these names, PEM.

    The first name is the CN too. The CA signs this one certificate and its key is then
    forgotten: whoever pins it trusts exactly one server.
    """
    ca_key, key = new_key(), new_key()
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lab server one-off CA")])
    begin, end = now - BACKDATED, now + timedelta(days=days)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName(
        [x509.DNSName(name) for name in dns] + [x509.IPAddress(address) for address in addresses]
    )
    leaf = (
        x509.CertificateBuilder(
            ca_name,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns[0])]),
            key.public_key(),
            x509.random_serial_number(),
        )
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return certificate_pem(ca), certificate_pem(leaf), key_pem(key)


def distribution_point(uri: str) -> bytes:
    """DER of an issuingDistributionPoint extension that names one address."""
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(uri)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    ).public_bytes()


def crl_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """True if ``issuer`` signed the CRL and it carries the issuer's name."""
    key = issuer.public_key()
    return (
        isinstance(key, rsa.RSAPublicKey)
        and crl.issuer == issuer.subject
        and crl.is_signature_valid(key)
    )


def crl_until(crl: x509.CertificateRevocationList) -> datetime:
    """nextUpdate, aware; the lab's CRLs always have one."""
    end = crl.next_update_utc
    assert end is not None
    return end
