# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about gateway hosts: the kernel's clock, and how long their logs stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..documents import Collected, Declaration, Document
from . import listeners
from .scene import Collector, Scene

KIND = "host"
_NO_CLOCK = {"synchronised": False, "offset_seconds": 0.0, "max_error_seconds": -1.0}


def collect(scene: Scene) -> Collected:
    """A document for every host that has a gateway and could be asked, by each policy it serves.

    ``stand_ins.host`` (``reason``, ``clock``) takes the place of the clock where there is none of
    its own to look at, and marks the document.
    """
    declarations, documents = [], []
    stand_in = scene.stand_ins.get(KIND) or {}
    for host in scene.hosts:
        for policy in _policies(scene, host):
            declarations.append(Declaration(KIND, host, policy))
            if listeners.seen(scene, host):
                facts = _facts(scene.hosts[host], stand_in.get("clock"))
                reason = str(stand_in.get("reason", "")) if stand_in.get("clock") else ""
                documents.append(Document(KIND, host, policy, facts, stand_in=reason))
    return scene.collected(declarations, documents)


def _policies(scene: Scene, host: str) -> Iterator[str]:
    """The policies of the host's certificates that say something about hosts."""
    used = {
        scene.inputs.policy_of(name).name
        for model in listeners.on_host(scene, host)
        for name in model["certificates"]
    }
    return (name for name in sorted(used) if scene.inputs.policies[name].of_kind(KIND))


def _facts(raw: Mapping[str, Any], stand_in: Mapping[str, Any] | None) -> dict[str, Any]:
    clock = dict(raw.get("clock") or _NO_CLOCK)
    problem = str(clock.pop("problem", ""))
    archive = raw.get("log_archive") or {}
    return {
        "problem": "" if stand_in else problem,
        "clock": _clock(stand_in or clock),
        "logs": [
            {
                "log": str(log["log"]),
                "live_days": int(log["live_days"]),
                "bound_by": str(log["bound_by"]),
            }
            for log in raw.get("logs") or ()
        ],
        "archive": {"days": _days(archive.get("days")), "place": str(archive.get("place", ""))},
    }


def _clock(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "synchronised": bool(raw["synchronised"]),
        "offset_seconds": float(raw["offset_seconds"]),
        "max_error_seconds": float(raw["max_error_seconds"]),
    }


def _days(value: Any) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
