# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains and common names that a CA would bounce, and names as gateways compare them."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import names
from pki.errors import PkiError
from unit import pki_factory as factory

O, OU, CN, C = (  # noqa: E741
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
    NameOID.COUNTRY_NAME,
)


def one(oid: x509.ObjectIdentifier, value: str, kind: _ASN1Type | None = None) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value, _type=kind, _validate=False)])


def certificate(subject: x509.Name) -> x509.Certificate:
    key = factory.key("names")
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(factory.NOW)
    builder = builder.not_valid_after(factory.NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


def printed_by_openssl(made: x509.Certificate) -> str:
    run = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"],
        input=made.public_bytes(Encoding.PEM),
        capture_output=True,
        check=True,
    )
    return run.stdout.decode("ascii").removesuffix("\n").removeprefix("subject=")


SUBJECTS = {
    "the subject of a request": names.subject("energydip-prod.example.com", factory.SUBJECT),
    "a comma": one(O, "Example, Ltd"),
    "a plus": one(O, "A+B"),
    "quotes": one(O, 'The "Best" Company'),
    "a backslash": one(O, "back\\slash"),
    "angle brackets and a semicolon": one(O, "<a>;b"),
    "an equals sign": one(O, "a=b"),
    "a leading hash": one(O, "#1 Energy"),
    "a hash only": one(O, "#"),
    "a hash inside": one(O, "Energy #1"),
    "a leading space": one(O, " Energy"),
    "a trailing space": one(O, "Energy "),
    "one space only": one(O, " "),
    "two spaces only": one(O, "  "),
    "a slash": one(O, "a/b"),
    "accents": one(O, "Énergie Générale"),
    "a character beyond the basic plane": one(O, "Energy \U0001f50c"),
    "control characters": one(O, "a\nb\tc\x7f"),
    "a NUL": one(CN, "good.example\0.evil.example"),
    "a bidi override": one(O, "abc\u202edef"),
    "PrintableString": one(O, "Plain", _ASN1Type.PrintableString),
    "BMPString": one(O, "Größe", _ASN1Type.BMPString),
    "UniversalString": one(O, "Größe", _ASN1Type.UniversalString),
    "IA5String e-mail": one(NameOID.EMAIL_ADDRESS, "a@b.example"),
    "an attribute OpenSSL does not know": one(x509.ObjectIdentifier("1.2.3.4.5"), "text"),
    "a large arc": one(x509.ObjectIdentifier("2.999.1234567890"), "text"),
    "serial number, surname and domain component": x509.Name(
        [
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "42"),
            x509.NameAttribute(NameOID.SURNAME, "Doe"),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example"),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, "NTRGB-1"),
            x509.NameAttribute(NameOID.USER_ID, "u1"),
        ]
    ),
    "a multi-valued part": x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(C, "GB")]),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(CN, "first"), x509.NameAttribute(OU, "second")]
            ),
        ]
    ),
    "a repeated attribute": x509.Name([x509.NameAttribute(O, "One"), x509.NameAttribute(O, "Two")]),
    "an empty value": one(O, ""),
    "an empty name": x509.Name([]),
}


@pytest.mark.parametrize("case", SUBJECTS)
def test_a_name_is_printed_as_openssl_prints_it_with(case: str) -> None:
    made = certificate(SUBJECTS[case])
    assert names.rfc2253(made.subject) == printed_by_openssl(made)


@pytest.mark.filterwarnings("ignore:Attribute.s length:UserWarning")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([O, OU, CN, NameOID.LOCALITY_NAME]),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_text_in_a_name_is_printed_as_openssl_prints_it(
    parts: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    subject = x509.Name([x509.NameAttribute(o, v, _validate=False) for o, v in parts])
    made = certificate(subject)
    assert names.rfc2253(made.subject) == printed_by_openssl(made)


def test_the_subject_holds_exactly_the_vetted_fields_in_the_portals_order() -> None:
    made = names.subject("energydip-prod.example.com", dict(reversed(factory.SUBJECT.items())))
    assert names.attribute_order(made) == ["C", "ST", "L", "O", "CN"]
    assert names.subject_attributes(made) == factory.SUBJECT
    assert names.common_names(made) == "energydip-prod.example.com"


def test_the_country_is_a_printable_string_and_everything_else_utf8() -> None:
    parsed = names.parse(names.subject("a.example", factory.SUBJECT))
    assert [(item.short_name, item.tag) for rdn in parsed for item in rdn] == [
        ("C", 0x13),
        ("ST", 0x0C),
        ("L", 0x0C),
        ("O", 0x0C),
        ("CN", 0x0C),
    ]


def test_a_repeated_attribute_never_equals_a_single_one() -> None:
    twice = SUBJECTS["a repeated attribute"]
    assert names.subject_attributes(twice)["O"] not in ("One", "Two", "OneTwo", "One, Two")
    assert names.attribute_order(twice) == ["O", "O"]


def test_an_unknown_attribute_is_shown_by_its_dotted_oid() -> None:
    assert names.attribute_order(one(x509.ObjectIdentifier("1.2.3.4.5"), "x")) == ["1.2.3.4.5"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"C": "gb"}, "subject.C"),
        ({"C": "GBR"}, "subject.C"),
        ({"C": "GB\n"}, "subject.C"),
        ({"O": ""}, "subject.O"),
        ({"O": " Example"}, "subject.O"),
        ({"O": "x" * 65}, "subject.O"),
        ({"L": "Lon\ndon"}, "subject.L"),
        ({"ST": "x" * 129}, "subject.ST"),
        ({"OU": "IT"}, "subject.OU"),
        ({"emailAddress": "a@b.example"}, "subject.emailAddress"),
    ],
)
def test_a_subject_that_was_not_vetted_is_refused_by_field(
    change: dict[str, str], field: str
) -> None:
    with pytest.raises(PkiError) as caught:
        names.subject("a.example", {**factory.SUBJECT, **change})
    assert caught.value.where == field
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("domain", "fault", "suggestion"),
    [
        ("Example.co.uk", "upper-case", "write example.co.uk"),
        ("EXAMPLE.CO.UK", "upper-case", "write example.co.uk"),
        ("bücher.example", "outside ASCII", "write xn--bcher-kva.example"),
        ("example\u2013energy.co.uk", "outside ASCII", "write "),
        ("example.co.uk.", "empty label", "write example.co.uk"),
        (".example.co.uk", "empty label", "write example.co.uk"),
        ("example..co.uk", "empty label", "write the domain that was vetted"),
        ("", "empty", "write the domain that was vetted"),
        ("localhost", "only one label", "write the domain that was vetted"),
        ("-a.example", "hyphen", "write the domain that was vetted"),
        ("a-.example", "hyphen", "write the domain that was vetted"),
        ("a_b.example", "character", "write the domain that was vetted"),
        ("*.example.com", "character", "write the domain that was vetted"),
        (" example.com", "character", "write example.com"),
        ("example.com\n", "character", "write example.com"),
        ("https://example.com", "character", "write the domain that was vetted"),
        ("a" * 64 + ".example", "longer than 63", "write the domain that was vetted"),
        (".".join(["abcdefg"] * 40), "longer than 253", "write the domain that was vetted"),
    ],
)
def test_a_domain_that_is_no_lower_case_host_name_is_refused(
    domain: str, fault: str, suggestion: str
) -> None:
    with pytest.raises(PkiError) as caught:
        names.check_domain(domain, "certificates[0].domain")
    error = caught.value
    assert fault in error.message
    assert error.where == "certificates[0].domain"
    assert error.next_step.startswith(suggestion)
    assert "\n" not in error.found


@pytest.mark.parametrize("domain", ["a.b", "example-energy.co.uk", "xn--bcher-kva.example", "1.2"])
def test_a_good_domain_is_returned_as_it_is(domain: str) -> None:
    assert names.check_domain(domain, "domain") == domain


def test_a_common_name_may_have_64_characters_and_not_65() -> None:
    prefix = "energydip-nonprod"
    room = 64 - len(prefix) - 1
    longest = "a" * (room - 8) + ".example"
    assert len(names.common_name(prefix, longest)) == 64
    with pytest.raises(PkiError) as caught:
        names.common_name(prefix, "a" + longest, "certificates[3].domain")
    assert "65 characters" in caught.value.found
    assert str(room) in caught.value.expected
    assert caught.value.where == "certificates[3].domain"


@pytest.mark.parametrize(
    "hostile",
    ["a\x1b[31mred", "line\nbreak", "bidi\u202e", "zero\u200bwidth", "sep\u2028", "nul\0", "\x9b"],
)
def test_a_name_in_a_message_has_no_control_characters(hostile: str) -> None:
    shown = names.printable(hostile)
    assert shown.isprintable()
    assert "\\u" in shown


def test_a_name_in_a_message_is_no_template() -> None:
    shown = names.printable("{{ lookup('pipe','id') }} {% x %} {# y #} {{{")
    assert not any(delimiter in shown for delimiter in ("{{", "{%", "{#"))


def test_a_long_name_in_a_message_is_cut() -> None:
    assert len(names.printable("x" * 5000)) == 200
