# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and rewrite a rendered gateway configuration, word by word. Pure: text in, text out.

The lab proves things on a second instance of the configuration that is really deployed,
so it moves that text to another place instead of rendering a text of its own. Working on
words and blocks, and not on lines, keeps quoted names with semicolons or braces in them
from being torn apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible.module_utils.pki.errors import PkiError

Change = Callable[[tuple[tuple[str, ...], ...], tuple[str, ...]], tuple[str, ...]]
"""(words of the enclosing blocks, words of this directive) -> its new words; () drops it."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its value without quotes and escapes, and where it stands."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive or block. ``end`` is behind its ``;`` or ``}``."""

    words: tuple[Word, ...]
    end: int
    body: tuple[Directive, ...] | None = None
    body_start: int = 0

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(word.value for word in self.words)


@dataclass(slots=True)
class _Reader:
    text: str
    place: int = 0
    pending: list[Word] = field(default_factory=list)

    def block(self, depth: int) -> tuple[Directive, ...]:
        found: list[Directive] = []
        while self._skip_blank():
            char = self.text[self.place]
            if char == "}":
                if depth == 0 or self.pending:
                    raise _unreadable(self.text, self.place)
                return tuple(found)
            if char == ";":
                self.place += 1
                found.append(Directive(self._take(), self.place))
            elif char == "{":
                self.place += 1
                words, start = self._take(), self.place
                body = self.block(depth + 1)
                self.place += 1
                found.append(Directive(words, self.place, body, start))
            else:
                self.pending.append(self._word())
        if depth or self.pending:
            raise _unreadable(self.text, len(self.text))
        return tuple(found)

    def _take(self) -> tuple[Word, ...]:
        words, self.pending = tuple(self.pending), []
        if not words:
            raise _unreadable(self.text, self.place)
        return words

    def _skip_blank(self) -> bool:
        while self.place < len(self.text):
            if self.text[self.place] == "#":
                end = self.text.find("\n", self.place)
                self.place = len(self.text) if end < 0 else end
            elif self.text[self.place].isspace():
                self.place += 1
            else:
                return True
        return False

    def _word(self) -> Word:
        start = self.place
        quote = self.text[start] if self.text[start] in "\"'" else ""
        self.place += len(quote)
        value: list[str] = []
        while self.place < len(self.text):
            char = self.text[self.place]
            if char == "\\" and self.place + 1 < len(self.text):
                value.append(_unescape(self.text[self.place + 1]))
                self.place += 2
                continue
            if quote and char == quote:
                self.place += 1
                return Word("".join(value), start, self.place)
            # "${name}" is a variable, not the beginning of a block.
            opens_block = char == "{" and value[-1:] != ["$"]
            if not quote and (char.isspace() or char == ";" or opens_block):
                return Word("".join(value), start, self.place)
            value.append(char)
            self.place += 1
        raise _unreadable(self.text, start)


def _unescape(char: str) -> str:
    if char in "\"'\\":
        return char
    return {"t": "\t", "r": "\r", "n": "\n"}.get(char, "\\" + char)


def _unreadable(text: str, place: int) -> PkiError:
    line = text.count("\n", 0, place) + 1
    return PkiError(
        "the gateway configuration cannot be read",
        rule="LAB-GATEWAY-CONF",
        found=f"unbalanced words, quotes or braces at line {line}",
        expected="directives that end in ; and blocks in braces",
        next_step="let the gateway role write it again",
    )


def parse(text: str) -> tuple[Directive, ...]:
    """The directives of one file. Raises PkiError when it is not balanced."""
    return _Reader(text).block(0)


def walk(
    directives: tuple[Directive, ...], parents: tuple[tuple[str, ...], ...] = ()
) -> Iterator[tuple[tuple[tuple[str, ...], ...], Directive]]:
    """Every directive with the words of the blocks around it, outermost first."""
    for directive in directives:
        yield parents, directive
        if directive.body is not None:
            yield from walk(directive.body, (*parents, directive.values))


def values(text: str, name: str) -> list[tuple[str, ...]]:
    """The arguments of every directive called ``name``, in order."""
    found = (directive.values for _, directive in walk(parse(text)))
    return [words[1:] for words in found if words[0] == name]


def has_block(text: str, name: str) -> bool:
    """Whether the file has a block called ``name`` at its outermost level."""
    return any(d.body is not None and d.values[0] == name for d in parse(text))


def quote(word: str) -> str:
    """A word as the configuration must spell it."""
    if word and not any(char.isspace() or char in "\"'\\;{}#" for char in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rewrite(text: str, change: Change) -> str:
    """``text`` with every directive passed through ``change``; what stays keeps its spelling."""
    edits: list[tuple[int, int, str]] = []
    dropped_until = -1
    for parents, directive in walk(parse(text)):
        start = directive.words[0].start
        if start < dropped_until:
            continue
        old = directive.values
        new = change(parents, old)
        if not new:
            edits.append((start, directive.end, ""))
            dropped_until = directive.end
        elif new != old:
            edits.append((start, directive.words[-1].end, _spell(text, directive.words, new)))
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _spell(text: str, old: tuple[Word, ...], new: tuple[str, ...]) -> str:
    kept = {word.value: text[word.start : word.end] for word in old}
    return " ".join(kept.get(word) or quote(word) for word in new)


def insert(text: str, block: Callable[[tuple[str, ...], Directive], bool], line: str) -> str:
    """``text`` with ``line`` put first in every block that ``block(words, directive)`` picks."""
    places = [
        directive.body_start
        for _, directive in walk(parse(text))
        if directive.body is not None and block(directive.values, directive)
    ]
    for place in sorted(places, reverse=True):
        text = text[:place] + "\n" + line + text[place:]
    return text


@dataclass(frozen=True, slots=True)
class Relocation:
    """Where a copy of a gateway goes. Every entry must be found in the configuration.

    Attributes:
        root: directory of the original and of the copy.
        ports: listening port of the original -> of the copy.
        files: path of the original's file -> path the copy uses instead.
        issuers: allowed issuer's DN (RFC 2253) -> the DN the copy allows instead.
    """

    root: tuple[str, str]
    ports: Mapping[int, int]
    files: Mapping[str, str] = field(default_factory=dict)
    issuers: Mapping[str, str] = field(default_factory=dict)


def relocate(files: Mapping[str, str], relocation: Relocation) -> dict[str, str]:
    """The same configuration files for another root, other ports, other trust.

    Raises:
        PkiError (LAB-RELOCATE): an entry of the relocation matched nothing, a listener or
            the old root was left. The copy would then share something with the original.
    """
    used: set[str] = set()

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        if words[0] == "listen":
            return ("listen", _listener(words[1], relocation.ports, used), *words[2:])
        return tuple(_moved(word, relocation, used) for word in words)

    moved = {name: rewrite(text, change) for name, text in files.items()}
    wanted = {str(port) for port in relocation.ports} | set(relocation.files)
    wanted |= set(relocation.issuers)
    unused = sorted(wanted - used)
    if unused:
        raise _not_moved("not in the gateway configuration: " + ", ".join(unused))
    old = relocation.root[0] + "/"
    for name, text in moved.items():
        if old in text and not relocation.root[1].startswith(old):
            raise _not_moved(f"{name} still names a path below {relocation.root[0]}")
    return moved


def _listener(listener: str, ports: Mapping[int, int], used: set[str]) -> str:
    host, _, port = listener.rpartition(":")
    if not port.isdigit() or int(port) not in ports:
        raise _not_moved(f"the listener {listener} has no new port")
    used.add(port)
    return f"{host}:{ports[int(port)]}" if host else str(ports[int(port)])


def _moved(word: str, relocation: Relocation, used: set[str]) -> str:
    for table in (relocation.files, relocation.issuers):
        if word in table:
            used.add(word)
            return table[word]
    old, new = relocation.root
    return new + word[len(old) :] if word == old or word.startswith(old + "/") else word


def _not_moved(found: str) -> PkiError:
    return PkiError(
        "the second instance would share something with the deployed gateway",
        rule="LAB-RELOCATE",
        found=found,
        expected="every listener, path and allowed issuer moved to the copy",
        next_step="compare the deployed configuration with the gateway role's template",
    )
