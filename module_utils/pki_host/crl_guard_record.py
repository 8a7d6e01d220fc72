# SPDX-License-Identifier: GPL-3.0-or-later
"""``guard.json``: what the guard saw and did last, for people and for its own next tick.

Nothing depends on it being right: what is in force is decided from the set each time. Without it,
a gateway is taken to have loaded its set; with one that nobody can read, each is reloaded once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from . import crl_age, files
from .crl_age import REFUSAL
from .crl_standing import Standing
from .errors import HostError

FILE = "guard.json"


@dataclass(frozen=True)
class Loaded:
    """What a gateway was last seen to have loaded, by ``<trust>/<direction>``.

    ``targets`` of the links, and ``stamps`` of them: a link that was exchanged twice between two
    ticks has its old target and another stamp, and nobody knows which one the gateway has read.
    """

    targets: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """The file. ``loaded`` is None where a file is there, but cannot be read."""

    ran_at: str = ""
    trusts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    loaded: Optional[Mapping[str, Loaded]] = field(default_factory=dict)

    @staticmethod
    def load(crl_root: str) -> Record:
        try:
            data = files.read(os.path.join(crl_root, FILE))
            return Record() if data is None else Record._of(json.loads(data))
        except (HostError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return Record(loaded=None)

    @staticmethod
    def _of(raw: Mapping[str, Any]) -> Record:
        stamps = raw.get("stamps") or {}
        return Record(
            str(raw["ran_at"]),
            {str(name): dict(entry) for name, entry in raw["trusts"].items()},
            {str(name): str(why) for name, why in raw["stopped"].items()},
            {
                str(name): Loaded(dict(targets), dict(stamps.get(name) or {}))
                for name, targets in raw["loaded"].items()
            },
        )

    def encode(self) -> bytes:
        loaded = self.loaded or {}
        whole = {
            "ran_at": self.ran_at,
            "trusts": self.trusts,
            "stopped": self.stopped,
            "loaded": {name: dict(one.targets) for name, one in loaded.items()},
            "stamps": {name: dict(one.stamps) for name, one in loaded.items()},
        }
        return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()

    def save(self, crl_root: str) -> None:
        files.write(os.path.join(crl_root, FILE), self.encode(), files.PUBLIC)


def of_trust(standing: Standing, before: Mapping[str, Any], ran_at: str) -> dict[str, Any]:
    """What is recorded of one trust entry; ``before`` is what was recorded of it last."""
    known = before.get("directions")
    directions = known if isinstance(known, dict) else {}
    return {
        "age_seconds": standing.age.seconds,
        "next_update_left_seconds": standing.age.left,
        "used_percent": standing.used,
        "alarm_percent": standing.alarm,
        "clock": standing.age.clock,
        "grace": standing.grace.as_json() if standing.grace else None,
        "directions": {
            name: {
                "in_force": decision.in_force,
                "why": decision.why,
                "since": _since(directions.get(name), decision.in_force) or ran_at,
            }
            for name, decision in standing.decisions.items()
        },
    }


def _since(before: Any, in_force: str) -> str:
    same = isinstance(before, dict) and before.get("in_force") == in_force
    return str(before.get("since") or "") if same else ""


def refused(entry: Mapping[str, Any]) -> list[str]:
    """The directions that refuse, by the record of a trust entry."""
    directions = entry.get("directions")
    if not isinstance(directions, dict):
        return []
    return sorted(
        name
        for name, one in directions.items()
        if isinstance(one, dict) and one.get("in_force") == REFUSAL
    )


def passed_since(told: Mapping[str, Any], now: float) -> float:
    """Seconds since something was told; endless when it never was, or a clock was set back."""
    at = crl_age.epoch(told.get("at"))
    return float("inf") if at is None or at > now else now - at
