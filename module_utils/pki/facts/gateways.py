# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about how gateways are configured: rendered without a host, or read back from each.

What is configured is put beside what the inventory has at that address, so that a rule can
compare the two without knowing either side's paths.
"""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .. import gateway
from ..documents import Collected, Declaration, Document
from ..gateway import Roots
from . import expected, listeners, products
from .scene import Collector, Scene

KIND = "gateway"
_SIDES = ("ingress", "egress")
_MAXIMUM_CHARACTERS, _MAXIMUM_ITEMS = 2000, 200
_MAXIMUM_LISTENERS, _MAXIMUM_ROUTES, _MAXIMUM_HEADERS = 200, 20, 100

Model = Mapping[str, Any]
Facts = dict[str, Any]

_ROUTE = (
    "match",
    "peers",
    "issuers",
    "upstream",
    "body_bytes",
    "requests_per_second",
    "request_burst",
    "identity_headers",
)

_NO_TLS: Facts = {
    "enabled": False,
    "protocols": [],
    "ciphers": [],
    "ciphersuites": [],
    "groups": [],
    "own_order": False,
    "resumption": [],
    "session_seconds": 0,
    "early_data": False,
    "verification": "off",
    "checks": [],
    "verify_depth": 0,
    "ca_file": "",
    "ca_sha256": "",
    "crl_file": "",
    "certificate": "",
    "key": "",
    "name": "",
    "name_sent": False,
}


@dataclass(frozen=True, slots=True)
class Observed:
    """One gateway: its model, and what was read; None when nobody could look.

    ``purposes`` are those of the declared certificates, and ``crl_ages`` the seconds since a
    CRL set was fetched, both by the file that a gateway would name.
    """

    label: str
    source: str
    model: Model
    read: Mapping[str, Any] | None
    purposes: Mapping[str, list[str]] = field(default_factory=dict)
    crl_ages: Mapping[str, int] = field(default_factory=dict)


def collect(scene: Scene) -> Collected:
    """A document for every gateway, and live for each of its hosts.

    Raises:
        PkiError: INVENTORY for gateways.yml that cannot be used.
    """
    declarations, documents = [], []
    for one in _live(scene) if scene.live else _offline(scene):
        name = str(one.model["name"])
        place = scene.place("gateways", name)
        for policy in _policies(scene, one.model):
            declarations.append(Declaration(KIND, one.label, policy, place))
            if one.read is not None:
                documents.append(Document(KIND, one.label, policy, _facts(one), place))
    return scene.collected(declarations, documents)


def _policies(scene: Scene, model: Model) -> list[str]:
    """The policies that judge a gateway: those of its certificates."""
    used = sorted({scene.inputs.policy_of(name).name for name in model["certificates"]})
    return [name for name in used if scene.inputs.policies[name].of_kind(KIND)]


def _offline(scene: Scene) -> Iterator[Observed]:
    for model in _models(scene, gateway.ANYWHERE):
        label = f"{model['name']} (rendered)"
        purposes = _purposes(scene, gateway.ANYWHERE)
        yield Observed(label, "rendered", model, products.read_rendered(model), purposes)


def _live(scene: Scene) -> Iterator[Observed]:
    placed: set[str] = set()
    for host, seen in scene.hosts.items():
        roots = _roots(seen.get("roots") or {})
        told = {str(entry["gateway"]): entry for entry in seen.get("gateways") or ()}
        mine = listeners.groups(scene, host)
        for model in _models(scene, roots):
            if model["hosts"] not in mine:
                continue
            name = str(model["name"])
            placed.add(name)
            yield Observed(
                label=f"{host}/{name}",
                source="host",
                model=model,
                read=told.get(name),
                purposes=_purposes(scene, roots),
                crl_ages=_crl_ages(scene, roots, seen.get("crls") or ()),
            )
    for model in _models(scene, gateway.ANYWHERE):
        if model["name"] not in placed:
            # Nobody has it: that it cannot be judged must not look like nothing to judge.
            yield Observed(f"{model['hosts']}/{model['name']}", "host", model, None)


def _models(scene: Scene, roots: Roots) -> list[dict[str, Any]]:
    if scene.gateways is None:
        return []
    inputs = scene.inputs
    sources = gateway.Sources(inputs.declared, inputs.trust, inputs.policies, roots)
    return gateway.build_all(scene.gateways, sources)


def _roots(told: Mapping[str, Any]) -> Roots:
    known = gateway.ANYWHERE
    return Roots(
        release=str(told.get("release", known.release)),
        crl=str(told.get("crl", known.crl)),
        gateway=str(told.get("gateway", known.gateway)),
    )


def _purposes(scene: Scene, roots: Roots) -> dict[str, list[str]]:
    """The purposes of each declared entry by the file it is served from."""
    return {
        roots.certificate(name, "fullchain.pem"): sorted(entry[0].purposes)
        for name, entry in scene.inputs.declared.entries.items()
    }


def _crl_ages(scene: Scene, roots: Roots, sets: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    ages: dict[str, int] = {}
    for raw in sets:
        try:
            fetched = datetime.fromisoformat(str(raw["poll"]["fetched_at"]).replace("Z", "+00:00"))
            seconds = (scene.inputs.now - fetched).total_seconds()
        except (ValueError, TypeError):
            # That nobody knows since when is a finding about the set itself.
            continue
        for direction in _SIDES:
            # The age of the set, also while a direction refuses everybody for it.
            ages[roots.crl_file(str(raw["trust"]), direction)] = max(0, math.ceil(seconds))
    return ages


# -- one document ------------------------------------------------------------------------


def _facts(one: Observed) -> Facts:
    read = one.read or {}
    settings = read.get("settings") or {}
    found = _listeners(one, settings.get("listeners") or ())
    return {
        "source": one.source,
        "product": str(one.model["product"]),
        "readable": bool(read.get("readable")),
        "problem": _clipped(str(read.get("problem", ""))),
        "listeners": [_bounded(listener) for listener in found[:_MAXIMUM_LISTENERS]],
        "drain_seconds": settings.get("drain_seconds", 0),
        "log_files": _clipped(settings.get("log_files") or []),
        "unknown": _clipped([*_unseen(found), *(settings.get("unknown") or [])]),
    }


def _unseen(found: list[Facts]) -> list[str]:
    """What there is too much of to look at."""
    unseen = [
        f"{len(one['routes'])} routes of {one['name']}"
        for one in found
        if len(one["routes"]) > _MAXIMUM_ROUTES
    ]
    if len(found) > _MAXIMUM_LISTENERS:
        unseen.insert(0, f"{len(found)} listeners")
    return unseen


def _bounded(listener: Facts) -> Facts:
    routes = [_clipped(route) for route in listener["routes"][:_MAXIMUM_ROUTES]]
    return {**_clipped({**listener, "routes": []}), "routes": routes}


def _listeners(one: Observed, configured: Any) -> list[Facts]:
    declared = {
        _key(entry["address"], entry["port"]): (side, entry)
        for side in _SIDES
        for entry in one.model[side]
    }
    found: list[Facts] = []
    present = set()
    for listener in configured:
        key = _key(listener["address"], listener["port"])
        present.add(key)
        side, entry = declared.get(key, (_side(listener), None))
        head = _head(side, listener["address"], listener["port"], entry, one.model)
        parts = [_ingress(listener)] if side == "ingress" else _egress(listener)
        found += [
            {
                **head,
                **part,
                "present": True,
                "crl_age_seconds": one.crl_ages.get(part["tls"]["crl_file"], 0),
                "purposes": one.purposes.get(part["tls"]["certificate"], []),
            }
            for part in parts
        ]
    found += [
        {**_head(side, entry["address"], entry["port"], entry, one.model), **_absent()}
        for key, (side, entry) in declared.items()
        if key not in present
    ]
    return found


def _key(address: str, port: int) -> tuple[str, int]:
    try:
        return str(ipaddress.ip_address(address)), int(port)
    except ValueError:
        return address, int(port)


def _side(listener: Mapping[str, Any]) -> str:
    """What an undeclared listener is, by who speaks TLS with whom."""
    calls = any(route["tls"]["enabled"] for route in listener["routes"])
    return "egress" if calls and not listener["tls"]["enabled"] else "ingress"


def _head(side: str, address: str, port: int, entry: Model | None, model: Model) -> Facts:
    return {
        "name": str(entry["name"]) if entry else f"{address}:{port}",
        "direction": side,
        "declared": entry is not None,
        "address": address,
        "port": port,
        "loopback": _is_loopback(address),
        "expected": expected.of(side, entry, model) if entry else expected.NOTHING,
    }


def _ingress(listener: Mapping[str, Any]) -> Facts:
    return {
        "names": listener["names"],
        "tls": listener["tls"],
        "routes": [_route(route) for route in listener["routes"]],
        "refused_with": listener["refused_with"],
        "headers_asked": listener["headers_asked"],
        "pooled_connections": 0,
        "connection_seconds": listener["connection_seconds"],
        **_of_callers(listener),
    }


def _of_callers(listener: Mapping[str, Any]) -> Facts:
    """What holds for who connects, whichever side that is."""
    return {
        name: listener[name]
        for name in ("header_bytes", "connections", "log_fields", "log_query", "compression")
    }


def _egress(listener: Mapping[str, Any]) -> list[Facts]:
    """One for each far end: what is judged of an egress is its upstream side."""
    parts = [
        {
            "names": [route["tls"]["name"]] if route["tls"]["name"] else [],
            "tls": route["tls"],
            "routes": [_route(route)],
            "refused_with": listener["refused_with"],
            "headers_asked": listener["headers_asked"],
            "pooled_connections": route["pooled_connections"],
            "connection_seconds": route["connection_seconds"],
            **_of_callers(listener),
        }
        for route in listener["routes"]
    ]
    return parts or [{key: value for key, value in _absent().items() if key != "present"}]


def _route(route: Mapping[str, Any]) -> Facts:
    told = {name: route[name] for name in _ROUTE}
    # One that is not told counts as passed on.
    told["identity_headers"] = told["identity_headers"][:_MAXIMUM_HEADERS]
    return {**told, "secret_directory": os.path.dirname(route["secret_file"])}


def _absent() -> Facts:
    return {
        "present": False,
        "names": [],
        "tls": _NO_TLS,
        "routes": [],
        "refused_with": [],
        "headers_asked": [],
        "pooled_connections": 0,
        "connection_seconds": 0,
        "header_bytes": 0,
        "connections": 0,
        "log_fields": [],
        "log_query": False,
        "compression": False,
        "crl_age_seconds": 0,
        "purposes": [],
    }


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A socket file is on this host whoever may open it; a name may lead anywhere.
        return address.startswith("unix:")


def _clipped(value: Any) -> Any:
    """A value whose texts and lists of texts are bounded, and say so where they were cut."""
    if isinstance(value, str) and len(value) > _MAXIMUM_CHARACTERS:
        return value[: _MAXIMUM_CHARACTERS - 1] + "…"
    if isinstance(value, Mapping):
        return {name: _clipped(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [_clipped(item) for item in value]
        if len(items) > _MAXIMUM_ITEMS and isinstance(items[0], str):
            more = len(items) - _MAXIMUM_ITEMS + 1
            return [*items[: _MAXIMUM_ITEMS - 1], f"and {more} more"]
        return items
    return value


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
