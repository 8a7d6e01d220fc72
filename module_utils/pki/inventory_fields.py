# SPDX-License-Identifier: GPL-3.0-or-later
"""How the fields of an inventory are read: each problem names its place and what was expected.

Pure. Every reader raises PkiError INVENTORY; whoever reads a whole file collects them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import days
from .errors import PkiError

PLACEHOLDER = "FILL-IN"
_LONGEST_TEXT = 1000  # facts are bounded, and no name or path of sense is longer


def unfilled(node: object, where: str) -> Iterator[PkiError]:
    """One error for each place of an example inventory that still has to be filled in."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from unfilled(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from unfilled(value, f"{where}[{index}]")
    elif isinstance(node, str) and PLACEHOLDER in node:
        yield error(where, "this place is not filled in yet", node, "your own value")


class InventoryError(PkiError):
    """Several problems at once, each printed as the block it would be alone."""

    several_lines = True

    def __init__(self, problems: Sequence[PkiError]) -> None:
        first = problems[0]
        super().__init__(
            f"the inventory has {len(problems)} problems",
            rule=first.rule,
            found="\n".join(problem.found for problem in problems),
            expected="\n".join(problem.expected for problem in problems),
            where="\n".join(problem.where for problem in problems),
            next_step="correct them all and run again; nothing was changed",
        )
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n\n".join([self.message, *map(str, self.problems), f"next: {self.next_step}"])


def raise_all(problems: Sequence[PkiError]) -> None:
    """Raise what there is: nothing, the one problem, or all of them as one error."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InventoryError(problems)


def error(where: str, message: str, found: object, expected: str, next_step: str = "") -> PkiError:
    """The error for a place below ``group_vars/all``."""
    return PkiError(
        message,
        rule="INVENTORY",
        found=str(found),
        expected=expected,
        where=f"group_vars/all/{where}",
        next_step=next_step or "correct the inventory and run again; nothing was changed",
    )


def entries(raw: object, file: str, what: str, problems: list[PkiError]) -> Mapping[str, Any]:
    """A file's map by name; what is no map is added to ``problems``."""
    if isinstance(raw, Mapping) and raw:
        return {str(key): value for key, value in raw.items()}
    problems.append(
        error(file, f"{what} are missing", type(raw).__name__, "a map with at least one entry")
    )
    return {}


def mapping(
    raw: object, where: str, known: Iterable[str], required: Iterable[str]
) -> Mapping[str, Any]:
    """``raw`` as a map with no key outside ``known`` and none of ``required`` missing."""
    if not isinstance(raw, Mapping):
        raise error(where, f"{where} is not a map", type(raw).__name__, "a map")
    keys = {str(key) for key in raw}
    allowed = tuple(known)
    for key in sorted(keys - set(allowed)):
        close = difflib.get_close_matches(key, allowed, 1)
        hint = f"did you mean `{close[0]}`?" if close else "remove it"
        raise error(where, f"unknown key `{key}`", key, ", ".join(allowed), hint)
    for key in required:
        if key not in keys:
            raise error(where, f"`{key}` is missing", "nothing", key)
    return {str(key): value for key, value in raw.items()}


def text(raw: Mapping[str, Any], key: str, where: str) -> str:
    """A field that is text a person can read, and not too long for facts."""
    value = raw[key]
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise error(
            f"{where}.{key}",
            f"`{key}` is not usable text",
            repr(value),
            "text without outer spaces",
        )
    if len(value) > _LONGEST_TEXT:
        raise error(
            f"{where}.{key}",
            f"`{key}` is too long",
            f"{len(value)} characters",
            f"at most {_LONGEST_TEXT} characters",
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise error(
            f"{where}.{key}", f"`{key}` holds control characters", repr(value), "printable text"
        )
    return str(value)


def choice(raw: Mapping[str, Any], key: str, where: str, choices: Iterable[str]) -> str:
    """A field that is one of a few words."""
    value = text(raw, key, where)
    allowed = tuple(choices)
    if value not in allowed:
        raise error(
            f"{where}.{key}", f"`{key}` is not one of the known values", value, ", ".join(allowed)
        )
    return value


def day(raw: Mapping[str, Any], key: str, where: str) -> str:
    """An optional day as ISO text; empty when it is not there."""
    if key not in raw:
        return ""
    try:
        return days.text(raw[key])
    except ValueError:
        raise error(
            f"{where}.{key}", f"`{key}` is not a date", repr(raw[key]), "a day as YYYY-MM-DD"
        ) from None


def yes_or_no(raw: Mapping[str, Any], key: str, where: str) -> bool:
    """An optional field that is true or false; false when it is not there."""
    value = raw.get(key, False)
    if isinstance(value, bool):
        return value
    raise error(f"{where}.{key}", f"`{key}` is not true or false", repr(value), "true or false")
