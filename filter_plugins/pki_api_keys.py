# SPDX-License-Identifier: GPL-3.0-or-later
"""Which API keys the gateways of a host, or of all hosts, send. Names and places, no values."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def api_keys(
    gateways: Any,
    *,
    declared: Mapping[str, Any],
    places: Mapping[str, str],
    host: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What `pki_api_key` takes as its option of that name.

    ``declared``: organisations, certificates, trust, groups. ``places``: policy_dir and base_dir.
    ``host``: name and groups; without it, those of every host.
    """
    if not any(_sends(listener) for listener in _egress(gateways)):
        return []  # most inventories: no CA file is read for them

    from pki import api_keys, gateway, session, trust_files
    from pki.errors import PkiError

    try:
        known, policies = session.written({**declared, **places}, datetime.now(UTC))
        base = str(places["base_dir"])
        models = gateway.check(gateways, known, trust_files.load_all(known, base), policies)
        mine = [model for model in models if host is None or model["hosts"] in _names(host)]
        return [key.as_json() for key in api_keys.declared(mine, known.entries)]
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def _names(host: Mapping[str, Any]) -> set[str]:
    return {"all", str(host["name"]), *(str(group) for group in host["groups"])}


def _egress(gateways: Any) -> list[Any]:
    """Every egress listener as it stands there; the model says what is wrong with it."""
    entries = gateways if isinstance(gateways, (list, tuple)) else []
    found = [entry.get("egress") for entry in entries if isinstance(entry, Mapping)]
    return [one for items in found if isinstance(items, (list, tuple)) for one in items]


def _sends(listener: Any) -> bool:
    return isinstance(listener, Mapping) and bool(listener.get("api_key"))


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Any]:
        return {"pki_api_keys": api_keys}
