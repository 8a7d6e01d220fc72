# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cause has one reason of Table 5, and the policy's number for it."""

from __future__ import annotations

import pytest
from pki import policy_files, revocation_cause
from pki.errors import PkiError
from pki.revocation_cause import CAUSES
from unit.controller_world import REPOSITORY, policies, whole

SCHEMA = policy_files.load_fact_schemas(REPOSITORY / "policies")["revocation_request"]

#: Table 5 and what follows: cause, reason, code, key marked, incident, replaced, DIP Manager alone.
TABLE = [
    ("key_compromise", "key_compromise", 1, True, True, True, False),
    ("key_lost", "key_compromise", 1, True, False, True, False),
    ("media_compromise", "key_compromise", 1, True, True, True, False),
    ("inaccurate", "certificate_superseded", 4, False, False, True, False),
    ("leaver", "affiliation_changes", 3, False, False, True, False),
    ("superseded", "certificate_superseded", 4, False, False, False, False),
    ("ineligible", "withdrawal_of_privilege", 9, False, False, False, True),
    ("cessation", "cessation_of_operation", 5, False, False, False, True),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_cause_is_one_of_the_portals_reasons(
    row: tuple[str, str, int, bool, bool, bool, bool],
) -> None:
    name, reason, code, leaked, incident, replaced, manager = row
    cause, policy = revocation_cause.of(name), policies()["mhhs-dip"]
    assert (cause.reason, revocation_cause.code(cause, policy)) == (reason, code)
    assert (cause.leaked, cause.incident, cause.replaced) == (leaked, incident, replaced)
    assert revocation_cause.of_manager(cause, policy) is manager
    assert cause.final is manager


def test_the_causes_are_those_of_the_facts() -> None:
    assert set(CAUSES) == set(SCHEMA["properties"]["cause"]["enum"])
    assert [row[0] for row in TABLE] == list(CAUSES)
    assert {one.reason for one in CAUSES.values()} < set(SCHEMA["properties"]["reason"]["enum"])


def test_the_policy_has_a_number_for_every_reason_that_a_cause_has() -> None:
    numbers = policies()["mhhs-dip"].parameter("revocation_reasons")
    assert {one.reason for one in CAUSES.values()} == set(numbers)


@pytest.mark.parametrize("word", ["removal_from_crl", "Removal from CRL", "remove-from-crl"])
def test_nothing_is_taken_off_a_crl_again(word: str) -> None:
    with pytest.raises(PkiError) as caught:
        revocation_cause.of(word)
    error = whole(caught.value)
    assert error.rule == "DIP-6.1.3-REASON"
    assert "cannot be reclaimed" in error.expected
    assert "new certificate" in error.next_step


@pytest.mark.parametrize("word", ["", "because", "certificate_superseded"])
def test_a_word_that_is_no_cause_is_refused_with_those_there_are(word: str) -> None:
    with pytest.raises(PkiError) as caught:
        revocation_cause.of(word)
    assert all(name in whole(caught.value).expected for name in CAUSES)


@pytest.mark.parametrize("word", ["key_compromise", "KEY COMPROMISE", " key-compromise "])
def test_a_cause_may_be_typed_as_people_type(word: str) -> None:
    assert revocation_cause.of(word) is CAUSES["key_compromise"]


def test_where_there_is_no_portal_the_numbers_are_those_of_rfc_5280() -> None:
    mesh = policy_files.load_policies(REPOSITORY / "policies", ["nhs-mesh"])["nhs-mesh"]
    assert not revocation_cause.through_portal(mesh)
    assert revocation_cause.contact(mesh) == ""
    for name, _, code, *_ in TABLE:
        cause = CAUSES[name]
        assert revocation_cause.code(cause, mesh) == code
        assert not revocation_cause.of_manager(cause, mesh)
