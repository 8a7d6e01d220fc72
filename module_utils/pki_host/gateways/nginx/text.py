# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx's configuration language: text to a tree of directives, exactly as nginx reads it.

Pure. The rules are those of nginx's own tokeniser, odd ones included: a quote begins only at the
start of a word, ``#`` is a comment only there, ``${`` does not open a block, and a backslash
takes the special meaning from any character. What nginx would refuse is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Tuple

from ...errors import HostError

MAXIMUM_CHARACTERS = 1_048_576
MAXIMUM_DEPTH = 16
_SPACE = " \t\r\n"
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}


@dataclass(frozen=True)
class Directive:
    """A directive: its name, its words, and what its block holds (nothing without one)."""

    name: str
    words: Tuple[str, ...]
    line: int
    block: Tuple[Directive, ...] = ()
    is_block: bool = False

    def __str__(self) -> str:
        return " ".join((self.name, *self.words))


def parse(text: str, file: str) -> Tuple[Directive, ...]:
    """The directives of a file; includes are directives like any other and not followed.

    Raises:
        HostError: GATEWAY-CONFIG, with the line, for what nginx would not load either.
    """
    if len(text) > MAXIMUM_CHARACTERS:
        raise _broken(file, 1, f"{len(text)} characters", f"at most {MAXIMUM_CHARACTERS}")
    statements = _statements(text, file)
    return tuple(_block(statements, file, 0))


# A statement is its words, the character that ended it (";", "{", "}" or "" at the end of the
# file) and the line it ended on.
_Statement = Tuple[Tuple[str, ...], str, int]


def _block(statements: Iterator[_Statement], file: str, depth: int) -> List[Directive]:
    found: List[Directive] = []
    if depth > MAXIMUM_DEPTH:
        raise _broken(file, 0, f"blocks nested {depth} deep", f"at most {MAXIMUM_DEPTH}")
    for words, end, line in statements:
        if end == "}":
            if depth == 0:
                raise _broken(file, line, "a closing brace too many", "balanced braces")
            return found
        if end == "":
            if depth:
                raise _broken(file, line, "the end of the file", "a closing brace")
            return found
        inside = tuple(_block(statements, file, depth + 1)) if end == "{" else ()
        found.append(Directive(words[0], words[1:], line, inside, end == "{"))
    return found


def _statements(text: str, file: str) -> Iterator[_Statement]:
    words: List[str] = []
    position, line, length = 0, 1, len(text)
    while position < length:
        character = text[position]
        if character in _SPACE:
            line += character == "\n"
            position += 1
        elif character == "#":
            position = _end_of_line(text, position)
        elif character in ";{}":
            if bool(words) == (character == "}"):
                raise _broken(file, line, f"an unexpected {character!r}", "a directive")
            yield tuple(words), character, line
            words = []
            position += 1
        else:
            start = position
            word, position = _word(text, position, file, line)
            words.append(word)
            line += text.count("\n", start, position)
    if words:
        raise _broken(file, line, "the end of the file", "';' or a block")
    yield (), "", line


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _word(text: str, start: int, file: str, line: int) -> Tuple[str, int]:
    """The word that begins at ``start``, and where reading goes on."""
    if text[start] in "\"'":
        return _quoted(text, start, file, line)
    position, after_dollar = start, False
    while position < len(text):
        character = text[position]
        if character == "{" and after_dollar:
            position += 1
            continue
        if character in _SPACE or character in ";{":
            return _unescaped(text[start:position]), position
        after_dollar = character == "$"
        position += 2 if character == "\\" else 1
    raise _broken(file, line, "the end of the file", "';' or a block")


def _quoted(text: str, start: int, file: str, line: int) -> Tuple[str, int]:
    quote, position = text[start], start + 1
    while position < len(text) and text[position] != quote:
        position += 2 if text[position] == "\\" else 1
    if position >= len(text):
        raise _broken(file, line, "a quote without an end", f"a closing {quote}")
    after = text[position + 1 : position + 2]
    if after and after not in _SPACE and after not in ";{)":
        raise _broken(file, line, f"{after!r} right after a quote", "a space, ';' or '{'")
    return _unescaped(text[start + 1 : position]), position + 1


def _unescaped(raw: str) -> str:
    if "\\" not in raw:
        return raw
    plain: List[str] = []
    position = 0
    while position < len(raw):
        following = raw[position + 1 : position + 2]
        if raw[position] == "\\" and following and following in "\"'\\":
            plain.append(following)
            position += 2
        elif raw[position] == "\\" and following in _CONTROLS:
            plain.append(_CONTROLS[following])
            position += 2
        else:
            plain.append(raw[position])
            position += 1
    return "".join(plain)


def _broken(file: str, line: int, found: str, expected: str) -> HostError:
    return HostError(
        "the gateway's configuration cannot be read",
        rule="GATEWAY-CONFIG",
        found=found,
        expected=expected,
        where=f"{file}:{line}" if line else file,
        next_step="run the gateway's own configuration test and put the file right",
    )
