# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``renewal`` of an entry: what it may say, and where it is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from zoneinfo import ZoneInfo

import pytest
import yaml
from pki.errors import PkiError
from pki.inventory_renewal import renewal
from pki.windows import DeployWindow, Freeze, Renewal

LONDON = ZoneInfo("Europe/London")
WHERE = "certificates.yml: certificates[0] (dip)"
PLACE = f"group_vars/all/{WHERE}.renewal"


def read(text: str) -> Renewal:
    """The renewal that a person wrote as YAML."""
    return renewal({"renewal": yaml.safe_load(text)}, WHERE)


def window(text: str) -> DeployWindow:
    (found,) = read(f"deploy_windows: [{text}]").windows
    return found


def freeze(text: str) -> Freeze:
    (found,) = read(f"freeze: [{text}]").freezes
    return found


def test_an_entry_without_it_has_the_defaults() -> None:
    assert renewal({}, WHERE) == Renewal()
    assert read("{}") == Renewal()


def test_everything_at_once() -> None:
    found = read(
        """
        request_before: 60d
        deploy_windows:
          - {days: [tue, wed], from: "22:00", to: "04:00", timezone: America/New_York}
          - {days: [sun], from: "06:30"}
        freeze:
          - {from: 2026-12-18, to: 2027-01-04, why: end of year}
        """
    )
    assert found == Renewal(
        request_days=60,
        windows=(
            DeployWindow(frozenset({1, 2}), 22 * 60, 4 * 60, ZoneInfo("America/New_York")),
            DeployWindow(frozenset({6}), 390, 1440, LONDON),
        ),
        freezes=(Freeze(date(2026, 12, 18), date(2027, 1, 4), "end of year", LONDON),),
    )


@pytest.mark.parametrize(
    ("text", "days", "percent"),
    [
        ("60d", 60, None),
        ("1d", 1, None),
        ("9999d", 9999, None),
        ("20%", None, 20),
        ("33%", None, 33),
    ],
)
def test_a_request_point_in_days_or_as_a_share(text: str, days: int, percent: int) -> None:
    found = read(f"request_before: {text}")
    assert (found.request_days, found.request_percent) == (days, percent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", DeployWindow(frozenset(range(7)), 0, 1440, LONDON)),
        ("{days: [mon]}", DeployWindow(frozenset({0}), 0, 1440, LONDON)),
        ('{from: "20:00"}', DeployWindow(frozenset(range(7)), 1200, 1440, LONDON)),
        ('{to: "06:00"}', DeployWindow(frozenset(range(7)), 0, 360, LONDON)),
        ('{from: "20:00", to: "24:00"}', DeployWindow(frozenset(range(7)), 1200, 1440, LONDON)),
        ('{from: "20:00", to: "00:00"}', DeployWindow(frozenset(range(7)), 1200, 0, LONDON)),
        ("{timezone: UTC}", DeployWindow(frozenset(range(7)), 0, 1440, ZoneInfo("UTC"))),
    ],
)
def test_a_window_that_is_open_on_a_side_has_no_end_there(text: str, expected: object) -> None:
    assert window(text) == expected


def test_a_freeze_may_be_open_on_one_side_and_an_empty_list_is_none() -> None:
    assert freeze("{from: 2026-12-18}") == Freeze(date(2026, 12, 18), None, "", LONDON)
    assert freeze("{to: '2027-01-04'}") == Freeze(None, date(2027, 1, 4), "", LONDON)
    assert freeze("{to: 2027-01-04, timezone: UTC}").zone == ZoneInfo("UTC")
    assert read("freeze: []") == Renewal()


BROKEN = {
    "a list": ("[]", "", "is not a map"),
    "a typo": ("{request_befor: 60d}", "", "did you mean `request_before`?"),
    "days without a unit": ("{request_before: 60}", ".request_before", "60d"),
    "no days": ("{request_before: 0d}", ".request_before", "60d"),
    "hours": ("{request_before: 12h}", ".request_before", "60d"),
    "more than a third": ("{request_before: 34%}", ".request_before", "up to 33%"),
    "far more than a third": ("{request_before: 9999%}", ".request_before", "up to 33%"),
    "windows that are none": ("{deploy_windows: tue}", ".deploy_windows", "a list"),
    "no window": ("{deploy_windows: []}", ".deploy_windows", "leave `deploy_windows` out"),
    "more windows than anybody has": (
        f"{{deploy_windows: [{'{}, ' * 101}]}}",
        ".deploy_windows",
        "at most 100",
    ),
    "a window that is none": ("{deploy_windows: [tue]}", ".deploy_windows[0]", "a map"),
    "a key of cron": ("{deploy_windows: [{day: tue}]}", ".deploy_windows[0]", "`days`"),
    "no day": ("{deploy_windows: [{days: []}]}", ".deploy_windows[0].days", "mon, tue"),
    "a day that is no list": ("{deploy_windows: [{days: tue}]}", ".deploy_windows[0].days", "mon"),
    "a day in full": (
        "{deploy_windows: [{}, {days: [tue, wednesday]}]}",
        ".deploy_windows[1].days[1].days",
        "mon, tue",
    ),
    "a time without quotes": (
        "{deploy_windows: [{from: 22:00}]}",
        ".deploy_windows[0].from",
        'write it in quotes, for example "22:00"',
    ),
    "an hour alone": ("{deploy_windows: [{to: '4'}]}", ".deploy_windows[0].to", "hours and min"),
    "a time of twelve hours": (
        "{deploy_windows: [{to: '10pm'}]}",
        ".deploy_windows[0].to",
        "hours and minutes",
    ),
    "an hour that is none": ("{deploy_windows: [{to: '25:00'}]}", ".deploy_windows[0].to", "24:00"),
    "after midnight": ("{deploy_windows: [{to: '24:01'}]}", ".deploy_windows[0].to", "24:00"),
    "a window without any time": (
        "{deploy_windows: [{from: '22:00', to: '22:00'}]}",
        ".deploy_windows[0]",
        "two different times",
    ),
    "a window from midnight to the same midnight": (
        "{deploy_windows: [{to: '00:00'}]}",
        ".deploy_windows[0]",
        "two different times",
    ),
    "a window that begins when the day is over": (
        "{deploy_windows: [{from: '24:00', to: '04:00'}]}",
        ".deploy_windows[0]",
        "two different times",
    ),
    "a zone that is none": (
        "{deploy_windows: [{timezone: Europe/Londno}]}",
        ".deploy_windows[0].timezone",
        "Europe/London",
    ),
    "a directory of zones": (
        "{freeze: [{to: 2027-01-04, timezone: America/Indiana}]}",
        ".freeze[0].timezone",
        "Europe/London",
    ),
    "the zone of the machine": (
        "{deploy_windows: [{timezone: localtime}]}",
        ".deploy_windows[0].timezone",
        "Europe/London",
    ),
    "a way out of the database": (
        "{deploy_windows: [{timezone: ../../etc/passwd}]}",
        ".deploy_windows[0].timezone",
        "Europe/London",
    ),
    "a freeze that is none": ("{freeze: [2026-12-18]}", ".freeze[0]", "a map"),
    "a freeze without a day": ("{freeze: [{why: always}]}", ".freeze[0]", "`from`, `to`, or both"),
    "a freeze backwards": (
        "{freeze: [{from: 2027-01-04, to: 2026-12-18}]}",
        ".freeze[0]",
        "not before `from`",
    ),
    "a day that does not exist": ("{freeze: [{to: '2026-02-30'}]}", ".freeze[0].to", "YYYY-MM-DD"),
    "a moment instead of a day": (
        "{freeze: [{to: 2026-12-18T10:00:00Z}]}",
        ".freeze[0].to",
        "YYYY-MM-DD",
    ),
    "the end of the calendar": (
        "{freeze: [{to: '9999-12-31'}]}",
        ".freeze[0].to",
        "leave `to` out",
    ),
    "a reason that is none": ("{freeze: [{to: 2027-01-04, why: 3}]}", ".freeze[0].why", "text"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named_with_its_place(name: str) -> None:
    text, place, told = BROKEN[name]
    with pytest.raises(PkiError) as raised:
        read(text)
    error = raised.value
    assert (error.rule, error.where) == ("INVENTORY", f"{PLACE}{place}")
    assert told in f"{error.message} {error.expected} {error.next_step}"


def test_a_controller_without_time_zones_of_its_own_has_those_of_the_package() -> None:
    program = "from zoneinfo import ZoneInfo; print(ZoneInfo('Europe/London').key)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "Europe/London\n", done.stderr
