# SPDX-License-Identifier: GPL-3.0-or-later
"""A rule that holds: nothing new is asked for, and everything in service goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki.lifecycle import Hold, Kind, Observed, Reason, State
from pki.plan import CertificatePlan, plan
from unit.test_plan import DAY, INTENT, LIMITS, NOW, WANTED, accepted, asked, ended, key, requested

VETTING = Hold("DIP-5.2-VETTED", "nobody recorded the vetting (found: no date)", "write the day")
OWNER = Hold("DIP-5.6.2-RESPONSIBLE", "nobody has accepted", "name an owner")
MAKING = {Kind.CREATE_KEY, Kind.WRITE_REQUEST}

#: What would lead to a new key or request, and what stays to be done when that is held.
WAITING: dict[str, tuple[Observed, State, list[tuple[str, int]]]] = {
    "a first request": (Observed(), State.ABSENT, []),
    "a key without its request": (Observed({1: key(1)}), State.REQUESTED, []),
    "a renewal": (
        Observed({1: key(1)}, (accepted(1, NOW + 40 * DAY),)),
        State.DUE,
        [("accept", 1), ("deploy", 1)],
    ),
    "a revoked certificate's replacement": (
        Observed({1: key(1)}, (accepted(1, revoked_at=NOW - DAY),)),
        State.REVOKED,
        [],
    ),
    "a person's word": (
        Observed({1: key(1)}, (accepted(1), asked(2))),
        State.DUE,
        [("accept", 1), ("deploy", 1)],
    ),
    "a compromised key's replacement": (
        Observed({1: key(1)}, (replace(accepted(1), compromised="a ledger"),)),
        State.DUE,
        [],
    ),
}
#: What makes nothing new, and so is none of the rule's business.
GOING_ON: dict[str, Observed] = {
    "an open request": Observed({1: key(1)}, (requested(1),)),
    "a reply to one": Observed({1: key(1)}, (replace(requested(1), has_reply=True),)),
    "a certificate in service": Observed({1: key(1)}, (accepted(1),)),
    "a rejected request": Observed({1: key(1)}, (ended(1, "rejected"),)),
}


def held(observed: Observed, *holds: Hold, store: str = "transit") -> CertificatePlan:
    wanted = replace(WANTED, held_by=holds, store=store)
    return plan(wanted, observed, LIMITS, NOW)


def steps(result: CertificatePlan) -> list[tuple[str, int]]:
    return [(action.kind.value, action.version) for action in result.actions]


@pytest.mark.parametrize("what", WAITING)
def test_nothing_new_is_asked_for_while_a_rule_holds(what: str) -> None:
    observed, state, expected = WAITING[what]
    before, result = held(observed), held(observed, VETTING)
    assert MAKING & {action.kind for action in before.actions}  # it would be, without the rule
    assert (result.state, result.reason) == (state, Reason.HELD_BY_RULE)
    assert steps(result) == expected
    assert result.needs_person


@pytest.mark.parametrize("what", WAITING)
def test_the_rule_is_named_with_what_is_amiss_and_what_settles_it(what: str) -> None:
    before, result = held(WAITING[what][0]), held(WAITING[what][0], VETTING, OWNER)
    assert result.message.startswith(before.message)  # what would be done is still said
    assert f"{VETTING.rule}, {VETTING.sentence}, and {OWNER.rule}" in result.message
    assert result.next_action == VETTING.next_step
    assert result.waits_for == "a person to settle it"


@pytest.mark.parametrize("what", GOING_ON)
def test_what_makes_nothing_new_is_planned_as_without_the_rule(what: str) -> None:
    assert held(GOING_ON[what], VETTING) == held(GOING_ON[what])


def test_a_device_is_not_asked_for_a_request_that_is_held() -> None:
    result = held(Observed(keys_known=False), VETTING, store="external")
    assert result.reason is Reason.HELD_BY_RULE
    assert "playbooks/supply.yml" not in result.next_action


def test_an_edit_of_the_provider_waits_like_any_other_new_request() -> None:
    handed = accepted(1)
    assert handed.requested is not None
    intent = replace(INTENT, provider="provider-x")
    handed = replace(handed, requested=replace(handed.requested, intent=intent))
    wanted = replace(WANTED, intent=replace(INTENT, provider="provider-y"))
    observed = Observed({1: key(1)}, (handed,))
    free = plan(wanted, observed, LIMITS, NOW)
    assert free.reason is Reason.INVENTORY_CHANGED
    assert {action.kind for action in free.actions} >= MAKING
    assert plan(replace(wanted, held_by=(VETTING,)), observed, LIMITS, NOW).actions == tuple(
        action for action in free.actions if action.kind not in MAKING
    )


@given(
    ends=st.integers(-30, 400),
    revoked=st.booleans(),
    outcome=st.sampled_from(["", "rejected", "withdrawn"]),
    pending=st.booleans(),
    wish=st.booleans(),
)
def test_a_hold_takes_away_new_keys_and_requests_and_nothing_else(
    ends: int, revoked: bool, outcome: str, pending: bool, wish: bool
) -> None:
    one = accepted(1, NOW + timedelta(days=ends), revoked_at=NOW - DAY if revoked else None)
    versions = [ended(1, outcome) if outcome else one]
    if pending:
        versions.append(requested(2))
    elif wish:
        versions.append(asked(2))
    observed = Observed({v.number: key(v.number) for v in versions}, tuple(versions))
    free, result = held(observed), held(observed, VETTING)
    assert result.actions == tuple(one for one in free.actions if one.kind not in MAKING)
    assert (result.reason is Reason.HELD_BY_RULE) == (result.actions != free.actions)
