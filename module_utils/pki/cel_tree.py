# SPDX-License-Identifier: GPL-3.0-or-later
"""A CEL expression as a tree, and the tree as text again.

Pure. :mod:`.cel_text` makes the tree. Two trees are equal when they mean the same expression,
wherever its parts stood (``at``, the offset of a part in the text, is not compared).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

#: Binary operators by how tightly they bind; 1 is the conditional, 7 unary, 8 a member.
BINDING = {
    "||": 2,
    "&&": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 4),
    **dict.fromkeys("+-", 5),
    **dict.fromkeys("*/%", 6),
}
CONDITIONAL, UNARY, MEMBER = 1, 7, 8
RELATIONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, bytes, boolean or null. ``unsigned`` is CEL's ``u`` behind a number."""

    value: int | float | str | bytes | bool | None
    unsigned: bool = False
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """``target.name``."""

    target: Node
    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """``target[index]``."""

    target: Node
    index: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b]``."""

    items: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MapOf:
    """``{key: value}``."""

    entries: tuple[tuple[Node, Node], ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """``function(arguments)``, or ``target.function(arguments)``."""

    function: str
    target: Node | None
    arguments: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Has:
    """``has(member)``: whether there is such a field."""

    member: Member
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Each:
    """``over.macro(variable, bodies)``: all, exists, exists_one, filter or map."""

    macro: str
    over: Node
    variable: str
    bodies: tuple[Node, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``!operand`` or ``-operand``."""

    operator: str
    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """``left operator right``."""

    operator: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """``condition ? then : otherwise``."""

    condition: Node
    then: Node
    otherwise: Node
    at: int = field(default=0, compare=False)


Node: TypeAlias = (
    Literal | Name | Member | Index | ListOf | MapOf | Call | Has | Each | Unary | Binary | Choice
)


def children(node: Node) -> Iterator[Node]:
    """What a node is made of, in the order it is written."""
    for name in node.__slots__:
        yield from _nodes(getattr(node, name))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything in it."""
    yield node
    for child in children(node):
        yield from walk(child)


def variants(node: Node, alternatives: Callable[[Node], Iterator[Node]]) -> Iterator[Node]:
    """Every tree that differs from this one in one place.

    ``alternatives`` gives, for a node, what may stand in its place.
    """
    yield from alternatives(node)
    for name in node.__slots__:
        for changed in _changed(getattr(node, name), alternatives):
            yield replace(node, **{name: changed})


def text(node: Node) -> str:
    """The node as CEL, with brackets only where they are needed."""
    return _text(node, CONDITIONAL)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)
    elif isinstance(value, Node):
        yield value


def _changed(value: Any, alternatives: Callable[[Node], Iterator[Node]]) -> Iterator[Any]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            for changed in _changed(item, alternatives):
                yield (*value[:index], changed, *value[index + 1 :])
    elif isinstance(value, Node):
        yield from variants(value, alternatives)


def _text(node: Node, least: int) -> str:
    """The node where only what binds at least that tightly may stand without brackets."""
    binding, written = _written(node)
    return written if binding >= least else f"({written})"


def _written(node: Node) -> tuple[int, str]:
    match node:
        case Choice(condition, then, otherwise):
            parts = _text(condition, 2), _text(then, 2), _text(otherwise, CONDITIONAL)
            return CONDITIONAL, "{} ? {} : {}".format(*parts)
        case Binary(operator, left, right):
            own = BINDING[operator]
            return own, f"{_text(left, own)} {operator} {_text(right, own + 1)}"
        case Unary(operator, operand):
            return UNARY, operator + _text(operand, MEMBER)
        case Literal():
            return MEMBER, _literal(node)
        case _:
            return MEMBER, _member(node)


def _member(node: Node) -> str:
    match node:
        case Name(name):
            return name
        case Member(target, name):
            return f"{_target(target)}.{name}"
        case Index(target, index):
            return f"{_target(target)}[{text(index)}]"
        case ListOf(items):
            return f"[{_listed(items)}]"
        case MapOf(entries):
            return "{" + ", ".join(f"{text(key)}: {text(value)}" for key, value in entries) + "}"
        case Has(member):
            return f"has({text(member)})"
        case Each(macro, over, variable, bodies):
            return f"{_target(over)}.{macro}({variable}, {_listed(bodies)})"
        case Call(function, target, arguments):
            before = "" if target is None else f"{_target(target)}."
            return f"{before}{function}({_listed(arguments)})"
    raise TypeError(type(node).__name__)


def _target(node: Node) -> str:
    # A number before a dot would read as one with a fraction.
    number = isinstance(node, Literal) and isinstance(node.value, int | float)
    return f"({text(node)})" if number else _text(node, MEMBER)


def _listed(items: Sequence[Node]) -> str:
    return ", ".join(map(text, items))


def _literal(node: Literal) -> str:
    match node.value:
        case bool(value):
            return "true" if value else "false"
        case None:
            return "null"
        case str(value):
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\x7f")
        case bytes(value):
            return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
        case int(value):
            return f"{value}u" if node.unsigned else str(value)
        case float(value):
            written = repr(value)
            return written if {".", "e"} & set(written) else f"{written}.0"
    raise TypeError(type(node.value).__name__)
