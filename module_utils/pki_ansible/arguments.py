# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specifications that several controller modules share."""

from __future__ import annotations

#: The inventory and where its files are.
INVENTORY = {
    "organisations": {"type": "dict", "required": True},
    "certificates": {"type": "list", "elements": "dict", "required": True},
    "trust": {"type": "dict", "required": True},
    "policy_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "crl_cache_dir": {"type": "path", "required": True},
}

#: The directory of requests and certificates beside it.
CERTIFICATES_DIR = {"certificates_dir": {"type": "path", "required": True}}

#: How to reach the key server: places, no secrets.
VAULT = {"vault": {"type": "dict", "default": {}}}

#: The plan's actions.
ACTIONS = {"actions": {"type": "list", "elements": "dict", "required": True}}
