# SPDX-License-Identifier: GPL-3.0-or-later
"""What an edit asks for, and plans for keys that this side cannot see: on hosts and in devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki.lifecycle import (
    Accepted,
    Asked,
    Intent,
    KeyVersion,
    Kind,
    Limits,
    Observed,
    Reason,
    Requested,
    State,
    Version,
    Wanted,
)
from pki.plan import CertificatePlan, plan

NOW = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = Limits(renewal_window=45 * DAY)
INTENT = Intent(
    common_name="energydip-nonprod.example.co.uk",
    subject={"O": "Example Energy Ltd", "L": "London", "C": "GB"},
    purposes=frozenset({"mtls", "signing"}),
    policy="mhhs-dip",
    san=("hook.example.co.uk",),
    store="transit",
    key_type="rsa-4096",
    provider="provider-x",
)
MAKING = {Kind.CREATE_KEY, Kind.WRITE_REQUEST}


def wanted(intent: Intent = INTENT) -> Wanted:
    return Wanted("dip-nonprod", intent, "gateways", intent.store or "transit")


def requested(number: int, intent: Intent = INTENT) -> Version:
    return Version(number, Requested(intent, f"spki-{number}", NOW - 100 * DAY))


def accepted(number: int, intent: Intent = INTENT, **changes: object) -> Version:
    record = Accepted(f"5e{number}", NOW - 98 * DAY, NOW + 300 * DAY, NOW - 90 * DAY)
    return replace(requested(number, intent), accepted=replace(record, **changes), has_reply=True)


def keys(*numbers: int) -> dict[int, KeyVersion]:
    return {number: KeyVersion(NOW - 100 * DAY, f"spki-{number}") for number in numbers}


def steps(result: CertificatePlan) -> list[tuple[str, int]]:
    return [(action.kind.value, action.version) for action in result.actions]


# --- an edit, field by field ------------------------------------------------------------------

EDITS: Mapping[str, tuple[object, str]] = {
    "common_name": (
        "energydip-nonprod.other.co.uk",
        "common name energydip-nonprod.example.co.uk -> energydip-nonprod.other.co.uk",
    ),
    "subject": ({"O": "Example Energy Ltd", "L": "Leeds", "C": "GB"}, "L London -> Leeds"),
    "purposes": (frozenset({"mtls"}), "purposes mtls, signing -> mtls"),
    "policy": ("nhs-mesh", "policy mhhs-dip -> nhs-mesh"),
    "san": ((), "alternative names hook.example.co.uk -> none"),
    "store": ("host", "key kept in transit -> host"),
    "key_type": ("rsa-8192", "key rsa-4096 -> rsa-8192"),
    "provider": ("provider-y", "provider provider-x -> provider-y"),
    "handover": (True, "key is not to be handed over -> is"),
}
SERVE = [("accept", 1), ("deploy", 1)]
NEW = [("create_key", 2), ("write_request", 2)]


def test_every_field_of_what_is_wanted_has_an_edit_here() -> None:
    assert set(EDITS) == {one.name for one in fields(Intent)}


@pytest.mark.parametrize("field", EDITS)
def test_an_edit_after_acceptance_plans_a_new_version_and_says_what_differs(field: str) -> None:
    value, told = EDITS[field]
    edited = replace(INTENT, **{field: value})
    observed = Observed(keys(1), (accepted(1),), {"gw1": "5e1"})
    result = plan(wanted(edited), observed, LIMITS, NOW)
    assert (result.state, result.reason) == (State.CHANGED, Reason.INVENTORY_CHANGED)
    assert result.difference == (told,)
    assert "it stays in service" in result.message
    assert steps(result) == [*SERVE, *NEW]


@pytest.mark.parametrize("field", EDITS)
@pytest.mark.parametrize("live", [False, True])
def test_an_edit_while_a_request_is_open_keeps_the_request_and_asks_to_withdraw_it(
    field: str, *, live: bool
) -> None:
    value, told = EDITS[field]
    edited = replace(INTENT, **{field: value})
    before = (accepted(1),) if live else ()
    number = len(before) + 1
    observed = Observed(keys(*range(1, number + 1)), (*before, requested(number)))
    result = plan(wanted(edited), observed, LIMITS, NOW)
    assert result.reason is Reason.PENDING_EDITED
    assert result.difference == (told,)
    assert result.needs_person
    assert "-e outcome=withdrawn" in result.next_action
    assert steps(result) == (SERVE if live else [])


@pytest.mark.parametrize("field", EDITS)
def test_an_edit_that_is_taken_back_leaves_nothing(field: str) -> None:
    observed = Observed(keys(1), (accepted(1),), {"gw1": "5e1"})
    assert plan(wanted(), observed, LIMITS, NOW).reason is Reason.IN_SERVICE
    value, _ = EDITS[field]
    assert replace(INTENT, **{field: value}).difference(INTENT)


def test_the_order_of_alternative_names_and_attributes_is_no_difference() -> None:
    names = replace(INTENT, san=("a.example", "b.example"))
    assert not names.difference(replace(names, san=("b.example", "a.example")))
    turned = dict(reversed(list(INTENT.subject.items())))
    assert not INTENT.difference(replace(INTENT, subject=turned))


@pytest.mark.parametrize("silent", ["store", "key_type"])
def test_a_record_that_says_nothing_of_its_key_differs_in_nothing_there(silent: str) -> None:
    """Requests of before, and keys that were imported or are a device's."""
    old = replace(INTENT, **{silent: ""})
    assert not old.difference(INTENT)
    assert not INTENT.difference(old)


# --- a host that did not answer ---------------------------------------------------------------

ON_HOST = replace(INTENT, store="host")
WOULD_MAKE = {
    "nothing yet": (),
    "a rejection, asked about": (
        replace(requested(1, ON_HOST), outcome="rejected", outcome_at=NOW - DAY),
        Version(2, asked=Asked("portal down", NOW - DAY)),
    ),
    "a revoked certificate": (accepted(1, ON_HOST, revoked_at=NOW - DAY),),
    "an expired certificate": (accepted(1, ON_HOST, not_after=NOW - DAY),),
    "a certificate that is due": (accepted(1, ON_HOST, not_after=NOW + 20 * DAY),),
    "an edited entry": (accepted(1, INTENT),),
}


@pytest.mark.parametrize("name", WOULD_MAKE)
def test_nothing_is_made_for_a_host_that_did_not_answer(name: str) -> None:
    observed = Observed(versions=WOULD_MAKE[name], keys_known=False)
    result = plan(wanted(ON_HOST), observed, LIMITS, NOW)
    assert result.reason is Reason.HOST_NOT_ASKED
    assert "the host could not be asked" in result.message
    assert "nothing is changed" in result.next_action
    assert result.waits_for == "gateways"
    assert not {action.kind for action in result.actions} & MAKING
    # The same with its answer: then it is made.
    asked = plan(wanted(ON_HOST), replace(observed, keys_known=True), LIMITS, NOW)
    assert {action.kind for action in asked.actions} >= MAKING
    assert asked.state is result.state
    assert asked.difference == result.difference
    # What is in service stays so.
    assert [one for one in asked.actions if one.kind not in MAKING] == list(result.actions)


@pytest.mark.parametrize(
    ("version", "reason", "kinds"),
    [
        (requested(1, ON_HOST), Reason.WAITING_FOR_REPLY, []),
        (replace(requested(1, ON_HOST), has_reply=True), Reason.REPLY_PRESENT, SERVE),
        (accepted(1, ON_HOST), Reason.NOT_YET_SERVED, SERVE),
    ],
)
def test_what_is_committed_goes_on_without_the_host_and_its_key_is_not_called_lost(
    version: Version, reason: Reason, kinds: list[tuple[str, int]]
) -> None:
    observed = Observed(versions=(version,), keys_known=False)
    result = plan(wanted(ON_HOST), observed, LIMITS, NOW)
    assert (result.reason, steps(result)) == (reason, kinds)


def test_a_host_that_answered_and_has_no_key_has_lost_it() -> None:
    result = plan(wanted(ON_HOST), Observed(versions=(requested(1, ON_HOST),)), LIMITS, NOW)
    assert result.reason is Reason.KEY_LOST


# --- a device that keeps its key --------------------------------------------------------------

DEVICE = replace(INTENT, store="external", key_type="")
SUPPLY = "playbooks/supply.yml -e certificate=dip-nonprod -e csr_file=FILE"


def device(*versions: Version, **served: str | None) -> CertificatePlan:
    return plan(wanted(DEVICE), Observed({}, versions, served, keys_known=False), LIMITS, NOW)


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ((), Reason.NEVER_REQUESTED),
        ((accepted(1, DEVICE, not_after=NOW + 20 * DAY),), Reason.RENEWAL_WINDOW),
        ((accepted(1, DEVICE, not_after=NOW - DAY),), Reason.CERTIFICATE_EXPIRED),
        ((accepted(1, DEVICE, revoked_at=NOW - DAY),), Reason.CERTIFICATE_REVOKED),
        ((accepted(1, INTENT),), Reason.INVENTORY_CHANGED),
        ((accepted(1, DEVICE), Version(2, asked=Asked("x", NOW))), Reason.ASKED_FOR),
    ],
)
def test_a_new_request_of_a_device_waits_for_a_person_who_is_told_what_to_type(
    versions: tuple[Version, ...], reason: Reason
) -> None:
    result = device(*versions)
    assert result.reason is reason
    assert SUPPLY in result.next_action
    assert result.needs_person
    assert not {action.kind for action in result.actions} & MAKING


def test_the_certificate_that_gateways_serve_stays_there_when_the_next_key_is_a_devices() -> None:
    assert steps(device(accepted(1, INTENT))) == SERVE


def test_the_certificate_that_gateways_serve_stays_there_when_the_next_one_is_for_signing() -> None:
    signing = replace(INTENT, purposes=frozenset({"signing"}))
    observed = Observed(keys(1), (accepted(1),), {"gw1": "5e1"})
    assert steps(plan(wanted(signing), observed, LIMITS, NOW)) == [*SERVE, *NEW]
    arrived = (accepted(1), replace(requested(2, signing), has_reply=True))
    result = plan(wanted(signing), Observed(keys(1, 2), arrived), LIMITS, NOW)
    assert steps(result) == [*SERVE, ("accept", 2)]


def test_a_request_of_a_device_is_open_like_any_other() -> None:
    result = device(requested(1, DEVICE))
    assert (result.reason, steps(result)) == (Reason.WAITING_FOR_REPLY, [])


def test_a_reply_for_a_device_is_accepted_and_never_deployed() -> None:
    result = device(replace(requested(1, DEVICE), has_reply=True))
    assert (result.reason, steps(result)) == (Reason.REPLY_PRESENT, [("accept", 1)])
    assert "accept v1 and upload certificate.pem and chain.pem" in result.next_action
    assert "certificates/dip-nonprod/1/" in result.next_action


def test_an_accepted_certificate_of_a_device_is_for_its_user_to_upload() -> None:
    result = device(accepted(1, DEVICE))
    assert (result.state, result.reason) == (State.ACCEPTED, Reason.LEFT_TO_THE_DEVICE)
    assert steps(result) == [("accept", 1)]
    assert "upload certificate.pem and chain.pem" in result.next_action


def test_a_device_that_was_seen_serving_it_is_in_service() -> None:
    assert device(accepted(1, DEVICE), f5="5e1").reason is Reason.IN_SERVICE
    late = device(accepted(1, DEVICE), f5="other")
    assert late.reason is Reason.LEFT_TO_THE_DEVICE
    assert "not served by f5" in late.message


def test_a_device_that_only_signs_has_its_certificate_uploaded_too() -> None:
    signing = replace(DEVICE, purposes=frozenset({"signing"}))
    observed = Observed(versions=(accepted(1, signing),), keys_known=False)
    assert plan(wanted(signing), observed, LIMITS, NOW).reason is Reason.LEFT_TO_THE_DEVICE


# --- renewal beside the live one --------------------------------------------------------------

stores = st.sampled_from(["transit", "host", "external"])


@given(
    live=stores,
    today=stores,
    known=st.booleans(),
    left=st.integers(0, 400),
    beside=st.sampled_from(["nothing", "key", "asked", "request", "reply", "rejected"]),
    edited=st.booleans(),
)
def test_nothing_that_renewal_makes_is_of_the_version_in_service(
    live: str, today: str, known: bool, left: int, beside: str, edited: bool
) -> None:
    """The live key, request and certificate are read and served; everything new is beside them."""
    before = replace(INTENT, store=live)
    now = replace(before, store=today, subject={"O": "Other Ltd"} if edited else INTENT.subject)
    first = accepted(1, before, not_after=NOW + left * DAY)
    second = {
        "nothing": (),
        "key": (),
        "asked": (Version(2, asked=Asked("early", NOW)),),
        "request": (requested(2, now),),
        "reply": (replace(requested(2, now), has_reply=True),),
        "rejected": (replace(requested(2, now), outcome="rejected", outcome_at=NOW),),
    }[beside]
    stored = keys(1) if beside in ("nothing", "asked") else keys(1, 2)
    observed = Observed(stored if known else {}, (first, *second), keys_known=known)
    result = plan(wanted(now), observed, LIMITS, NOW)
    of_live = {action.kind for action in result.actions if action.version == 1}
    assert of_live == ({Kind.ACCEPT} if live == "external" else {Kind.ACCEPT, Kind.DEPLOY})
    assert all(action.version > 1 for action in result.actions if action.kind in MAKING)
    assert result.live == 1
    assert result.versions[1] is State.ACCEPTED
