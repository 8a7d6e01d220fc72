# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are asked for keys of their own, and what they told, as ``pki_plan`` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ASKED, REQUESTED = "certificates_host_keys", "certificates_host_requests"


def entries_of_host(certificates, groups, host, certificates_dir=""):
    """Entries of which this host has a key of its own, or had one, as ``pki_host_key`` takes them.

    The entries are raw: what is wrong with them is the plan's to say, so it is passed over here.
    """
    return [
        {"entry": str(entry["name"])}
        for entry in certificates
        if _is_per_host(entry)
        and host in (entry.get("hosts"), *groups.get(str(entry.get("hosts")), ()))
        and (_store(entry) == "host" or _had(Path(str(certificates_dir)), entry["name"], host))
    ]


def _is_per_host(entry):
    return isinstance(entry, Mapping) and entry.get("per_host") is True and "name" in entry


def _store(entry):
    key = entry.get("key")
    return key.get("store") if isinstance(key, Mapping) else None


def _had(folder, name, host):
    """Whether a committed request of an entry that moved elsewhere names a key on the host."""
    try:
        found = list((folder / str(name) / str(host)).glob("*/request.yml"))
        return any("store: host" in path.read_text(errors="replace") for path in found)
    except OSError:
        return False


def told(names, hostvars):
    """By host: what it last told of its keys, an entry each. Who told nothing is not there."""
    found = {str(name): _of_host(hostvars[name]) for name in names if name in hostvars}
    return {name: results for name, results in found.items() if results}


def problems(names, hostvars):
    """What hosts said is wrong with keys of theirs, in words."""
    return [
        f"{name}: {result['text']}"
        for name, results in told(names, hostvars).items()
        for result in results
        if result.get("text")
    ]


def _of_host(variables):
    """The keys as they were when asked, and as they are since a request was made."""
    results = {}
    for variable in (ASKED, REQUESTED):
        answer = variables.get(variable) or {}
        for result in answer.get("keys") or ():
            results[result["entry"]] = result
    return list(results.values())


class FilterModule:
    """Registers the filters."""

    def filters(self):
        return {
            "pki_host_key_entries": entries_of_host,
            "pki_host_keys": told,
            "pki_host_key_problems": problems,
        }
