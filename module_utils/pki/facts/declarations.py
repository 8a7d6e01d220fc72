# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the entries of certificates.yml."""

from __future__ import annotations

from .. import declarations as entries
from ..documents import Collected, Declaration, Document
from .scene import Collector, Scene


def collect(scene: Scene) -> Collected:
    """A document for every certificate's entry whose policy judges entries."""
    inputs = scene.inputs
    declarations, documents = [], []
    for one in inputs.declared.certificates.values():
        policy = inputs.policies[one.policy]
        if not policy.of_kind(entries.KIND):
            continue
        place = scene.place("certificates", one.name)
        facts = entries.facts(one, inputs.declared, policy, inputs.now.date())
        declarations.append(Declaration(entries.KIND, one.name, one.policy, place))
        documents.append(Document(entries.KIND, one.name, one.policy, facts, place))
    return scene.collected(declarations, documents)


COLLECTOR = Collector(
    kinds=frozenset({entries.KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
