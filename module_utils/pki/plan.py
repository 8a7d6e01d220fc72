# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides the state and the next actions of every certificate. Pure: no I/O, no clock.

The shape: gather first, then an ordered chain of small checks over the gathered
:class:`Case`; the first check that has something to say gives state and reason. Roles
and modules act on the resulting actions and on nothing else.

A version is *settled* when its request has an outcome: an accepted certificate, or a
recorded rejection or withdrawal. The wanted version of a new request is the highest
settled one plus one; so a key that exists without a settled request *is* the pending
request and is used again, never made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class State(StrEnum):
    """Where a certificate is in its life (design section 3)."""

    ABSENT = "absent"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    DEPLOYED = "deployed"
    DUE = "due"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"
    SUPERSEDED = "superseded"


class Reason(StrEnum):
    """Why: one constant per check, for tests, JSON and dashboards."""

    KEY_LOST = "key_lost"
    KEY_CHANGED = "key_changed"
    PENDING_EDITED = "pending_edited"
    REPLY_PRESENT = "reply_present"
    WAITING_FOR_REPLY = "waiting_for_reply"
    REQUEST_FILES_MISSING = "request_files_missing"
    NEVER_REQUESTED = "never_requested"
    REQUEST_REJECTED = "request_rejected"
    REQUEST_WITHDRAWN = "request_withdrawn"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_EXPIRED = "certificate_expired"
    INVENTORY_CHANGED = "inventory_changed"
    RENEWAL_WINDOW = "renewal_window"
    IN_SERVICE = "in_service"
    NOT_YET_SERVED = "not_yet_served"


class Kind(StrEnum):
    """What a role can be told to do."""

    CREATE_KEY = "create_key"
    WRITE_REQUEST = "write_request"
    ACCEPT = "accept"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Intent:
    """What determines a request: name, vetted subject, purposes and policy."""

    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    policy: str

    def difference(self, other: Intent) -> tuple[str, ...]:
        """Sentences for each field in which ``other`` (newer) differs from this one."""
        lines = []
        if self.common_name != other.common_name:
            lines.append(f"common name {self.common_name} -> {other.common_name}")
        for attribute in sorted({*self.subject, *other.subject}):
            before, after = self.subject.get(attribute, ""), other.subject.get(attribute, "")
            if before != after:
                lines.append(f"{attribute} {before or 'nothing'} -> {after or 'nothing'}")
        if self.purposes != other.purposes:
            before, after = ", ".join(sorted(self.purposes)), ", ".join(sorted(other.purposes))
            lines.append(f"purposes {before} -> {after}")
        if self.policy != other.policy:
            lines.append(f"policy {self.policy} -> {other.policy}")
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class Requested:
    """A committed request: what it asked for, with which key, made when (key's creation)."""

    intent: Intent
    spki_sha256: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted certificate as its record tells it; every run validates it again."""

    serial: str
    not_before: datetime
    not_after: datetime
    accepted_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of one key version from the files beside the inventory."""

    number: int
    requested: Requested | None = None
    has_reply: bool = False
    accepted: Accepted | None = None
    outcome: str | None = None
    outcome_at: datetime | None = None

    @property
    def settled(self) -> bool:
        """Whether this version's request has an outcome."""
        return self.accepted is not None or self.outcome is not None


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of the key in its store."""

    created: datetime
    spki_sha256: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything gathered about one certificate.

    ``keys`` are the store's versions; ``served`` maps each host to the serial its gateway
    presents, with None for a host that was asked and did not answer; empty when nobody asked.
    """

    keys: Mapping[int, KeyVersion] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    served: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the inventory declares of one certificate."""

    name: str
    intent: Intent
    hosts: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The policy's numbers that planning needs."""

    renewal_window: timedelta


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a role is to do, and why."""

    kind: Kind
    certificate: str
    version: int
    reason: Reason
    hosts: str


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """State and next step of one certificate, as a person and as a role read it."""

    name: str
    common_name: str
    hosts: str
    state: State
    reason: Reason
    message: str
    since: datetime | None
    waits_for: str
    next_action: str
    live: int | None
    pending: int | None
    serial: str
    not_after: datetime | None
    days_left: int | None
    difference: tuple[str, ...]
    actions: tuple[Action, ...]
    versions: Mapping[int, State]
    served: Mapping[str, str | None]
    needs_person: bool


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
        usable = [v for v in self.settled if v.accepted and not v.accepted.revoked_at]
        return usable[-1] if usable else None

    @property
    def last(self) -> Version | None:
        """The newest settled version, whatever its outcome."""
        return self.settled[-1] if self.settled else None

    @property
    def pending(self) -> Version | None:
        """The version being asked for: a key or a request that has no outcome yet."""
        number = self.wanted_version
        for version in self.observed.versions:
            if version.number == number:
                return version
        return Version(number) if number in self.observed.keys else None

    @property
    def on_gateways(self) -> bool:
        """Whether gateways serve it: a key for signing only never leaves its store (4.1.2)."""
        return "mtls" in self.wanted.intent.purposes

    @property
    def key(self) -> KeyVersion | None:
        """The key of the wanted version."""
        return self.observed.keys.get(self.wanted_version)

    def _ordered(self) -> list[Version]:
        return sorted(self.observed.versions, key=lambda version: version.number)


def plan(wanted: Wanted, observed: Observed, limits: Limits, now: datetime) -> CertificatePlan:
    """State and actions of one certificate at ``now`` (aware UTC)."""
    case = Case(wanted, observed, limits, now)
    verdict = next(verdict for check in CHECKS if (verdict := check(case)) is not None)
    live, pending = case.live, case.pending
    accepted = live.accepted if live else None
    return CertificatePlan(
        name=wanted.name,
        common_name=wanted.intent.common_name,
        hosts=wanted.hosts,
        state=verdict.state,
        reason=verdict.reason,
        message=verdict.message,
        since=verdict.since,
        waits_for=verdict.waits_for,
        next_action=verdict.next_action,
        live=live.number if live else None,
        pending=pending.number if pending else None,
        serial=accepted.serial if accepted else "",
        not_after=accepted.not_after if accepted else None,
        days_left=(accepted.not_after - now).days if accepted else None,
        difference=verdict.difference,
        actions=_actions(case, verdict),
        versions=_version_states(case),
        served=dict(observed.served),
        needs_person=verdict.needs_person,
    )


def _actions(case: Case, verdict: Verdict) -> tuple[Action, ...]:
    """The verdict's steps on the wanted version, after keeping the live one in service.

    The live one stays in the list even when a reply is about to replace it: should that
    reply be refused, the hosts still get the certificate and the CRLs they need. Of
    several deployable versions the newest one that passes judgement is installed.
    """

    def action(kind: Kind, version: int, reason: Reason) -> Action:
        return Action(kind, case.wanted.name, version, reason, case.wanted.hosts)

    left_out = () if case.on_gateways else (Kind.DEPLOY,)
    steps = [
        action(kind, case.wanted_version, verdict.reason)
        for kind in verdict.steps
        if kind not in left_out
    ]
    live = case.live
    if live is None or _expired(live, case.now):
        return tuple(steps)
    # Accepting again is the validation every run owes the live certificate.
    kept = [
        action(kind, live.number, Reason.IN_SERVICE)
        for kind in (Kind.ACCEPT, Kind.DEPLOY)
        if kind not in left_out
    ]
    return tuple(kept + steps)


def _version_states(case: Case) -> Mapping[int, State]:
    states = {}
    for version in case.observed.versions:
        states[version.number] = _version_state(case, version)
    return states


def _version_state(case: Case, version: Version) -> State:
    if version.outcome:
        return State(version.outcome)
    if version.accepted is None:
        return State.REQUESTED
    if version.accepted.revoked_at:
        return State.REVOKED
    live = case.live
    return State.ACCEPTED if live and live.number == version.number else State.SUPERSEDED


def _expired(version: Version, now: datetime) -> bool:
    return version.accepted is not None and version.accepted.not_after < now


# The checks, in the order in which they are asked. Each returns None to pass the question on.

Check = Callable[[Case], Verdict | None]


def key_lost(case: Case) -> Verdict | None:
    """A committed request whose key the store no longer has can never be completed."""
    pending = case.pending
    if pending is None or pending.requested is None or case.key is not None:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.KEY_LOST,
        message=f"the key of request v{pending.number} is not in its store any more",
        since=pending.requested.created,
        waits_for="a platform engineer",
        next_action="restore the key from a backup, or record the request as withdrawn",
        needs_person=True,
    )


def key_changed(case: Case) -> Verdict | None:
    """A committed request of another key than the store's: somebody replaced one of them."""
    pending = case.pending
    if pending is None or pending.requested is None or case.key is None:
        return None
    if pending.requested.spki_sha256 == case.key.spki_sha256:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.KEY_CHANGED,
        message=f"request v{pending.number} belongs to another key than the store's",
        since=pending.requested.created,
        waits_for="a platform engineer",
        next_action="find out who replaced key or request; record the request as withdrawn",
        needs_person=True,
    )


def pending_edited(case: Case) -> Verdict | None:
    """The inventory was edited while a request is open: the committed request stands."""
    pending = case.pending
    if pending is None or pending.requested is None:
        return None
    difference = pending.requested.intent.difference(case.wanted.intent)
    if not difference:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.PENDING_EDITED,
        message=f"the inventory changed while request v{pending.number} is open; it stays as it is",
        since=pending.requested.created,
        waits_for="a Certificate Admin",
        next_action="undo the edit, or record the request as withdrawn to ask for a new one",
        difference=difference,
        needs_person=True,
    )


def reply_present(case: Case) -> Verdict | None:
    """A reply waits to be judged; what is right is accepted and deployed in this run."""
    pending = case.pending
    if pending is None or pending.requested is None or not pending.has_reply:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.REPLY_PRESENT,
        message=f"a reply to request v{pending.number} has arrived",
        since=pending.requested.created,
        next_action=f"check the reply, accept v{pending.number} and deploy it",
        steps=(Kind.ACCEPT, Kind.DEPLOY),
    )


def waiting_for_reply(case: Case) -> Verdict | None:
    """The request is out; a human and the CA have the next move."""
    pending = case.pending
    if pending is None or pending.requested is None:
        return None
    beside = " beside the live one" if case.live else ""
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.WAITING_FOR_REPLY,
        message=f"request v{pending.number} is open{beside}",
        since=pending.requested.created,
        waits_for="a Certificate Admin and the CA",
        next_action="submit the request in the portal and commit the reply beside it",
    )


def request_files_missing(case: Case) -> Verdict | None:
    """A key without a committed request is the pending request; its files are rebuilt."""
    if case.key is None:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.REQUEST_FILES_MISSING,
        message=f"the key of v{case.wanted_version} exists, its request is not committed yet",
        since=case.key.created,
        waits_for="a Certificate Admin and the CA",
        next_action="commit the request directory and submit the request in the portal",
        steps=(Kind.WRITE_REQUEST,),
    )


NEW_REQUEST = (Kind.CREATE_KEY, Kind.WRITE_REQUEST)


def never_requested(case: Case) -> Verdict | None:
    """Declared, and nothing exists yet."""
    if case.last is not None:
        return None
    return Verdict(
        state=State.ABSENT,
        reason=Reason.NEVER_REQUESTED,
        message="nothing exists for it yet",
        next_action="make the key and the request",
        steps=NEW_REQUEST,
    )


def request_ended(case: Case) -> Verdict | None:
    """The newest request was rejected or withdrawn: a person must ask for another.

    An inventory edit since then is that person's word; without one no run asks again, so
    that the same request is never offered twice.
    """
    last = case.last
    if last is None or last.outcome is None:
        return None
    before = last.requested.intent if last.requested else None
    difference = before.difference(case.wanted.intent) if before else ()
    rejected = last.outcome == State.REJECTED.value
    reason = Reason.REQUEST_REJECTED if rejected else Reason.REQUEST_WITHDRAWN
    state = State.REJECTED if rejected else State.WITHDRAWN
    if difference:
        return Verdict(
            state=state,
            reason=reason,
            message=f"request v{last.number} was {last.outcome}; the inventory was edited since",
            since=last.outcome_at,
            next_action="make a new key and request for the edited entry",
            steps=NEW_REQUEST,
            difference=difference,
        )
    return Verdict(
        state=state,
        reason=reason,
        message=f"request v{last.number} was {last.outcome}",
        since=last.outcome_at,
        waits_for="a person to ask again",
        next_action="correct the inventory entry; the same request is never offered twice",
        needs_person=True,
    )


def certificate_revoked(case: Case) -> Verdict | None:
    """The newest certificate is revoked: it is not served, a replacement is asked for."""
    last = case.last
    if last is None or last.accepted is None or last.accepted.revoked_at is None:
        return None
    return Verdict(
        state=State.REVOKED,
        reason=Reason.CERTIFICATE_REVOKED,
        message=f"certificate v{last.number} was revoked on {_day(last.accepted.revoked_at)}",
        since=last.accepted.revoked_at,
        next_action="make a new key and request; a revoked certificate cannot be reclaimed",
        steps=NEW_REQUEST,
    )


def certificate_expired(case: Case) -> Verdict | None:
    """The live certificate has ended: the DIP rejects messages until it is replaced."""
    live = case.live
    if live is None or live.accepted is None or not _expired(live, case.now):
        return None
    return Verdict(
        state=State.EXPIRED,
        reason=Reason.CERTIFICATE_EXPIRED,
        message=f"certificate v{live.number} expired on {_day(live.accepted.not_after)}",
        since=live.accepted.not_after,
        next_action="make a new key and request at once; messages are rejected meanwhile",
        steps=NEW_REQUEST,
    )


def inventory_changed(case: Case) -> Verdict | None:
    """The inventory was edited after acceptance: a new version beside the live one."""
    live = case.live
    if live is None or live.requested is None:
        return None
    difference = live.requested.intent.difference(case.wanted.intent)
    if not difference:
        return None
    return Verdict(
        state=State.CHANGED,
        reason=Reason.INVENTORY_CHANGED,
        message=f"the inventory differs from certificate v{live.number}; it stays in service",
        since=live.accepted.accepted_at if live.accepted else None,
        next_action="make a new key and request for the edited entry",
        steps=NEW_REQUEST,
        difference=difference,
    )


def renewal_window(case: Case) -> Verdict | None:
    """The live certificate is inside the renewal window: a second version beside it."""
    live = case.live
    if live is None or live.accepted is None:
        return None
    opens = live.accepted.not_after - case.limits.renewal_window
    if case.now < opens:
        return None
    return Verdict(
        state=State.DUE,
        reason=Reason.RENEWAL_WINDOW,
        message=f"certificate v{live.number} ends on {_day(live.accepted.not_after)}",
        since=opens,
        next_action="make a new key and request beside the live one",
        steps=NEW_REQUEST,
    )


def not_yet_served(case: Case) -> Verdict | None:
    """Accepted, and at least one host is not seen serving it (or nobody has looked)."""
    live = case.live
    if live is None or live.accepted is None or not case.on_gateways:
        return None
    hosts = case.observed.served
    late = sorted(host for host, serial in hosts.items() if serial != live.accepted.serial)
    if hosts and not late:
        return None
    seen = f"; not served by {', '.join(late)}" if late else ""
    return Verdict(
        state=State.ACCEPTED,
        reason=Reason.NOT_YET_SERVED,
        message=f"certificate v{live.number} is accepted{seen}",
        since=live.accepted.accepted_at,
        next_action="deploy it",
    )


def in_service(case: Case) -> Verdict | None:
    """Every host serves it and nothing is to be done: the last check, it always answers."""
    live = case.live
    accepted = live.accepted if live else None
    opens = accepted.not_after - case.limits.renewal_window if accepted else case.now
    return Verdict(
        state=State.DEPLOYED,
        reason=Reason.IN_SERVICE,
        message="in service",
        since=accepted.accepted_at if accepted else None,
        next_action=f"renew from {_day(opens)}",
    )


CHECKS: tuple[Check, ...] = (
    key_lost,
    key_changed,
    pending_edited,
    reply_present,
    waiting_for_reply,
    request_files_missing,
    never_requested,
    request_ended,
    certificate_revoked,
    certificate_expired,
    inventory_changed,
    renewal_window,
    not_yet_served,
    in_service,
)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
