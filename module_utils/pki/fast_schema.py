# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of JSON Schema that facts use, as plain functions, each schema prepared once.

Pure. A validator that walks a schema again for every document costs a millisecond a document,
more than everything else that is done with it (measured). What is accepted here is accepted by a
full validator; why something is not, and every schema with a word that is not known here, is left
to one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], bool]

#: Words that say nothing about a value.
_SILENT = frozenset({"$schema", "title", "description", "x-scope", "x-object"})


class _Unknown(Exception):
    """A schema with more in it than is known here."""


def prepared(schema: Mapping[str, Any]) -> Check | None:
    """Whether a value fits the schema, as a function; None for a schema that has more in it."""
    try:
        return _check(schema)
    except _Unknown:
        return None


def _check(schema: Any) -> Check:
    if not isinstance(schema, Mapping):
        raise _Unknown
    words = {word: value for word, value in schema.items() if word not in _SILENT}
    kind = words.pop("type", None)
    enum = words.pop("enum", None)
    checks: list[Check] = []
    if enum is not None:
        checks.append(_one_of(enum))
    if isinstance(kind, str) and kind in _OF_TYPE:
        checks.append(_OF_TYPE[kind](words))
    elif isinstance(kind, list) and not words and all(one in _OF_TYPE for one in kind):
        checks.append(_any([_OF_TYPE[one](words) for one in kind]))
    elif kind is not None or enum is None:
        raise _Unknown
    if words:
        raise _Unknown
    return checks[0] if len(checks) == 1 else _all(checks)


def _one_of(values: Sequence[Any]) -> Check:
    # Of numbers, 1, 1.0 and true would be told apart otherwise than Python does.
    if not all(isinstance(value, str) for value in values):
        raise _Unknown
    known = frozenset(values)
    return lambda value: isinstance(value, str) and value in known


def _all(checks: Sequence[Check]) -> Check:
    return lambda value: all(check(value) for check in checks)


def _any(checks: Sequence[Check]) -> Check:
    return lambda value: any(check(value) for check in checks)


def _text(words: dict[str, Any]) -> Check:
    longest = words.pop("maxLength", None)
    shortest = words.pop("minLength", 0)
    pattern = re.compile(words.pop("pattern", ""))

    def check(value: Any) -> bool:
        return (
            isinstance(value, str)
            and (longest is None or len(value) <= longest)
            and len(value) >= shortest
            and pattern.search(value) is not None
        )

    return check


def _number(words: dict[str, Any], *, whole: bool) -> Check:
    smallest, largest = words.pop("minimum", None), words.pop("maximum", None)

    def check(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return False
        if smallest is not None and value < smallest:
            return False
        return largest is None or not value > largest

    return check


def _list(words: dict[str, Any]) -> Check:
    longest, shortest = words.pop("maxItems", None), words.pop("minItems", 0)
    item = _check(words.pop("items")) if "items" in words else None

    def check(value: Any) -> bool:
        if not isinstance(value, list) or len(value) < shortest:
            return False
        if longest is not None and len(value) > longest:
            return False
        return item is None or all(item(one) for one in value)

    return check


def _map(words: dict[str, Any]) -> Check:
    fields = {name: _check(one) for name, one in words.pop("properties", {}).items()}
    required = tuple(words.pop("required", ()))
    most = words.pop("maxProperties", None)
    more = words.pop("additionalProperties", True)
    other = None if isinstance(more, bool) else _check(more)

    def check(value: Any) -> bool:
        if not isinstance(value, dict) or (most is not None and len(value) > most):
            return False
        for name in required:
            if name not in value:
                return False
        for name, one in value.items():
            field = fields.get(name, other)
            if not (more is True if field is None else field(one)):
                return False
        return True

    return check


_OF_TYPE: Mapping[str, Callable[[dict[str, Any]], Check]] = {
    "string": _text,
    "integer": lambda words: _number(words, whole=True),
    "number": lambda words: _number(words, whole=False),
    "boolean": lambda words: lambda value: isinstance(value, bool),
    "null": lambda words: lambda value: value is None,
    "array": _list,
    "object": _map,
}
