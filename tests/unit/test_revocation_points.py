# SPDX-License-Identifier: GPL-3.0-or-later
"""The corners of the revocation rules, point by point: what is an answer, and what is none.

``test_revocation`` has the plain cases. Here are those that tell one implementation from
another: two CRLs that disagree about which is newer, a scope that nearly fits, an entry with a
meaning of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from pki import path, revocation
from pki.errors import PkiError
from unit import large_crl
from unit import pki_factory as factory
from unit.pki_factory import CDP, DAY, NOW, SECOND, idp

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
OTHER = ROOT.authority("Other Issuing")
LEAF = ISSUING.leaf()
SERIAL = factory.serial(LEAF)
HOUR = timedelta(hours=1)
UNKNOWN = large_crl.extension("1.2.3.4", b"\x05\x00", critical=True)


def status(*crls: bytes, leaf: bytes = LEAF, **options: Any) -> revocation.Status:
    return revocation.check([leaf, ISSUING.der, ROOT.der], crls, NOW, **options)[0]


def verdict(*crls: bytes, **options: Any) -> str:
    return status(*crls, **options).verdict


# --- 1: every certificate below the root needs an answer --------------------------------------


def test_no_answer_is_refused_with_the_issuers_name_and_what_was_tried() -> None:
    stale = ISSUING.crl(end=NOW - SECOND)
    with pytest.raises(revocation.Unanswered) as caught:
        revocation.require_good([status(stale)])
    assert "Example Issuing" in caught.value.found
    assert "stale since" in caught.value.found
    assert "Example Issuing" in caught.value.expected


def test_every_certificate_without_an_answer_is_asked_for_and_no_other() -> None:
    middle = ISSUING.authority("Example Middle")
    leaf = middle.leaf()
    chain = [leaf, middle.der, ISSUING.der, ROOT.der]
    with pytest.raises(revocation.Unanswered) as caught:
        revocation.require_good(revocation.check(chain, [ISSUING.crl()], NOW))
    asks = [(ask.certificate, ask.issuer) for ask in caught.value.asks]
    assert asks == [(leaf, middle.der), (ISSUING.der, ROOT.der)]


def test_a_revoked_certificate_is_no_question_even_where_another_has_no_answer() -> None:
    chain = [LEAF, ISSUING.der, ROOT.der]
    statuses = revocation.check(chain, [ROOT.crl([factory.serial(ISSUING.der)])], NOW)
    with pytest.raises(PkiError) as caught:
        revocation.require_good(statuses)
    assert not isinstance(caught.value, revocation.Unanswered)
    assert "is revoked" in caught.value.message


def with_addresses(*crl: str, ocsp: tuple[str, ...] = ()) -> bytes:
    def uri(url: str) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(url)

    extra: list[tuple[x509.ExtensionType, bool]] = []
    if crl:
        points = [x509.DistributionPoint([uri(url)], None, None, None) for url in crl]
        extra.append((x509.CRLDistributionPoints(points), False))
    if ocsp:
        method = AuthorityInformationAccessOID.OCSP
        found = [x509.AccessDescription(method, uri(url)) for url in ocsp]
        issuers = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri("http://i/"))
        extra.append((x509.AuthorityInformationAccess([issuers, *found]), False))
    return ISSUING.leaf(cdp=None, extra=extra)


def ask_of(leaf: bytes) -> revocation.Ask:
    found = status(leaf=leaf).ask
    assert found is not None
    return found


def test_the_question_names_the_web_addresses_in_the_certificates_order() -> None:
    ask = ask_of(with_addresses("http://b/", "HTTPS://a/", ocsp=("http://d/", "http://c/")))
    assert ask.crl_urls == ("http://b/", "HTTPS://a/")
    assert ask.ocsp_urls == ("http://d/", "http://c/")
    assert ask.not_tried == ()


def test_an_address_that_is_not_of_the_web_is_named_as_not_tried() -> None:
    leaf = with_addresses("ldap://ldap.example/cn=CA", "http://crl.example/", "file:///etc/passwd")
    ask = ask_of(leaf)
    assert ask.crl_urls == ("http://crl.example/",)
    assert ask.not_tried == ("ldap://ldap.example/cn=CA", "file:///etc/passwd")
    with pytest.raises(revocation.Unanswered) as caught:
        revocation.require_good([status(leaf=leaf)])
    assert "not tried, no http address: ldap://ldap.example/cn=CA" in caught.value.found


def test_a_certificate_can_make_us_open_a_few_addresses_and_no_more() -> None:
    urls = tuple(f"http://crl.example/{number}" for number in range(50))
    ask = ask_of(with_addresses(*urls, urls[0], ocsp=urls))
    assert ask.crl_urls == ask.ocsp_urls == urls[:4]
    assert len(ask.not_tried) == 8
    assert ask_of(with_addresses("http://a/" + "a" * 2000)).crl_urls == ()


def test_the_address_of_a_limited_or_foreign_distribution_point_is_not_asked() -> None:
    def point(reasons: Any, issuer: Any) -> x509.DistributionPoint:
        return x509.DistributionPoint([x509.UniformResourceIdentifier(CDP)], None, reasons, issuer)

    some = frozenset([x509.ReasonFlags.key_compromise])
    elsewhere = [x509.DirectoryName(factory.name("Other"))]
    points = x509.CRLDistributionPoints([point(some, None), point(None, elsewhere)])
    assert ask_of(ISSUING.leaf(cdp=None, extra=[(points, False)])).crl_urls == ()


def test_a_chain_that_does_not_verify_raises_no_question() -> None:
    stranger = factory.authority("Stranger")
    with pytest.raises(PkiError) as caught:
        path.validate(stranger.leaf(), [], [ROOT.der], crls=[], now=NOW)
    assert not isinstance(caught.value, revocation.Unanswered)


def test_a_chain_that_verifies_and_has_no_answer_does() -> None:
    with pytest.raises(revocation.Unanswered) as caught:
        path.validate(LEAF, [ISSUING.der], [ROOT.der], crls=[], now=NOW)
    assert [ask.crl_urls for ask in caught.value.asks] == [(CDP,), ()]


# --- 2: who signed the CRL, and what it must and must not have ---------------------------------


def test_a_crl_of_version_1_without_any_extension_answers() -> None:
    first = large_crl.crl(ISSUING, [], number=None)
    assert x509.load_der_x509_crl(first).extensions._extensions == []
    assert verdict(first) == "good"
    assert verdict(large_crl.crl(ISSUING, [large_crl.entry(SERIAL)], number=None)) == "revoked"


def test_the_signature_decides_and_not_the_key_identifier_of_the_crl() -> None:
    wrong = x509.AuthorityKeyIdentifier.from_issuer_public_key(OTHER.private.public_key())
    assert verdict(ISSUING.crl(extensions=[(wrong, False)])) == "good"
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(ISSUING.private.public_key())
    forged = ISSUING.crl(extensions=[(own, False)], signer=OTHER.private)
    assert verdict(forged) == "unknown"


@pytest.mark.parametrize(
    "extension",
    [
        x509.CRLNumber(3),
        x509.FreshestCRL([factory.point(CDP)]),
        x509.AuthorityKeyIdentifier(b"12345678", None, None),
    ],
    ids=["number", "freshest CRL", "key identifier"],
)
def test_an_extension_that_must_not_be_critical_silences_the_crl_when_it_is(
    extension: x509.ExtensionType,
) -> None:
    assert verdict(ISSUING.crl(number=None, extensions=[(extension, False)])) == "good"
    critical = ISSUING.crl(number=None, extensions=[(extension, True)])
    assert "unknown critical extension" in status(critical).why


def test_a_crl_of_a_ca_of_the_same_name_and_another_key_says_nothing() -> None:
    twin = ROOT.authority("Example Issuing", key_name="twin")
    assert verdict(twin.crl()) == "unknown"
    assert verdict(twin.crl([SERIAL]), ISSUING.crl()) == "good"


def test_a_key_usage_without_crl_sign_is_a_ban_and_no_key_usage_is_none() -> None:
    mute = ROOT.authority("Mute", key_usage=("key_cert_sign", "digital_signature"))
    leaf = mute.leaf()
    for crl in (mute.crl(), mute.crl([factory.serial(leaf)])):
        answers = revocation.check([leaf, mute.der, ROOT.der], [crl], NOW)
        assert answers[0].verdict == "unknown"
    silent = authority_without_key_usage()
    leaf = silent.leaf()
    answers = revocation.check([leaf, silent.der], [silent.crl()], NOW)
    assert answers[0].verdict == "good"


def authority_without_key_usage() -> factory.Authority:
    from cryptography.hazmat.primitives import hashes

    key = factory.key("silent")
    builder = x509.CertificateBuilder().subject_name(factory.name("Silent"))
    builder = builder.issuer_name(factory.name("Silent")).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    return factory.Authority(builder.sign(key, hashes.SHA256()), key)


# --- 3: for whom the CRL speaks ----------------------------------------------------------------


def test_a_distribution_point_that_is_a_name_is_matched_by_its_encoding() -> None:
    def leaf(cn: str) -> bytes:
        name = [x509.DirectoryName(factory.name(cn))]
        points = x509.CRLDistributionPoints([x509.DistributionPoint(name, None, None, None)])
        return ISSUING.leaf(cdp=None, extra=[(points, False)])

    crl = ISSUING.crl(extensions=[idp(full_name=[x509.DirectoryName(factory.name("Part 1"))])])
    assert verdict(crl, leaf=leaf("Part 1")) == "good"
    assert verdict(crl, leaf=leaf("part 1")) == "unknown"
    assert verdict(crl) == "unknown"


@pytest.mark.parametrize("near", [CDP + "/", CDP.upper(), CDP + "?", CDP[:-1]])
def test_a_distribution_point_that_is_nearly_the_certificates_is_another(near: str) -> None:
    assert verdict(ISSUING.crl(extensions=[idp(near)])) == "unknown"


def test_one_common_name_of_several_is_enough_to_match_a_distribution_point() -> None:
    both = [x509.UniformResourceIdentifier(uri) for uri in ("http://other.example/", CDP)]
    assert verdict(ISSUING.crl(extensions=[idp(full_name=both)])) == "good"


def test_a_scope_that_fits_does_not_make_up_for_a_distribution_point_that_does_not() -> None:
    users = idp("http://other.example/", only_contains_user_certs=True)
    assert verdict(ISSUING.crl(extensions=[users])) == "unknown"
    cas = idp(CDP, only_contains_ca_certs=True)
    assert verdict(ISSUING.crl(extensions=[cas])) == "unknown"


# --- 4: listed refuses, the newest counts ------------------------------------------------------


def numbered(number: int | None, age: timedelta, *, stale: bool = False) -> bytes:
    end = NOW - SECOND if stale else NOW + HOUR
    return ISSUING.crl(number=number, start=NOW - age, end=end)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (numbered(2, HOUR), numbered(1, 2 * HOUR), "good"),
        (numbered(2, HOUR, stale=True), numbered(1, 2 * HOUR), "unknown"),
        # Number and date disagree: both are "the newest", so both must be valid.
        (numbered(2, 2 * HOUR, stale=True), numbered(1, HOUR), "unknown"),
        (numbered(2, 2 * HOUR), numbered(1, HOUR, stale=True), "unknown"),
        (numbered(2, 2 * HOUR), numbered(1, HOUR), "good"),
        (numbered(None, 2 * HOUR, stale=True), numbered(None, HOUR), "good"),
        (numbered(None, HOUR, stale=True), numbered(None, 2 * HOUR), "unknown"),
        (numbered(None, HOUR, stale=True), numbered(9, 2 * HOUR), "unknown"),
    ],
)
def test_the_newest_of_several_crls_counts_by_number_and_by_date(
    first: bytes, second: bytes, wanted: str
) -> None:
    assert verdict(first, second) == wanted
    assert verdict(second, first) == wanted


def test_numbers_of_another_scope_are_not_compared() -> None:
    users = [idp(only_contains_user_certs=True)]
    stale = ISSUING.crl(number=100, start=NOW - DAY, end=NOW - SECOND, extensions=users)
    assert verdict(stale, numbered(2, HOUR)) == "good"
    newer = ISSUING.crl(number=1, start=NOW - SECOND, end=NOW, extensions=users)
    assert verdict(newer, numbered(2, HOUR, stale=True)) == "good"
    newest = ISSUING.crl(number=1, start=NOW - 2 * SECOND, end=NOW - SECOND, extensions=users)
    assert verdict(newest, numbered(2, HOUR)) == "unknown", "by date it is the newest there is"


def test_an_older_list_that_names_the_serial_refuses_although_the_newest_does_not() -> None:
    older = ISSUING.crl([SERIAL], number=1, start=NOW - 2 * HOUR)
    assert verdict(older, numbered(2, HOUR)) == "revoked"


def entries(*encoded: bytes, **options: Any) -> bytes:
    return large_crl.crl(ISSUING, encoded, start=NOW - HOUR, **options)


def test_remove_from_crl_means_something_in_a_delta_only() -> None:
    removed = large_crl.entry(SERIAL, large_crl.reason(8))
    assert status(entries(removed)).reason == "removeFromCRL"
    assert verdict(entries(removed)) == "revoked"
    delta = large_crl.extension("2.5.29.27", b"\x02\x01\x01", critical=True)
    assert verdict(entries(removed, extensions=delta), ISSUING.crl()) == "good"


def test_one_entry_that_revokes_is_enough_wherever_it_stands() -> None:
    removed = large_crl.entry(SERIAL, large_crl.reason(8))
    revoked = large_crl.entry(SERIAL, large_crl.reason(1))
    delta = large_crl.extension("2.5.29.27", b"\x02\x01\x01", critical=True)
    for order in ([removed, revoked], [revoked, removed], [removed, removed, revoked]):
        assert verdict(entries(*order, extensions=delta), ISSUING.crl()) == "revoked"


def test_a_critical_entry_extension_that_nobody_knows_silences_the_list_for_everyone() -> None:
    crl = entries(large_crl.entry(7), large_crl.entry(8, UNKNOWN))
    assert "unknown critical extension 1.2.3.4" in status(crl).why
    with pytest.raises(PkiError) as caught:
        revocation.verify_crl(crl, ISSUING.der, NOW)
    assert "1.2.3.4" in caught.value.found


def test_a_serial_that_is_listed_with_such_an_extension_is_revoked() -> None:
    assert verdict(entries(large_crl.entry(SERIAL, UNKNOWN))) == "revoked"
    assert verdict(entries(large_crl.entry(8, UNKNOWN), large_crl.entry(SERIAL))) == "revoked"


@pytest.mark.parametrize(
    "harmless",
    [
        large_crl.reason(1, critical=True),
        large_crl.extension("2.5.29.24", b"\x18\x0f20261101000000Z", critical=True),
        large_crl.extension("1.2.3.4", b"\x05\x00"),
        large_crl.extension("1.2.3.4", b"\x06\x01\x2a\x01\x01\xff"),
    ],
    ids=["reason", "invalidity date", "not critical", "the octets inside a value"],
)
def test_an_entry_extension_that_is_known_or_not_critical_silences_nothing(harmless: bytes) -> None:
    assert verdict(entries(large_crl.entry(8, harmless))) == "good"


def test_a_critical_entry_extension_that_cannot_be_read_silences_the_list() -> None:
    broken = large_crl.extension("2.5.29.21", b"\x04\x00", critical=True)
    assert "cannot be read" in status(entries(large_crl.entry(8, broken))).why
    assert verdict(entries(large_crl.entry(SERIAL, broken))) == "revoked"


def test_an_entry_of_another_issuer_in_a_list_that_is_not_indirect_silences_it() -> None:
    other = x509.CertificateIssuer([x509.DirectoryName(factory.name("Other"))])
    foreign = large_crl.extension("2.5.29.29", other.public_bytes(), critical=True)
    assert verdict(entries(large_crl.entry(8, foreign))) == "unknown"


# --- 5: OCSP -----------------------------------------------------------------------------------


def delegated(serial: int | None = None) -> tuple[bytes, bytes]:
    """A responder's certificate and its answer that the leaf is good."""
    key = factory.key("responder")
    der = ISSUING.leaf(
        "Responder",
        {},
        public=key.public_key(),
        eku=[ExtendedKeyUsageOID.OCSP_SIGNING],
        serial=serial,
    )
    certificate = x509.load_der_x509_certificate(der)
    return der, ISSUING.ocsp(LEAF, responder=certificate, signer=key)


def test_a_responder_that_its_issuer_has_revoked_answers_no_more() -> None:
    responder, answer = delegated()
    listed = ISSUING.crl([factory.serial(responder)], end=NOW - SECOND)
    assert verdict(ocsp=[answer]) == "good", "a responder needs no answer of its own"
    assert verdict(listed, ocsp=[answer]) == "unknown"
    assert verdict(OTHER.crl([factory.serial(responder)]), ocsp=[answer]) == "good"
    forged = ISSUING.crl([factory.serial(responder)], signer=OTHER.private)
    assert verdict(forged, ocsp=[answer]) == "good"


def test_a_nonce_in_a_response_makes_no_difference() -> None:
    nonce = [(x509.OCSPNonce(b"12345678"), False)]
    assert verdict(ocsp=[ISSUING.ocsp(LEAF, extensions=nonce)]) == "good"
