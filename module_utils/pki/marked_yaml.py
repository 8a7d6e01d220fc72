# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML that a person wrote, with the line of everything in it.

Strict: a key twice is an error, an alias is one, and so is every tag that makes objects.
Bounded in size. Scalars are what YAML 1.1 says, except that dates stay text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

MAXIMUM_BYTES = 4 * 1024 * 1024
DEEPEST = 100
Path = tuple[str | int, ...]


class Unreadable(ValueError):
    """Text that is no YAML of this kind; ``line`` counts from 1, 0 when it is unknown."""

    def __init__(self, problem: str, line: int = 0, column: int = 0) -> None:
        super().__init__(problem)
        self.line = line
        self.column = column

    @property
    def place(self) -> str:
        """``line 3, column 7``, or what is known of it."""
        return f"line {self.line}, column {self.column}" if self.line else "unknown line"


@dataclass(frozen=True, slots=True)
class Marked:
    """A value and the line of every key and item in it, by path."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, *path: str | int) -> int:
        """The line of a path, or of the nearest thing around it that has one; 0 for none."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    pass


# Without implicit dates: "2024-06-28" stays text, and no value can be an impossible date.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str) -> Marked:
    """The value and its lines.

    Raises:
        Unreadable: not YAML, too large, or YAML that is refused here.
    """
    if len(text) > MAXIMUM_BYTES:
        raise Unreadable(f"more than {MAXIMUM_BYTES} characters")
    loader = None
    try:
        loader = _Loader(text)
        refuse_unbounded(text)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        value = None if node is None else _value(loader, node, (), lines)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = getattr(exc, "problem", None) or "not YAML"
        raise Unreadable(
            str(problem), mark.line + 1 if mark else 0, mark.column + 1 if mark else 0
        ) from exc
    except RecursionError as exc:
        raise Unreadable("too deep") from exc
    finally:
        if loader is not None:
            loader.dispose()
    return Marked(value, lines)


def refuse_unbounded(text: str | bytes) -> None:
    """Refuse YAML that unfolds: aliases, and values inside values more than a hundred deep.

    Looked at event by event, because building such a value is what does the harm: a few lines of
    aliases fill any memory, and depth overflows the C stack of the fast parser.

    Raises:
        Unreadable: with the line.
        yaml.YAMLError: not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _at(event, "an alias, which this file may not have")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _at(event, f"more than {DEEPEST} values inside each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(node: Any, problem: str) -> Unreadable:
    return Unreadable(problem, node.start_mark.line + 1, node.start_mark.column + 1)


def _value(loader: Any, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != "tag:yaml.org,2002:seq":
            raise _at(node, f"the tag {node.tag}")
        return [
            _value(loader, item, (*path, index), lines) for index, item in enumerate(node.value)
        ]
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise _at(node, f"the tag {node.tag}")
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, TypeError, AttributeError) as exc:
        raise _at(node, f"no value: {exc}") from exc


def _mapping(
    loader: Any, node: yaml.MappingNode, path: Path, lines: dict[Path, int]
) -> dict[str, Any]:
    if node.tag != "tag:yaml.org,2002:map":
        raise _at(node, f"the tag {node.tag}")
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _at(key_node, "a key that is not text")
        key = str(key_node.value)
        if key in result:
            raise _at(key_node, f"the key {key} twice")
        lines[(*path, key)] = key_node.start_mark.line + 1
        result[key] = _value(loader, value_node, (*path, key), lines)
    return result
