# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specifications that several controller modules share."""

from __future__ import annotations

#: The inventory and where its files are.
INVENTORY = {
    "organisations": {"type": "dict", "required": True},
    "certificates": {"type": "list", "elements": "dict", "required": True},
    "trust": {"type": "dict", "required": True},
    "groups": {"type": "dict", "default": {}},
    "policy_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "crl_cache_dir": {"type": "path", "required": True},
}

#: What is judged: requests and certificates, with the CRLs of this run if they were not kept.
JUDGED = {
    "certificates_dir": {"type": "path", "required": True},
    "crl_sets": {"type": "list", "elements": "dict", "default": []},
}

#: How to reach the key server: places, no secrets.
VAULT = {"vault": {"type": "dict", "default": {}}}

#: What hosts told of the keys they keep, as the filter ``pki_host_keys`` puts it.
HOST_KEYS = {"host_keys": {"type": "dict", "default": {}, "no_log": False}}

#: The keys that Vault's ledger names, as the plan returned them; public digests.
COMPROMISED = {"compromised": {"type": "dict", "default": {}}}

#: The plan's actions.
ACTIONS = {"actions": {"type": "list", "elements": "dict", "required": True}}

#: Listeners to look at, as the filter ``pki_endpoints`` names them.
ENDPOINTS = {
    "endpoints": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "certificate": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "server_name": {"type": "str", "required": True},
        },
    }
}
