# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of all gateways of a host: all of it or none of it, whatever happens in between.

Compare; register the undo; write files and switch links; native test; reload or start;
look at what is served; record what was applied; forget the undo. Each step is taken for every
gateway before the next one begins, and a link that several share is switched once. A failing
step puts the previous bytes of all of them back into place and into service. A killed run leaves
its undo record, and the next run does the whole change again from the same starting point.

A key on the host's list (:mod:`.compromised`) is never switched to, and never gone back to: a
change that fails where the previous state had one in service stops the gateway instead.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from . import crl_guard, crl_links, files, hold
from .desired import Applied, Desired
from .errors import HostError
from .gateway_change import APPLIED, Change, Difference
from .gateway_check import Checker
from .transaction_faults import (
    different_links,
    different_places,
    ended,
    failed,
    plain,
    stopped_instead,
    stuck,
)
from .undo import Undo

__all__ = ["APPLIED", "Applied", "Desired", "Difference", "Transaction", "run", "run_all"]

# Only directories of these shapes are ours to prune: releases/<id> and sets/<id>.
_PRUNABLE = re.compile(r"(?:releases/v[1-9][0-9]*-|sets/)[0-9a-f]{16}")


class Transaction:
    """Brings gateways to what is desired. Call under the host lock, except for comparing."""

    def __init__(self, wanted: Sequence[Desired]) -> None:
        self._home = home_of(wanted)
        wanted = [crl_links.following(desired) for desired in wanted]
        self._require_one_target_a_link(wanted)
        self.changes = [Change(desired) for desired in wanted]
        self._changing: list[Change] = []
        self._at: tuple[str, list[Change]] = ("compare", [])

    @staticmethod
    def _require_one_target_a_link(wanted: Sequence[Desired]) -> None:
        targets: dict[str, str] = {}
        for desired in wanted:
            for path, target in desired.links.items():
                if targets.setdefault(path, target) != target:
                    raise different_links(path, targets[path], target)

    def compare(self) -> bool:
        """Whether anything differs from what is desired. Reads only."""
        undo = Undo.load(self._home)
        for change in self.changes:
            change.compare(undo)
        self._changing = [change for change in self.changes if change.changes]
        return bool(self._changing)

    # -- changing ----------------------------------------------------------------------

    def apply(self) -> None:
        """Carry the change out, or leave everything as it was and raise HostError."""
        undo = Undo.load(self._home)
        with self._named("nothing was changed"):
            self._prepare(undo)
        try:
            self._change()
        except Exception as exc:
            self._roll_back(undo, exc)
        with self._named("the new configuration is in service"):
            self._step("close", *self._changing)
            used = {path for change in self._changing for path in change.links}
            undo.close([change.root for change in self._changing], sorted(used))
            self._prune()

    @contextlib.contextmanager
    def _named(self, outcome: str) -> Iterator[None]:
        """A failure names its step and gateways, and says that there is nothing to take back."""
        try:
            yield
        except Exception as exc:
            step, at = self._at
            error = plain([change.name for change in at], step, outcome, exc)
        else:
            return
        raise error

    def _prepare(self, undo: Undo) -> None:
        checker = Checker()
        for change in self._changing:
            self._step("check", change)
            change.require_room()
            checker.require(change.desired, change.adapter)
            change.begin(undo)
        self._step("register undo", *self._changing)
        undo.register({change.root: change.to_register for change in self._changing})

    def _change(self) -> None:
        for change in self._changing:
            self._step("write files", change)
            change.write()
        self._step("switch links", *self._changing)
        self._switch()
        for change in self._changing:
            if not change.desired.stopped:
                self._step("test", change)
                change.test()
        for change in self._changing:
            self._into_service(change)
        for change in self._changing:
            self._step("probe", change)
            change.look()
        for change in self._changing:
            self._step("record", change)
            change.record()

    def _switch(self) -> None:
        targets = {
            path: change.links[path]
            for change in self._changing
            for path in change.difference.links
        }
        for path, target in sorted(targets.items()):
            if target is not None:
                files.link(path, target)
            elif os.path.islink(path):
                files.remove(path)
        self._enforce(self._changing)

    @staticmethod
    def _enforce(changes: Sequence[Change]) -> None:
        """What the age of each CRL set demands is in force before a gateway loads it."""
        used = {path: to for change in changes for path, to in change.desired.links.items()}
        for place in crl_links.places(used):
            if files.link_target(place.link) is None:
                # A first change was taken back: nobody uses these any more.
                crl_links.remove_directions(place)
                continue
            try:
                crl_guard.put_in_force(place.root, place.trust)
            except HostError as exc:
                # What is to be enforced is not known. The guard tells of it at every tick, and
                # nothing else, least of all going back, may depend on it.
                if exc.rule != "CRL-WATCH" or crl_links.unset(place):
                    raise
                told = f"what is in force of {place.trust} stays as it is: {exc.message}"
                for change in changes:
                    change.notes.append(told)

    def _into_service(self, change: Change) -> None:
        if change.desired.stopped:
            self._step("stop", change)
            change.stop()
            return
        change.refresh()
        way = change.way_into_service
        self._step(way, change)
        if way != "reload":
            change.start()
            return
        change.reload()
        if change.drains:
            self._step("drain", change)
            change.drain()

    # -- going back --------------------------------------------------------------------

    def _roll_back(self, undo: Undo, cause: Exception) -> None:
        """Previous bytes back into place and service; always raises."""
        step, at = self._at
        # Of these the record stays: whoever stops such a gateway, or runs next, goes on from it.
        lost = [change for change in self._changing if change.serves_compromised() is not None]
        back = [change for change in self._changing if change not in lost]
        names = [change.name for change in at]
        second = self._take_back(undo, back) if back else []
        if second:
            raise stuck(names, step, cause, second) from None
        taken = [change.name for change in back]
        raise failed(names, step, cause, taken, [change.name for change in lost]) from None

    def _take_back(self, undo: Undo, back: Sequence[Change]) -> list[tuple[str, Exception]]:
        """Restore these gateways; what failed about it, by the gateway's name."""
        self._step("roll back", *back)
        found: list[tuple[str, Exception]] = []
        try:
            records = [Applied.parse(undo.previous(change.root, APPLIED)) for change in back]
            # Everything first: what is loaded below may be shared.
            undo.restore([change.root for change in back])
            self._enforce(back)
        except Exception as exc:
            return [(back[0].name, exc)]
        for change, record in zip(back, records):  # noqa: B905, Python 3.9 has no strict
            try:
                change.serve_again(record)
            except Exception as exc:
                found.append((change.name, exc))
        if not found:
            undo.close([change.root for change in back])
        return found

    def with_compromised(self) -> list[Desired]:
        """The gateways that have, or would go back to, a compromised key in service."""
        return [
            change.desired
            for change in self.changes
            if not change.desired.stopped and change.serves_compromised() is not None
        ]

    # -- cleaning ----------------------------------------------------------------------

    def _prune(self) -> None:
        """Remove old releases and CRL sets, keys included; the newest few stay."""
        for change in self._changing:
            for path, target in change.desired.links.items():
                if _PRUNABLE.fullmatch(target):
                    live = os.path.join(os.path.dirname(path), target)
                    _prune_beside(live, change.desired.keep_releases)

    def _step(self, name: str, *changes: Change) -> None:
        """Note which step begins, and for whom; the last one noted is the one that failed."""
        self._at = (name, list(changes))
        for change in changes:
            change.steps.append(name)


def run_all(wanted: Sequence[Desired], *, check: bool) -> dict[str, Any]:
    """The module's result: changed, diff, msg, and ``gateways``, one entry each.

    The lock is one per directory of gateways: whoever changes gateways of a host, or a link
    that they share, holds it. Checking needs no lock and makes none.
    """
    if not wanted:
        return _result([])
    if check:
        transaction = Transaction(wanted)
        transaction.compare()
        return _result(transaction.changes)
    with files.HostLock(os.path.join(home_of(wanted), ".lock")):
        transaction = Transaction(wanted)
        try:
            if transaction.compare():
                transaction.apply()
        except HostError as exc:
            compromised = transaction.with_compromised()
            if not compromised:
                raise
            failure = _stopped(compromised, exc)
        else:
            return _result(transaction.changes)
    raise failure


def run(desired: Desired, *, check: bool) -> dict[str, Any]:
    """The same for one gateway; its name, reasons, steps and notes stand beside the rest."""
    result = run_all([desired], check=check)
    (one,) = result["gateways"]
    return {**result, **one}


def home_of(wanted: Sequence[Desired]) -> str:
    """The directory of gateways, which holds the lock and the undo record of all of them."""
    homes = sorted({os.path.dirname(desired.root) for desired in wanted})
    roots = [desired.root for desired in wanted]
    if len(homes) != 1 or len({*roots}) != len(roots):
        raise different_places(roots)
    return homes[0]


def _stopped(compromised: Sequence[Desired], cause: HostError) -> HostError:
    """Stop the gateways that would go on with a compromised key; the error to raise."""
    names = [desired.name for desired in compromised]
    try:
        stopping = Transaction([desired.as_stopped() for desired in compromised])
        stopping.compare()
        stopping.apply()
    except Exception as exc:
        for desired in compromised:
            with contextlib.suppress(Exception):
                Change(desired).daemon.cut()
        return ended(names, cause, exc)
    return stopped_instead(names, cause)


def _result(changes: Sequence[Change]) -> dict[str, Any]:
    said = [
        f"{change.name}: " + ("; ".join(change.difference.reasons) or "already as modelled")
        for change in changes
    ]
    return {
        "changed": any(change.changes for change in changes),
        "gateways": [change.as_result() for change in changes],
        "diff": [entry for change in changes for entry in change.difference.diff],
        "msg": ". ".join(said) or "no gateway to change",
    }


def _prune_beside(live: str, keep: int) -> None:
    parent, kind = os.path.dirname(live), os.path.basename(os.path.dirname(live))
    others = [
        entry.path
        for entry in (os.scandir(parent) if os.path.isdir(parent) else ())
        if entry.is_dir(follow_symlinks=False)
        and entry.path != live
        and hold.may_remove(os.path.dirname(parent), entry.name)
        and _PRUNABLE.fullmatch(f"{kind}/{entry.name}")
    ]
    others.sort(key=lambda path: os.stat(path).st_mtime_ns, reverse=True)
    for path in others[max(keep - 1, 0) :]:
        files.remove_tree(path)
