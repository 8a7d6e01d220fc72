# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard: lets nobody in on revocation information that is too old. No network code, no lock.

One tick decides what each direction of each trust entry has to use, its CRL set or the refusal,
makes that true by one rename of a link, and has every gateway load it. It looks at states only and
never at what it did before, so a tick that was killed anywhere is made good by the next.

It waits for nobody: a run that holds the gateways' lock may have been stopped, with configurations
half written. A rename is right whoever holds the lock, and no transaction touches these links
other than through :func:`put_in_force`. A gateway that does not load the refusal is ended: one that
goes on with a set that is too old is worse than none. It is started again when nothing it uses
is refused any more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from . import (
    crl_age,
    crl_guard_record,
    crl_guard_told,
    crl_refusal,
    crl_standing,
    crl_told,
    crl_users,
    crl_watch,
    files,
)
from .crl_age import REFUSAL, Moment
from .crl_guard_gateways import After, Before, InForce, bring, in_force, told
from .crl_guard_record import Record
from .crl_standing import Standing
from .crl_told import Line
from .crl_users import User
from .crl_watch import DIRECTIONS, Watch
from .errors import HostError

#: What a direction's link says, by what is in force.
TARGETS = {"current": "current", REFUSAL: "../refusal"}


def put_in_force(crl_root: str, trust: str, now: Optional[float] = None) -> Mapping[str, str]:
    """Make the links ``<trust>/ingress`` and ``<trust>/egress`` what the age of `current` demands.

    Returns the links that were changed, by direction, with their new target. No reload, no lock.
    ``now``: epoch seconds. HostError when the host refuses, or watch.json cannot be used.
    """
    watch = crl_watch.load(crl_root)
    standing = crl_standing.look(crl_root, trust, watch, crl_standing.moment(now))
    return enforce(crl_root, trust, standing)


def enforce(crl_root: str, trust: str, standing: Standing) -> Mapping[str, str]:
    """Make the links of a trust entry what was decided; returns those that were changed."""
    crl_refusal.ensure(crl_root)
    changed = {}
    for direction, decision in standing.decisions.items():
        path, target = link_of(crl_root, trust, direction), TARGETS[decision.in_force]
        if files.link_target(path) != target:
            _link(path, target)
            changed[direction] = target
    return changed


def link_of(crl_root: str, trust: str, direction: str) -> str:
    """The link that says what is in force."""
    return os.path.join(crl_root, trust, direction)


def _link(path: str, target: str) -> None:
    try:
        files.link(path, target)
    except HostError:
        # Whoever sweeps this directory may have taken the new link away before its rename.
        files.link(path, target)


@dataclass(frozen=True)
class Ticked:
    """What one tick came to. ``failed``: something is not as it has to be, the lines say what."""

    lines: tuple[Line, ...]
    failed: bool


def tick(crl_root: str, now: Optional[float] = None) -> Ticked:
    """Decide, rename, have the gateways load it, and record it. ``now``: epoch seconds.

    HostError when watch.json cannot be used: then everything stays as it is in force.
    """
    watch = crl_watch.load(crl_root)
    moment = crl_standing.moment(now)
    if watch is None:
        return _unwatched(crl_root, moment)
    before = Record.load(crl_root)
    standings = {name: crl_standing.look(crl_root, name, watch, moment) for name in watch.trusts}
    unenforced = _enforce_all(crl_root, {**_forgotten(crl_root, watch, moment), **standings})
    gateways = _bring_all(crl_root, watch, before, standings, unenforced)
    lines = [Line(crl_told.ALERT, f"{trust}: {why}") for trust, why in unenforced.items()]
    trusts = {}
    for name, standing in standings.items():
        known = before.trusts.get(name, {})
        more, told = crl_guard_told.lines(name, standing, known, watch, moment.wall)
        entry = crl_guard_record.of_trust(standing, known, crl_age.iso(moment.wall))
        trusts[name] = {**entry, "told": told}
        lines += more
    lines += [line for after in gateways.values() for line in after.lines]
    record = Record(
        crl_age.iso(moment.wall),
        trusts,
        {name: after.stopped for name, after in gateways.items() if after.stopped},
        {name: after.loaded for name, after in gateways.items() if after.loaded},
    )
    stopped = {name: bool(after.stopped) for name, after in gateways.items()}
    metrics = crl_guard_told.metrics(watch, standings, stopped, moment.wall)
    lines += _attempt("its record", lambda: record.save(crl_root))
    lines += _attempt(
        "its metrics", lambda: crl_told.write(watch.metrics_dir, crl_guard_told.FILE, metrics)
    )
    failed = bool(unenforced) or any(after.failed for after in gateways.values())
    return Ticked(tuple(lines), failed)


def _unwatched(crl_root: str, moment: Moment) -> Ticked:
    """Nothing is enforced where nobody says what to watch."""
    found = _enforce_all(crl_root, _forgotten(crl_root, None, moment))
    lines = tuple(Line(crl_told.ERROR, f"{trust}: {why}") for trust, why in found.items())
    return Ticked(lines, bool(found))


def _forgotten(crl_root: str, watch: Optional[Watch], moment: Moment) -> dict[str, Standing]:
    """Trust entries that have links of directions here and are not watched any more."""
    with contextlib.suppress(FileNotFoundError):
        names = [entry.name for entry in os.scandir(crl_root) if entry.is_dir()]
        return {
            name: crl_standing.look(crl_root, name, watch, moment)
            for name in sorted(names)
            if (watch is None or name not in watch.trusts)
            and any(os.path.islink(link_of(crl_root, name, one)) for one in DIRECTIONS)
        }
    return {}


def _enforce_all(crl_root: str, standings: Mapping[str, Standing]) -> dict[str, str]:
    """Put every trust entry in force; the trouble of one must not keep another from it.

    Returns why a direction does not say what it has to, by trust entry.
    """
    failed = {}
    for trust, standing in standings.items():
        try:
            enforce(crl_root, trust, standing)
        except (HostError, OSError) as exc:
            failed[trust] = (
                f"what is in force could not be changed ({told(exc)}); make that possible"
            )
    return failed


def _bring_all(
    crl_root: str,
    watch: Watch,
    before: Record,
    standings: Mapping[str, Standing],
    unenforced: Mapping[str, str],
) -> dict[str, After]:
    users: dict[str, User] = {}
    wanted: dict[str, dict[str, InForce]] = {}
    ends: dict[str, str] = {}
    for trust in watch.trusts:
        for user in crl_users.users(watch.gateway_root, crl_root, trust):
            users[user.name] = user
            for name in DIRECTIONS:
                link = in_force(link_of(crl_root, trust, name))
                wanted.setdefault(user.name, {})[f"{trust}/{name}"] = link
            if trust in unenforced and _lets_in(crl_root, trust, standings[trust]):
                ends[user.name] = unenforced[trust]
    loaded = before.loaded
    return {
        name: bring(
            user,
            wanted[name],
            Before((loaded or {}).get(name), before.stopped.get(name, ""), loaded is not None),
            ends.get(name, ""),
        )
        for name, user in sorted(users.items())
    }


def _lets_in(crl_root: str, trust: str, standing: Standing) -> bool:
    """Whether a direction that has to refuse does not."""
    return any(
        one.in_force == REFUSAL and not in_force(link_of(crl_root, trust, name)).refuses
        for name, one in standing.decisions.items()
    )


def _attempt(what: str, write: Callable[[], None]) -> list[Line]:
    """What is only told must not keep the guard from its work."""
    try:
        write()
    except (HostError, OSError) as exc:
        text = f"the guard cannot write {what} ({told(exc)}); make that possible"
        return [Line(crl_told.ERROR, text)]
    return []


def main(argv: Sequence[str]) -> int:
    """One tick. 0: everything is as it has to be; 1: something is not; 2: wrong usage."""
    if len(argv) != 2 or argv[0] != "--root" or not os.path.isabs(argv[1]):
        print("usage: python3 -m pki_host.crl_guard --root CRL_ROOT", file=sys.stderr)
        return 2
    try:
        ticked = tick(argv[1])
    except (HostError, OSError) as exc:
        crl_told.say([Line(crl_told.ALERT, f"the guard of CRLs could not work: {told(exc)}")])
        return 1
    crl_told.say(ticked.lines)
    return int(ticked.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
