# SPDX-License-Identifier: GPL-3.0-or-later
"""One certificate with everything gathered, and the questions that checks ask of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from . import windows
from .lifecycle import Asked, KeyVersion, Kind, Limits, Observed, Reason, State, Version, Wanted
from .windows import Timing

#: The store of keys that nobody but a device's user can ask for or carry anywhere.
EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check's word: the state, the reason, and what is to be done."""

    state: State
    reason: Reason
    message: str
    next_action: str
    waits_for: str = ""
    since: datetime | None = None
    steps: tuple[Kind, ...] = ()
    difference: tuple[str, ...] = ()
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One certificate with everything gathered, and the questions checks ask of it."""

    wanted: Wanted
    observed: Observed
    limits: Limits
    now: datetime
    deploy_now: str = ""

    @property
    def settled(self) -> tuple[Version, ...]:
        return tuple(version for version in self._ordered() if version.settled)

    @property
    def wanted_version(self) -> int:
        """Highest settled version plus one: the version a new request has."""
        return max((version.number for version in self.settled), default=0) + 1

    @property
    def live(self) -> Version | None:
        """The newest accepted version that is not revoked: the one to serve."""
        usable = self._usable()
        return usable[-1] if usable else None

    @property
    def serving(self) -> Version | None:
        """The version to keep in service: the live one unless its key is compromised.

        Then the newest before it that is still good, has another key and is not retired, as hosts
        may still have it; None without one.
        """
        live = self.live
        if live is None or not live.compromised:
            return live
        older = [
            one
            for one in self._usable()
            if not (expired(one, self.now) or one.compromised or one.retired)
            and self.deployable(one)
        ]
        return older[-1] if older else None

    @property
    def out_of_service(self) -> bool:
        """Whether the newest accepted certificate is out of service as its key is compromised."""
        accepted = [one for one in self.settled if one.accepted]
        return bool(accepted and accepted[-1].compromised)

    @property
    def last(self) -> Version | None:
        """The newest settled version, whatever its outcome."""
        return self.settled[-1] if self.settled else None

    @property
    def pending(self) -> Version | None:
        """The version being asked for: a key or a request that has no outcome yet."""
        number = self.wanted_version
        version = self._wanted()
        if version is not None and version.begun:
            return version
        return Version(number) if number in self.observed.keys else None

    @property
    def asked(self) -> Asked | None:
        """A person's word for the wanted version."""
        version = self._wanted()
        return version.asked if version else None

    @property
    def keys_known(self) -> bool:
        """Whether it can be told which key the wanted version has."""
        return self.observed.keys_known

    def store_of(self, version: Version | None) -> str:
        """Where a version's key was made: as its request says, else as the entry does."""
        requested = version.requested if version else None
        return (requested.intent.store if requested else "") or self.wanted.store

    def deployable(self, version: Version) -> bool:
        """Whether gateways serve it: a key for signing only never leaves its store (4.1.2), and
        that of a device is there already. An edit of the entry changes neither for what is live."""
        requested = version.requested
        purposes = requested.intent.purposes if requested else self.wanted.intent.purposes
        return "mtls" in purposes and self.store_of(version) != EXTERNAL

    def late(self, version: Version) -> tuple[str, ...]:
        """The hosts that were asked and do not serve it."""
        serial = version.accepted.serial if version.accepted else ""
        return tuple(sorted(host for host, seen in self.observed.served.items() if seen != serial))

    def served(self, version: Version) -> bool:
        """Whether every host was seen to serve it; not when nobody looked."""
        return bool(self.observed.served) and not self.late(version)

    def before(self, version: Version) -> Version | None:
        """The certificate that may be in service while ``version`` waits: the one before it.

        Nothing waits beside one that is retired, or whose key is compromised.
        """
        older = [
            one
            for one in self._usable()
            if one.number < version.number and not expired(one, self.now) and self.deployable(one)
        ]
        last = older[-1] if older else None
        return None if last is None or last.retired or last.compromised else last

    def timing(self, version: Version) -> Timing:
        """When a version may take the place of the one before it."""
        if not self.deployable(version) or self.served(version):
            return Timing()
        before = self.before(version)
        accepted = before.accepted if before else None
        return windows.timing(
            self.wanted.renewal,
            self.now,
            accepted.not_after if accepted else None,
            self.limits.deploy_margin,
            self.deploy_now,
        )

    def request_point(self, version: Version) -> datetime:
        """When the one that follows an accepted version is asked for."""
        accepted = version.accepted
        if accepted is None:
            return self.now
        return self.wanted.renewal.request_point(
            accepted.not_before, accepted.not_after, self.limits.renewal_window
        )

    @property
    def key(self) -> KeyVersion | None:
        """The key of the wanted version."""
        return self.observed.keys.get(self.wanted_version)

    def _wanted(self) -> Version | None:
        number = self.wanted_version
        return next((one for one in self.observed.versions if one.number == number), None)

    def _usable(self) -> list[Version]:
        return [v for v in self.settled if v.accepted and not v.accepted.revoked_at]

    def _ordered(self) -> list[Version]:
        return sorted(self.observed.versions, key=lambda version: version.number)


def expired(version: Version, now: datetime) -> bool:
    return version.accepted is not None and version.accepted.not_after < now
