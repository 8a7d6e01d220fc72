# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a mail that was saved as a whole: bodies and attachments, transport undone.

The standard library's parser does the work. Its time and stack depend on how deep parts nest
and on how long a header is, so both are bounded before it sees a byte.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

_MAX_CONTAINERS = 16  # multipart and message parts, as deep as they may nest
_MAX_PARTS = 256
_MAX_BOUNDARIES = 4000  # lines of two hyphens, which a PEM block has two of
_MAX_HEADER = 4000  # characters
_HEAD = 64 * 1024
_MIME = re.compile(rb"^Content-(?:Type|Transfer-Encoding)[ \t]{0,8}:", re.IGNORECASE | re.MULTILINE)
_CONTAINER = re.compile(
    rb"^Content-Type[ \t]{0,8}:\s{0,80}(?:multipart|message)/", re.IGNORECASE | re.MULTILINE
)
_HEADERS = re.compile(
    rb"^Content-[A-Za-z-]{1,40}[ \t]{0,8}:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY = re.compile(rb"^--", re.MULTILINE)
# Every empty line of a delivery report becomes a part of its own; no certificate is in one.
_REPORT = re.compile(
    rb"^Content-Type[ \t]{0,8}:\s{0,80}message/delivery", re.IGNORECASE | re.MULTILINE
)
_FIRST_LINE = re.compile(rb"\s{0,80}(?:From |[A-Za-z][A-Za-z0-9-]{0,60}:)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: ``alternative`` when it is HTML and there is a plain text, which is better."""

    data: bytes
    where: str
    alternative: bool


def parts(data: bytes) -> tuple[Part, ...]:
    """The leaves of a mail with MIME headers, in their order; empty for anything else."""
    if not _FIRST_LINE.match(data) or not _MIME.search(data[:_HEAD]):
        return ()
    if _exceeds_bounds(data):
        return ()
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(data)
    leaves = list(_leaves(message))
    plain = any(one.get_content_type() == "text/plain" for one in leaves)
    return tuple(
        Part(
            _payload(one),
            f"part {number} of ",
            plain and one.get_content_type() == "text/html",
        )
        for number, one in enumerate(leaves, start=1)
    )


def _exceeds_bounds(data: bytes) -> bool:
    lines = data.replace(b"\r", b"\n")  # the parser ends a line at either
    longest = max((len(found[0]) for found in _HEADERS.finditer(lines)), default=0)
    return (
        sum(1 for _ in _CONTAINER.finditer(lines)) > _MAX_CONTAINERS
        or sum(1 for _ in _BOUNDARY.finditer(lines)) > _MAX_BOUNDARIES
        or longest > _MAX_HEADER
        or _REPORT.search(lines) is not None
    )


def _leaves(message: Message) -> Iterator[Message]:
    for number, part in enumerate(message.walk()):
        if number >= _MAX_PARTS:
            return
        if not part.is_multipart():
            yield part


def _payload(part: Message) -> bytes:
    """The content with its transfer encoding undone; what cannot be undone stays as it is."""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""
