# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of :mod:`.policy_load`: reads policies, overlays and schemas from directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from . import overlay
from .errors import PkiError
from .policy import Policy
from .policy_load import Schema, load, read

#: Where an organisation keeps its own values and rules, beside its inventory.
OVERLAYS = "policy"


def load_policies(
    directory: str | Path,
    names: Iterable[str],
    overlay_dir: str | Path | None = None,
    now: datetime | None = None,
) -> Mapping[str, Policy]:
    """The named policies from ``directory``: ``<name>.yml`` and ``<name>/<kind>.yml``.

    ``overlay_dir`` is where an organisation keeps ``<name>.yml`` with its own values and rules;
    it need not exist. ``now`` decides which of them have expired.

    Raises PkiError for a name without a file (listing what there is), a broken file, or an
    overlay that cannot be used.
    """
    base = Path(directory)
    schema = load_schema(base)
    policies = {name: load(_texts(base, name), schema, name) for name in sorted(set(names))}
    if overlay_dir is None or not Path(overlay_dir).is_dir():
        return policies
    _no_stray_overlay(Path(overlay_dir), policy_names(base))
    today = (now or datetime.now(UTC)).date()
    return {
        name: _overlaid(policy, Path(overlay_dir) / f"{name}.yml", schema, today)
        for name, policy in policies.items()
    }


def _overlaid(policy: Policy, file: Path, schema: Schema, today: date) -> Policy:
    if not file.exists():
        return policy
    return overlay.merged(policy, read(str(file), read_text(file), schema, "overlay"), today)


def _no_stray_overlay(directory: Path, known: Iterable[str]) -> None:
    """PkiError for a file whose name makes nobody read it: its values would silently not apply."""
    wanted = {f"{name}.yml" for name in known}
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix in (".yml", ".yaml") and path.name not in wanted:
            raise PkiError(
                "there is an overlay for a policy that does not exist",
                rule=overlay.RULE,
                found=path.name,
                expected=" or ".join(sorted(wanted)),
                where=str(path),
                next_step="give the file the name of the policy that it belongs to",
            )


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
