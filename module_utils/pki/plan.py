# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides the state and the next actions of every certificate. Pure: no I/O, no clock.

The shape: gather first, then an ordered chain of small checks over the gathered
:class:`Case`; the first check that has something to say gives state and reason. Roles
and modules act on the resulting actions and on nothing else.

A version is *settled* when its request has an outcome: an accepted certificate, or a
recorded rejection or withdrawal. The wanted version of a new request is the highest
settled one plus one; so a key that exists without a settled request *is* the pending
request and is used again, never made twice.

Versions are counted across stores. Where an edit moves the next key to another store, that
one's first version may have a higher number; transit, which counts from one, then makes the
versions before it, too, and nobody uses them. That costs a key or two; two numbers for one
version would cost every reader of a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .lifecycle import Kind, Limits, Observed, Reason, State, Version, Wanted
from .plan_case import Case, Verdict, expired
from .plan_checks import verdict as decided
from .windows import Timing


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a role is to do, and why; ``timing`` is when it may, of a deployment."""

    kind: Kind
    certificate: str
    version: int
    reason: Reason
    hosts: str
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """State and next step of one certificate, as a person and as a role read it.

    ``compromised`` are the public keys (SPKI, SHA-256) of versions that a ledger names;
    ``out_of_service`` says that the newest accepted one is among them.
    """

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
    timing: Timing = field(default_factory=Timing)
    retired: Mapping[int, str] = field(default_factory=dict)
    compromised: Mapping[int, str] = field(default_factory=dict)
    out_of_service: bool = False


def plan(
    wanted: Wanted, observed: Observed, limits: Limits, now: datetime, deploy_now: str = ""
) -> CertificatePlan:
    """State and actions of one certificate at ``now`` (aware UTC).

    ``deploy_now`` is a person's reason to deploy outside its windows.
    """
    case = Case(wanted, observed, limits, now, deploy_now)
    verdict = decided(case)
    live, pending = case.live, case.pending
    accepted = live.accepted if live else None
    actions = _actions(case, verdict)
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
        actions=actions,
        versions=_version_states(case),
        served=dict(observed.served),
        needs_person=verdict.needs_person,
        retired={one.number: one.retired.key for one in observed.versions if one.retired},
        compromised={
            one.number: one.requested.spki_sha256
            for one in observed.versions
            if one.compromised and one.requested
        },
        out_of_service=case.out_of_service,
        timing=next((one.timing for one in reversed(actions) if one.timing != Timing()), Timing()),
    )


def _actions(case: Case, verdict: Verdict) -> tuple[Action, ...]:
    """The verdict's steps on the wanted version, after keeping the live one in service.

    The live one stays in the list even when a reply is about to replace it: should that
    reply be refused, the hosts still get the certificate and the CRLs they need. Of
    several deployable versions the newest one that passes judgement is installed.
    """

    def action(kind: Kind, version: Version, reason: Reason) -> Action:
        timing = case.timing(version) if kind is Kind.DEPLOY else Timing()
        return Action(kind, case.wanted.name, version.number, reason, case.wanted.hosts, timing)

    def actions(kinds: tuple[Kind, ...], version: Version, reason: Reason) -> list[Action]:
        left_out = () if case.deployable(version) else (Kind.DEPLOY,)
        return [action(kind, version, reason) for kind in kinds if kind not in left_out]

    wanted = case.pending or Version(case.wanted_version)
    steps = actions(verdict.steps, wanted, verdict.reason)
    live = case.serving
    if live is None or expired(live, case.now):
        return tuple(steps)
    if live != case.live:
        # It was in service before the compromised one: there is no window to wait for.
        kinds = (Kind.ACCEPT, Kind.DEPLOY)
        name, hosts = case.wanted.name, case.wanted.hosts
        again = [Action(kind, name, live.number, Reason.KEY_COMPROMISED, hosts) for kind in kinds]
        return tuple(again + steps)
    # Accepting again is the validation every run owes the live certificate.
    kept = actions((Kind.ACCEPT, Kind.DEPLOY), live, Reason.IN_SERVICE)
    before = case.before(live) if case.timing(live).held_why else None
    if before is not None:
        kept.insert(0, action(Kind.KEEP, before, Reason.WAITS_FOR_WINDOW))
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
        return State.REQUESTED if version.begun else State.ABSENT
    if version.accepted.revoked_at:
        return State.REVOKED
    live = case.live
    return State.ACCEPTED if live and live.number == version.number else State.SUPERSEDED
