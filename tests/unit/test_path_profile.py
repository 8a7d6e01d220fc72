# SPDX-License-Identifier: GPL-3.0-or-later
"""What RFC 5280 asks of a path's certificates beyond what the verifier looks at."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pki import path
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.pki_factory import NOW

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")


def refused(leaf: bytes, purpose: str | None = None) -> str:
    """Why the leaf has no path; empty if it has one."""
    try:
        path.validate(leaf, [ISSUING.der], [ROOT.der], purpose=purpose, now=NOW)
    except PkiError as exc:
        error = exc
    else:
        return ""
    assert error.rule == "DIP-3.5.1-CHAIN"
    assert error.expected
    return error.found


def without_flags(
    *,
    subject: x509.Name | None = None,
    serial: int = 7,
    public: rsa.RSAPublicKey | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:
    """A certificate of the issuing CA with key identifiers and these extensions only."""
    public = public or factory.key("leaf").public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(factory.name("leaf") if subject is None else subject)
        .issuer_name(ISSUING.certificate.subject)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(NOW - factory.DAY)
        .not_valid_after(NOW + factory.DAY)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ISSUING.private.public_key()), False
        )
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(ISSUING.private, hashes.SHA256()).public_bytes(Encoding.DER)


CA = (x509.BasicConstraints(True, None), True)
NO_CA = (x509.BasicConstraints(False, None), True)
SIGNS = (factory.usage("key_cert_sign"), True)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (rsa.generate_private_key(65537, 2048), ""),
        (ec.generate_private_key(ec.SECP256R1()), ""),
        (ec.generate_private_key(ec.SECP384R1()), ""),
        (ec.generate_private_key(ec.SECP521R1()), ""),
        (ed25519.Ed25519PrivateKey.generate(), ""),
        (rsa.generate_private_key(65537, 1024), "an RSA key of 1024 bits"),
        (rsa.generate_private_key(65537, 2040), "an RSA key of 2040 bits"),
        (ec.generate_private_key(ec.SECP256K1()), "a key on the curve secp256k1"),
        (ec.generate_private_key(ec.SECP224R1()), "a key on the curve secp224r1"),
        (dsa.generate_private_key(2048), "a key of another kind"),
    ],
    ids=lambda value: value or "good" if isinstance(value, str) else type(value).__name__,
)
def test_the_leafs_key_is_one_of_the_kinds_that_last(
    key: ec.EllipticCurvePrivateKey, found: str
) -> None:
    assert refused(ISSUING.leaf(public=key.public_key())) == found


@pytest.mark.parametrize(
    ("extensions", "good"),
    [
        ((), True),
        ((NO_CA,), True),
        ((CA, SIGNS), True),
        ((CA,), False),
        ((SIGNS,), False),
        ((NO_CA, SIGNS), False),
        ((CA, (factory.usage("crl_sign"), True)), False),
    ],
)
def test_a_leaf_is_a_ca_altogether_or_not_at_all(
    extensions: tuple[tuple[x509.ExtensionType, bool], ...], good: bool
) -> None:
    found = refused(without_flags(extensions=extensions))
    assert (found == "") is good
    assert good or "keyCertSign" in found


@pytest.mark.parametrize(
    ("usages", "purpose", "good"),
    [
        (("digital_signature",), "clientAuth", True),
        (("key_agreement",), "clientAuth", True),
        (("key_encipherment",), "clientAuth", False),
        (("content_commitment",), "clientAuth", False),
        ((), "clientAuth", True),
        (("key_encipherment",), "serverAuth", True),
        (("digital_signature",), "serverAuth", True),
        (("data_encipherment",), "serverAuth", False),
        (("content_commitment",), None, True),
        (("content_commitment",), "1.3.6.1.5.5.7.3.1", False),
    ],
)
def test_a_key_usage_must_leave_room_for_the_purpose(
    usages: tuple[str, ...], purpose: str | None, good: bool
) -> None:
    found = refused(ISSUING.leaf(key_usage=usages), purpose)
    assert (found == "") is good
    assert good or "key usage" in found


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("hook.example.co.uk", True),
        ("HOOK.example", True),
        ("xn--bcher-kva.example", True),
        ("1and1.example", True),
        ("localhost", True),
        ("*.example.co.uk", True),
        (f"{'a' * 63}.example", True),
        (f"{'a' * 64}.example", False),
        (".".join(["a" * 49] * 5) + ".co", True),
        (".".join(["a" * 49] * 5) + ".co.uk", False),
        ("under_score.example", False),
        ("-hook.example", False),
        ("hook-.example", False),
        ("hook..example", False),
        (".example", False),
        ("hook.example.", False),
        ("hook.example\n", False),
        ("*", False),
        ("ho*.example", False),
        ("hook.*.example", False),
        ("127.0.0.1", False),
        ("hook example", False),
        ("hook\0.example", False),
        ("", False),
    ],
)
def test_a_dns_name_is_a_host_name(host: str, good: bool) -> None:
    found = refused(ISSUING.leaf(san=[host]))
    assert found == ("" if good else "a dNSName in the subjectAltName that is no host name")


def test_without_a_subject_the_alternative_name_is_critical() -> None:
    nobody, names = x509.Name([]), x509.SubjectAlternativeName([x509.DNSName("hook.example")])
    assert "no subject" in refused(without_flags(subject=nobody))
    assert "no subject" in refused(without_flags(subject=nobody, extensions=((names, False),)))
    assert refused(without_flags(subject=nobody, extensions=((names, True),))) == ""


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_below_the_anchor_is_positive() -> None:
    good = without_flags(serial=1)
    assert refused(good) == ""
    zero = resigned(good, b"\x02\x01\x01", b"\x02\x01\x00", ISSUING.private)
    assert "serial number 0" in refused(zero)


def resigned(der: bytes, old: bytes, new: bytes, signer: rsa.RSAPrivateKey) -> bytes:
    """The certificate with some bytes replaced by as many others, signed again."""
    certificate = x509.load_der_x509_certificate(der)
    signed = certificate.tbs_certificate_bytes
    assert len(old) == len(new)
    assert old in signed
    changed = signed.replace(old, new, 1)
    signature = signer.sign(changed, padding.PKCS1v15(), hashes.SHA256())
    return der.replace(signed, changed).replace(certificate.signature, signature)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_an_anchor_may_have_any_serial_number() -> None:
    """Old roots have the serial 0, and nobody looks them up in a CRL."""
    young = factory.authority("Old Root", serial=1)
    der = resigned(young.der, b"\x02\x01\x01", b"\x02\x01\x00", young.private)
    old = factory.Authority(x509.load_der_x509_certificate(der), young.private)
    leaf = old.leaf()
    assert path.validate(leaf, [], [old.der], now=NOW) == [leaf, old.der]


def test_a_subject_has_bounds() -> None:
    many = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"unit {n}") for n in range(600)]
    leaf = without_flags(subject=x509.Name(many))
    assert "more than 8192 bytes" in refused(leaf)
    assert refused(without_flags(subject=x509.Name(many[:300]))) == ""


def constrained(value: x509.ExtensionType, critical: bool = True) -> factory.Authority:
    """A CA of the root's with one more extension."""
    private = factory.key("Constrained")
    builder = (
        x509.CertificateBuilder()
        .subject_name(factory.name("Constrained"))
        .issuer_name(ROOT.certificate.subject)
        .public_key(private.public_key())
        .serial_number(8)
        .not_valid_before(NOW - factory.DAY)
        .not_valid_after(NOW + factory.DAY)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(factory.usage("key_cert_sign", "crl_sign"), True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT.private.public_key()), False
        )
        .add_extension(value, critical)
    )
    return factory.Authority(builder.sign(ROOT.private, hashes.SHA256()), private)


def below(authority: factory.Authority, leaf: bytes) -> str:
    """Why the path through this CA is refused, whoever judges the leaf; empty if it is not."""
    certificate, pool = x509.load_der_x509_certificate(leaf), [authority.certificate]
    try:
        path.build(certificate, pool, [ROOT.certificate], now=NOW, judge_leaf=False)
    except PkiError as exc:
        return exc.found
    return ""


@pytest.mark.parametrize("critical", [True, False])
def test_a_ca_that_limits_policies_is_refused_whatever_it_says_of_criticality(
    critical: bool,
) -> None:
    """A critical one is unknown to the verifier; one that is not means the same."""
    limiting = constrained(x509.PolicyConstraints(0, None), critical)
    found = below(limiting, limiting.leaf())
    assert found
    assert critical or "certificate policies" in found


ORGANISATION = x509.DirectoryName(
    x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Another Ltd")])
)


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("side", ["permitted_subtrees", "excluded_subtrees"])
def test_constraints_on_directory_names_are_refused_since_nobody_applies_them(
    side: str, critical: bool
) -> None:
    """Versions of the library before 50 accept a critical one and look away."""
    trees = {"permitted_subtrees": None, "excluded_subtrees": None, side: [ORGANISATION]}
    authority = constrained(x509.NameConstraints(**trees), critical)
    found = below(authority, authority.leaf())
    assert "not processed" in found or "directoryName" in found


@pytest.mark.parametrize("side", ["permitted_subtrees", "excluded_subtrees"])
def test_a_constraint_on_mail_addresses_reaches_the_one_in_a_subject(side: str) -> None:
    """RFC 5280, 4.2.1.10; the verifier looks at the subjectAltName alone."""
    trees = {"permitted_subtrees": None, "excluded_subtrees": None}
    authority = constrained(x509.NameConstraints(**{**trees, side: [x509.RFC822Name("a.example")]}))
    mail = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "someone@b.example")])
    assert "not processed" in below(authority, authority.leaf(full_name=mail))
    assert below(authority, authority.leaf()) == ""


@pytest.mark.parametrize(
    ("permitted", "host", "good"),
    [
        ("example", "hook.example", True),
        ("example", "*.example", True),
        ("example", "*.hook.EXAMPLE", True),
        ("hook.example", "*.hook.example", True),
        ("hook.example", "*.example", False),
        ("hook.example", "*.otherhook.example", False),
        ("example", "*.another", False),
    ],
)
def test_a_wildcard_stays_within_the_permitted_names(permitted: str, host: str, good: bool) -> None:
    authority = constrained(x509.NameConstraints([x509.DNSName(permitted)], None))
    assert (below(authority, authority.leaf(san=[host])) == "") is good
