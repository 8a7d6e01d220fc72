# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases and CRL sets as they lie on a host. Of a private key only what protects it is told."""

from __future__ import annotations

import base64
import grp
import json
import os
import pwd
import re
import stat
from collections.abc import Iterable
from typing import Any

from . import crl_store, files, openssl
from .crl_store import CRL, SetFacts, Store
from .crl_watch import Watch
from .errors import HostError
from .key import RECORD
from .release import KEY

#: The largest CRL set that is carried away whole; of a larger one the digest must do.
LARGEST_CRL = 1 << 20
_MOST_RELEASES = 50
_CRL_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----[A-Za-z0-9+/=\s]+-----END X509 CRL-----")
# Both of an encrypted key's PEM forms say it: in the label, or in the header below it.
_ENCRYPTED = b"ENCRYPTED"


def releases(root: str, certificates: Iterable[str]) -> list[dict[str, Any]]:
    """Every release directory of the named certificates, newest name first."""
    found: list[dict[str, Any]] = []
    for certificate in certificates:
        base = os.path.join(root, certificate)
        current = _link(os.path.join(base, "current"))
        names = sorted(_listed(os.path.join(base, "releases")), reverse=True)[:_MOST_RELEASES]
        for name in names:
            path = os.path.join(base, "releases", name, KEY)
            found.append(
                {
                    "certificate": certificate,
                    "release": name,
                    "in_service": current == f"releases/{name}",
                    "home": False,
                    **_key(path),
                }
            )
        found += _own_keys(base, certificate)
    return found


def _own_keys(base: str, certificate: str) -> list[dict[str, Any]]:
    """The keys that this host made itself, where it keeps them; see :mod:`.key`.

    The public half of an encrypted one stands in the record beside it, and nowhere else.
    """
    folder = os.path.join(base, "keys")
    names = sorted((name for name in _listed(folder) if name.isdecimal()), key=int, reverse=True)
    found = []
    for name in names[:_MOST_RELEASES]:
        seen = _key(os.path.join(folder, name, KEY))
        recorded = _recorded_digest(os.path.join(folder, name, RECORD))
        found.append(
            {
                "certificate": certificate,
                "release": f"keys/{name}",
                "in_service": False,
                "home": True,
                **seen,
                "spki_sha256": seen["spki_sha256"] or recorded,
            }
        )
    return found


def _recorded_digest(path: str) -> str:
    try:
        public = json.loads(_read(path) or b"{}")["public"]
        return files.sha256(base64.b64decode(public, validate=True))
    except (ValueError, KeyError, TypeError):
        return ""


def _key(path: str) -> dict[str, Any]:
    """What protects a private key, and the SHA-256 of its public half (SubjectPublicKeyInfo)."""
    key = _read(path)
    protection = _protection(path)
    protection["encrypted"] = key is not None and _ENCRYPTED in key
    return {"key": protection, "spki_sha256": _public_digest(key)}


def _protection(path: str) -> dict[str, Any]:
    """Mode, owner and group of a file and the mode of its directory; empty when it is not there."""
    try:
        status = os.lstat(path)
        above = os.stat(os.path.dirname(path))
    except OSError:
        return {"mode": "", "owner": "", "group": "", "directory_mode": "", "links": 0}
    return {
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": _name_of(pwd.getpwuid, status.st_uid),
        "group": _name_of(grp.getgrgid, status.st_gid),
        "directory_mode": f"{stat.S_IMODE(above.st_mode):04o}",
        "links": status.st_nlink,
    }


def _name_of(look_up: Any, number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def _public_digest(key: bytes | None) -> str:
    public = openssl.public_key_of_key(key) if key else None
    if public is None:
        return ""
    lines = [line for line in public.splitlines() if not line.startswith(b"-----")]
    return files.sha256(base64.b64decode(b"".join(lines)))


def crl_sets(root: str, trusts: Iterable[str]) -> list[dict[str, Any]]:
    """The CRL set in service of each trust entry, and what refresh, guard and grace say of it."""
    watch = _watch(root)
    return [_crl_set(root, trust, watch) for trust in trusts]


def _watch(root: str) -> Watch | None:
    """What the host watches; None where no run said so, or nobody can read it."""
    try:
        return Watch.load(root)
    except HostError:
        return None


def _guard(root: str, trust: str) -> dict[str, Any]:
    """What the guard noted of a trust entry, and when it last looked."""
    noted = _told(root, crl_store.GUARD)
    trusts = noted.get("trusts")
    entry = trusts.get(trust) if isinstance(trusts, dict) else None
    return {**entry, "ran_at": noted.get("ran_at", "")} if isinstance(entry, dict) else {}


def _directions(watch: Watch | None, trust: str) -> dict[str, Any]:
    """What is to happen in each direction in use once the set is too old."""
    known = watch.trusts.get(trust) if watch is not None else None
    return {name: vars(one) for name, one in known.directions.items()} if known else {}


def _crl_set(root: str, trust: str, watch: Watch | None) -> dict[str, Any]:
    base = os.path.join(root, trust)
    data = _read(os.path.join(base, "current", CRL))
    poll = _poll(root, trust)
    return {
        "trust": trust,
        "target": _link(os.path.join(base, "current")),
        "problem": "" if data is not None else "no CRL file is in service",
        "sha256": files.sha256(data) if data is not None else "",
        "size": len(data or b""),
        "pem": _crls(data) if data and len(data) <= LARGEST_CRL else "",
        "poll": poll,
        "fetched_at": poll["fetched_at"],
        "next_update": poll["next_update"],
        "refresh": _told(base, "status.json"),
        "guard": _guard(root, trust),
        "grace": _told(base, "grace.json"),
        "watch": _directions(watch, trust),
    }


def _told(base: str, name: str) -> dict[str, Any]:
    """What one of the two timers noted; empty where it did not."""
    try:
        return crl_store.read_json(os.path.join(base, name))
    except HostError:
        return {}


def _crls(data: bytes) -> str:
    """The CRLs of a file and nothing else: whatever lies there instead stays on the host."""
    return b"".join(block + b"\n" for block in _CRL_BLOCK.findall(data)).decode("ascii")


def _poll(root: str, trust: str) -> dict[str, str]:
    """Since when the set in service is not confirmed, when it ends, and what was staged last."""
    try:
        store = Store(root, trust)
        current = store.current()
        staged = crl_store.newest_set(store) or current or SetFacts("", ())
        return {
            "fetched_at": store.oldest_confirmation(current),
            "next_update": current.next_update if current else "",
            "set": staged.id,
        }
    except (HostError, OSError):
        return {"fetched_at": "", "next_update": "", "set": ""}


def _read(path: str) -> bytes | None:
    """A file's bytes; None for one that is not there or is not for this user."""
    try:
        return files.read(path)
    except HostError:
        return None


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _listed(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except OSError:
        return []
