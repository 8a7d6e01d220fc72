# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway host watches of CRLs, of what ``pki_crl_fetch`` told of all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def watch(
    told: Any,
    *,
    host: Mapping[str, Any],
    gateway_root: str,
    metrics_dir: str,
    proxy: str = "",
    accepted: Any = None,
) -> dict[str, Any]:
    """The option ``watch`` of ``pki_crl_install``; empty for a host that has nothing to watch.

    ``told``: ``watch`` of ``pki_crl_fetch``, empty where nothing was fetched. ``host``: name and
    groups. ``accepted``: ``watch`` of ``pki_accept``, which ran since. ``gateway_root`` and
    ``metrics_dir``: directories there. ``proxy``: a URL, or empty.
    """
    if not told:
        return {}
    from pki import crl_watching
    from pki.errors import PkiError

    names = {"all", str(host["name"]), *(str(group) for group in host["groups"])}
    try:
        return crl_watching.of_host(
            told,
            names,
            gateway_root=str(gateway_root),
            metrics_dir=str(metrics_dir),
            proxy=str(proxy),
            accepted=accepted,
        )
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


def told(hosts: Any, hostvars: Mapping[str, Any], field: str) -> list[str]:
    """What the hosts said of their CRLs, ``alarms`` or ``problems``, each with the host's name."""
    results = {host: hostvars[host].get("crl_cache_install_result") or {} for host in hosts}
    return [f"{host}: {text}" for host, one in results.items() for text in one.get(field) or ()]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Any]:
        return {"pki_crl_watch": watch, "pki_crl_told": told}
