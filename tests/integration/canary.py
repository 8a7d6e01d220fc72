# SPDX-License-Identifier: GPL-3.0-or-later
"""Find secrets where they must not be, in every dress they leak in.

A secret rarely leaks as it is. It comes out base64-encoded in a diff, hex-dumped in a
trace, JSON-escaped in a result, or as one stray line of a PEM file in an error. So each
secret is turned into *needles*: short windows of every such encoding, each with a name.
A finding says which needle was seen and where, and never shows the secret.

Public numbers are no secret: an RSA modulus stands in every certificate. Of a key, only the
numbers that nobody else may know are searched for, and lines that hold a part of them.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SHORTEST = 16  # bytes of a needle: fewer would be found by chance
_WINDOW = 24  # raw bytes of one window; 32 characters of base64
_COLUMNS = 64
_SEPARATED = 8  # openssl prints 15 bytes a line, which always hold 8 aligned ones
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
        for label, layout in (
            ("pkcs8", serialization.PrivateFormat.PKCS8),
            ("pkcs1", serialization.PrivateFormat.TraditionalOpenSSL),
        ):
            der = key.private_bytes(
                serialization.Encoding.DER, layout, serialization.NoEncryption()
            )
            start, end = _secret_span(key, der)
            self._add(name, f"der-{label}", der[start:end])
            self._add_stream(name, f"-{label}", der[start:end])
            self._add_pem(name, label, der, start, end)

    def add_text(self, name: str, secret: str | bytes) -> None:
        """A token, passphrase or credential: something that is a secret as a whole."""
        data = secret.encode() if isinstance(secret, str) else secret
        if len(data) < SHORTEST:
            raise ValueError(f"{name} is too short to be recognised: {SHORTEST} bytes at least")
        self._add(name, "raw", data)
        self._add_stream(name, "", data)

    def _add_pem(self, name: str, label: str, der: bytes, start: int, end: int) -> None:
        """Lines that hold a part of the secret, alone, joined, and encoded once more."""
        body = base64.b64encode(der).decode()
        # The characters that depend on nothing but bytes of the secret.
        first, last = -(-start // 3) * 4, end // 3 * 4
        for line in range(0, len(body), _COLUMNS):
            whole = body[line : line + _COLUMNS].encode()
            if len(whole) == _COLUMNS and first < line + _COLUMNS - 8 and line + 8 < last:
                self._add(name, f"pem-line-{label}", whole)
            ends = line + _COLUMNS
            if first <= ends - _WINDOW and ends + _WINDOW <= last:
                before, after = body[ends - _WINDOW : ends], body[ends : ends + _WINDOW]
                for kind, ending in (("raw", "\n"), ("raw", "\r\n"), ("json", "\\n")):
                    self._add(name, f"{kind}-{label}", f"{before}{ending}{after}".encode())
        for ending in ("\n", "\r\n"):
            text = body[first : _next_line(first)] + "".join(
                ending + body[line : min(line + _COLUMNS, last)]
                for line in range(_next_line(first), last, _COLUMNS)
            )
            self._add_stream(name, f"-pem-{label}", text.encode())

    def _add_stream(self, name: str, suffix: str, data: bytes) -> None:
        """The encodings of a run of bytes that does not depend on where lines end."""
        for window in _windows(data, _WINDOW):
            if suffix and "pem" not in suffix:
                self._add(name, f"der{suffix}", window)
            self._add(name, f"hex-lower{suffix}", window.hex().encode())
            self._add(name, f"hex-upper{suffix}", window.hex().upper().encode())
        for window in _windows(data, _SEPARATED):
            for separator in (":", " "):
                text = window.hex(separator)
                self._add(name, f"hex-separated{suffix}", text.encode())
                self._add(name, f"hex-separated{suffix}", text.upper().encode())
        for shift in range(3):
            for window in _windows(data[shift:], _WINDOW):
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


def _secret_span(key: object, der: bytes) -> tuple[int, int]:
    """Where in its DER the numbers stand that nobody else may know."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_numbers()
        modulus = public.n.to_bytes((public.n.bit_length() + 7) // 8)
        exponent = public.e.to_bytes((public.e.bit_length() + 7) // 8)
        return der.index(exponent, der.index(modulus) + len(modulus)) + len(exponent), len(der)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        scalar = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)
        return der.index(scalar), der.index(scalar) + len(scalar)
    raise ValueError(f"no idea where the secret is in a {type(key).__name__}")


def _next_line(character: int) -> int:
    return (character // _COLUMNS + 1) * _COLUMNS


def _windows(data: bytes, size: int) -> Iterator[bytes]:
    """Neighbouring windows; a run too short for one is a window itself."""
    if len(data) < size:
        yield data
    for start in range(0, len(data) - size + 1, size):
        yield data[start : start + size]


def _everything(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, directories, names in os.walk(root):
        yield from (Path(folder, name) for name in sorted([*directories, *names]))


def explain(findings: Iterable[Finding]) -> str:
    """What a failing assertion prints."""
    return "\n".join(sorted({str(finding) for finding in findings})) or "nothing"
