# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories beside one: what they declare, and what was committed there.

An inventory is one class of environments. Whether a key or certificate is used in another one shows
only beside it: ``inventories/nonprod`` next to ``inventories/prod``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import marked_yaml, plain_files
from ..inventory import PLACEHOLDER
from ..policy import Policy

#: A directory with more neighbours than this is no directory of inventories.
_MOST = 50
_CERTIFICATES = tuple(
    Path("group_vars", "all", name) for name in ("certificates.yml", "certificates.yaml")
)


def of(base: Path) -> tuple[Path, ...]:
    """The inventories beside ``base``, in the order of their names; never through links."""
    here = base.resolve()
    try:
        entries = sorted(here.parent.iterdir())
    except OSError:
        return ()
    found = [path for path in entries if path != here and not path.is_symlink() and _is_one(path)]
    return tuple(found[:_MOST])


def classes(inventory: Path, policy: Policy) -> frozenset[str]:
    """The classes for which an inventory declares certificates that are filled in."""
    found = set()
    for entry in _entries(inventory):
        environment = policy.environments.get(str(entry.get("environment")))
        if entry.get("policy") == policy.name and environment and not _unfilled(entry):
            found.add(environment.environment_class)
    return frozenset(found)


def _is_one(path: Path) -> bool:
    return any((path / name).is_file() for name in _CERTIFICATES)


def _entries(inventory: Path) -> Iterator[dict[str, Any]]:
    for name in _CERTIFICATES:
        try:
            text = plain_files.read(inventory / name, marked_yaml.MAXIMUM_BYTES).decode("utf-8")
            value = marked_yaml.load(text).value
        except (OSError, ValueError):  # Unreadable and UnicodeDecodeError are values, too
            continue
        entries = value.get("certificates") if isinstance(value, dict) else None
        if isinstance(entries, list):
            yield from (one for one in entries if isinstance(one, dict))


def _unfilled(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_unfilled(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_unfilled(inner) for inner in value)
    return isinstance(value, str) and PLACEHOLDER in value
