# SPDX-License-Identifier: GPL-3.0-or-later
"""What one CRL of a CA says that the one before did not, and which serials it leaves out.

A CA may take a serial off its list once the certificate has expired. One of a certificate that is
known here and has not expired should never go: it is kept in mind until it is listed again or ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from . import crl_der, crl_index
from .crl_store import Held, Store, iso, moment
from .crl_watch import Authority, Known, TrustWatch
from .errors import HostError


@dataclass(frozen=True)
class Changes:
    """Serials added and removed; of these, unexpired ones that are known, and uncertain ones."""

    added: int = 0
    removed: int = 0
    known: tuple[Known, ...] = ()
    uncertain: int = 0


@dataclass
class Memory:
    """What ``polls.json`` keeps of one trust entry between two polls."""

    raw: dict[str, Any] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, Any]:
        """One of its objects, to be changed in place."""
        found = self.raw.get(name)
        if not isinstance(found, dict):
            found = self.raw[name] = {}
        return found

    def entry(self, name: str, key: str) -> dict[str, Any]:
        """An object in one of its objects."""
        objects = self.of(name)
        if not isinstance(objects.get(key), dict):
            objects[key] = {}
        found: dict[str, Any] = objects[key]
        return found

    def count(self, name: str, more: int = 1) -> None:
        self.raw[name] = whole(self.raw.get(name)) + more

    def succeed(
        self, held: Held, changes: Changes, der: str, now: float, *, first: bool = False
    ) -> None:
        """Note a CRL as the newest of its CA, with what it changed."""
        self.of("newest")[held.authority] = vars(held)
        told = self.entry("changes", held.authority)
        told.update(
            at="" if first else iso(now),
            added=changes.added,
            removed=changes.removed,
            uncertain=changes.uncertain,
            added_total=whole(told.get("added_total")) + changes.added,
            removed_total=whole(told.get("removed_total")) + changes.removed,
        )
        gone = self.of("vanished")
        for one in changes.known:
            gone[f"{one.issuer}/{one.serial:x}"] = {
                "what": one.what,
                "certificate": one.certificate,
                "serial": f"{one.serial:x}",
                "issuer": one.issuer,
                "not_after": one.not_after,
                "since": iso(now),
            }
        mine = {
            int(one["serial"], 16): key
            for key, one in gone.items()
            if one["issuer"] == held.authority
        }
        for serial in crl_der.find(der, mine) if mine else ():
            del gone[mine[serial]]

    def vanished(self, now: float) -> list[dict[str, str]]:
        """Known certificates that were revoked, are not listed any more and have not ended."""
        gone = self.of("vanished")
        for key in [key for key, one in gone.items() if _ended(str(one.get("not_after")), now)]:
            del gone[key]
        return [dict(gone[key]) for key in sorted(gone)]


def compare(
    store: Store, trust: TrustWatch, authority: Authority, old: Held | None, der: str, now: float
) -> Changes:
    """What the CRL ``der``, with its index beside it, changes of the one that is held.

    Without the former CRL nothing is known to have changed.
    """
    if old is None or not os.path.isfile(store.der(old.sha256)):
        return Changes()
    path = store.der(old.sha256)
    try:
        found = crl_index.difference(store.index(old.sha256), f"{der}.index")
    except HostError:
        again = f"{der}.former"
        crl_der.read(path, again)
        found = crl_index.difference(again, f"{der}.index")
    if not found.removed:
        return Changes(found.added)
    classes = crl_index.classify(
        path, found, trust.known, authority.sha256, trust.longest_validity_days, now
    )
    return Changes(found.added, found.removed, classes.known, classes.uncertain)


def whole(value: object) -> int:
    """A count from JSON; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _ended(not_after: str, now: float) -> bool:
    try:
        return moment(not_after) < now
    except ValueError:
        return False
