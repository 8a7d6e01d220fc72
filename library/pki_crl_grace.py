#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a host go on for a while with CRLs that are too old, on a person's word."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_crl_grace
short_description: Let a host go on for a while with CRLs that are too old
version_added: 0.1.0
description:
  - Grants a grace for the CRLs of one trust entry on one host, with who, why and until when.
  - It takes effect at once, and ends by itself.
  - It excuses age only. A CRL past its own next update is excused by nobody, and no grace is longer
    than the policy allows.
  - Without O(until) and O(hours), lists the trust entries of the host and changes nothing.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the grace before and after.
options:
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
  trust:
    description: The trust entry.
    type: str
    default: ''
  state:
    description: V(present) grants, or lists; V(absent) takes a grace away.
    type: str
    choices: [present, absent]
    default: present
  by:
    description: Who grants it. Needed to grant.
    type: str
    default: ''
  reason:
    description: Why. Needed to grant.
    type: str
    default: ''
  until:
    description: When it ends, as C(2026-01-02T03:04:05Z).
    type: str
    default: ''
  hours:
    description:
      - How long it lasts from now, in the place of O(until). The same words twice are one grace.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: Go on until the CA has moved its CRLs
  pki_crl_grace:
    crl_root: /var/lib/pki-crl
    trust: dip-nonprod
    by: Ada Admin
    reason: the CA moves its CRLs to another server until noon
    hours: 4
"""

RETURN = r"""
trusts:
  description: Every trust entry of the host, as it stands after this.
  returned: success
  type: list
  elements: dict
  sample:
    - trust: dip-nonprod
      age_seconds: 90000
      next_update_left_seconds: 500000
      in_force: {ingress: current, egress: current}
      why: []
      grace: null
      runs: false
listing:
  description: The same for a person; only when nothing was asked for but that.
  returned: when it lists
  type: list
  elements: str
sentences:
  description: What was done or would be, and what the guard did then.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_host import crl_granting, files, trail

SPEC = {
    "crl_root": {"type": "path", "required": True},
    "trust": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "by": {"type": "str", "default": ""},
    "reason": {"type": "str", "default": ""},
    "until": {"type": "str", "default": ""},
    "hours": {"type": "float", "default": 0},
}


def event(wish, granted):
    """The change as the audit trail wants it."""
    ended = wish.state == "absent"
    text = granted.before if ended else granted.after
    what = "CRL grace taken away" if ended else "CRL grace granted"
    digests = {f"grace of {wish.trust}": files.sha256(text.encode())}
    return {**trail.event(what, artefacts=digests, reason=wish.reason), "by": wish.by}


def handler(module):
    given = {name: module.params[name] for name in SPEC if name != "crl_root"}
    desk, wish = crl_granting.Desk(module.params["crl_root"]), crl_granting.Wish(**given)
    if wish.lists:
        trusts = desk.listed()
        return {
            "changed": False,
            "trusts": trusts,
            "listing": crl_granting.table(trusts),
            "sentences": [],
            "trail": [],
        }
    with telling() as happened:
        granted = desk.do(wish, check=module.check_mode)
        sentences = list(granted.sentences)
        if granted.changed and not module.check_mode:
            happened.append(event(wish, granted))
            sentences += desk.take_effect()
        return {
            "changed": granted.changed,
            "trusts": desk.listed(),
            "sentences": sentences,
            "diff": {"before": granted.before, "after": granted.after},
            "trail": happened,
        }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
