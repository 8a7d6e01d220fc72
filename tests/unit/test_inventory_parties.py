# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signs for whom, who employs whom, and which organisations need no roster."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pki import inventory, lifecycle, public_state
from pki.errors import PkiError
from pki.policy_files import load_policies

POLICIES = load_policies(Path(__file__).parents[2] / "policies", ["mhhs-dip"])
SUBJECT = {"O": "Supplier B Ltd", "L": "London", "ST": "London", "C": "GB"}
ADMIN = {"name": "Ada Admin", "email": "ada@example.com", "role": "certificate_admin"}
GOOD: dict[str, Any] = {
    "organisations": {
        "supplier-b": {
            "party": "market_participant_non_active",
            "subject": SUBJECT,
            "roster": [{**ADMIN, "permanent": True}],
        },
        "provider-x": {
            "party": "dip_connection_provider",
            "subject": {**SUBJECT, "O": "Provider X Ltd"},
        },
    },
    "certificates": [
        {
            "name": "b-nonprod",
            "organisation": "supplier-b",
            "policy": "mhhs-dip",
            "environment": "nonprod",
            "domain": "supplier-b.co.uk",
            "purposes": ["signing"],
            "key": {"store": "transit"},
            "hosts": "gateways",
            "provider": "provider-x",
        }
    ],
    "trust": {
        "dca": {
            "policy": "mhhs-dip",
            "environment_class": "nonprod",
            "anchors": [{"file": "root.pem", "sha256": "0" * 64, "crl_urls": ["http://c.example"]}],
            "issuers": [{"file": "ca.pem", "sha256": "0" * 64, "crl_urls": ["http://c.example"]}],
        }
    },
}
Edit = Callable[[dict[str, Any]], object]


def load(*edits: Edit) -> inventory.Declared:
    raw = copy.deepcopy(GOOD)
    for edit in edits:
        edit(raw)
    return inventory.load(**raw, policies=POLICIES)


def organisation(key: str, **changes: Any) -> Edit:
    return lambda raw: raw["organisations"][key].update(changes)


def entry(**changes: Any) -> Edit:
    return lambda raw: raw["certificates"][0].update(changes)


def test_a_certificate_says_who_signs_with_it_for_its_holder() -> None:
    assert load().certificates["b-nonprod"].provider == "provider-x"


def test_a_certificate_without_a_provider_is_its_holders_to_use() -> None:
    found = load(lambda raw: raw["certificates"][0].pop("provider"))
    assert found.certificates["b-nonprod"].provider == ""


def test_an_organisation_that_holds_no_certificate_here_needs_no_roster() -> None:
    assert load().organisations["provider-x"].roster == ()


def test_a_person_says_who_employs_them_where_it_is_another_organisation() -> None:
    nominated = {**ADMIN, "name": "Xena", "email": "xena@example.com", "employer": "provider-x"}
    people = load(organisation("supplier-b", roster=[ADMIN, nominated])).organisations
    assert [one.employer for one in people["supplier-b"].roster] == ["", "provider-x"]


@pytest.mark.parametrize(
    ("organisations", "own", "expected"),
    [("", "", ""), ("2026-01-02", "", "2026-01-02"), ("2026-01-02", "2026-03-04", "2026-03-04")],
)
def test_the_day_a_domain_was_verified_is_the_entrys_else_the_organisations(
    organisations: str, own: str, expected: str
) -> None:
    edits = [organisation("supplier-b", domain_verified=organisations)] if organisations else []
    found = load(*edits, *([entry(domain_verified=own)] if own else []))
    assert found.certificates["b-nonprod"].domain_verified == expected


BROKEN: dict[str, tuple[Edit, str, str]] = {
    "a provider that is no organisation": (
        entry(provider="provider-z"), "(b-nonprod).provider", "provider-z",
    ),
    "a provider that is the holder itself": (
        entry(provider="supplier-b"), "(b-nonprod).provider", "another organisation",
    ),
    "a holder without a roster": (
        lambda raw: raw["organisations"]["supplier-b"].pop("roster"),
        "supplier-b.roster", "at least one Certificate Admin",
    ),
    "a roster that is there and empty": (
        organisation("provider-x", roster=[]), "provider-x.roster", "at least one",
    ),
    "an employer that is no organisation": (
        organisation("supplier-b", roster=[{**ADMIN, "employer": "provider-z"}]),
        "supplier-b.roster[0].employer", "provider-z",
    ),
    "an employer that is the organisation itself": (
        organisation("supplier-b", roster=[{**ADMIN, "employer": "supplier-b"}]),
        "supplier-b.roster[0].employer", "no employer",
    ),
    "a day of verification that does not exist": (
        entry(domain_verified="2026-02-30"), "(b-nonprod).domain_verified", "YYYY-MM-DD",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_refused(name: str) -> None:
    edit, where, word = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        load(edit)
    assert caught.value.rule == "INVENTORY"
    assert where in caught.value.where
    assert word in f"{caught.value.found} {caught.value.expected}"


INTENT = lifecycle.Intent("cn", {}, frozenset({"signing"}), "mhhs-dip")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "", ()),
        ("", "provider-x", ()),  # a request of before this was recorded
        ("provider-x", "provider-x", ()),
        ("provider-x", "provider-y", ("provider provider-x -> provider-y",)),
        ("provider-x", "", ("provider provider-x -> none",)),
    ],
)
def test_what_one_provider_was_handed_never_becomes_anothers(
    before: str, after: str, told: tuple[str, ...]
) -> None:
    wanted = replace(INTENT, provider=after)
    assert replace(INTENT, provider=before).difference(wanted) == told


def test_a_request_record_tells_its_provider_and_an_older_one_tells_none() -> None:
    record = {"common_name": "cn", "subject": {}, "purposes": ["signing"], "policy": "mhhs-dip"}
    assert public_state.intent(record, Path("request.yml")).provider == ""
    told = public_state.intent({**record, "provider": "provider-x"}, Path("request.yml"))
    assert told.provider == "provider-x"
