# SPDX-License-Identifier: GPL-3.0-or-later
"""What the links of a CRL cache mean. No network.

::

    <root>/<trust>/current -> sets/<id>                     the set of transactions and polls
    <root>/<trust>/ingress, egress -> current or ../refusal what is in force for a direction

Gateways name files below the links of directions; which set those lead to is said by ``current``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from . import files
from .crl_watch import DIRECTIONS
from .desired import Desired
from .errors import HostError

CRL = "crl.pem"
FACTS = "set.json"
CURRENT = "current"
REFUSAL = "../refusal"
_SET = re.compile(r"sets/[0-9a-f]{16}")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where the sets of one trust entry lie."""

    root: str
    trust: str

    @property
    def directory(self) -> str:
        return os.path.join(self.root, self.trust)

    @property
    def link(self) -> str:
        """The link to the set that transactions and polls want."""
        return os.path.join(self.directory, CURRENT)

    def direction(self, name: str) -> str:
        """The link to what is in force for ``ingress`` or ``egress``."""
        return os.path.join(self.directory, name)

    def file(self, target: str) -> str:
        return os.path.join(self.directory, target, CRL)


def is_set(target: str) -> bool:
    """Whether a link's target is a set of CRLs, and not a release or an API key."""
    return bool(_SET.fullmatch(target))


def place(path: str, target: str) -> Place | None:
    """Whose set a link of a gateway's model leads to; None for one to something else."""
    directory, name = os.path.split(path)
    if name != CURRENT or not is_set(target):
        return None
    root, trust = os.path.split(directory)
    return Place(root, trust)


def places(links: Mapping[str, str]) -> list[Place]:
    """The trust entries whose sets these links lead to."""
    found = (place(path, target) for path, target in sorted(links.items()))
    return [one for one in found if one is not None]


def ways(path: str, target: str) -> tuple[str, ...]:
    """The paths through which files behind a link are named: its own, and those of directions."""
    of = place(path, target)
    return (path,) if of is None else (path, *(of.direction(name) for name in DIRECTIONS))


def absent(links: Mapping[str, str], texts: Iterable[bytes]) -> list[str]:
    """Links of directions that a configuration names, and that say nothing that is ever in force.

    Only a first change finds some, or one after somebody removed them.
    """
    named = list(texts)
    return [
        path
        for of in places(links)
        for path in unset(of)
        if any(os.fsencode(path) + b"/" in text for text in named)
    ]


def unset(of: Place) -> list[str]:
    """The links of directions that are not there, or lead to neither the set nor the refusal."""
    paths = (of.direction(name) for name in DIRECTIONS)
    return [path for path in paths if files.link_target(path) not in (CURRENT, REFUSAL)]


def remove_directions(of: Place) -> None:
    """Nothing is in force where there is no set."""
    for name in DIRECTIONS:
        if os.path.islink(of.direction(name)):
            files.remove(of.direction(name))


def refuses(crl_file: str) -> bool:
    """Whether everybody is refused through the CRL file that a configuration names."""
    return bool(crl_file) and files.link_target(os.path.dirname(crl_file)) == REFUSAL


# -- which set is the newer one ----------------------------------------------------------------


def following(desired: Desired) -> Desired:
    """The same gateway with the sets that are in place where those are newer.

    What a run wants was known some minutes before; a poll may have put a newer set into service
    since, and a revocation must not be taken back by a run that had not heard of it.
    """
    newer: dict[str, str] = {}
    for path, target in desired.links.items():
        of = place(path, target)
        there = files.link_target(path) or ""
        if of is not None and there != target and is_newer(of, there, target):
            newer[path] = there
    return replace(desired, links={**desired.links, **newer}) if newer else desired


def is_newer(of: Place, one: str, other: str) -> bool:
    """Whether ``one`` is whole, of the same CAs, for none of them older, and newer for one."""
    if not is_set(one) or not os.path.isfile(of.file(one)):
        return False
    ours, theirs = _ages(of, one), _ages(of, other)
    if not ours or ours.keys() != theirs.keys():
        return False
    pairs = [(ours[ca], theirs[ca]) for ca in ours]
    no_older = all(left[0] >= right[0] and left[1] >= right[1] for left, right in pairs)
    return no_older and any(left != right for left, right in pairs)


# -- what was found when it was staged ---------------------------------------------------------


def judged(path: str) -> dict[str, tuple[str, str]]:
    """By CA (SHA-256 of its certificate): thisUpdate and nextUpdate of its CRL in a staged set.

    Only for a file that still is the one that was judged and named by its content; empty for any
    other. The file is never in memory as a whole.
    """
    directory, name = os.path.split(path)
    target = "/".join(directory.split("/")[-2:])
    if name != CRL or not is_set(target) or not _digest(path).startswith(target[5:]):
        return {}
    try:
        data = files.read(os.path.join(directory, FACTS)) or b""
        listed = json.loads(data[:_MOST_BYTES])["crls"]
        return {
            str(one["authority"]): (str(one["this_update"]), str(one["next_update"]))
            for one in listed
        }
    except (ValueError, KeyError, TypeError, HostError):
        return {}


def _digest(path: str) -> str:
    found = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for part in iter(lambda: handle.read(_MOST_BYTES), b""):
                found.update(part)
    except OSError:
        return ""
    return found.hexdigest()


def _ages(of: Place, target: str) -> dict[str, tuple[int, str]]:
    """By CA: number and date of its CRL; empty where nobody can say."""
    try:
        data = files.read(os.path.join(of.directory, target, FACTS)) or b""
        listed = json.loads(data[:_MOST_BYTES])["crls"]
        return {
            str(one["authority"]): (int(one["number"] or -1), str(one["this_update"]))
            for one in listed
        }
    except (ValueError, KeyError, TypeError, HostError):
        return {}
