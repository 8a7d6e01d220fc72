# SPDX-License-Identifier: GPL-3.0-or-later
"""What every collector is given: the loaded inventory, and what was observed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .. import public_state
from ..documents import Collected, Declaration, Document
from ..policy import NOWHERE, Place
from ..session import Inputs

Scope = Literal["offline", "live"]


@dataclass(frozen=True, slots=True)
class Scene:
    """The inventory and the observations of one run.

    Attributes:
        inputs: declared inventory, policies, pinned CAs, directories and the moment.
        scope: ``offline`` knows the committed files only; ``live`` also hosts, Vault and network.
        name: the inventory's name, for messages ("nonprod").
        gateways: ``gateways.yml`` as written; None when the inventory has none.
        evidence: ``evidence.yml`` as written; None when there is none.
        places: where an entry stands, by (section, name): ("certificates", "dip-nonprod").
        hosts: what each gateway host told of itself, by host name.
        keys: what the stores say of each certificate's key versions, by name and version.
        stand_ins: facts that stand in for real ones, by kind.
        audit: what the key server's audit log tells, and what it is compared with; None when no
            log was given.
    """

    inputs: Inputs
    scope: Scope
    name: str
    gateways: Any = None
    evidence: Any = None
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keys: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)
    stand_ins: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether hosts, Vault and network may have been asked."""
        return self.scope == "live"

    def place(self, section: str, name: str) -> Place:
        """Where an entry of the inventory stands, or that of a host's own certificate."""
        return self.places.get((section, name.partition("/")[0]), NOWHERE)

    def collected(
        self,
        declarations: Iterable[Declaration],
        documents: Iterable[Document],
        problems: Iterable[Mapping[str, str]] = (),
    ) -> Collected:
        """What a collector returns."""
        return Collected(
            taken=public_state.iso(self.inputs.now),
            scope=self.scope,
            declarations=tuple(declarations),
            documents=tuple(documents),
            problems=tuple(problems),
        )


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector, the kinds it makes facts of, and the scopes in which it is asked."""

    kinds: frozenset[str]
    scopes: frozenset[str]
    collect: Callable[[Scene], Collected]
