# SPDX-License-Identifier: GPL-3.0-or-later
"""The target's error: the same five fields as the controller's, without importing it."""

from __future__ import annotations

LONGEST_FIELD = 1500


def shown(text: str) -> str:
    """``text`` as it may reach a terminal: bounded, in one line, nothing that steers one.

    Fields quote what others wrote: the titles of their processes, lines of a log.
    """
    if len(text) > LONGEST_FIELD:
        text = f"{text[:LONGEST_FIELD]}... ({len(text)} characters)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class HostError(Exception):
    """A refusal or a fault on this host that a person can act on.

    No field may ever hold a secret; modules print all of them.
    """

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        found: str = "",
        expected: str = "",
        where: str = "",
        next_step: str = "",
    ) -> None:
        self.message = shown(message)
        super().__init__(self.message)
        self.rule = shown(rule)
        self.found = shown(found)
        self.expected = shown(expected)
        self.where = shown(where)
        self.next_step = shown(next_step)

    def as_result(self) -> dict[str, str]:
        """The fields as plain strings, for a module result."""
        return {
            "message": self.message,
            "rule": self.rule,
            "found": self.found,
            "expected": self.expected,
            "where": self.where,
            "next_step": self.next_step,
        }

    def __str__(self) -> str:
        labels = (
            ("rule", self.rule),
            ("found", self.found),
            ("expected", self.expected),
            ("where", self.where),
            ("next", self.next_step),
        )
        lines = [self.message]
        lines += [f"  {label:<9} {text}" for label, text in labels if text]
        return "\n".join(lines)
