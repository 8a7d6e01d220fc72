# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of entries that say when they are renewed, and in which hours they may be deployed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import report
from pki.lifecycle import (
    Accepted,
    Intent,
    KeyVersion,
    Kind,
    Limits,
    Observed,
    Reason,
    Requested,
    Retired,
    State,
    Version,
    Wanted,
)
from pki.plan import CertificatePlan, plan
from pki.show import in_service
from pki.windows import DeployWindow, Freeze, Renewal, Timing

LONDON = ZoneInfo("Europe/London")
#: A Tuesday morning; the next window opens in the evening.
NOW = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)
OPENS = datetime(2026, 11, 3, 22, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = Limits(renewal_window=45 * DAY, deploy_margin=7 * DAY)
INTENT = Intent("energydip-nonprod.example.co.uk", {"C": "GB"}, frozenset({"mtls"}), "mhhs-dip")
NIGHTS = Renewal(windows=(DeployWindow(frozenset({1, 2}), 22 * 60, 4 * 60, LONDON),))
FOR_EVER = Renewal(freezes=(Freeze(date(2026, 11, 1), None, "moving house", LONDON),))


def requested(number: int) -> Version:
    return Version(number, Requested(INTENT, f"spki-{number}", NOW - 100 * DAY))


def accepted(number: int, left: int = 300, **changes: object) -> Version:
    record = Accepted(f"5e{number}", NOW - 98 * DAY, NOW + left * DAY, NOW - 90 * DAY)
    return replace(requested(number), accepted=replace(record, **changes), has_reply=True)


def planned(
    *versions: Version,
    renewal: Renewal = NIGHTS,
    now: datetime = NOW,
    deploy_now: str = "",
    **served: str | None,
) -> CertificatePlan:
    keys = {one.number: KeyVersion(NOW - 100 * DAY, f"spki-{one.number}") for one in versions}
    wanted = Wanted("dip-nonprod", INTENT, "gateways", renewal=renewal)
    return plan(wanted, Observed(keys, versions, served), LIMITS, now, deploy_now)


def steps(result: CertificatePlan) -> list[tuple[str, int]]:
    return [(action.kind.value, action.version) for action in result.actions]


REPLIED = replace(requested(2), has_reply=True)
KEPT = [("keep", 1), ("accept", 2), ("deploy", 2)]
BESIDE = [("accept", 1), ("deploy", 1), ("accept", 2), ("deploy", 2)]


# --- the request point ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("renewal", "left", "due"),
    [
        (Renewal(), 45, True),
        (Renewal(), 46, False),
        (Renewal(request_days=48), 48, True),
        (Renewal(request_days=48), 49, False),
        (Renewal(request_days=10), 11, False),
        (Renewal(request_percent=20), 24, True),  # of 122 days
        (Renewal(request_percent=20), 25, False),  # of 123 days
    ],
)
def test_the_entry_says_when_it_is_renewed(renewal: Renewal, left: int, *, due: bool) -> None:
    result = planned(accepted(1, left), renewal=renewal, gw1="5e1")
    assert (result.state is State.DUE) is due


def test_a_certificate_that_is_shorter_than_the_window_is_not_due_at_once() -> None:
    """Thirty days long, and the policy's window is forty-five."""
    short = accepted(1, 21, not_before=NOW - 9 * DAY)
    result = planned(short, renewal=Renewal(), gw1="5e1")
    assert result.reason is Reason.IN_SERVICE
    assert result.next_action == "renew from 2026-11-14"
    assert planned(short, renewal=Renewal(), now=NOW + 11 * DAY, gw1="5e1").state is State.DUE


def test_windows_do_not_delay_a_request() -> None:
    result = planned(accepted(1, 20), renewal=FOR_EVER, gw1="5e1")
    assert steps(result) == [
        ("accept", 1),
        ("deploy", 1),
        ("create_key", 2),
        ("write_request", 2),
    ]


# --- a deployment that waits ------------------------------------------------------------------


def test_a_reply_is_accepted_and_its_deployment_waits_beside_the_live_one() -> None:
    result = planned(accepted(1), REPLIED)
    assert steps(result) == BESIDE
    assert [action.timing.held_until for action in result.actions] == [None, None, None, OPENS]
    assert result.next_action == (
        "check the reply, accept v2 and deploy it from 2026-11-03 22:00 GMT"
    )


def test_once_accepted_it_waits_and_the_one_before_is_kept() -> None:
    result = planned(accepted(1), accepted(2), gw1="5e1")
    assert (result.state, result.reason) == (State.ACCEPTED, Reason.WAITS_FOR_WINDOW)
    assert steps(result) == KEPT
    assert result.waits_for == "the window from 2026-11-03 22:00 GMT"
    assert "not served by gw1; it is outside its deployment windows" in result.message
    assert result.timing == Timing("it is outside its deployment windows", OPENS)


def test_inside_the_window_it_is_deployed() -> None:
    result = planned(accepted(1), accepted(2), now=OPENS, gw1="5e1")
    assert result.reason is Reason.NOT_YET_SERVED
    assert steps(result) == [("accept", 2), ("deploy", 2)]
    assert result.timing == Timing()


def test_the_first_certificate_waits_for_nothing() -> None:
    for versions in ((accepted(1),), (replace(requested(1), has_reply=True),)):
        result = planned(*versions, renewal=FOR_EVER)
        assert result.timing == Timing()
        assert ("deploy", 1) in steps(result)


@pytest.mark.parametrize(
    "before",
    [
        accepted(1, -1),
        accepted(1, revoked_at=NOW - DAY),
        replace(requested(1), outcome="rejected", outcome_at=NOW - DAY),
        replace(accepted(1), retired=Retired(NOW - DAY, "withdrawn")),
        replace(accepted(1), compromised="the incident of Monday"),
    ],
    ids=["expired", "revoked", "rejected", "retired", "compromised"],
)
def test_it_does_not_wait_beside_what_may_not_be_served(before: Version) -> None:
    result = planned(before, accepted(2), renewal=FOR_EVER)
    assert (result.reason, result.timing) == (Reason.NOT_YET_SERVED, Timing())


def test_a_certificate_that_every_host_serves_waits_for_nothing() -> None:
    result = planned(accepted(1), accepted(2), gw1="5e2")
    assert (result.reason, result.timing) == (Reason.IN_SERVICE, Timing())
    assert steps(result) == [("accept", 2), ("deploy", 2)]


def test_of_several_that_wait_the_last_one_in_service_is_kept() -> None:
    third = replace(requested(3), has_reply=True)
    result = planned(accepted(1), accepted(2), third)
    assert steps(result) == [*KEPT, ("accept", 3), ("deploy", 3)]
    held = {action.version for action in result.actions if action.timing.held_why}
    assert held == {2, 3}


# --- never into expiry, and a person's reason -------------------------------------------------


def test_it_does_not_wait_when_the_one_in_service_ends_first() -> None:
    result = planned(accepted(1, 7), accepted(2), gw1="5e1")
    assert result.reason is Reason.NOT_YET_SERVED
    assert "deployed all the same: the certificate in service ends on 2026-11-10" in result.message
    assert steps(result) == [("accept", 2), ("deploy", 2)]
    assert planned(accepted(1, 8), accepted(2), gw1="5e1").reason is Reason.WAITS_FOR_WINDOW


def test_a_freeze_without_an_end_holds_as_long_as_the_certificate_in_service_lasts() -> None:
    held = planned(accepted(1, 7), accepted(2), renewal=FOR_EVER, gw1="5e1")
    assert held.waits_for == "the end of the freeze"
    assert "deployments are frozen (moving house)" in held.message
    early = planned(accepted(1, 6), accepted(2), renewal=FOR_EVER, gw1="5e1")
    assert early.timing.early_why
    assert not early.timing.held_why


def test_a_persons_reason_is_in_plan_table_and_status() -> None:
    for versions in ((accepted(1), accepted(2)), (accepted(1), REPLIED)):
        result = planned(*versions, deploy_now="incident 42", gw1="5e1")
        assert result.timing.early_why.endswith("incident 42")
        assert "incident 42" in f"{result.message} {result.next_action}"
        document = report.status([result], NOW)
        assert document["certificates"][0]["early_why"].endswith("incident 42")


def test_a_persons_reason_changes_nothing_where_nothing_waits() -> None:
    calm = planned(accepted(1), deploy_now="incident 42", gw1="5e1")
    assert calm == planned(accepted(1), gw1="5e1")


# --- what roles and machines are told ---------------------------------------------------------


def test_an_action_tells_the_host_until_when_and_why_it_waits() -> None:
    result = planned(accepted(1), accepted(2), gw1="5e1")
    keep, accept, deploy = (report.action(one) for one in result.actions)
    assert deploy == {
        "kind": "deploy",
        "certificate": "dip-nonprod",
        "version": 2,
        "reason": "in_service",
        "hosts": "gateways",
        "held_until": "2026-11-03T22:00:00Z",
        "held_why": "it is outside its deployment windows",
    }
    assert keep["reason"] == "waits_for_window"
    for plain in (keep, accept):
        assert set(plain) == {"kind", "certificate", "version", "reason", "hosts"}


def test_the_status_and_the_table_say_that_it_waits_and_that_not_all_is_calm() -> None:
    document = json.loads(json.dumps(report.status([planned(accepted(1), accepted(2))], NOW)))
    (entry,) = document["certificates"]
    assert entry["held_until"] == "2026-11-03T22:00:00Z"
    assert entry["held_why"] == "it is outside its deployment windows"
    assert entry["early_why"] == ""
    row = report.table(document).splitlines()[1]
    assert "accepted" in row
    assert "wait for the window from 2026-11-03 22:00 GMT: deploy it then" in row
    assert not in_service(document)


# --- for every plan ---------------------------------------------------------------------------

renewals = st.sampled_from([Renewal(), NIGHTS, FOR_EVER])
lefts = st.integers(-5, 60)


@given(renewals, st.lists(lefts, max_size=4), st.integers(0, 72), st.sampled_from(["", "why"]))
def test_what_waits_has_another_beside_it_that_lasts_until_then(
    renewal: Renewal, left: list[int], hours: int, deploy_now: str
) -> None:
    now = NOW + timedelta(hours=hours)
    versions = [accepted(number, days) for number, days in enumerate(left, start=1)]
    result = planned(*versions, renewal=renewal, now=now, deploy_now=deploy_now)
    ends = {one.number: one.accepted.not_after for one in versions if one.accepted}
    beside = {
        one.version
        for one in result.actions
        if one.kind in (Kind.DEPLOY, Kind.KEEP) and not one.timing.held_why
    }
    for action in result.actions:
        if action.timing.held_why:
            assert action.kind is Kind.DEPLOY
            assert not deploy_now
            kept = max(number for number in beside if number < action.version)
            assert ends[kept] - LIMITS.deploy_margin >= (action.timing.held_until or now)
    assert all(ends[number] >= now for number in beside)


@given(st.lists(lefts, max_size=4), st.integers(0, 72))
def test_without_windows_nothing_waits_and_nothing_is_only_kept(
    left: list[int], hours: int
) -> None:
    versions = [accepted(number, days) for number, days in enumerate(left, start=1)]
    result = planned(*versions, renewal=Renewal(), now=NOW + timedelta(hours=hours))
    assert all(action.timing == Timing() for action in result.actions)
    assert Kind.KEEP not in {action.kind for action in result.actions}
