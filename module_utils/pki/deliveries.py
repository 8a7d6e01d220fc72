# SPDX-License-Identifier: GPL-3.0-or-later
"""Every delivery of a secret, from what an audit log tells: the wrap, and who used its token. Pure.

That a host could unwrap proves nothing by itself: who stole a token may have wrapped the answer
again. So a delivery is followed by its token's keyed hash, through new wraps of the same answer.
The events are those of :mod:`pki_host.audit_log`, wherever in the logs they stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Use:
    """A token spent, or tried after it was: from which address, when, and by which call."""

    address: str
    when: datetime
    how: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One wrap of a secret.

    Attributes:
        path: what was wrapped.
        when: aware UTC.
        identity: the role that asked.
        address: where it asked from.
        ttl: seconds that the token lived.
        again: whether somebody wrapped another token's answer, which takes it.
        taken: the uses that gave the secret away.
        refused: the uses that came too late.
    """

    path: str
    when: datetime
    identity: str
    address: str
    ttl: int
    again: bool = False
    taken: tuple[Use, ...] = ()
    refused: tuple[Use, ...] = ()

    def is_open(self, now: datetime) -> bool:
        """Whether its token could still be spent."""
        return now <= self.when + timedelta(seconds=self.ttl)


@dataclass(frozen=True, slots=True)
class Clear:
    """A secret that was answered unwrapped."""

    path: str
    when: datetime
    identity: str
    address: str


@dataclass(slots=True)
class Told:
    """What a log tells of one path."""

    deliveries: list[Delivery] = field(default_factory=list)
    clear: list[Clear] = field(default_factory=list)


def read(events: Iterable[Mapping[str, Any]]) -> dict[str, Told]:
    """Deliveries and reads in the clear, by path, in the order of their time.

    Uses of tokens that no wrap of a secret made are others' business and left out.
    """
    every = sorted(events, key=lambda one: str(one["time"]))
    used: dict[tuple[str, str], list[Use]] = {}
    for one in every:
        if one["kind"] in ("take", "refused"):
            use = Use(str(one["from"]), moment(one["time"]), str(one["how"]))
            used.setdefault((str(one["kind"]), str(one["token"])), []).append(use)
    found: dict[str, Told] = {}
    for one in every:
        if one["kind"] not in ("wrap", "clear"):
            continue
        path, when = str(one["path"]), moment(one["time"])
        identity, address = str(one["identity"]), str(one["from"])
        told = found.setdefault(path, Told())
        if one["kind"] == "clear":
            told.clear.append(Clear(path, when, identity, address))
            continue
        token = str(one["token"])
        told.deliveries.append(
            Delivery(
                path=path,
                when=when,
                identity=identity,
                address=address,
                ttl=int(one["ttl"]),
                again=bool(one["parent"]),
                taken=tuple(used.get(("take", token), ())),
                refused=tuple(used.get(("refused", token), ())),
            )
        )
    return found


def moment(text: object) -> datetime:
    """A log's date, which has nine digits of a second, in UTC; the epoch for none."""
    whole, _, rest = str(text).partition(".")
    digits = "".join(character for character in rest if character.isdigit())[:6]
    try:
        seconds = datetime.fromisoformat(whole.rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return seconds + timedelta(microseconds=int(digits.ljust(6, "0") or 0))
