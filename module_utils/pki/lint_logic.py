# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions that nothing can meet, or everything, and expressions that could take too long.

Pure. Looks at the comparisons of one value with constants (``x > 5 && x < 3``): whether one value
could meet all of them is tried with the constants themselves, and what lies just beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import cel_engine as cel
from .cel_tree import RELATIONS, Binary, Each, Literal, Member, Name, Node, Unary, text, walk
from .cel_tree import children as children_of
from .lint_shapes import COUNT, NUMBERS, Shape
from .lint_types import POLICY, Complaint, Reading
from .policy import FUNCTIONS

#: Steps that one expression may take, whatever fits the schema: a second of one core (0.2 µs each,
#: measured).
MOST_STEPS = 5_000_000
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Test:
    """One comparison of a value (``subject``) with a constant."""

    subject: str
    operator: str
    constant: Any
    negated: bool
    shape: Shape
    node: Node

    def holds(self, value: Any) -> bool:
        return self._compared(value) is not self.negated

    def _compared(self, value: Any) -> bool:
        match self.operator:
            case "==":
                return bool(value == self.constant)
            case "!=":
                return bool(value != self.constant)
            case "in":
                return value in self.constant
            case "<":
                return bool(value < self.constant)
            case "<=":
                return bool(value <= self.constant)
            case ">":
                return bool(value > self.constant)
        return bool(value >= self.constant)

    def neighbours(self) -> Iterator[Any]:
        """Values at the constant and on both sides of it."""
        constants = self.constant if self.operator == "in" else [self.constant]
        for constant in constants:
            yield constant
            if isinstance(constant, bool):
                yield not constant
            elif isinstance(constant, int | float):
                yield from (constant - 1, constant + 1, int(constant), int(constant) + 1)
                if "double" in self.shape.types:
                    yield from (constant - 0.5, constant + 0.5)
            elif isinstance(constant, str):
                yield from ("", constant[:-1], constant + "\x01", "\U0010fffe")


def complaints(tree: Node, reading: Reading, parameters: Mapping[str, Any]) -> Iterator[Complaint]:
    """What is constant in an expression that decides."""
    whole = _constant(tree, parameters={})
    if whole is not _NOTHING:
        yield _complaint(tree, f"it is always {text(Literal(whole))}")
        return
    for node in _junctions(tree):
        operator = "||" if isinstance(node, Binary) and node.operator == "||" else "&&"
        parts = _parts(node, operator)
        for part in parts:
            if len(parts) > 1 and (value := _constant(part, {})) is not _NOTHING:
                yield _complaint(part, f"{text(part)} is always {text(Literal(value))}")
        yield from _impossible(parts, operator, reading, parameters)


def excluded(
    when: tuple[Node, Reading], require: tuple[Node, Reading], parameters: Mapping[str, Any]
) -> Iterator[Complaint]:
    """What a rule requires although its ``when`` leaves it no room, or no choice."""
    given = _tests(_parts(when[0], "&&"), when[1], parameters)
    parts = _parts(require[0], "&&")
    wanted = _tests(parts, require[1], parameters)
    implied = 0
    for subject, tests in wanted.items():
        values = [v for v in _values([*given.get(subject, ()), *tests]) if _all(given, subject, v)]
        met = [value for value in values if all(test.holds(value) for test in tests)]
        if values and not met:
            yield _complaint(tests[0].node, f"`when` leaves {subject} no value that passes")
        implied += len(tests) if values and len(met) == len(values) and subject in given else 0
    if implied == len(parts):
        yield _complaint(require[0], "`when` says it already")


def steps(tree: Node, reading: Reading) -> int:
    """The most steps an expression can take over facts that fit their schema."""
    inside = sum(steps(child, reading) for child in children_of(tree))
    if isinstance(tree, Each):
        bodies = sum(steps(body, reading) for body in tree.bodies)
        return 1 + inside - bodies + max(1, length(reading.shape(tree.over))) * bodies
    if isinstance(tree, Binary) and tree.operator in ("in", "==", "!=", "+"):
        return 1 + inside + length(reading.shape(tree.right))
    return 1 + inside


def length(shape: Shape) -> int:
    """How many items a list or map has at most; 1 for anything else."""
    return shape.longest if shape.longest is not None else 1


def unbounded(tree: Node, reading: Reading) -> Iterator[Complaint]:
    """Lists without an end that an expression goes through."""
    for node in walk(tree):
        if isinstance(node, Each) and reading.shape(node.over).longest is None:
            shape = reading.shape(node.over)
            if shape.known and shape.may_be("list", "map"):
                yield Complaint(
                    node.at,
                    f"nothing bounds the length of {text(node.over)}",
                    "give it maxItems or maxProperties in the schema of its facts",
                )


def _complaint(node: Node, problem: str) -> Complaint:
    return Complaint(node.at, problem, "correct the condition, or leave it out")


def _junctions(tree: Node) -> Iterator[Node]:
    """The expression, and inside it every other and-chain or or-chain, each once as a whole."""
    yield tree
    seen = {id(part) for part in _chain(tree)}
    for node in walk(tree):
        if isinstance(node, Each):
            for body in node.bodies:
                if id(body) not in seen and not _is_chain(body):
                    yield body
        if _is_chain(node) and id(node) not in seen:
            seen |= {id(part) for part in _chain(node)}
            yield node


def _is_chain(node: Node) -> bool:
    return isinstance(node, Binary) and node.operator in ("&&", "||")


def _chain(node: Node) -> Iterator[Node]:
    """The node and those below it that belong to the same chain."""
    yield node
    if isinstance(node, Binary) and node.operator in ("&&", "||"):
        for side in (node.left, node.right):
            if isinstance(side, Binary) and side.operator == node.operator:
                yield from _chain(side)


def _parts(node: Node, operator: str) -> list[Node]:
    if isinstance(node, Binary) and node.operator == operator:
        return _parts(node.left, operator) + _parts(node.right, operator)
    return [node]


def _impossible(
    parts: Sequence[Node], operator: str, reading: Reading, parameters: Mapping[str, Any]
) -> Iterator[Complaint]:
    """Tests of one value that exclude each other, hold for every value, or for none."""
    for subject, tests in _tests(parts, reading, parameters).items():
        values = list(_values(tests))
        if not values:
            continue
        single = False
        for test in tests:
            held = [test.holds(value) for value in values]
            if all(held) or not any(held):
                single = True
                answer = "always" if all(held) else "never"
                yield _complaint(test.node, f"{text(test.node)} {answer} holds")
        if single or len(tests) == 1:
            continue
        if operator == "||" and all(any(t.holds(v) for t in tests) for v in values):
            yield _complaint(tests[0].node, f"one of the conditions on {subject} always holds")
        if operator == "&&" and not any(all(t.holds(v) for t in tests) for v in values):
            yield _complaint(tests[0].node, f"the conditions on {subject} exclude each other")


def _tests(
    parts: Sequence[Node], reading: Reading, parameters: Mapping[str, Any]
) -> dict[str, list[_Test]]:
    found: dict[str, list[_Test]] = {}
    for part in parts:
        test = _test(part, reading, parameters)
        if test is not None:
            found.setdefault(test.subject, []).append(test)
    return found


def _test(node: Node, reading: Reading, parameters: Mapping[str, Any]) -> _Test | None:
    if isinstance(node, Unary) and node.operator == "!":
        inner = _test(node.operand, reading, parameters)
        return replace(inner, negated=not inner.negated, node=node) if inner else None
    if isinstance(node, Binary) and node.operator in (*RELATIONS, "in"):
        left, right = (_constant(side, parameters) for side in (node.left, node.right))
        if left is _NOTHING and right is not _NOTHING:
            return _made(node, node.left, node.operator, right, reading)
        if right is _NOTHING and left is not _NOTHING and node.operator != "in":
            mirrored = _MIRRORED.get(node.operator, node.operator)
            return _made(node, node.right, mirrored, left, reading)
        return None
    if reading.shape(node).types == {"bool"} and isinstance(node, Name | Member):
        return _made(node, node, "==", True, reading)
    return None


def _made(
    node: Node, subject: Node, operator: str, constant: Any, reading: Reading
) -> _Test | None:
    shape = reading.shape(subject)
    scalar = isinstance(constant, bool | int | float | str)
    if operator == "in":
        scalar = isinstance(constant, list) and all(
            isinstance(item, bool | int | float | str) for item in constant
        )
    if not scalar or not shape.known or shape.types & {"list", "map", "null", "bytes"}:
        return None
    return _Test(text(subject), operator, constant, False, shape, node)


def _values(tests: Sequence[_Test]) -> Iterator[Any]:
    """Values that the subject of some tests can have: enough to tell the tests apart."""
    shape = tests[0].shape
    if shape.words is not None:
        yield from shape.words
        return
    if shape.types == {"bool"}:
        yield from (False, True)
        return
    for value in {value for test in tests for value in test.neighbours()}:
        if _possible(value, shape):
            yield value


def _possible(value: Any, shape: Shape) -> bool:
    if isinstance(value, bool):
        return "bool" in shape.types
    if isinstance(value, str):
        return "string" in shape.types
    if not shape.types & NUMBERS or (isinstance(value, float) and shape.types == COUNT.types):
        return False
    above = shape.least is None or value >= shape.least
    return above and (shape.most is None or value <= shape.most)


def _all(tests: Mapping[str, Sequence[_Test]], subject: str, value: Any) -> bool:
    return all(test.holds(value) for test in tests.get(subject, ()))


def _constant(node: Node, parameters: Mapping[str, Any]) -> Any:
    """What the engine makes of an expression of constants and single parameters, or _NOTHING."""
    if isinstance(node, Literal) and not node.unsigned:
        return node.value
    if _of_parameter(node):
        return parameters.get(node.name, _NOTHING) if isinstance(node, Member) else _NOTHING
    if not all(_closed(part, parameters) for part in _leaves(node)):
        return _NOTHING
    context = cel.Context(functions=dict(FUNCTIONS))
    context.add_variable(POLICY, dict(parameters))
    try:
        return cel.compile_expression(text(node)).execute(context)
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, ArithmeticError):
        return _NOTHING


def _leaves(node: Node) -> Iterator[Node]:
    """What an expression takes from outside itself: names, or parameters as a whole."""
    if isinstance(node, Name) or _of_parameter(node):
        yield node
        return
    for child in children_of(node):
        bound = isinstance(node, Each) and any(child is body for body in node.bodies)
        for leaf in _leaves(child):
            if not (bound and isinstance(leaf, Name) and leaf.name == node.variable):  # type: ignore[union-attr]
                yield leaf


def _of_parameter(node: Node) -> bool:
    return isinstance(node, Member) and node.target == Name(POLICY)


def _closed(leaf: Node, parameters: Mapping[str, Any]) -> bool:
    return isinstance(leaf, Member) and leaf.name in parameters
