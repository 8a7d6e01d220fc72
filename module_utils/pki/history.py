# SPDX-License-Identifier: GPL-3.0-or-later
"""What was before a reply, told from the committed versions beside it. Pure.

Looked through once for a whole batch; each judgement then asks for its own
:class:`~.expectation.History`, in which only the version it is about is left out. What cannot
be read of a neighbour is not known here and stops nobody: plan and check report it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509

from . import csr, names
from .certs import DECODE_ERRORS, sha256
from .errors import PkiError
from .expectation import BySerial, History, Seen
from .public_state import VersionFiles

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Committed:
    """Keys and certificates of every committed version, and the ledger of compromised keys.

    Attributes:
        keys: places ("dip-nonprod v1") of the requests and certificates of a key, by SPKI digest.
        serials: accepted certificates by serial number.
        deployed: by certificate, its accepted versions, oldest first, with the digest of each.
        accepted: the digest that a version's ``accepted.yml`` names, by certificate and version.
        compromised: who says that a key is, by SPKI digest.
    """

    keys: Mapping[str, tuple[str, ...]]
    serials: Mapping[str, tuple[Seen, ...]]
    deployed: Mapping[str, tuple[tuple[int, str], ...]]
    accepted: Mapping[tuple[str, int], str]
    compromised: Mapping[str, str]

    @classmethod
    def of(
        cls, by_name: Mapping[str, Sequence[VersionFiles]], compromised: Mapping[str, str]
    ) -> Committed:
        """Every version of every certificate, and what two ledgers say of keys."""
        found = _Found()
        for name, versions in by_name.items():
            for files in sorted(versions, key=lambda one: one.number):
                found.add(name, files)
        return cls(
            keys={digest: tuple(places) for digest, places in found.keys.items()},
            serials={serial: tuple(seen) for serial, seen in found.serials.items()},
            deployed={name: tuple(versions) for name, versions in found.deployed.items()},
            accepted=found.accepted,
            compromised=dict(compromised),
        )

    def before(self, name: str, version: int) -> History:
        """What a judgement of one version has to know of all others; costs nothing by itself."""
        this = place(name, version)
        earlier = [digest for number, digest in self.deployed.get(name, ()) if number < version]
        return History(
            serials=SeenElsewhere(self.serials, this),
            keys=KeysElsewhere(self.keys, this),
            compromised=self.compromised,
            deployed=earlier[-1] if earlier else "",
            accepted=self.accepted.get((name, version), ""),
        )


def place(name: str, version: int) -> str:
    """How messages name a version."""
    return f"{name} v{version}"


@dataclass(frozen=True, slots=True)
class SeenElsewhere(BySerial):
    """The accepted certificates of all versions but one."""

    by_serial: Mapping[str, tuple[Seen, ...]]
    but: str

    def of_serial(self, serial: str) -> list[Seen]:
        """Those with this serial number (lower-case hexadecimal)."""
        return [one for one in self.by_serial.get(serial, ()) if one.where != self.but]

    def __iter__(self) -> Iterator[Seen]:
        return (one for seen in self.by_serial.values() for one in seen if one.where != self.but)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int | slice) -> Seen | tuple[Seen, ...]:  # type: ignore[override]
        return tuple(self)[index]


@dataclass(frozen=True, slots=True)
class KeysElsewhere(Mapping[str, str]):
    """The keys of all versions but one, each with the places that have it."""

    places: Mapping[str, tuple[str, ...]]
    but: str

    def __getitem__(self, digest: str) -> str:
        others = [one for one in self.places[digest] if one != self.but]
        if not others:
            raise KeyError(digest)
        return ", ".join(others)

    def __iter__(self) -> Iterator[str]:
        return (digest for digest, places in self.places.items() if set(places) != {self.but})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class _Found:
    keys: dict[str, dict[str, None]] = field(default_factory=dict)
    serials: dict[str, list[Seen]] = field(default_factory=dict)
    deployed: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    accepted: dict[tuple[str, int], str] = field(default_factory=dict)

    def add(self, name: str, files: VersionFiles) -> None:
        """What one version says. Its parts stand for themselves: each may be damaged."""
        where, leaf = place(name, files.number), _kept(files)
        for digest in _key_digests(files, leaf):
            self.keys.setdefault(digest, {})[where] = None
        if leaf is not None:
            self.deployed.setdefault(name, []).append((files.number, sha256(leaf)))
            seen = _read(lambda: Seen(f"{leaf.serial_number:x}", names.rfc2253(leaf.issuer), where))
            if seen is not None:
                self.serials.setdefault(seen.serial, []).append(seen)
        recorded = (files.accepted_record or {}).get("certificate_sha256")
        if recorded:
            self.accepted[(name, files.number)] = str(recorded)


def _key_digests(files: VersionFiles, leaf: x509.Certificate | None) -> tuple[str, ...]:
    """SPKI digests of a version's key: of its request, its record and its kept certificate.

    They are one and the same unless somebody replaced a file; then all of them are taken.
    """
    request = files.request
    key = (files.request_record or {}).get("key")
    found = (
        _read(lambda: csr.key_digest(request)) if request is not None else None,
        str(key.get("spki_sha256") or "") if isinstance(key, Mapping) else None,
        _read(lambda: _digest(leaf)) if leaf is not None else None,
    )
    return tuple(dict.fromkeys(digest for digest in found if digest))


def _kept(files: VersionFiles) -> x509.Certificate | None:
    """The accepted certificate, as it is kept; with or without its record."""
    kept = files.certificate
    return None if kept is None else _read(lambda: x509.load_pem_x509_certificate(kept))


def _digest(certificate: x509.Certificate) -> str:
    return hashlib.sha256(csr.spki_der(certificate.public_key())).hexdigest()


def _read(part: Callable[[], _T]) -> _T | None:
    try:
        return part()
    except (PkiError, *DECODE_ERRORS):
        return None
