# SPDX-License-Identifier: GPL-3.0-or-later
"""A check from its inputs on disk: an inventory's files, or facts that were saved before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from . import (
    checking,
    collecting,
    documents,
    inventory_files,
    inventory_groups,
    plain_files,
    policy_files,
    policy_lint,
    session,
)
from .checking import Result
from .documents import Collected, Validators
from .errors import PkiError
from .facts.scene import Scene
from .policy import Policy

#: Facts of many certificates with their chains; more is not read into memory.
MAXIMUM_BYTES = 256 * 1024 * 1024
CERTIFICATES = "certificates"
CRL_CACHE = ".crl-cache"


def scene(inventory: Path, policy_dir: Path, now: datetime | None = None) -> Scene:
    """An inventory as it is committed: no host, no Vault and no network is asked.

    Raises:
        PkiError: files that cannot be used, templates, places that are not filled in, CA files
            that are not the pinned ones, broken policies.
    """
    files = inventory_files.read(inventory)
    values = files.values
    inputs = session.load(
        {
            "organisations": values["organisations"],
            "certificates": values["certificates"],
            "trust": values["trust"],
            "groups": _groups(inventory, values["certificates"]),
            "policy_dir": str(policy_dir),
            "base_dir": str(inventory),
            "certificates_dir": str(inventory / CERTIFICATES),
            "crl_cache_dir": str(inventory / CRL_CACHE),
        },
        now,
        judged=False,
    )
    return Scene(
        inputs=inputs,
        scope="offline",
        name=inventory.resolve().name,
        gateways=values.get("gateways"),
        evidence=files.evidence,
        places=files.places,
    )


def _groups(inventory: Path, certificates: object) -> inventory_groups.Groups:
    """The hosts of each group where an entry needs them; an inventory without one may be any."""
    entries = certificates if isinstance(certificates, list) else []
    if any(isinstance(entry, dict) and entry.get("per_host") for entry in entries):
        return inventory_groups.read(inventory)
    return {}


def saved(file: Path) -> Collected:
    """Facts that were collected before; PkiError FACTS-FILE when they cannot be used."""
    try:
        raw = json.loads(plain_files.read(file, MAXIMUM_BYTES, follow=True))
    except (OSError, ValueError, RecursionError) as exc:
        raise PkiError(
            "the facts file cannot be used",
            rule="FACTS-FILE",
            found=getattr(exc, "strerror", None) or type(exc).__name__,
            expected="a facts.json of an earlier check",
            where=str(file),
            next_step="collect the facts again",
        ) from exc
    return documents.from_json(raw, str(file))


def judge(
    collected: Collected,
    policy_dir: Path,
    *,
    policies: Mapping[str, Policy] | None = None,
    inventory: Path | None = None,
    level: str = checking.DEFAULT_LEVEL,
    now: datetime | None = None,
) -> Result:
    """Judge what was collected by the policies it names, with their overlays and waivers.

    ``inventory`` is where ``policy/`` and ``waivers.yml`` are looked up; None for neither.
    ``policies`` spares the loading to whoever has loaded the same ones already.

    Raises:
        PkiError: a policy, overlay or waiver that cannot be used.
    """
    moment = now or datetime.now(UTC)
    overlays = None if inventory is None else inventory / policy_files.OVERLAYS
    names = {one.policy for one in collected.declarations}
    schemas = policy_files.load_fact_schemas(policy_dir)
    if policies is None:
        policies = policy_files.load_policies(policy_dir, names, overlays, moment)
    return checking.check(
        policies,
        collected,
        validators=Validators(schemas),
        scopes=collecting.kind_scopes(schemas),
        today=moment.date(),
        waivers=() if inventory is None else inventory_files.waived(inventory, policy_dir),
        level=level,
        faults=[problem.error() for problem in policy_lint.lint(policies, schemas)],
    )
