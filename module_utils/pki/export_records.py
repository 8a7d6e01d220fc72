# SPDX-License-Identifier: GPL-3.0-or-later
"""``exports.yml`` beside a version: to whom its key was handed, in what, and who received it.

Written once an export, read strictly: a record that is misread could hide that a key has left.
Nothing in it is secret. An export's entry is never changed; its receipt is added once.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import plain_files, public_state, records
from .errors import PkiError

FILE = "exports.yml"
RULE = "EXPORT-RECORD"
#: What the receipt says of the passphrase's way; before it nothing is known to have been sent.
WAYS = ("separate", "file")
NOT_SENT = "not_sent"
#: Also a name in Vault and of a file.
ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")

_LONGEST = 500
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("id", "date", "recipient", "by", "file", "file_sha256", "passphrase_in")
_FORMAT: Mapping[str, type] = {
    "format": str,
    "mode": str,
    "private_keys": int,
    "key_matches": bool,
    "chain_length": int,
    "ends_at_anchor": bool,
    "key_encryption": str,
    "certificates_encrypted": bool,
    "mac": str,
    "iterations": int,
    "salt_octets": int,
}
_PASSWORD: Mapping[str, type] = {
    "length": int,
    "words": int,
    "entropy_bits": int,
    "letters_and_digits": bool,
    "earlier_uses": int,
}
_RECEIPT = ("date", "sent_with", "received_by")


@dataclass(frozen=True, slots=True)
class Receipt:
    """That the recipient has it: when, which way the passphrase went, and who received it."""

    date: str
    sent_with: str
    received_by: str

    def as_record(self) -> dict[str, str]:
        """As it is kept."""
        return {name: getattr(self, name) for name in _RECEIPT}


@dataclass(frozen=True, slots=True)
class Export:
    """One export. ``recipient`` is an organisation's key; ``passphrase_in`` a place in Vault, or
    ``terminal`` for one that was shown once; ``facts`` what the file and its passphrase are."""

    id: str
    date: str
    recipient: str
    by: str
    file: str
    file_sha256: str
    passphrase_in: str
    facts: Mapping[str, Any]
    receipt: Receipt | None = None

    def as_record(self) -> dict[str, Any]:
        """As it is kept."""
        receipt = {"receipt": self.receipt.as_record()} if self.receipt else {}
        return {
            **{name: getattr(self, name) for name in _TEXTS},
            "facts": dict(self.facts),
            **receipt,
        }

    def as_facts(self, certificate: str, version: int) -> dict[str, Any]:
        """The facts document of kind ``export``."""
        return {
            "certificate": certificate,
            "version": version,
            "recipient": self.recipient,
            "approved_by": self.by,
            **self.facts,
            "sent_with": self.receipt.sent_with if self.receipt else NOT_SENT,
        }


# --- read -------------------------------------------------------------------------------------


def read(directory: Path) -> tuple[Export, ...]:
    """The exports of a version, oldest first; none without a record.

    Raises:
        PkiError: EXPORT-RECORD for a record that is not as this file writes it.
    """
    path = directory / FILE
    try:
        value = records.load(plain_files.read(path, public_state.MAXIMUM_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError) as exc:
        found = getattr(exc, "strerror", None) or str(exc)
        raise _damaged(path, found, "a small YAML map, as it was written") from exc
    head = _fields(value, ("schema", "certificate", "version", "exports"), path)
    if head["schema"] != public_state.SCHEMA or str(head["version"]) != directory.name:
        found = f"schema {head['schema']}, version {head['version']}"
        raise _damaged(path, found, f"schema {public_state.SCHEMA}, version {directory.name}")
    if not isinstance(head["exports"], list):
        raise _damaged(path, "exports is no list", "a list of exports")
    found = tuple(_export(raw, path) for raw in head["exports"])
    if len({one.id for one in found}) != len(found):
        raise _damaged(path, "an id twice", "an id of its own for each export")
    return found


def _export(raw: object, path: Path) -> Export:
    more = ("receipt",) if isinstance(raw, Mapping) and "receipt" in raw else ()
    entry = _fields(raw, (*_TEXTS, "facts", *more), path)
    texts = {name: _text(entry, name, path) for name in _TEXTS}
    if not ID.fullmatch(texts["id"]) or not _DIGEST.fullmatch(texts["file_sha256"]):
        raise _damaged(path, f"id {texts['id']}, {texts['file_sha256']}", "an id and a SHA-256")
    facts = _typed(entry["facts"], {**_FORMAT, "password": dict}, path)
    password = _typed(facts["password"], _PASSWORD, path)
    receipt = _receipt(entry["receipt"], path) if more else None
    return Export(**texts, facts={**facts, "password": password}, receipt=receipt)


def _receipt(raw: object, path: Path) -> Receipt:
    entry = _fields(raw, _RECEIPT, path)
    found = Receipt(**{name: _text(entry, name, path) for name in _RECEIPT})
    if found.sent_with not in WAYS:
        raise _damaged(path, f"sent_with: {found.sent_with}", " or ".join(WAYS))
    return found


def _fields(raw: object, names: Sequence[str], path: Path) -> Mapping[str, Any]:
    """A map with these fields and no others."""
    if not isinstance(raw, Mapping) or set(raw) != set(names):
        found = ", ".join(map(str, raw)) if isinstance(raw, Mapping) else type(raw).__name__
        raise _damaged(path, found or "nothing", f"a map of {', '.join(names)}")
    return raw


def _typed(raw: object, kinds: Mapping[str, type], path: Path) -> dict[str, Any]:
    entry = _fields(raw, tuple(kinds), path)
    for name, kind in kinds.items():
        if type(entry[name]) is not kind:
            found = f"{name}: {type(entry[name]).__name__}"
            raise _damaged(path, found, f"{name}: {kind.__name__}")
    return {name: entry[name] for name in kinds}


def _text(entry: Mapping[str, Any], name: str, path: Path) -> str:
    value = entry[name]
    if isinstance(value, datetime):
        return public_state.iso(value)
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise _damaged(path, f"{name}: {type(value).__name__}", f"{name}: text")
    if not value.isprintable():
        raise _damaged(path, f"{name} with control characters", f"{name}: printable text")
    return str(value)


def _damaged(path: Path, found: str, expected: str) -> PkiError:
    return PkiError(
        f"{path.name} cannot be used",
        rule=RULE,
        found=found,
        expected=expected,
        where=str(path),
        next_step="restore the file from git; nothing was exported",
    )


# --- written ----------------------------------------------------------------------------------


def content(certificate: str, version: int, exports: Sequence[Export]) -> bytes:
    """The record's bytes."""
    head = {"schema": public_state.SCHEMA, "certificate": certificate, "version": version}
    return public_state.dump({**head, "exports": [one.as_record() for one in exports]})


def append(directory: Path, certificate: str, export: Export) -> None:
    """Add an export to the record of its version, durably; two runs at once lose neither.

    Raises:
        PkiError: EXPORT-RECORD for a damaged record, or an id that is there; STATE-WRITE.
    """
    with _locked(directory):
        before = read(directory)
        if any(one.id == export.id for one in before):
            found = f"an export {export.id}"
            raise _damaged(directory / FILE, found, "an id of its own for each export")
        _write(directory, certificate, (*before, export))


def receive(directory: Path, certificate: str, id: str, receipt: Receipt) -> None:
    """Add the receipt of an export that is there and has none."""
    with _locked(directory):
        kept = [replace(one, receipt=receipt) if one.id == id else one for one in read(directory)]
        _write(directory, certificate, kept)


def _write(directory: Path, certificate: str, exports: Sequence[Export]) -> None:
    made = content(certificate, int(directory.name), exports)
    if len(made) > records.MAXIMUM_BYTES:
        raise _damaged(
            directory / FILE, f"{len(made)} bytes", f"at most {records.MAXIMUM_BYTES} bytes"
        )
    public_state.write(directory, {FILE: made})


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time, on this machine."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
