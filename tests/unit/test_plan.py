# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a certificate, played through ``plan()`` alone: values in, values out."""

from __future__ import annotations

from dataclasses import replace
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
from pki.plan_checks import CHECKS

NOW = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = Limits(renewal_window=45 * DAY)
INTENT = Intent(
    "energydip-nonprod.example.co.uk",
    {"O": "Example Energy Ltd", "L": "London", "ST": "London", "C": "GB"},
    frozenset({"mtls", "signing"}),
    "mhhs-dip",
)
EDITED = replace(INTENT, common_name="energydip-nonprod.other.co.uk")
WANTED = Wanted("dip-nonprod", INTENT, "gateways")


def key(number: int) -> KeyVersion:
    return KeyVersion(NOW - 10 * DAY, f"spki-{number}")


def requested(number: int, **changes: object) -> Version:
    base = Requested(INTENT, f"spki-{number}", NOW - 10 * DAY)
    return Version(number, requested=replace(base, **changes))


def accepted(number: int, ends: datetime = NOW + 300 * DAY, **changes: object) -> Version:
    record = Accepted(f"serial-{number}", NOW - 98 * DAY, ends, NOW - 90 * DAY)
    return replace(requested(number), accepted=replace(record, **changes), has_reply=True)


def ended(number: int, outcome: str) -> Version:
    return replace(requested(number), outcome=outcome, outcome_at=NOW - DAY)


def asked(number: int, reason: str = "the portal was down") -> Version:
    """A version directory with nothing but a person's word in it."""
    return Version(number, asked=Asked(reason, NOW - DAY))


def keys(*numbers: int) -> dict[int, KeyVersion]:
    return {number: key(number) for number in numbers}


def steps(result: CertificatePlan) -> list[tuple[str, int]]:
    return [(action.kind.value, action.version) for action in result.actions]


NEW = ["create_key", "write_request"]
SERVE_1 = [("accept", 1), ("deploy", 1)]

CASES = {
    "a declared certificate without anything gets a key and a request": (
        Observed(),
        State.ABSENT,
        Reason.NEVER_REQUESTED,
        [("create_key", 1), ("write_request", 1)],
    ),
    "a key without a request is the pending request and is never made twice": (
        Observed(keys=keys(1)),
        State.REQUESTED,
        Reason.REQUEST_FILES_MISSING,
        [("write_request", 1)],
    ),
    "an open request waits and does nothing": (
        Observed(keys=keys(1), versions=(requested(1),)),
        State.REQUESTED,
        Reason.WAITING_FOR_REPLY,
        [],
    ),
    "a reply is judged and deployed in the same run": (
        Observed(keys=keys(1), versions=(replace(requested(1), has_reply=True),)),
        State.REQUESTED,
        Reason.REPLY_PRESENT,
        SERVE_1,
    ),
    "an accepted certificate that nobody looked at is deployed": (
        Observed(keys=keys(1), versions=(accepted(1),)),
        State.ACCEPTED,
        Reason.NOT_YET_SERVED,
        SERVE_1,
    ),
    "a host that serves another serial keeps the state accepted": (
        Observed(keys(1), (accepted(1),), {"gw1": "serial-1", "gw2": "old"}),
        State.ACCEPTED,
        Reason.NOT_YET_SERVED,
        SERVE_1,
    ),
    "a certificate that every host serves is deployed, and still judged every run": (
        Observed(keys(1), (accepted(1),), {"gw1": "serial-1"}),
        State.DEPLOYED,
        Reason.IN_SERVICE,
        SERVE_1,
    ),
    "inside the renewal window a second version is made beside the live one": (
        Observed(keys(1), (accepted(1, NOW + 44 * DAY),), {"gw1": "serial-1"}),
        State.DUE,
        Reason.RENEWAL_WINDOW,
        [*SERVE_1, ("create_key", 2), ("write_request", 2)],
    ),
    "while the renewal is open the live certificate stays in service": (
        Observed(keys(1, 2), (accepted(1, NOW + 44 * DAY), requested(2))),
        State.REQUESTED,
        Reason.WAITING_FOR_REPLY,
        SERVE_1,
    ),
    "a renewal's key made by a run whose files were never merged is used again": (
        Observed(keys(1, 2), (accepted(1, NOW + 44 * DAY),)),
        State.REQUESTED,
        Reason.REQUEST_FILES_MISSING,
        [*SERVE_1, ("write_request", 2)],
    ),
    "the renewal's reply is judged while the live certificate stays deployable": (
        Observed(keys(1, 2), (accepted(1, NOW + 44 * DAY), replace(requested(2), has_reply=True))),
        State.REQUESTED,
        Reason.REPLY_PRESENT,
        [*SERVE_1, ("accept", 2), ("deploy", 2)],
    ),
    "after the renewal only the newest version is served": (
        Observed(keys(1, 2), (accepted(1, NOW + 40 * DAY), accepted(2)), {"gw1": "serial-2"}),
        State.DEPLOYED,
        Reason.IN_SERVICE,
        [("accept", 2), ("deploy", 2)],
    ),
    "an expired certificate is not deployed again and a new one is asked for": (
        Observed(keys(1), (accepted(1, NOW - DAY),)),
        State.EXPIRED,
        Reason.CERTIFICATE_EXPIRED,
        [("create_key", 2), ("write_request", 2)],
    ),
    "a revoked certificate is not deployed again and a new one is asked for": (
        Observed(keys(1), (accepted(1, revoked_at=NOW - DAY),)),
        State.REVOKED,
        Reason.CERTIFICATE_REVOKED,
        [("create_key", 2), ("write_request", 2)],
    ),
    "when the newest certificate is revoked the one before it is served meanwhile": (
        Observed(keys(1, 2), (accepted(1), accepted(2, revoked_at=NOW - DAY))),
        State.REVOKED,
        Reason.CERTIFICATE_REVOKED,
        [*SERVE_1, ("create_key", 3), ("write_request", 3)],
    ),
    "a rejected request waits for a person and is never offered again": (
        Observed(keys(1), (ended(1, "rejected"),)),
        State.REJECTED,
        Reason.REQUEST_REJECTED,
        [],
    ),
    "a withdrawn request waits for a person and is never offered again": (
        Observed(keys(1), (ended(1, "withdrawn"),)),
        State.WITHDRAWN,
        Reason.REQUEST_WITHDRAWN,
        [],
    ),
    "a rejected renewal leaves the live certificate in service": (
        Observed(keys(1, 2), (accepted(1, NOW + 44 * DAY), ended(2, "rejected"))),
        State.REJECTED,
        Reason.REQUEST_REJECTED,
        SERVE_1,
    ),
    "after a rejection a person's word makes a new key and request": (
        Observed(keys(1), (ended(1, "rejected"), asked(2))),
        State.REJECTED,
        Reason.ASKED_FOR,
        [("create_key", 2), ("write_request", 2)],
    ),
    "after a withdrawal a person's word makes a new key and request": (
        Observed(keys(1), (ended(1, "withdrawn"), asked(2))),
        State.WITHDRAWN,
        Reason.ASKED_FOR,
        [("create_key", 2), ("write_request", 2)],
    ),
    "a person's word renews early, beside the live certificate": (
        Observed(keys(1), (accepted(1), asked(2)), {"gw1": "serial-1"}),
        State.DUE,
        Reason.ASKED_FOR,
        [*SERVE_1, ("create_key", 2), ("write_request", 2)],
    ),
    "a rejected renewal that is asked for again keeps the live certificate in service": (
        Observed(keys(1, 2), (accepted(1, NOW + 44 * DAY), ended(2, "rejected"), asked(3))),
        State.REJECTED,
        Reason.ASKED_FOR,
        [*SERVE_1, ("create_key", 3), ("write_request", 3)],
    ),
    "a person's word about an expired certificate does not serve it again": (
        Observed(keys(1), (accepted(1, NOW - DAY), asked(2))),
        State.EXPIRED,
        Reason.ASKED_FOR,
        [("create_key", 2), ("write_request", 2)],
    ),
    "a person's word about a revoked certificate does not serve it again": (
        Observed(keys(1), (accepted(1, revoked_at=NOW - DAY), asked(2))),
        State.REVOKED,
        Reason.ASKED_FOR,
        [("create_key", 2), ("write_request", 2)],
    ),
    "a key that was made on a person's word is used again": (
        Observed(keys(1, 2), (ended(1, "rejected"), asked(2))),
        State.REQUESTED,
        Reason.REQUEST_FILES_MISSING,
        [("write_request", 2)],
    ),
    "the request that was asked for is open like any other": (
        Observed(keys(1, 2), (ended(1, "rejected"), replace(requested(2), asked=asked(2).asked))),
        State.REQUESTED,
        Reason.WAITING_FOR_REPLY,
        [],
    ),
    "a person's word is for one version: a rejection of that one needs another": (
        Observed(
            keys(1, 2),
            (ended(1, "rejected"), replace(ended(2, "rejected"), asked=asked(2).asked)),
        ),
        State.REJECTED,
        Reason.REQUEST_REJECTED,
        [],
    ),
    "a person's word for a version further on counts for nothing": (
        Observed(keys(1), (ended(1, "rejected"), asked(3))),
        State.REJECTED,
        Reason.REQUEST_REJECTED,
        [],
    ),
    "a person's word before anything exists changes nothing": (
        Observed(versions=(asked(1),)),
        State.ABSENT,
        Reason.NEVER_REQUESTED,
        [("create_key", 1), ("write_request", 1)],
    ),
    "a committed request whose key is gone needs a person": (
        Observed(versions=(requested(1),)),
        State.REQUESTED,
        Reason.KEY_LOST,
        [],
    ),
    "a committed request of another key than the store's needs a person": (
        Observed(keys(1), (requested(1, spki_sha256="somebody-else"),)),
        State.REQUESTED,
        Reason.KEY_CHANGED,
        [],
    ),
    "a request whose key was replaced is not accepted even when a reply is there": (
        Observed(keys(1), (replace(requested(1, spki_sha256="x"), has_reply=True),)),
        State.REQUESTED,
        Reason.KEY_CHANGED,
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_life(name: str) -> None:
    observed, state, reason, actions = CASES[name]
    result = plan(WANTED, observed, LIMITS, NOW)
    assert (result.state, result.reason, steps(result)) == (state, reason, actions)
    assert result.message
    assert result.next_action


def test_an_edit_after_acceptance_plans_a_new_version_and_keeps_the_live_one() -> None:
    observed = Observed(keys(1), (accepted(1),), {"gw1": "serial-1"})
    result = plan(replace(WANTED, intent=EDITED), observed, LIMITS, NOW)
    assert result.state is State.CHANGED
    assert steps(result) == [*SERVE_1, ("create_key", 2), ("write_request", 2)]
    assert result.difference == (
        "common name energydip-nonprod.example.co.uk -> energydip-nonprod.other.co.uk",
    )


def test_an_edit_while_a_request_is_open_keeps_the_request_and_asks_a_person() -> None:
    observed = Observed(keys(1), (replace(requested(1), has_reply=True),))
    result = plan(replace(WANTED, intent=EDITED), observed, LIMITS, NOW)
    assert (result.reason, steps(result)) == (Reason.PENDING_EDITED, [])
    assert result.needs_person


def test_a_certificate_for_signing_only_is_in_service_without_any_gateway() -> None:
    signing = replace(WANTED, intent=replace(INTENT, purposes=frozenset({"signing"})))
    kept = replace(accepted(1), requested=Requested(signing.intent, "spki-1", NOW))
    result = plan(signing, Observed(keys(1), (kept,)), LIMITS, NOW)
    assert result.state is State.DEPLOYED
    assert steps(result) == [("accept", 1)]
    arrived = replace(kept, accepted=None, has_reply=True)
    assert steps(plan(signing, Observed(keys(1), (arrived,)), LIMITS, NOW)) == [("accept", 1)]


@pytest.mark.parametrize("outcome", ["rejected", "withdrawn"])
def test_an_edit_after_an_outcome_is_the_persons_word_for_a_new_request(outcome: str) -> None:
    observed = Observed(keys(1), (ended(1, outcome),))
    result = plan(replace(WANTED, intent=EDITED), observed, LIMITS, NOW)
    assert steps(result) == [("create_key", 2), ("write_request", 2)]


def test_what_was_asked_for_is_told_with_its_day_and_reason_and_cannot_steer_a_terminal() -> None:
    observed = Observed(keys(1), (ended(1, "rejected"), asked(2, "portal\x1b[2J down")))
    result = plan(WANTED, observed, LIMITS, NOW)
    assert result.message == ("a new request was asked for on 2026-11-02: portal\\x1b[2J down")
    assert not result.needs_person


def test_a_version_that_is_only_asked_for_is_absent_and_not_pending() -> None:
    observed = Observed(keys(1), (ended(1, "rejected"), asked(2)))
    result = plan(WANTED, observed, LIMITS, NOW)
    assert result.pending is None
    assert result.versions == {1: State.REJECTED, 2: State.ABSENT}
    made = plan(WANTED, replace(observed, keys=keys(1, 2)), LIMITS, NOW)
    assert made.pending == 2


RENEW = 'ansible-playbook -i INVENTORY playbooks/renew.yml -e certificate=dip-nonprod -e "reason='
WITHDRAW = (
    "ansible-playbook -i INVENTORY playbooks/outcome.yml -e certificate=dip-nonprod "
    '-e outcome=withdrawn -e "reason='
)


@pytest.mark.parametrize(
    ("observed", "command"),
    [
        (Observed(keys(1), (ended(1, "rejected"),)), RENEW),
        (Observed(keys(1), (ended(1, "withdrawn"),)), RENEW),
        (Observed(versions=(requested(1),)), WITHDRAW),
        (Observed(keys(1), (requested(1, spki_sha256="x"),)), WITHDRAW),
    ],
)
def test_who_must_decide_is_told_what_to_type(observed: Observed, command: str) -> None:
    result = plan(WANTED, observed, LIMITS, NOW)
    assert command in result.next_action
    assert result.needs_person


def test_who_edited_while_a_request_is_open_is_told_what_to_type() -> None:
    result = plan(replace(WANTED, intent=EDITED), Observed(keys(1), (requested(1),)), LIMITS, NOW)
    assert WITHDRAW in result.next_action


@pytest.mark.parametrize(
    ("days", "state"),
    [(46, State.DEPLOYED), (45, State.DUE), (0, State.DUE)],
)
def test_the_renewal_window_opens_at_the_exact_moment(days: int, state: State) -> None:
    observed = Observed(keys(1), (accepted(1, NOW + days * DAY),), {"gw1": "serial-1"})
    assert plan(WANTED, observed, LIMITS, NOW).state is state


def test_every_version_has_a_state_of_its_own() -> None:
    versions = (
        ended(1, "withdrawn"),
        accepted(2),
        accepted(3, revoked_at=NOW - DAY),
        accepted(4),
        requested(5),
    )
    result = plan(WANTED, Observed(keys(1, 2, 3, 4, 5), versions), LIMITS, NOW)
    assert {number: state.value for number, state in result.versions.items()} == {
        1: "withdrawn",
        2: "superseded",
        3: "revoked",
        4: "accepted",
        5: "requested",
    }


def test_a_whole_life_from_nothing_to_the_third_certificate() -> None:
    """Each step does what the plan said, and the next plan is made from that."""
    told: list[tuple[str, list[tuple[str, int]]]] = []
    observed, now = Observed(), NOW

    def step() -> None:
        result = plan(WANTED, observed, LIMITS, now)
        told.append((result.state.value, steps(result)))

    step()
    observed = Observed(keys(1), (requested(1),))
    step()
    observed = Observed(keys(1), (replace(requested(1), has_reply=True),))
    step()
    first = accepted(1, NOW + 398 * DAY)
    observed = Observed(keys(1), (first,), {"gw1": "serial-1"})
    step()
    now = NOW + 360 * DAY
    step()
    observed = Observed(keys(1, 2), (first, requested(2)), {"gw1": "serial-1"})
    step()
    second = accepted(2, now + 398 * DAY)
    observed = Observed(keys(1, 2), (first, second), {"gw1": "serial-2"})
    step()
    now = NOW + 500 * DAY
    gone = replace(second, accepted=replace(second.accepted, revoked_at=now))
    observed = Observed(keys(1, 2), (first, gone))
    step()
    assert told == [
        ("absent", [("create_key", 1), ("write_request", 1)]),
        ("requested", []),
        ("requested", SERVE_1),
        ("deployed", SERVE_1),
        ("due", [*SERVE_1, ("create_key", 2), ("write_request", 2)]),
        ("requested", SERVE_1),
        ("deployed", [("accept", 2), ("deploy", 2)]),
        ("revoked", [("create_key", 3), ("write_request", 3)]),
    ]


moments = st.integers(-500, 500).map(lambda days: NOW + days * DAY)


@st.composite
def histories(draw: st.DrawFn) -> Observed:
    versions = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        kind = draw(
            st.sampled_from(["requested", "reply", "accepted", "revoked", "rejected", "asked"])
        )
        versions.append(
            {
                "requested": requested(number),
                "reply": replace(requested(number), has_reply=True),
                "accepted": accepted(number, draw(moments)),
                "revoked": accepted(number, draw(moments), revoked_at=NOW - DAY),
                "rejected": ended(number, "rejected"),
                "asked": asked(number),
            }[kind]
        )
    count = draw(st.integers(0, len(versions) + 1))
    return Observed(keys(*range(1, count + 1)), tuple(versions))


@given(histories())
def test_some_check_always_answers_and_no_settled_version_is_ever_asked_for_again(
    observed: Observed,
) -> None:
    result = plan(WANTED, observed, LIMITS, NOW)
    settled = {version.number for version in observed.versions if version.settled}
    made = {a.version for a in result.actions if a.kind in (Kind.CREATE_KEY, Kind.WRITE_REQUEST)}
    assert not made & settled
    assert all(a.version not in observed.keys for a in result.actions if a.kind is Kind.CREATE_KEY)


@given(histories())
def test_after_an_outcome_no_run_asks_again_without_a_persons_word(observed: Observed) -> None:
    result = plan(WANTED, observed, LIMITS, NOW)
    versions = {version.number: version for version in observed.versions}
    for action in result.actions:
        before = versions.get(action.version - 1)
        if action.kind is Kind.CREATE_KEY and before is not None and before.outcome is not None:
            assert versions[action.version].asked is not None


@given(histories())
def test_nothing_revoked_or_expired_is_ever_deployed(observed: Observed) -> None:
    result = plan(WANTED, observed, LIMITS, NOW)
    versions = {version.number: version for version in observed.versions}
    for action in result.actions:
        record = versions[action.version].accepted if action.kind is Kind.DEPLOY else None
        if record is not None:
            assert record.revoked_at is None
            assert record.not_after >= NOW


def test_every_check_is_reached_by_the_table() -> None:
    """A check that no case reaches would be dead, or untested."""
    reached = {reason for _, _, reason, _ in CASES.values()}
    reached |= {Reason.INVENTORY_CHANGED, Reason.PENDING_EDITED}
    # These need a ledger, or a record of a revocation: test_plan_rows.py.
    reached |= {Reason.KEY_COMPROMISED, Reason.HOLDER_ENDS}
    # These need another store, or windows: test_plan_stores.py and test_plan_windows.py.
    reached |= {Reason.HOST_NOT_ASKED, Reason.LEFT_TO_THE_DEVICE, Reason.WAITS_FOR_WINDOW}
    # And this one a rule that holds: test_plan_held.py.
    reached.add(Reason.HELD_BY_RULE)
    assert reached == set(Reason)
    assert len(CHECKS) == len({check.__name__ for check in CHECKS})
