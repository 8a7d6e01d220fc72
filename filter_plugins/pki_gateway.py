# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the gateway role: models from the inventory, and all that one host's run needs.

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
    api_keys: Any = (),
) -> list[dict[str, Any]]:
    """The models of this host's gateways, each with what :func:`gateway.deployment` adds.

    ``declared``: organisations, certificates, trust. ``host``: name, groups. ``places``:
    policy_dir and base_dir here, release_root, crl_cache_root and gateway_root there.
    ``out_of_service``: entries whose key is compromised.
    """
    from pki import gateway
    from pki.errors import PkiError

    try:
        return [
            {
                **model,
                **gateway.deployment(model, releases, crl_sets, out_of_service, api_keys),
            }
            for model in _mine(gateways, declared, host, places)
        ]
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def batch(
    gateways: Any,
    *,
    declared: Mapping[str, Any],
    host: Mapping[str, Any],
    places: Mapping[str, str],
    programs: Mapping[str, Any],
    staged: Mapping[str, Any],
    live: Any = None,
    believed: Any = None,
) -> dict[str, Any]:
    """All gateways of this host for one run of ``pki_gateway``, and what there is to say.

    ``programs``: paths, lacks, users (by product) and separate_users. ``staged``: releases,
    crl_sets, api_keys and out_of_service. ``live``: SHA-256 of retired CAs that something on the
    host still depends on; None where nobody looked. ``believed``: by trust, the SHA-256 of the CAs
    that count there and no others.
    """
    from pki.errors import PkiError
    from pki.gateway import batch as of

    try:
        return of.of_host(
            _mine(gateways, declared, host, places, live, believed),
            of.Staged(**staged),
            of.Programs(**programs),
        )
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def products(gateways: Any) -> dict[str, dict[str, str]]:
    """What gateway products cannot do, as ``pki_plan`` takes it; nothing without gateways."""
    if not gateways:
        return {}
    from pki.gateway import products as known

    return {name: dict(features) for name, features in known.cannot().items()}


def text(value: Any, product: Any, kind: Any) -> str:
    """``value`` as the product's adapter writes it in a place of this kind."""
    from pki.errors import PkiError
    from pki.gateway import products as known

    try:
        return known.text(str(value), str(product), str(kind))
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def _mine(
    gateways: Any,
    declared: Mapping[str, Any],
    host: Mapping[str, Any],
    places: Mapping[str, str],
    live: Any = None,
    believed: Any = None,
) -> list[dict[str, Any]]:
    from pki import gateway

    built = gateway.build_all(gateways, _sources(declared, places, live, believed))
    names = {"all", str(host["name"]), *(str(group) for group in host["groups"])}
    return [model for model in built if model["hosts"] in names]


def _sources(
    declared: Mapping[str, Any], places: Mapping[str, str], live: Any, believed: Any
) -> Any:
    from datetime import UTC, datetime

    from pki import gateway, session, trust_files
    from pki.gateway import products as known_products

    now = datetime.now(UTC)
    known, policies = session.written({**declared, **places}, now)
    roots = gateway.Roots(
        release=str(places["release_root"]),
        crl=str(places["crl_cache_root"]),
        gateway=str(places["gateway_root"]),
    )
    trust = {
        name: one.only(believed[name]) if name in (believed or {}) else one
        for name, one in trust_files.load_all(known, str(places["base_dir"])).items()
    }
    return gateway.Sources(known, trust, policies, roots, now, known_products.cannot(), live)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Any]:
        return {
            "pki_gateway_batch": batch,
            "pki_gateway_models": models,
            "pki_gateway_products": products,
            "pki_gateway_text": text,
        }
