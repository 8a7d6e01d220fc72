# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates a person's word about revocation means, and who may say it.

Pure. A word about one certificate is never taken for another: said again after the replacement is
in service, it is still about the version it was said of. Words about an organisation, a person or a
host mean every certificate that is in force there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from . import days, names, public_state, submission
from .errors import PkiError
from .inventory import Certificate, Declared, Organisation, Person
from .lifecycle import State
from .plan import CertificatePlan
from .public_state import VersionFiles
from .revocation_cause import RULE, Cause
from .revocation_record import Recorded

LEAVER, SUPERSEDED = "leaver", "superseded"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person said.

    Attributes:
        certificate: its name or an entry's; empty where one of the next three says which are meant.
        version: the key's version; 0 for the one the cause is about.
        organisation: key of an organisation, all of whose certificates are meant.
        leaver: somebody who left, whose certificates are meant.
        host: a host, whose keys are meant.
        cause: what happened; None to add steps to what was said before.
        text: the same in words.
        by: who asks for it; several, one for each organisation, with semicolons between them.
        manager: whether that is the DIP Manager.
        noticed: when somebody became aware; None for now.
        steps: when what was done, by the names of :data:`.revocation_record.STEPS`; None for now.
        reference: the incident's number.
    """

    certificate: str = ""
    version: int = 0
    organisation: str = ""
    leaver: str = ""
    host: str = ""
    cause: Cause | None = None
    text: str = ""
    by: str = ""
    manager: bool = False
    noticed: datetime | None = None
    steps: Mapping[str, datetime | None] = field(default_factory=dict)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is known: inventory, files, plans, ledger and groups; ``now`` is aware UTC.

    ``committed`` is the ledger beside the inventory by SPKI digest; ``submissions`` are the texts
    that say who was to submit a version's request, by its directory.
    """

    declared: Declared
    versions: Mapping[str, Sequence[VersionFiles]]
    plans: Mapping[str, CertificatePlan]
    committed: Mapping[str, str]
    groups: Mapping[str, Sequence[str]]
    directory: Path
    now: datetime
    submissions: Mapping[Path, bytes] = field(default_factory=dict)

    def requests(self, name: str) -> dict[int, VersionFiles]:
        """The versions of a certificate that were asked for, by number."""
        return {one.number: one for one in self.versions[name] if one.request_record is not None}

    def in_force(self, name: str, files: VersionFiles) -> bool:
        """Whether a version has a certificate that somebody may still rely on."""
        seen = public_state.observed_version(files)
        if seen.accepted is None or seen.accepted.not_after < self.now:
            return False
        revoked = seen.revocation is not None and seen.revocation.revoked is not None
        return not revoked and self.plans[name].versions.get(files.number) is not State.REVOKED


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One version of one certificate."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


def of(world: World, wish: Wish) -> list[Target]:
    """The versions a word is about, in the order of the inventory.

    Raises:
        PkiError: REVOKE when it is not clear which are meant, or none is.
    """
    given = {
        "certificate": wish.certificate,
        "organisation": wish.organisation,
        "leaver": wish.leaver,
        "host": wish.host,
    }
    said = [name for name, value in given.items() if value]
    if not said and wish.cause is not None and wish.cause.name == LEAVER:
        return _found(world, wish, "who left", _of_leavers(world, _everybody_gone(world)))
    if len(said) != 1:
        raise refused(
            "it is not clear which certificates are meant",
            found=" and ".join(said) or "nothing",
            expected="one of certificate=NAME, organisation=KEY, leaver='NAME', host=HOST",
        )
    if wish.certificate:
        return [_meant(world, wish, name) for name in _named(world, wish.certificate)]
    if wish.organisation:
        return _found(world, wish, wish.organisation, _of_organisation(world, wish.organisation))
    if wish.leaver:
        return _found(world, wish, wish.leaver, _of_leavers(world, [_gone(world, wish.leaver)]))
    return _found(world, wish, wish.host, _of_host(world, wish.host))


def _named(world: World, name: str) -> list[str]:
    if name in world.declared.certificates:
        return [name]
    if name in world.declared.entries:
        return [one.name for one in world.declared.entries[name]]
    raise refused(
        "there is no such certificate",
        found=name,
        expected=", ".join(world.declared.certificates),
    )


def _found(world: World, wish: Wish, who: str, targets: Iterable[Target]) -> list[Target]:
    """Those that are in force, or were prepared for the same cause before."""
    kept = []
    for target in dict.fromkeys(targets):
        files = world.requests(target.name).get(target.version)
        if files is None:
            continue
        record = public_state.recorded_revocation(files)
        again = record is not None and wish.cause in (None, record.kind)
        if again or (wish.cause is not None and world.in_force(target.name, files)):
            kept.append(target)
    if kept:
        return kept
    raise refused(
        f"no certificate in force is meant by {who}",
        found="none",
        expected="one that was accepted, has not ended and is not revoked",
        next_step="nothing is to be done, if that is right; nothing was changed",
    )


def _every(world: World, names_: Iterable[str]) -> list[Target]:
    return [Target(name, number) for name in names_ for number in world.requests(name)]


# --- one certificate ------------------------------------------------------------------------------


def _meant(world: World, wish: Wish, name: str) -> Target:
    requests = world.requests(name)
    if wish.version in requests:
        return Target(name, wish.version)
    if not wish.version:
        number = _implied(world, wish, name, requests)
        if number:
            return Target(name, number)
    known = ", ".join(f"v{number}" for number in requests)
    raise refused(
        f"{name}: it is not clear which version is meant",
        found=f"version {wish.version}" if wish.version else "no version",
        expected=f"one of {known}" if known else "a version that was requested",
        next_step="say which with -e version=N; nothing was changed",
    )


def _implied(world: World, wish: Wish, name: str, requests: Mapping[int, VersionFiles]) -> int:
    """The version a word without one is about; 0 when that is not clear."""
    said = [number for number, files in requests.items() if _said_before(world, wish, name, files)]
    if said:
        # Without a cause or words, steps may be of either of two.
        return said[-1] if wish.text or len(said) == 1 else 0
    if wish.cause is None:
        return 0
    live = world.plans[name].live
    if wish.cause.name == SUPERSEDED:
        older = [n for n, one in requests.items() if n < (live or 0) and world.in_force(name, one)]
        return older[0] if len(older) == 1 else 0
    if live in requests:
        return live or 0
    return next(iter(requests)) if len(requests) == 1 else 0


def _said_before(world: World, wish: Wish, name: str, files: VersionFiles) -> bool:
    record = public_state.recorded_revocation(files)
    if record is not None:
        return wish.cause in (None, record.kind) and wish.text in ("", record.text)
    if wish.cause is None or not wish.cause.leaked or not wish.text:
        return False
    # Without a certificate there is no record, and only the ledger tells.
    path = files.path / "request.yml"
    said = world.committed.get(public_state.key_digest(files.request_record or {}, path), "")
    return f"{name}, since " in said and said.endswith(f": {wish.text}")


# --- all of an organisation, a person or a host ---------------------------------------------------


def _of_organisation(world: World, key: str) -> list[Target]:
    if key not in world.declared.organisations:
        raise refused(
            "there is no such organisation",
            found=key,
            expected=", ".join(world.declared.organisations),
        )
    held = (c.name for c in world.declared.certificates.values() if c.organisation.key == key)
    return _every(world, held)


def _of_host(world: World, host: str) -> list[Target]:
    """Certificates whose keys a host holds: its own, and those that its groups' hosts share."""
    known = {str(name) for names_ in world.groups.values() for name in names_}
    if host not in known and not any(c.hosts == host for c in world.declared.certificates.values()):
        raise refused(
            "there is no such host", found=host, expected=", ".join(sorted(known)) or "a host"
        )
    held = (c.name for c in world.declared.certificates.values() if _holds(world, host, c))
    return _every(world, held)


def _holds(world: World, host: str, certificate: Certificate) -> bool:
    if certificate.store == "external":
        return False
    if certificate.host:
        return certificate.host == host
    hosts = [str(name) for name in world.groups.get(certificate.hosts, [certificate.hosts])]
    return "mtls" in certificate.purposes and host in hosts


def _everybody_gone(world: World) -> list[str]:
    return [
        person.name
        for organisation in world.declared.organisations.values()
        for person in organisation.roster
        if gone(person, world.now)
    ]


def _gone(world: World, name: str) -> str:
    people = [
        person
        for organisation in world.declared.organisations.values()
        for person in organisation.roster
        if same(person.name, name)
    ]
    if any(gone(person, world.now) for person in people):
        return name
    raise refused(
        f"{name} is not on record as somebody who left",
        found="no date of leaving" if people else "nobody of that name on a roster",
        expected="a person of a roster with a date under left",
        where="group_vars/all/organisations.yml",
        next_step="write the date into the roster, so that nobody is asked any more; then run this "
        "again; nothing was changed",
    )


def _of_leavers(world: World, people: Sequence[str]) -> list[Target]:
    """What somebody owned, or was to submit the request of."""
    found = []
    for name, certificate in world.declared.certificates.items():
        owner = certificate.owner.name if certificate.owner else ""
        owned = any(same(owner, person) for person in people)
        for number, files in world.requests(name).items():
            text = world.submissions.get(files.path, b"")
            submitters = submission.read(text).submitters
            named = any(same(one, person) for one in submitters for person in people)
            if owned or named:
                found.append(Target(name, number))
    return found


# --- people ---------------------------------------------------------------------------------------


def gone(person: Person, now: datetime) -> bool:
    """Whether the day on which somebody left has come."""
    return days.since(person.left, now.date()) != days.NEVER


def same(one: str, other: str) -> bool:
    """Whether two names are the same but for case and blanks."""
    return bool(one) and names.folded(one) == names.folded(other)


def admins(organisation: Organisation, now: datetime) -> list[Person]:
    """Who may have certificates of an organisation revoked today (Table 2)."""
    return [
        person
        for person in organisation.roster
        if person.role == "certificate_admin" and not gone(person, now)
    ]


def asker(organisation: Organisation, by: str, now: datetime) -> Person | None:
    """The Certificate Admin of an organisation whom ``by`` names, alone or among others."""
    said = [one for one in by.split(";") if one.strip()]
    return next(
        (person for person in admins(organisation, now) for one in said if same(person.name, one)),
        None,
    )


def same_word(record: Recorded, wish: Wish) -> bool:
    """Whether what is said again is what was said before; what is left out was not said."""
    return (
        wish.cause in (None, record.kind)
        and wish.text in ("", record.text)
        and wish.noticed in (None, record.noticed)
        and (not wish.by or any(same(one, record.by) for one in wish.by.split(";")))
    )


def refused(
    message: str,
    *,
    found: str,
    expected: str,
    where: str = "the command line",
    next_step: str = "correct the command and run it again; nothing was changed",
) -> PkiError:
    """REVOKE: the word cannot be acted on."""
    return PkiError(
        message, rule=RULE, found=found, expected=expected, where=where, next_step=next_step
    )
