# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a plan, check by check: since when, who is waited for, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pki.lifecycle import (
    Accepted,
    Asked,
    Hold,
    Intent,
    KeyVersion,
    Limits,
    Observed,
    Reason,
    Requested,
    Revocation,
    State,
    Version,
    Wanted,
)
from pki.plan import Action, CertificatePlan, plan
from pki.plan_case import Case, Verdict
from pki.plan_checks import CHECKS, in_service, never_requested
from pki.windows import Freeze, Renewal

NOW = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ASKED, ACCEPTED, ENDED, MADE = NOW - 10 * DAY, NOW - 90 * DAY, NOW - 2 * DAY, NOW - 11 * DAY
LIMITS = Limits(renewal_window=45 * DAY)
SUBJECT = {"O": "Example Energy Ltd", "L": "London", "ST": "London", "C": "GB"}
INTENT = Intent("energydip-nonprod.example.co.uk", SUBJECT, frozenset({"mtls"}), "mhhs-dip")
EDITED = replace(INTENT, subject={**SUBJECT, "L": "Leeds"})
MOVED = ("L London -> Leeds",)
WANTED = Wanted("dip-nonprod", INTENT, "gateways")
ENGINEER, ADMIN = "a platform engineer", "a Certificate Admin"
ADMIN_AND_CA = "a Certificate Admin and the CA"


def requested(number: int, intent: Intent = INTENT) -> Version:
    return Version(number, Requested(intent, f"spki-{number}", ASKED))


def accepted(number: int, ends: datetime = NOW + 300 * DAY, **changes: object) -> Version:
    record = Accepted(f"5e{number}", NOW - 98 * DAY, ends, ACCEPTED)
    return replace(requested(number), accepted=replace(record, **changes), has_reply=True)


def ended(number: int, outcome: str) -> Version:
    return replace(requested(number), outcome=outcome, outcome_at=ENDED)


def key(number: int) -> KeyVersion:
    return KeyVersion(MADE, f"spki-{number}")


def seen(*versions: Version, served: Mapping[str, str | None] | None = None) -> Observed:
    """The versions, each with its key in the store."""
    return Observed({v.number: key(v.number) for v in versions}, versions, served or {})


@dataclass(frozen=True)
class Row:
    """A situation and what its row says; ``told`` stands in message and next step together."""

    observed: Observed
    reason: Reason
    since: datetime | None
    told: tuple[str, ...]
    waits_for: str = ""
    person: bool = False
    difference: tuple[str, ...] = ()
    intent: Intent = INTENT
    store: str = "transit"
    renewal: Renewal = field(default_factory=Renewal)
    held_by: tuple[Hold, ...] = ()


DEVICE = replace(INTENT, store="external")
FROZEN = Renewal(freezes=(Freeze(None, date(2026, 11, 9), "trading", ZoneInfo("UTC")),))
ENDS = NOW + 40 * DAY
LEAK = "compromised.yml: a laptop was stolen"
ROWS = {
    "a key in service that leaked": Row(
        seen(replace(accepted(1), compromised=LEAK)),
        Reason.KEY_COMPROMISED,
        None,
        (
            "the key of certificate v1 is compromised",
            LEAK,
            "make a new key and request",
            "raise the incident",
            "v1 is out of service and its listeners are closed",
            "playbooks/revoke.yml -e certificate=dip-nonprod",
        ),
        person=True,
    ),
    "a key of an open request that leaked": Row(
        seen(accepted(1), replace(requested(2), compromised=LEAK, has_reply=True)),
        Reason.KEY_COMPROMISED,
        ASKED,
        ("the key of request v2 is compromised", LEAK, "outcome=withdrawn", "playbooks/renew.yml"),
        "a person to withdraw it",
        person=True,
    ),
    "a key that is lost": Row(
        Observed(versions=(requested(1),)),
        Reason.KEY_LOST,
        ASKED,
        ("request v1", "not in its store", "restore the key from a backup", "withdrawn"),
        ENGINEER,
        person=True,
    ),
    "a key that was replaced": Row(
        Observed({1: KeyVersion(MADE, "another")}, (requested(1),)),
        Reason.KEY_CHANGED,
        ASKED,
        ("request v1", "another key", "find out who replaced"),
        ENGINEER,
        person=True,
    ),
    "an edit while a request is open": Row(
        seen(accepted(1), requested(2)),
        Reason.PENDING_EDITED,
        ASKED,
        ("request v2 is open", "stays as it is", "undo the edit"),
        ADMIN,
        person=True,
        difference=MOVED,
        intent=EDITED,
    ),
    "a reply that has arrived": Row(
        seen(accepted(1), replace(requested(2), has_reply=True)),
        Reason.REPLY_PRESENT,
        ASKED,
        ("a reply to request v2", "accept v2"),
    ),
    "a first request that is out": Row(
        seen(requested(1)),
        Reason.WAITING_FOR_REPLY,
        ASKED,
        ("request v1 is open|", "submit the request in the portal"),
        ADMIN_AND_CA,
    ),
    "a renewal that is out": Row(
        seen(accepted(1, ENDS), requested(2)),
        Reason.WAITING_FOR_REPLY,
        ASKED,
        ("request v2 is open beside the live one|",),
        ADMIN_AND_CA,
    ),
    "a key whose request is not committed": Row(
        Observed({1: key(1)}),
        Reason.REQUEST_FILES_MISSING,
        MADE,
        ("the key of v1 exists", "commit the request directory"),
        ADMIN_AND_CA,
    ),
    "nothing yet": Row(
        Observed(), Reason.NEVER_REQUESTED, None, ("nothing exists", "make the key and the request")
    ),
    "a rejected request": Row(
        seen(ended(1, "rejected")),
        Reason.REQUEST_REJECTED,
        ENDED,
        ("request v1 was rejected|", "edit the entry, or, to ask for the same again"),
        "a person to ask again",
        person=True,
    ),
    "a request that a person asked for": Row(
        Observed({1: key(1)}, (accepted(1), Version(2, asked=Asked("lost laptop", ENDED)))),
        Reason.ASKED_FOR,
        ENDED,
        ("asked for on 2026-11-01: lost laptop", "make a new key and request|"),
    ),
    "an edit after a withdrawal": Row(
        seen(ended(1, "withdrawn")),
        Reason.REQUEST_WITHDRAWN,
        ENDED,
        ("request v1 was withdrawn", "edited since", "for the edited entry"),
        difference=MOVED,
        intent=EDITED,
    ),
    "a revoked certificate": Row(
        seen(accepted(1, revoked_at=NOW - 3 * DAY)),
        Reason.CERTIFICATE_REVOKED,
        NOW - 3 * DAY,
        ("certificate v1 was revoked on 2026-10-31", "cannot be reclaimed"),
    ),
    "a certificate whose holder is to have none": Row(
        seen(replace(accepted(1), revocation=Revocation("ineligible", final=True))),
        Reason.HOLDER_ENDS,
        None,
        ("certificate v1 is to be revoked for good (ineligible)", "once it is revoked"),
        person=True,
    ),
    "a revoked certificate whose holder is to have none": Row(
        seen(
            replace(
                accepted(1, revoked_at=NOW - 3 * DAY),
                revocation=Revocation("cessation", final=True),
            )
        ),
        Reason.HOLDER_ENDS,
        NOW - 3 * DAY,
        ("certificate v1 was revoked on 2026-10-31 for good", "out of the inventory"),
        person=True,
    ),
    "an expired certificate": Row(
        seen(accepted(1, NOW - 4 * DAY)),
        Reason.CERTIFICATE_EXPIRED,
        NOW - 4 * DAY,
        ("certificate v1 expired on 2026-10-30", "at once"),
    ),
    "an edit after acceptance": Row(
        seen(accepted(1)),
        Reason.INVENTORY_CHANGED,
        ACCEPTED,
        ("differs from certificate v1; it stays in service", "for the edited entry"),
        difference=MOVED,
        intent=EDITED,
    ),
    "the renewal window": Row(
        seen(accepted(1, ENDS)),
        Reason.RENEWAL_WINDOW,
        ENDS - 45 * DAY,
        ("certificate v1 ends on 2026-12-13", "beside the live one"),
    ),
    "a certificate nobody has looked at": Row(
        seen(accepted(1)),
        Reason.NOT_YET_SERVED,
        ACCEPTED,
        ("certificate v1 is accepted|", "deploy it"),
    ),
    "hosts that serve another": Row(
        seen(accepted(1), served={"gw2": None, "gw1": "old", "gw3": "5e1"}),
        Reason.NOT_YET_SERVED,
        ACCEPTED,
        ("certificate v1 is accepted; not served by gw1, gw2|",),
    ),
    "a host that did not answer": Row(
        Observed(keys_known=False),
        Reason.HOST_NOT_ASKED,
        None,
        ("nothing exists for it yet; the host could not be asked", "nothing is changed"),
        "gateways",
        store="host",
    ),
    "a device that has to make a request": Row(
        Observed(keys_known=False),
        Reason.NEVER_REQUESTED,
        None,
        ("nothing exists", "playbooks/supply.yml -e certificate=dip-nonprod -e csr_file=FILE|"),
        "whoever looks after the device",
        person=True,
        intent=DEVICE,
        store="external",
    ),
    "a certificate for a device": Row(
        Observed(
            versions=(replace(accepted(1), requested=Requested(DEVICE, "spki-1", ASKED)),),
            keys_known=False,
        ),
        Reason.LEFT_TO_THE_DEVICE,
        ACCEPTED,
        (
            "certificate v1 is accepted for a device's key|",
            "upload certificate.pem and chain.pem of certificates/dip-nonprod/1/ to the device",
            "renew from 2027-07-16",
        ),
        intent=DEVICE,
        store="external",
    ),
    "a deployment that waits": Row(
        seen(accepted(1, ENDS), accepted(2), served={"gw1": "5e1"}),
        Reason.WAITS_FOR_WINDOW,
        ACCEPTED,
        ("v2 is accepted; not served by gw1; deployments are frozen (trading)|", "deploy it then"),
        "the window from 2026-11-10 00:00 UTC",
        renewal=FROZEN,
    ),
    "a rule that holds": Row(
        seen(accepted(1, ENDS)),
        Reason.HELD_BY_RULE,
        ENDS - 45 * DAY,
        (
            "certificate v1 ends on 2026-12-13; no key or request is made: DIP-5.2-VETTED, nobody",
            "write the day of vetting|",
        ),
        "a person to settle it",
        person=True,
        held_by=(
            Hold("DIP-5.2-VETTED", "nobody recorded the vetting", "write the day of vetting"),
        ),
    ),
    "in service": Row(
        seen(accepted(1), served={"gw1": "5e1"}),
        Reason.IN_SERVICE,
        ACCEPTED,
        ("in service|", "renew from 2027-07-16"),
    ),
}


def planned(row: Row) -> CertificatePlan:
    wanted = replace(WANTED, intent=row.intent, store=row.store, renewal=row.renewal)
    wanted = replace(wanted, held_by=row.held_by)
    return plan(wanted, row.observed, LIMITS, NOW)


@pytest.mark.parametrize("situation", ROWS)
def test_the_row_tells_since_when_who_is_waited_for_and_what_to_do(situation: str) -> None:
    row, result = ROWS[situation], planned(ROWS[situation])
    assert result.reason is row.reason
    assert (result.since, result.waits_for) == (row.since, row.waits_for)
    assert result.needs_person is row.person
    assert result.difference == row.difference
    text = f"{result.message}| {result.next_action}|"
    for words in row.told:
        assert words in text


@pytest.mark.parametrize("situation", ROWS)
def test_a_row_is_part_of_a_sentence_and_does_not_shout(situation: str) -> None:
    """The table sets the columns side by side: no capital to begin with, no full stop."""
    result = planned(ROWS[situation])
    for text in (result.message, result.next_action):
        assert text[0].islower()
        assert text[-1] != "."
        assert not text.isupper()


def test_every_reason_has_a_row() -> None:
    assert {row.reason for row in ROWS.values()} == set(Reason)


def test_a_plan_names_the_certificate_and_how_long_the_live_one_lasts() -> None:
    served = {"gw1": "5e1"}
    result = plan(WANTED, seen(accepted(1, ENDS), requested(2), served=served), LIMITS, NOW)
    assert (result.name, result.common_name) == ("dip-nonprod", INTENT.common_name)
    assert result.hosts == "gateways"
    assert (result.live, result.pending, result.serial) == (1, 2, "5e1")
    assert (result.not_after, result.days_left) == (ENDS, 40)
    assert result.served == served


def test_a_day_that_has_begun_is_not_counted_as_left() -> None:
    ends = NOW + DAY - timedelta(seconds=1)
    assert plan(WANTED, seen(accepted(1, ends)), LIMITS, NOW).days_left == 0


def test_a_plan_for_nothing_says_nothing_of_a_certificate() -> None:
    result = plan(WANTED, Observed(), LIMITS, NOW)
    assert (result.live, result.pending, result.serial) == (None, None, "")
    assert (result.not_after, result.days_left, result.served) == (None, None, {})


def test_an_action_says_what_is_to_be_done_to_which_certificate_where_and_why() -> None:
    result = plan(WANTED, seen(accepted(1, ENDS)), LIMITS, NOW)
    assert {(a.certificate, a.hosts) for a in result.actions} == {("dip-nonprod", "gateways")}
    assert [reasoned(action) for action in result.actions] == [
        ("accept", 1, Reason.IN_SERVICE),
        ("deploy", 1, Reason.IN_SERVICE),
        ("create_key", 2, Reason.RENEWAL_WINDOW),
        ("write_request", 2, Reason.RENEWAL_WINDOW),
    ]


def reasoned(action: Action) -> tuple[str, int, Reason]:
    return action.kind.value, action.version, action.reason


# --- checks asked one by one --------------------------------------------------------------


def asked(observed: Observed) -> Case:
    return Case(WANTED, observed, LIMITS, NOW)


def test_only_one_check_has_something_to_say_of_nothing() -> None:
    """Whatever stands before it in the order, a check must bear a case with nothing in it."""
    spoken = [check for check in CHECKS[:-1] if check(asked(Observed())) is not None]
    assert spoken == [never_requested]


def test_the_last_check_always_answers() -> None:
    verdict: Verdict | None = in_service(asked(Observed()))
    assert verdict is not None
    assert (verdict.since, verdict.next_action) == (None, "renew from 2026-11-03")


def test_an_outcome_without_a_readable_request_waits_for_a_person() -> None:
    gone = Version(1, outcome="rejected", outcome_at=ENDED)
    result = plan(WANTED, seen(gone), LIMITS, NOW)
    assert (result.state, result.since, result.actions) == (State.REJECTED, ENDED, ())
    assert result.needs_person


def test_an_accepted_certificate_without_its_request_is_served_as_it_is() -> None:
    lone = replace(accepted(1), requested=None)
    result = plan(replace(WANTED, intent=EDITED), seen(lone), LIMITS, NOW)
    assert (result.reason, result.difference) == (Reason.NOT_YET_SERVED, ())


def test_an_edit_does_not_change_the_state_but_only_what_is_to_be_done() -> None:
    edited = replace(WANTED, intent=EDITED)
    states = [
        plan(edited, observed, LIMITS, NOW).state
        for observed in (
            seen(requested(1)),
            seen(ended(1, "rejected")),
            seen(ended(1, "withdrawn")),
        )
    ]
    assert states == [State.REQUESTED, State.REJECTED, State.WITHDRAWN]


def test_versions_may_come_in_any_order() -> None:
    versions = (accepted(2), accepted(1, ENDS), ended(3, "withdrawn"))
    result = plan(WANTED, seen(*versions), LIMITS, NOW)
    assert (result.live, result.state) == (2, State.WITHDRAWN)
    assert result.versions == {
        2: State.ACCEPTED,
        1: State.SUPERSEDED,
        3: State.WITHDRAWN,
    }


def test_a_certificate_ends_after_its_last_second() -> None:
    for ends, state in ((NOW, State.DUE), (NOW - timedelta(seconds=1), State.EXPIRED)):
        result = plan(WANTED, seen(accepted(1, ends)), LIMITS, NOW)
        assert result.state is state
