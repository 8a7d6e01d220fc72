# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``renewal`` of an entry of ``certificates.yml``, read strictly. Pure.

Each reader raises PkiError INVENTORY with the place. Nothing that can be read in two ways is
taken: an empty list of windows might mean always or never.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from .inventory_fields import choice, day, error, mapping, text
from .windows import LARGEST_SHARE, MINUTES_A_DAY, DeployWindow, Freeze, Renewal

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DEFAULT_ZONE = "Europe/London"

_BEFORE = re.compile(r"([1-9][0-9]{0,3})(d|%)")
_LARGEST_PERCENT = int(100 * LARGEST_SHARE)
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_ZONE = re.compile(r"UTC|[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9][A-Za-z0-9_+-]*){1,2}")
#: Days further off are slips of the pen, and the calendar of a computer ends somewhere.
_YEARS = range(2000, 3000)
_MOST = 100  # windows or freezes of one entry


def renewal(entry: Mapping[str, Any], where: str) -> Renewal:
    """What the entry at ``where`` says of its renewal; all defaults when it says nothing."""
    if "renewal" not in entry:
        return Renewal()
    place = f"{where}.renewal"
    known = ("request_before", "deploy_windows", "freeze")
    raw = mapping(entry["renewal"], place, known, ())
    days, percent = _before(raw, place) if "request_before" in raw else (None, None)
    return Renewal(days, percent, _windows(raw, place), _freezes(raw, place))


def _before(raw: Mapping[str, Any], where: str) -> tuple[int | None, int | None]:
    value = raw["request_before"]
    found = _BEFORE.fullmatch(value) if isinstance(value, str) else None
    if found and found[2] == "d":
        return int(found[1]), None
    if found and int(found[1]) <= _LARGEST_PERCENT:
        return None, int(found[1])
    raise error(
        f"{where}.request_before",
        "`request_before` is not usable",
        repr(value),
        f"days like 60d, or a share of the certificate's life like 20%, up to {_LARGEST_PERCENT}%",
    )


def _items(raw: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Any]]:
    """The items of an optional list with their places."""
    value = raw.get(key, [])
    if not isinstance(value, list) or len(value) > _MOST:
        found = f"{len(value)} items" if isinstance(value, list) else type(value).__name__
        raise error(f"{where}.{key}", f"`{key}` is no list", found, f"a list, at most {_MOST} long")
    return [(f"{where}.{key}[{at}]", item) for at, item in enumerate(value)]


def _windows(raw: Mapping[str, Any], where: str) -> tuple[DeployWindow, ...]:
    items = _items(raw, "deploy_windows", where)
    if "deploy_windows" in raw and not items:
        raise error(
            f"{where}.deploy_windows",
            "there is no deployment window: that may mean always or never",
            "an empty list",
            "at least one window",
            "leave `deploy_windows` out for always; a `freeze` without `to` is for never",
        )
    return tuple(_window(item, place) for place, item in items)


def _window(item: object, where: str) -> DeployWindow:
    raw = mapping(item, where, ("days", "from", "to", "timezone"), ())
    opens = _clock(raw, "from", where) if "from" in raw else 0
    closes = _clock(raw, "to", where) if "to" in raw else MINUTES_A_DAY
    if opens in (closes, MINUTES_A_DAY):
        found = f"from {raw.get('from', '00:00')} to {raw.get('to', '24:00')}"
        wanted = "two different times; neither of them is for the whole day"
        raise error(where, "the window is empty", found, wanted)
    return DeployWindow(_weekdays(raw, where), opens, closes, _zone(raw, where))


def _weekdays(raw: Mapping[str, Any], where: str) -> frozenset[int]:
    if "days" not in raw:
        return frozenset(range(7))
    value = raw["days"]
    if not isinstance(value, list) or not value:
        wanted = "a list out of " + ", ".join(WEEKDAYS)
        raise error(f"{where}.days", "`days` names no day", repr(value), wanted)
    words = [
        choice({"days": item}, "days", f"{where}.days[{at}]", WEEKDAYS)
        for at, item in enumerate(value)
    ]
    return frozenset(map(WEEKDAYS.index, words))


def _clock(raw: Mapping[str, Any], key: str, where: str) -> int:
    """Minutes since midnight."""
    value = raw[key]
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found:
        return int(found[1] or found[3]) * 60 + int(found[2] or found[4])
    # YAML reads 22:00 without quotes as a number to the base of sixty.
    hint = 'write it in quotes, for example "22:00"' if isinstance(value, int) else ""
    wanted = "hours and minutes from 00:00 to 24:00, in quotes"
    raise error(f"{where}.{key}", f"`{key}` is not a time of day", repr(value), wanted, hint)


def _zone(raw: Mapping[str, Any], where: str) -> ZoneInfo:
    name = text(raw, "timezone", where) if "timezone" in raw else DEFAULT_ZONE
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        pass  # a directory of the database, or what is no file of it
    raise error(
        f"{where}.timezone",
        "there is no such time zone",
        name,
        "UTC or a name of the time zone database, for example Europe/London",
    )


def _freezes(raw: Mapping[str, Any], where: str) -> tuple[Freeze, ...]:
    return tuple(_freeze(item, place) for place, item in _items(raw, "freeze", where))


def _freeze(item: object, where: str) -> Freeze:
    raw = mapping(item, where, ("from", "to", "why", "timezone"), ())
    first, last = _day(raw, "from", where), _day(raw, "to", where)
    if first is None and last is None:
        raise error(where, "the freeze has no day", "nothing", "`from`, `to`, or both")
    if first is not None and last is not None and last < first:
        found = f"from {first} to {last}"
        raise error(where, "the freeze ends before it begins", found, "a `to` not before `from`")
    why = text(raw, "why", where) if "why" in raw else ""
    return Freeze(first, last, why, _zone(raw, where))


def _day(raw: Mapping[str, Any], key: str, where: str) -> date | None:
    written = day(raw, key, where)
    if not written:
        return None
    found = date.fromisoformat(written)
    if found.year not in _YEARS:
        wanted = f"a day of the years {_YEARS[0]} to {_YEARS[-1]}"
        hint = f"leave `{key}` out for a freeze that is open on that side"
        raise error(f"{where}.{key}", f"`{key}` is too far off", written, wanted, hint)
    return found
