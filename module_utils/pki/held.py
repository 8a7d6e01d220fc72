# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of a certificate a host gets while the plan holds the newest one. Pure.

The plan says that a deployment waits, or that it should and does not; only the host knows what is
in service there. It decides with that: nothing in service waits for nothing, what is in service
already is healed as ever, and only a certificate that was judged good in this run is kept.

A person may hold an older release on a host (``playbooks/rollback.yml``). That stays, whatever is
newer, until it is released, unless it is not good any more: then the hold is void.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import public_state
from .errors import shown

RECORD = "deployed_early.yml"

#: What `ReleaseBundle.for_host` gives.
Bundle = Mapping[str, Any]
Action = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One certificate's release for a host.

    ``waits`` is why a newer one does not take its place, and ``until`` from when on it may;
    ``early`` is why it takes another one's place although it should wait; ``void`` is why a release
    that a person holds on the host does not stay.
    """

    certificate: str
    version: int
    bundle: Bundle
    waits: str = ""
    until: str = ""
    early: str = ""
    void: str = ""

    def as_held(self) -> dict[str, Any]:
        """A deployment that waits, as JSON types; ``version`` is the one that does."""
        kept = f"v{self.bundle['version']} stays in service"
        until = f" until {self.until}" if self.until else ""
        return {
            "certificate": self.certificate,
            "version": self.version,
            "in_service": self.bundle["version"],
            "why": self.waits,
            "until": self.until or None,
            "text": f"{self.certificate} v{self.version} waits{until}: {self.waits}; {kept}",
        }

    def as_void(self) -> dict[str, Any]:
        """A hold that does not count any more, as JSON types; ``entry`` is its name on hosts."""
        return {
            "certificate": self.certificate,
            "entry": str(self.bundle["certificate"]),
            "version": self.version,
            "why": self.void,
            "text": f"{self.certificate}: THE HOLD IS VOID, v{self.bundle['version']} goes into "
            f"service: {self.void}",
        }

    def as_early(self, directory: str) -> dict[str, Any]:
        """A deployment that does not wait, as JSON types."""
        told = f"{self.certificate} v{self.version} does not wait: {self.early}"
        return {
            "certificate": self.certificate,
            "version": self.version,
            "why": self.early,
            "directory": directory,
            "text": f"{told}; commit {directory}",
        }

    def record(self, now: datetime) -> bytes:
        """What stays beside the certificate of a deployment outside its windows."""
        return public_state.dump(
            {
                "schema": public_state.SCHEMA,
                "certificate": self.certificate,
                "version": self.version,
                "date": public_state.iso(now),
                "reason": self.early,
            }
        )


def choose(
    action: Action,
    newest: Bundle,
    older: Sequence[Bundle],
    current: str,
    refused: Mapping[int, str],
    hold: Mapping[str, Any] | None = None,
) -> Choice:
    """What the host gets of a certificate.

    Args:
        action: the plan's deployment of the newest accepted version.
        newest: its release.
        older: releases of earlier versions that were accepted in this run.
        current: where the host's link to the release in service points; empty without one.
        refused: why earlier versions were refused in this run, by number.
        hold: the host's record of a release that a person wants to stay.
    """
    name, version = str(action["certificate"]), int(newest["version"])
    if hold is not None:
        stays = next((one for one in (newest, *older) if one["id"] == hold["release"]), None)
        if stays is newest:
            return Choice(name, version, newest)
        if stays is not None:
            return Choice(name, version, stays, waits=_word(hold))
        void = _void(hold, refused)
        return replace(choose(action, newest, older, current, refused), void=void)
    held, early = str(action.get("held_why") or ""), str(action.get("early_why") or "")
    if not current or current == _target(newest):
        return Choice(name, version, newest)
    if not held:
        return Choice(name, version, newest, early=early)
    kept = next((one for one in older if _target(one) == current), None)
    if kept is not None:
        return Choice(name, version, kept, waits=held, until=str(action.get("held_until") or ""))
    why = next(iter(refused.values()), "it is none of the accepted ones")
    return Choice(name, version, newest, early=f"{held}, but what is in service is not good: {why}")


def held_version(hold: Mapping[str, Any]) -> int:
    """The version of the release that a hold names; 0 for none."""
    number = str(hold["release"])[1:].partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _word(hold: Mapping[str, Any]) -> str:
    by = f" by {shown(str(hold['by']))}" if hold["by"] else ""
    return f"rolled back{by} on {hold['since']} and not released: {shown(str(hold['reason']))}"


def _void(hold: Mapping[str, Any], refused: Mapping[int, str]) -> str:
    version = held_version(hold)
    why = refused.get(version, "it is none of the accepted ones")
    return f"v{version} was held ({_word(hold)}), but is not good any more: {why}"


def _target(bundle: Bundle) -> str:
    """Where ``current`` points when this release is in service."""
    return f"releases/{bundle['id']}"
