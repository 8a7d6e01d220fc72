# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a CEL expression to a tree: what the linter and the mutation test look at.

The engine compiles expressions and tells which variables and functions they name
(``Program.references()``), but not how they hang together: whether ``policy.x`` exists, whether a
number stands in a rule, what an operator could be mistaken for. No other dependency of this
project reads CEL, so this small reader does. It knows the part of CEL that policies use and
refuses the rest: no messages, no optional fields, no comprehension of two variables. It judges
nothing and runs nothing; a test compares its reading with the engine's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from .cel_tree import (
    BINDING,
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
)

T = TypeVar("T")
LONGEST = 4000
DEEPEST = 60
#: Macros over a list or map, and how many arguments follow the variable.
MACROS = {"all": (1,), "exists": (1,), "exists_one": (1,), "filter": (1,), "map": (1, 2)}
_KEYWORDS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let",
     "loop", "namespace", "package", "return", "var", "void", "while")
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f]|//[^\n]*)+)
    |(?P<text>(?:[bB][rR]?|[rR][bB]?)?(?:'''|\"""|'|\"))
    |(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<int>(?:0[xX][0-9a-fA-F]+|[0-9]+)[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|&&|\|\||[<>!+\-*/%?:.,()\[\]{}])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\?\"'`])|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<wrong>.|$))",
    re.DOTALL,
)
_PLAIN = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class NotCel(ValueError):
    """Text that is no expression of the part of CEL that is read here; ``at`` is the offset."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(f"{problem}, at character {at + 1}")
        self.at = at


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    value: str | bytes = ""


def parse(expression: str) -> Node:
    """The tree of an expression.

    Raises:
        NotCel: it cannot be read, is longer than LONGEST characters or nested deeper than DEEPEST.
    """
    if len(expression) > LONGEST:
        raise NotCel(f"longer than {LONGEST} characters", LONGEST)
    reader = _Reader(list(_tokens(expression)))
    node = reader.choice()
    reader.end()
    return node


def _tokens(expression: str) -> Iterator[_Token]:
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None:
            raise NotCel(f"unknown character {expression[at]!r}", at)
        kind = str(found.lastgroup)
        if kind == "text":
            token, at = _quoted(expression, at, found.group())
            yield token
            continue
        if kind != "space":
            yield _Token(kind, found.group(), at)
        at = found.end()
    yield _Token("end", "the end", at)


def _quoted(expression: str, start: int, opening: str) -> tuple[_Token, int]:
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    at = start + len(opening)
    begin = at
    while not expression.startswith(quote, at):
        if at >= len(expression) or (len(quote) == 1 and expression[at] in "\r\n"):
            raise NotCel("text without an end", start)
        at += 2 if expression[at] == "\\" and "r" not in prefix else 1
    body = expression[begin:at]
    value = body if "r" in prefix else _unescaped(body, begin)
    if "b" in prefix:
        # In bytes an escape is one octet, anything else its UTF-8.
        octets = body.encode() if "r" in prefix else _octets(body, begin)
        return _Token("bytes", body, start, octets), at + len(quote)
    return _Token("string", body, start, value), at + len(quote)


def _unescaped(body: str, begin: int) -> str:
    return _ESCAPE.sub(lambda found: _character(found, begin), body)


def _octets(body: str, begin: int) -> bytes:
    result, at = b"", 0
    for found in _ESCAPE.finditer(body):
        result += body[at : found.start()].encode()
        character = _character(found, begin)
        one_octet = found.group("x") or found.group("octal")
        result += bytes([ord(character)]) if one_octet else character.encode()
        at = found.end()
    return result + body[at:].encode()


def _character(found: re.Match[str], begin: int) -> str:
    if plain := found.group("plain"):
        return _PLAIN.get(plain, plain)
    for group in ("x", "u", "U"):
        if digits := found.group(group):
            code = int(digits, 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                break
            return chr(code)
    if octal := found.group("octal"):
        return chr(int(octal, 8))
    raise NotCel(f"unknown escape {found.group()}", begin + found.start())


class _Reader:
    """Recursive descent, one method a level of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def end(self) -> None:
        if self._peek.kind != "end":
            raise self._unexpected()

    def choice(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotCel(f"nested deeper than {DEEPEST}", self._peek.at)
        node = self._binary(2)
        if mark := self._take("?"):
            then = self._binary(2)
            self._expect(":")
            node = Choice(node, then, self.choice(), mark.at)
        self._depth -= 1
        return node

    def _binary(self, level: int) -> Node:
        if level == 7:
            return self._unary()
        node = self._binary(level + 1)
        while BINDING.get(self._peek.text) == level and self._peek.kind in ("sign", "name"):
            operator = self._advance()
            node = Binary(operator.text, node, self._binary(level + 1), operator.at)
        return node

    def _unary(self) -> Node:
        sign = self._take("!") or self._take("-")
        if sign is None:
            return self._member()
        if self._peek.kind == "sign" and self._peek.text in "!-":
            # The engine takes two away unseen, so that !!0 is a number and !(!0) an error.
            raise NotCel("! or - in a row", sign.at)
        return Unary(sign.text, self._member(), sign.at)

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if dot := self._take("."):
                node = self._field(node, dot)
            elif bracket := self._take("["):
                node = Index(node, self.choice(), bracket.at)
                self._expect("]")
            else:
                return node

    def _field(self, target: Node, dot: _Token) -> Node:
        name = self._advance()
        if name.kind != "name" or name.text in _KEYWORDS or name.text == "in":
            raise NotCel(f"{name.text} is no field's name", name.at)
        if not self._take("("):
            return Member(target, name.text, dot.at)
        arguments = self._items(")", self.choice)
        if name.text in MACROS:
            return _each(name, target, arguments)
        return Call(name.text, target, tuple(arguments), name.at)

    def _primary(self) -> Node:
        token = self._advance()
        match token.kind, token.text:
            case "sign", "(":
                node = self.choice()
                self._expect(")")
                return node
            case "sign", "[":
                return ListOf(tuple(self._items("]", self.choice)), token.at)
            case "sign", "{":
                return MapOf(tuple(self._items("}", self._entry)), token.at)
            case "name", _:
                return self._named(token)
            case (("string" | "bytes"), _):
                return Literal(token.value, at=token.at)
            case "float", _:
                return Literal(float(token.text), at=token.at)
            case "int", _:
                digits = token.text.rstrip("uU")
                unsigned = digits != token.text
                return Literal(
                    int(digits, 16 if digits[1:2] in ("x", "X") else 10), unsigned, token.at
                )
        self._next -= 1
        raise self._unexpected()

    def _named(self, token: _Token) -> Node:
        if token.text in _KEYWORDS:
            return Literal(_KEYWORDS[token.text], at=token.at)
        if token.text in _RESERVED:
            raise NotCel(f"{token.text} is a reserved word", token.at)
        if not self._take("("):
            return Name(token.text, token.at)
        arguments = self._items(")", self.choice)
        if token.text != "has":
            return Call(token.text, None, tuple(arguments), token.at)
        if len(arguments) == 1 and isinstance(arguments[0], Member):
            return Has(arguments[0], token.at)
        raise NotCel("has() takes one field", token.at)

    def _entry(self) -> tuple[Node, Node]:
        key = self.choice()
        self._expect(":")
        return key, self.choice()

    def _items(self, closing: str, read: Callable[[], T]) -> list[T]:
        items: list[T] = []
        while not self._take(closing):
            if items:
                self._expect(",")
                if closing != ")" and self._take(closing):
                    break
            items.append(read())
        return items

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        token = self._peek
        if token.kind == "end":
            raise self._unexpected()
        self._next += 1
        return token

    def _take(self, sign: str) -> _Token | None:
        if self._peek.kind == "sign" and self._peek.text == sign:
            return self._advance()
        return None

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise NotCel(f"{self._peek.text} where {sign} should be", self._peek.at)

    def _unexpected(self) -> NotCel:
        return NotCel(f"{self._peek.text} is not expected here", self._peek.at)


def _each(name: _Token, over: Node, arguments: list[Node]) -> Each:
    variable, bodies = (arguments[0], arguments[1:]) if arguments else (None, [])
    if not isinstance(variable, Name) or len(bodies) not in MACROS[name.text]:
        raise NotCel(f"{name.text}() takes a variable and an expression over it", name.at)
    return Each(name.text, over, variable.name, tuple(bodies), name.at)
