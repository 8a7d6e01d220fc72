# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word that an older release of a certificate stays in service on this host.

``<release root>/<certificate>/held.json`` (0644, nothing secret). It is written before the links
are switched, so that a run that dies between leaves the intent and the next one carries it out;
it is gone when a person releases it, when the switch failed, or when its release went bad.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import files
from .errors import HostError

FILE = "held.json"
RULE = "HOST-HOLD"
_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Hold:
    """Which release stays (``v<version>-<16 hex>``), who said so, why, and since when (UTC)."""

    release: str
    by: str
    reason: str
    since: str

    @property
    def version(self) -> int:
        match = _RELEASE.fullmatch(self.release)
        return int(match[1]) if match else 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Hold:
        """From module parameters; HostError for a release of another shape."""
        hold = Hold(*(str(raw[name]) for name in ("release", "by", "reason", "since")))
        if not hold.version:
            raise _malformed(hold.release, "a release like v1-0123456789abcdef")
        return hold


def path(root: str, certificate: str) -> str:
    """Where the hold of a certificate is; HostError for a name that would leave the root."""
    if not _NAME.fullmatch(certificate):
        raise _malformed(certificate, "a plain name as certificate")
    return os.path.join(root, certificate, FILE)


def read(root: str, certificate: str) -> Hold | None:
    """The hold of a certificate on this host; None without one.

    Raises HostError HOST-HOLD for one that cannot be read: only a hand can have done that, and
    without it nobody knows which release a person wanted.
    """
    place = path(root, certificate)
    data = files.read(place)
    if data is None:
        if os.path.lexists(place):
            raise _damaged(place, "no regular file")
        return None
    try:
        raw = json.loads(data)
        return Hold.of({name: raw[name] for name in ("release", "by", "reason", "since")})
    except (ValueError, KeyError, TypeError, HostError):
        raise _damaged(place, "text that is no such record") from None


def read_all(root: str, certificates: Iterable[str]) -> dict[str, Hold]:
    """The holds of these certificates, by name."""
    found = {name: read(root, name) for name in sorted({*certificates})}
    return {name: one for name, one in found.items() if one is not None}


def write(root: str, certificate: str, hold: Hold) -> None:
    """Put a hold on a certificate, in the place of any other. Under the root's lock."""
    data = json.dumps(hold.as_json(), indent=2, sort_keys=True) + "\n"
    files.require_own(root, certificate)
    files.write(path(root, certificate), data.encode(), files.PUBLIC)


def remove(root: str, certificate: str) -> None:
    """Take the hold of a certificate away, if there is one. Under the root's lock."""
    files.require_own(root, certificate)
    files.remove(path(root, certificate))


def may_remove(entry: str, release: str) -> bool:
    """Whether a release may be removed from the directory of a certificate.

    Not the one that is held; and none while nobody can read which one that is.
    """
    try:
        held = read(*os.path.split(entry))
    except HostError:
        return False
    return held is None or held.release != release


def _malformed(found: str, expected: str) -> HostError:
    return HostError(
        "what is to be held on this host is malformed",
        rule=RULE,
        found=found,
        expected=expected,
        where="the module's options",
        next_step="use playbooks/rollback.yml; nothing was changed",
    )


def _damaged(where: str, found: str) -> HostError:
    return HostError(
        "the record of a release that is held on this host cannot be used",
        rule=RULE,
        found=found,
        expected="the record as playbooks/rollback.yml wrote it",
        where=where,
        next_step="find out who changed it; remove the file to let the newest release in, or roll "
        "back again",
    )
