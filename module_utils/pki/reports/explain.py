# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule asks, what it reads, and where every value comes from: ``pki.check --explain``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import cel_text, cel_tree
from ..errors import shown
from ..policy import EVIDENCE, Parameter, Policy, Rule
from ..policy_cases import Case
from .lines import wrapped

WIDTH = 100
_LABEL = 12
_PARAMETERS = "policy"
_FREELY = {
    "higher": "higher freely",
    "lower": "lower freely",
    "subset": "to a part of it freely",
    "superset": "beyond it freely",
    "fixed": "nowhere without a reason, an approver and an end",
}

Schemas = Mapping[str, Mapping[str, Any]]
Scope = Mapping[str, tuple[str, ...]]


def render(name: str, policies: Sequence[Policy], schemas: Schemas, cases: Sequence[Case]) -> str:
    """Everything about the rules of an id, one block a policy and kind; empty when there is none.

    ``schemas`` are of the facts, by kind; ``cases`` of any rules.
    """
    blocks = [
        "\n".join(_rule(rule, policy, schemas.get(rule.kind, {}), cases))
        for policy in policies
        for rule in policy.rules
        if rule.id == name
    ]
    return "\n\n".join(blocks)


def _rule(
    rule: Rule, policy: Policy, schema: Mapping[str, Any], cases: Sequence[Case]
) -> Iterator[str]:
    held = ", no new key or request while it fails" if rule.holds else ""
    effect = ", refused when it fails" if rule.refuses else held
    yield f"{rule.id} over {rule.kind} facts"
    yield from _field("document", f"{policy.document}, clause {rule.clause}")
    yield from _field("level", f"{rule.level}{effect}")
    yield from _field("message", rule.message)
    yield from _field("remedy", rule.remedy)
    yield from _field("written in", str(rule.place))
    if rule.not_computed:
        yield from _field("evidence", f"a person vouches for it: {rule.not_computed}")
    elif rule.kind == EVIDENCE:
        yield from _field("evidence", "a person vouches for it, in evidence.yml")
    for field, program in rule.expressions.items():
        yield from _field(field, " ".join(program.source.split()))
    paths = read_by(rule)
    for path in paths:
        if path[0] == rule.kind:
            yield from _field("fact", f"{'.'.join(path)}: {_described(schema, path[1:])}")
    read = dict.fromkeys(path[1] for path in paths if path[0] == _PARAMETERS and len(path) > 1)
    for name in read:
        if name in policy.parameters:
            yield from _parameter(policy.parameters[name])
    numbers = {
        *rule.resolves,
        *(number for name in read if name in policy.parameters
          for number in policy.parameters[name].resolves),
    }  # fmt: skip
    for number in sorted(numbers & set(policy.resolutions)):
        yield from _resolution(policy, number)
    yield from _cases(rule, cases)


def _parameter(parameter: Parameter) -> Iterator[str]:
    unit = f" {parameter.unit}" if parameter.unit else ""
    value = json.dumps(parameter.value, ensure_ascii=False)
    yield from _field("parameter", f"policy.{parameter.name} = {value}{unit}")
    yield from _more(parameter.description)
    by = f"set by {parameter.set_by}" if parameter.set_by else "the document's own value"
    yield from _more(f"from clause {parameter.clause}, {parameter.place}; {by}")
    if parameter.order:
        yield from _more(f"one of {', '.join(parameter.order)}, from the least strict on")
    yield from _more(f"an overlay may go {_FREELY[parameter.stricter]}")
    if parameter.provisional:
        yield from _more(f"provisional: {parameter.provisional}")


def _resolution(policy: Policy, number: int) -> Iterator[str]:
    one = policy.resolutions[number]
    yield from _field("resolution", f"{number} ({one.where}): {one.problem}")
    yield from _more(f"read here as: {one.resolution}")


def _cases(rule: Rule, cases: Sequence[Case]) -> Iterator[str]:
    mine = [case for case in cases if (case.rule, case.kind) == (rule.id, rule.kind)]
    for file in dict.fromkeys(case.place.file for case in mine):
        lines = dict.fromkeys(case.place.line for case in mine if case.place.file == file)
        yield from _field("cases", f"{file}, lines {', '.join(map(str, lines))}")


def read_by(rule: Rule) -> tuple[tuple[str, ...], ...]:
    """Every path that a rule reads of its facts and of the policy's parameters, once each.

    A variable of a macro stands for an item of what it goes over, which is written ``[]``.
    """
    found: dict[tuple[str, ...], None] = {}
    for program in rule.expressions.values():
        for path in _paths(cel_text.parse(program.source), {}):
            found.setdefault(path)
    whole = tuple(found)
    # "endpoint" is no news where "endpoint.protocols" is read as well.
    return tuple(
        path
        for path in whole
        if not any(len(other) > len(path) and other[: len(path)] == path for other in whole)
    )


def _paths(node: cel_tree.Node, scope: Scope) -> Iterator[tuple[str, ...]]:
    path = _path(node, scope)
    if path:
        yield path
    match node:
        case cel_tree.Each(_, over, variable, bodies):
            inner = {**scope, variable: (*_path(over, scope), "[]")}
            yield from _paths(over, scope)
            for body in bodies:
                yield from _paths(body, inner)
        case _:
            for child in cel_tree.children(node):
                yield from _paths(child, scope)


def _path(node: cel_tree.Node, scope: Scope) -> tuple[str, ...]:
    """What a chain of members leads to; empty when it starts at no variable."""
    match node:
        case cel_tree.Name(name):
            return scope.get(name, (name,))
        case cel_tree.Member(target, name):
            before = _path(target, scope)
            return (*before, name) if before else ()
        case cel_tree.Index(target, _):
            before = _path(target, scope)
            return (*before, "[]") if before else ()
        case cel_tree.Each("filter", over, _, _):
            return _path(over, scope)
    return ()


def _described(schema: Mapping[str, Any], path: Sequence[str]) -> str:
    """What a facts schema says of a field."""
    node: Any = schema
    told = ""
    for step in path:
        node = node.get("items", {}) if step == "[]" else node.get("properties", {}).get(step, {})
        # An item of a list of words is described with the list.
        told = str(node.get("description", "")) or (told if step == "[]" else "")
    return told or "see the facts' schema"


def _field(label: str, text: str) -> Iterator[str]:
    start = f"  {label:<{_LABEL}}"
    first, *rest = wrapped(shown(text), WIDTH - len(start), 0)
    yield start + first
    yield from (" " * len(start) + line for line in rest)


def _more(text: str) -> Iterator[str]:
    yield from _field("", text)
