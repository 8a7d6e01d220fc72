# SPDX-License-Identifier: GPL-3.0-or-later
"""One version's revocation: what is marked, recorded, ended, asked for and told.

Pure. What is refused is refused before anything is written. A key that others may have is marked
whatever is known of its certificate; a record is made where there is a certificate to revoke.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from . import (
    commands,
    csr,
    outcomes,
    public_state,
    reading,
    revocation_cause,
    revocation_facts,
    revocation_letters,
    revocation_record,
    revocation_targets,
    revocation_text,
)
from .certs import DECODE_ERRORS
from .errors import PkiError
from .inventory import Certificate
from .lifecycle import Reason, State
from .outcomes import Record, Word
from .plan import CertificatePlan
from .policy import Finding, Outcome, Policy
from .public_state import VersionFiles
from .record_fields import iso
from .revocation_cause import RULE, Cause
from .revocation_record import ADMIN, MANAGER, OTHER, Recorded
from .revocation_targets import Target, Wish, World, refused

FAULTS = (Outcome.FAILED, Outcome.NOT_EVALUATED)


@dataclass(frozen=True, slots=True)
class Revoking:
    """What is to be done about one version.

    Attributes:
        target, files, certificate, policy: which one it is.
        cause: what happened to it.
        spki_sha256: its public key.
        entry: what the ledgers say of the key; empty for a key that may still be used.
        known: whether the ledger beside the inventory has it already.
        record: what ``revocation.yml`` is to say; None without a certificate to revoke.
        before: what it says.
        ended: the record of its open request's end; None when it has none.
        asked: the record of the wish for another; None when none is to follow, or one is there.
        stands: why no other is asked for, in words; empty when one is.
    """

    target: Target
    files: VersionFiles
    certificate: Certificate
    policy: Policy
    cause: Cause
    spki_sha256: str
    entry: Mapping[str, str]
    known: bool
    record: Recorded | None
    before: Recorded | None
    ended: Record | None
    asked: Record | None
    stands: str

    @property
    def records(self) -> list[Record]:
        """The records of requests, in the order in which they are written."""
        return [record for record in (self.ended, self.asked) if record is not None]

    def contents(self) -> dict[str, bytes]:
        """The files of the version: the texts, and the record last, which vouches for them."""
        if self.record is None:
            return {}
        texts = revocation_letters.texts(self.record)
        return {**texts, revocation_record.FILE: self.record.content()}

    def sentence(self) -> str:
        """What is prepared, and what there is to commit."""
        reason = f"{self.cause.shown}, {self.cause.why}"
        if self.record is None:
            return f"{self.target}: there is no certificate to revoke ({reason})"
        return (
            f"{self.target}: the revocation of serial {self.record.serial} is prepared "
            f"({reason}); commit {self.files.path}"
        )

    def next_steps(self) -> list[str]:
        """What a person does now, one sentence each, the most urgent first."""
        lines = []
        if self.record is not None:
            lines = _open_steps(self.record, self.policy, self.files)
        if self.cause.name == "inaccurate" and self.asked is not None:
            lines.append(
                f"{self.target.name}: correct the entry in the inventory before the new request is "
                "submitted; what was wrong would be asked for again"
            )
        if self.cause.final and self.record is not None and self.record.revoked is not None:
            lines.append(
                f"{self.target.name}: take the entry and what uses it out of the inventory"
            )
        if self.stands:
            lines.append(f"{self.target.name}: {self.stands}")
        return lines


def _open_steps(record: Recorded, policy: Policy, files: VersionFiles) -> list[str]:
    """The steps of a record that nobody recorded as done yet."""
    label, serial = record.label, f"serial {record.serial}"
    lines = []
    texts = revocation_letters.texts(record)
    if revocation_letters.INCIDENT in texts and record.incident is None:
        lines.append(
            f"{label}: raise a major security incident with the DIP Manager, naming {serial}"
            f"{_within(record, policy, 'incident_minutes')}; the text is "
            f"{files.path / revocation_letters.INCIDENT}"
        )
    if revocation_letters.AUTHORITY in texts and record.authority is None:
        lines.append(
            f"{label}: tell the certificate authority, naming {serial}"
            f"{_within(record, policy, 'authority_notice_minutes')}; the text is "
            f"{files.path / revocation_letters.AUTHORITY}"
        )
    if record.submitted is None:
        within = _within(record, policy, "revocation_request_minutes") if record.kind.leaked else ""
        lines.append(
            f"{label}: have {serial} revoked for {record.kind.shown}{within}; "
            f"{files.path / revocation_text.FILE} says how"
        )
    if lines:
        command = commands.revocation_step(
            record.certificate, record.version, record.cause, "submitted"
        )
        lines.append(f"{label}: record each step when it is done: {command}")
    elif record.revoked is None:
        command = commands.revocation_step(
            record.certificate, record.version, record.cause, "revoked"
        )
        lines.append(f"{label}: once it is revoked: {command}")
    return lines


def _within(record: Recorded, policy: Policy, parameter: str) -> str:
    if parameter not in policy.parameters:
        return ""
    minutes = policy.number(parameter)
    return f" within {minutes} minutes of {iso(record.noticed)}"


def decide_all(world: World, wish: Wish, policies: Mapping[str, Policy]) -> list[Revoking]:
    """What a word means for every version it is about; nothing is written before all are right.

    Raises:
        PkiError: REVOKE, or the id of the rule that the wish breaks.
    """
    for text in (wish.text, wish.by, wish.reference):
        if text:
            outcomes.must_say_something(RULE, Word(wish.certificate or "all", text))
    found = []
    targets = revocation_targets.of(world, wish)
    for target in targets:
        beside = [str(one) for one in targets if one != target] if wish.host else []
        found.append(_decide(world, wish, target, policies, beside))
    new = [one for one in found if one.record is not None and one.before is None]
    managers = [one for one in new if revocation_cause.of_manager(one.cause, one.policy)]
    if managers and not wish.manager:
        raise _managers(managers, wish)
    for one in new:
        _judge(one, world)
    return found


def _decide(
    world: World,
    wish: Wish,
    target: Target,
    policies: Mapping[str, Policy],
    beside: Sequence[str],
) -> Revoking:
    certificate = world.declared.certificates[target.name]
    policy = policies[certificate.policy]
    files = world.requests(target.name)[target.version]
    spki = public_state.key_digest(files.request_record or {}, files.path / "request.yml")
    known = spki in world.committed
    before = _before(target, files, wish)
    cause = wish.cause or (before.kind if before else None)
    if cause is None:
        raise refused(
            f"{target}: nothing was prepared that steps could be added to",
            found="no cause, and no revocation.yml",
            expected="-e cause=... with -e \"reason='...'\" and -e \"by='...'\" first",
        )
    marked_before = known and cause.leaked
    if before is None and not wish.text and not marked_before:
        outcomes.must_say_something(RULE, Word(target.name, wish.text))
    record = before or _record(world, wish, target, cause, policy, files, spki, beside)
    if record is None and not cause.leaked:
        raise refused(
            f"{target}: there is no certificate to revoke",
            found="none, or one that has ended",
            expected="a certificate that is in force",
            next_step=f"for a request that has come to nothing: {commands.withdraw(target.name)}",
        )
    if record is not None:
        record = _with_steps(record, wish, world.now)
    word = Word(target.name, wish.text or (record.text if record else cause.why), wish.by)
    ended, asked, stands = None, None, ""
    if cause.leaked or cause.replaced:
        plan, versions = world.plans[target.name], world.versions[target.name]
        if cause.leaked:
            ended, versions, plan = _ended(world, plan, versions, word, target)
        if cause.replaced:
            asked, stands = _asked(world, plan, versions, word, target, cause)
    return Revoking(
        target=target,
        files=files,
        certificate=certificate,
        policy=policy,
        cause=cause,
        spki_sha256=spki,
        entry=_entry(world, target, word) if cause.leaked else {},
        known=known,
        record=record,
        before=before,
        ended=ended,
        asked=asked,
        stands=stands,
    )


def _before(target: Target, files: VersionFiles, wish: Wish) -> Recorded | None:
    """What was said before, unless it is said differently now; worse news takes its place."""
    record = public_state.recorded_revocation(files)
    if record is None or _worse(wish.cause, record.kind):
        return None
    if revocation_targets.same_word(record, wish):
        return record
    raise refused(
        f"{target}: its revocation was prepared differently before",
        found=f"{record.cause}, noticed {iso(record.noticed)}, by {record.by}: {record.text}",
        expected="the same words, or none",
        where=str(files.path / revocation_record.FILE),
        next_step="leave out what was said before; a record is not changed: correct it in git if "
        "it was a mistake; nothing was changed",
    )


def _worse(cause: Cause | None, before: Cause) -> bool:
    """Whether a key turns out to be in more hands than was said."""
    return cause is not None and (cause.leaked, cause.incident) > (before.leaked, before.incident)


def _entry(world: World, target: Target, word: Word) -> dict[str, str]:
    return {
        "certificate": target.name,
        "since": f"{world.now:%Y-%m-%d}",
        "reason": word.reason.strip(),
    }


# --- the record -----------------------------------------------------------------------------------


def leaf_of(files: VersionFiles, spki_sha256: str) -> x509.Certificate | None:
    """The certificate of a version's key: the kept one, else what came as a reply."""
    try:
        if files.certificate is not None:
            return x509.load_pem_x509_certificate(files.certificate)
        offered = reading.read(files.presented) if files.presented else ()
    except (PkiError, *DECODE_ERRORS):
        return None
    return next((one for one in offered if _digest(one) == spki_sha256), None)


def _digest(leaf: x509.Certificate) -> str:
    try:
        return hashlib.sha256(csr.spki_der(leaf.public_key())).hexdigest()
    except DECODE_ERRORS:
        return ""


def _record(
    world: World,
    wish: Wish,
    target: Target,
    cause: Cause,
    policy: Policy,
    files: VersionFiles,
    spki: str,
    beside: Sequence[str],
) -> Recorded | None:
    certificate = world.declared.certificates[target.name]
    leaf = leaf_of(files, spki)
    told = revocation_text.identity(certificate, target.version, leaf) if leaf else None
    if leaf is None or told is None or leaf.not_valid_after_utc < world.now:
        return None
    revoked = world.plans[target.name].versions.get(target.version) is State.REVOKED
    if revoked and not cause.leaked:
        raise refused(
            f"{target}: the certificate is revoked already",
            found="a CRL that lists it",
            expected="a certificate that is in force",
            next_step="nothing is to be done; nothing was changed",
        )
    noticed = wish.noticed or world.now
    if noticed > world.now:
        raise _not_yet("noticed", noticed, world.now)
    name, role = _asker(certificate, policy, wish, world.now)
    return Recorded(
        certificate=target.name,
        version=target.version,
        organisation=told.organisation,
        common_name=told.common_name,
        subject=told.subject,
        serial=told.serial,
        issuer=told.issuer,
        valid_until=told.until,
        certificate_sha256=told.digest,
        spki_sha256=spki,
        cause=cause.name,
        reason=cause.reason,
        code=revocation_cause.code(cause, policy),
        text=wish.text.strip(),
        noticed=noticed.replace(microsecond=0),
        by=name,
        role=role,
        contact=revocation_cause.contact(policy),
        prepared=world.now.replace(microsecond=0),
        medium=wish.host,
        beside=tuple(beside),
    )


def _asker(certificate: Certificate, policy: Policy, wish: Wish, now: datetime) -> tuple[str, str]:
    """Who asks, in which role; the rules say whether that is enough."""
    if wish.manager:
        return wish.by.strip(), MANAGER
    person = revocation_targets.asker(certificate.organisation, wish.by, now)
    if person is not None:
        return person.name, ADMIN
    return wish.by.strip(), OTHER


def _with_steps(record: Recorded, wish: Wish, now: datetime) -> Recorded:
    """The record with what was done since; a step is recorded once."""
    for name, when in wish.steps.items():
        moment, there = (when or now).replace(microsecond=0), record.step(name)
        reference = wish.reference if name == "incident" else ""
        if there is None:
            if moment > now:
                raise _not_yet(name, moment, now)
            if moment < record.noticed:
                raise refused(
                    f"{record.label}: {name} was before anybody noticed",
                    found=iso(moment),
                    expected=f"a moment from {iso(record.noticed)}",
                )
            record = record.with_step(name, moment, reference)
        elif (when is not None and moment != there) or (
            name == "incident" and reference != record.reference
        ):
            raise refused(
                f"{record.label}: {name} is recorded already",
                found=f"{iso(there)} {record.reference}".strip(),
                expected="the same, or nothing",
                next_step="a record is not changed; correct it in git if it was a mistake",
            )
    return record


def _not_yet(name: str, when: datetime, now: datetime) -> PkiError:
    return refused(
        f"{name} is still to come",
        found=iso(when),
        expected=f"a moment until {iso(now)}",
    )


# --- who may ------------------------------------------------------------------------------------


def _managers(found: Sequence[Revoking], wish: Wish) -> PkiError:
    """Only the DIP Manager may: the letter to write, and what to run once it is answered."""
    records = [one.record for one in found if one.record is not None]
    cause = found[0].cause
    return PkiError(
        f"only the DIP Manager revokes for {cause.shown}",
        rule=revocation_cause.RULE_MANAGER,
        found=f"{wish.by.strip() or 'nobody'}, for {', '.join(one.label for one in records)}",
        expected=f"the DIP Manager (Table 5), to whom you write at {records[0].contact}",
        where="the command line",
        next_step=f"write this: {revocation_letters.manager_letter(records)} -- and when the DIP "
        "Manager has taken it, run this again with -e by_role=dip_manager and the name of whoever "
        "took it as by; nothing was changed",
    )


def _judge(one: Revoking, world: World) -> None:
    """What the policy says of a wish that is new."""
    if one.record is None:
        return
    facts = revocation_facts.document(one.record, revocation_facts.Beside())
    for finding in one.policy.judge(revocation_facts.KIND, facts):
        if finding.rule in revocation_facts.OF_THE_WISH and finding.outcome in FAULTS:
            raise _broken(one, finding, world)
    if not one.record.by:
        raise refused(
            f"{one.target}: nobody asks for it",
            found="nothing",
            expected="who does, with -e \"by='...'\"",
        )


def _broken(one: Revoking, finding: Finding, world: World) -> PkiError:
    people = revocation_targets.admins(one.certificate.organisation, world.now)
    admins = " or ".join(person.name for person in people) or "nobody on the roster"
    return PkiError(
        f"{one.target}: {finding.message}",
        rule=finding.rule,
        found=finding.found,
        expected=f"{finding.expected} of {one.certificate.organisation.key}: {admins}",
        where='the command line, -e "by=..."',
        next_step=f"{finding.next_step}; nothing was changed",
    )


# --- requests -----------------------------------------------------------------------------------


def _ended(
    world: World,
    plan: CertificatePlan,
    versions: Sequence[VersionFiles],
    word: Word,
    target: Target,
) -> tuple[Record | None, Sequence[VersionFiles], CertificatePlan]:
    """An open request of the key comes to nothing; with it, how things stand afterwards."""
    if plan.pending != target.version:
        return None, versions, plan
    said = replace(word, reason=_why(target, word, "its key is compromised"))
    record = outcomes.decide(versions, said, "withdrawn", target.version, world.now)
    told = {"outcome": "withdrawn", "date": public_state.iso(world.now)}
    after = [
        replace(one, outcome_record=told) if one.number == target.version else one
        for one in versions
    ]
    return record, after, replace(plan, pending=None, reason=Reason.REQUEST_WITHDRAWN)


def _asked(
    world: World,
    plan: CertificatePlan,
    versions: Sequence[VersionFiles],
    word: Word,
    target: Target,
    cause: Cause,
) -> tuple[Record | None, str]:
    """The wish for another key, unless one is in service or asked for already."""
    if plan.pending is not None:
        return None, f"request v{plan.pending} has another key and goes on"
    if plan.live is not None and plan.live > target.version:
        return None, f"version {plan.live} is in service with another key and stays"
    said = replace(word, reason=_why(target, word, cause.why))
    directory = world.directory / target.name
    return outcomes.ask(plan, versions, said, directory, world.now), ""


def _why(target: Target, word: Word, what: str) -> str:
    text = f"v{target.version} is revoked, {what}: {word.reason.strip()}"
    return text[: outcomes.LONGEST_REASON]
