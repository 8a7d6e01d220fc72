# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has in service besides its releases: CRL sets, API keys, gateways. Reads only."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from . import crl_store, files, transaction
from .crl_store import Store
from .desired import Applied
from .errors import HostError
from .gateways import adapter
from .service import Daemon, for_host, is_program
from .systemd import Unit
from .undo import Undo

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
API_KEYS = "api-keys"


def crl_sets(root: str, *, pem: bool = False) -> list[dict[str, Any]]:
    """The CRL set in service of each trust entry, when it was fetched and has to be again.

    ``refresh``, ``guard`` and ``grace`` are what the two timers noted of it, empty where nothing.
    """
    guarded = _json(os.path.join(root, crl_store.GUARD)).get("trusts")
    told = guarded if isinstance(guarded, dict) else {}
    found = []
    for trust in _names(root):
        store = Store(root, trust)
        current = store.current()
        if current is None:
            continue
        path = os.path.join(store.folder(current.id), crl_store.CRL)
        text = files.read(path) or b"" if pem else b""
        found.append(
            {
                "trust": trust,
                "target": f"sets/{current.id}",
                "fetched_at": store.oldest_confirmation(current),
                "next_update": current.next_update,
                "pem": text.decode("ascii", "replace"),
                "refresh": store.status(),
                "guard": told.get(trust) or {},
                "grace": _json(os.path.join(store.base, "grace.json")),
            }
        )
    return found


def api_keys(root: str) -> list[dict[str, str]]:
    """The API keys in service: name, and where its link points. Never a key."""
    base = os.path.join(root, API_KEYS)
    links = (
        (name, files.link_target(os.path.join(base, name, "current"))) for name in _names(base)
    )
    return [{"name": name, "target": target} for name, target in links if target]


def gateways(root: str) -> list[dict[str, Any]]:
    """Every gateway below this directory, as its record and its processes tell."""
    return [_gateway(root, name) for name in _names(root) if _is_gateway(os.path.join(root, name))]


def _is_gateway(root: str) -> bool:
    return os.path.lexists(os.path.join(root, transaction.APPLIED)) or _interrupted(root)


def _gateway(base: str, name: str) -> dict[str, Any]:
    root = os.path.join(base, name)
    applied = Applied.parse(files.read(os.path.join(root, transaction.APPLIED)))
    told = dict(applied.gateway) if applied else {}
    probes = applied.probes if applied else ()
    entry: dict[str, Any] = {
        "name": name,
        "product": told.get("product", ""),
        "running": None,
        "as_recorded": False,
        "interrupted": _interrupted(root),
        "problem": "" if applied else "no change of it was ever finished",
        "listeners": [
            {"name": one.name, "kind": one.kind, "address": one.address, "port": one.port}
            for one in probes
        ],
        "out_of_service": [one.name for one in applied.closed] if applied else [],
        "uses": list(applied.uses) if applied else [],
    }
    if applied is None or not {"product", "program", "service"} <= {*told}:
        return entry
    try:
        daemon = _daemon(told, root, name)
        serving = daemon.generation() if daemon else None
    except (HostError, OSError) as exc:
        return {**entry, "problem": getattr(exc, "message", "") or type(exc).__name__}
    stopped = not probes and bool(applied.closed)
    entry["running"] = serving is not None
    entry["as_recorded"] = (
        serving is None if stopped else bool(serving and serving.still_serves(applied.generation))
    )
    return entry


def _daemon(told: dict[str, str], root: str, name: str) -> Daemon | None:
    """Who runs it; None where the program is not there any more."""
    program = told["program"]
    if not is_program(program):
        return None
    build = for_host(adapter(told["product"]), program)
    if told["service"] == Unit.kind:
        return Unit(build, program, root, name)
    return Daemon(build, program, root)


def _interrupted(root: str) -> bool:
    try:
        return Undo.load(os.path.dirname(root)).part(root) is not None
    except HostError:  # a damaged record is no finished change either
        return True


def _json(path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(path) or b"{}")
    except (ValueError, HostError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(directory: str) -> list[str]:
    try:
        found = [entry for entry in os.scandir(directory) if _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
