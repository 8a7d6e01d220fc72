# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which listeners there are to look at: one entry a gateway host and ingress listener."""

from __future__ import annotations

WILDCARDS = ("0.0.0.0", "::", "*", "")


def endpoints(gateways, groups, hostvars):
    """Listeners that present a certificate of ours, as ``pki_plan`` takes them.

    A listener on a wildcard address is asked at the host's own address.
    """
    return [
        _endpoint(listener, host, hostvars)
        for gateway in gateways
        for host in groups.get(gateway["hosts"], [])
        for listener in gateway.get("ingress") or []
    ]


def _endpoint(listener, host, hostvars):
    address, _, port = str(listener["listen"]).rpartition(":")
    address = address.strip("[]")
    if address in WILDCARDS:
        address = str(hostvars[host].get("ansible_host", host))
    return {
        "certificate": str(listener["certificate"]),
        "host": str(host),
        "address": address,
        "port": int(port),
        "server_name": str(listener["server_name"]),
    }


class FilterModule:
    """Filters of this file."""

    def filters(self):
        return {"pki_endpoints": endpoints}
