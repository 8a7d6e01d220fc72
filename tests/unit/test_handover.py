# SPDX-License-Identifier: GPL-3.0-or-later
"""A signing key that is to be handed to a DIP Connection Provider: declared, kept, asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pki import inventory, key_place, lifecycle, public_state
from pki.errors import PkiError
from unit.test_inventory_parties import entry, load

HANDED = {"store": "transit", "handover": True}


def of(**changes: Any) -> inventory.Certificate:
    return load(entry(**changes)).certificates["b-nonprod"]


@pytest.mark.parametrize(
    ("key", "mount"),
    [
        ({"store": "transit"}, "transit-nonprod-signing"),
        ({"store": "transit", "handover": False}, "transit-nonprod-signing"),
        (HANDED, "transit-nonprod-tls"),
    ],
)
def test_only_a_key_that_is_to_be_handed_over_is_made_where_it_can_be_taken_out(
    key: dict[str, Any], mount: str
) -> None:
    certificate = of(key=key)
    assert certificate.handover is (key == HANDED)
    assert key_place.declared(certificate).mount == mount


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a key of a host": ({"key": {"store": "host", "handover": True}, "per_host": True}, "transit"),
    "a key of a device": ({"key": {"store": "external", "handover": True}}, "transit"),
    "a handover in words": ({"key": {**HANDED, "handover": "yes"}}, "true or false"),
    "a key that serves TLS": ({"key": HANDED, "purposes": ["mtls"]}, "[signing]"),
    "a dual-purpose key": ({"key": HANDED, "purposes": ["mtls", "signing"]}, "[signing]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_handed_over_is_refused_with_its_place(name: str) -> None:
    changes, words = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        of(**changes)
    assert caught.value.where.endswith("(b-nonprod).key.handover")
    assert words in caught.value.expected


def test_nobody_to_hand_it_to_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        load(entry(key=HANDED), lambda raw: raw["certificates"][0].pop("provider"))
    assert "provider: the organisation that gets it" in caught.value.expected


INTENT = lifecycle.Intent(
    "cn", {}, frozenset({"signing"}), "mhhs-dip", store="transit", provider="provider-x"
)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (False, False, ()),
        (True, True, ()),
        (False, True, ("key is not to be handed over -> is",)),
        (True, False, ("key is to be handed over -> is not",)),
    ],
)
def test_an_edit_of_it_asks_for_another_key(
    before: bool, after: bool, told: tuple[str, ...]
) -> None:
    wanted = replace(INTENT, handover=after)
    assert replace(INTENT, handover=before).difference(wanted) == told


def test_a_key_that_moves_to_another_store_is_told_as_that_alone() -> None:
    told = replace(INTENT, handover=True).difference(replace(INTENT, store="host"))
    assert told == ("key kept in transit -> host",)


@pytest.mark.parametrize(
    ("purposes", "mount", "handover"),
    [
        (["signing"], "transit-nonprod-tls", True),
        (["signing"], "transit-nonprod-signing", False),
        (["mtls", "signing"], "transit-nonprod-tls", False),
        (["mtls"], "transit-prod-tls", False),
        (["signing"], None, False),
    ],
)
def test_a_request_record_tells_it_by_the_mount_and_needs_no_word_of_its_own(
    purposes: list[str], mount: str | None, handover: bool
) -> None:
    key = {"store": "transit", **({"mount": mount} if mount else {})}
    record = {
        "common_name": "cn", "subject": {}, "purposes": purposes, "policy": "mhhs-dip", "key": key,
    }  # fmt: skip
    assert public_state.intent(record, Path("request.yml")).handover is handover
