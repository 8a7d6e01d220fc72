# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reply is judged by besides itself, and what is told besides the decisive fault."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import reply, shipped
from pki.errors import PkiError
from pki.policy import Finding, Outcome
from unit import pki_factory as factory
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
SIBLING = ROOT.authority("Sibling Issuing", path_length=0)
LEAF = ISSUING.leaf(serial=0xABC123)
CRLS = (ISSUING.crl(), ROOT.crl(), SIBLING.crl())
SHIPPED = shipped.policy("mhhs-dip")
EXPECTATION = reply.Expectation(CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod")
TRUST = reply.Trust([ROOT.der], [ISSUING.der], [ISSUING.sha256])
#: Wrong in the eyes of the policy, whatever else is wrong with it.
WRONG: dict[str, Any] = {"cn": "energydip-prod.x.example", "eku": []}
ALSO_WRONG = ["DIP-6.1.2-CN", "DIP-3.4.2-KU-TLS"]


def accept(*files: bytes, **changes: Any) -> reply.Accepted:
    options: dict[str, Any] = {
        "csr": factory.request(),
        "expectation": EXPECTATION,
        "trust": TRUST,
        "revocation": reply.Revocation(CRLS),
        "now": NOW,
    }
    return reply.accept(files, **{**options, **changes})


def refusal(*files: bytes, **changes: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        accept(*files, **changes)
    return caught.value


def also(error: PkiError) -> list[str]:
    return [one.rule for one in error.also]


# --- what else is wrong -------------------------------------------------------------------

NOTHING = reply.Revocation(())
BESIDES: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "another key": (
        "DIP-6.1.2-SAME-HOST",
        ISSUING.leaf(**WRONG, public=factory.key("other").public_key()),
        {},
    ),
    "a foreign root": ("DIP-3.5.1-CHAIN", factory.authority("Foreign").leaf(**WRONG), {}),
    "its end": ("DIP-3.5.1-EXPIRY", ISSUING.leaf(**WRONG, end=NOW - SECOND), {}),
    "a sibling CA": (
        "DIP-4.1-DCA-ONLY",
        SIBLING.leaf(**WRONG),
        {"trust": replace(TRUST, intermediates=[SIBLING.der])},
    ),
    "no answer": ("DIP-3.5.2.5-RP-CHECK", ISSUING.leaf(**WRONG), {"revocation": NOTHING}),
}


@pytest.mark.parametrize("decisive", BESIDES)
def test_what_the_policy_refuses_is_told_besides(decisive: str) -> None:
    rule, leaf, changes = BESIDES[decisive]
    error = refusal(leaf, **changes)
    assert error.rule == rule
    assert [one for one in also(error) if one in ALSO_WRONG] == ALSO_WRONG
    assert rule not in also(error)


def test_of_several_findings_that_refuse_the_first_decides_and_the_others_follow() -> None:
    error = refusal(ISSUING.leaf(**WRONG))
    assert (error.rule, also(error)) == (ALSO_WRONG[0], ALSO_WRONG[1:])


def test_nothing_else_is_said_of_a_certificate_with_one_fault() -> None:
    assert also(refusal(LEAF, revocation=NOTHING)) == []


def test_of_several_foreign_certificates_none_is_judged_further() -> None:
    other = ISSUING.leaf(**WRONG, public=factory.key("other").public_key())
    error = refusal(other, ROOT.pem)
    assert error.message == "none of the reply's certificates belongs to the request's key"
    assert also(error) == []


def test_a_refused_issuer_is_told_of_the_leaf() -> None:
    leaf = SIBLING.leaf()
    digest = hashlib.sha256(leaf).hexdigest()
    error = refusal(leaf, SIBLING.der)
    assert error.where == f"certificate {digest[:4]}…{digest[-2:]}"


class Judge:
    """The shipped policy's numbers, and prepared findings."""

    def __init__(self, *findings: Finding, broken: bool = False) -> None:
        self.findings = findings
        self.broken = broken
        self.seen: dict[str, Mapping[str, Any]] = {}

    def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
        if self.broken:
            raise ZeroDivisionError("a number")
        self.seen[kind] = facts
        return self.findings if kind == "certificate" else ()

    def parameter(self, name: str) -> Any:
        return SHIPPED.parameter(name)


def finding(rule: str, text: str = "x") -> Finding:
    return Finding(
        rule=rule,
        clause="1.1",
        level="must",
        refuses=True,
        outcome=Outcome.FAILED,
        message=text,
        found=text,
        expected=text,
        next_step="do it",
    )


def test_a_fault_that_decides_is_not_told_twice() -> None:
    judge = Judge(finding("DIP-3.5.2.5-RP-CHECK"), finding("DIP-OTHER"))
    assert also(refusal(LEAF, revocation=NOTHING, policy=judge)) == ["DIP-OTHER"]


def test_a_policy_that_breaks_does_not_hide_what_decides() -> None:
    error = refusal(LEAF, revocation=NOTHING, policy=Judge(broken=True))
    assert (error.rule, also(error)) == ("DIP-3.5.2.5-RP-CHECK", [])
    assert refusal(LEAF, policy=Judge(broken=True)).found == "ZeroDivisionError"


def test_what_a_finding_says_is_cut_at_400_characters() -> None:
    fitting, long = "y" * 400, "z" * 401
    error = refusal(LEAF, policy=Judge(finding("DIP-LONG", long), finding("DIP-FITS", fitting)))
    for text in (error.message, error.found, error.expected):
        assert text == "z" * 399 + "…"
    (other,) = error.also
    assert {other.message, other.found, other.expected} == {fitting}


# --- the facts ----------------------------------------------------------------------------


def facts(leaf: bytes = LEAF, **changes: Any) -> Mapping[str, Mapping[str, Any]]:
    """The documents that were judged, by kind."""
    judge = Judge()
    accept(leaf, policy=judge, **changes)
    return judge.seen


def test_the_leafs_own_answer_stands_in_its_facts_and_not_its_cas() -> None:
    unanswered = reply.Revocation([ROOT.crl()], mode="pending")
    assert facts(revocation=unanswered)["certificate"]["revocation"]["verdict"] == "pending"
    other_way = reply.Revocation([ISSUING.crl()], mode="pending")
    assert facts(revocation=other_way)["certificate"]["revocation"]["verdict"] == "good"


def test_answers_by_ocsp_are_heard() -> None:
    answers = reply.Revocation([ROOT.crl()], [ISSUING.ocsp(LEAF)])
    assert accept(LEAF, revocation=answers)


def test_every_ca_under_the_anchors_is_told_as_allowed_where_no_list_says_otherwise() -> None:
    found = facts(trust=reply.Trust([ROOT.der], [ISSUING.der, SIBLING.der]))["chain"]
    allowed = {one["common_name"] for one in found["allowed_issuers"]}
    assert {"Example Issuing", "Sibling Issuing"} <= allowed


def spki(leaf: bytes) -> str:
    key = x509.load_der_x509_certificate(leaf).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def with_history(**history: Any) -> Mapping[str, Any]:
    expectation = replace(EXPECTATION, history=reply.History(**history))
    return facts(expectation=expectation)["certificate"]


def test_a_key_of_another_request_is_told_with_its_place() -> None:
    assert with_history(keys={spki(LEAF): "other v1"})["key"]["also_in"] == ["other v1"]
    assert with_history(keys={"00" * 32: "other v1"})["key"]["also_in"] == []


def test_a_serial_number_seen_before_is_told_where_the_issuer_is_the_same() -> None:
    seen = [
        reply.Seen("abc123", "CN=Example Issuing", "one v1"),
        reply.Seen("abc123", "", "two v1"),
        reply.Seen("abc123", "CN=Somebody Else", "three v1"),
        reply.Seen("abc124", "CN=Example Issuing", "four v1"),
    ]
    assert with_history(serials=seen)["serial_seen_in"] == ["one v1", "two v1"]


def test_a_certificate_accepted_before_is_kept_and_another_is_a_reply() -> None:
    digest = hashlib.sha256(LEAF).hexdigest()
    assert with_history(accepted=digest)["source"] == "kept"
    assert with_history(accepted="00" * 32)["source"] == "reply"
    assert facts()["certificate"]["source"] == "reply"


def test_what_was_accepted_is_told_only_of_a_kept_certificate() -> None:
    digest = hashlib.sha256(LEAF).hexdigest()
    recorded = with_history(accepted=digest)["acceptance"]
    assert (recorded["present"], recorded["certificate_sha256"]) == (True, digest)
    assert with_history(accepted="00" * 32)["acceptance"]["present"] is False


def test_the_answers_are_told_to_have_been_at_hand() -> None:
    assert facts()["chain"]["revocation_at_hand"] is True


# --- the trust that is configured ---------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "role"),
    [
        (replace(TRUST, anchors=[b"junk"]), "anchor 1"),
        (replace(TRUST, intermediates=[ISSUING.der, b"junk"]), "intermediate 2"),
    ],
)
def test_a_damaged_file_of_the_trust_is_named_by_its_role(trust: reply.Trust, role: str) -> None:
    error = refusal(LEAF, trust=trust)
    assert error.message == f"the {role} given for a path is not a certificate"


def test_a_digest_may_be_written_with_colons_and_capitals() -> None:
    pairs = [ISSUING.sha256[at : at + 2] for at in range(0, 64, 2)]
    assert accept(LEAF, trust=replace(TRUST, allowed_issuers=[":".join(pairs).upper()]))


def test_the_newest_candidates_refusal_is_told() -> None:
    foreign = factory.authority("Foreign").leaf(start=NOW - SECOND)
    ended = ISSUING.leaf(start=NOW - 20 * DAY, end=NOW - DAY)
    assert refusal(foreign, ended).rule == "DIP-3.5.1-CHAIN"
