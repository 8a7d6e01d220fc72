# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word that a trust entry's CRLs may be too old for a while on this host.

``<crl_root>/<trust>/grace.json`` (0644, nothing secret): who, why, since when and until when. A
grace excuses age. It never excuses a CRL past its own nextUpdate, and never lasts longer than the
policy allows, whatever the file says. A clock that is set back does not make it longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from . import crl_age, files
from .crl_age import Age, Moment, Stamp
from .errors import HostError

FILE = "grace.json"
RULE = "CRL-GRACE"


@dataclass(frozen=True)
class Grace:
    """Who granted it, why, when, and until when (epoch seconds)."""

    by: str
    reason: str
    granted: Stamp
    until: float

    def as_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "reason": self.reason,
            "granted_at": crl_age.iso(self.granted.at),
            "until": crl_age.iso(self.until),
            "boot": self.granted.boot,
            "monotonic": self.granted.boottime,
        }

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Optional[Grace]:
        """From the parsed file; None for anything that does not say all of it."""
        granted, until = crl_age.epoch(raw.get("granted_at")), crl_age.epoch(raw.get("until"))
        by, reason = str(raw.get("by") or ""), str(raw.get("reason") or "")
        if granted is None or until is None or not by or not reason:
            return None
        try:
            boottime = float(raw.get("monotonic") or 0)
        except (TypeError, ValueError):
            return None
        return Grace(by, reason, Stamp(granted, str(raw.get("boot") or ""), boottime), until)

    def ends(self, longest: float) -> float:
        """When it ends at the latest, by the policy's ``longest`` seconds as well."""
        return min(self.until, self.granted.at + longest)

    def runs(self, now: Moment, tolerance: float, longest: float) -> bool:
        """Whether it counts now; one that was granted in the future does not."""
        passed = crl_age.since(self.granted, now, tolerance)
        return passed is not None and self.granted.at + passed.seconds < self.ends(longest)

    def sentence(self, longest: float) -> str:
        """What is told of it while it runs."""
        end = crl_age.iso(self.ends(longest))
        return f"{self.by} granted a grace until {end}: {self.reason}"


def path(crl_root: str, trust: str) -> str:
    return os.path.join(crl_root, trust, FILE)


def read(crl_root: str, trust: str) -> Optional[Grace]:
    """The grace of a trust entry, run out or not; None without one, or with one nobody can read."""
    try:
        raw = json.loads(files.read(path(crl_root, trust)) or b"null")
    except (ValueError, RecursionError, HostError):
        return None
    return Grace.of(raw) if isinstance(raw, dict) else None


def encode(grace: Grace) -> bytes:
    """The bytes of the file."""
    return (json.dumps(grace.as_json(), indent=1, sort_keys=True) + "\n").encode()


def write(crl_root: str, trust: str, grace: Grace) -> None:
    """Put a grace in the place of any other."""
    files.require_own(crl_root, trust)
    files.write(path(crl_root, trust), encode(grace), files.PUBLIC)


def remove(crl_root: str, trust: str) -> None:
    """Take it away, if there is one."""
    files.require_own(crl_root, trust)
    files.remove(path(crl_root, trust))


def judge(trust: str, grace: Grace, age: Age, longest: float) -> None:
    """HostError CRL-GRACE for a grace that nobody may grant now.

    ``age``: of the set in service; ``longest``: seconds that the policy allows.
    """
    if not grace.by.strip() or not grace.reason.strip():
        lacks = "reason" if grace.by.strip() else "by"
        raise _refused(trust, f"no {lacks}", "who grants it and why", f"say {lacks}=...")
    length = grace.until - grace.granted.at
    if length <= 0:
        end = crl_age.iso(grace.until)
        raise _refused(trust, f"an end in the past, {end}", "an end to come", "give a later end")
    if length > longest:
        allowed = f"at most {longest:.0f} s"
        raise _refused(
            trust, f"{length:.0f} s", allowed, "give an earlier end; grant it again then"
        )
    if age.expired or length > age.left:
        what = f"the CRL of {age.first}" if age.first else "the CRL set"
        raise _refused(
            trust,
            f"an end after {what} is past its next update" if age.left > 0 else f"{what}: expired",
            f"an end within {max(age.left, 0)} s",
            "no gateway accepts a CRL past that: bring a newer one (docs/crl_grace.md)",
        )


def _refused(trust: str, found: str, expected: str, next_step: str) -> HostError:
    return HostError(
        f"{trust}: this grace cannot be granted",
        rule=RULE,
        found=found,
        expected=expected,
        where="playbooks/crl_grace.yml",
        next_step=f"{next_step}; nothing was changed",
    )
