# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role vault_policies: mounts and key types, as the rest of the product knows them.

Imports are inside the filters: Ansible loads every filter file in every task that uses any filter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def template_variables(
    environment_classes: Iterable[str], key_types: Iterable[str], pull_keys: int
) -> dict[str, Any]:
    """What the templates of the policies are filled with."""
    from pki import vault_policies

    return vault_policies.variables(environment_classes, key_types, pull_keys)


def mounts(environment_classes: Iterable[str]) -> list[dict[str, str]]:
    """The mounts that the environment classes need, as ``pki_vault_policies`` takes them."""
    from pki import vault_policies

    return vault_policies.mounts(environment_classes)


def key_types(policy_dir: str, overlay_dir: str = "") -> list[str]:
    """The kinds of keys that the policies of a directory want, an organisation's own values in."""
    from pki import policy_files, vault_policies
    from pki.errors import PkiError

    try:
        names = policy_files.policy_names(str(policy_dir))
        loaded = policy_files.load_policies(str(policy_dir), names, str(overlay_dir) or None)
        return vault_policies.key_types(loaded)
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    """What Ansible asks this file for."""

    def filters(self) -> dict[str, Any]:
        return {
            "pki_vault_policy_variables": template_variables,
            "pki_vault_mounts": mounts,
            "pki_vault_key_types": key_types,
        }
