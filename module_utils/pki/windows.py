# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is asked for anew, and when a new one may be put into service. Pure.

A certificate says of itself how long it lasts; the moment to ask for the next one is counted
from its own dates. Windows and freezes delay nothing but the deployment of a certificate beside
which another one is in service, and never until that one ends.

Times of a window are read from the clock on the wall where it is. One that the clock skips in
spring is that much later; one that comes twice in autumn is meant the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
MINUTES_A_DAY = 24 * 60
#: No certificate is due before two thirds of its own life are over, whatever anybody wants.
LARGEST_SHARE = Fraction(1, 3)
# A window comes every week; the clock may skip one of them, never two.
_LOOK_AHEAD = 16


@dataclass(frozen=True, slots=True)
class DeployWindow:
    """Hours in which certificates may be replaced.

    Attributes:
        days: on which it opens, Monday being 0.
        opens: minutes since midnight.
        closes: minutes since midnight, at most 1440; not after ``opens`` means the next day.
        zone: whose clock.
    """

    days: frozenset[int]
    opens: int
    closes: int
    zone: ZoneInfo

    def on(self, day: date) -> tuple[datetime, datetime]:
        """From when (inclusive) to when (exclusive) it is open that begins on ``day``."""
        last = day if self.closes > self.opens else day + DAY
        return _instant(day, self.opens, self.zone), _instant(last, self.closes, self.zone)

    def around(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The times it is open that end after ``moment``, for the next two weeks."""
        today = moment.astimezone(self.zone).date()
        for offset in range(-1, _LOOK_AHEAD):
            day = today + offset * DAY
            if day.weekday() in self.days:
                begin, end = self.on(day)
                if begin < end and end > moment:
                    yield begin, end


@dataclass(frozen=True, slots=True)
class Freeze:
    """Days on which nothing is replaced: from the first to the last of them, or without an end.

    ``first`` None means since ever, ``last`` None until somebody takes it away.
    """

    first: date | None
    last: date | None
    why: str
    zone: ZoneInfo

    @property
    def until(self) -> datetime | None:
        """The moment it is over; None when nobody said."""
        return None if self.last is None else _instant(self.last + DAY, 0, self.zone)

    def holds(self, moment: datetime) -> bool:
        """Whether it is on."""
        day = moment.astimezone(self.zone).date()
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing may be replaced: why, and until when; None when nobody said."""

    why: str
    until: datetime | None

    @property
    def opening(self) -> str:
        """The end of it, for a sentence."""
        return shown(self.until) if self.until else "an end that nobody has set"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What an entry says about the renewal of its certificate; nothing is the default.

    ``request_days`` or ``request_percent`` (of the certificate's own life) is how long before
    its end a new one is asked for.
    """

    request_days: int | None = None
    request_percent: int | None = None
    windows: tuple[DeployWindow, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def request_point(
        self, not_before: datetime, not_after: datetime, usual: timedelta
    ) -> datetime:
        """When a new certificate is asked for, by the dates of the one in service.

        That is as long before its end as the entry says, else as is ``usual`` (the policy's
        ``renewal_window_days``), and never more than a third of its life: a certificate that is
        shorter than the window would else be due on the day it was issued.
        """
        life = max(not_after - not_before, timedelta(0))
        before = usual
        if self.request_days is not None:
            before = timedelta(days=self.request_days)
        elif self.request_percent is not None:
            before = life * self.request_percent / 100
        return not_after - min(before, life / LARGEST_SHARE.denominator)

    def closed(self, now: datetime) -> Closed | None:
        """Why nothing may be replaced now, and from when on it may; None when it may."""
        moment = now.astimezone(UTC)
        frozen = self._frozen(moment)
        if frozen is None and self._open_from(moment) == moment:
            return None
        why = "it is outside its deployment windows"
        if frozen is not None:
            why = f"deployments are frozen{f' ({frozen.why})' if frozen.why else ''}"
        until = self._opening(moment)
        return Closed(why, None if until is None else until.astimezone(self._zone))

    @property
    def _zone(self) -> ZoneInfo:
        """On whose clock a moment is told."""
        return self.windows[0].zone if self.windows else self.freezes[0].zone

    def _opening(self, moment: datetime) -> datetime | None:
        """The first moment that is in no freeze and in a window, if there are any."""
        while True:
            frozen = self._frozen(moment)
            if frozen is not None:
                if frozen.until is None:
                    return None
                moment = frozen.until
                continue
            opens = self._open_from(moment)
            if opens == moment:
                return moment
            moment = opens

    def _frozen(self, moment: datetime) -> Freeze | None:
        """The freeze that is on and lasts longest."""
        on = (freeze for freeze in self.freezes if freeze.holds(moment))
        return max(on, key=lambda one: one.until or _NEVER, default=None)

    def _open_from(self, moment: datetime) -> datetime:
        """``moment`` itself inside a window or without any, else the next beginning of one."""
        if not self.windows:
            return moment
        return max(moment, min(begin for one in self.windows for begin, _ in one.around(moment)))


_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a new certificate may take the place of the one in service.

    Now, where everything is empty. ``held_why``: it waits, until ``held_until`` where that is
    known. ``early_why``: it does not wait although it should, and for which reason.
    """

    held_why: str = ""
    held_until: datetime | None = None
    early_why: str = ""

    @property
    def opening(self) -> str:
        """From when on it may, for a sentence."""
        return shown(self.held_until) if self.held_until else "the end of the freeze"


def timing(
    renewal: Renewal,
    now: datetime,
    in_service_until: datetime | None,
    margin: timedelta,
    deploy_now: str = "",
) -> Timing:
    """Whether a new certificate waits for a window.

    Args:
        renewal: what the entry says.
        now: aware.
        in_service_until: the end of the certificate that it replaces; None when there is none
            that may be served, and then there is nothing to wait for.
        margin: how long that one must still last when the window opens.
        deploy_now: a person's reason not to wait.
    """
    if in_service_until is None:
        return Timing()
    closed = renewal.closed(now)
    if closed is None:
        return Timing()
    if deploy_now:
        return Timing(early_why=f"{closed.why}; deployed all the same: {deploy_now}")
    if in_service_until - margin < (closed.until or now):
        return Timing(
            early_why=f"{closed.why} until {closed.opening}; deployed all the same: the "
            f"certificate in service ends on {shown(in_service_until)}"
        )
    return Timing(held_why=closed.why, held_until=closed.until)


def shown(moment: datetime) -> str:
    """A moment as a person reads it, on the clock that it came with."""
    return moment.strftime("%Y-%m-%d %H:%M %Z")


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The UTC moment at which the clock of ``zone`` shows that many minutes after midnight."""
    local = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return local.replace(tzinfo=zone).astimezone(UTC)
