# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CRLs and OCSP responses answer for a certificate, and which say nothing."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.ocsp import (
    OCSPCertStatus,
    OCSPResponderEncoding,
    OCSPResponseBuilder,
    OCSPResponseStatus,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import revocation
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.pki_factory import CDP, DAY, NOW, SECOND, idp

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
OTHER = ROOT.authority("Other Issuing")
LEAF = ISSUING.leaf()
SERIAL = factory.serial(LEAF)
CHAIN = [LEAF, ISSUING.der, ROOT.der]
HOUR = timedelta(hours=1)


def leaf_status(*crls: bytes, leaf: bytes = LEAF, **options: Any) -> revocation.Status:
    return revocation.check([leaf, ISSUING.der, ROOT.der], crls, NOW, **options)[0]


def test_every_certificate_below_the_root_gets_an_answer() -> None:
    statuses = revocation.check(CHAIN, [ISSUING.crl(), ROOT.crl()], NOW)
    assert [status.certificate for status in statuses] == [factory.CN, "Example Issuing"]
    assert [status.verdict for status in statuses] == ["good", "good"]
    revocation.require_good(statuses)


def test_a_missing_crl_of_an_intermediate_is_a_refusal_that_names_the_ca() -> None:
    statuses = revocation.check(CHAIN, [ISSUING.crl()], NOW)
    with pytest.raises(PkiError) as caught:
        revocation.require_good(statuses)
    assert caught.value.rule == "DIP-3.5.2.5-RP-CHECK"
    assert "Example Issuing" in caught.value.message
    assert "Example Root" in caught.value.found
    assert "no CRL and no OCSP response" in caught.value.found


def test_a_pending_answer_may_pass_but_a_revoked_certificate_never() -> None:
    revocation.require_good(revocation.check(CHAIN, [], NOW), pending=True)
    statuses = revocation.check(CHAIN, [ISSUING.crl([SERIAL])], NOW)
    with pytest.raises(PkiError):
        revocation.require_good(statuses, pending=True)


def test_a_revoked_certificate_is_reported_with_date_and_reason() -> None:
    crl = ISSUING.crl([SERIAL], reason=x509.ReasonFlags.key_compromise)
    status = leaf_status(crl)
    assert (status.verdict, status.when, status.reason) == (
        "revoked",
        NOW - 2 * DAY,
        "keyCompromise",
    )
    with pytest.raises(PkiError) as caught:
        revocation.require_good([status])
    assert "2026-11-19 12:00:00Z" in caught.value.found
    assert f"{SERIAL:x}" in caught.value.found


def test_a_revoked_intermediate_is_found() -> None:
    crl = ROOT.crl([factory.serial(ISSUING.der)])
    statuses = revocation.check(CHAIN, [ISSUING.crl(), crl], NOW)
    assert [status.verdict for status in statuses] == ["good", "revoked"]


def test_a_certificate_on_hold_is_revoked() -> None:
    crl = ISSUING.crl([SERIAL], reason=x509.ReasonFlags.certificate_hold)
    assert leaf_status(crl).verdict == "revoked"


def test_a_revocation_dated_in_the_future_refuses_today() -> None:
    assert leaf_status(ISSUING.crl([SERIAL], revoked_at=NOW + DAY)).verdict == "revoked"


def test_another_serial_on_the_list_does_no_harm() -> None:
    assert leaf_status(ISSUING.crl([SERIAL + 1, SERIAL - 1])).verdict == "good"


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (-HOUR - SECOND, "unknown"),
        (-HOUR, "good"),
        (23 * HOUR, "good"),
        (23 * HOUR + SECOND, "unknown"),
    ],
)
def test_the_dates_of_a_crl_are_exact_to_the_second(offset: timedelta, verdict: str) -> None:
    chain = [ISSUING.leaf(start=NOW - 9 * DAY), ISSUING.der, ROOT.der]
    assert revocation.check(chain, [ISSUING.crl()], NOW + offset)[0].verdict == verdict


SOME = frozenset([x509.ReasonFlags.key_compromise])
CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
SILENT = {
    "is stale": ISSUING.crl(end=NOW - SECOND),
    "is valid only from": ISSUING.crl(start=NOW + SECOND),
    "not signed by the key": ISSUING.crl(signer=factory.key("attacker")),
    "delta": ISSUING.crl(extensions=[(x509.DeltaCRLIndicator(1), True)]),
    "indirect": ISSUING.crl(extensions=[idp(indirect_crl=True)]),
    "only some reasons": ISSUING.crl(extensions=[idp(only_some_reasons=SOME)]),
    "attribute certificates": ISSUING.crl(extensions=[idp(only_contains_attribute_certs=True)]),
    "CA certificates only": ISSUING.crl(extensions=[idp(only_contains_ca_certs=True)]),
    "another distribution point": ISSUING.crl(extensions=[idp("http://crl.example/2.crl")]),
    "unknown critical extension": ISSUING.crl(extensions=[CRITICAL]),
    "signed with sha1": factory.with_sha1(ISSUING.crl(), ISSUING.private),
    "has no nextUpdate": factory.without_next_update(ISSUING.crl(), ISSUING.private),
}


@pytest.mark.parametrize("why", SILENT)
def test_a_crl_says_nothing_and_the_reason_is_told_when_it(why: str) -> None:
    status = leaf_status(SILENT[why])
    assert status.verdict == "unknown"
    assert why in status.why


LISTED = {
    "stale": ISSUING.crl([SERIAL], end=NOW - SECOND),
    "not valid yet": ISSUING.crl([SERIAL], start=NOW + SECOND),
    "for some reasons": ISSUING.crl([SERIAL], extensions=[idp(only_some_reasons=SOME)]),
    "a delta": ISSUING.crl([SERIAL], extensions=[(x509.DeltaCRLIndicator(1), True)]),
    "of another distribution point": ISSUING.crl([SERIAL], extensions=[idp("http://x.example/")]),
    "without nextUpdate": factory.without_next_update(ISSUING.crl([SERIAL]), ISSUING.private),
}


@pytest.mark.parametrize("kind", LISTED)
def test_a_listed_serial_refuses_also_when_the_list_is(kind: str) -> None:
    good = ISSUING.crl(number=9, start=NOW - SECOND)
    for crls in ([LISTED[kind]], [LISTED[kind], good], [good, LISTED[kind]]):
        assert leaf_status(*crls).verdict == "revoked"


def test_a_list_nobody_vouches_for_revokes_nothing() -> None:
    forged = ISSUING.crl([SERIAL], signer=factory.key("attacker"))
    assert leaf_status(forged, ISSUING.crl()).verdict == "good"


def test_a_list_signed_with_sha1_is_no_list() -> None:
    weak = factory.with_sha1(ISSUING.crl([SERIAL]), ISSUING.private)
    assert leaf_status(weak, ISSUING.crl()).verdict == "good"


def test_a_list_of_another_ca_with_the_same_serial_revokes_nothing() -> None:
    assert leaf_status(OTHER.crl([SERIAL]), ISSUING.crl()).verdict == "good"
    assert leaf_status(OTHER.crl()).verdict == "unknown"


def test_remove_from_crl_in_a_delta_is_not_a_revocation() -> None:
    delta = ISSUING.crl(
        [SERIAL],
        reason=x509.ReasonFlags.remove_from_crl,
        extensions=[(x509.DeltaCRLIndicator(1), True)],
    )
    assert leaf_status(delta, ISSUING.crl()).verdict == "good"


def test_a_crl_whose_issuer_may_not_sign_crls_says_nothing() -> None:
    mute = ROOT.authority("Mute", key_usage=("key_cert_sign",))
    leaf = mute.leaf()
    status = revocation.check([leaf, mute.der, ROOT.der], [mute.crl()], NOW)[0]
    assert (status.verdict, "cRLSign" in status.why) == ("unknown", True)


def test_the_newest_crl_counts_and_an_older_one_does_not_bring_back() -> None:
    older = ISSUING.crl(start=NOW - 3 * HOUR, number=1)
    newer = ISSUING.crl([SERIAL], start=NOW - HOUR, number=2)
    assert leaf_status(older, newer).verdict == "revoked"
    assert leaf_status(newer, older).verdict == "revoked"
    gone = ISSUING.crl(start=NOW - HOUR, end=NOW - SECOND, number=2)
    assert leaf_status(older, gone).verdict == "unknown", "the newest is stale: fetch it again"


@pytest.mark.parametrize(
    "extension",
    [idp(CDP), idp(only_contains_user_certs=True), idp(CDP, only_contains_user_certs=True)],
    ids=["same distribution point", "user certificates", "both"],
)
def test_a_partitioned_crl_answers_for_what_it_covers(
    extension: tuple[x509.ExtensionType, bool],
) -> None:
    assert leaf_status(ISSUING.crl(extensions=[extension])).verdict == "good"


def test_a_crl_for_users_does_not_answer_for_a_ca() -> None:
    users = ROOT.crl(extensions=[idp(only_contains_user_certs=True)])
    cas = ROOT.crl(extensions=[idp(only_contains_ca_certs=True)])
    assert revocation.check(CHAIN, [users], NOW)[1].verdict == "unknown"
    assert revocation.check(CHAIN, [cas], NOW)[1].verdict == "good"


def test_a_certificate_without_distribution_point_matches_no_partition() -> None:
    crl = ISSUING.crl(extensions=[idp(CDP)])
    assert leaf_status(crl, leaf=ISSUING.leaf(cdp=None)).verdict == "unknown"


@pytest.mark.parametrize("limit", ["reasons", "another CRL issuer"])
def test_a_limited_distribution_point_matches_no_partition(limit: str) -> None:
    uri = [x509.UniformResourceIdentifier(CDP)]
    reasons = SOME if limit == "reasons" else None
    elsewhere = [x509.DirectoryName(factory.name("Other"))] if limit != "reasons" else None
    points = x509.CRLDistributionPoints([x509.DistributionPoint(uri, None, reasons, elsewhere)])
    leaf = ISSUING.leaf(cdp=None, extra=[(points, False)])
    assert leaf_status(ISSUING.crl(extensions=[idp(CDP)]), leaf=leaf).verdict == "unknown"
    assert leaf_status(ISSUING.crl(), leaf=leaf).verdict == "good"


def test_serials_of_an_indirect_crl_are_not_read_as_this_issuers() -> None:
    indirect = ISSUING.crl([SERIAL], extensions=[idp(indirect_crl=True)])
    assert leaf_status(indirect, ISSUING.crl()).verdict == "good"


def test_a_crl_whose_signature_has_unused_bits_is_unreadable() -> None:
    for number in range(1, 30):
        crl = bytearray(ISSUING.crl(number=number))
        crl[-257] = 1
        assert leaf_status(bytes(crl)).verdict == "unknown"


def test_fractions_of_a_second_do_not_count() -> None:
    end = NOW + 23 * HOUR + timedelta(milliseconds=900)
    assert revocation.check(CHAIN, [ISSUING.crl(), ROOT.crl()], end)[0].verdict == "good"


def test_unreadable_files_are_named_and_never_read_as_good() -> None:
    status = leaf_status(b"junk", b"\x30\x82junk", b"")
    assert status.verdict == "unknown"
    assert "CRL file 1 holds no CRL" in status.why
    assert "CRL file 2 is unreadable" in status.why


def test_pem_and_several_in_one_file_are_read() -> None:
    both = revocation.to_pem(ISSUING.crl()) + b"\n" + revocation.to_pem(ROOT.crl())
    assert [s.verdict for s in revocation.check(CHAIN, [both], NOW)] == ["good", "good"]
    assert len(revocation.parse_crls(both)) == 2


def test_parsed_crls_can_be_given_to_many_checks() -> None:
    parsed = [revocation.Crl.parse(ISSUING.crl()), revocation.Crl.parse(ROOT.crl())]
    assert all(s.verdict == "good" for s in revocation.check(CHAIN, parsed, NOW))


# --- one CRL of one CA, as it is fetched -------------------------------------------------


def test_a_fetched_crl_is_described() -> None:
    der = ISSUING.crl([SERIAL], number=77)
    info = revocation.verify_crl(revocation.to_pem(der), ISSUING.der, NOW)
    assert (info.issuer, info.number, info.der) == ("Example Issuing", 77, der)
    assert (info.this_update, info.next_update) == (NOW - HOUR, NOW + 23 * HOUR)
    assert info.sha256 == x509.load_der_x509_crl(der).fingerprint(hashes.SHA256()).hex()
    assert (info.scope, info.distribution_points) == ("all", ())


def test_the_scope_of_a_fetched_crl_is_told() -> None:
    crl = ISSUING.crl(extensions=[idp(CDP, only_contains_user_certs=True)])
    info = revocation.verify_crl(crl, ISSUING.der, NOW)
    assert (info.scope, info.distribution_points) == ("user", (CDP,))
    crl = ISSUING.crl(extensions=[idp(only_contains_ca_certs=True)])
    assert revocation.verify_crl(crl, ISSUING.der, NOW).scope == "ca"


WHOLE_CA = [
    why for why in SILENT if why not in ("CA certificates only", "another distribution point")
]


@pytest.mark.parametrize("why", WHOLE_CA)
def test_a_fetched_crl_is_refused_when_it(why: str) -> None:
    with pytest.raises(PkiError) as caught:
        revocation.verify_crl(SILENT[why], ISSUING.der, NOW)
    assert caught.value.rule == "DIP-3.5.2.5-RP-CHECK"
    assert why in caught.value.found
    assert "Example Issuing" in caught.value.expected
    assert caught.value.next_step


def test_a_crl_of_another_ca_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        revocation.verify_crl(OTHER.crl(), ISSUING.der, NOW)
    assert "not issued by Example Issuing" in caught.value.found


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x30\x00", ISSUING.der])
def test_what_is_no_crl_is_refused(data: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        revocation.verify_crl(data, ISSUING.der, NOW)
    assert caught.value.rule == "DIP-3.5.2.5-RP-CHECK"


def test_openssl_agrees_about_the_crl(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").write_bytes(revocation.to_pem(ISSUING.crl([SERIAL])))
    (tmp_path / "ca.pem").write_bytes(ISSUING.pem)
    run = subprocess.run(
        ["openssl", "crl", "-in", "crl.pem", "-CAfile", "ca.pem", "-noout", "-text"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert b"verify OK" in run.stderr
    assert f"{SERIAL:X}".encode() in run.stdout


# --- OCSP --------------------------------------------------------------------------------


def with_ocsp(response: bytes, *crls: bytes) -> revocation.Status:
    return leaf_status(*crls, ocsp=[response])


def test_a_good_response_of_the_issuer_is_an_answer() -> None:
    status = with_ocsp(ISSUING.ocsp(LEAF))
    assert (status.verdict, "OCSP response" in status.source) == ("good", True)


def test_revoked_from_either_source_wins_over_good_from_the_other() -> None:
    revoked = ISSUING.ocsp(LEAF, OCSPCertStatus.REVOKED)
    assert with_ocsp(revoked, ISSUING.crl()).verdict == "revoked"
    assert with_ocsp(ISSUING.ocsp(LEAF), ISSUING.crl([SERIAL])).verdict == "revoked"
    stale = ISSUING.ocsp(LEAF, OCSPCertStatus.REVOKED, end=NOW - SECOND)
    assert with_ocsp(stale, ISSUING.crl()).verdict == "revoked"


def responder(name: str, issuer: factory.Authority = ISSUING, **options: Any) -> x509.Certificate:
    der = issuer.leaf(
        name,
        {},
        public=factory.key("responder").public_key(),
        **{"eku": [ExtendedKeyUsageOID.OCSP_SIGNING], **options},
    )
    return x509.load_der_x509_certificate(der)


def delegated(certificate: x509.Certificate) -> bytes:
    return ISSUING.ocsp(LEAF, responder=certificate, signer=factory.key("responder"))


def test_a_responder_that_the_issuer_appointed_may_answer() -> None:
    assert with_ocsp(delegated(responder("Responder"))).verdict == "good"


@pytest.mark.parametrize(
    "response",
    [
        delegated(responder("no OCSPSigning", eku=factory.MTLS)),
        delegated(responder("expired", end=NOW - SECOND)),
        delegated(responder("of another CA", issuer=OTHER)),
        delegated(
            responder(
                "Example Issuing", issuer=factory.authority("Example Issuing", key_name="attacker")
            )
        ),
        ISSUING.ocsp(LEAF)[:-1] + bytes([ISSUING.ocsp(LEAF)[-1] ^ 1]),
        ISSUING.ocsp(LEAF, end=NOW - SECOND),
        ISSUING.ocsp(LEAF, start=NOW + SECOND),
        ISSUING.ocsp(LEAF, end=None),
        ISSUING.ocsp(LEAF, OCSPCertStatus.UNKNOWN),
        ISSUING.ocsp(ISSUING.leaf()),
        ISSUING.ocsp(LEAF, about=ROOT.authority("Example Issuing", key_name="twin").certificate),
        ISSUING.ocsp(LEAF, extensions=[(x509.OCSPNonce(b"12345678"), True)]),
        OTHER.ocsp(LEAF),
        OCSPResponseBuilder.build_unsuccessful(OCSPResponseStatus.TRY_LATER).public_bytes(
            Encoding.DER
        ),
        b"junk",
    ],
    ids=[
        "a responder without OCSPSigning",
        "an expired responder",
        "a responder of another CA",
        "a responder of a CA of the same name",
        "a changed signature",
        "stale",
        "not valid yet",
        "no nextUpdate",
        "unknown",
        "another serial",
        "another key of a CA of this name",
        "an unknown critical extension",
        "another issuer",
        "tryLater",
        "no OCSP response",
    ],
)
def test_a_response_is_no_answer_when_it_is_from_or_has(response: bytes) -> None:
    assert with_ocsp(response).verdict == "unknown"


@pytest.mark.parametrize(("name", "verdict"), [("Example Issuing", "good"), ("Alias", "unknown")])
def test_the_issuer_name_in_a_response_must_be_the_certificates(name: str, verdict: str) -> None:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(factory.name(name).public_bytes())
    key_digest = hashes.Hash(hashes.SHA256())
    key_digest.update(ISSUING.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1))
    builder = OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=digest.finalize(),
        issuer_key_hash=key_digest.finalize(),
        serial_number=SERIAL,
        algorithm=hashes.SHA256(),
        cert_status=OCSPCertStatus.GOOD,
        this_update=NOW - HOUR,
        next_update=NOW + HOUR,
        revocation_time=None,
        revocation_reason=None,
    )
    builder = builder.responder_id(OCSPResponderEncoding.NAME, ISSUING.certificate)
    response = builder.sign(ISSUING.private, hashes.SHA256()).public_bytes(Encoding.DER)
    assert with_ocsp(response).verdict == verdict


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_crl_or_response_is_never_a_good_answer(data: st.DataObject) -> None:
    sound = data.draw(st.sampled_from([ISSUING.crl(), ISSUING.ocsp(LEAF)]))
    changed = bytearray(sound)
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    status = leaf_status(bytes(changed), ocsp=[bytes(changed)])
    if status.verdict == "good":
        # Certificates inside a response are not signed: what is signed must be untouched.
        assert _signed_part(bytes(changed)) == _signed_part(sound)


def _signed_part(data: bytes) -> bytes:
    try:
        return x509.load_der_x509_crl(data).tbs_certlist_bytes
    except ValueError:
        return x509.ocsp.load_der_ocsp_response(data).tbs_response_bytes
