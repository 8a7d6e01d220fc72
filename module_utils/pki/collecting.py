# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks every collector for its part of the facts, and lets none of them hide the rest."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .documents import Collected, merged
from .errors import PkiError
from .facts import (
    certificates,
    crls,
    dca_accounts,
    declarations,
    deliveries,
    dns,
    endpoints,
    evidence,
    exports,
    gateways,
    hosts,
    inventories,
    keys,
    revocation_requests,
    rosters,
)
from .facts.scene import Collector, Scene

#: Every collector there is. Imports are written out, so that a module run carries them along.
COLLECTORS: tuple[Collector, ...] = (
    declarations.COLLECTOR,
    rosters.COLLECTOR,
    inventories.COLLECTOR,
    evidence.COLLECTOR,
    dca_accounts.COLLECTOR,
    certificates.COLLECTOR,
    gateways.COLLECTOR,
    endpoints.COLLECTOR,
    crls.COLLECTOR,
    hosts.COLLECTOR,
    keys.COLLECTOR,
    dns.COLLECTOR,
    deliveries.COLLECTOR,
    exports.COLLECTOR,
    revocation_requests.COLLECTOR,
)
#: What a facts schema says of where its kind can be known.
LIVE = "live"

Problem = Mapping[str, str]


def collect(scene: Scene, collectors: Iterable[Collector] = COLLECTORS) -> Collected:
    """Everything that the collectors of the scene's scope see.

    What keeps one from its work becomes a problem that names it; the others go on.
    """
    nothing = scene.collected((), ())
    asked = [one for one in collectors if scene.scope in one.scopes]
    return _without_twins(merged(nothing, *(_asked(one, scene) for one in asked)))


def kind_scopes(
    fact_schemas: Mapping[str, Any], collectors: Iterable[Collector] = COLLECTORS
) -> dict[str, frozenset[str]]:
    """The kinds that are collected, and the scopes in which they can be known."""
    scopes: dict[str, frozenset[str]] = {}
    for one in collectors:
        for kind in one.kinds:
            # A collector of several kinds is asked everywhere, and knows some of them only live.
            only_live = fact_schemas.get(kind, {}).get("x-scope") == LIVE
            known = one.scopes & {LIVE} if only_live else one.scopes
            scopes[kind] = scopes.get(kind, frozenset()) | known
    return scopes


def uncollected_kinds(fact_schemas: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds that have a schema and no collector yet."""
    return tuple(sorted(set(fact_schemas) - set(kind_scopes(fact_schemas))))


def _asked(collector: Collector, scene: Scene) -> Collected:
    try:
        seen = collector.collect(scene)
    except PkiError as exc:
        return scene.collected((), (), [exc.as_result()])
    except Exception as exc:
        return scene.collected((), (), [_fault(collector, _place(exc))])
    foreign = sorted({one.kind for one in seen.documents} - collector.kinds)
    if foreign:
        return scene.collected((), (), [_fault(collector, f"facts of {', '.join(foreign)}")])
    return seen


def _fault(collector: Collector, found: str) -> Problem:
    kinds = ", ".join(sorted(collector.kinds))
    return PkiError(
        f"the facts of kind {kinds} could not be collected",
        rule="FACTS-COLLECTOR",
        found=found,
        expected=f"facts of {kinds}",
        where=collector.collect.__module__,
        next_step="report this place; what it should have seen is not judged",
    ).as_result()


def _place(exc: BaseException) -> str:
    """Type and place only: the text of an unexpected exception could quote a secret."""
    last = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} in {last.name}, line {last.lineno}"


def _without_twins(seen: Collected) -> Collected:
    """An object must be declared once and seen once: of two, one would hide the other."""
    twins = [
        PkiError(
            f"{kind} {name} is {how} more than once",
            rule="FACTS-TWICE",
            found=f"{count} times under policy {policy}",
            expected="once",
            where=f"{kind} facts",
            next_step="give the objects different names in the inventory",
        ).as_result()
        for how, items in (("declared", seen.declarations), ("observed", seen.documents))
        for (kind, name, policy), count in Counter(item.key for item in items).items()
        if count > 1
    ]
    return Collected(
        taken=seen.taken,
        scope=seen.scope,
        declarations=tuple({item.key: item for item in seen.declarations}.values()),
        documents=tuple({item.key: item for item in seen.documents}.values()),
        problems=(*seen.problems, *twins),
    )
