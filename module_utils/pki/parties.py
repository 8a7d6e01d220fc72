# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges parties, people and quotas of a whole inventory, before anything new is asked for.

The rules are the policies', the judge is that of every check, waivers included. Here their
findings get an effect: what refuses ends the run, what holds keeps new keys and requests of the
certificates that the finding is about, and whatever cannot be judged holds as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import checking, collecting, declarations, documents, inventory_files, policy_files
from .checking import Result, Verdict
from .errors import PkiError, shown
from .facts import dca_accounts, inventories, rosters
from .facts import declarations as entries
from .facts.scene import Scene
from .inventory import Certificate, Declared, Organisation
from .lifecycle import Hold
from .policy import HOLDING, LEVELS, Place, Policy
from .session import Inputs

_COLLECTORS = (
    entries.COLLECTOR, rosters.COLLECTOR, inventories.COLLECTOR, dca_accounts.COLLECTOR,
)  # fmt: skip
#: Where an object of each kind stands in the inventory.
_SECTIONS = {
    declarations.KIND: "certificates",
    rosters.KIND: "organisations",
    dca_accounts.KIND: "organisations",
}


@dataclass(frozen=True, slots=True)
class Quota:
    """What an organisation's certificates take of its quota (6.1.2, 6.1.3).

    ``quota`` is what the portal allows, None when the inventory does not say. ``issued`` are
    neither ended nor revoked; ``revoked`` ones count for good; ``pending`` are asked for.
    """

    organisation: str
    quota: int | None
    issued: int
    revoked: int
    pending: int

    @property
    def left(self) -> int | None:
        """How many may still be asked for, below zero when it is exceeded."""
        used = self.issued + self.revoked + self.pending
        return None if self.quota is None else self.quota - used


@dataclass(frozen=True, slots=True)
class Need:
    """A certificate that Table 3 says an organisation needs, and the entries that are for it.

    ``provider`` is the organisation that signs with it; ``entries`` is empty where this inventory
    declares none.
    """

    organisation: str
    party: str
    environment_class: str
    purpose: str
    provider: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """What was found of an inventory's parties, people and quotas.

    Attributes:
        verdicts: what failed and is not waived, the decisive first: what refuses, what holds, then
            by level.
        holds: by certificate, the rules for which nothing new is asked for.
        quotas: of each organisation that holds certificates.
        needs: which certificates Table 3 wants, by organisation, class and purpose.
        result: the whole of what was judged, faults included.
    """

    verdicts: tuple[Verdict, ...]
    holds: Mapping[str, tuple[Hold, ...]]
    quotas: tuple[Quota, ...]
    needs: tuple[Need, ...]
    result: Result = field(repr=False)

    @property
    def findings(self) -> list[str]:
        """A sentence for each finding, and for what could not be judged."""
        faults = [_fault_sentence(one) for one in _faults(self.result)]
        return faults + [_sentence(one) for one in self.verdicts]

    @property
    def status(self) -> checking.Status:
        """As a check ends, but for an inventory that no rule is for: nothing is wrong with it."""
        if _faults(self.result):
            return checking.Status.FAULT
        return checking.Status.FINDINGS if self.result.failing else checking.Status.CLEAN

    @property
    def refusals(self) -> list[PkiError]:
        """The findings that end a run, as errors."""
        return [_error(one) for one in self.verdicts if one.finding.refuses]


def review(inputs: Inputs, level: str = checking.DEFAULT_LEVEL) -> Review:
    """Judge the whole inventory as it is committed; no host, Vault or network is asked.

    ``level`` is the least binding one that makes the result's status ``findings``.

    Raises:
        PkiError: waivers, evidence or schemas that cannot be used.
    """
    scene = Scene(
        inputs=inputs,
        scope="offline",
        name=inputs.base_dir.resolve().name,
        evidence=inventory_files.evidence(inputs.base_dir),
    )
    collected = collecting.collect(scene, _COLLECTORS)
    schemas = policy_files.load_fact_schemas(inputs.policy_dir)
    result = checking.check(
        inputs.policies,
        collected,
        validators=documents.Validators({kind: schemas[kind] for kind in HOLDING}),
        scopes=dict.fromkeys(HOLDING, frozenset({"offline"})),
        today=inputs.now.date(),
        waivers=inventory_files.waived(inputs.base_dir, inputs.policy_dir),
        level=level,
    )
    failing = sorted((one for one in result.verdicts if one.failing), key=_weight)
    return Review(
        verdicts=tuple(_placed(failing, inputs)),
        holds=_holds(failing, _faults(result), inputs.declared),
        quotas=tuple(_quotas(collected.documents)),
        needs=tuple(_needs(inputs)),
        result=result,
    )


def _weight(one: Verdict) -> tuple[bool, bool, int]:
    return not one.finding.refuses, not one.finding.holds, LEVELS.index(one.severity)


def _placed(verdicts: Iterable[Verdict], inputs: Inputs) -> Iterator[Verdict]:
    """The verdicts with the lines of what they are about, which only a finding is worth reading."""
    every = list(verdicts)
    places = inventory_files.places(inputs.base_dir) if every else {}
    for one in every:
        section = _SECTIONS.get(one.kind)
        key = (section, one.object) if section else ("files", "certificates")
        yield one if one.place.file else replace(one, place=places.get(key, Place()))


def _faults(result: Result) -> list[Mapping[str, str]]:
    """What could not be judged; that no rule is for anything here is no fault of an inventory."""
    return [one for one in result.faults if one["rule"] != checking.EMPTY]


def _holds(
    failing: Sequence[Verdict], faults: Sequence[Mapping[str, str]], declared: Declared
) -> dict[str, tuple[Hold, ...]]:
    found: dict[str, list[Hold]] = {}
    for one in faults:
        told = shown(f"{one['message']} ({one['found']})")
        hold = Hold(one["rule"], told, shown(one["next_step"]))
        for name in declared.certificates:
            found.setdefault(name, []).append(hold)
    for verdict in failing:
        if verdict.finding.holds or verdict.finding.refuses:
            for name in _concerned(verdict, declared):
                found.setdefault(name, []).append(_hold(verdict))
    return {name: tuple(holds) for name, holds in found.items()}


def _hold(verdict: Verdict) -> Hold:
    finding = verdict.finding
    text = f"{finding.message} ({verdict.object}: {finding.found})"
    return Hold(finding.rule, shown(text), shown(finding.next_step))


def _concerned(verdict: Verdict, declared: Declared) -> Iterator[str]:
    """The certificates that a finding is about: an entry's, an organisation's, or a policy's."""
    if verdict.kind == declarations.KIND:
        yield from (one.name for one in declared.entries[verdict.object])
        return
    of_one = verdict.kind in (rosters.KIND, dca_accounts.KIND)
    for one in declared.certificates.values():
        theirs = not of_one or one.organisation.key == verdict.object
        if theirs and one.policy == verdict.policy:
            yield one.name


def _error(verdict: Verdict) -> PkiError:
    finding = verdict.finding
    return PkiError(
        f"{verdict.kind} {verdict.object}: {finding.message}",
        rule=finding.rule,
        found=finding.found,
        expected=finding.expected,
        where=str(verdict.place) or f"the inventory, {verdict.kind} {verdict.object}",
        next_step=finding.next_step,
    )


def _sentence(verdict: Verdict) -> str:
    finding = verdict.finding
    effect = "refused" if finding.refuses else "held" if finding.holds else finding.level
    text = (
        f"{effect}: {finding.rule}, {verdict.kind} {verdict.object}: {finding.message} "
        f"({finding.found}; expected {finding.expected}); {finding.next_step}"
    )
    return shown(text)


def _fault_sentence(fault: Mapping[str, str]) -> str:
    told = f"held: {fault['rule']}: {fault['message']} ({fault['found']})"
    return shown(f"{told}; {fault['next_step']}")


def _quotas(seen: Iterable[documents.Document]) -> Iterator[Quota]:
    for one in seen:
        for raw in one.facts["quotas"] if one.kind == inventories.KIND else ():
            yield Quota(
                organisation=raw["organisation"],
                quota=None if raw["quota"] < 0 else raw["quota"],
                issued=raw["issued"],
                revoked=raw["revoked"],
                pending=raw["pending"],
            )


def _needs(inputs: Inputs) -> Iterator[Need]:
    """Table 3 for every organisation and every class for which certificates are declared."""
    declared = inputs.declared
    for policy in inputs.policies.values():
        if not policy.of_kind(declarations.KIND):
            continue
        held: dict[tuple[str, str], list[Certificate]] = {}
        for one, *_ in declared.entries.values():
            if one.policy == policy.name:
                held.setdefault((one.organisation.key, one.environment_class), []).append(one)
        for environment_class in sorted({of_class for _, of_class in held}):
            for organisation in declared.organisations.values():
                own = held.get((organisation.key, environment_class), [])
                yield from _of_one(organisation, environment_class, own, policy)


def _of_one(
    organisation: Organisation, environment_class: str, own: Sequence[Certificate], policy: Policy
) -> Iterator[Need]:
    party = policy.parties.get(organisation.party)
    for purpose in sorted(party.purposes) if party else ():
        found: dict[str, list[str]] = {}
        for one in own:
            if purpose in one.purposes:
                found.setdefault(one.provider, []).append(one.entry)
        for provider, names in (found or {"": []}).items():
            yield Need(
                organisation=organisation.key,
                party=party.title if party else organisation.party,
                environment_class=environment_class,
                purpose=purpose,
                provider=provider,
                entries=tuple(names),
            )


def as_rows(quotas: Iterable[Quota]) -> list[dict[str, Any]]:
    """Quotas as JSON types; ``quota`` and ``left`` are None where the inventory does not say."""
    return [
        {
            "organisation": one.organisation,
            "quota": one.quota,
            "issued": one.issued,
            "revoked": one.revoked,
            "pending": one.pending,
            "left": one.left,
        }
        for one in quotas
    ]


if __name__ == "__main__":
    from .party_view import main

    sys.exit(main())
