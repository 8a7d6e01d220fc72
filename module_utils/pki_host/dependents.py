# SPDX-License-Identifier: GPL-3.0-or-later
"""Who still comes with certificates of a CA that is to be retired, and whose far ends show one.

Asked only while a CA is being retired. Logs are read from their end, rotated ones included, and no
more of them than is said: a busy gateway writes gigabytes a day.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import stat
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from . import gateways, handshake
from .errors import HostError

#: How much of the logs of one gateway is read, in bytes.
LARGEST = 128 << 20
_BLOCK = 1 << 20
_LONGEST_LINE = 64 << 10
_RUN = re.compile(r"[A-Za-z0-9 .-]{3,}")


def observe(watched: Mapping[str, Any], largest: int = LARGEST) -> Dict[str, Any]:
    """What the logs and the far ends of this host's gateways tell. Changes nothing.

    Args:
        watched: ``issuers`` (subjects of CAs, RFC 2253), ``since`` (what was written before does
            not matter; seconds of the epoch), ``gateways``: each ``name``, ``product``, ``root``
            and ``far_ends`` (``listener``, ``address``, ``port``, ``server_name``).
        largest: bytes of each gateway's logs.

    Returns:
        ``peers``: the newest verified request of each issuer and gateway, with ``gateway``,
        ``issuer``, ``subject``, ``serial`` and ``time``. ``far_ends``: each with ``gateway``,
        ``listener``, ``chain`` (base64 of DER, leaf first) and ``problem``. ``unread``: a sentence
        for each gateway whose logs were not looked through as far back as was asked.
    """
    told: Dict[str, Any] = {"peers": [], "far_ends": [], "unread": []}
    for one in watched["gateways"]:
        name = str(one["name"])
        issuers = [str(issuer) for issuer in watched["issuers"]]
        try:
            adapter = gateways.adapter(str(one["product"]))
            log = adapter.access_log(str(one["root"]))
            peers, unread = newest(log, issuers, float(watched["since"]), largest)
        except (OSError, HostError) as exc:
            peers, unread = [], f"its log cannot be read: {exc}"
        told["peers"] += [{"gateway": name, **peer} for peer in peers]
        told["unread"] += [f"{name}: {unread}"] if unread else []
        told["far_ends"] += [{"gateway": name, **_far_end(end)} for end in one["far_ends"]]
    return told


def newest(
    log: str, issuers: Sequence[str], since: float, largest: int = LARGEST
) -> Tuple[List[Dict[str, str]], str]:
    """The newest verified request of each issuer, and how far back was read if not far enough.

    A log that is not there has nobody in it. Raises OSError for one that cannot be read.
    """
    missing = {issuer: _needle(issuer) for issuer in issuers}
    found: List[Dict[str, str]] = []
    left, oldest = largest, ""
    for path in _files(log, since):
        for line in _backwards(path, left):
            left -= len(line) + 1
            if not missing:
                return found, ""
            if left <= 0:
                oldest = str((_entry(line) or {}).get("time", "")) or oldest
                return found, f"its log was read back to {oldest or 'an unknown time'} only"
            if not any(needle in line for needle in missing.values()):
                continue
            entry = _entry(line)
            if entry is None or entry.get("verify") != "SUCCESS" or entry["issuer"] not in missing:
                continue
            del missing[entry["issuer"]]
            found.append({name: str(entry.get(name, "")) for name in _FIELDS})
    return found, ""


_FIELDS = ("issuer", "subject", "serial", "time")


def _needle(issuer: str) -> bytes:
    """Bytes that every line of this issuer has, however its log escapes the rest."""
    runs = _RUN.findall(issuer.partition(",")[0])
    return max(runs, key=len).encode() if runs else b""


def _entry(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        entry = json.loads(line.decode("utf-8", "replace"))
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("issuer"), str) else None


def _files(log: str, since: float) -> List[str]:
    """The log and what became of it by rotation, newest first, as far as it matters."""
    folder, name = os.path.split(log)
    try:
        names = [
            one
            for one in os.listdir(folder)
            if one == name or one.startswith((f"{name}.", f"{name}-"))
        ]
    except FileNotFoundError:
        return []
    known = []
    for one in names:
        status = os.lstat(os.path.join(folder, one))
        # Links are not ours: whoever writes logs shall not choose what root reads.
        if stat.S_ISREG(status.st_mode) and (one == name or status.st_mtime >= since):
            known.append((one == name, status.st_mtime, os.path.join(folder, one)))
    return [path for _, _, path in sorted(known, reverse=True)]


def _backwards(path: str, limit: int) -> Iterator[bytes]:
    """The lines of a file, last one first."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if path.endswith(".gz"):
            yield from _unpacked(path, file, limit)
            return
        end, rest = file.seek(0, os.SEEK_END), b""
        while end > 0:
            start = max(end - _BLOCK, 0)
            file.seek(start)
            lines = (file.read(end - start) + rest[:_LONGEST_LINE]).split(b"\n")
            rest, end = lines[0], start
            yield from reversed(lines[1:])
        yield rest


def _unpacked(path: str, file: Any, limit: int) -> Iterator[bytes]:
    try:
        with gzip.open(file) as unpacked:
            data = unpacked.read(limit + 1)
    except (OSError, EOFError) as exc:
        raise OSError(f"{os.path.basename(path)}: {exc}") from exc
    yield from reversed(data.split(b"\n"))


def _far_end(end: Mapping[str, Any]) -> Dict[str, Any]:
    context = handshake.context_of()
    seen = handshake.connect(
        context, str(end["address"]), int(end["port"]), str(end["server_name"]), ask=False
    )
    return {
        "listener": str(end["listener"]),
        "chain": [base64.b64encode(der).decode("ascii") for der in seen.chain],
        "problem": "" if seen.chain else seen.problem or "no certificate was sent",
    }
