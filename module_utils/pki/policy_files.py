# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of :mod:`.policy`: reads policy files and their schema from a directory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import PkiError
from .policy import Policy, load


def load_policies(directory: str | Path, names: Iterable[str]) -> Mapping[str, Policy]:
    """The named policies from ``directory`` (``<name>.yml`` beside ``schema.json``).

    Raises PkiError for a name without a file (listing what there is) or a broken file.
    """
    base = Path(directory)
    schema = json.loads(_read(base / "schema.json"))
    return {name: load(_read(_file(base, name)), schema, name) for name in sorted(set(names))}


def _file(base: Path, name: str) -> Path:
    known = sorted(path.stem for path in base.glob("*.yml"))
    if name not in known:
        raise PkiError(
            f"there is no policy called {name}",
            rule="POLICY-UNKNOWN",
            found=name,
            expected=", ".join(known) or "a policy file",
            where=str(base),
            next_step="correct the certificate's `policy` in the inventory",
        )
    return base / f"{name}.yml"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise PkiError(
            f"{path.name} cannot be read",
            rule="POLICY-FILE",
            found=exc.strerror or "unreadable",
            expected="a readable file",
            where=str(path),
            next_step="point the policy directory option at the project's policies/",
        ) from exc
