# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of certificates.yml: alternative names, keys, and one certificate for each host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pki import inventory
from pki.errors import PkiError
from pki.policy_files import load_policies
from unit.controller_world import certificate_entry

POLICIES = load_policies(Path(__file__).parents[2] / "policies", ["mhhs-dip"])
CN = "energydip-nonprod.example-energy.co.uk"
GROUPS = {
    "all": ["gw2", "gw1", "vault1"],
    "ungrouped": [],
    "gateways": ["gw2", "gw1"],
    "spare": [],
}
OWN = {"key": {"store": "host"}, "per_host": True}


def load(
    *entries: Mapping[str, Any], groups: Mapping[str, list[str]] | None = GROUPS
) -> inventory.Declared:
    ca = {"file": "ca.pem", "sha256": "0" * 64, "crl_urls": ["http://crl.example/c"]}
    anchored = {"policy": "mhhs-dip", "environment_class": "nonprod"}
    return inventory.load(
        organisations={
            "example-energy": {
                "party": "market_participant_active",
                "subject": {"O": "Example Energy Ltd", "L": "London", "ST": "London", "C": "GB"},
                "roster": [{"name": "A", "email": "a@example.com", "role": "certificate_admin"}],
            }
        },
        certificates=list(entries),
        trust={"dca": {**anchored, "anchors": [ca], "issuers": [ca]}},
        policies=POLICIES,
        groups=groups,
    )


def entry(**changes: Any) -> dict[str, Any]:
    return certificate_entry(**changes)


def refused(*entries: Mapping[str, Any], groups: Any = GROUPS) -> PkiError:
    with pytest.raises(PkiError) as caught:
        load(*entries, groups=groups)
    error = caught.value
    assert error.rule == "INVENTORY"
    assert all(error.as_result().values())
    return error


# --- alternative names ------------------------------------------------------------------

NAMES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "none when the entry says so": ("none", ()),
    "the common name": ("cn", (CN,)),
    "those of a list, in its order": (
        ["b.example.co.uk", "a.example.co.uk"],
        ("b.example.co.uk", "a.example.co.uk"),
    ),
    "the common name among others": (["a.example.co.uk", CN], ("a.example.co.uk", CN)),
    "a name in punycode": (["xn--nergie-9ua.example"], ("xn--nergie-9ua.example",)),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_request_names(case: str) -> None:
    wanted, names = NAMES[case]
    assert load(entry(san=wanted)).certificates["dip-nonprod"].san == names


def test_a_request_names_no_alternative_unless_the_entry_asks_for_one() -> None:
    assert load(entry()).certificates["dip-nonprod"].san == ()


# what a person wrote -> (place below the entry, words of message, found or expected)
BAD_NAMES: dict[str, tuple[Any, str, str]] = {
    "another word": ("all", "san", "none, cn, or a list"),
    "the mode of a list without names": ("list", "san", "none, cn, or a list"),
    "a yes": (True, "san", "True"),
    "nothing": (None, "san", "None"),
    "an empty list": ([], "san", "[]"),
    "a map": ({"dns": "a.example"}, "san", "a list of host names"),
    "a name twice": (["a.example", "b.example", "a.example"], "san[2]", "twice"),
    "the common name twice": ([CN, CN], "san[1]", CN),
    "a number": ([7], "san[0]", "no text"),
    "a name in upper case": (["A.example"], "san[0]", "upper-case"),
    "a wildcard": (["a.example", "*.example.co.uk"], "san[1]", "*.example.co.uk"),
    "an address": (["10.0.0.1/8"], "san[0]", "10.0.0.1/8"),
    "a mail address": (["ada@example.com"], "san[0]", "ada@example.com"),
    "a URL": (["https://a.example"], "san[0]", "https://a.example"),
    "a host without a domain": (["hook"], "san[0]", "only one label"),
    "an empty name": ([""], "san[0]", "empty"),
    "a dot at the end": (["a.example."], "san[0]", "empty label"),
    "letters outside ASCII": (["énergie.example"], "san[0]", "outside ASCII"),
    "a line break": (["a.example\nb.example"], "san[0]", "character"),
    "more names than facts can hold": (
        [f"n{number}.example" for number in range(101)],
        "san",
        "at most 100",
    ),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_that_are_refused_with_their_place(case: str) -> None:
    wanted, place, words = BAD_NAMES[case]
    error = refused(entry(san=wanted))
    assert error.where == (
        f"group_vars/all/certificates.yml: certificates[0] (dip-nonprod).{place}"
    )
    assert words in f"{error.message} {error.found} {error.expected}"


# --- keys -------------------------------------------------------------------------------

KEYS: dict[str, tuple[dict[str, Any], tuple[str, str, bool]]] = {
    "transit, wrapped unless said otherwise": (
        {"store": "transit"},
        ("transit", "wrapped", False),
    ),
    "transit, fetched by the host": (
        {"store": "transit", "delivery": "pull"},
        ("transit", "pull", False),
    ),
    "transit, in plain words": (
        {"store": "transit", "delivery": "wrapped", "encrypted": False},
        ("transit", "wrapped", False),
    ),
    "external": ({"store": "external"}, ("external", "upload", False)),
    "external, in plain words": (
        {"store": "external", "delivery": "upload"},
        ("external", "upload", False),
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_hosts_share_is_kept_and_delivered(case: str) -> None:
    key, wanted = KEYS[case]
    certificate = load(entry(key=key)).certificates["dip-nonprod"]
    assert (certificate.store, certificate.delivery, certificate.encrypted) == wanted


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_key_of_a_host_may_be_encrypted_until_it_is_deployed(encrypted: bool) -> None:
    key = {"store": "host", "encrypted": encrypted}
    for certificate in load(entry(key=key, per_host=True)).certificates.values():
        assert (certificate.store, certificate.delivery) == ("host", "local")
        assert certificate.encrypted is encrypted


BAD_KEYS: dict[str, tuple[Any, str, str]] = {
    "no map": ("transit", "key", "is not a map"),
    "no store": ({"delivery": "wrapped"}, "key", "`store` is missing"),
    "an unknown store": ({"store": "paper"}, "key.store", "transit, host, external"),
    "an unknown option": ({"store": "transit", "size": 4096}, "key", "size"),
    "a transit key that is local": (
        {"store": "transit", "delivery": "local"},
        "key.delivery",
        "wrapped, pull",
    ),
    "a transit key that is uploaded": (
        {"store": "transit", "delivery": "upload"},
        "key.delivery",
        "upload",
    ),
    "a host's key that is wrapped": (
        {"store": "host", "delivery": "wrapped"},
        "key.delivery",
        "local",
    ),
    "a device's key that is fetched": (
        {"store": "external", "delivery": "pull"},
        "key.delivery",
        "upload",
    ),
    "a transit key that is encrypted": (
        {"store": "transit", "encrypted": True},
        "key.encrypted",
        "store transit",
    ),
    "a device's key that is encrypted": (
        {"store": "external", "encrypted": True},
        "key.encrypted",
        "store external",
    ),
    "an encryption in words": (
        {"store": "host", "encrypted": "yes"},
        "key.encrypted",
        "true or false",
    ),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_keys_that_are_refused_with_their_place(case: str) -> None:
    key, place, words = BAD_KEYS[case]
    error = refused(entry(key=key, per_host=True))
    assert error.where == (
        f"group_vars/all/certificates.yml: certificates[0] (dip-nonprod).{place}"
    )
    assert words in f"{error.message} {error.found} {error.expected}"


# --- a certificate for each host -----------------------------------------------------------


@pytest.mark.parametrize("store", ["transit", "host", "external"])
def test_an_entry_per_host_is_a_certificate_for_each_host_of_its_group(store: str) -> None:
    declared = load(entry(key={"store": store}, per_host=True))
    assert list(declared.certificates) == ["dip-nonprod/gw1", "dip-nonprod/gw2"]
    first = declared.certificates["dip-nonprod/gw1"]
    assert (first.entry, first.host) == ("dip-nonprod", "gw1")
    assert (first.hosts, first.group) == ("gw1", "gateways")
    assert first.key_name == "dip-nonprod_gw1"
    assert declared.entries == {"dip-nonprod": tuple(declared.certificates.values())}
    assert declared.of_host("dip-nonprod", "gw2") is declared.certificates["dip-nonprod/gw2"]
    assert declared.of_host("dip-nonprod", "vault1") is None
    assert declared.like("dip-nonprod") is first
    assert declared.like("dip-nonprod/gw2").host == "gw2"


def test_an_entry_that_hosts_share_is_one_certificate_whoever_asks() -> None:
    declared = load(entry(per_host=False))
    (only,) = declared.certificates.values()
    assert (only.name, only.entry, only.key_name, only.host) == (*["dip-nonprod"] * 3, "")
    assert (only.hosts, only.group) == ("gateways", "")
    assert declared.of_host("dip-nonprod", "gw1") is only
    assert declared.like("dip-nonprod") is only


def test_a_host_may_stand_where_a_group_may() -> None:
    declared = load(entry(**OWN, hosts="vault1"))
    assert list(declared.certificates) == ["dip-nonprod/vault1"]


def test_a_group_comes_before_a_host_of_the_same_name() -> None:
    declared = load(entry(**OWN, hosts="gw1"), groups={"all": ["gw1", "gw2"], "gw1": ["gw2"]})
    assert list(declared.certificates) == ["dip-nonprod/gw2"]


def test_two_entries_have_certificates_of_their_own_on_the_same_hosts() -> None:
    other = entry(name="dip-other", domain="other.example", per_host=True)
    declared = load(entry(**OWN), other)
    assert set(declared.entries) == {"dip-nonprod", "dip-other"}
    assert len(declared.certificates) == 4
    assert len({one.key_name for one in declared.certificates.values()}) == 4


@pytest.mark.parametrize(
    "host",
    ["gw1", "GW1", "gw_1", "10.0.0.1", "gw1.example.co.uk", "1a", "g" * 253, "host_", "2.1"],
)
def test_names_of_hosts_that_can_have_a_certificate(host: str) -> None:
    declared = load(entry(**OWN), groups={"gateways": [host]})
    assert declared.certificates[f"dip-nonprod/{host}"].host == host


@pytest.mark.parametrize(
    "host",
    ["1", "42", "a/b", "..", ".hidden", "-x", "x-", "x.", "fe80::1", "g w", "é", "gw\n", "g" * 254],
)
def test_names_of_hosts_that_cannot(host: str) -> None:
    error = refused(entry(**OWN), groups={"gateways": ["gw1", host]})
    assert error.where.endswith("certificates[0] (dip-nonprod).hosts")
    assert host.strip() in error.found
    assert "gw1" not in error.found
    assert "ansible_host" in error.next_step


UNKNOWN: dict[str, tuple[Any, str, str]] = {
    "no groups were given": (None, "gateways", "hosts.yml"),
    "there are no groups": ({}, "gateways", "hosts.yml"),
    "another group was meant": ({"gateway": ["gw1"]}, "gateways", "did you mean `gateway`?"),
    "the group has no hosts": ({"gateways": []}, "a group without hosts", "hosts.yml"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_hosts_that_nobody_knows_are_refused(case: str) -> None:
    groups, found, step = UNKNOWN[case]
    error = refused(entry(**OWN), groups=groups)
    assert error.where.endswith("certificates[0] (dip-nonprod).hosts")
    assert found in error.found
    assert step in error.next_step


def test_hosts_cannot_share_a_key_that_each_of_them_makes() -> None:
    error = refused(entry(key={"store": "host"}))
    assert error.where.endswith("certificates[0] (dip-nonprod).per_host")
    assert "per_host: true" in error.expected


@pytest.mark.parametrize("value", ["yes", 1, None, []])
def test_per_host_is_true_or_false(value: object) -> None:
    error = refused(entry(per_host=value))
    assert error.where.endswith("(dip-nonprod).per_host")


def test_what_is_wrong_with_the_hosts_of_several_entries_is_told_at_once() -> None:
    error = refused(
        entry(**OWN, hosts="nowhere"), entry(name="dip-two", key={"store": "host"}), groups=GROUPS
    )
    assert isinstance(error, inventory.InventoryError)
    assert [problem.where.rpartition(".")[2] for problem in error.problems] == ["hosts", "per_host"]
