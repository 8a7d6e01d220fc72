# SPDX-License-Identifier: GPL-3.0-or-later
"""A raft snapshot of Vault or OpenBao as a file: whole, unaltered, and of a bounded size.

It is a gzip'd tar of ``meta.json``, ``state.bin``, ``SHA256SUMS`` and ``SHA256SUMS.sealed``. The
state is encrypted by the server's barrier: without the unseal keys nobody can tell what is in it.
The digests tell damage, not malice; ``SHA256SUMS.sealed``, which would, only the server can read.
Read once from front to end, in pieces; nothing is unpacked and nothing but ``meta.json`` kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .errors import PkiError

RULE = "BACKUP-DAMAGED"
RULE_SIZE = "BACKUP-SIZE"
STATE, META, SUMS = "state.bin", "meta.json", "SHA256SUMS"
MEMBERS = frozenset({STATE, META, SUMS, f"{SUMS}.sealed"})
#: Members that are read into memory; a few hundred bytes each.
_SMALL = 65_536
_BLOCK = 512
_CHUNK = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_LINE = re.compile(r"([0-9a-f]{64}) [ *](meta\.json|state\.bin)")
# A state of zeroes would unfold a thousandfold; what was encrypted does not shrink.
_UNFOLDS = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot tells of itself; nothing of it is secret.

    Attributes:
        sha256: of the file as it is.
        size: bytes of the file.
        state_bytes: bytes of the storage in it.
        raft_index: the last change of the storage that is in it; 0 where it does not say.
    """

    sha256: str
    size: int
    state_bytes: int
    raft_index: int


def inspect(path: Path, largest: int) -> Snapshot:
    """Look a snapshot through.

    Args:
        path: the file; a link is not followed.
        largest: bytes that it may have, and twenty times as many unpacked.

    Raises:
        PkiError: BACKUP-DAMAGED for what is no snapshot, or not the one that was written;
            BACKUP-SIZE for one that is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise _too_large(path, f"{size} bytes", largest)
            return _looked_through(file, size, path, largest)
    except (OSError, ValueError) as exc:
        found = getattr(exc, "strerror", None) or "no such name"
    raise damaged(path, found, "a regular file that this run can read")


def _looked_through(file: BinaryIO, size: int, path: Path, largest: int) -> Snapshot:
    source = _Unpacked(file, path, largest * _UNFOLDS)
    members = {one.name: one for one in _members(source, path)}
    missing = sorted({STATE, META, SUMS} - set(members))
    if missing:
        raise damaged(path, f"no {', '.join(missing)} in it", "a snapshot of raft storage")
    source.to_the_end()
    told = dict(_told(members[SUMS].content, path))
    for name in (META, STATE):
        if told.get(name) != members[name].sha256:
            found = f"{name} is not what {SUMS} says"
            raise damaged(path, found, "the bytes that the server wrote")
    return Snapshot(
        sha256=source.sha256,
        size=size,
        state_bytes=members[STATE].size,
        raft_index=_index(members[META].content, path),
    )


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    sha256: str
    content: bytes = field(repr=False)


def _members(source: _Unpacked, path: Path) -> Iterator[_Member]:
    """Every file of the archive, each with a plain header: links and long names have none here."""
    seen: set[str] = set()
    while True:
        header = source.read(_BLOCK)
        if not any(header):
            return
        name, size = _header(header, path)
        if name not in MEMBERS or name in seen:
            raise damaged(path, f"a file {name!r} in it", "each of its four files once")
        seen.add(name)
        if name != STATE and size > _SMALL:
            raise damaged(path, f"{name} of {size} bytes", f"at most {_SMALL} bytes")
        digest, kept, left = hashlib.sha256(), bytearray(), size
        while left:
            part = source.read(min(left, _CHUNK))
            digest.update(part)
            if name != STATE:
                kept += part
            left -= len(part)
        source.read(-size % _BLOCK)
        yield _Member(name, size, digest.hexdigest(), bytes(kept))


def _header(block: bytes, path: Path) -> tuple[str, int]:
    """Name and size of a regular file, from a header whose own sum is right (POSIX ustar)."""
    plain = block[:148] + b" " * 8 + block[156:]
    try:
        wanted = int(block[148:156].strip(b" \0") or b"-", 8)
        size = int(block[124:136].strip(b" \0") or b"-", 8)
        name = block[:100].rstrip(b"\0").decode("ascii")
    except ValueError:
        wanted, size, name = -1, -1, ""
    if wanted != sum(plain) or size < 0 or block[156:157] not in (b"0", b"\0"):
        raise damaged(path, "a header that no snapshot has", "an archive of plain files")
    return name, size


def _told(content: bytes, path: Path) -> Iterator[tuple[str, str]]:
    for line in content.decode("ascii", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise damaged(path, f"a line of {SUMS} that names no file", "a digest and a name")
        yield found[2], found[1]


def _index(content: bytes, path: Path) -> int:
    try:
        value: Any = json.loads(content)
        index = value["Index"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged(path, f"{META} without an index", "the raft index of the snapshot") from None
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else 0


class _Unpacked:
    """The archive's bytes as they come out of gzip, and the file's own digest."""

    def __init__(self, file: BinaryIO, path: Path, most: int) -> None:
        self._file = file
        self._path = path
        self._left = most
        self._most = most
        self._digest = hashlib.sha256()
        self._gzip = zlib.decompressobj(_GZIP)
        self._buffer = bytearray()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._buffer) < size:
            if not self._more():
                raise damaged(self._path, "it ends in the middle", "a whole snapshot")
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part

    def to_the_end(self) -> None:
        """The rest: zeroes up to the end of gzip's stream, and nothing behind it."""
        while not any(self._buffer):
            self._buffer.clear()
            if not self._more():
                break
        if any(self._buffer) or self._gzip.unused_data or self._file.read(1):
            raise damaged(self._path, "something behind its end", "a snapshot and nothing else")

    def _more(self) -> bool:
        """Unpack a little more; False at the end of the stream."""
        if self._gzip.eof:
            return False
        data = self._gzip.unconsumed_tail
        if not data:
            data = self._file.read(_CHUNK)
            self._digest.update(data)
        if not data:
            raise damaged(self._path, "it ends in the middle", "a whole snapshot")
        try:
            part = self._gzip.decompress(data, _CHUNK)
        except zlib.error:
            raise damaged(self._path, "no gzip, or damaged", "a gzip'd archive") from None
        self._left -= len(part)
        if self._left < 0:
            raise _too_large(self._path, f"more than {self._most} bytes unpacked", self._most)
        self._buffer += part
        return True


def damaged(path: Path, found: str, expected: str) -> PkiError:
    """The refusal of a file that is no whole snapshot."""
    return PkiError(
        f"{path.name} is not a snapshot that could be restored",
        rule=RULE,
        found=found,
        expected=expected,
        where=str(path),
        next_step="take another backup, and compare this file with its copy elsewhere; "
        "nothing was changed",
    )


def _too_large(path: Path, found: str, largest: int) -> PkiError:
    return PkiError(
        f"{path.name} is larger than a snapshot may be",
        rule=RULE_SIZE,
        found=found,
        expected=f"at most {largest} bytes",
        where=str(path),
        next_step="look whether it is a snapshot at all, or raise backup_largest; "
        "nothing was changed",
    )
