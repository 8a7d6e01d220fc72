# SPDX-License-Identifier: GPL-3.0-or-later
"""A closed world: whatever raw bytes hold is a fact, and policy refuses what it does not name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import (
    certificate_facts,
    chain_facts,
    csr,
    der_faults,
    key_hygiene,
    policy,
    policy_files,
    request_facts,
    shipped,
    submission,
    x509_der,
)
from pki.certs import DECODE_ERRORS
from pki.documents import Validators
from pki.errors import PkiError
from pki.expectation import Expectation
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit import weak_keys
from unit.hostile_x509 import attribute, extension, good_name, san, tlv
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

POLICY = shipped.policy("mhhs-dip")
LIMITS = key_hygiene.Limits.of(POLICY.parameter)
VALIDATORS = Validators(policy_files.load_fact_schemas(shipped.DIRECTORY))
EXPECTATION = Expectation(CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod")
ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
OTHER_ROOT = factory.authority("Other Root")
REQUEST = csr.parse(factory.request())
CHALLENGE, EXTENSIONS = "1.2.840.113549.1.9.7", "1.2.840.113549.1.9.14"


def request_document(data: bytes | None) -> dict[str, Any]:
    facts = request_facts.document(data, request_facts.Beside(EXPECTATION, LIMITS, ["Ada Admin"]))
    assert VALIDATORS.fault("request", facts) == ""
    return facts


def certificate_document(data: bytes, **around: Any) -> dict[str, Any]:
    """As the collector does it: what cannot be read is a document that says so."""
    surroundings = certificate_facts.Around(
        **{"expectation": EXPECTATION, "now": NOW, "limits": LIMITS, "request": REQUEST, **around}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns about what is a fact here
        try:
            facts = certificate_facts.document(hostile.parsed(data), surroundings)
        except (PkiError, *DECODE_ERRORS) as exc:
            facts = certificate_facts.unreadable(str(exc), surroundings)
    assert VALIDATORS.fault("certificate", facts) == ""
    return facts


def refusing(kind: str, facts: dict[str, Any]) -> dict[str, policy.Finding]:
    return {one.rule: one for one in policy.refused(POLICY.judge(kind, facts))}


# --- keys -------------------------------------------------------------------------------------

WEAK_KEYS = {
    "neighbouring primes": (weak_keys.close_primes, "DIP-6.2-WEAK-KEY", {"fermat_rounds": 0}),
    "a small factor": (
        lambda: weak_keys.small_factor(59_999),
        "DIP-6.2-WEAK-KEY",
        {"small_factor": 59_999},
    ),
    "the form of ROCA": (weak_keys.roca, "DIP-6.2-WEAK-KEY", {"roca": True}),
    "a small exponent": (weak_keys.cubic, "DIP-6.2-EXPONENT", {"exponent": 3}),
}


@pytest.mark.parametrize("name", WEAK_KEYS)
def test_a_weak_key_is_refused_before_anybody_sees_its_request(name: str) -> None:
    make, rule, wanted = WEAK_KEYS[name]
    facts = request_document(csr.build(make(), CN, SUBJECT))
    assert wanted.items() <= facts["key"].items()
    assert rule in refusing("request", facts)
    sound = request_document(factory.request())["key"]
    assert all(sound[field] != value for field, value in wanted.items())


def test_a_compromised_key_is_refused_before_anybody_sees_its_request() -> None:
    beside = request_facts.Beside(
        EXPECTATION, LIMITS, compromised={REQUEST.spki_sha256: "a ledger", "0" * 64: "another"}
    )
    facts = request_facts.document(factory.request(), beside)
    assert facts["key"]["compromised_in"] == ["a ledger"]
    found = refusing("request", facts)["DIP-3.5.2.1-REVOKE-COMPROMISE"].found
    assert found == "a ledger"


def test_a_key_too_large_for_the_facts_is_cut_and_refused() -> None:
    modulus = (1 << 1_200_000) + 1
    public = tlv(
        hostile.SEQUENCE,
        tlv(hostile.INTEGER, modulus.to_bytes(150_001, "big")),
        tlv(hostile.INTEGER, (65537).to_bytes(3, "big")),
    )
    spki = tlv(
        hostile.SEQUENCE,
        bytes.fromhex("300d06092a864886f70d0101010500"),
        tlv(hostile.BIT_STRING, b"\0", public),
    )
    facts = certificate_document(hostile.certificate(ISSUING, key=spki))
    assert facts["key"]["bits"] == 1_000_000
    assert "DIP-6.2-WEAK-KEY" in refusing("certificate", facts)


@pytest.mark.parametrize("name", ["authorityKeyIdentifier", "subjectKeyIdentifier"])
def test_an_identifier_of_a_key_must_not_be_critical(name: str) -> None:
    kind = {"authorityKeyIdentifier": "2.5.29.35", "subjectKeyIdentifier": "2.5.29.14"}[name]
    value = {"2.5.29.35": tlv(hostile.SEQUENCE, tlv(0x80, b"x")), "2.5.29.14": tlv(4, b"x")}[kind]
    for critical, refused in ((b"\x01\x01\xff", True), (b"", False)):
        part = extension(kind, value, critical=critical)
        only = tlv(0xA3, tlv(hostile.SEQUENCE, part))
        data = hostile.certificate(ISSUING, extensions=only)
        found = refusing("certificate", certificate_document(data))
        assert ("DIP-8.6-PROFILE" in found) is refused


# --- requests ---------------------------------------------------------------------------------


def requested(*extensions: bytes) -> bytes:
    return hostile.csr_attribute(EXTENSIONS, tlv(hostile.SEQUENCE, *extensions))


def email(text: str) -> bytes:
    return tlv(0x81, text.encode())


def dns(text: str) -> bytes:
    return tlv(0x82, text.encode())


def changed_after_signing() -> bytes:
    made = bytearray(x509.load_pem_x509_csr(hostile.request()).public_bytes(Encoding.DER))
    made[-1] ^= 1
    return x509.load_der_x509_csr(bytes(made)).public_bytes(Encoding.PEM)


NO_DER = tlv(
    hostile.SEQUENCE, hostile.oid("2.5.29.17"), b"\x01\x01\x01", tlv(4, tlv(0x30, dns("a")))
)
#: What is wrong, how it is made, the rule that refuses it, and words of the finding.
REQUEST_FAULTS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "a challenge password": (
        lambda: hostile.request(hostile.csr_attribute(CHALLENGE, tlv(hostile.PRINTABLE, b"x"))),
        "DIP-7.1.2-CONFIDENTIAL",
        "challengePassword",
    ),
    "an attribute nobody knows": (
        lambda: hostile.request(hostile.csr_attribute("1.2.3.4.5", tlv(hostile.UTF8, b"x"))),
        "DIP-7.1.2-CONFIDENTIAL",
        "1.2.3.4.5",
    ),
    "an e-mail address in the subject": (
        lambda: hostile.request(
            subject=good_name(attribute("1.2.840.113549.1.9.1", "a@b.example", hostile.IA5))
        ),
        "DIP-7.1.2-CONFIDENTIAL",
        "emailAddress",
    ),
    "a second common name in one relative name": (
        lambda: hostile.request(
            subject=good_name(CN=(attribute("2.5.4.3", CN), attribute("2.5.4.3", "evil.example")))
        ),
        "DIP-7.1.2-CONFIDENTIAL",
        "CN, CN",
    ),
    "an organisational unit beside the organisation": (
        lambda: hostile.request(
            subject=good_name(O=(attribute("2.5.4.10", SUBJECT["O"]), attribute("2.5.4.11", "x")))
        ),
        "DIP-8.6-PROFILE",
        "1 names of several attributes",
    ),
    "a TeletexString": (
        lambda: hostile.request(
            subject=good_name(O=attribute("2.5.4.10", SUBJECT["O"], hostile.TELETEX))
        ),
        "DIP-8.6-PROFILE",
        "TeletexString",
    ),
    "a value that is no string": (
        lambda: hostile.request(subject=good_name(O=attribute("2.5.4.10", b"\x05", 2))),
        "DIP-6.1.1-PKCS10",
        "subject",
    ),
    "a requested key usage": (
        lambda: hostile.request(requested(extension("2.5.29.15", b"\x03\x02\x07\x80"))),
        "DIP-8.6-PROFILE",
        "keyUsage",
    ),
    "an alternative name twice": (
        lambda: hostile.request(requested(san(dns("a.example")), san(dns("b.example")))),
        "DIP-6.1.1-PKCS10",
        "Duplicate",
    ),
    "extensions in two attributes": (
        lambda: hostile.request(requested(san(dns("a.example"))), requested(san(dns("b.example")))),
        "DIP-8.6-PROFILE",
        '["subjectAltName", "subjectAltName"]',
    ),
    "an e-mail address as alternative name": (
        lambda: hostile.request(requested(san(email("a@b.example")))),
        "DIP-8.6-PROFILE",
        "email",
    ),
    "a boolean that is not DER": (
        lambda: hostile.request(requested(NO_DER)),
        "DIP-6.1.1-PKCS10",
        "extensions",
    ),
    "another version": (
        lambda: hostile.request(version=b"\x02\x01\x01"),
        "DIP-6.1.1-PKCS10",
        "1",
    ),
    "bytes after the end": (
        lambda: hostile.request(after=b"\x05\x00"),
        "DIP-6.1.1-PKCS10",
        "",
    ),
    "a changed signature": (changed_after_signing, "DIP-6.1.1-PKCS10", "does not verify"),
    "keytool's label": (
        lambda: hostile.request(label="NEW CERTIFICATE REQUEST"),
        "DIP-6.1.1-PKCS10",
        "NEW CERTIFICATE REQUEST",
    ),
    "no request at all": (lambda: b"junk", "DIP-6.1.1-PKCS10", "cannot be read"),
}


@pytest.mark.parametrize("fault", REQUEST_FAULTS)
def test_a_request_is_refused_for(fault: str) -> None:
    make, rule, said = REQUEST_FAULTS[fault]
    findings = refusing("request", request_document(make()))
    assert rule in findings
    assert said in findings[rule].found


def test_a_missing_request_is_refused_in_words() -> None:
    finding = refusing("request", request_document(None))["DIP-6.1.1-PKCS10"]
    assert finding.found == "there is no request.csr"


def test_only_its_own_rule_speaks_of_a_request_that_cannot_be_read() -> None:
    failed = [
        one.rule for one in POLICY.judge("request", request_document(b"junk")) if not one.passed
    ]
    assert failed == ["DIP-6.1.1-PKCS10"]


def test_a_request_of_ours_has_nothing_a_rule_about_its_content_refuses() -> None:
    facts = request_document(factory.csr.build(factory.key("large", 4096), CN, SUBJECT))
    assert set(refusing("request", facts)) == {"DIP-5.6.2-TRUE"}, "it lies beside no record"
    assert facts["file"] == {
        "label": "CERTIFICATE REQUEST",
        "line_ends": "lf",
        "longest_line": 64,
        "outside_bytes": 0,
        "sha256": facts["file"]["sha256"],
    }


def test_a_requests_names_and_key_are_told_as_the_library_reads_them() -> None:
    facts = request_document(factory.request())
    assert (facts["common_name"], facts["subject"]) == (CN, SUBJECT)
    assert facts["subject_attributes"] == ["C", "ST", "L", "O", "CN"]
    assert facts["subject_strings"] == ["PrintableString", *["UTF8String"] * 4]
    assert facts["key"]["spki_sha256"] == REQUEST.spki_sha256
    assert (facts["key"]["bits"], facts["key"]["exponent"]) == (2048, 65537)
    assert (facts["signature_hash"], facts["signature_padding"]) == ("sha256", "pkcs1v15")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pem: pem.replace(b"\n", b"\r\n"), {"line_ends": "crlf"}),
        (lambda pem: pem.replace(b"\n", b"\r\n", 1), {"line_ends": "mixed"}),
        (lambda pem: b"Dear Admin,\n" + pem, {"outside_bytes": 11}),
        (lambda pem: pem + b"\n\n", {"outside_bytes": 0}),
    ],
)
def test_the_file_around_a_request_is_told(
    change: Callable[[bytes], bytes], told: dict[str, Any]
) -> None:
    facts = request_document(change(factory.request()))
    assert {key: facts["file"][key] for key in told} == told


def test_a_der_request_has_no_label_and_is_not_what_the_portal_takes() -> None:
    data = x509.load_pem_x509_csr(factory.request()).public_bytes(Encoding.DER)
    assert request_document(data)["file"]["label"] == ""
    assert "DIP-6.1.1-PKCS10" in refusing("request", request_document(data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_facts_of_a_damaged_request_always_fit_their_schema(data: st.DataObject) -> None:
    der = bytearray(x509.load_pem_x509_csr(factory.request()).public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    facts = request_document(bytes(der))
    assert refusing("request", facts), "no changed request is let through"


# --- the submission text ----------------------------------------------------------------------


def test_a_submission_text_is_read_back_as_it_was_written() -> None:
    text = submission.TEXT.format(
        name="dip-nonprod", version=1, rule="=", admins="Ada Admin or Bo Admin (Certificate Admin)",
        organisation="Example", common_name=CN, key_type="rsa-4096", spki="00", csr="PEM\n",
        which="", names="", then="",
        **SUBJECT,
    )  # fmt: skip
    told = submission.read(text.encode())
    assert told == submission.Read(("Ada Admin", "Bo Admin"), CN, SUBJECT)


@given(st.binary(max_size=300))
def test_whatever_lies_there_as_a_submission_text_is_read(content: bytes) -> None:
    assert submission.read(content).submitters == () or b"Who" in content


def test_a_submission_text_holds_a_request_only_line_by_line() -> None:
    pem = factory.request()
    assert submission.holds(b"paste this:\n" + pem, pem)
    assert not submission.holds(b"paste this:\n" + pem.replace(b"\n", b"\n  "), pem)
    assert not submission.holds(b"paste this:\n" + pem, b"")


# --- certificates -----------------------------------------------------------------------------


def unused_bits() -> bytes:
    """One bit unused, in a signature that happens to end with a zero: the library reads it."""
    made = (hostile.certificate(ISSUING, unused_bits=1, leaf={"serial": n}) for n in range(1, 99))
    return next(data for data in made if data[-1] & 1 == 0)


UNKNOWN = extension("1.2.3.4.5", b"\x05\x00")
CERTIFICATE_FAULTS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "an extension nobody knows": (
        lambda: hostile.certificate(ISSUING, UNKNOWN), "DIP-8.6-PROFILE", "1.2.3.4.5",
    ),
    "a repeated extension": (
        lambda: hostile.certificate(ISSUING, extension("2.5.29.14", b"\x04\x01\x00")),
        "DIP-8.6-PROFILE", "subjectKeyIdentifier",
    ),
    "an alternative name of another kind": (
        lambda: hostile.certificate(ISSUING, san(dns("a.example"), tlv(0x87, b"\xc0\0\x02\x01"))),
        "DIP-8.6-PROFILE", '["dns", "ip"]',
    ),
    "an alternative name of a kind that is none": (
        lambda: hostile.certificate(ISSUING, san(tlv(0x8F, b"?"))), "DIP-8.6-PROFILE", "tag 0x8f",
    ),
    "a second common name in one relative name": (
        lambda: hostile.certificate(
            ISSUING,
            subject=good_name(CN=(attribute("2.5.4.3", CN), attribute("2.5.4.3", "evil.example"))),
        ),
        "DIP-8.6-PROFILE", "CN, CN",
    ),
    "a TeletexString": (
        lambda: hostile.certificate(
            ISSUING, subject=good_name(O=attribute("2.5.4.10", SUBJECT["O"], hostile.TELETEX))
        ),
        "DIP-8.6-PROFILE", "TeletexString",
    ),
    "the vetted name in a string of two octets a character": (
        lambda: hostile.certificate(
            ISSUING,
            subject=good_name(
                O=attribute("2.5.4.10", SUBJECT["O"].encode("utf-16-be"), hostile.BMP)
            ),
        ),
        "DIP-8.6-PROFILE", "BMPString",
    ),
    "an attribute of the subject nobody asked for": (
        lambda: hostile.certificate(ISSUING, subject=good_name(attribute("2.5.4.11", "Sales"))),
        "DIP-8.6-PROFILE", "OU",
    ),
    "a negative serial number": (
        lambda: hostile.certificate(ISSUING, serial=b"\x02\x01\x80"), "DIP-8.6-PROFILE", "-80",
    ),
    "a serial number of 21 octets": (
        lambda: hostile.certificate(ISSUING, serial=tlv(2, b"\x01" * 21)),
        "DIP-8.6-PROFILE", "21 octets",
    ),
    "a boolean that is not DER": (
        lambda: hostile.certificate(
            ISSUING, extension("2.5.29.32", b"\x30\x00", critical=b"\x01\x01\x01")
        ),
        "DIP-12.2-16-CER", "critical",
    ),
    "unused bits in the signature": (
        unused_bits, "DIP-8.6-PROFILE", "not a whole number of octets",
    ),
    "set unused bits in the key usage": (
        lambda: hostile.certificate(
            ISSUING, extension("2.5.29.15", b"\x03\x02\x05\xbf"), leaf={"key_usage": ()}
        ),
        "DIP-8.6-PROFILE", "keyUsage: unused bits",
    ),
    "an extension whose value is noise": (
        lambda: hostile.certificate(ISSUING, extension("2.5.29.17", b"\x30\x05")),
        "DIP-8.6-PROFILE", "subjectAltName",
    ),
    "any extended key usage": (
        lambda: ISSUING.leaf(eku=[*factory.MTLS, x509.ObjectIdentifier("2.5.29.37.0")]),
        "DIP-8.6-PROFILE", "anyExtendedKeyUsage",
    ),
    "a key usage bit that nobody defined": (
        lambda: hostile.certificate(
            ISSUING, extension("2.5.29.15", b"\x03\x03\x06\x80\x40"), leaf={"key_usage": ()}
        ),
        "DIP-3.4.2-PURPOSE", "bit 9",
    ),
    "another algorithm inside than outside": (
        lambda: hostile.certificate(ISSUING, outer=hostile.SHA512_RSA),
        "DIP-7.1.2-REJECT", "another algorithm inside",
    ),
    "the extensions of version 3 in version 1": (
        lambda: hostile.certificate(ISSUING, without=("version",)), "DIP-3.2-X509", "version 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", CERTIFICATE_FAULTS)
def test_a_certificate_is_refused_for(fault: str) -> None:
    make, rule, said = CERTIFICATE_FAULTS[fault]
    facts = certificate_document(make())
    findings = refusing("certificate", facts)
    assert rule in findings, facts
    assert said in findings[rule].found


def test_a_certificate_that_cannot_be_read_is_refused_by_one_rule_with_the_reason() -> None:
    facts = certificate_facts.unreadable(
        "no PEM", certificate_facts.Around(EXPECTATION, NOW, LIMITS)
    )
    failed = [one for one in POLICY.judge("certificate", facts) if not one.passed]
    assert [(one.rule, one.found) for one in failed] == [("DIP-12.2-16-CER", "no PEM")]


SCT = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ORDINARY = [
    (x509.SubjectAlternativeName([x509.DNSName("a.example")]), False),
    (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    x509.AuthorityInformationAccessOID.OCSP,
                    x509.UniformResourceIdentifier("http://ocsp.example/"),
                ),
                x509.AccessDescription(
                    x509.AuthorityInformationAccessOID.CA_ISSUERS,
                    x509.UniformResourceIdentifier("http://ca.example/ca.cer"),
                ),
            ]
        ),
        False,
    ),
    (
        x509.CertificatePolicies(
            [x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.2"), None)]
        ),
        False,
    ),
    (x509.UnrecognizedExtension(SCT, b"\x04\x00"), False),
]  # fmt: skip


def test_a_certificate_with_what_certificates_ordinarily_have_is_not_refused() -> None:
    asked = csr.parse(factory.request(san=["a.example"]))
    facts = certificate_document(ISSUING.leaf(extra=ORDINARY), request=asked)
    assert refusing("certificate", facts) == {}
    assert facts["ocsp_urls"] == ["http://ocsp.example/"]
    assert facts["crl_distribution_points"] == [factory.CDP]
    assert facts["san"] == [{"type": "dns", "value": "a.example"}]


@pytest.mark.parametrize("usages", [("digital_signature",), factory._USAGES[:6], ()])
def test_usages_are_those_the_library_reads(usages: tuple[str, ...]) -> None:
    facts = certificate_document(ISSUING.leaf(key_usage=usages))
    order = dict(zip(factory._USAGES, x509_der.KEY_USAGE_BITS, strict=True))
    assert facts["key_usage"] == [order[one] for one in usages]


@pytest.mark.parametrize(
    ("length", "days"),
    [(398 * DAY, 398), (398 * DAY + SECOND, 399), (398 * DAY - SECOND, 398), (SECOND, 1)],
)
def test_a_begun_day_of_validity_counts_whole(length: timedelta, days: int) -> None:
    facts = certificate_document(ISSUING.leaf(start=NOW, end=NOW + length))
    assert facts["validity_days"] == days


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (DAY, 1),
        (DAY - SECOND, 0),
        (timedelta(0), 0),
        (-SECOND, -1),
        (-DAY, -1),
        (-DAY - SECOND, -2),
    ],
)
def test_days_left_are_whole_days(left: timedelta, days: int) -> None:
    facts = certificate_document(ISSUING.leaf(start=NOW - 9 * DAY, end=NOW + left))
    assert (facts["days_left"], facts["seconds_left"]) == (days, int(left.total_seconds()))


def test_a_cut_value_is_a_fault_and_never_equals_what_was_asked_for() -> None:
    many = [tlv(0x82, f"h{n}.example".encode()) for n in range(1001)]
    facts = certificate_document(hostile.certificate(ISSUING, san(*many)))
    assert len(facts["san"]) == 1000
    assert any("1001 subject alternative names" in fault for fault in facts["encoding_faults"])
    long = certificate_document(
        hostile.certificate(ISSUING, subject=good_name(O=attribute("2.5.4.10", "x" * 5000)))
    )
    assert long["subject"]["O"].endswith("…")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_facts_of_a_damaged_certificate_always_fit_their_schema(data: st.DataObject) -> None:
    der = bytearray(ISSUING.leaf(san=["a.example"], serial=77))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    certificate_document(bytes(der))


# --- DER --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("0500", ""),
        ("3003020105", ""),
        ("300302010500", "1 bytes after the end"),
        ("30810302 0105", "a length in more octets than needed"),
        ("308000 00", "a length without end"),
        ("0202 0001", "a number in more octets than needed"),
        ("0202 ff80", "a number in more octets than needed"),
        ("0202 0080", ""),
        ("0200", "a number without octets"),
        ("0101 01", "neither 00 nor FF"),
        ("0102 ffff", "neither 00 nor FF"),
        ("0302 0101", "unused bits that are set"),
        ("0302 0780", ""),
        ("0302 0880", "without a usable count of unused bits"),
        ("0301 03", "without a usable count of unused bits"),
        ("0300", "without a usable count of unused bits"),
        ("2404 0402 0000", "a string in pieces"),
        ("1000", "a structure that has no parts"),
        ("3106 020102 020101", "a set out of order"),
        ("3106 020101 020102", ""),
        ("1f8101 00", "a tag above 30"),
        ("3005 0201", "cut short"),
        ("30", "cut short"),
    ],
)
def test_bytes_that_are_not_der_are_named(data: str, said: str) -> None:
    found = "; ".join(der_faults.faults(bytes.fromhex(data)))
    assert said in found if said else found == ""


def test_depth_and_number_of_faults_are_bounded() -> None:
    deep = b"\x05\x00"
    for _ in range(50):
        deep = tlv(hostile.SEQUENCE, deep)
    assert "levels" in der_faults.faults(deep)[0]
    assert len(der_faults.faults(tlv(hostile.SEQUENCE, b"\x01\x01\x01" * 99))) == 20


@given(st.binary(max_size=200))
def test_no_bytes_break_the_strict_reader(data: bytes) -> None:
    assert all(isinstance(fault, str) for fault in der_faults.faults(data))


def test_what_certificate_authorities_sign_is_der() -> None:
    for data in (ISSUING.leaf(san=["a.example"]), ISSUING.der, ROOT.der):
        assert der_faults.faults(data) == ()


# --- paths ------------------------------------------------------------------------------------


def chain_document(leaf: bytes, *pool: factory.Authority, **around: Any) -> dict[str, Any]:
    found = chain_facts.find(
        hostile.parsed(leaf), [ca.certificate for ca in pool], [ROOT.certificate], NOW
    )
    facts = chain_facts.document(
        found,
        chain_facts.Around(
            **{
                "expectation": EXPECTATION,
                "now": NOW,
                "anchors": [chain_facts.Pinned.of(ROOT.certificate)],
                "issuers": [chain_facts.Pinned.of(ISSUING.certificate)],
                **around,
            }
        ),
    )
    assert VALIDATORS.fault("chain", facts) == ""
    return facts


def test_a_good_path_is_told_from_leaf_to_anchor() -> None:
    facts = chain_document(ISSUING.leaf(), ISSUING)
    assert [one["role"] for one in facts["certificates"]] == ["leaf", "intermediate", "anchor"]
    assert facts["leaf_issuer"] == facts["allowed_issuers"][0]["name"]
    assert refusing("chain", facts) == {}


def test_a_path_whose_dates_are_over_is_whole_and_refused_by_date_alone() -> None:
    old = ROOT.authority("Old Issuing", path_length=0, end=NOW - SECOND)
    facts = chain_document(
        old.leaf(end=NOW + DAY), old, issuers=[chain_facts.Pinned.of(old.certificate)]
    )
    assert facts["verified"] is True
    assert set(refusing("chain", facts)) == {"DIP-3.5.1-EXPIRY"}
    assert "Old Issuing" in refusing("chain", facts)["DIP-3.5.1-EXPIRY"].found


def test_certificates_that_were_never_valid_together_have_no_verified_path() -> None:
    over = ROOT.authority("Over", path_length=0, end=NOW - 9 * DAY)
    facts = chain_document(over.leaf(start=NOW - DAY), over)
    assert facts["verified"] is False
    assert len(facts["certificates"]) == 3


def test_a_path_to_another_root_is_refused_with_the_reason() -> None:
    facts = chain_document(OTHER_ROOT.leaf(), OTHER_ROOT)
    assert [one["role"] for one in facts["certificates"]] == ["leaf"]
    assert "not a pinned anchor" in refusing("chain", facts)["DIP-3.5.1-CHAIN"].found


def test_another_ca_under_the_pinned_root_is_not_the_dca() -> None:
    sibling = ROOT.authority("Sibling Issuing", path_length=0)
    facts = chain_document(sibling.leaf(), sibling)
    assert "Sibling Issuing" in refusing("chain", facts)["DIP-4.1-DCA-ONLY"].found


def test_answers_about_revocation_stand_beside_the_certificate_they_are_about() -> None:
    answers = [
        certificate_facts.Revocation("good"),
        certificate_facts.Revocation("revoked", "superseded"),
    ]
    facts = chain_document(ISSUING.leaf(), ISSUING, answers=answers, at_hand=True)
    told = [one["revocation"]["verdict"] for one in facts["certificates"]]
    assert told == ["good", "revoked", "none"]
    assert (
        "Example Issuing: revoked, superseded"
        in refusing("chain", facts)["DIP-3.5.2.5-RP-CHECK"].found
    )


def test_nothing_is_asked_offline_and_everything_below_the_anchor_is_pending() -> None:
    facts = chain_document(ISSUING.leaf(), ISSUING)
    told = [one["revocation"]["verdict"] for one in facts["certificates"]]
    assert told == ["pending", "pending", "none"]


def test_digests_are_of_the_certificates_bytes() -> None:
    leaf = ISSUING.leaf()
    facts = chain_document(leaf, ISSUING)
    fingerprint = hostile.parsed(leaf).fingerprint(hashes.SHA256()).hex()
    assert facts["certificates"][0]["sha256"] == fingerprint
    assert certificate_document(leaf)["sha256"] == fingerprint


def test_a_name_that_cannot_be_read_is_said_so_and_breaks_no_search_for_a_path() -> None:
    broken = good_name(O=attribute("2.5.4.10", b"\xff\xfe"))
    for issuer in (OTHER_ROOT, ISSUING):
        facts = chain_document(hostile.certificate(issuer, subject=broken))
        assert facts["verified"] is False
        assert "(unreadable name)" in facts["problem"]
        assert facts["certificates"][0]["name"] == "unreadable subject"
