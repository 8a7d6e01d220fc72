# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of versions that were replaced: found, and removed with their keys.

What ``current`` points to is never removed, nor anything as new as the version that stays.
The key's bytes are not overwritten first: on journalling file systems and flash the old
blocks would stay all the same, so it would only look safer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import files, hold
from .errors import HostError
from .release import KEY

_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Keep:
    """A certificate's entry on this host, and the oldest version that stays."""

    certificate: str
    version: int

    @staticmethod
    def of(raw: dict[str, Any]) -> Keep:
        """From module parameters; refuses what would leave the root or keep nothing."""
        keep = Keep(str(raw["certificate"]), int(raw["version"]))
        if not _NAME.fullmatch(keep.certificate) or keep.version < 1:
            raise HostError(
                "what is to be retired on this host is malformed",
                rule="RELEASE-MALFORMED",
                found=f"{keep.certificate} v{keep.version}",
                expected="a plain name and a version from 1",
                where="option retire",
                next_step="use playbooks/retire.yml; it says what stays",
            )
        return keep


@dataclass(frozen=True)
class Found:
    """A release directory: whose, of which version, and whether it is in service."""

    certificate: str
    name: str
    version: int
    in_service: bool
    has_key: bool

    def as_result(self) -> dict[str, Any]:
        """For the module's result."""
        return {
            "certificate": self.certificate,
            "release": self.name,
            "version": self.version,
            "in_service": self.in_service,
            "key": self.has_key,
        }


def found(root: str, certificate: str) -> list[Found]:
    """Every release directory of an entry, oldest first; names that are none of ours are left."""
    files.require_own(root, certificate, "releases")
    base = os.path.join(root, certificate)
    current = os.path.realpath(os.path.join(base, "current"))
    try:
        names = os.listdir(os.path.join(base, "releases"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [match for match in map(_RELEASE.fullmatch, names) if match]
    return sorted(
        (
            Found(
                certificate,
                match[0],
                int(match[1]),
                current == os.path.realpath(os.path.join(base, "releases", match[0])),
                files.mode_of(os.path.join(base, "releases", match[0], KEY)) is not None,
            )
            for match in matches
        ),
        key=lambda one: (one.version, one.name),
    )


def older(root: str, keep: Keep) -> list[Found]:
    """The releases below the version that stays.

    Raises HostError RELEASE-IN-SERVICE when one of them is in service, and RELEASE-HELD when a
    person holds one: then nothing at all is removed.
    """
    old = [one for one in found(root, keep.certificate) if one.version < keep.version]
    serving = [one for one in old if one.in_service]
    if serving:
        raise HostError(
            f"{keep.certificate}: this host still has an old version in service",
            rule="RELEASE-IN-SERVICE",
            found=serving[0].name,
            expected=f"version {keep.version} or a newer one",
            where=os.path.join(root, keep.certificate, "current"),
            next_step="deploy first (playbooks/site.yml), then retire; what is held there is "
            "released first (playbooks/rollback.yml); nothing was removed",
        )
    held = hold.read(root, keep.certificate)
    if held and any(one.name == held.release for one in old):
        raise HostError(
            f"{keep.certificate}: an old version is held on this host",
            rule="RELEASE-HELD",
            found=f"{held.release}, since {held.since}",
            expected="no hold on what is to be removed",
            where=hold.path(root, keep.certificate),
            next_step="release it first (playbooks/rollback.yml -e rollback_state=released); "
            "nothing was removed",
        )
    return old


def remove(root: str, keeps: Iterable[Keep]) -> list[Found]:
    """Remove every older release, its key first; call it under the root's lock."""
    wanted = list(keeps)
    old = [one for keep in wanted for one in older(root, keep)]
    for one in old:
        files.require_own(root, one.certificate, "releases", one.name)
        directory = os.path.join(root, one.certificate, "releases", one.name)
        files.remove(os.path.join(directory, KEY))
        files.remove_tree(directory)
    return old
