# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets a clear error with file, field, found and expected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pki import declarations, inventory
from pki.errors import PkiError
from pki.policy_files import load_policies

POLICIES = load_policies(Path(__file__).parents[2] / "policies", ["mhhs-dip"])
PIN = "0" * 64
TODAY = date(2026, 11, 21)
GOOD: dict[str, Any] = {
    "organisations": {
        "example-energy": {
            "party": "market_participant_active",
            "subject": {"O": "Example Energy Ltd", "L": "London", "ST": "London", "C": "GB"},
            "roster": [{"name": "A", "email": "a@example.com", "role": "certificate_admin"}],
            "dip_ids": ["1000000001"],
        }
    },
    "certificates": [
        {
            "name": "dip-nonprod",
            "organisation": "example-energy",
            "policy": "mhhs-dip",
            "environment": "nonprod",
            "domain": "example-energy.co.uk",
            "purposes": ["mtls", "signing"],
            "key": {"store": "transit", "delivery": "wrapped"},
            "hosts": "gateways",
        }
    ],
    "trust": {
        "dca": {
            "policy": "mhhs-dip",
            "environment_class": "nonprod",
            "anchors": [{"file": "root.pem", "sha256": PIN, "crl_urls": ["http://crl.example/r"]}],
            "issuers": [{"file": "ca.pem", "sha256": PIN, "crl_urls": ["http://crl.example/c"]}],
        }
    },
}


def load(raw: dict[str, Any]) -> inventory.Declared:
    """As a run begins: what is declared, and then what the policy says of it."""
    declared = inventory.load(**raw, policies=POLICIES)
    declarations.refuse(declared, POLICIES, TODAY)
    return declared


def test_a_good_inventory_derives_name_class_subject_and_trust() -> None:
    certificate = load(GOOD).certificates["dip-nonprod"]
    assert certificate.common_name == "energydip-nonprod.example-energy.co.uk"
    assert certificate.environment_class == "nonprod"
    assert certificate.subject["O"] == "Example Energy Ltd"
    assert certificate.trust == "dca"


def test_the_only_organisation_need_not_be_named() -> None:
    raw = copy.deepcopy(GOOD)
    del raw["certificates"][0]["organisation"]
    assert load(raw).certificates["dip-nonprod"].organisation.key == "example-energy"


def cert(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["certificates"][0].update(changes)


def org(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["organisations"]["example-energy"].update(changes)


def drop(field: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["certificates"][0].pop(field)


def second_organisation(raw: dict[str, Any]) -> None:
    raw["organisations"]["other"] = copy.deepcopy(raw["organisations"]["example-energy"])
    del raw["certificates"][0]["organisation"]


def both(*changes: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for one in changes:
            one(raw)

    return change


def twin(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["certificates"].append({**raw["certificates"][0], "name": name})


def pin(value: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["trust"]["dca"]["anchors"][0].update(sha256=value)


def second_trust(raw: dict[str, Any]) -> None:
    raw["trust"]["dca2"] = copy.deepcopy(raw["trust"]["dca"])


LONG = ".".join(["label"] * 9) + ".co.uk"

# what a person did wrong -> (edit, rule, words of where, words of found or expected)
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str, str]] = {
    "an unknown key": (cert(domian="x"), "INVENTORY", "certificates[0] (dip-nonprod)", "domian"),
    "a missing key": (drop("domain"), "INVENTORY", "certificates[0] (dip-nonprod)", "domain"),
    "a domain in upper case": (
        cert(domain="Example.co.uk"),
        "INVENTORY",
        "certificates[0] (dip-nonprod).domain",
        "Example.co.uk",
    ),
    "a domain that is not ASCII": (
        cert(domain="énergie.co.uk"),
        "INVENTORY",
        "certificates[0] (dip-nonprod).domain",
        "nergie",
    ),
    "a common name longer than 64": (
        cert(domain=LONG),
        "INVENTORY",
        "certificates[0] (dip-nonprod).domain",
        "64",
    ),
    "a purpose that does not exist": (
        cert(purposes=["encrypt"]),
        "INVENTORY",
        "(dip-nonprod).purposes",
        "encrypt",
    ),
    "a purpose the party may not have": (
        org(party="market_participant_non_active"),
        "DIP-5.5-TABLE3",
        "(dip-nonprod).purposes",
        "signing",
    ),
    "a signing certificate of a Connection Provider's own": (
        both(org(party="dip_connection_provider"), cert(purposes=["signing"])),
        "DIP-5.5-TABLE3",
        "(dip-nonprod).purposes",
        "for a DIP Connection Provider: mtls",
    ),
    "an organisation that does not exist": (
        cert(organisation="example-enrgy"),
        "INVENTORY",
        "(dip-nonprod).organisation",
        "example-energy",
    ),
    "no organisation when there are two": (
        second_organisation,
        "INVENTORY",
        "(dip-nonprod).organisation",
        "example-energy, other",
    ),
    "an environment that does not exist": (
        cert(environment="test"),
        "INVENTORY",
        "(dip-nonprod).environment",
        "nonprod",
    ),
    "no trust anchor for the class": (
        cert(environment="prod"),
        "INVENTORY",
        "trust.yml",
        "mhhs-dip prod",
    ),
    "a pin that is no SHA-256": (pin("abc"), "INVENTORY", "trust.dca.anchors[0].sha256", "abc"),
    "two trust sets for one class": (second_trust, "INVENTORY", "trust.dca2", "dca and dca2"),
    "two certificates of one name": (twin("dip-nonprod"), "INVENTORY", "certificates[1]", "name"),
    "the same request under two names": (
        twin("dip-again"),
        "DIP-11-DUPLICATES",
        "certificates[1] (dip-again)",
        "energydip-nonprod",
    ),
    "a name that is a path": (cert(name="../x"), "INVENTORY", "(../x).name", "lower case"),
    "a key store that is not offered": (
        cert(key={"store": "paper", "delivery": "wrapped"}),
        "INVENTORY",
        "(dip-nonprod).key.store",
        "transit",
    ),
    "a roster without a Certificate Admin": (
        org(roster=[{"name": "B", "email": "b@example.com", "role": "user_administrator"}]),
        "INVENTORY",
        "organisations.example-energy.roster",
        "certificate_admin",
    ),
    "a country in words": (
        org(subject={"O": "E", "L": "L", "ST": "S", "C": "United Kingdom"}),
        "INVENTORY",
        "subject.C",
        "United Kingdom",
    ),
    "a day of vetting that does not exist": (
        org(vetted="2026-02-30"),
        "INVENTORY",
        "example-energy.vetted",
        "YYYY-MM-DD",
    ),
    "a day of registration in another order": (
        org(registered="21/11/2026"),
        "INVENTORY",
        "example-energy.registered",
        "21/11/2026",
    ),
    "a quota that is no number": (
        org(quota="many"),
        "INVENTORY",
        "example-energy.quota",
        "whole number",
    ),
    "a quota below nothing": (org(quota=-1), "INVENTORY", "example-energy.quota", "-1"),
    "an owner without a day of acceptance": (
        cert(owner={"name": "Olive Owner"}),
        "INVENTORY",
        "(dip-nonprod).owner",
        "accepted",
    ),
    "a permanent employee in words": (
        org(roster=[{**GOOD["organisations"]["example-energy"]["roster"][0], "permanent": "yes"}]),
        "INVENTORY",
        "roster[0].permanent",
        "true or false",
    ),
    "an account at the CA without its certificate": (
        org(dca_account={}),
        "INVENTORY",
        "example-energy.dca_account",
        "certificate",
    ),
    "a domain that already has a prefix": (
        cert(domain="energydip-prod.example.co.uk"),
        "DIP-6.1.2-CN",
        "(dip-nonprod).domain",
        "two",
    ),
    "a control character in the organisation": (
        org(subject={"O": "E\x1b[31m", "L": "L", "ST": "S", "C": "GB"}),
        "INVENTORY",
        "subject.O",
        "printable",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refused(name: str) -> None:
    edit, rule, where, word = BROKEN[name]
    raw = copy.deepcopy(GOOD)
    edit(raw)
    with pytest.raises(PkiError) as caught:
        load(raw)
    error = caught.value
    assert error.rule == rule
    assert where in error.where
    assert error.where.startswith("group_vars/all/")
    assert word in f"{error.message} {error.found} {error.expected}"
    assert error.next_step
    assert not any(ord(character) < 32 and character != "\n" for character in str(error))


def test_a_typo_suggests_the_key_that_was_meant() -> None:
    raw = copy.deepcopy(GOOD)
    raw["certificates"][0]["domian"] = raw["certificates"][0].pop("domain")
    with pytest.raises(PkiError) as caught:
        load(raw)
    assert caught.value.next_step == "did you mean `domain`?"


def test_all_problems_of_a_file_are_told_at_once() -> None:
    raw = copy.deepcopy(GOOD)
    cert(domain="UPPER.co.uk")(raw)
    raw["certificates"].append({**raw["certificates"][0], "name": "second", "environment": "tset"})
    with pytest.raises(PkiError) as caught:
        load(raw)
    assert "the inventory has 2 problems" in str(caught.value)
    assert "UPPER.co.uk" in str(caught.value)
    assert "tset" in str(caught.value)


def test_every_place_that_is_not_filled_in_is_named() -> None:
    raw = copy.deepcopy(GOOD)
    cert(domain="FILL-IN")(raw)
    org(subject={"O": "FILL-IN", "L": "L", "ST": "S", "C": "GB"})(raw)
    with pytest.raises(PkiError) as caught:
        load(raw)
    for place in ("example-energy.subject.O", "certificates[0].domain"):
        assert place in str(caught.value)


def test_the_days_and_people_of_an_organisation_are_kept_as_written() -> None:
    raw = copy.deepcopy(GOOD)
    org(
        registered="2026-01-02",
        vetted=date(2026, 1, 3),
        quota=0,
        owner={"name": "Olive Owner", "accepted": "2026-01-04"},
        dca_account={"certificate": "trust/dca-account.pem"},
    )(raw)
    person = raw["organisations"]["example-energy"]["roster"][0]
    person.update(permanent=True, left="2026-06-30")
    organisation = load(raw).organisations["example-energy"]
    assert (organisation.registered, organisation.vetted) == ("2026-01-02", "2026-01-03")
    assert organisation.quota == 0
    assert organisation.dca_certificate == "trust/dca-account.pem"
    assert (organisation.roster[0].permanent, organisation.roster[0].left) == (True, "2026-06-30")


def test_an_entry_is_owned_by_whom_it_names_else_by_the_organisations_owner() -> None:
    raw = copy.deepcopy(GOOD)
    assert load(raw).certificates["dip-nonprod"].owner is None
    org(owner={"name": "Olive Owner", "accepted": "2026-01-04"})(raw)
    assert load(raw).certificates["dip-nonprod"].owner == inventory.Owner(
        "Olive Owner", "2026-01-04"
    )
    cert(owner={"name": "Otto Other", "accepted": "2026-01-05"})(raw)
    assert load(raw).certificates["dip-nonprod"].owner == inventory.Owner(
        "Otto Other", "2026-01-05"
    )


def test_what_the_policy_refuses_is_declared_all_the_same_so_that_it_can_be_reported() -> None:
    raw = copy.deepcopy(GOOD)
    twin("dip-again")(raw)
    declared = inventory.load(**raw, policies=POLICIES)
    assert list(declared.certificates) == ["dip-nonprod", "dip-again"]


def test_every_refused_entry_is_told_at_once() -> None:
    raw = copy.deepcopy(GOOD)
    org(party="dip_connection_provider")(raw)
    twin("dip-again")(raw)
    with pytest.raises(PkiError) as caught:
        load(raw)
    assert "the inventory has 5 problems" in str(caught.value)
    assert str(caught.value).count("DIP-5.5-TABLE3") == 2
    assert str(caught.value).count("DIP-5.5-DCP-NO-DUAL") == 2
    assert str(caught.value).count("DIP-11-DUPLICATES") == 1
