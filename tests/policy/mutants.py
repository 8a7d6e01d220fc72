# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules with one thing wrong with them, and which of them no case notices.

A mutant swaps a comparison for another, ``&&`` for ``||``, drops one side of either, drops a
``!`` or the ``when``, or answers always the same, which is what a deleted rule does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pki import cel_engine as cel
from pki import cel_text, cel_tree
from pki.cel_tree import Binary, Node, Unary
from pki.policy import EVIDENCE, Outcome, Policy, Rule, finding_of
from pki.policy_cases import Case, verdict

#: What each comparison may be mistaken for.
SWAPS = {
    "==": ("!=",),
    "!=": ("==",),
    "<": ("<=", ">", ">="),
    "<=": ("<", ">", ">="),
    ">": (">=", "<", "<="),
    ">=": (">", "<", "<="),
}


@dataclass(frozen=True)
class Mutant:
    """A field of a rule as it is not, and in words what is wrong."""

    field: str
    expression: str
    change: str


class Judge:
    """The cases of one policy by rule, each with its facts prepared once."""

    def __init__(self, policy: Policy, cases: tuple[Case, ...]) -> None:
        self._policy = policy
        self._contexts: dict[int, cel.Context] = {}
        self._cases: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            self._cases.setdefault((case.rule, case.kind), []).append(case)

    def cases_of(self, rule: Rule) -> list[Case]:
        return self._cases.get((rule.id, rule.kind), [])

    def notices(self, rule: Rule, mutant: Mutant) -> bool:
        """Whether some case of the rule ends otherwise than wanted with the mutant in place."""
        if mutant.field == "when" and not mutant.expression:
            wrong = replace(rule, when=None)
            # A document that is ignored must be one that would have failed.
            unapproved = (Outcome.FAILED, Outcome.NOT_EVALUATED)
            return any(
                self._outcome(wrong, case) in unapproved
                for case in self.cases_of(rule)
                if case.wanted is Outcome.NOT_APPLICABLE
            )
        program = cel.compile_expression(mutant.expression)
        wrong = replace(rule, **{mutant.field: program})
        return any(self._outcome(wrong, case) is not case.wanted for case in self.cases_of(rule))

    def _outcome(self, rule: Rule, case: Case) -> Outcome:
        return finding_of(rule, self._context(case)).outcome

    def _context(self, case: Case) -> cel.Context:
        if id(case) not in self._contexts:
            self._contexts[id(case)] = self._policy.context(case.kind, case.facts)
        return self._contexts[id(case)]

    def unexpected(self, rule: Rule) -> list[str]:
        """Cases that do not end as wanted on the rule as it is: their mutants prove nothing."""
        return [
            str(failure)
            for case in self.cases_of(rule)
            if (failure := verdict(case, [finding_of(rule, self._context(case))]))
        ]


def of_rule(rule: Rule) -> Iterator[Mutant]:
    """The mutants of a rule's requirement and condition."""
    for always in ("true", "false"):
        yield Mutant("require", always, f"`require` is always {always}")
    yield from of_expression("require", rule.require.source)
    if rule.when is not None:
        yield Mutant("when", "", "without `when` (no ignored document fails)")
        yield from of_expression("when", rule.when.source)


def of_expression(field: str, source: str) -> Iterator[Mutant]:
    """An expression with one thing wrong with it."""
    tree = cel_text.parse(source)
    for wrong in cel_tree.variants(tree, _alternatives):
        written = cel_tree.text(wrong)
        yield Mutant(field, written, f"`{field}` as {written}")


def _alternatives(node: Node) -> Iterator[Node]:
    match node:
        case Binary("&&" | "||" as junction, left, right):
            yield left
            yield right
            yield replace(node, operator="||" if junction == "&&" else "&&")
        case Binary(operator) if operator in SWAPS:
            for other in SWAPS[operator]:
                yield replace(node, operator=other)
        case Unary("!", operand):
            yield operand


def survivors(policy: Policy, kind: str, cases: tuple[Case, ...]) -> list[str]:
    """One line a mutant that no case of a kind notices, with the rule's file and line."""
    judge = Judge(policy, cases)
    rules = [rule for rule in policy.rules if rule.kind == kind]
    lines = [line for rule in rules for line in judge.unexpected(rule)]
    if kind == EVIDENCE:
        return lines + list(_of_evidence(judge, rules))
    return lines + [
        _line(rule, mutant)
        for rule in rules
        for mutant in of_rule(rule)
        if not judge.notices(rule, mutant)
    ]


def _of_evidence(judge: Judge, rules: Iterable[Rule]) -> Iterator[str]:
    """Items share a template: its mutants must be noticed by some item, what is its own by each."""
    sharing: dict[str, list[Rule]] = {}
    for rule in rules:
        sharing.setdefault(rule.require.source, []).append(rule)
        for mutant in of_rule(rule):
            own = mutant.field == "when" or mutant.expression in ("true", "false")
            if own and not judge.notices(rule, mutant):
                yield _line(rule, mutant)
    for source, same in sharing.items():
        for mutant in of_expression("require", source):
            if not any(judge.notices(rule, mutant) for rule in same):
                yield _line(same[0], mutant)


def _line(rule: Rule, mutant: Mutant) -> str:
    return f"{rule.place}: {rule.id} ({rule.kind}): nobody notices {mutant.change}"
