#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put packet filter rules into force, to stay only when they are confirmed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_firewall
short_description: Put packet filter rules into force, to stay only when they are confirmed
version_added: 0.1.0
description:
  - With O(state=applied) the table C(inet pki) is compared with what was last confirmed and with
    what is declared. When it differs, a timer is armed on the host that puts the previous rules
    back, and then the declared ones are loaded in one transaction.
  - With O(state=confirmed), called over a new connection, the timer is disarmed and the rules are
    made permanent. A reboot before that leads back to the previous rules, too.
  - Other tables, and connections that the kernel tracks, are left alone.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Compares everything, arms nothing and changes nothing. Needs no nft on the host.
  diff_mode:
    support: full
    description: Shows the rules as text.
options:
  state:
    description:
      - V(applied) loads rules that are not in force yet. Rules that an earlier run left
        unconfirmed are waited for first, until they are confirmed or rolled back.
      - V(confirmed) keeps what V(applied) loaded, and fails when it was rolled back meanwhile.
    type: str
    choices: [applied, confirmed]
    default: applied
  rules:
    description: The whole text for C(nft -f), as the role's filter makes it.
    type: str
    required: true
  confirm_seconds:
    description: Seconds until the previous rules are put back, unless the new ones are confirmed.
    type: int
    default: 60
  root:
    description: Directory of the permanent rules.
    type: path
    default: /etc/pki/firewall
  report_missing:
    description: Say in RV(program_missing) that there is no nft on the host, and do nothing.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Apply the rules
  pki_firewall:
    rules: "{{ lookup('ansible.builtin.file', 'rules.nft') }}"
  register: firewall_result

- name: Keep the rules, over a new connection
  pki_firewall:
    state: confirmed
    rules: "{{ lookup('ansible.builtin.file', 'rules.nft') }}"
  when: firewall_result.armed
"""

RETURN = r"""
armed:
  description:
    - Whether a timer is armed now, so that O(state=confirmed) must follow.
    - In check mode, whether it would be.
  returned: success
  type: bool
reasons:
  description: Why the host was, or in check mode would be, changed.
  returned: success
  type: list
  elements: str
  sample: ["the table inet pki is not as it was confirmed"]
program_missing:
  description: Whether there is no nft on the host and nothing was done.
  returned: success
  type: bool
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import files, firewall, nft, trail

SPEC = {
    "state": {"type": "str", "choices": ["applied", "confirmed"], "default": "applied"},
    "rules": {"type": "str", "required": True},
    "confirm_seconds": {"type": "int", "default": 60},
    "root": {"type": "path", "default": "/etc/pki/firewall"},
    "report_missing": {"type": "bool", "default": False},
}


def handler(module):
    values = module.params
    if values["report_missing"] and not nft.is_installed():
        return {
            "changed": False,
            "armed": False,
            "reasons": [],
            "program_missing": True,
            "trail": [],
        }
    places = firewall.Places(values["root"])
    if values["state"] == "confirmed":
        result = firewall.confirmed(places, values["rules"], module.check_mode)
    else:
        result = firewall.applied(
            places, values["rules"], values["confirm_seconds"], module.check_mode
        )
        if result["armed"]:
            for wall in nft.other_walls():
                module.warn(f"what the inventory lets through may still be dropped: {wall}")
    happened = []
    if result["changed"] and not module.check_mode:
        digest = files.sha256(values["rules"].encode())
        what = "packet filter {}".format(values["state"])
        reason = "; ".join(result["reasons"])
        happened = [trail.event(what, artefacts={"rules": digest}, reason=reason)]
    return {**result, "program_missing": False, "trail": happened}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
