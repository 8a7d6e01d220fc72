# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.policy_lint``: what is wrong with policies before any fact is judged.

Exit 0 when nothing is, 1 when something is, 2 when a file cannot be read as a policy at all.
Unknown parameters, facts and functions; types that never meet; conditions that nothing or
everything meets; numbers that should be parameters; parameters that nobody reads; must-clauses
that a person vouches for without a reason; expressions that could take too long.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cel_text, lint_logic, lint_types, policy_files
from .cel_tree import Index, Literal, Member, Name, Node, children, text
from .errors import PkiError
from .lint_shapes import Shape, of_parameters, of_schema
from .lint_types import POLICY, Complaint, Reading
from .policy import EVIDENCE, HOLDING, Parameter, Place, Policy, Rule
from .shipped import DIRECTORY

Schemas = Mapping[str, Mapping[str, Any]]
#: Numbers that a rule may hold: nothing, and one. Every other limit is a parameter.
PLAIN_NUMBERS = (0, 1)
#: The methods by which code reads a parameter.
_READERS = frozenset({"parameter", "number", "strings"})
_DECIDING = ("when", "require")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a policy: ``subject`` is a rule, a parameter or a field."""

    place: Place
    subject: str
    problem: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.place}: {self.subject}: {self.problem}; {self.next_step}"

    def error(self) -> PkiError:
        """The problem as a fault: a policy with one is not to be judged by."""
        return PkiError(
            f"{self.subject}: {self.problem}",
            rule="POLICY-LINT",
            where=str(self.place),
            next_step=self.next_step,
        )


def lint(
    policies: Mapping[str, Policy], schemas: Schemas, read_by_code: frozenset[str] | None = None
) -> tuple[Problem, ...]:
    """What is wrong with policies that judge facts of these schemas.

    ``read_by_code`` are the parameters that code reads (:func:`parameters_in_code`); without it
    no parameter is said to be unread.
    """
    found = [problem for policy in policies.values() for problem in _of_policy(policy, schemas)]
    found += _twice(policies)
    if read_by_code is not None:
        found += (p for policy in policies.values() for p in _unread(policy, read_by_code))
    return tuple(dict.fromkeys(found))


def parameters_in_code(directory: Path) -> frozenset[str]:
    """The parameters that Python code below a directory reads by name, as text or constant."""
    names: set[str] = set()
    for path in sorted(directory.rglob("*.py")):
        names.update(_read_in(ast.parse(path.read_text(encoding="utf-8"))))
    return frozenset(names)


def _read_in(tree: ast.Module) -> Iterator[str]:
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr not in _READERS:
            continue
        argument = node.args[0]
        if isinstance(argument, ast.Constant):
            yield str(argument.value)
        elif isinstance(argument, ast.Name) and argument.id in constants:
            yield str(constants[argument.id])


def _of_policy(policy: Policy, schemas: Schemas) -> Iterator[Problem]:
    values = {name: item.value for name, item in policy.parameters.items()}
    parameters = of_parameters(values)
    shapes = {kind: of_schema(schema) for kind, schema in schemas.items()}
    for rule in policy.rules:
        if rule.kind in shapes:
            yield from _of_rule(rule, {rule.kind: shapes[rule.kind], POLICY: parameters}, values)
        else:
            yield Problem(
                rule.place,
                f"{rule.id} ({rule.kind})",
                f"there are no {rule.kind} facts",
                f"kinds are {', '.join(sorted(shapes))}",
            )
        yield from _of_evidence(rule)
        yield from _of_hold(rule)
        yield from _of_resolutions(rule, rule.id, policy)
    for parameter in policy.parameters.values():
        yield from _of_resolutions(parameter, parameter.name, policy)
        if parameter.provisional and len(parameter.provisional.split()) < 3:
            yield Problem(
                parameter.place,
                parameter.name,
                f"it is provisional and says no more than {parameter.provisional!r}",
                "say what would settle it",
            )


def _of_rule(
    rule: Rule, variables: Mapping[str, Shape], values: Mapping[str, Any]
) -> Iterator[Problem]:
    trees: dict[str, tuple[Node, Reading]] = {}
    for field, program in rule.expressions.items():
        try:
            tree = cel_text.parse(program.source)
        except cel_text.NotCel as exc:
            complaint = Complaint(exc.at, str(exc), "keep to the part of CEL that policies use")
            yield _problem(rule, field, complaint)
            continue
        reading = lint_types.read(tree, variables)
        trees[field] = tree, reading
        if field in _DECIDING:
            lint_types.must_be_boolean(tree, reading)
        for complaint in _of_expression(rule, field, tree, reading, values):
            yield _problem(rule, field, complaint)
    if "when" in trees and "require" in trees:
        for complaint in lint_logic.excluded(trees["when"], trees["require"], values):
            yield _problem(rule, "require", complaint)


def _of_expression(
    rule: Rule, field: str, tree: Node, reading: Reading, values: Mapping[str, Any]
) -> Iterator[Complaint]:
    yield from reading.complaints
    yield from lint_logic.unbounded(tree, reading)
    if field in _DECIDING and not reading.complaints:
        yield from lint_logic.complaints(tree, reading, values)
    if _of_the_document(rule.place):
        yield from _numbers(tree)
    steps = lint_logic.steps(tree, reading)
    if steps > lint_logic.MOST_STEPS:
        yield Complaint(
            0,
            f"it may take {steps} steps over the largest facts",
            f"nest less, or bound the lists: at most {lint_logic.MOST_STEPS}",
        )


def _numbers(tree: Node) -> Iterator[Complaint]:
    if isinstance(tree, Literal) and _is_number(tree) and tree.value not in PLAIN_NUMBERS:
        yield Complaint(
            tree.at, f"the number {text(tree)} stands in the rule", "make it a parameter"
        )
    for child in children(tree):
        if not (isinstance(tree, Index) and child is tree.index and isinstance(child, Literal)):
            yield from _numbers(child)


def _is_number(literal: Literal) -> bool:
    return isinstance(literal.value, int | float) and not isinstance(literal.value, bool)


def _of_the_document(place: Place) -> bool:
    """Whether a rule is a shipped one: an organisation's own may say its numbers itself."""
    return place.file.startswith("policies/")


def _problem(rule: Rule, field: str, complaint: Complaint) -> Problem:
    return Problem(
        rule.place,
        f"{rule.id} ({rule.kind}), `{field}`, character {complaint.at + 1}",
        complaint.problem,
        complaint.next_step,
    )


def _of_evidence(rule: Rule) -> Iterator[Problem]:
    if rule.kind == EVIDENCE and rule.level == "must" and not rule.not_computed:
        yield Problem(
            rule.place,
            f"{rule.id} ({rule.kind})",
            "a person vouches for what the document demands",
            "say in not_computed why no software can tell, or make it a rule over facts",
        )


def _of_hold(rule: Rule) -> Iterator[Problem]:
    if rule.holds and rule.kind not in HOLDING:
        yield Problem(
            rule.place,
            f"{rule.id} ({rule.kind})",
            "it is to hold new requests, and is judged where none is made",
            f"let it refuse or report; rules over {', '.join(HOLDING)} facts can hold",
        )


def _of_resolutions(item: Rule | Parameter, name: str, policy: Policy) -> Iterator[Problem]:
    for number in item.resolves:
        if number not in policy.resolutions:
            yield Problem(
                item.place,
                name,
                f"there is no resolution {number} in {policy.name}",
                "name one of those at the top of the policy",
            )


def _twice(policies: Mapping[str, Policy]) -> Iterator[Problem]:
    """An id belongs to one document: reports name a rule by nothing else."""
    seen: dict[str, tuple[str, Rule]] = {}
    for policy in policies.values():
        for rule in policy.rules:
            first, other = seen.setdefault(rule.id, (policy.name, rule))
            if first != policy.name:
                yield Problem(
                    rule.place, rule.id, f"the id is also in {other.place}", "give it another"
                )


def _unread(policy: Policy, read_by_code: frozenset[str]) -> Iterator[Problem]:
    read = set(read_by_code) | {rule.age for rule in policy.rules}
    for rule in policy.rules:
        for program in rule.expressions.values():
            try:
                read |= set(_parameters(cel_text.parse(program.source)))
            except cel_text.NotCel:
                continue  # said where the rule is read
    for name, parameter in policy.parameters.items():
        if name not in read:
            yield Problem(
                parameter.place,
                name,
                "no rule and no code reads the parameter",
                "read it, or leave it out",
            )


def _parameters(tree: Node) -> Iterator[str]:
    match tree:
        case Member(Name(name), parameter) if name == POLICY:
            yield parameter
        case Index(Name(name), Literal(str(parameter))) if name == POLICY:
            yield parameter
    for child in children(tree):
        yield from _parameters(child)


def main(arguments: Iterable[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pki.policy_lint", description=__doc__)
    parser.add_argument("--policies", type=Path, default=DIRECTORY, help="the policies' directory")
    parser.add_argument("--overlay", type=Path, help="the directory of an organisation's overlays")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        names = policy_files.policy_names(options.policies)
        policies = policy_files.load_policies(options.policies, names, options.overlay)
        schemas = policy_files.load_fact_schemas(options.policies)
    except PkiError as exc:
        print(exc, file=sys.stderr)
        return 2
    problems = lint(policies, schemas, parameters_in_code(Path(__file__).resolve().parent))
    rules = sum(len(policy.rules) for policy in policies.values())
    print("\n".join(map(str, problems)) or f"nothing is wrong with {rules} rules")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
