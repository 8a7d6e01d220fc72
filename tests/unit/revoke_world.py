# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller's world in which certificates are revoked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pki import public_state, revocation_record, revoke_stage, revoking
from pki.revoking import Revoking
from unit.controller_world import NAME, World
from unit.pki_factory import DAY, NOW

WHY = "a laptop was stolen"
ADMIN = "Ada Admin"


def accepted(world: World, *versions: int, name: str = NAME) -> World:
    """So many accepted versions of a certificate."""
    for version in versions:
        world.request(version, name)
        world.reply(version, name)
        world.keep(name, version)
    return world


def said(cause: str = "key_compromise", **changes: Any) -> dict[str, Any]:
    """A person's word, complete."""
    target = () if {"organisation", "leaver", "host", "certificate"} & set(changes) else (NAME,)
    given = {"certificate": target[0]} if target else {}
    return {**given, "cause": cause, "reason": WHY, "by": ADMIN, **changes}


def decided(
    world: World,
    word: Mapping[str, Any],
    after: timedelta = DAY,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> list[Revoking]:
    """What a word means at a moment."""
    inputs = world.inputs(NOW + after)
    wish = revoke_stage.wish(word)
    known = revoke_stage.world(inputs, wish, groups or {"gateways": ["gw1", "gw2"]})
    return revoking.decide_all(known, wish, inputs.policies)


def saved(found: Sequence[Revoking]) -> None:
    """As the module writes it, but for the ledgers."""
    for one in found:
        public_state.write(one.files.path, one.contents())
        for record in one.records:
            record.save()


def record_of(one: Revoking) -> revocation_record.Recorded:
    """Its record, which is there."""
    assert one.record is not None
    return one.record


def moment(after: timedelta) -> str:
    """A moment as people type it."""
    when: datetime = NOW + after
    return revocation_record.iso(when)
