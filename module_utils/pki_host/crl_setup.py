# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a host watch its CRLs between two runs, or have it stop: file, program and units.

Everything is level-triggered: what is there is compared with what is wanted, so a run that was
killed anywhere is made good by the next, and a run that finds nothing to do writes nothing.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from . import (
    crl_guard,
    crl_guard_record,
    crl_guard_told,
    crl_program,
    crl_store,
    crl_told,
    crl_units,
    crl_users,
    crl_watch,
    files,
)
from .crl_watch import DIRECTIONS, WATCH, TrustWatch, Watch
from .errors import HostError

SERVICES = ("daemon", "systemd")


@dataclass(frozen=True)
class Arranged:
    """What was, or would be, changed, and what was left to a person."""

    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """How this host is to watch. ``watch`` None: not at all."""

    watch: Optional[Watch]
    service: str
    places: crl_units.Places

    @property
    def runs_timers(self) -> bool:
        return self.watch is not None and self.service == "systemd"

    # -- what it watches ------------------------------------------------------------------

    def keep_watch(self, *, check: bool) -> Arranged:
        """Write ``watch.json`` where it differs. Before the sets, which are judged by it."""
        if self.watch is None:
            return Arranged()
        root = self.places.crl_root
        wanted = _with_served(root, self.watch)
        path, data = os.path.join(root, WATCH), wanted.encode()
        if self.runs_timers:
            crl_units.texts(self.watch, self.places)  # refuses paths before anything is written
            crl_units.require_usable(self.places)
        if files.read(path) == data and files.mode_of(path) == files.PUBLIC:
            return Arranged()
        if not check:
            with crl_store.lock(root, self.watch):
                files.require_own(root)
                files.write(path, data, files.PUBLIC)
        return Arranged((f"{path}: what this host watches",))

    # -- their age ------------------------------------------------------------------------

    def look(self, *, check: bool) -> Arranged:
        """One tick of the guard where no timer does it: only runs refuse what is too old there.

        Not while a set waits to be switched to: the gateways' transaction decides then.
        """
        if self.watch is None or self.runs_timers or check:
            return Arranged()
        root = self.places.crl_root
        before = _refusing(root)
        ticked = crl_guard.tick(root)
        after = _refusing(root)
        changes = (
            *(f"{os.path.join(root, one)}: refuses now" for one in after if one not in before),
            *(f"{os.path.join(root, one)}: refused" for one in before if one not in after),
        )
        told = (line.text for line in ticked.lines if line.priority <= crl_told.ERROR)
        return Arranged(changes, tuple(told) if ticked.failed else ())

    # -- program and units ----------------------------------------------------------------

    def arrange(self, *, check: bool) -> Arranged:
        """Bring program and units to what is wanted. After the sets: a timer starts at once."""
        if self.watch is None:
            return self._end(check=check)
        if not self.runs_timers:
            return self._without_timers(check=check)
        return self._with_timers(self.watch, check=check)

    def _with_timers(self, watch: Watch, *, check: bool) -> Arranged:
        places = self.places
        wanted = crl_units.texts(watch, places)
        program = crl_program.own()
        outdated = crl_program.problem(places.program_dir, program)
        found = crl_units.look(wanted, places.units_dir)
        changes = [*found.changes]
        if outdated:
            changes.insert(0, f"{places.program_dir}: {outdated}")
        # Inside the units only what is there can be written to, and a poll may come before the
        # first gateway does.
        missing = [
            path for path in (watch.metrics_dir, watch.gateway_root) if not os.path.isdir(path)
        ]
        changes += [f"{path}: not there" for path in missing]
        problems = tuple(crl_units.masked_sentence(name) for name in found.masked)
        if check or not changes:
            return Arranged(tuple(changes), problems)
        with crl_store.lock(places.crl_root, watch):
            for path in missing:
                files.make_directory(path)
            if outdated:
                crl_program.install(places.program_dir, program)
            if found.changes:
                crl_units.install(wanted, places.units_dir)
        return Arranged(tuple(changes), problems)

    def _without_timers(self, *, check: bool) -> Arranged:
        """Where no systemd runs the gateways, runs alone fetch CRLs and look at their age."""
        places = self.places
        changes = _there(
            (crl_units.present(places.units_dir), f"{places.units_dir}: units of the CRL timers"),
            (crl_program.is_there(places.program_dir), f"{places.program_dir}: their program"),
        )
        if changes and not check:
            crl_units.remove(places.units_dir)
            crl_program.remove(places.program_dir)
        return Arranged(changes)

    def _end(self, *, check: bool) -> Arranged:
        """Take everything away but the sets, and let every direction use its set again."""
        root = self.places.crl_root
        path = os.path.join(root, WATCH)
        refusing = _refusing(root)
        changes = (
            *_there((os.path.lexists(path), f"{path}: what this host watched")),
            *(f"{os.path.join(root, one)}: refuses" for one in refusing),
            *self._without_timers(check=check).changes,
        )
        if check or not changes:
            return Arranged(changes)
        watch = _last(root)
        with crl_store.lock(root, watch):
            files.remove(path)
            for trust in sorted({os.path.dirname(one) for one in refusing}):
                crl_guard.put_in_force(root, trust)
                _reload(root, trust, watch)
            files.remove(os.path.join(root, crl_guard_record.FILE))
            if watch is not None:
                for name in (crl_told.REFRESH_FILE, crl_guard_told.FILE):
                    files.remove(os.path.join(watch.metrics_dir, name))
        return Arranged(changes)


def of(
    watch: Optional[Watch],
    *,
    crl_root: str,
    service: str,
    program_dir: str = "",
    units_dir: str = "",
) -> Setup:
    """A setup with the places that are not named where they usually are."""
    places = crl_units.Places(crl_root)
    places = replace(
        places,
        program_dir=program_dir or places.program_dir,
        units_dir=units_dir or places.units_dir,
    )
    return Setup(watch, service, places)


def _last(root: str) -> Optional[Watch]:
    """What the host watched so far; None also when nobody can read it."""
    with contextlib.suppress(HostError):
        return crl_watch.load(root)
    return None


def _refusing(root: str) -> list[str]:
    """Directions that refuse now, as ``<trust>/<direction>``."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for trust in sorted(os.listdir(root)):
            for direction in DIRECTIONS:
                link = crl_guard.link_of(root, trust, direction)
                target = files.link_target(link)
                if target is not None and target != crl_guard.TARGETS["current"]:
                    found.append(f"{trust}/{direction}")
    return found


def _reload(root: str, trust: str, watch: Optional[Watch]) -> None:
    for user in crl_users.users(watch.gateway_root, root, trust) if watch else ():
        daemon = crl_users.daemon(user)
        if daemon.master() is not None:
            daemon.reload()


def _with_served(crl_root: str, watch: Watch) -> Watch:
    """What to watch, and what is in service here: also where the controller lost sight of it.

    A certificate whose record on the controller was damaged, or is refused, goes on being served,
    and so its serial goes on being looked for. One that the controller replaced is none of these:
    it is in service only until this run has switched the gateway.
    """
    before = _watched_before(crl_root)
    if before is None:
        return watch
    trusts = {
        name: replace(
            trust, known=(*_served(crl_root, watch, before.trusts[name], trust), *trust.known)
        )
        if name in before.trusts
        else trust
        for name, trust in watch.trusts.items()
    }
    return replace(watch, trusts=trusts)


def _watched_before(crl_root: str) -> Optional[Watch]:
    try:
        return crl_watch.load(crl_root)
    except HostError:  # it is about to be written anew
        return None


def _served(
    crl_root: str, watch: Watch, before: TrustWatch, now: TrustWatch
) -> list[crl_watch.Known]:
    """What was known before, is neither known nor replaced now, and is what a gateway serves."""
    told = {(one.issuer, one.serial) for one in now.known}
    newest = {one.certificate: one.not_after for one in sorted(now.known, key=_not_after)}
    lost = [
        one
        for one in before.known
        if (one.issuer, one.serial) not in told and newest.get(one.certificate, "") < one.not_after
    ]
    if not lost:
        return []
    users = crl_users.users(watch.gateway_root, crl_root, now.name)
    probes = (probe for user in users if user.applied for probe in user.applied.probes)
    served = {probe.certificate_sha256 for probe in probes}
    return [one for one in lost if _digest(one.pem) in served]


def _not_after(known: crl_watch.Known) -> str:
    return known.not_after


def _digest(pem: str) -> str:
    try:
        return files.sha256(ssl.PEM_cert_to_DER_cert(pem.strip()))
    except ValueError:
        return ""


def _there(*found: tuple[bool, str]) -> tuple[str, ...]:
    return tuple(text for is_there, text in found if is_there)


def diff(arranged: Sequence[Arranged]) -> str:
    """What was not as it is to be, a line each."""
    return "".join(f"{change}\n" for one in arranged for change in one.changes)
