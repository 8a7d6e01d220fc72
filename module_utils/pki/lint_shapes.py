# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value in an expression can be: the shape of facts, from their schema, and of parameters.

Pure. A shape is what is known before anything is evaluated: types, fields, words, bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

NUMBERS = frozenset({"int", "double"})
_TYPES = {
    "integer": {"int"},
    "number": {"int", "double"},
    "string": {"string"},
    "boolean": {"bool"},
    "array": {"list"},
    "object": {"map"},
    "null": {"null"},
}
#: Types in the words of a message.
WORDS = {
    "int": "a whole number",
    "double": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "map": "a map",
    "null": "null",
    "bytes": "bytes",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value can be.

    Attributes:
        types: CEL's types it may have; none for anything at all.
        items: what is in a list, or in a map of any keys.
        fields: what is in a map of named fields.
        longest: most items of a list or map; None when nothing bounds it.
        words: the only values there are.
        least, most: bounds of a number.
    """

    types: frozenset[str] = frozenset()
    items: Shape | None = None
    fields: Mapping[str, Shape] | None = None
    longest: int | None = None
    words: tuple[Any, ...] | None = None
    least: float | None = None
    most: float | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known."""
        return bool(self.types)

    def may_be(self, *types: str) -> bool:
        """Whether a value of one of these types is possible."""
        return not self.types or not self.types.isdisjoint(types)

    def __str__(self) -> str:
        return " or ".join(WORDS[name] for name in sorted(self.types)) or "anything"


ANY = Shape()
BOOL = Shape(frozenset({"bool"}))
INT = Shape(frozenset({"int"}))
COUNT = Shape(frozenset({"int"}), least=0)
DOUBLE = Shape(frozenset({"double"}))
STRING = Shape(frozenset({"string"}))


def a_list(items: Shape, longest: int | None) -> Shape:
    """A list of items of one shape."""
    return Shape(frozenset({"list"}), items=items, longest=longest)


def of_schema(schema: Mapping[str, Any]) -> Shape:
    """The shape of what a JSON Schema describes, as far as it is a plain one."""
    if "const" in schema or "enum" in schema:
        words = tuple(schema.get("enum", [schema.get("const")]))
        return replace(union(map(of_value, words)), words=words, least=None, most=None)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return union(map(of_schema, schema[word]))
    named = schema.get("type", [])
    types = [named] if isinstance(named, str) else named
    return Shape(
        types=frozenset(found for name in types for found in _TYPES[name]),
        items=_items(schema),
        fields=_fields(schema),
        longest=schema.get("maxItems", schema.get("maxProperties")),
        least=schema.get("minimum"),
        most=schema.get("maximum"),
    )


def of_value(value: Any) -> Shape:
    """The shape of a parameter's value: a list may have other items, but not another type."""
    match value:
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return DOUBLE
        case str():
            return STRING
        case Mapping():
            return Shape(
                frozenset({"map"}), items=union(map(of_value, value.values())), longest=len(value)
            )
        case list() | tuple():
            return a_list(union(map(of_value, value)), len(value))
        case None:
            return Shape(frozenset({"null"}))
        case bytes():
            return Shape(frozenset({"bytes"}))
    return ANY


def of_parameters(values: Mapping[str, Any]) -> Shape:
    """The shape of ``policy``."""
    fields = {name: of_value(value) for name, value in values.items()}
    return Shape(frozenset({"map"}), fields=fields, longest=len(fields))


def union(shapes: Iterable[Shape]) -> Shape:
    """What is one of several shapes; anything when there are none."""
    every = list(shapes)
    return reduce(_either, every) if every else ANY


def _either(one: Shape, other: Shape) -> Shape:
    if one == other:
        return one
    if not (one.known and other.known):
        return ANY
    return Shape(
        types=one.types | other.types,
        items=_either(one.items, other.items) if one.items and other.items else None,
        fields=one.fields if one.fields == other.fields else None,
        longest=_bound(one, other),
    )


def _bound(one: Shape, other: Shape) -> int | None:
    """The longer of two; what is no list or map is bounded whatever it is."""
    longest = [
        shape.longest for shape in (one, other) if shape.types & {"list", "map"} or shape.longest
    ]
    bounded = [length for length in longest if length is not None]
    return max(bounded) if bounded and len(bounded) == len(longest) else None


def _items(schema: Mapping[str, Any]) -> Shape | None:
    inside = schema.get("items", schema.get("additionalProperties"))
    return of_schema(inside) if isinstance(inside, Mapping) else None


def _fields(schema: Mapping[str, Any]) -> Mapping[str, Shape] | None:
    named = schema.get("properties")
    if named is None:
        return None
    return {name: of_schema(inside) for name, inside in named.items()}
