# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a certificate's life: states, reasons, and what is declared and observed of it.

Values only. :mod:`.plan_checks` asks questions of them, :mod:`.plan` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from .windows import Renewal


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
    ASKED_FOR = "asked_for"
    CERTIFICATE_REVOKED = "certificate_revoked"
    HOLDER_ENDS = "holder_ends"
    KEY_COMPROMISED = "key_compromised"
    CERTIFICATE_EXPIRED = "certificate_expired"
    INVENTORY_CHANGED = "inventory_changed"
    RENEWAL_WINDOW = "renewal_window"
    IN_SERVICE = "in_service"
    NOT_YET_SERVED = "not_yet_served"
    HOST_NOT_ASKED = "host_not_asked"
    LEFT_TO_THE_DEVICE = "left_to_the_device"
    WAITS_FOR_WINDOW = "waits_for_window"
    HELD_BY_RULE = "held_by_rule"


class Kind(StrEnum):
    """What a role can be told to do.

    ``KEEP`` is for the certificate before one whose deployment waits: where it is in service,
    it stays there.
    """

    CREATE_KEY = "create_key"
    WRITE_REQUEST = "write_request"
    ACCEPT = "accept"
    DEPLOY = "deploy"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Intent:
    """What determines a request: names, vetted subject, purposes, policy and key.

    ``store`` is where the key is made ("transit", "host", "external"), ``key_type`` what it
    is ("rsa-4096"), ``provider`` who signs with it for its holder. Each is empty where nothing is
    said of it, and then it is not compared; a provider once recorded is, with none as well.
    ``handover``: a signing key that was made to be handed over, and so can be taken out.
    """

    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    policy: str
    san: tuple[str, ...] = ()
    store: str = ""
    key_type: str = ""
    provider: str = ""
    handover: bool = False

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
        if sorted(self.san) != sorted(other.san):
            before, after = ", ".join(self.san), ", ".join(other.san)
            lines.append(f"alternative names {before or 'none'} -> {after or 'none'}")
        if self.store and other.store and self.store != other.store:
            lines.append(f"key kept in {self.store} -> {other.store}")
        if self.key_type and other.key_type and self.key_type != other.key_type:
            lines.append(f"key {self.key_type} -> {other.key_type}")
        if self.provider and self.provider != other.provider:
            # What one provider was handed is never another's, nor its holder's again.
            lines.append(f"provider {self.provider} -> {other.provider or 'none'}")
        if self.store == other.store == "transit" and self.handover != other.handover:
            before, after = ("is" if one.handover else "is not" for one in (self, other))
            lines.append(f"key {before} to be handed over -> {after}")
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
class Asked:
    """A person's word for a request that no run would make by itself."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Retired:
    """The end of an old version: when, and what became of its key.

    ``key`` is ``withdrawn`` (an operator can bring it back), ``destroyed`` (nobody can), or
    ``kept`` where its store leaves that to a person.
    """

    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a person prepared to have a certificate revoked, and when that was done.

    ``cause`` is what happened; ``final`` when no certificate is to follow. ``revoked`` is when it
    was seen to be, by a person or in a CRL; that and ``submitted`` are None until then.
    """

    cause: str
    final: bool
    submitted: datetime | None = None
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of one key version from the files beside the inventory.

    A version may be nothing but ``asked`` for: then no key or request of it exists yet.
    ``compromised`` is who says that its key is, empty when nobody does.
    """

    number: int
    requested: Requested | None = None
    has_reply: bool = False
    accepted: Accepted | None = None
    outcome: str | None = None
    outcome_at: datetime | None = None
    asked: Asked | None = None
    retired: Retired | None = None
    compromised: str = ""
    revocation: Revocation | None = None

    @property
    def settled(self) -> bool:
        """Whether this version's request has an outcome."""
        return self.accepted is not None or self.outcome is not None

    @property
    def begun(self) -> bool:
        """Whether anything of it exists beyond the wish for it."""
        return self.settled or self.requested is not None or self.has_reply


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of the key in its store."""

    created: datetime
    spki_sha256: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything gathered about one certificate.

    ``keys`` are the store's versions; not ``keys_known`` when the store could not be asked: a
    host that did not answer, or a device of which nobody but its user knows. ``served`` maps
    each host to the serial its gateway presents, with None for a host that was asked and did
    not answer; empty when nobody asked.
    """

    keys: Mapping[int, KeyVersion] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    served: Mapping[str, str | None] = field(default_factory=dict)
    keys_known: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """A rule for which no key and no request is made: its id, what is amiss, what settles it."""

    rule: str
    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the inventory declares of one certificate.

    ``store`` is where its keys are made, ``renewal`` what the entry says of the next one,
    ``held_by`` what must be settled before another key or request of it is made.
    """

    name: str
    intent: Intent
    hosts: str
    store: str = "transit"
    renewal: Renewal = field(default_factory=Renewal)
    held_by: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """The policy's numbers that planning needs.

    Attributes:
        renewal_window: before a certificate's end, when the entry says nothing else.
        deploy_margin: what the one in service must still last when a deployment window opens.
    """

    renewal_window: timedelta
    deploy_margin: timedelta = timedelta(0)
