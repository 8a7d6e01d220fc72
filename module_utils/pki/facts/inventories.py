# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the inventory as a whole: one object for each policy that judges inventories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..documents import Collected, Declaration, Document
from ..inventory import Certificate
from ..policy import Policy
from . import evidence, identities, neighbours
from .committed import Committed
from .scene import Collector, Scene

KIND = "inventory"
_PARTIES = ("market_participant_active", "market_participant_non_active", "dip_connection_provider")


def collect(scene: Scene) -> Collected:
    """The inventory under each policy that has rules for it."""
    declarations, documents = [], []
    place = scene.place("files", "certificates")
    for policy in scene.inputs.policies.values():
        if policy.of_kind(KIND):
            facts = _facts(scene, policy)
            declarations.append(Declaration(KIND, scene.name, policy.name, place))
            documents.append(Document(KIND, scene.name, policy.name, facts, place))
    return scene.collected(declarations, documents)


def _facts(scene: Scene, policy: Policy) -> dict[str, Any]:
    declared = scene.inputs.declared.certificates.values()
    own = [one for one in declared if one.policy == policy.name]
    beside = neighbours.of(scene.inputs.base_dir)
    classes = {one.environment_class for one in own}
    seen = identities.look(_places(scene, policy, beside), scene.inputs.now)
    entries = {one.entry for one in own}
    versions = [one for one in seen.own if _entry(one) in entries]
    return {
        "name": scene.name,
        "environment_classes": sorted(
            classes.union(*(neighbours.classes(one, policy) for one in beside))
        ),
        "holders": _holders(own),
        "identities": identities.as_facts(seen),
        "unreadable": seen.unreadable,
        "quotas": _quotas(scene, own, seen.own),
        "pending": _pending(versions),
        "evidence": _evidence(scene, policy),
    }


def _places(scene: Scene, policy: Policy, beside: tuple[Path, ...]) -> Iterator[identities.Place]:
    directory = scene.inputs.certificates_dir
    own = scene.inputs.declared.entries
    yield identities.Place(directory, "", _class_of(policy, own))
    for one in beside:
        yield identities.Place(one / directory.name, one.name, _class_of(policy, {}))


def _class_of(
    policy: Policy, declared: Mapping[str, tuple[Certificate, ...]]
) -> Callable[[Committed], str | None]:
    """The class of a version, by what its request was made for, else by the entry of its name."""

    def of(one: Committed) -> str | None:
        entry = next(iter(declared.get(_entry(one), ())), None)
        follows = one.record.get("policy", entry.policy if entry else policy.name)
        if follows != policy.name:
            return None
        environment = policy.environments.get(str(one.record.get("environment")))
        if environment is not None:
            return environment.environment_class
        return entry.environment_class if entry else ""

    return of


def _entry(one: Committed) -> str:
    """The entry of a version, also of a host that its entry once had."""
    return one.name.partition("/")[0]


def _holders(own: list[Certificate]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], set[str]] = {}
    parties: dict[str, str] = {}
    for one in own:
        key = (one.organisation.key, one.environment_class)
        found.setdefault(key, set()).update(one.purposes)
        party = one.organisation.party
        parties[one.organisation.key] = party if party in _PARTIES else "other"
    return [
        {
            "organisation": organisation,
            "party": parties[organisation],
            "environment_class": environment_class,
            "purposes": sorted(purposes),
        }
        for (organisation, environment_class), purposes in found.items()
    ]


def _quotas(
    scene: Scene, own: list[Certificate], versions: list[Committed]
) -> list[dict[str, Any]]:
    """What each holder's certificates take of its quota.

    A version is its entry's organisation's; of an entry that is gone, its request's. A revoked
    certificate goes on counting (DIP 6.1.3), one that has ended does not.
    """
    holder = {one.entry: one.organisation.key for one in own}
    organisations = {one.organisation.key: one.organisation for one in own}
    now = scene.inputs.now
    counted: dict[str, Counter[str]] = {key: Counter() for key in organisations}
    for one in versions:
        key = holder.get(_entry(one), str(one.record.get("organisation")))
        if key not in counted:
            continue
        counted[key]["revoked"] += one.revoked
        counted[key]["issued"] += one.issued and one.in_use(now) and not one.revoked
        counted[key]["pending"] += one.pending
    return [
        {
            "organisation": key,
            "quota": -1 if organisation.quota is None else organisation.quota,
            "issued": counted[key]["issued"],
            "revoked": counted[key]["revoked"],
            "pending": counted[key]["pending"],
        }
        for key, organisation in organisations.items()
    ]


def _pending(versions: list[Committed]) -> list[dict[str, Any]]:
    found: dict[str, list[int]] = {}
    for one in versions:
        if one.pending:
            found.setdefault(one.name, []).append(one.files.number)
    return [{"certificate": name, "versions": numbers} for name, numbers in found.items()]


def _evidence(scene: Scene, policy: Policy) -> dict[str, Any]:
    wanted = evidence.items(policy)
    recorded = evidence.of_scene(scene).by_id
    return {
        "present": scene.evidence is not None,
        "wanted": len(wanted),
        "missing": [item for item in wanted if item not in recorded],
    }


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
