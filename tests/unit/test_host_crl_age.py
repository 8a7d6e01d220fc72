# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a CRL set is, by two clocks, and what follows from it for a direction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_host import crl_age
from pki_host.crl_age import CURRENT, JUMPED, REFUSAL, STEADY, UNKNOWN, Age, Member, Moment, Stamp
from pki_host.crl_watch import Direction

HOUR, DAY = 3600, 86400
TOLERANCE = 300
NOW = Moment(1_800_000_000.0, "this boot", 500_000.0)
REFUSE, ALARM = Direction("refuse", DAY), Direction("alarm", DAY)
ALARMS = (25, 50, 75)


def stamp(wall: float, boottime: float | None = None, boot: str = NOW.boot) -> Stamp:
    """Confirmed so many seconds ago, by the wall clock and by the other."""
    return Stamp(NOW.wall - wall, boot, NOW.boottime - (wall if boottime is None else boottime))


def member(confirmed: Stamp | None, left: float | None = 30 * DAY, name: str = "dca") -> Member:
    return Member(name, None if left is None else NOW.wall + left, confirmed)


def age(*members: Member, now: Moment = NOW) -> Age:
    return crl_age.age_of(members, now, TOLERANCE)


@pytest.mark.parametrize(
    ("confirmed", "seconds", "clock"),
    [
        pytest.param(stamp(HOUR), HOUR, STEADY, id="both clocks agree"),
        pytest.param(stamp(HOUR, HOUR - 200), HOUR, STEADY, id="within the tolerance"),
        pytest.param(stamp(HOUR, 5 * HOUR), 5 * HOUR, JUMPED, id="wall clock set back"),
        pytest.param(stamp(-2 * HOUR, 5 * HOUR), 5 * HOUR, JUMPED, id="before its own stamp"),
        pytest.param(stamp(30 * HOUR, HOUR), 30 * HOUR, JUMPED, id="wall clock runs ahead"),
        pytest.param(stamp(HOUR, 9, boot="another"), HOUR, STEADY, id="another boot"),
        pytest.param(stamp(HOUR, 9, boot=""), HOUR, STEADY, id="no boot recorded"),
        pytest.param(stamp(-100, 9, boot="another"), 0, STEADY, id="just ahead of us"),
        pytest.param(stamp(-HOUR, 9, boot="another"), UNKNOWN, JUMPED, id="the future"),
        pytest.param(stamp(HOUR, -HOUR), UNKNOWN, JUMPED, id="after now in this boot"),
        pytest.param(None, UNKNOWN, STEADY, id="never confirmed"),
    ],
)
def test_the_larger_of_two_clocks_says_how_old_a_crl_is(
    confirmed: Stamp | None, seconds: int, clock: str
) -> None:
    found = age(member(confirmed))
    assert (found.seconds, found.clock) == (seconds, clock)


def test_a_set_is_as_old_as_its_oldest_crl_and_unknown_when_one_is() -> None:
    young, old = member(stamp(HOUR), name="dca"), member(stamp(9 * HOUR), name="root")
    assert (age(young, old).seconds, age(young, old).oldest) == (9 * HOUR, "root")
    unknown = age(young, member(None, name="root"))
    assert unknown.seconds == UNKNOWN
    assert "root" in unknown.problem
    assert unknown.used_percent(DAY) == 100
    assert age().seconds == UNKNOWN
    assert crl_age.decide(age(), REFUSE, "a grace").in_force == REFUSAL


def test_the_first_next_update_counts_and_a_clock_set_back_does_not_move_it() -> None:
    soon, late = member(stamp(0), HOUR, "dca"), member(stamp(0), DAY, "root")
    assert (age(soon, late).left, age(soon, late).first) == (HOUR, "dca")
    back = Moment(NOW.wall - DAY, NOW.boot, NOW.boottime + 2 * HOUR)
    assert age(soon, late, now=back).left == -HOUR
    assert age(soon, member(stamp(0), None, "root")).expired


@pytest.mark.parametrize(
    ("seconds_old", "percent"),
    [(0, 0), (6 * HOUR - 1, 0), (6 * HOUR, 25), (12 * HOUR, 50), (18 * HOUR, 75), (DAY - 1, 75),
     (DAY, 75), (DAY + 1, 100), (9 * DAY, 100)],
)  # fmt: skip
def test_an_alarm_is_reached_at_its_percent_of_the_budget(seconds_old: int, percent: int) -> None:
    assert age(member(stamp(seconds_old))).alarm_percent(DAY, ALARMS) == percent


def test_a_trust_entry_is_measured_by_its_smallest_budget() -> None:
    found = age(member(stamp(6 * HOUR)))
    directions = {"ingress": REFUSE, "egress": Direction("alarm", 8 * HOUR)}
    assert crl_age.alarm_of(found, directions, ALARMS) == (75, 75)
    assert crl_age.alarm_of(found, {}, ALARMS) == (0, 0)


GRACE = "Ada granted a grace"
FRESH, STALE = member(stamp(HOUR)), member(stamp(DAY + 1))
EXPIRED, UNCONFIRMED = member(stamp(HOUR), -1), member(None)


@pytest.mark.parametrize(
    ("one", "direction", "grace", "in_force", "said"),
    [
        (FRESH, REFUSE, "", CURRENT, ""),
        (FRESH, None, "", CURRENT, ""),
        (STALE, None, "", CURRENT, ""),
        (STALE, REFUSE, "", REFUSAL, "86401 s ago, 86400 s are allowed"),
        (STALE, REFUSE, GRACE, CURRENT, GRACE),
        (STALE, ALARM, "", CURRENT, "only wants an alarm"),
        (UNCONFIRMED, REFUSE, "", REFUSAL, "nobody recorded"),
        (UNCONFIRMED, REFUSE, GRACE, CURRENT, GRACE),
        (EXPIRED, REFUSE, "", REFUSAL, "past its next update"),
        (EXPIRED, REFUSE, GRACE, REFUSAL, "past its next update"),
        (EXPIRED, ALARM, GRACE, CURRENT, "TLS library refuses"),
    ],
)
def test_stale_is_refused_unless_the_policy_or_a_grace_says_otherwise(
    one: Member, direction: Direction | None, grace: str, in_force: str, said: str
) -> None:
    decision = crl_age.decide(age(one), direction, grace)
    assert decision.in_force == in_force
    assert said in decision.why
    assert bool(decision.why) == bool(said)


seconds = st.integers(0, 4 * DAY)
members = st.lists(
    st.builds(
        lambda ago, left, boot: member(stamp(ago, ago, boot), left),
        seconds,
        st.integers(-DAY, 30 * DAY),
        st.sampled_from((NOW.boot, "another")),
    ),
    min_size=1,
    max_size=4,
)


@given(members, st.integers(0, 2 * DAY), st.booleans())
def test_with_time_a_set_only_gets_older_and_never_comes_back_into_force(
    crls: list[Member], passed: int, excused: bool
) -> None:
    grace = GRACE if excused else ""
    later = Moment(NOW.wall + passed, NOW.boot, NOW.boottime + passed)
    first, second = age(*crls), age(*crls, now=later)
    assert second.seconds == first.seconds + passed
    assert second.left == first.left - passed
    assert second.used_percent(DAY) >= first.used_percent(DAY)
    if crl_age.decide(first, REFUSE, grace).in_force == REFUSAL:
        assert crl_age.decide(second, REFUSE, grace).in_force == REFUSAL


@given(members, st.booleans())
def test_a_fresh_set_is_never_refused_and_no_grace_excuses_an_expired_one(
    crls: list[Member], excused: bool
) -> None:
    found = age(*crls)
    in_force = crl_age.decide(found, REFUSE, GRACE if excused else "").in_force
    stale = any(NOW.wall - one.confirmed.at > DAY for one in crls if one.confirmed)
    expired = any(one.next_update is not None and one.next_update <= NOW.wall for one in crls)
    assert (in_force == REFUSAL) == (expired or (stale and not excused))


@given(members, st.integers(-4 * DAY, 4 * DAY))
def test_setting_the_wall_clock_never_makes_a_set_of_this_boot_younger(
    crls: list[Member], moved: int
) -> None:
    here = [
        replace(one, confirmed=replace(one.confirmed, boot=NOW.boot))
        for one in crls
        if one.confirmed
    ]
    found = age(*here, now=Moment(NOW.wall + moved, NOW.boot, NOW.boottime))
    assert found.seconds >= age(*here).seconds
    assert found.left <= age(*here).left
    assert found.clock == (JUMPED if abs(moved) > TOLERANCE else STEADY)


@pytest.mark.parametrize("text", ["", "yesterday", None, 7, "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_none(text: object) -> None:
    assert crl_age.epoch(text) is None


def test_a_time_is_read_as_it_was_written() -> None:
    assert crl_age.epoch(crl_age.iso(NOW.wall)) == NOW.wall
    assert crl_age.epoch("2026-01-02T00:00:00") == crl_age.epoch("2026-01-02T00:00:00+00:00")
