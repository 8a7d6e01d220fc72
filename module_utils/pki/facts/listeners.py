# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gateway listeners there are on which host: inventory and groups, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import gateway
from ..policy import Place
from .scene import Scene


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener of a gateway on one host; ``entry`` is its part of the gateway's model."""

    host: str
    gateway: str
    direction: str
    entry: Mapping[str, Any]
    place: Place

    @property
    def label(self) -> str:
        """How facts name it."""
        return f"{self.host}/{self.gateway}/{self.entry['name']}"


def models(scene: Scene) -> list[dict[str, Any]]:
    """The declared gateways, independent of a host; PkiError for one that cannot be used."""
    inputs = scene.inputs
    if scene.gateways is None:
        return []
    return gateway.check(scene.gateways, inputs.declared, inputs.trust, inputs.policies)


def groups(scene: Scene, host: str) -> frozenset[str]:
    """What an inventory's ``hosts`` may say and mean this host."""
    named = scene.hosts[host].get("groups")
    return frozenset({"all", host, *(str(group) for group in named or ())})


def on_host(scene: Scene, host: str) -> Iterator[Mapping[str, Any]]:
    """The models of the gateways that belong on a host."""
    mine = groups(scene, host)
    return (model for model in models(scene) if model["hosts"] in mine)


def listeners(scene: Scene) -> Iterator[Listener]:
    """Every listener of every gateway, once for each host that it belongs on.

    Of a gateway that no host has they are named by what the inventory says about hosts: that
    nobody can look at them must not look like nothing to judge.
    """
    for model in models(scene):
        mine = [host for host in scene.hosts if model["hosts"] in groups(scene, host)]
        for host in mine or [str(model["hosts"])]:
            yield from _of_model(scene, host, model)


def _of_model(scene: Scene, host: str, model: Mapping[str, Any]) -> Iterator[Listener]:
    for direction in ("ingress", "egress"):
        for entry in model[direction]:
            yield Listener(
                host=host,
                gateway=str(model["name"]),
                direction=direction,
                entry=entry,
                place=_place(scene, str(model["name"]), str(entry["name"])),
            )


def _place(scene: Scene, gateway_name: str, listener: str) -> Place:
    known = scene.places.get(("listeners", f"{gateway_name}/{listener}"))
    return known or scene.place("gateways", gateway_name)


def seen(scene: Scene, host: str) -> bool:
    """Whether the host could be asked at all."""
    return not scene.hosts[host].get("problem")
