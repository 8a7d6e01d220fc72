# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module says of a change it made, for the audit trail. Pure.

A module that changes something returns a list of these under ``trail``, empty in check mode; a
callback writes them down (``trail_file``). Nothing but these fields is ever kept, and each of
them has a shape in which no key, token or passphrase can hide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import PkiError, shown

RULE = "TRAIL-EVENT"
#: The fields of an event, in the order in which they are told.
FIELDS = ("event", "certificate", "version", "artefacts", "by", "reason", "vault")
LONGEST_TEXT = 500
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Vault's are UUIDs; a proxy before it may make others of the same alphabet.
_REQUEST_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


def event(
    event: str,
    certificate: str = "",
    version: int = 0,
    artefacts: Mapping[str, str] | None = None,
    by: str = "",
    reason: str = "",
    vault: Iterable[str] = (),
) -> dict[str, Any]:
    """One change as an entry of a module's result ``trail``.

    Args:
        event: what happened, in the past tense ("request written").
        certificate: the certificate's name, or the entry's where it is about all of its hosts.
        version: which version of it; 0 where it is about none.
        artefacts: SHA-256, 64 lower-case hexadecimal digits, by the name of the file or object.
        by: the person on whose word it was done, where that was told.
        reason: the person's words, where they were told.
        vault: ids of the requests to Vault that did it, as Vault's audit log has them.

    What people wrote (certificate, by, reason) is bounded and its control characters are spelled
    out, never refused: the change has happened, and is to be told.

    Raises:
        PkiError: TRAIL-EVENT for a shape that no event has; a fault of the caller.
    """
    if not isinstance(event, str) or not event.strip():
        raise _wrong("event", event, "what happened, in words")
    return {
        "event": _line("event", event),
        "certificate": _line("certificate", certificate),
        "version": _version(version),
        "artefacts": _artefacts(artefacts),
        "by": _line("by", by),
        "reason": _line("reason", reason),
        "vault": _request_ids(vault),
    }


def checked(raw: object) -> dict[str, Any]:
    """An event that came through a module's result: hosts build it without this file.

    Raises:
        PkiError: TRAIL-EVENT for anything that is no event, an unknown field included.
    """
    if not isinstance(raw, Mapping) or not set(raw) <= set(FIELDS) or "event" not in raw:
        names = sorted(map(str, raw)) if isinstance(raw, Mapping) else type(raw).__name__
        raise _wrong("trail", names, f"a map with the fields {', '.join(FIELDS)}")
    return event(**{str(name): value for name, value in raw.items()})


def _line(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(field, type(value).__name__, "text")
    # Plain, as Ansible's own kinds of text carry tags that no line of a file may have.
    return shown(str(value).strip())[:LONGEST_TEXT]


def _version(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong("version", value, "a number from 0")
    return int(value)


def _artefacts(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong("artefacts", type(value).__name__, "digests by name")
    for name, digest in value.items():
        # The value itself is not shown: it could be the object instead of its digest.
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _wrong("artefacts", f"no digest at {name!r}", "64 hexadecimal digits")
    return {_line("artefacts", name): str(digest) for name, digest in sorted(value.items())}


def _request_ids(value: object) -> list[str]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong("vault", type(value).__name__, "a list of request ids")
    ids = list(value)
    if not all(isinstance(one, str) and _REQUEST_ID.fullmatch(one) for one in ids):
        raise _wrong("vault", "an entry that is none", "ids of requests to Vault")
    return list(dict.fromkeys(map(str, ids)))


def _wrong(field: str, found: object, expected: str) -> PkiError:
    return PkiError(
        "an event of the audit trail has the wrong shape",
        rule=RULE,
        found=str(found),
        expected=expected,
        where=f"field {field}",
        next_step="report this; the change itself was made",
    )
