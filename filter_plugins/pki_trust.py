# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are asked while a CA of the inventory is being retired, and what they told."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def retiring(trust):
    """Whether the last day of some pinned CA is over: on most nights of none.

    Ansible loads every filter in every task, so this alone is light.
    """
    today = datetime.now(UTC).date().isoformat()
    return any(
        str(ca.get("retire_after", today)) < today
        for entry in (trust or {}).values()
        for kind in ("anchors", "issuers")
        for ca in entry.get(kind) or ()
        if hasattr(ca, "get")
    )


def watched(gateways, *, trust, host, places):
    """What ``pki_gateway_info`` of a host is to look at, of the gateways that it runs.

    ``host``: name, groups. ``places``: policy_dir and base_dir here, gateway_root there.
    """
    from pki.errors import PkiError

    try:
        return _watched(gateways, trust, host, places)
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def _watched(gateways, trust, host, places):
    from pki import inventory, inventory_trust, policy_files, trust_files, trust_generations

    sets = {str(name): inventory_trust.trust_set(str(name), raw) for name, raw in trust.items()}
    base = str(places["base_dir"])
    loaded = trust_files.load_all(inventory.Declared({}, {}, sets), base)
    policies = policy_files.load_policies(
        str(places["policy_dir"]),
        sorted({one.policy for one in sets.values()}),
        overlay_dir=os.path.join(base, "policy"),
    )
    now = datetime.now(UTC)
    issuers = {name: trust_generations.retired_names(one, now) for name, one in loaded.items()}
    days = max(policies[one.policy].number("ca_peer_days") for one in sets.values())
    groups = {"all", str(host["name"]), *(str(group) for group in host["groups"])}
    return {
        "issuers": sorted({name for found in issuers.values() for name in found}),
        "since": (now - timedelta(days=days)).timestamp(),
        "gateways": [
            {
                "name": str(entry["name"]),
                "product": str(entry["product"]),
                "root": os.path.join(str(places["gateway_root"]), str(entry["name"])),
                "far_ends": [
                    {
                        "listener": str(one["name"]),
                        "address": str(one["upstream"]["address"]),
                        "port": int(one["upstream"]["port"]),
                        "server_name": str(one["upstream"]["host"]),
                    }
                    for one in entry.get("egress") or ()
                    if issuers.get(str(one["trust"]))
                ],
            }
            for entry in gateways or ()
            if str(entry["hosts"]) in groups
        ],
    }


def told(names, hostvars):
    """By host what it told, None for one that told nothing; None when nobody was asked at all."""
    results = {str(name): hostvars[name].get("crl_cache_watched") for name in names}
    if not any(results.values()):
        return None
    return {name: (result or {}).get("watched") or None for name, result in results.items()}


def leaf_only(gateways):
    """Products of the gateways whose TLS library looks for the CRL of the leaf alone."""
    from pki_host.errors import HostError
    from pki_host.gateways import adapter

    found = set()
    for product in {str(entry.get("product")) for entry in gateways if hasattr(entry, "get")}:
        try:
            if not adapter(product).whole_chain_crls:
                found.add(product)
        except HostError:
            continue  # an unknown product is refused with the inventory, and judged strictly here
    return sorted(found)


class FilterModule:
    """Registers the filters."""

    def filters(self):
        return {
            "pki_trust_retiring": retiring,
            "pki_trust_watched": watched,
            "pki_trust_told": told,
            "pki_trust_leaf_only": leaf_only,
        }
