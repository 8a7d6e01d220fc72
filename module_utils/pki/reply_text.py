# SPDX-License-Identifier: GPL-3.0-or-later
"""Text as portals, APIs and mail programs mangle it, and the base64 inside.

Everything undone here is a transport encoding or an editor's habit: quoting, quoted-printable,
HTML, JSON and percent escapes, typographic dashes, lost or doubled line ends. None of it can
turn one certificate into another, because base64 has none of these characters. Every pattern
has bounded repeats: time is linear in the length of the text.
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_DEPTH_OF_ESCAPES = 3  # JSON inside JSON inside a log line
_MIN_BARE = 256  # characters of base64 worth trying without any marker

# Portals and documents write "--- BEGIN CERTIFICATE---" too, so dashes are counted loosely.
_MARKER = re.compile(
    r"--[ \t]{0,8}(BEGIN|END)[ \t]{1,8}([A-Z0-9#][A-Z0-9# ]{0,60}?)[ \t]{0,8}-{2,20}"
)
_BOMS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
#: What word processors make of two or more hyphens, and characters nobody sees.
_TYPOGRAPHY: dict[int, str | None] = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u2014\u2015\u2e3a\u2e3b"), "--"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff\0"), None),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u2028\u2029\x85\x0b\x0c\r"), "\n"),
}
_ESCAPES = {"n": "\n", "r": "\n", "t": " ", "/": "/", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|([nrt/"\\]))')
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
# An equals sign before a line of dashes or another certificate is base64's own padding.
_SOFT_BREAK = re.compile(r"=[ \t]{0,8}\n(?![-\s&<>|]|MI|\Z)")
_QUOTED_PRINTABLE = re.compile(r"=([0-9A-F]{2})")
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
# No tag reaches over a marker: a stray "<word " must not swallow what stands between it and ">".
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9:]{0,40})(?:\s(?:[^<>-]|-(?!-)){0,2000})?/?>")
_INSIDE_LINES = frozenset(
    ["a", "b", "code", "em", "font", "i", "o:p", "span", "strong", "tt", "u", "wbr"]
)
_QUOTING = re.compile(r"^(?:[ \t]{0,4}[A-Za-z]{0,3}[>|]){1,20}", re.MULTILINE)
# RFC 1421 headers of a PEM block, and string literals of a program that go over several lines.
_HEADER = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,40}:.*$", re.MULTILINE)
_LITERAL = re.compile(r"[\"'][ \t]{0,8}[+,;]?[ \t]{0,8}$", re.MULTILINE)
_LINE_END = re.compile(r"=[ \t]{0,8}$", re.MULTILINE)
_QUOTES = str.maketrans("", "", "\"'\\")
_STANDARD = str.maketrans("-_", "+/")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
# DER begins with a sequence, PEM with dashes; either may be encoded once more.
_BARE_START = re.compile(r"(?:MI[A-Z]|LS0t|TUl[A-Z]|TFMw|VFVs)[A-Za-z0-9+/_-]{28}")
_BARE_LINE = re.compile(r"[A-Za-z0-9+/_\- \t]+={0,2}")
_BETWEEN = re.compile(r"[\"',;:<>(){}\[\]]")
_HEX = re.compile(r"[0-9A-Fa-f:\s]+")


def of(data: bytes) -> str:
    """Bytes as plain text with line feeds, everything above undone; never raises."""
    text = _decoded(data).replace("\r\n", "\n").translate(_TYPOGRAPHY)
    for _ in range(_MAX_DEPTH_OF_ESCAPES):
        if "\\" not in text:
            break
        text = _ESCAPE.sub(_unescaped, text)
    text = _SOFT_BREAK.sub("", text)
    text = _QUOTED_PRINTABLE.sub(_from_hex, text)
    text = _PERCENT.sub(_from_hex, text)
    text = _CDATA.sub("\n", text)
    text = _TAG.sub(lambda tag: "" if tag[1].lower() in _INSIDE_LINES else "\n", text)
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return _QUOTING.sub("", text.translate(_TYPOGRAPHY))


def _decoded(data: bytes) -> str:
    for bom, codec in _BOMS.items():
        if data.startswith(bom):
            return data.decode(codec, "replace")
    # UTF-16 and UTF-32 without a mark are read by dropping their NULs: a certificate is ASCII.
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _ESCAPES[found[2]]


def _from_hex(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def has_blocks(text: str) -> bool:
    """Whether a text has a BEGIN line of any kind."""
    return any(marker[1] == "BEGIN" for marker in _MARKER.finditer(text))


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block; ``content`` is empty when it cannot be decoded.

    One without an END line (``ended``) reaches to the next marker or the end of the text.
    """

    label: str
    content: bytes
    ended: bool


def blocks(text: str) -> Iterator[Block]:
    """Every PEM block of a text."""
    markers = list(_MARKER.finditer(text))
    for marker, following in itertools.zip_longest(markers, markers[1:]):
        if marker[1] == "BEGIN":
            end = following.start() if following is not None else len(text)
            ended = following is not None and following[1] == "END"
            content = _content(text[marker.end() : end])
            yield Block(" ".join(marker[2].split()), content, ended)


def _content(body: str) -> bytes:
    plain = _LITERAL.sub("", _HEADER.sub("", body.rstrip("-"))).translate(_QUOTES)
    return _base64("".join(_LINE_END.sub("", plain).split()))


def _base64(characters: str) -> bytes:
    """Standard or URL alphabet, with or without padding; empty when it is neither."""
    stripped = characters.rstrip("=").translate(_STANDARD)
    if not _BASE64.fullmatch(stripped):
        return b""
    try:
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def bare(text: str) -> Iterator[bytes]:
    """What base64 without markers decodes to: alone in a file, in JSON, XML or a data URI.

    Also a dump in hexadecimal digits that is all there is.
    """
    if len(text) >= _MIN_BARE and _HEX.fullmatch(text):
        digits = "".join(text.replace(":", "").split())
        yield bytes.fromhex(digits[: len(digits) // 2 * 2])
        return
    for piece in _BETWEEN.split(text):
        if len(piece) < _MIN_BARE:
            continue
        run: list[str] = []
        for line in map(str.strip, piece.split("\n")):
            if not line:
                continue  # a blank line between two lines of one certificate
            if not _BARE_LINE.fullmatch(line):
                yield from _of_run(run)
                run = []
            elif run or _BARE_START.match(line):
                run.append(line)
                if line.endswith("="):
                    yield from _of_run(run)
                    run = []
        yield from _of_run(run)


def _of_run(run: list[str]) -> Iterator[bytes]:
    characters = "".join("".join(run).split()).rstrip("=")
    if len(characters) >= _MIN_BARE:
        # Words of a mail may follow: what is behind the DER is left, so is a lone character.
        odd = len(characters) % 4 == 1
        yield _base64(characters[:-1] if odd else characters)
