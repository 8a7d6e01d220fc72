# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered chain of small checks over one gathered certificate. Pure.

Each check returns None to pass the question on; the first that answers gives state and
reason. The order is :data:`CHECKS`, and it is the policy: read it from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from . import commands
from .errors import shown
from .lifecycle import Kind, Reason, State, Version
from .plan_case import EXTERNAL, Case, Verdict, expired

# The checks, in the order in which they are asked. Each returns None to pass the question on.

Check = Callable[[Case], Verdict | None]


def key_lost(case: Case) -> Verdict | None:
    """A committed request whose key the store no longer has can never be completed."""
    pending = case.pending
    if pending is None or pending.requested is None or case.key is not None:
        return None
    if not case.keys_known:
        return None  # nobody could be asked: that is no loss
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.KEY_LOST,
        message=f"the key of request v{pending.number} is not in its store any more",
        since=pending.requested.created,
        waits_for="a platform engineer",
        next_action="restore the key from a backup, or record the request as withdrawn: "
        f"{commands.withdraw(case.wanted.name)}",
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
        next_action="find out who replaced key or request; record the request as withdrawn: "
        f"{commands.withdraw(case.wanted.name)}",
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
        next_action="undo the edit, or record the request as withdrawn to ask for a new one: "
        f"{commands.withdraw(case.wanted.name)}",
        difference=difference,
        needs_person=True,
    )


def pending_compromised(case: Case) -> Verdict | None:
    """The key of the open request is marked: no certificate may come of it."""
    pending = case.pending
    if pending is None or pending.requested is None or not pending.compromised:
        return None
    return Verdict(
        state=State.REQUESTED,
        reason=Reason.KEY_COMPROMISED,
        message=f"the key of request v{pending.number} is compromised "
        f"({shown(pending.compromised)})",
        since=pending.requested.created,
        waits_for="a person to withdraw it",
        next_action=f"{commands.withdraw(case.wanted.name)}, then ask for another: "
        f"{commands.renew(case.wanted.name)}",
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
        next_action=f"check the reply, accept v{pending.number} and {_put(case, pending)}",
        steps=(Kind.ACCEPT, Kind.DEPLOY),
    )


def _put(case: Case, version: Version) -> str:
    """How a certificate comes into service once it is accepted."""
    if case.store_of(version) == EXTERNAL:
        return _upload(case, version)
    timing = case.timing(version)
    if timing.held_why:
        return f"deploy it from {timing.opening}"
    return f"deploy it now: {timing.early_why}" if timing.early_why else "deploy it"


def _upload(case: Case, version: Version) -> str:
    directory = f"certificates/{case.wanted.name}/{version.number}"
    return f"upload certificate.pem and chain.pem of {directory}/ to the device"


def waiting_for_reply(case: Case) -> Verdict | None:
    """The request is out; a human and the CA have the next move."""
    pending = case.pending
    if pending is None or pending.requested is None:
        return None
    beside = (_instead(case) or " beside the live one") if case.live else ""
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


def asked_for(case: Case) -> Verdict | None:
    """A person asked for a new request: after an outcome, or before its time."""
    asked, last = case.asked, case.last
    if asked is None or last is None:
        return None
    return Verdict(
        state=_standing(case, last),
        reason=Reason.ASKED_FOR,
        message=f"a new request was asked for on {_day(asked.at)}: {shown(asked.reason)}",
        since=asked.at,
        next_action="make a new key and request",
        steps=NEW_REQUEST,
    )


def _standing(case: Case, last: Version) -> State:
    """Where a certificate is for which a request is about to be made."""
    if last.outcome is not None:
        return State(last.outcome)
    if last.accepted is not None and last.accepted.revoked_at is not None:
        return State.REVOKED
    return State.EXPIRED if expired(last, case.now) else State.DUE


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
        next_action="edit the entry, or, to ask for the same again with a new key: "
        f"{commands.renew(case.wanted.name)}",
        needs_person=True,
    )


def holder_ends(case: Case) -> Verdict | None:
    """It is revoked since its holder may have none any more: none is asked for by itself."""
    last = case.last
    if last is None or last.accepted is None or last.revocation is None:
        return None
    if not last.revocation.final:
        return None
    when = last.accepted.revoked_at
    told = f"was revoked on {_day(when)}" if when else "is to be revoked"
    return Verdict(
        state=State.REVOKED if when else State.DEPLOYED,
        reason=Reason.HOLDER_ENDS,
        message=f"certificate v{last.number} {told} for good ({last.revocation.cause})",
        since=when,
        next_action="take the entry and what uses it out of the inventory"
        + ("" if when else " once it is revoked"),
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


def key_compromised(case: Case) -> Verdict | None:
    """The key in service is marked: it is refused everywhere, and another is made at once."""
    live = case.live
    if live is None or not live.compromised:
        return None
    return Verdict(
        state=State.DUE,
        reason=Reason.KEY_COMPROMISED,
        message=f"the key of certificate v{live.number} is compromised "
        f"({shown(live.compromised)}){_instead(case)}",
        since=None,
        next_action="make a new key and request; have the certificate revoked for key compromise, "
        f"raise the incident: {commands.compromised(case.wanted.name)}",
        steps=NEW_REQUEST,
        needs_person=True,
    )


def _instead(case: Case) -> str:
    """What becomes of the gateways of a certificate whose key is compromised."""
    live, serving = case.live, case.serving
    if live is None or not live.compromised or not case.deployable(live):
        return ""
    if serving is None:
        return f"; v{live.number} is out of service and its listeners are closed"
    return f"; v{serving.number} with another key serves instead of v{live.number}"


def certificate_expired(case: Case) -> Verdict | None:
    """The live certificate has ended: the DIP rejects messages until it is replaced."""
    live = case.live
    if live is None or live.accepted is None or not expired(live, case.now):
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
    opens = case.request_point(live)
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


def left_to_the_device(case: Case) -> Verdict | None:
    """Accepted for a key that a device keeps: its user puts it there, and nobody here sees it."""
    live = case.live
    if live is None or live.accepted is None or case.store_of(live) != EXTERNAL:
        return None
    if case.served(live):
        return None
    return Verdict(
        state=State.ACCEPTED,
        reason=Reason.LEFT_TO_THE_DEVICE,
        message=f"certificate v{live.number} is accepted for a device's key{_late(case, live)}",
        since=live.accepted.accepted_at,
        next_action=f"{_upload(case, live)}, unless that is done; renew from "
        f"{_day(case.request_point(live))}",
    )


def waits_for_window(case: Case) -> Verdict | None:
    """Accepted, and not to be put into service yet: another one is in service meanwhile."""
    live = case.live
    if live is None or live.accepted is None or not case.timing(live).held_why:
        return None
    timing = case.timing(live)
    return Verdict(
        state=State.ACCEPTED,
        reason=Reason.WAITS_FOR_WINDOW,
        message=f"certificate v{live.number} is accepted{_late(case, live)}; {timing.held_why}",
        since=live.accepted.accepted_at,
        waits_for=f"the window from {timing.opening}" if timing.held_until else timing.opening,
        next_action="deploy it then, and at once where no other certificate is in service",
    )


def not_yet_served(case: Case) -> Verdict | None:
    """Accepted, and at least one host is not seen serving it (or nobody has looked)."""
    live = case.live
    if live is None or live.accepted is None or not case.deployable(live) or case.served(live):
        return None
    early = case.timing(live).early_why
    return Verdict(
        state=State.ACCEPTED,
        reason=Reason.NOT_YET_SERVED,
        message=f"certificate v{live.number} is accepted{_late(case, live)}"
        f"{f'; {early}' if early else ''}",
        since=live.accepted.accepted_at,
        next_action="deploy it",
    )


def _late(case: Case, version: Version) -> str:
    late = case.late(version)
    return f"; not served by {', '.join(late)}" if late else ""


def in_service(case: Case) -> Verdict | None:
    """Nothing else holds, so the accepted certificate does its work."""
    live = case.live
    accepted = live.accepted if live else None
    opens = case.request_point(live) if live else case.now
    return Verdict(
        state=State.DEPLOYED,
        reason=Reason.IN_SERVICE,
        message="in service",
        since=accepted.accepted_at if accepted else None,
        next_action=f"renew from {_day(opens)}",
    )


CHECKS: tuple[Check, ...] = (
    pending_compromised,  # before the two that would have a key brought back
    key_lost,
    key_changed,
    pending_edited,
    reply_present,
    waiting_for_reply,
    request_files_missing,
    never_requested,
    asked_for,
    request_ended,
    holder_ends,
    certificate_revoked,
    key_compromised,
    certificate_expired,
    inventory_changed,
    renewal_window,
    left_to_the_device,
    waits_for_window,
    not_yet_served,
    in_service,
)


def verdict(case: Case) -> Verdict:
    """The word of the first check that has one, as far as it can be carried out from here."""
    found = next(said for check in CHECKS if (said := check(case)) is not None)
    if case.wanted.held_by and Kind.WRITE_REQUEST in found.steps:
        return _held(case, found)
    if Kind.CREATE_KEY not in found.steps:
        return found
    if case.wanted.store == EXTERNAL:
        return replace(
            found,
            waits_for="whoever looks after the device",
            next_action="have the device make a new key and request, and take the request in: "
            f"{commands.supply(case.wanted.name)}",
            steps=(),
            needs_person=True,
        )
    if not case.keys_known:
        # A key of this version may be there, with a request that was never committed.
        return replace(
            found,
            reason=Reason.HOST_NOT_ASKED,
            message=f"{found.message}; the host could not be asked for its keys",
            waits_for=f"{case.wanted.hosts}",
            next_action="bring the host back and run again: it makes key and request then; "
            "nothing is changed",
            steps=(),
        )
    return found


def _held(case: Case, found: Verdict) -> Verdict:
    """What would be asked for waits until a person has settled what rules say of it.

    Nothing else waits: what is in service is validated and deployed as ever.
    """
    first, *others = case.wanted.held_by
    more = f", and {', '.join(one.rule for one in others)}" if others else ""
    return replace(
        found,
        reason=Reason.HELD_BY_RULE,
        message=f"{found.message}; no key or request is made: {first.rule}, {first.sentence}{more}",
        waits_for="a person to settle it",
        next_action=first.next_step,
        steps=(),
        needs_person=True,
    )


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
