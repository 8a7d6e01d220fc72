# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the gateway role: models from the inventory, and text fit for a product.

Ansible loads every filter file in every task that uses any filter, so what costs time to
import is imported by the filter that needs it (0.3 CPU seconds a task, measured).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def models(
    gateways: Any,
    *,
    declared: Mapping[str, Any],
    host: Mapping[str, Any],
    places: Mapping[str, str],
    releases: Any = (),
    crl_sets: Any = (),
    out_of_service: Any = (),
) -> list[dict[str, Any]]:
    """The models of this host's gateways, each with what :func:`gateway.deployment` adds.

    ``declared``: organisations, certificates, trust. ``host``: name, groups. ``places``:
    policy_dir and base_dir here, release_root, crl_cache_root and gateway_root there.
    ``out_of_service``: entries whose key is compromised.
    """
    from pki import gateway
    from pki.errors import PkiError

    try:
        built = gateway.build_all(gateways, _sources(declared, places))
        mine = {"all", str(host["name"]), *(str(group) for group in host["groups"])}
        return [
            {**model, **gateway.deployment(model, releases, crl_sets, out_of_service)}
            for model in built
            if model["hosts"] in mine
        ]
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def _sources(declared: Mapping[str, Any], places: Mapping[str, str]) -> Any:
    from pki import gateway, inventory, policy_files, trust_files

    names = inventory.policy_names(declared["certificates"])
    policies = policy_files.load_policies(
        str(places["policy_dir"]), names, overlay_dir=os.path.join(places["base_dir"], "policy")
    )
    known = inventory.load(
        organisations=declared["organisations"],
        certificates=declared["certificates"],
        trust=declared["trust"],
        policies=policies,
        groups=declared.get("groups"),
    )
    roots = gateway.Roots(
        release=str(places["release_root"]),
        crl=str(places["crl_cache_root"]),
        gateway=str(places["gateway_root"]),
    )
    trust = trust_files.load_all(known, str(places["base_dir"]))
    return gateway.Sources(known, trust, policies, roots)


def text(value: Any, product: Any, kind: Any) -> str:
    """``value`` as the product's adapter writes it in a place of this kind."""
    from pki_host.errors import HostError
    from pki_host.gateways import adapter

    try:
        return adapter(str(product)).text[str(kind)](str(value))
    except HostError as exc:
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Any]:
        return {"pki_gateway_models": models, "pki_gateway_text": text}
