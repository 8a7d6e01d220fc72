# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a formally right reply out: its key, its names, and what was before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from pki import csr, key_hygiene, names, reply, shipped
from pki.errors import PkiError
from pki.expectation import Expectation, History, Seen
from pki.policy import reported
from unit import pki_factory as factory
from unit import weak_keys
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
CRLS = (ISSUING.crl(), ROOT.crl())
LEAF = ISSUING.leaf(serial=0x1234)
TRUST = reply.Trust([ROOT.der], [ISSUING.der], [ISSUING.sha256])
DIP = Expectation(CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod")
MESH_CN = "mailbox1.a12345.mesh-client.nhs.uk"
MESH = Expectation(MESH_CN, {}, frozenset({"mtls"}), "nhs-mesh", "integration")
WINDOW = shipped.policy("mhhs-dip").number("renewal_window_days")
MESH_WINDOW = shipped.policy("nhs-mesh").number("renewal_window_days")


def accept(
    leaf: bytes = LEAF,
    *,
    request: bytes | None = None,
    history: History | None = None,
    expectation: Expectation = DIP,
    **changes: Any,
) -> reply.Accepted:
    options: dict[str, Any] = {
        "csr": request or factory.request(),
        "expectation": replace(expectation, history=history),
        "trust": TRUST,
        "revocation": reply.Revocation(CRLS),
        "now": NOW,
    }
    return reply.accept([factory.pem(leaf)], **{**options, **changes})


def refusal(leaf: bytes = LEAF, **changes: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        accept(leaf, **changes)
    return caught.value


def rules(error: PkiError) -> list[str]:
    return [error.rule, *(one.rule for one in error.also)]


# --- the key ------------------------------------------------------------------------------

WEAK: dict[str, tuple[Callable[[], rsa.RSAPrivateKey], str, str]] = {
    "neighbouring primes": (weak_keys.close_primes, "DIP-6.2-WEAK-KEY", "found in round 0"),
    "a small factor": (lambda: weak_keys.small_factor(59_999), "DIP-6.2-WEAK-KEY", "factor 59999"),
    "the form of ROCA": (weak_keys.roca, "DIP-6.2-WEAK-KEY", "CVE-2017-15361"),
    "a small exponent": (weak_keys.cubic, "DIP-6.2-EXPONENT", "public exponent 3"),
}


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_key_is_refused_though_its_request_has_it_too(name: str) -> None:
    make, rule, found = WEAK[name]
    private = make()
    leaf = ISSUING.leaf(public=private.public_key())
    error = refusal(leaf, request=csr.build(private, CN, SUBJECT))
    assert rules(error) == [rule]
    assert found in error.found


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_key_is_refused_for_mesh_and_when_kept(name: str) -> None:
    make, _, found = WEAK[name]
    private = make()
    leaf = ISSUING.leaf(MESH_CN, {}, public=private.public_key())
    history = History(accepted=digest(leaf))
    request = csr.build(private, MESH_CN, {})
    error = refusal(leaf, request=request, expectation=MESH, history=history)
    assert rules(error) == [
        "MESH-MAN-03-EXPONENT" if name == "a small exponent" else "MESH-MAN-03-WEAK-KEY"
    ]
    assert found in error.found


def test_a_second_look_at_a_key_is_remembered() -> None:
    accept()
    before = key_hygiene.of_key.cache_info()
    accept()
    after = key_hygiene.of_key.cache_info()
    assert after.misses == before.misses
    assert after.hits > before.hits


# --- what was before ----------------------------------------------------------------------


def digest(leaf: bytes) -> str:
    return reply.sha256(x509.load_der_x509_certificate(leaf))


SPKI = csr.parse(factory.request()).spki_sha256
ISSUER = names.rfc2253(ISSUING.certificate.subject)
COMPROMISED = History(compromised={SPKI: "compromised.yml line 3: found in a ticket"})


@pytest.mark.parametrize("kept", [False, True])
def test_a_compromised_key_is_never_accepted_again(kept: bool) -> None:
    history = replace(COMPROMISED, accepted=digest(LEAF) if kept else "")
    error = refusal(history=history)
    assert rules(error) == ["DIP-3.5.2.1-REVOKE-COMPROMISE"]
    assert error.found == "compromised.yml line 3: found in a ticket"


def test_another_compromised_key_is_none_of_this_ones_business() -> None:
    assert accept(history=History(compromised={"0" * 64: "a ledger"})).chain


def test_a_key_of_another_request_is_refused() -> None:
    error = refusal(history=History(keys={SPKI: "dip-other v1"}))
    assert rules(error) == ["DIP-6.1.6-REKEY"]
    assert "dip-other v1" in error.found


def test_a_copy_of_its_request_takes_no_certificate_out_of_service() -> None:
    seen = [Seen("1234", ISSUER, "dip-other v2")]
    history = History(serials=seen, keys={SPKI: "dip-other v2"}, accepted=digest(LEAF))
    assert reported(accept(history=history).findings) == reported(accept().findings)


SERIALS = {
    "the same": ([Seen("1234", ISSUER, "dip-other v2")], True),
    "the same of whoever issued it": ([Seen("1234", "", "dip-other v2")], True),
    "of another CA": ([Seen("1234", "CN=Other CA", "dip-other v2")], False),
    "another": ([Seen("1235", ISSUER, "dip-other v2")], False),
    "none": ([], False),
}


@pytest.mark.parametrize("name", SERIALS)
def test_a_serial_number_belongs_to_one_certificate_of_a_ca(name: str) -> None:
    seen, refused = SERIALS[name]
    if not refused:
        assert accept(history=History(serials=seen)).serial == "1234"
        return
    error = refusal(history=History(serials=seen))
    assert rules(error) == ["DIP-8.7-SERIAL"]
    assert error.found == "serial 1234 of dip-other v2"


def test_the_certificate_in_service_is_no_reply_to_a_new_request() -> None:
    error = refusal(history=History(deployed=digest(LEAF)))
    assert rules(error) == ["DIP-6.1.4-NOT-NEW"]
    assert "1234" in error.found


def test_a_certificate_that_was_accepted_for_this_request_is_not_held_to_be_new() -> None:
    kept = History(deployed=digest(LEAF), accepted=digest(LEAF))
    assert accept(history=kept).findings


def test_another_certificate_in_service_is_the_ordinary_case_of_a_renewal() -> None:
    assert accept(history=History(deployed=digest(ISSUING.leaf(serial=77)))).chain


@pytest.mark.parametrize(
    ("expectation", "days", "rule"),
    [(DIP, WINDOW, "DIP-6.1.4-WINDOW"), (MESH, MESH_WINDOW, "MESH-GEN-WINDOW")],
)
def test_a_new_certificate_must_outlast_the_renewal_window(
    expectation: Expectation, days: int, rule: str
) -> None:
    def leaf(left: timedelta) -> bytes:
        return ISSUING.leaf(
            expectation.common_name, expectation.subject, start=NOW - 300 * DAY, end=NOW + left
        )

    request = csr.build(factory.key("leaf"), expectation.common_name, expectation.subject)
    enough, due = leaf((days + 1) * DAY), leaf((days + 1) * DAY - SECOND)
    assert accept(enough, request=request, expectation=expectation).chain
    error = refusal(due, request=request, expectation=expectation)
    assert rules(error) == [rule]
    assert f"{days} days left" in error.found
    kept = History(accepted=digest(due))
    assert accept(due, request=request, expectation=expectation, history=kept).chain


def test_everything_that_is_wrong_is_told_at_once() -> None:
    history = History(
        serials=[Seen("1234", ISSUER, "dip-other v2")],
        keys={SPKI: "dip-other v2"},
        compromised={SPKI: "a ledger"},
        deployed=digest(LEAF),
    )
    assert set(rules(refusal(history=history))) == {
        "DIP-3.5.2.1-REVOKE-COMPROMISE",
        "DIP-6.1.4-NOT-NEW",
        "DIP-6.1.6-REKEY",
        "DIP-8.7-SERIAL",
    }


# --- the names ----------------------------------------------------------------------------

HOOK = "hook.example-energy.co.uk"
NAMES: dict[str, tuple[list[str], list[str], bool]] = {
    "none asked for and none there": ([], [], True),
    "none asked for, the common name there": ([], [CN], True),
    "the one that was asked for": ([HOOK], [HOOK], True),
    "the one that was asked for and the common name": ([HOOK], [CN, HOOK], True),
    "the common name asked for and left out": ([CN], [], True),
    "one that nobody asked for": ([], [HOOK], False),
    "one more than was asked for": ([HOOK], [HOOK, "evil.example"], False),
    "the common name in capitals": ([], [CN.upper()], False),
    "a wildcard": ([], ["*.example-energy.co.uk"], False),
    "the common name of production": ([], [CN.replace("nonprod", "prod")], False),
    "one that was asked for left out": ([HOOK], [], False),
}


@pytest.mark.parametrize("name", NAMES)
def test_alternative_names_are_those_of_the_request_and_the_common_name(name: str) -> None:
    asked, there, right = NAMES[name]
    leaf, request = ISSUING.leaf(san=there), factory.request(san=asked)
    if right:
        assert accept(leaf, request=request).chain
    else:
        assert rules(refusal(leaf, request=request)) == ["DIP-8.6-SAN"]
