# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a CRL set into service between two runs: the link, every gateway that uses it, and the proof.

It looks at states and not at what it did before: whatever ended a call, the link leads to the old
set or to the new one, and the next call goes on. A gateway has loaded a set when the record of
its last change says so, and that is written after the probes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from . import crl_guard, crl_links, crl_users, files, probe
from .crl_links import Place
from .crl_users import User
from .errors import HostError
from .gateways.base import Adapter
from .probe import Baseline, View
from .service import Daemon
from .transaction_faults import wrapped
from .undo import Undo

#: How long another run is waited for, in seconds; the next call comes by itself.
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Switched:
    """What became of it.

    ``changed``: the link or what is in force was changed, or a gateway reloaded. ``reloaded``: the
    names of those that now serve with the set. ``held``: why nothing was touched, as a sentence.
    ``failure``: why the set is not in service, or not everywhere. ``notes``: what could not be
    looked at, and what people should know.
    """

    changed: bool = False
    reloaded: tuple[str, ...] = ()
    held: str = ""
    failure: HostError | None = None
    notes: tuple[str, ...] = ()


def switch(
    crl_root: str,
    trust: str,
    target: str,
    gateway_root: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
) -> Switched:
    """Bring ``<trust>/current`` and every running gateway that uses it to ``target``.

    Args:
        crl_root: the directory of all sets on this host.
        trust: whose set it is.
        target: where the link has to lead: ``sets/<id>``, of a whole set that was judged.
        gateway_root: the directory of gateways, with the lock of whoever changes them.
        wait_seconds: how long that lock is waited for.

    Never raises HostError or OSError: whoever polls has more to do.
    """
    place = Place(crl_root.rstrip("/"), trust)
    with contextlib.ExitStack() as stack:
        try:
            lock = files.HostLock(os.path.join(gateway_root, ".lock"), wait_seconds)
            stack.enter_context(lock)
            unfinished = Undo.load(gateway_root).open
            if unfinished:
                return Switched(held=_unfinished(unfinished))
            return _Switch(place, target, gateway_root).run()
        except (HostError, OSError) as exc:
            error = wrapped(exc, "")
            if error.rule == "HOST-BUSY":
                return Switched(held=f"{error.message}: {error.found}; the next poll tries again")
            return Switched(failure=_failed(place, target, error, "nothing was changed"))


class _Gateway:
    """One gateway that uses the set, and what has been done to it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.build: Adapter = crl_users.build_of(user)
        self.daemon: Daemon = crl_users.daemon(user)
        self.running = self.daemon.master() is not None
        self.touched = False
        self._baseline = Baseline()

    @property
    def name(self) -> str:
        return self.user.name

    def remember(self) -> None:
        """What is reached through it before anything is changed."""
        if self.user.applied is not None:
            self._baseline = Baseline.of(self.user.applied.probes)

    def reload(self) -> None:
        self.touched = True
        self.daemon.reload()

    def look(self) -> list[str]:
        """What is really served; the notes. HostError GATEWAY-PROBE... for what must not be."""
        if self.user.applied is None:
            return []
        root = self.user.root
        configured = crl_users.configured(root, self.build)
        view = View(root, self.build.access_log(root), self._baseline, configured=configured)
        return probe.require(self.user.applied.probes, view)

    def record(self) -> None:
        """Note where its links led when it loaded them, and who has loaded them."""
        crl_users.record_reload(self.user, self.daemon)


class _Switch:
    """One call, under the lock."""

    def __init__(self, place: Place, target: str, gateway_root: str) -> None:
        self._place, self._target = place, target
        self._found = files.link_target(place.link) or ""
        users = crl_users.users(gateway_root, place.root, place.trust)
        self._gateways = [one for one in map(_Gateway, users) if one.running]
        self._idle = [user.name for user in users if user.name not in self._names()]
        self._at = ("look", "")
        self._fault: HostError | None = None

    def _names(self) -> list[str]:
        return [one.name for one in self._gateways]

    def run(self) -> Switched:
        self._require_set()
        waiting = [one for one in self._gateways if self._loaded(one) != self._target]
        moves = self._found != self._target
        before = self._before(waiting)
        if moves or waiting:
            for one in self._gateways:
                one.remember()
        notes: list[str] = []
        try:
            flipped = self._put(self._target)
            waiting = self._loadable(self._gateways if moves or flipped else waiting, before)
            self._reload(waiting)
            for one in waiting:
                self._at = ("probe", one.name)
                notes += [f"{one.name}: {note}" for note in one.look()]
            for one in waiting:
                self._at = ("record", one.name)
                one.record()
        except (HostError, OSError) as exc:
            return self._take_back(before, wrapped(exc, ""))
        # What does not run has nothing loaded; a start loads what the link leads to.
        notes += [f"{name}: it does not run" for name in self._idle]
        changed = bool(moves or flipped or waiting)
        names = tuple(one.name for one in waiting)
        return Switched(changed, names, failure=self._fault, notes=tuple(notes))

    def _require_set(self) -> None:
        path = self._place.file(self._target)
        if crl_links.is_set(self._target) and files.mode_of(path) is not None:
            return
        raise HostError(
            "there is no such CRL set on this host",
            rule="CRL-SET",
            found="no file of CRLs",
            expected="a set that was staged",
            where=path,
            next_step="run again: the next poll, and the next run of playbooks/site.yml, stage one",
        )

    def _loaded(self, one: _Gateway) -> str:
        return one.user.loaded(self._place.link)

    def _before(self, waiting: Sequence[_Gateway]) -> str:
        """The set to go back to: the one in place, or the one that a killed call came from."""
        loaded = (self._loaded(one) for one in waiting)
        candidates = [self._found] if self._found != self._target else list(loaded)
        whole = (
            target
            for target in candidates
            if crl_links.is_set(target) and files.mode_of(self._place.file(target)) is not None
        )
        return next(whole, "")

    def _put(self, target: str) -> bool:
        """The link, and what the age of the set demands; whether the latter was changed."""
        self._at = ("switch links", self._place.trust)
        if files.link_target(self._place.link) != target:
            files.sweep_links(self._place.directory)
            files.link(self._place.link, target)
        return bool(crl_guard.put_in_force(self._place.root, self._place.trust))

    def _loadable(self, gateways: Sequence[_Gateway], before: str) -> list[_Gateway]:
        """Those that can load their files; HostError for one that could, but for this set.

        One that cannot load them with the set before either is told of, and keeps no revocation
        from its neighbours.
        """
        faults = {one.name: fault for one in gateways for fault in self._test(one)}
        if not faults:
            return list(gateways)
        faulty = [one for one in gateways if one.name in faults]
        self._at = ("test", faulty[0].name)
        if not before or before == self._target or len(faulty) == len(self._gateways):
            raise faults[faulty[0].name]
        self._put(before)
        mended = [one.name for one in faulty if not self._test(one)]
        if mended:
            self._at = ("test", mended[0])
            raise faults[mended[0]]
        self._put(self._target)
        names = ", ".join(faults)
        outcome = f"{names} cannot load what is on disk, with the set before neither"
        self._fault = wrapped(faults[faulty[0].name], f"{self._place.trust}: {outcome}")
        return [one for one in gateways if one.name not in faults]

    def _test(self, one: _Gateway) -> list[HostError]:
        """What the product's own test has against the files on disk; nothing when it passes."""
        self._at = ("test", one.name)
        try:
            one.daemon.test()
        except HostError as exc:
            return [exc]
        return []

    def _reload(self, gateways: Sequence[_Gateway]) -> None:
        for one in gateways:
            self._at = ("reload", one.name)
            one.reload()

    # -- going back --------------------------------------------------------------------

    def _take_back(self, before: str, cause: HostError) -> Switched:
        """The set before into place and service again; what could not be is told as well."""
        step, at = self._at
        told = f"the step '{step}' failed" + (f" for {at}" if at else "")
        touched = [one for one in self._gateways if one.touched]
        if not before:
            outcome = f"{told}; there is no set to go back to, so its link stays where it is"
            return self._after(cause, outcome, touched)
        faults = []
        try:
            self._put(before)
        except (HostError, OSError) as exc:
            faults.append(wrapped(exc, self._place.link))
            touched = []
        for one in touched:
            try:
                one.reload()
                one.record()
            except (HostError, OSError) as exc:
                faults.append(wrapped(exc, one.name))
        outcome = f"{told}; the set before is back in service"
        if faults:
            outcome = f"{told}; going back failed, too ({'; '.join(f.message for f in faults)})"
        return self._after(cause, outcome, touched)

    def _after(self, cause: HostError, outcome: str, touched: Sequence[_Gateway]) -> Switched:
        failure = _failed(self._place, self._target, cause, outcome)
        return Switched(bool(touched), failure=failure)


def _failed(place: Place, target: str, cause: HostError, outcome: str) -> HostError:
    return wrapped(cause, f"{place.trust}: {target} was not put into service; {outcome}")


def _unfinished(names: Sequence[str]) -> str:
    one = len(names) == 1
    return (
        f"a change of {', '.join(names)} was broken off and {'its' if one else 'their'} state is "
        "not known; the next run of playbooks/site.yml makes it good, and then the set is switched"
    )
