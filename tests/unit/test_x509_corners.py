# SPDX-License-Identifier: GPL-3.0-or-later
"""Corners of paths and lists that one comparison decides, each from both sides."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pki import ocsp_response, path, path_profile, revocation
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit import large_crl
from unit import pki_factory as factory
from unit.pki_factory import CDP, DAY, NOW, SECOND, idp

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
LEAF = ISSUING.leaf()
SERIAL = factory.serial(LEAF)


def status(*crls: bytes, leaf: bytes = LEAF, **options: Any) -> revocation.Status:
    return revocation.check([leaf, ISSUING.der, ROOT.der], crls, NOW, **options)[0]


def parsed(data: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(data)


# --- paths --------------------------------------------------------------------------------


def constrained(*permitted: str) -> factory.Authority:
    """A CA that may issue for these DNS names only."""
    constraints = x509.NameConstraints([x509.DNSName(name) for name in permitted], None)
    key = factory.key("constrained")
    data = ROOT.leaf(
        "Constrained",
        {},
        public=key.public_key(),
        ca=True,
        key_usage=("key_cert_sign", "crl_sign"),
        eku=(),
        extra=[(constraints, True)],
    )
    return factory.Authority(parsed(data), key)


@pytest.mark.parametrize(
    ("san", "good"),
    [
        ((), True),
        (("hook.example",), True),
        (("*.hook.example",), True),
        (("*.HOOK.example",), True),
        (("*.example",), False),
        (("hook.example", "*.example"), False),
        (("x*.example",), True),
    ],
)
def test_a_wildcard_is_within_what_its_ca_may_name_whatever_the_verifier_thinks(
    san: tuple[str, ...], good: bool
) -> None:
    """Asked directly: versions of the library differ in which of them they refuse themselves."""
    above = constrained("hook.example")
    chain = [parsed(above.leaf(san=san)), above.certificate, ROOT.certificate]
    assert (path_profile.fault_of_path(chain) is None) is good


def test_a_constraint_further_up_is_minded_too() -> None:
    above = constrained("hook.example")
    below = above.authority("Below")
    chain = [parsed(below.leaf(san=["*.example"])), below.certificate, above.certificate]
    fault = path_profile.fault_of_path([*chain, ROOT.certificate])
    assert fault is not None
    assert fault.found.startswith("Constrained ")


def test_a_constraint_on_addresses_does_not_bind_the_ca_that_states_it() -> None:
    mail = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "ca@b.example")])
    constraints = x509.NameConstraints([x509.RFC822Name("a.example")], None)
    key = factory.key("constrained")
    data = ROOT.leaf(
        full_name=mail,
        public=key.public_key(),
        ca=True,
        key_usage=("key_cert_sign",),
        eku=(),
        extra=[(constraints, True)],
    )
    above = factory.Authority(parsed(data), key)
    plain = [parsed(above.leaf()), above.certificate, ROOT.certificate]
    assert path_profile.fault_of_path(plain) is None
    named = [parsed(above.leaf(full_name=mail)), above.certificate, ROOT.certificate]
    assert path_profile.fault_of_path(named) is not None


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_serial_number_below_the_anchor_is_positive() -> None:
    nought = b"\x02\x01\x00"
    usage = {"ca": True, "key_usage": ("key_cert_sign",), "eku": ()}
    odd = parsed(hostile.certificate(ROOT, serial=nought, leaf=usage))
    assert path_profile.fault_of_path([parsed(LEAF), ISSUING.certificate, odd]) is None
    for chain in (
        [parsed(LEAF), odd, ROOT.certificate],
        [parsed(LEAF), ISSUING.certificate, odd, ROOT.certificate],
        [parsed(hostile.certificate(ISSUING, serial=nought)), ROOT.certificate],
    ):
        fault = path_profile.fault_of_path(chain)
        assert fault is not None
        assert "serial number 0" in fault.found


def test_the_librarys_words_reach_the_person_who_gave_the_file() -> None:
    with pytest.raises(PkiError) as caught:
        path.validate(b"\x30\x03abc", [], [ROOT.der], now=NOW)
    assert "pars" in caught.value.found.lower()


def test_unused_bits_of_a_signature_are_told_as_such() -> None:
    # The library takes an unused bit where it is nought.
    even = next(one for n in range(1, 99) if (one := ISSUING.leaf(serial=n))[-1] % 2 == 0)
    changed = bytearray(even)
    changed[-257] = 1
    with pytest.raises(PkiError) as caught:
        path.validate(bytes(changed), [ISSUING.der], [ROOT.der], now=NOW)
    assert caught.value.found == "the signature is not a whole number of octets"


@pytest.mark.parametrize(("length", "good"), [(253, True), (254, False)])
def test_a_host_name_has_at_most_253_characters(length: int, good: bool) -> None:
    host = "a." * 70 + "b" * 50 + "." + "c" * (length - 191)
    assert len(host) == length
    fault = path_profile.fault_of_leaf(parsed(ISSUING.leaf(san=[host])))
    assert (fault is None) is good


def test_four_pinned_anchors_are_named_and_no_more() -> None:
    anchors = [factory.authority(f"Anchor {n}", key_name="anchor").der for n in range(5)]
    with pytest.raises(PkiError) as caught:
        path.validate(LEAF, [ISSUING.der], anchors, now=NOW)
    assert "Anchor 3" in caught.value.expected
    assert "Anchor 4" not in caught.value.expected


# --- entries of a list --------------------------------------------------------------------


def entries(*encoded: bytes) -> bytes:
    return large_crl.crl(ISSUING, encoded, start=NOW - SECOND)


def unknown(oid: str, value: bytes = b"\x05\x00") -> bytes:
    return large_crl.extension(oid, value, critical=True)


#: Object identifiers of 1, 2 and 63 octets: the last is the longest that the library reads.
OIDS = ["1.2", "1.2.3", "1.2" + ".3" * 62]


@pytest.mark.parametrize("oid", OIDS, ids=lambda oid: str(oid.count(".")))
def test_a_critical_extension_of_an_entry_is_found_however_long_its_name(oid: str) -> None:
    assert status(entries(large_crl.entry(8, unknown(oid)))).verdict == "unknown"


def test_the_octets_of_critical_in_a_serial_number_do_not_end_the_search() -> None:
    before, behind = large_crl.entry(0x0101FF0101FF), large_crl.entry(0x0101FF)
    extended = large_crl.entry(8, unknown("1.2.3"))
    for listed in ([before, extended], [extended, behind], [before, extended, behind]):
        assert status(entries(*listed)).verdict == "unknown"
    assert status(entries(before, behind)).verdict == "good"


def test_an_unknown_extension_beside_a_critical_one_that_is_known_silences_nothing() -> None:
    known = large_crl.entry(8, large_crl.reason(1, critical=True))
    harmless = large_crl.entry(9, large_crl.extension("1.2.3.4", b"\x05\x00"))
    assert status(entries(known, harmless)).verdict == "good"


def test_a_serial_that_comes_again_is_found_before_and_behind_the_index() -> None:
    """In a delta the first entry takes the serial away, a later one revokes it."""
    away, revoked = large_crl.reason(8), large_crl.reason(1)
    delta = large_crl.extension("2.5.29.27", b"\x02\x01\x01", critical=True)
    listed = [(5, away), (6, away), (5, revoked), (7, away), (6, away), (7, revoked), (9, revoked)]
    encoded = [large_crl.entry(serial, reason) for serial, reason in listed]
    crl = revocation.Crl.parse(large_crl.crl(ISSUING, encoded, start=NOW, extensions=delta))
    for _ in range(12):  # it looks through the list at first, and makes its index then
        found = {serial: crl.entry(serial) for serial in (5, 6, 7, 8, 9)}
        assert {n: one and one.serial_number for n, one in found.items()} == {
            5: 5,
            6: None,
            7: 7,
            8: None,
            9: 9,
        }


#: Entries whose date is no date, or that are no entries: nobody knows what they would say.
UNREADABLE = [
    bytes.fromhex("300802010817036162"),
    bytes.fromhex("3003020108"),
    bytes.fromhex("300d0c0108170b") + b"261101000000Z"[:11],
]


@pytest.mark.parametrize("entry", UNREADABLE, ids=["no date", "nothing but a serial", "no serial"])
def test_a_list_with_an_entry_that_cannot_be_read_is_never_a_good_answer(entry: bytes) -> None:
    found = status(entries(large_crl.entry(7), entry))
    assert found.verdict == "unknown"
    assert "read" in found.why


def test_a_point_relative_to_its_issuer_says_nothing() -> None:
    relative = x509.RelativeDistinguishedName([*factory.name("Part 2")])
    found = status(ISSUING.crl(extensions=[idp(relative_name=relative)]))
    assert found.verdict == "unknown"
    assert "names a distribution point relative to its issuer" in found.why


def test_pem_blocks_are_read_one_after_the_other_wherever_the_file_is_cut() -> None:
    blocks = [revocation.to_pem(ISSUING.crl(number=n)) for n in (1, 2)]
    whole = b"before\n" + blocks[0] + b"between\n" + blocks[1] + b"after\n"
    assert [crl.number for crl in revocation.parse_crls(whole)] == [1, 2]
    assert [crl.number for crl in revocation.parse_crls(whole[: len(whole) - 40])] == [1]
    assert revocation.parse_crls(b"-----END X509 CRL-----\n" + blocks[0])[0].number == 1


def test_a_list_without_number_is_older_by_number_than_number_nought() -> None:
    newer = ISSUING.crl(number=None, start=NOW - SECOND)
    stale = ISSUING.crl(number=0, start=NOW - DAY, end=NOW - SECOND)
    assert status(newer).verdict == "good"
    assert status(newer, stale).verdict == "unknown"


# --- who answers --------------------------------------------------------------------------


def delegated() -> bytes:
    """A good answer by a responder that the issuing CA appointed."""
    key = factory.key("responder")
    responder = ISSUING.leaf(
        "Responder",
        {},
        public=key.public_key(),
        serial=0x77,
        eku=[ExtendedKeyUsageOID.OCSP_SIGNING],
        key_usage=("digital_signature",),
    )
    return ISSUING.ocsp(LEAF, responder=parsed(responder), signer=key)


def test_a_list_that_does_not_name_the_responder_leaves_it_its_voice() -> None:
    answer = delegated()
    stale = {"start": NOW - DAY, "end": NOW - SECOND}
    assert status(ISSUING.crl(**stale), ocsp=[answer]).verdict == "good"
    assert status(ISSUING.crl([0x78], **stale), ocsp=[answer]).verdict == "good"
    assert status(ISSUING.crl([0x77], **stale), ocsp=[answer]).verdict == "unknown"
    forged = ISSUING.crl([0x77], signer=factory.key("attacker"))
    assert status(forged, ocsp=[answer]).verdict == "good"


def test_a_distribution_point_in_another_string_type_is_another() -> None:
    def name(kind: _ASN1Type) -> x509.GeneralName:
        attribute = x509.NameAttribute(NameOID.COMMON_NAME, "Example Point", _type=kind)
        return x509.DirectoryName(x509.Name([attribute]))

    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint([name(_ASN1Type.UTF8String)], None, None, None)]
    )
    leaf = ISSUING.leaf(cdp=None, extra=[(points, False)])
    for kind, verdict in ((_ASN1Type.UTF8String, "good"), (_ASN1Type.PrintableString, "unknown")):
        crl = ISSUING.crl(extensions=[idp(full_name=[name(kind)])])
        assert status(crl, leaf=leaf).verdict == verdict


def test_three_addresses_that_were_not_tried_are_named() -> None:
    names = [x509.UniformResourceIdentifier(f"ldap://host{n}.example") for n in range(4)]
    points = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
    leaf = ISSUING.leaf(cdp=None, extra=[(points, False)])
    with pytest.raises(revocation.Unanswered) as caught:
        revocation.require_good([status(leaf=leaf)])
    told = ", ".join(f"ldap://host{n}.example" for n in range(3))
    assert caught.value.found.endswith(f"; not tried, no http address: {told}")
    with pytest.raises(revocation.Unanswered) as caught:
        revocation.require_good([status(leaf=ISSUING.leaf(cdp=CDP))])
    assert "not tried" not in caught.value.found


def test_a_crl_that_was_read_already_is_verified_as_it_is() -> None:
    data = ISSUING.crl([SERIAL], number=5)
    read = revocation.Crl.parse(data)
    info = revocation.verify_crl(read, ISSUING.der, NOW)
    assert info == revocation.verify_crl(data, ISSUING.der, NOW)
    assert info.sha256 == x509.load_der_x509_crl(data).fingerprint(hashes.SHA256()).hex()


def test_what_cannot_be_read_does_not_keep_the_next_file_from_being_read() -> None:
    assert status(b"\x30\x00", b"junk", ISSUING.crl()).verdict == "good"
    assert status(b"\x30\x00", ISSUING.crl([SERIAL])).verdict == "revoked"


def test_responses_that_were_read_already_answer_alike() -> None:
    pool = ocsp_response.Pool.of([b"junk", ISSUING.ocsp(LEAF)])
    assert status(ocsp=pool).verdict == "good"
    assert status(ocsp=pool) == status(ocsp=[b"junk", ISSUING.ocsp(LEAF)])


def test_a_list_that_is_too_long_to_be_remembered_is_read_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = ISSUING.crl([SERIAL])
    monkeypatch.setattr(revocation, "_SHORT_BYTES", len(data) - 1)
    monkeypatch.setattr(revocation, "_remembered", None)
    assert status(data).verdict == "revoked"


def test_a_list_that_is_short_enough_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ISSUING.crl([SERIAL], number=77)
    monkeypatch.setattr(revocation, "_SHORT_BYTES", len(data))
    assert status(data).verdict == "revoked"
    monkeypatch.setattr(revocation, "parse_crls", None)
    assert status(data).verdict == "revoked"


def test_who_answered_is_told_with_number_and_date() -> None:
    found = status(ISSUING.crl(number=12, start=NOW - SECOND))
    assert found.source == "CRL number 12 of Example Issuing from 2026-11-21 11:59:59Z"
    assert found.why == ""
    assert status().source == ""
