# SPDX-License-Identifier: GPL-3.0-or-later
"""Every release that this host keeps, of every certificate; what is in service and what is held.

Reads only. What a host says of dates and serials is what its files say: whoever decides anything
by it reads the certificate itself.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import asdict, dataclass
from typing import Any

from . import compromised, files, hold, openssl
from .compromised import Listed
from .errors import HostError
from .release import KEY

_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_TARGET = "releases/"


@dataclass(frozen=True)
class Kept:
    """A release directory.

    ``certificate_sha256`` is that of the leaf's DER, empty without a certificate; ``serial`` and
    the dates are those of ``release.json``. ``problem`` is why this host would not serve it, empty
    when it would; nobody looked unless it was asked for, as that takes an ``openssl`` each.
    """

    id: str
    version: int
    certificate_sha256: str
    serial: str
    not_before: str
    not_after: str
    pem: str
    problem: str

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Entry:
    """A certificate's directory: ``current`` is the release in service, empty without one."""

    certificate: str
    current: str
    held: hold.Hold | None
    releases: tuple[Kept, ...]

    def as_result(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate,
            "current": self.current,
            "held": self.held.as_json() if self.held else None,
            "releases": [one.as_result() for one in self.releases],
        }


def entries(root: str, *, judged: bool = False) -> list[Entry]:
    """Every certificate that has releases here, by name; releases oldest first.

    ``judged`` adds each certificate's PEM and why this host would not serve it.
    """
    listed = compromised.read(root) if judged else {}
    found = (_entry(root, name, listed, judged) for name in _directories(root))
    return [one for one in found if one.releases or one.current]


def current(root: str, certificate: str) -> str:
    """The id of the release in service; empty without one."""
    target = files.link_target(os.path.join(root, certificate, "current")) or ""
    name = os.path.normpath(target)[len(_TARGET) :] if target.startswith(_TARGET) else ""
    return name if _RELEASE.fullmatch(name) else ""


def _entry(root: str, name: str, listed: dict[str, Listed], judged: bool) -> Entry:
    base = os.path.join(root, name, "releases")
    matches = [match for match in map(_RELEASE.fullmatch, _names(base)) if match]
    matches.sort(key=lambda match: (int(match[1]), match[0]))
    directories = [(match, os.path.join(base, match[0])) for match in matches]
    return Entry(
        name,
        current(root, name),
        hold.read(root, name),
        tuple(
            _kept(directory, match[0], int(match[1]), listed, judged)
            for match, directory in directories
            if os.path.isdir(directory) and not os.path.islink(directory)
        ),
    )


def _kept(
    directory: str, identity: str, version: int, listed: dict[str, Listed], judged: bool
) -> Kept:
    pem = _leaf(directory)
    told = _record(directory)
    return Kept(
        identity,
        version,
        _digest(pem),
        str(told.get("serial") or ""),
        str(told.get("not_before") or ""),
        str(told.get("not_after") or ""),
        pem.decode("ascii", "replace") if judged else "",
        _problem(directory, identity, pem, listed) if judged else "",
    )


def _problem(directory: str, identity: str, pem: bytes, listed: dict[str, Listed]) -> str:
    """Why this host would not serve it: never the content of anything."""
    if not pem:
        return "its certificate is not on this host any more"
    if not identity.endswith(f"-{_digest(pem)[:16]}"):
        return "its certificate is not the one it was made with"
    if compromised.of_directory(listed, directory) is not None:
        return "its key is on this host's list of compromised keys"
    key = files.read(os.path.join(directory, KEY))
    if key is None:
        return "its key is not on this host any more"
    return "" if openssl.belongs_together(key, pem) else "its key is not the certificate's"


def _leaf(directory: str) -> bytes:
    """The leaf as gateways load it: the first certificate of the chain's file."""
    whole = files.read(os.path.join(directory, "fullchain.pem")) or b""
    match = _PEM.search(whole)
    return match[0] if match else b""


def _digest(pem: bytes) -> str:
    try:
        return files.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))) if pem else ""
    except ValueError:
        return ""


def _record(directory: str) -> dict[str, Any]:
    try:
        told = json.loads(files.read(os.path.join(directory, "release.json")) or b"{}")
    except (ValueError, HostError):
        return {}
    return told if isinstance(told, dict) else {}


def _directories(root: str) -> list[str]:
    found = [name for name in _names(root) if _NAME.fullmatch(name)]
    # A link would lead to somebody else's files; ours are directories.
    paths = ((name, os.path.join(root, name)) for name in found)
    return [name for name, path in paths if os.path.isdir(path) and not os.path.islink(path)]


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
