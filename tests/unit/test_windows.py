# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is asked for anew, and when a new one may go into service."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki.windows import DeployWindow, Freeze, Renewal, Timing, timing

LONDON, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("America/New_York")
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MON, TUE, WED, THU, FRI, SAT, SUN = range(7)
EVERY = frozenset(range(7))


def at(text: str) -> datetime:
    """A moment on London's clock; ``~`` at the end for the second time it shows that."""
    moment = datetime.fromisoformat(text.rstrip("~")).replace(tzinfo=LONDON)
    return moment.replace(fold=1) if text.endswith("~") else moment


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(days: object, opens: str, closes: str, zone: ZoneInfo = LONDON) -> DeployWindow:
    def minutes(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    return DeployWindow(frozenset(days), minutes(opens), minutes(closes), zone)  # type: ignore[arg-type]


def freeze(first: str, last: str, why: str = "end of year") -> Freeze:
    return Freeze(
        date.fromisoformat(first) if first else None,
        date.fromisoformat(last) if last else None,
        why,
        LONDON,
    )


NIGHTS = window([TUE, WED], "22:00", "04:00")
WEEKLY = Renewal(windows=(NIGHTS,))


# --- the request point ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("renewal", "lifetime", "days_before"),
    [
        (Renewal(), 398, 45),
        (Renewal(request_days=60), 398, 60),
        (Renewal(request_days=10), 398, 10),
        (Renewal(request_percent=20), 365, 73),
        (Renewal(request_percent=5), 100, 5),
        # Never more than a third of its life: a short certificate is not due at once.
        (Renewal(), 90, 30),
        (Renewal(), 30, 10),
        (Renewal(request_days=200), 300, 100),
        (Renewal(request_days=9999), 3, 1),
    ],
)
def test_the_request_point_is_counted_from_the_certificates_own_dates(
    renewal: Renewal, lifetime: int, days_before: int
) -> None:
    begins = utc("2026-03-01T12:00")
    ends = begins + lifetime * DAY
    assert renewal.request_point(begins, ends, 45 * DAY) == ends - days_before * DAY


@given(
    st.none() | st.integers(1, 9999), st.integers(1, 33), st.integers(1, 5000), st.integers(1, 400)
)
def test_no_certificate_is_due_before_two_thirds_of_its_life(
    days: int | None, percent: int, hours: int, usual: int
) -> None:
    begins, life = utc("2026-03-01T12:00"), hours * HOUR
    renewal = Renewal(days, None if days else percent)
    point = renewal.request_point(begins, begins + life, usual * DAY)
    assert begins + 2 * life / 3 <= point + timedelta(microseconds=1)
    assert point <= begins + life


def test_dates_in_the_wrong_order_make_it_due_at_its_end() -> None:
    ends = utc("2026-03-01T12:00")
    assert Renewal().request_point(ends + DAY, ends, 45 * DAY) == ends


# --- windows ----------------------------------------------------------------------------------

YEAR_END = freeze("2026-12-18", "2027-01-04")
OPENINGS = {
    "nothing is said": (Renewal(), "2026-11-03T12:00", "2026-11-03T12:00"),
    "in the middle of a window": (WEEKLY, "2026-11-03T23:00", "2026-11-03T23:00"),
    "at its first moment": (WEEKLY, "2026-11-03T22:00", "2026-11-03T22:00"),
    "a moment before": (WEEKLY, "2026-11-03T21:59", "2026-11-03T22:00"),
    "after midnight, still in the window of the day before": (
        WEEKLY,
        "2026-11-05T03:59",
        "2026-11-05T03:59",
    ),
    "at its last moment it is over": (WEEKLY, "2026-11-05T04:00", "2026-11-10T22:00"),
    "on the morning of its first day it is not open yet": (
        WEEKLY,
        "2026-11-03T03:00",
        "2026-11-03T22:00",
    ),
    "the nearest of several": (
        Renewal(windows=(NIGHTS, window([SUN], "06:00", "08:00"))),
        "2026-11-06T12:00",
        "2026-11-08T06:00",
    ),
    "a window of a whole day": (
        Renewal(windows=(window([SAT], "00:00", "24:00"),)),
        "2026-11-07T23:59",
        "2026-11-07T23:59",
    ),
    "a window to midnight": (
        Renewal(windows=(window([SAT], "22:00", "00:00"),)),
        "2026-11-08T00:00",
        "2026-11-14T22:00",
    ),
    "after a freeze, at the first midnight": (
        Renewal(freezes=(YEAR_END,)),
        "2026-12-18T00:00",
        "2027-01-05T00:00",
    ),
    "the day before a freeze": (
        Renewal(freezes=(YEAR_END,)),
        "2026-12-17T23:59",
        "2026-12-17T23:59",
    ),
    "after a freeze, at the next window": (
        Renewal(windows=(NIGHTS,), freezes=(YEAR_END,)),
        "2026-12-20T12:00",
        "2027-01-05T22:00",
    ),
    "a freeze that begins at midnight ends the window's night": (
        Renewal(windows=(NIGHTS,), freezes=(freeze("2026-11-04", "2026-11-04"),)),
        "2026-11-04T00:30",
        "2026-11-05T00:00",
    ),
    "freezes that touch": (
        Renewal(freezes=(YEAR_END, freeze("2027-01-05", "2027-01-06"))),
        "2026-12-20T12:00",
        "2027-01-07T00:00",
    ),
    "freezes that overlap": (
        Renewal(freezes=(freeze("2026-12-19", "2026-12-21"), YEAR_END)),
        "2026-12-20T12:00",
        "2027-01-05T00:00",
    ),
    "a freeze since ever": (
        Renewal(freezes=(freeze("", "2026-11-10"),)),
        "2026-11-03T12:00",
        "2026-11-11T00:00",
    ),
    "a freeze without an end": (
        Renewal(freezes=(freeze("2026-11-01", ""),)),
        "2026-11-03T12:00",
        "",
    ),
    "a freeze without an end behind the next window": (
        Renewal(windows=(NIGHTS,), freezes=(freeze("2026-11-10", ""),)),
        "2026-11-06T12:00",
        "",
    ),
    # 2027-03-28: 01:00 GMT is followed by 02:00 BST; 2027-10-31: 02:00 BST by 01:00 GMT.
    "a beginning that the clock skips is an hour later": (
        Renewal(windows=(window([SUN], "01:30", "05:00"),)),
        "2027-03-28T00:30",
        "2027-03-28T02:30",
    ),
    "a window that the clock makes empty is left out": (
        Renewal(windows=(window([SUN], "01:30", "02:15"),)),
        "2027-03-28T00:30",
        "2027-04-04T01:30",
    ),
    "a beginning that comes twice is the first": (
        Renewal(windows=(window([SUN], "01:30", "05:00"),)),
        "2027-10-31T00:30",
        "2027-10-31T01:30",
    ),
    "an end that comes twice is the first": (
        Renewal(windows=(window([SUN], "00:30", "01:30"),)),
        "2027-10-31T01:15~",
        "2027-11-07T00:30",
    ),
}


@pytest.mark.parametrize("name", OPENINGS)
def test_the_next_opening(name: str) -> None:
    renewal, now, opening = OPENINGS[name]
    closed = renewal.closed(at(now))
    if now == opening:
        assert closed is None
        return
    assert closed is not None
    if opening:
        assert closed.until is not None
        assert closed.until.astimezone(UTC) == at(opening).astimezone(UTC)
    else:
        assert closed.until is None


def test_a_night_of_the_autumn_change_is_an_hour_longer() -> None:
    begin, end = window([SAT], "22:00", "04:00").on(date(2027, 10, 30))
    assert end - begin == 7 * HOUR
    begin, end = window([SAT], "22:00", "04:00").on(date(2027, 3, 27))
    assert end - begin == 5 * HOUR


def test_a_closed_window_says_why() -> None:
    outside = WEEKLY.closed(at("2026-11-06T12:00"))
    assert outside is not None
    assert outside.why == "it is outside its deployment windows"
    assert outside.opening == "2026-11-10 22:00 GMT"
    frozen = Renewal(freezes=(YEAR_END,)).closed(at("2026-12-20T12:00"))
    assert frozen is not None
    assert frozen.why == "deployments are frozen (end of year)"
    for_ever = Renewal(freezes=(freeze("2026-12-01", "", ""),)).closed(at("2026-12-20T12:00"))
    assert for_ever is not None
    assert (for_ever.why, for_ever.opening) == (
        "deployments are frozen",
        "an end that nobody has set",
    )


def test_an_opening_is_told_on_the_windows_own_clock() -> None:
    renewal = Renewal(windows=(window(EVERY, "22:00", "23:00", NEW_YORK),))
    closed = renewal.closed(at("2026-11-06T12:00"))
    assert closed is not None
    assert closed.opening == "2026-11-06 22:00 EST"


zones = st.sampled_from(
    ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
).map(ZoneInfo)
windows = st.builds(
    lambda days, opens, length, zone: DeployWindow(
        frozenset(days), opens, (opens + length) % 1440, zone
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
    zones,
)
days = st.dates(date(2026, 9, 1), date(2027, 12, 31))
freezes = st.builds(
    lambda first, length, zone: Freeze(first, first + length * DAY, "", zone),
    days,
    st.integers(0, 40),
    zones,
)
moments = st.datetimes(datetime(2026, 9, 1), datetime(2027, 12, 31), timezones=zones)
renewals = st.builds(
    lambda w, f: Renewal(windows=tuple(w), freezes=tuple(f)),
    st.lists(windows, max_size=3),
    st.lists(freezes, max_size=3),
)


@given(renewals, moments)
def test_the_next_opening_is_inside_a_window_and_outside_every_freeze(
    renewal: Renewal, now: datetime
) -> None:
    closed = renewal.closed(now)
    opening = now if closed is None else closed.until
    assert opening is not None  # each freeze here has an end
    assert opening >= now
    assert renewal.closed(opening) is None
    assert not any(one.holds(opening) for one in renewal.freezes)
    if renewal.windows:
        around = [opening.date() + offset * DAY for offset in range(-2, 3)]
        spans = [
            (w, w.on(day)) for w in renewal.windows for day in around if day.weekday() in w.days
        ]
        assert any(begin <= opening < end for _, (begin, end) in spans)


@given(renewals, moments, st.integers(0, 100 * 1440))
def test_nothing_is_open_between_now_and_the_next_opening(
    renewal: Renewal, now: datetime, minutes: int
) -> None:
    closed = renewal.closed(now)
    between = now.astimezone(UTC) + minutes * MINUTE
    if closed is not None and closed.until is not None and between < closed.until:
        assert renewal.closed(between) is not None


# --- whether a deployment waits ---------------------------------------------------------------

OUTSIDE = at("2026-11-06T12:00")  # the next window opens on the 10th at 22:00
OPENS = at("2026-11-10T22:00")
WEEK = 7 * DAY
TIMINGS = {
    "inside a window it does not": (WEEKLY, at("2026-11-03T23:00"), OPENS + 90 * DAY, "", "now"),
    "without windows it does not": (Renewal(), OUTSIDE, OUTSIDE + 90 * DAY, "", "now"),
    "with nothing in service it does not": (WEEKLY, OUTSIDE, None, "", "now"),
    "a person's reason does not help where nothing is in service": (
        WEEKLY,
        OUTSIDE,
        None,
        "go",
        "now",
    ),
    "outside it does": (WEEKLY, OUTSIDE, OPENS + 90 * DAY, "", "held"),
    "as long as the one in service lasts the margin": (WEEKLY, OUTSIDE, OPENS + WEEK, "", "held"),
    "not a moment less": (WEEKLY, OUTSIDE, OPENS + WEEK - MINUTE, "", "early"),
    "never into expiry": (WEEKLY, OUTSIDE, OPENS - HOUR, "", "early"),
    "with a person's reason it does not": (WEEKLY, OUTSIDE, OPENS + 90 * DAY, "go", "early"),
    "a freeze without an end holds while the one in service lasts the margin": (
        Renewal(freezes=(freeze("2026-11-01", ""),)),
        OUTSIDE,
        OUTSIDE + WEEK,
        "",
        "held",
    ),
    "a freeze without an end gives way then": (
        Renewal(freezes=(freeze("2026-11-01", ""),)),
        OUTSIDE,
        OUTSIDE + WEEK - MINUTE,
        "",
        "early",
    ),
}


@pytest.mark.parametrize("name", TIMINGS)
def test_whether_a_deployment_waits(name: str) -> None:
    renewal, now, ends, reason, expected = TIMINGS[name]
    found = timing(renewal, now, ends, WEEK, reason)
    assert ("held" if found.held_why else "early" if found.early_why else "now") == expected
    if expected == "now":
        assert found == Timing()
    if expected == "early":
        assert (reason or "the certificate in service ends on") in found.early_why
        assert found.held_until is None


@given(renewals, moments, st.integers(0, 200), st.integers(0, 30))
def test_nothing_is_ever_held_into_expiry(
    renewal: Renewal, now: datetime, left: int, margin: int
) -> None:
    ends = now + left * DAY
    found = timing(renewal, now, ends, margin * DAY)
    if found.held_why:
        assert found.held_until is not None
        assert found.held_until <= ends - margin * DAY


def test_what_is_held_without_an_end_says_so() -> None:
    renewal = Renewal(freezes=(freeze("2026-11-01", ""),))
    assert timing(renewal, OUTSIDE, OUTSIDE + 90 * DAY, WEEK).opening == "the end of the freeze"
