# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the entries of certificates.yml."""

from __future__ import annotations

from .. import declarations as entries
from ..documents import Collected, Declaration, Document
from .scene import Collector, Scene


def collect(scene: Scene) -> Collected:
    """A document for every entry whose policy judges entries."""
    inputs = scene.inputs
    declarations, documents = [], []
    every = entries.Entries(inputs.declared)
    for name, entry in inputs.declared.entries.items():
        policy = inputs.policies[entry[0].policy]
        if not policy.of_kind(entries.KIND):
            continue
        place = scene.place("certificates", name)
        facts = every.facts(entry, policy, inputs.now.date())
        declarations.append(Declaration(entries.KIND, name, policy.name, place))
        documents.append(Document(entries.KIND, name, policy.name, facts, place))
    return scene.collected(declarations, documents)


COLLECTOR = Collector(
    kinds=frozenset({entries.KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
