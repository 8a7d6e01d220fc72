# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of :mod:`.policy_load`: reads policies, schemas and cases from a directory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import PkiError
from .policy import Policy
from .policy_load import load


def load_policies(directory: str | Path, names: Iterable[str]) -> Mapping[str, Policy]:
    """The named policies from ``directory``: ``<name>.yml`` and ``<name>/<kind>.yml``.

    Raises PkiError for a name without a file (listing what there is) or a broken file.
    """
    base = Path(directory)
    schema = load_schema(base)
    return {name: load(_texts(base, name), schema, name) for name in sorted(set(names))}


def policy_names(directory: str | Path) -> tuple[str, ...]:
    """The policies there are in a directory."""
    return tuple(sorted(path.stem for path in Path(directory).glob("*.yml")))


def load_schema(directory: str | Path) -> Mapping[str, Any]:
    """``policies/schema.json``: what a policy file may hold."""
    schema: Mapping[str, Any] = json.loads(read_text(Path(directory) / "schema.json"))
    return schema


def load_fact_schemas(directory: str | Path) -> Mapping[str, Mapping[str, Any]]:
    """The schema of every kind of facts, by kind: ``policies/facts/<kind>.json``."""
    files = sorted((Path(directory) / "facts").glob("*.json"))
    return {path.stem: json.loads(read_text(path)) for path in files}


def _texts(base: Path, name: str) -> dict[str, str]:
    known = policy_names(base)
    if name not in known:
        raise PkiError(
            f"there is no policy called {name}",
            rule="POLICY-UNKNOWN",
            found=name,
            expected=", ".join(known) or "a policy file",
            where=str(base),
            next_step="correct the certificate's `policy` in the inventory",
        )
    files = [base / f"{name}.yml", *sorted((base / name).glob("*.yml"))]
    return {str(path.relative_to(base)): read_text(path) for path in files}


def read_text(path: Path) -> str:
    """A policy file's text; PkiError POLICY-FILE when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PkiError(
            f"{path.name} cannot be read",
            rule="POLICY-FILE",
            found=getattr(exc, "strerror", None) or "not UTF-8",
            expected="a readable file",
            where=str(path),
            next_step="point the policy directory option at the project's policies/",
        ) from exc
