# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of the records beside a certificate, read strictly: one error for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import PkiError


def unusable(path: Path, found: str, expected: str) -> PkiError:
    """STATE-FILE: what a record says is not what such a record says."""
    return PkiError(
        f"{path.name} cannot be used",
        rule="STATE-FILE",
        found=found,
        expected=expected,
        where=str(path),
        next_step="restore the file from git; nothing was changed",
    )


def field(record: Any, key: str, path: Path) -> Any:
    """A field that must be there."""
    if not isinstance(record, Mapping) or key not in record:
        raise unusable(path, f"no {key}", f"a record with {key}")
    return record[key]


def moment(record: Mapping[str, Any], key: str, path: Path) -> datetime:
    """A field that is a moment, aware UTC: YAML may have made one of it."""
    value = field(record, key, path)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as exc:
        raise unusable(path, f"{key}: {value}", "a date in ISO 8601") from exc
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def iso(when: datetime) -> str:
    """A moment as every record of ours writes it: UTC, whole seconds, ``Z``."""
    return when.astimezone(UTC).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")
