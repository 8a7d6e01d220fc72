# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways of the inventory to models: the entry as a whole, and what its listeners share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..inventory import Declared
from ..inventory_fields import raise_all, unfilled
from ..policy import Policy
from ..trust_files import LoadedTrust
from . import abilities, limits
from . import trust as trusted
from .listeners import egress as read_egress
from .listeners import ingress as read_ingress
from .reading import GROUP, NAME, address, error, items, mapping, matching, unique
from .sources import ANYWHERE, Products, Sources


def build_all(raw: object, sources: Sources) -> list[dict[str, Any]]:
    """The models of every gateway of the inventory; PkiError for the first that is wrong."""
    if not isinstance(raw, list | tuple):
        raise error("gateways", "gateways is not a list", type(raw).__name__, "a list")
    raise_all([*unfilled(raw, "gateways.yml: gateways")])
    models = [build(entry, sources, index) for index, entry in enumerate(raw)]
    unique([str(model["name"]) for model in models], "gateways", "name")
    _one_dip_id_each(models)
    return models


def check(
    raw: object,
    declared: Declared,
    trust: Mapping[str, LoadedTrust],
    policies: Mapping[str, Policy],
    *,
    now: datetime | None = None,
    products: Products | None = None,
) -> list[dict[str, Any]]:
    """:func:`build_all` without a host: for a run that wants to know before it begins."""
    return build_all(raw, Sources(declared, trust, policies, ANYWHERE, now, products))


def build(raw: object, sources: Sources, index: int = 0) -> dict[str, Any]:
    """One gateway's model; the package says what is in it."""
    where = f"gateways[{index}]"
    entry = mapping(raw, where, ("name", "product", "hosts"), ("ingress", "egress", "resolvers"))
    name = matching(entry["name"], NAME, f"{where}.name", "lower case letters, digits, - and .")
    where = f"{where} ({name})"
    root = f"{sources.roots.gateway}/{name}"
    ingress = [
        read_ingress(item, sources, root, f"{where}.ingress[{at}]")
        for at, item in enumerate(items(entry["ingress"], f"{where}.ingress"))
    ]
    egress = [
        read_egress(item, sources, root, f"{where}.egress[{at}]")
        for at, item in enumerate(items(entry["egress"], f"{where}.egress"))
    ]
    both = [*ingress, *egress]
    if not both:
        raise error(where, "the gateway has nothing to do", "no ingress and no egress", "one")
    unique([item["authority"] for item in both], where, "listen")
    unique([item["name"] for item in both], where, "name")
    unique([item["dip_id"] for item in egress if item["dip_id"]], where, "dip_id")
    product = matching(entry["product"], NAME, f"{where}.product", "a product's name")
    profile = limits.profile(both, sources, where)
    sides = {"ingress": ingress, "egress": egress}
    asks = abilities.asks_responders(product, sources, where) if profile["ocsp"]["ask"] else ""
    resolvers = _resolvers(entry["resolvers"], f"{where}.resolvers")
    if profile["ocsp"]["ask"] and ingress and not asks and not resolvers:
        raise error(
            f"{where}.resolvers",
            "the gateway is to ask OCSP responders, and could look up none of them",
            "nothing",
            "the addresses of name servers",
            'name them, or set crl_gateway_ocsp to "off" in the overlay: callers are refused '
            "while no responder answers",
        )
    return {
        "name": name,
        "product": product,
        "hosts": matching(entry["hosts"], GROUP, f"{where}.hosts", "a host or group name"),
        "root": root,
        **profile,
        "ocsp": {"ask": profile["ocsp"]["ask"] and not asks, "resolvers": resolvers},
        "budget": abilities.judged(product, name, profile["limits"], sides, sources, where),
        "ingress": ingress,
        "egress": egress,
        **depends_on(both),
        "trust_files": {
            f"trust/{trust}.pem": trusted.bundle(sources.trusted(trust))
            for trust in sorted({item["trust"] for item in both})
        },
    }


def _resolvers(raw: object, where: str) -> list[str]:
    """Name servers as they are written beside a port: IPv6 in brackets."""
    return [
        f"[{found}]" if ":" in found else found
        for at, one in enumerate(items(raw, where))
        for found in [address(str(one), f"{where}[{at}]")]
    ]


def depends_on(listeners: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What must be on a host for these listeners, by name."""
    return {
        "certificates": sorted({item["certificate"] for item in listeners}),
        "trusts": sorted({item["trust"] for item in listeners}),
        "api_keys": sorted({item["api_key"]["name"] for item in listeners if item.get("api_key")}),
    }


def _one_dip_id_each(models: Sequence[Mapping[str, Any]]) -> None:
    """An API key belongs to one DIP ID, whichever gateways use it."""
    owners: dict[str, str] = {}
    for model in models:
        for item in model["egress"]:
            if item["api_key"] is None:
                continue
            key = item["api_key"]["name"]
            if owners.setdefault(key, item["dip_id"]) != item["dip_id"]:
                raise error(
                    f"gateways ({model['name']}).egress ({item['name']}).api_key",
                    "one API key is named for two DIP IDs",
                    f"{key} for {owners[key]} and {item['dip_id']}",
                    "an API key of its own for each DIP ID",
                )
