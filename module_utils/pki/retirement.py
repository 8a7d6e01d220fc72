# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of versions that a newer one has replaced: what must hold before, and the record after.

Pure. Nothing ends before the newer certificate was accepted and is seen in service on every
host; the documents set the latest date (``overlap_days``), and this is the earliest. What
cannot be taken back, destroying, waits for the overlap's end unless a person says why not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from . import commands, key_place, outcomes, public_state, revocation_cause, revocation_text
from .certs import DECODE_ERRORS
from .errors import PkiError
from .inventory import Certificate
from .key_place import KeyPlace
from .lifecycle import State, Version
from .outcomes import Word
from .plan import CertificatePlan
from .policy import Policy
from .public_state import SCHEMA, VersionFiles

RULE = "RETIRE"
FILE = "retired.yml"
WITHDRAWN, DESTROYED, KEPT = public_state.KEY_ENDS


@dataclass(frozen=True, slots=True)
class Wish:
    """A person's word: which certificate, why, and how far.

    Without a reason it is that another version is in service. ``destroy`` ends the keys for
    good. ``early`` is why not to wait for a host that does not answer, or for the end of the
    overlap; empty for waiting.
    """

    word: Word
    destroy: bool = False
    early: str = ""


@dataclass(frozen=True, slots=True)
class OnHost:
    """What a host told: its release directories by version, and the one in service (0: none).

    ``problem`` is why it told nothing.
    """

    releases: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    in_service: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of the certificate whose old versions are to end.

    ``hosts`` are the declared hosts with what each told of its releases; ``now`` is aware UTC.
    """

    certificate: Certificate
    policy: Policy
    plan: CertificatePlan
    versions: Sequence[VersionFiles]
    hosts: Mapping[str, OnHost]
    now: datetime


@dataclass(frozen=True, slots=True)
class Old:
    """An old version, where its key is, and what becomes of it."""

    files: VersionFiles
    place: KeyPlace
    key: str


@dataclass(frozen=True, slots=True)
class Retirement:
    """What is to be done, once every precondition holds.

    ``keep`` is the version in service, the oldest that stays; ``place`` where its key is.
    """

    case: Case
    wish: Wish
    keep: int
    place: KeyPlace
    old: tuple[Old, ...]

    @property
    def withdraws(self) -> bool:
        """Whether old versions of the key are ended in the store of the one that stays."""
        return any(one.place == self.place for one in self.old)

    def of_hosts(self) -> list[str]:
        """What is done on hosts, one sentence a host."""
        lines = [
            f"{host}: the releases {', '.join(names)} are removed with their keys"
            for host, names in self.releases().items()
        ]
        if self.on_host and any(self._ends_now(one) for one in self.old):
            host = self.case.certificate.host
            lines.append(
                f"{host}: versions of its own key below {self.keep} are destroyed for good"
            )
        return lines

    @property
    def on_host(self) -> bool:
        """Whether the host itself has old versions of the key to destroy."""
        return self.place.store == key_place.HOST and self.wish.destroy and self.withdraws

    def _ends_now(self, one: Old) -> bool:
        before = one.files.retired_record
        return one.key == DESTROYED and (before is None or before["key"] != DESTROYED)

    def releases(self) -> dict[str, list[str]]:
        """The old releases that hosts have, by host."""
        found = {
            host: [
                name
                for version in sorted(told.releases)
                if version < self.keep
                for name in told.releases[version]
            ]
            for host, told in self.case.hosts.items()
        }
        return {host: names for host, names in found.items() if names}

    def announced(self) -> list[str]:
        """The records that will be written, one sentence a version."""
        return [
            f"{self.case.certificate.name} v{number}: {' and '.join(contents)} are written"
            if len(contents) > 1
            else f"{self.case.certificate.name} v{number}: {FILE} is written"
            for number, contents in self.records().items()
        ]

    def by_hand(self) -> list[str]:
        """What no run can do: keys in places where none stays, and keys of devices."""
        lines = []
        for one in self.old:
            label = f"{self.case.certificate.name} v{one.files.number}"
            if one.place.store == key_place.EXTERNAL:
                lines.append(f"{label}: remove the key from the device that made it")
            elif one.place.store == key_place.HOST and one.place != self.place:
                lines.append(
                    f"{label}: the key that its host made is no longer the certificate's; remove "
                    f"keys/{one.files.number} of its entry on the host"
                )
            elif one.place.store == key_place.HOST and not self.wish.destroy:
                lines.append(
                    f"{label}: a host cannot withdraw a key so that it can be brought back; it "
                    "stays there until it is retired with -e destroy=true"
                )
            elif one.key == KEPT and one.place.store == key_place.TRANSIT:
                lines.append(
                    f"{label}: {one.place} has no version that stays, so it cannot be withdrawn: "
                    "an operator deletes that key (deletion_allowed, then delete)"
                )
        return lines

    def records(self) -> dict[int, dict[str, bytes]]:
        """The files that are new or different, by version: the record, and what to revoke."""
        found = {}
        for one in self.old:
            contents = self._contents(one)
            if contents:
                found[one.files.number] = contents
        return found

    def _contents(self, one: Old) -> dict[str, bytes]:
        contents = {}
        text = self._revocation(one)
        if text is not None:
            contents[revocation_text.FILE] = text
        before, after = one.files.retired_record, self._record(one)
        if before is None or dict(before) != after:
            contents[FILE] = public_state.dump(after)
        # Written once: the text is a person's to work with afterwards, and a revocation that was
        # prepared on its own has its own.
        if before is not None or one.files.revocation_record is not None:
            contents.pop(revocation_text.FILE, None)
        return contents

    def _record(self, one: Old) -> dict[str, Any]:
        """The first word stands; a key that was withdrawn may only go further."""
        moment, word = public_state.iso(self.case.now), self.wish.word
        before = one.files.retired_record
        if before is not None:
            record = dict(before)
            if one.key == DESTROYED and record["key"] != DESTROYED:
                record.update(key=DESTROYED, destroyed_at=moment)
            elif one.key == WITHDRAWN and record["key"] == KEPT:
                record.update(key=WITHDRAWN)
            return record
        more = {"by": word.by.strip(), "early": self.wish.early.strip()}
        return {
            "schema": SCHEMA,
            "certificate": word.certificate,
            "version": one.files.number,
            "date": moment,
            "reason": word.reason.strip(),
            "key": one.key,
            "superseded_by": self.keep,
            **{name: text for name, text in more.items() if text},
        }

    def to_revoke(self) -> list[str]:
        """The certificates that are still valid without being needed, one sentence each."""
        lines = []
        for one in self.old:
            seen = public_state.observed_version(one.files)
            if seen.accepted is not None and self._revocation(one) is not None:
                path = one.files.path / revocation_text.FILE
                lines.append(
                    f"{self.case.certificate.name} v{one.files.number}: have serial "
                    f"{seen.accepted.serial} revoked as superseded; {path} says how"
                )
        return lines

    def _revocation(self, one: Old) -> bytes | None:
        """The text for a certificate that is neither at its end nor revoked already."""
        seen = public_state.observed_version(one.files)
        if seen.accepted is None or one.files.certificate is None:
            return None
        revoked = self.case.plan.versions.get(one.files.number) is State.REVOKED
        if revoked or seen.accepted.not_after < self.case.now:
            return None
        certificate, number = self.case.certificate, one.files.number
        try:
            leaf = x509.load_pem_x509_certificate(one.files.certificate)
        except DECODE_ERRORS:
            return None
        told = revocation_text.identity(certificate, number, leaf)
        cause = revocation_cause.CAUSES["superseded"]
        why = revocation_text.superseded(self.keep)
        order = revocation_text.order(certificate, self.case.policy, cause, why)
        return None if told is None else revocation_text.text(told, order)


def decide(case: Case, wish: Wish) -> Retirement:
    """What retiring everything older than the version in service means.

    Raises:
        PkiError: RETIRE, with what does not hold yet; nothing may be done then.
    """
    live = _in_force(case)
    given = f"version {live.number} is in service"
    word = replace(wish.word, reason=wish.word.reason.strip() or given)
    wish = replace(wish, word=word)
    outcomes.must_say_something(RULE, word)
    if wish.early:
        outcomes.must_say_something(RULE, replace(word, reason=wish.early))
    older = [files for files in case.versions if files.number < live.number]
    if not older:
        raise _refused(
            case,
            "there is no older version",
            found=f"version {live.number} and nothing before it",
            expected="a version that was replaced",
            next_step="nothing is to be done",
        )
    _seen_in_service(case, wish, live)
    _left_by_hosts(case, live)
    if wish.destroy:
        _overlap_over(case, wish, live)
    staying = next(files for files in case.versions if files.number == live.number)
    place = key_place.of_version(case.certificate, staying)
    old = [(files, key_place.of_version(case.certificate, files)) for files in older]
    return Retirement(
        case,
        wish,
        live.number,
        place,
        tuple(Old(files, at, _end(at, place, wish)) for files, at in old),
    )


def _end(at: KeyPlace, place: KeyPlace, wish: Wish) -> str:
    """What becomes of a key: see :class:`..lifecycle.Retired`."""
    if at != place or at.store == key_place.EXTERNAL:
        return KEPT
    if wish.destroy:
        return DESTROYED
    return WITHDRAWN if at.store == key_place.TRANSIT else KEPT


def _in_force(case: Case) -> Version:
    """The accepted version that replaces the others."""
    number = case.plan.live
    if number is not None:
        files = next(one for one in case.versions if one.number == number)
        live = public_state.observed_version(files)
        if live.accepted is not None and live.accepted.not_after >= case.now:
            return live
    raise _refused(
        case,
        "no certificate is in force that could have replaced another",
        found=case.plan.message,
        expected="an accepted certificate that has neither ended nor been revoked",
        next_step=case.plan.next_action,
    )


def _seen_in_service(case: Case, wish: Wish, live: Version) -> None:
    """Every listener presents the newer certificate; without listeners there is none to ask."""
    serial = live.accepted.serial if live.accepted else ""
    served = case.plan.served
    other = sorted(host for host, seen in served.items() if seen not in (serial, None))
    silent = sorted(host for host, seen in served.items() if seen is None)
    if other:
        raise _refused(
            case,
            f"version {live.number} is not in service everywhere",
            found="; ".join(f"{host} presents serial {served[host]}" for host in other),
            expected=f"serial {serial} on every host",
            next_step="deploy it with playbooks/site.yml, then retire",
        )
    if silent and not wish.early:
        raise _refused(
            case,
            f"nobody saw that version {live.number} is in service everywhere",
            found=f"no answer from {', '.join(silent)}",
            expected=f"serial {serial} on every host",
            next_step="let those hosts answer; or take them out of the inventory; or say with "
            "-e \"early='...'\" why not to wait",
        )


def _left_by_hosts(case: Case, live: Version) -> None:
    """Every declared host told what lies there, and none has an old version in service."""
    untold = sorted(host for host, told in case.hosts.items() if told.problem)
    if untold:
        raise _refused(
            case,
            "it is not known what lies on every host",
            found="; ".join(f"{host}: {case.hosts[host].problem}" for host in untold),
            expected="an answer of every declared host, since keys lie there, too",
            next_step="let those hosts answer, or take them out of the inventory",
        )
    late = sorted(h for h, told in case.hosts.items() if 0 < told.in_service < live.number)
    if late:
        raise _refused(
            case,
            "an old version is still in service",
            found="; ".join(f"{host}: version {case.hosts[host].in_service}" for host in late),
            expected=f"version {live.number} on every host",
            next_step="deploy it with playbooks/site.yml, then retire",
        )


def _overlap_over(case: Case, wish: Wish, live: Version) -> None:
    """Whether nobody goes back any more (6.1.4); a policy without the number has no overlap."""
    parameter = case.policy.parameters.get("overlap_days")
    if parameter is None or live.accepted is None or wish.early:
        return
    end = live.accepted.accepted_at + timedelta(days=int(parameter.value))
    if case.now < end:
        raise _refused(
            case,
            "the overlap is not over, and a destroyed key cannot be brought back",
            found=f"version {live.number}, accepted on {live.accepted.accepted_at:%Y-%m-%d}",
            expected=f"a destruction from {end:%Y-%m-%d}, {parameter.value} days later",
            next_step="withdraw now (without destroy) and destroy then; or say with "
            "-e \"early='...'\" why not to wait",
        )


def _refused(case: Case, what: str, *, found: str, expected: str, next_step: str) -> PkiError:
    name = case.certificate.name
    return PkiError(
        f"{name}: {what}",
        rule=RULE,
        found=found,
        expected=expected,
        where=f"{name}, {commands.retire(name)}",
        next_step=f"{next_step}; nothing was retired",
    )


def told(raw: Mapping[str, Any], entry: str) -> OnHost:
    """What ``pki_release_retire`` returned on a host, of one entry."""
    problem = str(raw.get("problem", ""))
    releases: dict[int, tuple[str, ...]] = {}
    in_service = 0
    for one in raw.get("releases") or ():
        if str(one["certificate"]) != entry:
            continue
        version = int(one["version"])
        releases[version] = (*releases.get(version, ()), str(one["release"]))
        if one["in_service"]:
            in_service = version
    return OnHost(releases, in_service, problem)


def gone(retirement: Retirement, keys: Mapping[str, Any]) -> None:
    """Refuse to record the end of versions that hosts still hold.

    ``keys`` is what ``pki_host_key`` returned of the keys it destroyed, by host.

    Raises:
        PkiError: RETIRE; the steps that were done stay done, and the next run goes on.
    """
    left = {host: list(names) for host, names in retirement.releases().items()}
    if retirement.on_host:
        host = retirement.case.certificate.host
        told_of = keys.get(host) or {"problem": "its keys were not looked at"}
        problem = str(told_of.get("problem", "")) or _errors(told_of, retirement)
        left.setdefault(host, []).extend([problem] if problem else [])
        left = {name: lines for name, lines in left.items() if lines}
    if left:
        name = retirement.case.certificate.name
        raise PkiError(
            f"{name}: hosts still hold what was to be removed",
            rule=RULE,
            found="; ".join(f"{host}: {', '.join(names)}" for host, names in left.items()),
            expected="no release of an old version",
            where=name,
            next_step="look at those hosts and run the same command again; it goes on from here",
        )


def _errors(told_of: Mapping[str, Any], retirement: Retirement) -> str:
    """Why a host did not destroy the keys of an entry; empty when it did."""
    entry = retirement.case.certificate.entry
    mine = [one for one in told_of.get("keys") or () if one.get("entry") == entry]
    if not mine:
        return "its keys were not looked at"
    return "; ".join(str(one["error"]["message"]) for one in mine if "error" in one)


def expanded(wishes: Iterable[Wish], entries: Mapping[str, Sequence[Certificate]]) -> list[Wish]:
    """Each wish for an entry of several hosts as one for each host's certificate."""
    found = []
    for wish in wishes:
        named = [one.name for one in entries.get(wish.word.certificate, ())]
        for name in named or [wish.word.certificate]:
            found.append(replace(wish, word=replace(wish.word, certificate=name)))
    return found
