# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's configuration language: text to sections of lines, as HAProxy reads it.

Pure. A line is its words; quotes may begin anywhere in one, ``#`` is a comment outside quotes
wherever it stands, a backslash is special but in single quotes, and a dollar sign in double quotes
begins a variable of the environment, of which nothing is known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Tuple

from ...errors import HostError

MAXIMUM_CHARACTERS = 1_048_576
# What begins a section; one of another name is a line that HAProxy would refuse.
_NAMES = (
    "global defaults frontend backend listen resolvers peers mailers userlist cache program ring"
    " http-errors fcgi-app log-forward log-profile crt-store traces acme"
)
SECTIONS = frozenset(_NAMES.split())
_SPACE = " \t\v\f"
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", **{one: one for one in " \\#\"'"}}
_HEX = re.compile(r"[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class Line:
    """The words of one line; ``expands`` when a variable of the environment is among them."""

    words: Tuple[str, ...]
    number: int
    expands: bool = False

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Section:
    """A section: its kind, its name (empty without one), and what stands in it."""

    kind: str
    name: str
    line: Line
    lines: Tuple[Line, ...]


def parse(text: str, file: str) -> Tuple[Section, ...]:
    """The sections of a file.

    Raises:
        HostError: GATEWAY-CONFIG, with the line, for what HAProxy would not load either.
    """
    if len(text) > MAXIMUM_CHARACTERS:
        raise _broken(file, 1, f"{len(text)} characters", f"at most {MAXIMUM_CHARACTERS}")
    if "\0" in text:
        raise _broken(file, text.count("\n", 0, text.index("\0")) + 1, "a null byte", "text")
    begun: List[Tuple[Line, List[Line]]] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = _line(raw, number, file)
        if not line.words:
            continue
        if line.words[0] in SECTIONS:
            begun.append((line, []))
        elif begun:
            begun[-1][1].append(line)
        else:
            raise _broken(file, number, f"{line.words[0][:40]!a} outside a section", "a section")
    return tuple(
        Section(line.words[0], " ".join(line.words[1:]), line, tuple(lines))
        for line, lines in begun
    )


def _line(text: str, number: int, file: str) -> Line:
    words: List[str] = []
    word: List[str] = []
    inside, quote, expands, position = False, "", False, 0
    while position < len(text) and text[position] not in "\r":
        character = text[position]
        position += 1
        if character == "#" and not quote:
            break
        if character in "\"'" and quote in ("", character):
            quote, inside = "" if quote else character, True
        elif character in _SPACE and not quote:
            if inside:
                words.append("".join(word))
            word, inside = [], False
        else:
            if character == "\\" and quote != "'":
                if text[position : position + 1] == "x" and not _HEX.match(text, position + 1):
                    raise _broken(file, number, "\\x without a number", "two hexadecimal digits")
                character, position = _escape(text, position, quote)
            elif character == "$" and quote == '"':
                expands = True
            word.append(character)
            inside = True
    if quote:
        raise _broken(file, number, "a quote without an end", f"a closing {quote}")
    if inside:
        words.append("".join(word))
    return Line(tuple(words), number, expands)


def _escape(text: str, position: int, quote: str) -> Tuple[str, int]:
    """The character that a backslash before ``position`` makes, and where reading goes on."""
    following = text[position : position + 1]
    if following in _ESCAPED and following:
        return _ESCAPED[following], position + 1
    if following == "$" and quote:
        return "$", position + 1
    if following == "x":
        return chr(int(text[position + 1 : position + 3], 16)), position + 3
    return "\\", position


def _broken(file: str, line: int, found: str, expected: str) -> HostError:
    return HostError(
        "the gateway's configuration cannot be read",
        rule="GATEWAY-CONFIG",
        found=found,
        expected=expected,
        where=f"{file}:{line}",
        next_step="run the gateway's own configuration test and put the file right",
    )
