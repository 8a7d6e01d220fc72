# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard: lets nobody in on revocation information that is too old. No network code, no lock.

One tick decides what each direction of each trust entry has to use, its CRL set or the refusal,
makes that true by one rename of a link, and has every gateway load it. It looks at states only and
never at what it did before, so a tick that was killed anywhere is made good by the next.

It waits for nobody: a run that holds the gateways' lock may have been stopped, with configurations
half written. A rename is right whoever holds the lock, and no transaction touches these links
other than through :func:`put_in_force`. A gateway that does not load the refusal is ended: one that
goes on with a set that is too old is worse than none. It is started again when nothing it uses
is refused any more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Optional

from . import crl_refusal, crl_standing, crl_watch, files
from .crl_age import REFUSAL
from .crl_standing import Standing
from .errors import HostError

#: What a direction's link says, by what is in force.
TARGETS = {"current": "current", REFUSAL: "../refusal"}


def put_in_force(crl_root: str, trust: str, now: Optional[float] = None) -> Mapping[str, str]:
    """Make the links ``<trust>/ingress`` and ``<trust>/egress`` what the age of `current` demands.

    Returns the links that were changed, by direction, with their new target. No reload, no lock.
    ``now``: epoch seconds. HostError when the host refuses, or watch.json cannot be used.
    """
    watch = crl_watch.load(crl_root)
    standing = crl_standing.look(crl_root, trust, watch, crl_standing.moment(now))
    return enforce(crl_root, trust, standing)


def enforce(crl_root: str, trust: str, standing: Standing) -> Mapping[str, str]:
    """Make the links of a trust entry what was decided; returns those that were changed."""
    crl_refusal.ensure(crl_root)
    changed = {}
    for direction, decision in standing.decisions.items():
        path, target = link_of(crl_root, trust, direction), TARGETS[decision.in_force]
        if files.link_target(path) != target:
            _link(path, target)
            changed[direction] = target
    return changed


def link_of(crl_root: str, trust: str, direction: str) -> str:
    """The link that says what is in force."""
    return os.path.join(crl_root, trust, direction)


def _link(path: str, target: str) -> None:
    try:
        files.link(path, target)
    except HostError:
        # Whoever sweeps this directory may have taken the new link away before its rename.
        files.link(path, target)
