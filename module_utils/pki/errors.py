# SPDX-License-Identifier: GPL-3.0-or-later
"""One error for the whole domain: what a tired reader needs, in five fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class PkiError(Exception):
    """A refusal or a fault a person can act on.

    Attributes:
        message: one sentence, naming the object first ("dip-nonprod: the reply's ...").
        rule: id of the rule or fault class ("DIP-6.1.2-CN", "INVENTORY", "VAULT-DENIED").
        found: what is there, never a secret.
        expected: what should be there.
        where: file and field, URL, host or Vault path.
        next_step: the one thing to do now.
        also: what else is wrong, less decisive; each may be an error with fields of its own.
    """

    #: Whether a line feed in a field is ours. Of others it could forge a line of the block.
    several_lines = False

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        found: str = "",
        expected: str = "",
        where: str = "",
        next_step: str = "",
        also: Sequence[PkiError] = (),
    ) -> None:
        self.message = shown(message, self.several_lines)
        super().__init__(self.message)
        self.rule = shown(rule)
        self.found = shown(found, self.several_lines)
        self.expected = shown(expected, self.several_lines)
        self.where = shown(where, self.several_lines)
        self.next_step = shown(next_step, self.several_lines)
        self.also = tuple(also)

    def brief(self) -> str:
        """The error in one line, for a list of what else is wrong."""
        facts = ((what, value) for what, value in self._compared() if value)
        told = ", ".join(f"{what} {value}" for what, value in facts)
        return f"{self.rule}: {self.message}" + (f" ({told})" if told else "")

    def _compared(self) -> tuple[tuple[str, str], ...]:
        return (("found", self.found), ("expected", self.expected))

    def as_result(self) -> dict[str, str]:
        """The fields as plain strings, for a module result or a JSON report.

        ``also`` has a line for each further error and is left out when there is none.
        """
        further = {"also": "\n".join(one.brief() for one in self.also)} if self.also else {}
        return {
            "message": self.message,
            "rule": self.rule,
            "found": self.found,
            "expected": self.expected,
            "where": self.where,
            "next_step": self.next_step,
            **further,
        }

    def __str__(self) -> str:
        return render(self.as_result())

    def __reduce__(self) -> tuple[Any, ...]:
        """As values, for the way from a worker to its parent: the fields are told by name."""
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(kind: type[PkiError], args: tuple[Any, ...], fields: dict[str, Any]) -> PkiError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


LONGEST_FIELD = 1500


def shown(text: str, several_lines: bool = False) -> str:
    """``text`` as it may reach a terminal: bounded, and without what steers one.

    Fields quote what other hands wrote: inventories, replies, answers of servers. A character
    that does not print is spelled out.
    """
    if len(text) > LONGEST_FIELD:
        text = f"{text[:LONGEST_FIELD]}… ({len(text)} characters)"
    if text.isprintable():
        return text
    plain = "\n" if several_lines else ""
    return "".join(c if c.isprintable() or c == plain else ascii(c)[1:-1] for c in text)


LABELS = (
    ("rule", "rule"),
    ("found", "found"),
    ("expected", "expected"),
    ("where", "where"),
    ("also", "also"),
    ("next", "next_step"),
)


def render(error: Mapping[str, str]) -> str:
    """An error's fields as the aligned block that every refusal is printed as."""
    lines = [error["message"]]
    for label, field in LABELS:
        # Only `also` has several lines, one for each further error.
        values = error.get(field, "").split("\n") if field == "also" else [error.get(field, "")]
        lines += [f"  {label:<9} {value}" for value in values if value]
    return "\n".join(lines)
