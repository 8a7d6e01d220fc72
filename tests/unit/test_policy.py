# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules are data: every rule has facts that pass and facts that fail it, and only it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pki.errors import PkiError
from pki.policy import Policy
from pki.policy_files import load_policies

DIRECTORY = Path(__file__).parents[2] / "policies"
TEXT = (DIRECTORY / "mhhs-dip.yml").read_text()
SCHEMA = json.loads((DIRECTORY / "schema.json").read_text())
POLICY: Policy = load(TEXT, SCHEMA, "mhhs-dip")
SUBJECT = {"C": "GB", "ST": "London", "L": "London", "O": "Example Energy Ltd"}
CN = "energydip-nonprod.example.co.uk"
FACTS: dict[str, dict[str, Any]] = {
    "request": {
        "common_name": CN,
        "subject": {**SUBJECT, "CN": CN},
        "subject_attributes": ["C", "ST", "L", "O", "CN"],
        "expected": {"common_name": CN, "subject": SUBJECT},
        "key": {"algorithm": "RSA", "bits": 4096, "exponent": 65537, "spki_sha256": "0"},
        "signature_hash": "sha256",
        "signature_valid": True,
        "san_dns": [],
        "attributes": [],
        "purposes": ["mtls", "signing"],
    },
    "certificate": {
        "common_name": CN,
        "subject": {**SUBJECT, "CN": CN},
        "subject_attributes": ["C", "ST", "L", "O", "CN"],
        "expected": {"common_name": CN, "subject": SUBJECT},
        "key": {"algorithm": "RSA", "bits": 4096, "matches_request": True},
        "signature_hash": "sha256",
        "signature_padding": "pkcs1v15",
        "version": 3,
        "valid_days": 398.0,
        "eku": ["clientAuth", "serverAuth"],
        "ku": ["digitalSignature", "keyEncipherment"],
        "ca": False,
        "san_dns": [],
        "has_cdp": True,
        "purposes": ["mtls", "signing"],
        "chain_key_bits": [4096, 4096],
    },
}

# rule and kind -> (path of the changed fact, value, words of the message)
FAILS: dict[tuple[str, str], tuple[str, Any, str]] = {
    ("DIP-6.1.1-PKCS10", "request"): ("signature_valid", False, "possession"),
    ("DIP-6.1.2-CN", "request"): ("common_name", "energydip-prod.example.co.uk", "common name"),
    ("DIP-6.1.2-ORG", "request"): ("subject.O", "Example Energy Limited", "vetted"),
    ("DIP-7.1.2-CONFIDENTIAL", "request"): ("attributes", ["1.2.840.113549.1.9.7"], "vetted"),
    ("DIP-7.1.2-RSA4096", "request"): ("key.bits", 2048, "key"),
    ("DIP-7.1.2-REJECT", "request"): ("signature_hash", "sha1", "hash"),
    ("DIP-3.2-X509", "certificate"): ("version", 1, "version 3"),
    ("DIP-6.1.2-CN", "certificate"): ("common_name", "energydip-prod.example.co.uk", "common"),
    ("DIP-6.1.2-ORG", "certificate"): ("subject.L", "Leeds", "vetted"),
    ("DIP-3.4.2-PURPOSE", "certificate"): ("ca", True, "CA certificate"),
    ("DIP-3.4.2-KU-TLS", "certificate"): ("eku", ["serverAuth"], "mTLS"),
    ("DIP-3.4.2-KU-SIGN", "certificate"): ("ku", ["keyEncipherment"], "digital signatures"),
    ("DIP-6.2-SUB-2048", "certificate"): ("key.bits", 1024, "floor"),
    ("DIP-7.1.2-RSA4096", "certificate"): ("key.bits", 3072, "smaller"),
    ("DIP-7.1.2-REJECT", "certificate"): ("signature_padding", "pss", "signed"),
    ("DIP-6.1-398D", "certificate"): ("valid_days", 399.0, "longer"),
    ("DIP-6.2-CA-4096", "certificate"): ("chain_key_bits", [4096, 2048], "CA"),
    ("DIP-3.5.2.5-CDP", "certificate"): ("has_cdp", False, "CRL"),
}


def changed(facts: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(facts)
    *parents, last = path.split(".")
    target = result
    for parent in parents:
        target = target[parent]
    assert target[last] != value
    target[last] = value
    return result


@pytest.mark.parametrize("kind", FACTS)
def test_the_good_facts_pass_every_rule(kind: str) -> None:
    assert [finding.rule for finding in POLICY.judge(kind, FACTS[kind]) if not finding.passed] == []


def test_every_rule_has_a_failing_document() -> None:
    assert set(FAILS) == {(rule.id, rule.kind) for rule in POLICY.rules}


@pytest.mark.parametrize(("rule", "kind"), FAILS)
def test_a_rule_fails_on_its_own_field_and_says_what_it_found(rule: str, kind: str) -> None:
    path, value, word = FAILS[(rule, kind)]
    findings = POLICY.judge(kind, changed(FACTS[kind], path, value))
    (finding,) = [f for f in findings if f.rule == rule]
    assert not finding.passed
    assert word in finding.message
    assert finding.found
    assert finding.expected
    assert finding.found != finding.expected
    others = {f.rule for f in findings if not f.passed} - {rule}
    assert others <= {"DIP-7.1.2-RSA4096", "DIP-3.4.2-KU-TLS"} if "bits" in path else not others


def test_a_request_with_an_extra_or_a_missing_attribute_is_refused() -> None:
    for attributes in (["C", "ST", "L", "O", "OU", "CN"], ["C", "ST", "L", "CN"]):
        facts = changed(FACTS["request"], "subject_attributes", attributes)
        assert "DIP-7.1.2-CONFIDENTIAL" in [f.rule for f in failed(POLICY.judge("request", facts))]


def test_mtls_usages_are_only_demanded_of_certificates_for_mtls() -> None:
    facts = {**FACTS["certificate"], "purposes": ["signing"], "eku": []}
    assert failed(POLICY.judge("certificate", facts)) == ()


@pytest.mark.parametrize("kind", FACTS)
def test_a_missing_fact_is_never_an_approval(kind: str) -> None:
    for field in {"common_name", "key", "signature_hash"}:
        facts = {key: value for key, value in FACTS[kind].items() if key != field}
        with pytest.raises(PkiError) as caught:
            POLICY.judge(kind, facts)
        assert caught.value.rule == "POLICY-EVALUATION"


def test_facts_of_a_kind_without_rules_cannot_be_approved() -> None:
    with pytest.raises(PkiError, match="no rule for gateway"):
        POLICY.judge("gateway", {})


BROKEN = {
    "not YAML": ("rules: [", "line"),
    "an unknown field": (TEXT + "\nextra: 1\n", "extra"),
    "a rule twice": (TEXT.replace("DIP-6.1.1-PKCS10", "DIP-6.1.2-CN"), "DIP-6.1.2-CN"),
    "an expression that does not parse": (
        TEXT.replace("require: request.signature_valid", "require: request.(", 1),
        "DIP-6.1.1-PKCS10, require",
    ),
    "an unknown level": (TEXT.replace("level: must", "level: perhaps", 1), "rules/0/level"),
    "another name": (TEXT.replace("name: mhhs-dip", "name: other", 1), "name"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_policy_file_is_refused_at_its_place(name: str) -> None:
    text, place = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        load(text, SCHEMA, "mhhs-dip")
    assert caught.value.rule == "POLICY-FILE"
    assert place in f"{caught.value.where} {caught.value.found}"


def test_an_unknown_policy_lists_the_known_ones() -> None:
    with pytest.raises(PkiError) as caught:
        load_policies(DIRECTORY, ["mhhs"])
    assert "mhhs-dip" in caught.value.expected


def test_an_unknown_parameter_is_an_error_and_not_a_default() -> None:
    with pytest.raises(PkiError, match="no parameter"):
        POLICY.parameter("key_bit")
