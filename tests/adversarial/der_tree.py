# SPDX-License-Identifier: GPL-3.0-or-later
"""DER as a tree that can be changed in one place and encoded again with right lengths.

Octet strings and bit strings that hold DER (extensions, public keys) are opened, too, so that
a change reaches what lies inside them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pki import der

_CONSTRUCTED = 0x20
_OCTETS, _BITS = 0x04, 0x03
MAX_NODES = 3000


@dataclass
class Node:
    """One element. ``children`` are what ``content`` consists of, after ``prefix`` octets."""

    tag: int
    content: bytes = b""
    children: list[Node] | None = None
    prefix: bytes = b""
    indefinite: bool = False
    long_length: bool = False

    def encode(self) -> bytes:
        content = self.content
        if self.children is not None:
            content = self.prefix + b"".join(child.encode() for child in self.children)
        if self.indefinite:
            return bytes([self.tag, 0x80]) + content + b"\0\0"
        size = len(content)
        if size < 0x80 and not self.long_length:
            return bytes([self.tag, size]) + content
        octets = size.to_bytes(max(1, (size.bit_length() + 7) // 8) + self.long_length, "big")
        return bytes([self.tag, 0x80 | len(octets)]) + octets + content

    def copy(self) -> Node:
        children = None if self.children is None else [child.copy() for child in self.children]
        return Node(self.tag, self.content, children, self.prefix)

    def walk(self) -> Iterator[Node]:
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children or [])


def parse(data: bytes) -> Node:
    """The tree of the first element of ``data``; ValueError when there is none."""
    return _node(der.element(data), 0)


def _node(found: der.Element, depth: int) -> Node:
    opened = None
    prefix = b""
    if depth < 30 and found.content:
        if found.tag & _CONSTRUCTED or found.tag == _OCTETS:
            opened = _inside(found.content, depth)
        elif found.tag == _BITS and found.content[:2] == b"\0\x30":
            prefix, opened = b"\0", _inside(found.content[1:], depth)
    return Node(found.tag, found.content, opened, prefix)


def _inside(content: bytes, depth: int) -> list[Node] | None:
    try:
        return [_node(child, depth + 1) for child in der.elements(content)]
    except ValueError:
        return None


# --- changes of one node ------------------------------------------------------------------

STRINGS = (
    b"", b"\0", b" ", b".", b"\xff\xfe", b"\x1b[2J", "\u202ee".encode(), b"A" * 70,
    b"{{ 1 }}", b"*", b"..", "é".encode(), "é".encode("latin-1"), b"x\0y", b"\n",
)  # fmt: skip
NUMBERS = (
    b"", b"\0", b"\x01", b"\xff", b"\x80", b"\x7f\xff\xff\xff", b"\0\0\x01", b"\xff\xff",
    b"\0" + b"\xff" * 20, b"\x7f" + b"\xff" * 19, b"\x01" + b"\0" * 400,
)  # fmt: skip
TAGS = (
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1C, 0x1E,
    0x30, 0x31, 0x24, 0x80, 0x81, 0x82, 0xA0, 0xA1, 0xA2, 0xA3, 0x1F, 0x00,
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A named way to change one node in place, given the tree's other nodes as donors."""

    name: str
    apply: Callable[[random.Random, Node, Sequence[Node]], None]
    wants: Callable[[Node], bool] = field(default=lambda node: True)


def _leaf(node: Node) -> bool:
    return node.children is None and bool(node.content)


def _inner(node: Node) -> bool:
    return bool(node.children)


def _retag(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    node.tag = rng.choice(TAGS)


def _flip(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    content = bytearray(node.content)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    node.content = bytes(content)


def _set(values: Sequence[bytes]) -> Callable[..., None]:
    def change(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
        node.content, node.children = rng.choice(values), None

    return change


def _cut(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    node.content = node.content[: rng.randrange(len(node.content))]


def _grow(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    more = rng.choice((b"\0", b"a", b" ", b".", b"\0.evil.example", node.content))
    node.content = rng.choice((node.content + more, more + node.content))


def _remove(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    assert node.children
    del node.children[rng.randrange(len(node.children))]


def _repeat(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    assert node.children
    at = rng.randrange(len(node.children))
    node.children.insert(at, node.children[at].copy())


def _swap(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    assert node.children
    rng.shuffle(node.children)


def _graft(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    assert node.children
    donor = rng.choice(donors).copy()
    at = rng.randrange(len(node.children) + 1)
    if rng.random() < 0.5 or at == len(node.children):
        node.children.insert(at, donor)
    else:
        node.children[at] = donor


def _wrap(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    inner = Node(node.tag, node.content, node.children, node.prefix)
    for _ in range(rng.choice((1, 1, 2, 40))):
        inner = Node(0x30, b"", [inner])
    node.tag, node.children, node.prefix = inner.tag, inner.children, b""


def _indefinite(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    node.indefinite = True


def _long(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    node.long_length = True


def _empty(rng: random.Random, node: Node, donors: Sequence[Node]) -> None:
    node.content, node.children, node.prefix = b"", None, b""


CHANGES = (
    Change("another tag", _retag),
    Change("a bit flipped", _flip, _leaf),
    Change("another string", _set(STRINGS), _leaf),
    Change("another number", _set(NUMBERS), _leaf),
    Change("cut short", _cut, _leaf),
    Change("grown", _grow, _leaf),
    Change("a part removed", _remove, _inner),
    Change("a part repeated", _repeat, _inner),
    Change("parts in another order", _swap, _inner),
    Change("a part from elsewhere", _graft, _inner),
    Change("wrapped", _wrap),
    Change("without a length", _indefinite, _inner),
    Change("a length in too many octets", _long),
    Change("emptied", _empty),
)


def change_one(rng: random.Random, root: Node, donors: Sequence[Node]) -> str:
    """Change one node of ``root`` in place; what was done, in words."""
    nodes = [node for _, node in zip(range(MAX_NODES), root.walk(), strict=False)]
    change = rng.choice(CHANGES)
    fitting = [node for node in nodes if change.wants(node)] or nodes[:1]
    node = rng.choice(fitting)
    if change.wants(node):
        change.apply(rng, node, donors)
    return change.name
