# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the people of each organisation that holds certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import days
from ..documents import Collected, Declaration, Document
from ..inventory import Certificate, Organisation, Person
from ..names import folded as _folded
from . import committed
from .scene import Collector, Scene

KIND = "roster"


def collect(scene: Scene) -> Collected:
    """A document for each organisation and policy under which it holds certificates."""
    declarations, documents = [], []
    for policy, organisation, held in holders(scene, KIND):
        place = scene.place("organisations", organisation.key)
        facts = _facts(scene, organisation, held)
        declarations.append(Declaration(KIND, organisation.key, policy, place))
        documents.append(Document(KIND, organisation.key, policy, facts, place))
    return scene.collected(declarations, documents)


def holders(scene: Scene, kind: str) -> Iterator[tuple[str, Organisation, list[Certificate]]]:
    """Policy, organisation and its certificates, for every policy that judges ``kind``."""
    declared = scene.inputs.declared
    for policy in scene.inputs.policies.values():
        if not policy.of_kind(kind):
            continue
        for organisation in declared.organisations.values():
            held = [
                one
                for one in declared.certificates.values()
                if (one.policy, one.organisation.key) == (policy.name, organisation.key)
            ]
            if held:
                yield policy.name, organisation, held


def _facts(scene: Scene, organisation: Organisation, held: list[Certificate]) -> dict[str, Any]:
    named = _named(scene, held)
    return {
        "organisation": organisation.key,
        "party": organisation.party,
        "people": [_person(scene, entries, named) for entries in _people(organisation.roster)],
        "addresses": _addresses(organisation.roster),
    }


def _people(roster: Iterable[Person]) -> list[list[Person]]:
    """Each person's entries: somebody with two roles stands on the roster twice."""
    found: dict[tuple[str, str], list[Person]] = {}
    for person in roster:
        found.setdefault((_folded(person.name), _folded(person.email)), []).append(person)
    return list(found.values())


def _person(scene: Scene, entries: list[Person], named: Mapping[str, list[str]]) -> dict[str, Any]:
    first = entries[0]
    left = max(entry.left for entry in entries)
    today = scene.inputs.now.date()
    return {
        "name": first.name,
        "email": first.email,
        "roles": sorted({entry.role for entry in entries}),
        "permanent": any(entry.permanent for entry in entries),
        "employer": next((entry.employer for entry in entries if entry.employer), ""),
        "left": left,
        "present": days.since(left, today) == days.NEVER,
        "named_in": named.get(_folded(first.name), []),
    }


def _addresses(roster: Iterable[Person]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, str]] = {}
    for person in roster:
        found.setdefault(_folded(person.email), {}).setdefault(_folded(person.name), person.name)
    return [
        {"address": address, "local_part": address.split("@")[0], "names": list(names.values())}
        for address, names in found.items()
    ]


def _named(scene: Scene, held: list[Certificate]) -> dict[str, list[str]]:
    """Where each person is named: as the owner of an entry, or as submitter of a request."""
    found: dict[str, list[str]] = {}
    for one in held:
        if one.owner is not None:
            entries = found.setdefault(_folded(one.owner.name), [])
            entries += [] if one.entry in entries else [one.entry]
    names = (one.name for one in held)
    for version in committed.readable(scene.inputs.certificates_dir, names):
        if version.in_use(scene.inputs.now):
            for name in committed.submitters(version):
                found.setdefault(_folded(name), []).append(version.label)
    return found


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
