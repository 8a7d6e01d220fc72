# SPDX-License-Identifier: GPL-3.0-or-later
"""Having each gateway load what is in force, or end. No lock, no network code.

Only what a gateway is not known to have loaded makes it reload. One that refuses to load a refusal
is ended with all its sessions, and started again once nothing it uses is refused.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from . import crl_told, crl_users, files
from .crl_guard_record import Loaded
from .crl_told import Line
from .crl_users import User
from .errors import HostError
from .service import Daemon

#: Longer than a run that goes on takes from its first file to its last.
RETRY_SECONDS = 5.0
_FAULTS = (HostError, OSError, subprocess.SubprocessError)


@dataclass(frozen=True)
class InForce:
    """What a direction's link says now, and a stamp that no other link of that name ever has."""

    target: str
    stamp: str

    @property
    def refuses(self) -> bool:
        return self.target.startswith("..")


def in_force(path: str) -> InForce:
    """What a link says. The stamp is the older of the two if the link is exchanged meanwhile."""
    try:
        status = os.lstat(path)
        stamp = f"{status.st_ino}.{status.st_mtime_ns}"
    except OSError:
        stamp = ""
    return InForce(files.link_target(path) or "", stamp)


@dataclass(frozen=True)
class Before:
    """What was recorded of one gateway: what it has loaded, and why it was stopped, if it was.

    ``certain`` is False where a record was there and cannot be read.
    """

    loaded: Optional[Loaded]
    stopped: str
    certain: bool


@dataclass(frozen=True)
class After:
    """What is recorded of it now. ``failed``: it is not as it has to be."""

    loaded: Optional[Loaded]
    stopped: str = ""
    failed: bool = False
    lines: tuple[Line, ...] = ()


def bring(user: User, wanted: Mapping[str, InForce], before: Before, unenforced: str = "") -> After:
    """Have one gateway load what is ``wanted``, by ``<trust>/<direction>``.

    ``unenforced``: why the link of a direction could not be made to refuse; then it is ended.
    """
    loaded = Loaded(
        {key: one.target for key, one in wanted.items()},
        {key: one.stamp for key, one in wanted.items()},
    )
    if not before.stopped and not unenforced and _is_loaded(wanted, before):
        return After(loaded)
    try:
        return _bring(user, wanted, before, loaded, unenforced)
    except _FAULTS as exc:
        text = f"gateway {user.name}: it cannot be looked after ({told(exc)}); look at it yourself"
        return After(before.loaded, before.stopped, True, (Line(crl_told.ALERT, text),))


def _is_loaded(wanted: Mapping[str, InForce], before: Before) -> bool:
    """Whether nothing was exchanged since it loaded. What no record speaks of was its set."""
    known = before.loaded or Loaded()
    return before.certain and all(
        known.targets[key] == one.target and known.stamps.get(key) == one.stamp
        if key in known.targets
        else not one.refuses
        for key, one in wanted.items()
    )


def _bring(
    user: User, wanted: Mapping[str, InForce], before: Before, loaded: Loaded, unenforced: str
) -> After:
    daemon = crl_users.daemon(user)
    refused = sorted(key for key, one in wanted.items() if one.refuses)
    if daemon.master() is None:
        if not before.stopped:
            return After(before.loaded)  # whoever starts it starts it with what is in force
        if refused or unenforced:
            return After(None, before.stopped)
        return _start(user, daemon, loaded)
    if unenforced:
        return _cut(user, daemon, before, unenforced)
    serving = daemon.generation()
    try:
        _reload(daemon, again=bool(refused))
    except _FAULTS as exc:
        if refused:
            return _cut(user, daemon, before, f"it did not load the refusal: {told(exc)}")
        text = (
            f"gateway {user.name}: it did not load its CRL set again ({told(exc)}) and goes on "
            "with what it has; correct what its error log names"
        )
        return After(before.loaded, "", True, (Line(crl_told.ERROR, text),))
    crl_users.note_reload(user, daemon, serving)
    what = f"it refuses {', '.join(refused)}" if refused else "it uses its CRL sets"
    line = Line(crl_told.INFO, f"gateway {user.name}: reloaded, {what}; there is nothing to do")
    return After(loaded, lines=(line,))


def _reload(daemon: Daemon, *, again: bool) -> None:
    """Reload it, ``again`` once more after a pause: a run may be writing its files just now."""
    try:
        daemon.reload()
        return
    except _FAULTS:
        if not again or daemon.master() is None:
            raise
    time.sleep(RETRY_SECONDS)
    daemon.reload()


def _start(user: User, daemon: Daemon, loaded: Loaded) -> After:
    try:
        daemon.start()
    except _FAULTS as exc:
        why = f"it could not be started again: {told(exc)}"
        text = f"gateway {user.name}: {why}; run site.yml for this host, the next tick tries again"
        return After(None, why, True, (Line(crl_told.ALERT, text),))
    text = f"gateway {user.name}: started again, its CRL sets are fresh; there is nothing to do"
    return After(loaded, lines=(Line(crl_told.INFO, text),))


def _cut(user: User, daemon: Daemon, before: Before, why: str) -> After:
    daemon.cut()
    if daemon.master() is not None:
        text = f"gateway {user.name}: {why}, and it cannot be ended; end it by hand now"
        return After(before.loaded, "", True, (Line(crl_told.ALERT, text),))
    text = (
        f"gateway {user.name}: ended, as {why}; it is started again once its CRL sets are fresh: "
        "run playbooks/crl_refresh.yml for this host"
    )
    return After(None, why, True, (Line(crl_told.ALERT, text),))


def told(exc: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(exc, HostError):
        return f"{exc.message}: {exc.found}" if exc.found else exc.message
    if isinstance(exc, OSError):
        return os.strerror(exc.errno) if exc.errno else type(exc).__name__
    return type(exc).__name__
