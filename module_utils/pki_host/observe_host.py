# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's clock and how long it keeps its gateways' logs: looked at, never changed."""

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Iterable, Sequence
from typing import Any

from . import logrotate

_UNSYNCHRONISED, _NANOSECONDS = 0x40, 0x2000
LOGROTATE = "/etc/logrotate.conf"


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as far as it is read; the rest is room for the kernel."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 64),
    ]


def clock() -> dict[str, Any]:
    """The kernel's clock discipline; seconds. ``problem`` says why it cannot be read."""
    found = {
        "problem": "",
        "synchronised": False,
        "offset_seconds": 0.0,
        "max_error_seconds": -1.0,
    }
    state = _Timex()
    try:
        # modes 0 asks and sets nothing, and needs no privilege.
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError) as exc:
        found["problem"] = f"adjtimex: {type(exc).__name__}"
        return found
    if answer < 0:
        found["problem"] = f"adjtimex: {os.strerror(ctypes.get_errno())}"
        return found
    unit = 1e-9 if state.status & _NANOSECONDS else 1e-6
    found["synchronised"] = not state.status & _UNSYNCHRONISED
    found["offset_seconds"] = state.offset * unit
    found["max_error_seconds"] = state.maxerror * 1e-6
    return found


def logs(directories: Iterable[str], configuration: str = LOGROTATE) -> list[dict[str, Any]]:
    """Every log in the directories, and for how many days its entries stay at least."""
    paths = [path for one in directories for path in sorted(glob.glob(f"{glob.escape(one)}/*.log"))]
    return [_retention(path, logrotate.read(configuration)) for path in paths]


def _retention(path: str, stanzas: Sequence[logrotate.Stanza]) -> dict[str, Any]:
    """The shortest promise wins: a log in two stanzas is rotated by both."""
    bounds = [(stanza.days, stanza) for stanza in stanzas if stanza.covers(path)]
    if not bounds:
        return {"log": path, "live_days": -1, "bound_by": "nothing rotates it"}
    limited = [bound for bound in bounds if bound[0] >= 0] or bounds
    days, stanza = min(limited, key=lambda bound: bound[0])
    return {"log": path, "live_days": days, "bound_by": f"{stanza.file}: {stanza.why}"}
