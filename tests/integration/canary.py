# SPDX-License-Identifier: GPL-3.0-or-later
"""Find secrets where they must not be, in every dress they leak in.

A secret rarely leaks as it is. It comes out base64-encoded in a diff, hex-dumped in a
trace, JSON-escaped in a result, or as one stray line of a PEM file in an error. So each
secret is turned into *needles*: short windows of every such encoding, each with a name.
A finding says which needle was seen and where, and never shows the secret.

Public numbers are no secret: an RSA modulus stands in every certificate. Windows that lie
wholly inside the public key are therefore left out.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives import serialization

SHORTEST = 16  # bytes of a needle: fewer would be found by chance
_WINDOW = 24  # raw bytes of one window; 32 characters of base64
_COLUMNS = 64
_COLON_BYTES = 8  # openssl prints 15 bytes a line, which always hold 8 aligned ones
_NOISE = re.compile(rb"[\0]{64,}")


@dataclass(frozen=True)
class Finding:
    """One sighting: whose secret, in which encoding, where."""

    secret: str
    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.secret} as {self.kind} in {self.place}"


@dataclass
class Scanner:
    """Knows secrets by name; ``scan_*`` return findings, an empty tuple is good news."""

    _needles: dict[bytes, tuple[str, str]] = field(default_factory=dict, repr=False)
    _index: dict[bytes, list[bytes]] = field(default_factory=dict, repr=False)

    # -- learning ----------------------------------------------------------------------

    def add_key(self, name: str, pem: str | bytes) -> None:
        """A private key, from any unencrypted PEM text of it."""
        data = pem.encode() if isinstance(pem, str) else pem
        key = serialization.load_pem_private_key(data, password=None)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for label, layout in (
            ("pkcs8", serialization.PrivateFormat.PKCS8),
            ("pkcs1", serialization.PrivateFormat.TraditionalOpenSSL),
        ):
            der, text = (
                key.private_bytes(encoding, layout, serialization.NoEncryption())
                for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM)
            )
            self._add_stream(name, f"-{label}", der, public)
            self._add_pem(name, label, text, public)

    def add_text(self, name: str, secret: str | bytes) -> None:
        """A token, passphrase or credential: something that is a secret as a whole."""
        data = secret.encode() if isinstance(secret, str) else secret
        if len(data) < SHORTEST:
            raise ValueError(f"{name} is too short to be recognised: {SHORTEST} bytes at least")
        self._add(name, "raw", data)
        self._add_stream(name, "", data, b"")

    def _add_pem(self, name: str, label: str, text: bytes, public: bytes) -> None:
        for line in text.splitlines():
            if line.startswith(b"-----"):
                continue
            if len(line) == _COLUMNS and base64.b64decode(line) not in public:
                self._add(name, f"pem-line-{label}", line)
        # Line ends are what tells an escaped or a raw PEM from its single lines.
        lines = text.splitlines()
        for first, second in pairwise(lines):
            if second.startswith(b"-----") or first.startswith(b"-----"):
                continue
            if base64.b64decode(first) in public or base64.b64decode(second) in public:
                continue
            for kind, ending in (("raw", b"\n"), ("raw", b"\r\n"), ("json", b"\\n")):
                self._add(name, f"{kind}-{label}", first[-_WINDOW:] + ending + second[:_WINDOW])

    def _add_stream(self, name: str, suffix: str, data: bytes, public: bytes) -> None:
        """The encodings of a run of bytes that does not depend on where lines end."""
        for window in _windows(data, _WINDOW):
            if window in public:
                continue
            if suffix:
                self._add(name, f"der{suffix}", window)
            for kind, text in (
                ("hex-lower", window.hex()),
                ("hex-upper", window.hex().upper()),
            ):
                self._add(name, kind + suffix, text.encode())
        for window in _windows(data, _COLON_BYTES):
            if window in public:
                continue
            for separator in (":", " "):
                text = window.hex(separator)
                self._add(name, f"hex-separated{suffix}", text.encode())
                self._add(name, f"hex-separated{suffix}", text.upper().encode())
        for shift in range(3):
            for window in _windows(data[shift:], _WINDOW):
                if window in public:
                    continue
                # Whole groups of three bytes only: what is left of them depends on the
                # bytes around, and so does the padding.
                whole = window[: len(window) - len(window) % 3]
                for kind, encode in (
                    ("base64", base64.b64encode),
                    ("base64-url", base64.urlsafe_b64encode),
                ):
                    self._add(name, f"{kind}-shift{shift}{suffix}", encode(whole))

    def _add(self, name: str, kind: str, needle: bytes) -> None:
        if len(needle) >= SHORTEST and needle not in self._needles:
            self._needles[needle] = (name, kind)
            self._index.setdefault(needle[:SHORTEST], []).append(needle)

    # -- looking -----------------------------------------------------------------------

    def scan_text(self, text: str | bytes, place: str = "text") -> tuple[Finding, ...]:
        """Every secret and encoding that occurs in the text, once each."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        seen = {self._needles[needle] for part in _NOISE.split(data) for needle in self._in(part)}
        return tuple(Finding(name, kind, place) for name, kind in sorted(seen))

    def _in(self, data: bytes) -> Iterator[bytes]:
        index = self._index
        for start in range(len(data) - SHORTEST + 1):
            candidates = index.get(data[start : start + SHORTEST])
            if candidates:
                yield from (needle for needle in candidates if data.startswith(needle, start))

    def scan_file(self, path: Path) -> tuple[Finding, ...]:
        return self.scan_text(path.read_bytes(), str(path))

    def scan_tree(self, root: Path, allowed: Sequence[Path] = ()) -> tuple[Finding, ...]:
        """Look into every file below ``root``, and at every name and link target.

        A secret may stand in a regular file that only its owner can reach, below one of
        the ``allowed`` directories (or in one of these files); anywhere else it is found.
        """
        places = tuple(path.resolve() for path in allowed)
        found: list[Finding] = []
        for path in _everything(root):
            found += self.scan_text(os.fsencode(path.name), f"the name of {path.parent}/…")
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                found += self.scan_text(os.fsencode(os.readlink(path)), f"the target of {path}")
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            private = not status.st_mode & 0o177 and any(
                path.resolve().is_relative_to(place) for place in places
            )
            if not private:
                mode = f"{path} (mode {stat.S_IMODE(status.st_mode):04o})"
                found += self.scan_text(path.read_bytes(), mode)
        return tuple(found)


def _windows(data: bytes, size: int) -> Iterator[bytes]:
    """Neighbouring windows; a run too short for one is a window itself."""
    if len(data) < size:
        yield data
    for start in range(0, len(data) - size + 1, size):
        yield data[start : start + size]
    if len(data) > size and len(data) % size:
        yield data[-size:]


def _everything(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, directories, names in os.walk(root):
        yield from (Path(folder, name) for name in sorted([*directories, *names]))


def explain(findings: Iterable[Finding]) -> str:
    """What a failing assertion prints."""
    return "\n".join(sorted({str(finding) for finding in findings})) or "nothing"
