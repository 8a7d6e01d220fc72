# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads an expression against the shapes of what it names, before any fact is there.

Pure. Follows member chains, indices and the variables of comprehensions. It says what cannot be
right; what it does not know it lets pass, for the cases of the rule to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .cel_tree import (
    RELATIONS,
    Binary,
    Call,
    Choice,
    Each,
    Has,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Node,
    Unary,
    text,
)
from .lint_shapes import (
    ANY,
    BOOL,
    COUNT,
    DOUBLE,
    INT,
    NUMBERS,
    STRING,
    Shape,
    a_list,
    of_value,
    union,
)

POLICY = "policy"
_SCALARS = frozenset({"int", "double", "string", "bool"})
_TEXT = frozenset({"string"})
_SIZED = frozenset({"string", "list", "map", "bytes"})
_ANYTHING: frozenset[str] = frozenset()

#: Functions a rule may call: the types of each argument (none for any), and what they give.
FUNCTIONS: Mapping[str, tuple[tuple[frozenset[str], ...], Shape]] = {
    "size": ((_SIZED,), COUNT),
    "string": ((_SCALARS,), STRING),
    "int": ((_SCALARS - {"bool"},), INT),
    "double": ((_SCALARS - {"bool"},), DOUBLE),
    "join": ((frozenset({"list"}), _TEXT), STRING),
    "show": ((_ANYTHING,), STRING),
}
#: Functions behind a dot, of text only.
METHODS = frozenset({"startsWith", "endsWith", "contains", "matches"})
_ARITHMETIC = {
    "+": NUMBERS | {"string", "list", "bytes"},
    "-": NUMBERS,
    "*": NUMBERS,
    "/": NUMBERS,
    "%": frozenset({"int"}),
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong in an expression, where it is, and what to do about it."""

    at: int
    problem: str
    next_step: str


@dataclass
class Reading:
    """The shape of every part of an expression, and what is wrong with them."""

    shapes: dict[int, Shape] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)

    def shape(self, node: Node) -> Shape:
        """The shape of a part that was read."""
        return self.shapes[id(node)]

    def say(self, node: Node, problem: str, next_step: str) -> Shape:
        """Note a complaint; the shape of what is wrong is anything, so that it is said once."""
        self.complaints.append(Complaint(node.at, problem, next_step))
        return ANY


def read(tree: Node, variables: Mapping[str, Shape]) -> Reading:
    """The shapes in an expression over these variables."""
    reading = Reading()
    _shape(tree, variables, reading)
    return reading


def must_be_boolean(tree: Node, reading: Reading) -> None:
    """Note a complaint when an expression that decides gives no boolean."""
    _boolean(tree, reading.shape(tree), reading)


Variables = Mapping[str, Shape]


def _shape(node: Node, variables: Variables, reading: Reading) -> Shape:
    shape = _of(node, variables, reading)
    reading.shapes[id(node)] = shape
    return shape


def _of(node: Node, variables: Variables, reading: Reading) -> Shape:
    match node:
        case Literal(value, unsigned):
            return ANY if unsigned else of_value(value)
        case Name(name):
            return variables[name] if name in variables else _unknown_name(node, variables, reading)
        case Member(target, name):
            return _field(node, name, _shape(target, variables, reading), reading)
        case Has(member):
            _shape(member, variables, reading)
            return BOOL
        case Index():
            return _index(node, variables, reading)
        case ListOf(items):
            return a_list(union(_shape(i, variables, reading) for i in items), len(items))
        case MapOf(entries):
            pairs = [[_shape(part, variables, reading) for part in pair] for pair in entries]
            values = union(value for _, value in pairs)
            return Shape(frozenset({"map"}), items=values, longest=len(entries))
        case Call():
            return _call(node, variables, reading)
        case Each():
            return _each(node, variables, reading)
        case Choice(condition, then, otherwise):
            _boolean(condition, _shape(condition, variables, reading), reading)
            return union([_shape(part, variables, reading) for part in (then, otherwise)])
        case Unary(operator, operand):
            return _unary(node, operator, _shape(operand, variables, reading), reading)
        case Binary(_, left, right):
            sides = [_shape(side, variables, reading) for side in (left, right)]
            return _binary(node, sides[0], sides[1], reading)


def _unknown_name(node: Name, variables: Variables, reading: Reading) -> Shape:
    return reading.say(
        node,
        f"there is no variable {node.name}",
        f"a rule sees {' and '.join(sorted(variables))} only",
    )


def _field(node: Member, name: str, target: Shape, reading: Reading) -> Shape:
    if not target.known:
        return ANY
    whole = text(node.target)
    if not target.may_be("map"):
        return reading.say(
            node, f"{whole} is {target} and has no field {name}", "correct the path of the fact"
        )
    if target.fields is None:
        return target.items or ANY
    if name in target.fields:
        return target.fields[name]
    if target.items is not None:
        return target.items
    what = "parameter" if whole == POLICY else "fact"
    return reading.say(
        node,
        f"there is no {what} {whole}.{name}",
        f"{whole} has {', '.join(sorted(target.fields))}",
    )


def _index(node: Index, variables: Variables, reading: Reading) -> Shape:
    target = _shape(node.target, variables, reading)
    index = _shape(node.index, variables, reading)
    if not target.known:
        return ANY
    if target.types <= {"map"}:
        if isinstance(node.index, Literal) and isinstance(node.index.value, str):
            return _field(Member(node.target, node.index.value, node.at), node.index.value, target,
                          reading)  # fmt: skip
        return target.items or union((target.fields or {}).values())
    if not target.may_be("list", "map"):
        return reading.say(
            node, f"{text(node.target)} is {target} and has no items", "correct the path"
        )
    if not index.may_be("int"):
        return reading.say(node, f"a list has no item {text(node.index)}", "count from 0")
    return target.items or ANY


def _call(node: Call, variables: Variables, reading: Reading) -> Shape:
    given = [_shape(argument, variables, reading) for argument in node.arguments]
    if node.target is not None:
        return _method(node, _shape(node.target, variables, reading), given, reading)
    if node.function not in FUNCTIONS:
        return reading.say(
            node, f"there is no function {node.function}", f"there are {', '.join(FUNCTIONS)}"
        )
    wanted, result = FUNCTIONS[node.function]
    if len(given) != len(wanted):
        reading.say(node, f"{node.function} takes {len(wanted)} arguments", "correct the call")
        return result
    for argument, shape, types in zip(node.arguments, given, wanted, strict=True):
        if types and shape.known and not shape.may_be(*types):
            reading.say(
                argument,
                f"{node.function} cannot take {text(argument)}, which is {shape}",
                f"it takes {Shape(types)}",
            )
    return result


def _method(node: Call, target: Shape, given: list[Shape], reading: Reading) -> Shape:
    if node.function not in METHODS:
        return reading.say(
            node,
            f"there is no function {node.function} behind a dot",
            f"there are {', '.join(sorted(METHODS))}",
        )
    if len(given) != 1 or not all(shape.may_be("string") for shape in (target, *given)):
        reading.say(node, f"{text(node)} is not of text and text", "correct the call")
    return BOOL


def _each(node: Each, variables: Variables, reading: Reading) -> Shape:
    over = _shape(node.over, variables, reading)
    if not over.may_be("list", "map"):
        reading.say(
            node,
            f"{text(node.over)} is {over}; {node.macro} goes through lists",
            "correct the path",
        )
    item = (STRING if over.types == {"map"} else over.items) or ANY
    inside = {**variables, node.variable: item}
    if node.variable in variables:
        reading.say(node, f"{node.variable} is already a variable", "choose another name")
    shapes = [_shape(body, inside, reading) for body in node.bodies]
    conditions = node.bodies[:-1] if node.macro == "map" else node.bodies
    for condition in conditions:
        _boolean(condition, reading.shape(condition), reading)
    if node.macro == "map":
        return a_list(shapes[-1], over.longest)
    return a_list(item, over.longest) if node.macro == "filter" else BOOL


def _unary(node: Unary, operator: str, operand: Shape, reading: Reading) -> Shape:
    if operator == "!":
        _boolean(node.operand, operand, reading)
        return BOOL
    if operand.known and not operand.types & NUMBERS:
        return reading.say(node, f"{text(node.operand)} is {operand}, no number", "correct it")
    return Shape(operand.types & NUMBERS)


def _binary(node: Binary, left: Shape, right: Shape, reading: Reading) -> Shape:
    match node.operator:
        case "&&" | "||":
            _boolean(node.left, left, reading)
            _boolean(node.right, right, reading)
            return BOOL
        case "in":
            _membership(node, left, right, reading)
            return BOOL
        case operator if operator in RELATIONS:
            for complaint in _incomparable(node, left, right):
                reading.complaints.append(complaint)
            return BOOL
    return _calculation(node, left, right, reading)


def _membership(node: Binary, left: Shape, right: Shape, reading: Reading) -> None:
    if not right.known:
        return
    if not right.may_be("list", "map"):
        reading.say(node, f"{text(node.right)} is {right} and holds nothing", "correct the path")
        return
    items = right.items if right.types == {"list"} else STRING
    if items is not None and not _alike(left, items):
        reading.say(
            node,
            f"{text(node.left)} is {left} and never in {text(node.right)}, which holds {items}",
            "compare like with like",
        )
    elif items is not None and right.types == {"list"}:
        for complaint in _not_a_word(node, node.left, items):
            reading.complaints.append(complaint)


def _incomparable(node: Binary, left: Shape, right: Shape) -> Iterator[Complaint]:
    if text(node.left) == text(node.right):
        yield Complaint(node.at, f"{text(node.left)} is compared with itself", "correct one side")
    elif not _alike(left, right):
        yield Complaint(
            node.at,
            f"{text(node)} compares {left} with {right}",
            "compare like with like; int(), double() and string() convert",
        )
    elif node.operator in ("==", "!="):
        yield from _not_a_word(node, node.left, right)
        yield from _not_a_word(node, node.right, left)


def _not_a_word(node: Binary, side: Node, other: Shape) -> Iterator[Complaint]:
    if isinstance(side, Literal) and other.words is not None and side.value not in other.words:
        yield Complaint(
            node.at,
            f"{text(side)} is none of the words there are",
            f"the schema has {', '.join(map(str, other.words))}",
        )


def _alike(left: Shape, right: Shape) -> bool:
    if not (left.known and right.known):
        return True
    return bool(left.types & right.types) or bool(left.types & NUMBERS and right.types & NUMBERS)


def _calculation(node: Binary, left: Shape, right: Shape, reading: Reading) -> Shape:
    allowed = _ARITHMETIC[node.operator]
    types = (left.types or allowed) & (right.types or allowed) & allowed
    if not types:
        return reading.say(
            node,
            f"{text(node)} puts {left} and {right} together",
            "use one type; int(), double() and string() convert",
        )
    if types != {"list"}:
        return Shape(types)
    lengths = [shape.longest for shape in (left, right)]
    bounded = [length for length in lengths if length is not None]
    longest = sum(bounded) if len(bounded) == len(lengths) else None
    return a_list(union(shape.items or ANY for shape in (left, right)), longest)


def _boolean(node: Node, shape: Shape, reading: Reading) -> None:
    if shape.known and not shape.may_be("bool"):
        reading.say(node, f"{text(node)} is {shape}, not true or false", "make it a comparison")
