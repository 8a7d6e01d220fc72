# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that fit a terminal, measured in its columns and not in characters."""

from __future__ import annotations

from collections.abc import Iterator

from ..report import columns

__all__ = ["columns", "wrapped"]


def wrapped(text: str, width: int, indent: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns, all but the first indented.

    Broken between words, and inside a word only when it is wider than a line. At least one line.
    """
    if columns(text) <= width:
        return [text]
    lines, used = [""], 0
    for word in text.split(" "):
        for part in _parts(word, width - indent):
            size = columns(part)
            gap = " " if lines[-1].strip() else ""
            if used + len(gap) + size <= width:
                lines[-1] += gap + part
                used += len(gap) + size
            else:
                lines.append(" " * indent + part)
                used = indent + size
    return lines


def _parts(word: str, width: int) -> Iterator[str]:
    """A word in pieces that fit a line."""
    if columns(word) <= width:
        yield word
        return
    piece, size = "", 0
    for character in word:
        wide = columns(character)
        if size + wide > width:
            yield piece
            piece, size = "", 0
        piece, size = piece + character, size + wide
    yield piece
