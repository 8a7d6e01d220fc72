# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gateway hosts told of themselves, as ``pki_facts`` takes it: every host, seen or not."""

from __future__ import annotations

UNASKED = "this host was not asked in this run"


def seen_hosts(names, hostvars):
    """By host: its groups, what it told, and ``problem`` for one that told nothing.

    A host that could not be reached is there all the same: what is declared on it must not
    disappear from the check.
    """
    return {str(name): _host(hostvars[name]) for name in names}


def _host(variables):
    result = variables.get("verify_host_facts") or {}
    seen = result.get("host")
    problem = "" if seen else str(result.get("msg") or UNASKED)
    return {"groups": list(variables["group_names"]), "problem": problem, **(seen or {})}


def told(names, hostvars, variable):
    """By host: what a task registered as ``variable`` there, with a ``problem`` for nothing."""
    return {str(name): _told(hostvars[name].get(variable)) for name in names}


def _told(result):
    good = result and not (result.get("failed") or result.get("unreachable"))
    if good:
        return {**result, "problem": ""}
    return {"problem": str((result or {}).get("msg") or UNASKED)}


def addresses(names, hostvars):
    """By host: the addresses and names that it is known by, for comparing them with a log."""
    return {str(name): _known(str(name), hostvars[name]) for name in names}


def _known(name, variables):
    told = [variables.get("gateway_address"), variables.get("ansible_host")]
    return [str(one) for one in told if one] or [name]


class FilterModule:
    """Registers the filter."""

    def filters(self):
        return {"pki_seen_hosts": seen_hosts, "pki_told": told, "pki_addresses": addresses}
