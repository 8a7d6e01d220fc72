# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which listeners there are to look at: one entry a gateway host and ingress listener."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

WILDCARDS = ("0.0.0.0", "::", "*", "")


def endpoints(gateways, groups, hostvars):
    """Listeners that present a certificate of ours, as ``pki_plan`` takes them.

    A listener on a wildcard address is asked at the host's own address: its variable
    ``gateway_address``, else where Ansible reaches it (``ansible_host``), else its name.
    """
    found = []
    for index, gateway in enumerate(_list(gateways, "gateways")):
        where = f"gateways[{index}]"
        hosts = groups.get(str(_field(gateway, "hosts", where)), [])
        listeners = _list(gateway.get("ingress"), f"{where}.ingress")
        for at, listener in enumerate(listeners):
            place = f"{where}.ingress[{at}]"
            found += [_endpoint(listener, place, host, hostvars) for host in hosts]
    return found


def _endpoint(listener, where, host, hostvars):
    address, _, port = str(_field(listener, "listen", where)).rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise _refused(f"{where}.listen", "address:port")
    address = address.strip("[]")
    if address in WILDCARDS:
        known = hostvars[host]
        address = str(known.get("gateway_address") or known.get("ansible_host") or host)
    return {
        "certificate": str(_field(listener, "certificate", where)),
        "host": str(host),
        "address": address,
        "port": int(port),
        "server_name": str(_field(listener, "server_name", where)),
    }


def _list(value, where):
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise _refused(where, "a list")
    return value


def _field(entry, name, where):
    """A text (or number) of an inventory entry; the gateway role judges what it says."""
    if not isinstance(entry, dict) or not isinstance(entry.get(name), str | int):
        raise _refused(f"{where}.{name}", "text")
    return entry[name]


def _refused(where, expected):
    return AnsibleFilterError(
        f"group_vars/all/gateways.yml: {where} is not usable; expected {expected}. "
        "Correct the inventory and run again."
    )


class FilterModule:
    """Filters of this file."""

    def filters(self):
        return {"pki_endpoints": endpoints}
