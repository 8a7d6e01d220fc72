# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges everything that was collected, and leaves nothing out silently.

Pure. What the inventory declares is what must be judged: a declared object without facts is not
evaluated and fails, facts that do not fit their schema are a fault, and so is a check that
evaluated no rule at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cached_property

from . import waivers as waiving
from .documents import Collected, Declaration, Document, Validators
from .errors import PkiError
from .policy import EVIDENCE, LEVELS, NOWHERE, Finding, Outcome, Place, Policy, Remark, Rule
from .waivers import Waiver

#: The level from which an unmet rule makes the check fail, unless a caller says otherwise.
DEFAULT_LEVEL = "should"
#: A reply whose revocation could not be asked: right so far, and never deployable by this verdict.
PENDING = "accepted-pending-revocation"
#: The kinds of what is no object of the inventory: the organisation's overlays and waivers.
OVERLAY, WAIVER = "overlay", "waiver"

#: The fault of a check that had nothing to say about anything.
EMPTY = "CHECK-EMPTY"

_FAILING = (Outcome.FAILED, Outcome.NOT_EVALUATED)


class Status(StrEnum):
    """How a check ends."""

    CLEAN = "clean"
    FINDINGS = "findings"
    FAULT = "fault"

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings at or above the level asked, 2 fault."""
        return {Status.CLEAN: 0, Status.FINDINGS: 1, Status.FAULT: 2}[self]


def severity(judged: Finding | Rule) -> str:
    """The level at which a failure counts: what refuses or holds is never a mere wish."""
    if judged.refuses:
        return LEVELS[0]
    return min(judged.level, "should", key=LEVELS.index) if judged.holds else judged.level


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rule's finding and the object that it is about."""

    kind: str
    object: str
    policy: str
    finding: Finding
    place: Place = NOWHERE
    stand_in: str = ""
    waiver: Waiver | None = None

    @property
    def failing(self) -> bool:
        """Whether it counts against the object: failed, or not evaluated."""
        return self.finding.outcome in _FAILING

    @property
    def severity(self) -> str:
        """The level it counts at: the rule's own, raised for its effect or if not evaluated."""
        if self.finding.outcome is Outcome.NOT_EVALUATED:
            return min(severity(self.finding), "should", key=LEVELS.index)
        return severity(self.finding)


@dataclass(frozen=True, slots=True)
class NotJudged:
    """A kind of facts that the policies have rules for, and why none of it was judged here."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        level: the least binding level at which an unmet rule makes the status ``findings``.
        verdicts: every rule over every declared object, in the order they were declared.
        faults: what kept something from being judged, as blocks of an error's fields.
        pending: the certificates whose revocation is still to be asked (:data:`PENDING`).
        rules: the rules that the verdicts come from.
    """

    scope: str
    taken: str
    level: str
    verdicts: tuple[Verdict, ...] = ()
    faults: tuple[Mapping[str, str], ...] = ()
    not_judged: tuple[NotJudged, ...] = ()
    pending: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    @cached_property
    def failing(self) -> tuple[Verdict, ...]:
        """The verdicts that make the status: failing, at or above the level asked."""
        last = LEVELS.index(self.level)
        return tuple(
            one for one in self.verdicts if one.failing and LEVELS.index(one.severity) <= last
        )

    @property
    def status(self) -> Status:
        """Clean, findings or fault; a fault outweighs everything."""
        if self.faults:
            return Status.FAULT
        return Status.FINDINGS if self.failing else Status.CLEAN

    @cached_property
    def counts(self) -> Mapping[str, Counter[Outcome]]:
        """How many verdicts ended how, by kind of facts."""
        counts: dict[str, Counter[Outcome]] = {}
        for one in self.verdicts:
            counts.setdefault(one.kind, Counter())[one.finding.outcome] += 1
        return counts

    @property
    def totals(self) -> Counter[Outcome]:
        """How many verdicts ended how."""
        return Counter(one.finding.outcome for one in self.verdicts)


def check(
    policies: Mapping[str, Policy],
    collected: Collected,
    *,
    validators: Validators,
    scopes: Mapping[str, frozenset[str]],
    today: date,
    waivers: Iterable[Waiver] = (),
    level: str = DEFAULT_LEVEL,
    faults: Iterable[PkiError] = (),
) -> Result:
    """Judge what was collected.

    Args:
        policies: by name; what is wrong with their overlays is among the verdicts.
        collected: what is declared, and the facts of it.
        validators: of the facts' schemas.
        scopes: the kinds that have a collector, and where it is asked.
        today: in UTC, for the waivers' ends.
        waivers: at most one for each rule and object.
        level: one of :data:`~.policy.LEVELS`.
        faults: what is already known to be wrong, with the policies for example.
    """
    judge = _Judge(policies, validators, scopes)
    documents = {one.key: one for one in collected.documents}
    verdicts: list[Verdict] = []
    every = [*(one.as_result() for one in faults), *collected.problems, *_undeclared(collected)]
    for declaration in collected.declarations:
        document = documents.get(declaration.key)
        fault, told = judge.judged(declaration, document)
        every += [fault.as_result()] if fault else []
        verdicts += told
    if not any(one.finding.outcome in (Outcome.PASSED, Outcome.FAILED) for one in verdicts):
        every.append(_nothing_evaluated(collected).as_result())
    elsewhere = _elsewhere(policies.values(), collected.scope, scopes)
    return Result(
        scope=collected.scope,
        taken=collected.taken,
        level=level,
        verdicts=(*_remarks(policies), *_waived(verdicts, waivers, today, elsewhere)),
        faults=tuple(every),
        not_judged=tuple(_not_judged(policies, collected, scopes)),
        pending=tuple(_pending(collected.documents)),
        rules=tuple(judge.used.values()),
    )


def _remarks(policies: Mapping[str, Policy]) -> Iterator[Verdict]:
    for name, policy in sorted(policies.items()):
        yield from (_remark(OVERLAY, name, one) for one in policy.remarks)


def _remark(kind: str, policy: str, remark: Remark) -> Verdict:
    return Verdict(kind, remark.name, policy, remark.finding, remark.place)


def _waived(
    verdicts: Sequence[Verdict],
    waivers: Iterable[Waiver],
    today: date,
    elsewhere: frozenset[str],
) -> Iterator[Verdict]:
    judged = [(one.object, one.finding) for one in verdicts]
    after = waiving.apply(waivers, judged, today, elsewhere)
    for one, (finding, waiver) in zip(verdicts, after.verdicts, strict=True):
        yield replace(one, finding=finding, waiver=waiver)
    yield from (_remark(WAIVER, "", remark) for remark in after.remarks)


def _elsewhere(
    policies: Iterable[Policy], scope: str, scopes: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """The rules over facts that are not collected here: another run shows what they need."""
    return frozenset(
        rule.id
        for policy in policies
        for rule in policy.rules
        if scope not in scopes.get(rule.kind, ())
    )


class _Judge:
    def __init__(
        self,
        policies: Mapping[str, Policy],
        validators: Validators,
        scopes: Mapping[str, frozenset[str]],
    ) -> None:
        self._policies = policies
        self._validators = validators
        self._scopes = scopes
        self.used: dict[tuple[str, str, str], Rule] = {}

    def judged(
        self, declaration: Declaration, document: Document | None
    ) -> tuple[PkiError | None, list[Verdict]]:
        """What keeps an object from being judged as it is, if anything, and its verdicts."""
        if declaration.policy not in self._policies:
            unknown = _fault(
                declaration, "its policy is not loaded", declaration.policy, "a known policy"
            )
            return unknown, []
        fault = self._fault(declaration, document)
        if document is None or fault is not None:
            return fault, list(self._lost(declaration))
        try:
            return None, list(self._evaluated(declaration, document))
        except (ValueError, OverflowError) as exc:  # what JSON can hold and the engine cannot
            fault = _fault(
                declaration, "the engine cannot take its facts", str(exc), "text and 64-bit numbers"
            )
            return fault, list(self._lost(declaration))

    def _fault(self, declaration: Declaration, document: Document | None) -> PkiError | None:
        if document is not None:
            wrong = self._validators.fault(document.kind, document.facts)
            problem = "its facts do not fit their schema"
            return _fault(declaration, problem, wrong, "valid facts") if wrong else None
        if declaration.kind not in self._scopes:
            return None  # no collector yet: its rules are not evaluated, which fails them
        expected = f"facts of {declaration.object}"
        return _fault(declaration, "nothing was observed of it", "no facts", expected)

    def _rules(self, declaration: Declaration) -> tuple[Rule, ...]:
        kind = declaration.kind
        rules = self._policies[declaration.policy].of_kind(kind, _item(declaration))
        self.used.update({(declaration.policy, kind, rule.id): rule for rule in rules})
        return rules

    def _evaluated(self, declaration: Declaration, document: Document) -> Iterator[Verdict]:
        kind, name, policy = declaration.key
        self._rules(declaration)
        place = document.place if document.place.file else declaration.place
        for finding in self._policies[policy].evaluate(kind, document.facts, _item(declaration)):
            yield Verdict(kind, name, policy, finding, place, document.stand_in)

    def _lost(self, declaration: Declaration) -> Iterator[Verdict]:
        kind, name, policy = declaration.key
        for rule in self._rules(declaration):
            yield Verdict(kind, name, policy, _not_evaluated(rule, name), declaration.place)


def _item(declaration: Declaration) -> str:
    return declaration.object if declaration.kind == EVIDENCE else ""


def _fault(declaration: Declaration, problem: str, found: str, expected: str) -> PkiError:
    return PkiError(
        f"{declaration.kind} {declaration.object} cannot be judged: {problem}",
        rule="FACTS",
        found=found,
        expected=expected,
        where=str(declaration.place) or f"{declaration.kind} facts",
        next_step="collect the facts again; what is not judged is never approved",
    )


def _not_evaluated(rule: Rule, name: str) -> Finding:
    return Finding(
        rule=rule.id,
        clause=rule.clause,
        level=rule.level,
        refuses=rule.refuses,
        outcome=Outcome.NOT_EVALUATED,
        message=f"rule {rule.id} could not be evaluated: nothing is known of {rule.kind} {name}",
        found="no facts that can be judged",
        expected=f"facts of {rule.kind} {name}",
        next_step="find out in the faults why they are missing; until then it is not approved",
        holds=rule.holds,
    )


def _undeclared(collected: Collected) -> Iterator[Mapping[str, str]]:
    """Facts that nothing declares would be dropped silently, and with them what they tell."""
    declared = {one.key for one in collected.declarations}
    for document in collected.documents:
        if document.key not in declared:
            yield PkiError(
                f"{document.kind} {document.object} is observed, but not declared",
                rule="FACTS",
                found=f"facts under policy {document.policy}",
                expected="a declaration of the same kind, name and policy",
                where=str(document.place) or f"{document.kind} facts",
                next_step="declare the object, or collect the facts again",
            ).as_result()


def _nothing_evaluated(collected: Collected) -> PkiError:
    return PkiError(
        "no rule was evaluated",
        rule=EMPTY,
        found=f"{len(collected.declarations)} declared objects, {len(collected.documents)} "
        "with facts",
        expected="at least one rule over one object",
        where=f"{collected.scope} facts of {collected.taken}",
        next_step="declare what is to be judged in the inventory, or correct the faults above",
    )


def _not_judged(
    policies: Mapping[str, Policy],
    collected: Collected,
    scopes: Mapping[str, frozenset[str]],
) -> Iterator[NotJudged]:
    declared = {(one.policy, one.kind) for one in collected.declarations}
    kinds = sorted({kind for policy in policies.values() for kind in policy.kinds})
    for kind in kinds:
        if any(found == kind for _, found in declared):
            continue
        where = scopes.get(kind)
        if where is None:
            yield NotJudged(kind, "nothing collects its facts yet")
        elif collected.scope not in where:
            yield NotJudged(kind, f"its facts are known {' or '.join(sorted(where))} only")
        else:
            yield NotJudged(kind, "the inventory declares nothing of the kind")
    for name, kind in sorted(declared):
        if name in policies and kind not in policies[name].kinds:
            yield NotJudged(kind, f"policy {name} has no rule for it")


def _pending(documents: Iterable[Document]) -> Iterator[str]:
    for one in documents:
        revocation = one.facts.get("revocation") if one.kind == "certificate" else None
        if isinstance(revocation, Mapping) and revocation.get("verdict") == "pending":
            yield one.object
