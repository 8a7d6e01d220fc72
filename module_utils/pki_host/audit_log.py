# SPDX-License-Identifier: GPL-3.0-or-later
"""What Vault's audit log tells of keys that left: every wrap, every use of a wrap, every export.

Works line by line and keeps only what is about keys, so that a log of any length needs little
memory and only these events leave the machine. Measured on OpenBao 2.7: one audit device hashes
a token to the same value wherever it occurs, as the answer's ``wrap_info``, as the client's own
token and as a parameter; a refused unwrap is one line, of the request. Denied exports gave
nothing away and are left out.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .errors import HostError

#: Lines beyond this are no lines of such a log; they are counted and left out.
LONGEST_LINE = 1 << 20
#: Events of one look. More is a log of years, or somebody drowning one event in others.
MOST_EVENTS = 20_000
_HINTS = (
    b"/export/",
    b"/backup/",
    b"/byok-export/",
    b"/passphrases/",
    b"/api-keys/",
    b"wrapping/",
    b"cubbyhole/",
)
_SECRET = re.compile(
    r"[^/].*/(?:export|backup|byok-export)/.+|[^/]+/data/(?:passphrases|api-keys)/.+"
)
#: Calls that spend a wrap token: whoever makes one has what was wrapped.
_TAKES = {
    "sys/wrapping/unwrap": "unwrap",
    "sys/wrapping/rewrap": "rewrap",
    "cubbyhole/response": "cubbyhole",
}
#: Asking after a token gives nothing away; a host does so first, and is refused for a spent one.
_LOOKUP = "sys/wrapping/lookup"
_SHOWN = 24  # hexadecimal digits of a token's keyed hash: enough to tell one from another


@dataclass
class Look:
    """What was seen of some logs.

    ``events`` are plain maps in the order of the lines: ``wrap`` and ``clear`` are answered
    reads of a secret, ``take`` is an attempt to spend a token. ``lines`` were read, ``foreign``
    of them are no lines of an audit log, ``partial`` ended without being whole.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0
    foreign: int = 0
    partial: int = 0
    first: str = ""
    last: str = ""
    _seen: set[tuple[str, str]] = field(default_factory=set, repr=False)

    def as_result(self) -> dict[str, Any]:
        """For the module's result; nothing in it is secret."""
        return {
            "events": self.events,
            "lines": self.lines,
            "foreign": self.foreign,
            "partial": self.partial,
            "first": self.first,
            "last": self.last,
        }

    def feed(self, line: bytes, whole: bool = True) -> None:
        """One line, without its end; not ``whole`` for the end of a file that is being written."""
        if not line.strip():
            return
        self.lines += 1
        interesting = any(hint in line for hint in _HINTS)
        # The first line shows that this is such a log at all, and when it begins.
        if not interesting and self.first and whole:
            return
        entry = _entry(line)
        if entry is None:
            if whole:
                self.foreign += 1
            else:
                self.partial += 1
            return
        moment = str(entry.get("time", ""))
        self.first, self.last = self.first or moment, moment or self.last
        for event in _events(entry):
            self._add(event, _map(entry, "request").get("id"))

    def _add(self, event: dict[str, Any], request: object) -> None:
        """A log that was copied while it rotated has lines twice; a call is counted once."""
        key = (str(request), str(event["kind"]))
        if request and key in self._seen:
            return
        self._seen.add(key)
        if len(self.events) >= MOST_EVENTS:
            raise HostError(
                "the audit log tells of more keys than can be looked at",
                rule="AUDIT-LOG",
                found=f"more than {MOST_EVENTS} wraps, uses and exports",
                expected="the part of the log that is in question",
                where="option paths",
                next_step="name only the newest files; find out who exports that often",
            )
        self.events.append(event)


def look(paths: Iterable[str]) -> Look:
    """Everything about keys in these files, compressed (.gz) or not.

    Raises HostError AUDIT-LOG for a file that cannot be read or is no audit log, since an empty
    answer would mean that no key ever left.
    """
    seen = Look()
    for path in paths:
        before = seen.lines - seen.foreign
        with _opened(path) as stream:
            try:
                for line, whole in _lines(stream):
                    seen.feed(line, whole)
            except (OSError, EOFError, zlib.error) as exc:
                raise _unreadable(path, type(exc).__name__) from None
        if seen.lines - seen.foreign == before and os.stat(path).st_size:
            raise _unreadable(path, "no line of an audit log")
    if not seen.first:
        raise _unreadable(", ".join(paths) or "nothing", "no line of an audit log")
    return seen


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Every line and whether it is whole; one that is too long is cut, and so is foreign."""
    while True:
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        whole = line.endswith(b"\n")
        if not whole and len(line) == LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE)
            yield b"(too long)", True
            continue
        yield line.rstrip(b"\n"), whole


def _opened(path: str) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stream = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise _unreadable(path, "no regular file")
    except OSError as exc:
        raise _unreadable(path, exc.strerror or "unreadable") from None
    return gzip.GzipFile(fileobj=stream) if path.endswith(".gz") else stream  # type: ignore[return-value]


def _unreadable(path: str, found: str) -> HostError:
    return HostError(
        "the audit log cannot be looked at",
        rule="AUDIT-LOG",
        found=found,
        expected="a JSON audit log of Vault or OpenBao that this user may read",
        where=path,
        next_step="correct the path, or let the user that Ansible becomes read it; until then "
        "nothing is known about deliveries",
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line as an entry; None for what is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("type") not in ("request", "response"):
        return None
    return entry if isinstance(entry.get("request"), dict) else None


def _map(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def _events(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    request, response = _map(entry, "request"), _map(entry, "response")
    path, failed = str(request.get("path", "")), bool(entry.get("error"))
    answered = entry["type"] == "response" and not failed
    base = {
        "time": str(entry.get("time", "")),
        "from": str(request.get("remote_address", "")),
        "identity": _identity(entry),
    }
    if (path in _TAKES and (answered or failed)) or (path == _LOOKUP and failed):
        token = _map(request, "data").get("token") or request.get("client_token")
        how = {"how": _TAKES.get(path, "lookup"), "token": _token(token), "ok": answered}
        yield {"kind": "take" if answered else "refused", **base, **how}
    wrapped = _map(response, "wrap_info")
    if answered and wrapped and _SECRET.fullmatch(str(wrapped.get("creation_path", ""))):
        parent = _map(request, "data").get("token") if path in _TAKES else ""
        yield {
            "kind": "wrap",
            **base,
            "path": str(wrapped["creation_path"]),
            "token": _token(wrapped.get("token")),
            "ttl": _seconds(wrapped.get("ttl")),
            "parent": _token(parent),
        }
    clear = answered and not wrapped and request.get("operation") == "read"
    if clear and _SECRET.fullmatch(path) and _map(response, "data"):
        yield {"kind": "clear", **base, "path": path}


def _seconds(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _identity(entry: Mapping[str, Any]) -> str:
    """The role that logged in, else how the token is called."""
    auth = _map(entry, "auth")
    role = _map(auth, "metadata").get("role_name")
    return str(role or auth.get("display_name") or "")


def _token(value: object) -> str:
    """A token's keyed hash, shortened. One that is not hashed (log_raw) is never passed on."""
    text = str(value or "")
    if not text:
        return ""
    prefix, _, digest = text.partition(":")
    hashed = prefix.startswith("hmac-") and re.fullmatch(r"[0-9a-f]{32,}", digest)
    if not hashed:
        raise HostError(
            "the audit log shows tokens in the clear",
            rule="AUDIT-LOG",
            found="a token that is not hashed (log_raw)",
            expected="an audit device that hashes what is secret",
            where="the audit device",
            next_step="switch log_raw off, protect or destroy this log, and treat the tokens in it "
            "as known to whoever could read it",
        )
    return digest[:_SHOWN]
