# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules about parties and people over whole inventories, one by one, as Table 3 has them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pki import declarations, inventory
from pki.policy import Outcome
from pki.policy_files import load_policies
from unit.test_inventory_parties import GOOD

POLICIES = load_policies(Path(__file__).parents[2] / "policies", ["mhhs-dip"])
DIP = POLICIES["mhhs-dip"]
TODAY = date(2026, 11, 21)
ACTIVE, NON_ACTIVE, PROVIDER = (
    "market_participant_active",
    "market_participant_non_active",
    "dip_connection_provider",
)
#: What an organisation may hold, by clause 5.5 and Table 3: party, purposes, provider's party.
ALLOWED = {
    "an active participant's dual certificate": (ACTIVE, ["mtls", "signing"], ""),
    "an active participant's TLS certificate": (ACTIVE, ["mtls"], ""),
    "an active participant's signing certificate": (ACTIVE, ["signing"], ""),
    "a non-active participant's signing certificate": (NON_ACTIVE, ["signing"], PROVIDER),
    "a provider's TLS certificate": (PROVIDER, ["mtls"], ""),
}
REFUSED = {
    "DIP-5.5-TABLE3 a non-active participant's TLS certificate": (NON_ACTIVE, ["mtls"], ""),
    "DIP-5.5-TABLE3 a provider's own signing certificate": (PROVIDER, ["signing"], ""),
    "DIP-5.5-DCP-NO-DUAL a provider's dual certificate": (PROVIDER, ["mtls", "signing"], ""),
    "DIP-5.5-DCP-NO-DUAL a non-active participant's dual certificate": (
        NON_ACTIVE, ["mtls", "signing"], PROVIDER,
    ),
    "DIP-4.1.2-SIGN-ONLY a non-active participant's TLS certificate": (NON_ACTIVE, ["mtls"], ""),
    "DIP-4.1.2-PROVIDER an active participant's certificate": (ACTIVE, ["signing"], PROVIDER),
    "DIP-4.1.2-PROVIDER another participant as provider": (NON_ACTIVE, ["signing"], ACTIVE),
    "DIP-4.1.2-PROVIDER another non-active one": (NON_ACTIVE, ["signing"], NON_ACTIVE),
    "DIP-4.1.2-PROVIDER a provider that uses another one's": (PROVIDER, ["mtls"], PROVIDER),
}  # fmt: skip


def declared(*entries: dict[str, Any], holder: str = NON_ACTIVE, **more: Any) -> inventory.Declared:
    """An inventory of these entries, each over the one that is good; ``more`` are organisations."""
    (base,) = GOOD["certificates"]
    good = GOOD["organisations"]
    organisations = {**good, "supplier-b": {**good["supplier-b"], "party": holder}, **more}
    listed = [{**base, "name": f"c{number}", **one} for number, one in enumerate(entries)]
    listed = [{key: value for key, value in one.items() if value != ""} for one in listed]
    return inventory.load(
        organisations=organisations, certificates=listed, trust=GOOD["trust"], policies=POLICIES
    )


def ended(found: inventory.Declared, name: str = "c0") -> dict[str, Outcome]:
    facts = declarations.Entries(found).facts(found.entries[name], DIP, TODAY)
    return {one.rule: one.outcome for one in DIP.evaluate("declaration", facts)}


def of_party(holder: str, purposes: list[str], provider: str) -> inventory.Declared:
    other = {**GOOD["organisations"]["provider-x"], "party": provider or PROVIDER}
    entry = {"purposes": purposes, "provider": "other" if provider else ""}
    return declared(entry, holder=holder, other=other)


@pytest.mark.parametrize("what", ALLOWED)
def test_table_3_allows(what: str) -> None:
    found = of_party(*ALLOWED[what])
    refusing = {rule.id for rule in DIP.of_kind("declaration") if rule.refuses}
    ends = ended(found)
    assert {ends[rule] for rule in refusing} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    declarations.refuse(found, POLICIES, TODAY)


@pytest.mark.parametrize("what", REFUSED)
def test_table_3_refuses(what: str) -> None:
    found, rule = of_party(*REFUSED[what]), what.split()[0]
    assert ended(found)[rule] is Outcome.FAILED
    with pytest.raises(inventory.PkiError) as caught:
        declarations.refuse(found, POLICIES, TODAY)
    assert rule in str(caught.value)
    assert "c0" in caught.value.where


def test_a_signing_certificate_names_its_provider_where_the_inventory_has_one() -> None:
    """DIP-4.1.2-PROVIDER-NAMED"""
    rule = "DIP-4.1.2-PROVIDER-NAMED"
    assert ended(declared({}))[rule] is Outcome.PASSED
    assert ended(declared({"provider": ""}))[rule] is Outcome.FAILED
    active = declared({"provider": ""}, holder=ACTIVE)
    assert ended(active)[rule] is Outcome.NOT_APPLICABLE
    alone = {**GOOD["organisations"]["provider-x"], "party": ACTIVE}
    without = declared({"provider": ""}, **{"provider-x": alone})
    assert ended(without)[rule] is Outcome.NOT_APPLICABLE


PROVIDER_Y = {**GOOD["organisations"]["provider-x"]}


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        ({"provider": "provider-y"}, Outcome.PASSED),
        ({"provider": "provider-x"}, Outcome.FAILED),
        ({"provider": "provider-x", "domain": "another.example"}, Outcome.FAILED),
        ({"provider": "provider-x", "environment": "sit"}, Outcome.FAILED),  # the same class
        ({"provider": "provider-x", "organisation": "supplier-c"}, Outcome.PASSED),
    ],
)
def test_each_provider_has_one_signing_certificate_of_a_participant(
    second: dict[str, Any], outcome: Outcome
) -> None:
    """DIP-4.1.2-ONE-PER-DCP"""
    supplier_c = {**GOOD["organisations"]["supplier-b"]}
    found = declared({}, second, **{"provider-y": PROVIDER_Y, "supplier-c": supplier_c})
    assert ended(found)["DIP-4.1.2-ONE-PER-DCP"] is Outcome.PASSED
    assert ended(found, "c1")["DIP-4.1.2-ONE-PER-DCP"] is outcome


def test_certificates_for_two_providers_are_no_duplicates_of_each_other() -> None:
    """DIP-11-DUPLICATES: scenario 3 asks for one name as often as there are providers."""
    found = declared({}, {"provider": "provider-y"}, **{"provider-y": PROVIDER_Y})
    assert ended(found, "c1")["DIP-11-DUPLICATES"] is Outcome.PASSED
    twins = declared({}, {"provider": "provider-x"})
    assert ended(twins, "c1")["DIP-11-DUPLICATES"] is Outcome.FAILED


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("DIP-5.4.4-REGISTERED", "registered"),
        ("DIP-5.2-VETTED", "vetted"),
        ("DIP-5.4.4.1-DOMAIN", "domain_verified"),
    ],
)
@pytest.mark.parametrize(
    ("day", "outcome"),
    [
        ("", Outcome.FAILED),
        ("2026-11-22", Outcome.FAILED),  # still to come
        ("2026-11-21", Outcome.PASSED),
        ("2020-01-01", Outcome.PASSED),
    ],
)
def test_a_day_before_the_first_request_is_recorded_and_over(
    rule: str, field: str, day: str, outcome: Outcome
) -> None:
    holder = {**GOOD["organisations"]["supplier-b"], **({field: day} if day else {})}
    assert ended(declared({}, **{"supplier-b": holder}))[rule] is outcome


#: What each rule of these kinds leads to when it fails: the harm decides. What would let the wrong
#: party in or mix classes refuses; what must be there before a request holds; the rest reports.
EFFECTS = {
    "declaration": {
        "DIP-5.5-TABLE3": "refuse",
        "DIP-5.5-DCP-NO-DUAL": "refuse",
        "DIP-4.1.2-SIGN-ONLY": "refuse",
        "DIP-4.1.2-PROVIDER": "refuse",
        "DIP-4.1.2-PROVIDER-NAMED": "hold",
        "DIP-4.1.2-ONE-PER-DCP": "hold",
        "DIP-6.1.2-CN": "refuse",
        "DIP-11-DUPLICATES": "refuse",
        "DIP-5.4.4-REGISTERED": "hold",
        "DIP-5.2-VETTED": "hold",
        "DIP-5.4.4.1-DOMAIN": "hold",
        "DIP-5.6.2-RESPONSIBLE": "hold",
    },
    "inventory": {
        "DIP-4.1.1-ACTIVE": "report",
        "DIP-4.1.2-DCP-TLS": "report",
        "DIP-4.1.2-UNIQUE-PER-DCP": "report",
        "DIP-5.5-TWO-SETS": "report",
        "DIP-5.5-NO-ENV-REUSE": "refuse",
        "DIP-5.5-ENV-UNKNOWN": "hold",
        "DIP-6.1.2-QUOTA": "report",
        "DIP-11-DUPLICATES": "report",
        "DIP-2.1-EVIDENCE": "report",
    },
    "roster": {
        "DIP-5.4.2.3-CERT-ADMIN": "hold",
        "DIP-5.4.2.1-COVER": "report",
        "DIP-5.4.1-TWO-USER-ADMINS": "report",
        "DIP-5.2-FIRST-ADMIN": "hold",
        "DIP-11-OWN-ID": "hold",
        "DIP-6.1.3-LEAVER": "report",
    },
    "dca_account": {"DIP-12.2-06-PFX": "report"},
}


@pytest.mark.parametrize("kind", EFFECTS)
def test_a_rule_leads_to_what_its_harm_deserves(kind: str) -> None:
    assert {
        rule.id: "refuse" if rule.refuses else "hold" if rule.holds else "report"
        for rule in DIP.of_kind(kind)
    } == EFFECTS[kind]
