# SPDX-License-Identifier: GPL-3.0-or-later
"""All gateways of one host as one run of ``pki_gateway`` takes them, and what there is to say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import products
from .deployment import deployment

Items = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Staged:
    """What was put on the host for its gateways, as the modules that put it there returned it."""

    releases: Items = ()
    crl_sets: Items = ()
    api_keys: Items = ()
    out_of_service: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Programs:
    """What is known of the products on one host, by product.

    ``paths``: the program. ``lacks``: what its build cannot do, as ``pki_gateway_info`` told.
    ``users``: who speaks with peers; the product's own where nobody says.
    ``separate_users`` is false where the gateways run as whoever Ansible becomes.
    """

    paths: Mapping[str, str]
    lacks: Mapping[str, Collection[str]] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    separate_users: bool = True

    def user(self, product: str) -> str:
        """The user of the product's processes; empty where there is no privilege to give away."""
        if not self.separate_users:
            return ""
        return self.users.get(product) or str(products.row(product)["user"])


def of_host(
    models: Sequence[Mapping[str, Any]], staged: Staged, programs: Programs
) -> dict[str, Any]:
    """``gateways`` for ``pki_gateway``; ``waits`` and ``out``, sentences; ``budget`` by listener.

    A gateway that waits for something is not among ``gateways`` and stays as it is.

    Raises:
        PkiError: a value of a model cannot be written for its product.
    """
    whole = [
        {
            **model,
            **deployment(
                model,
                staged.releases,
                staged.crl_sets,
                staged.out_of_service,
                staged.api_keys,
            ),
        }
        for model in models
    ]
    return {
        "gateways": [_argument(model, programs) for model in whole if not model["waits_for"]],
        "waits": [
            f"{model['name']} is left as it is; it waits for {', '.join(model['waits_for'])}"
            for model in whole
            if model["waits_for"]
        ],
        "out": [sentence for model in whole for sentence in model["out"]],
        "budget": [entry for model in whole for entry in model["budget"]],
    }


def _argument(model: Mapping[str, Any], programs: Programs) -> dict[str, Any]:
    product = model["product"]
    stopped = model["stopped"]
    return {
        "name": model["name"],
        "product": product,
        "program": programs.paths[product],
        "root": model["root"],
        "state": "stopped" if stopped else "started",
        "files": [] if stopped else [*model["files"], *_rendered(model, programs)],
        "links": model["links"],
        "probes": model["probes"],
        "closed": model["closed"],
        "drain_seconds": model["limits"]["drain_seconds"],
        "tls_protocols": model["tls"]["protocols"],
        "log_days": model["log"]["live_days"],
    }


def _rendered(model: Mapping[str, Any], programs: Programs) -> list[dict[str, str]]:
    product = str(model["product"])
    lacks = programs.lacks.get(product, ())
    return products.rendered(model, lacks, programs.user(product))
