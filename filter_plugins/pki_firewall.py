# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter of the firewall role: the inventory's words to the text of a host's rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# Filters cannot import ansible.module_utils.pki; this line shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))


def rules(gateways: Any, *, settings: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    """The text for ``nft -f``, from the words of the inventory and the host's name and groups."""
    # Here, not above: Ansible loads this file in every task that uses any filter.
    from pki import firewall, firewall_text
    from pki.errors import PkiError

    try:
        here = firewall.Host(str(host["name"]), [str(group) for group in host["groups"]])
        return firewall_text.render(firewall.build(firewall.Settings(**settings), gateways, here))
    except PkiError as exc:
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Any]:
        return {"pki_firewall_rules": rules}
