#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a host's CRLs now, and put what is newer into service."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_crl_refresh
short_description: Fetch a host's CRLs now, and put what is newer into service
version_added: 0.1.0
description:
  - Runs once what the timer of the host runs, and says what came of it. The host polls every CA
    that it watches, keeps what is right and newer, and switches its gateways to a set that changed.
  - A poll that fails is in RV(problems) and does not fail the module. What is in service stays.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what the last poll came to, without polling.
  diff_mode:
    support: full
    description: Names the sets that were put into service; CRLs themselves are too large to show.
options:
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Fetch the CRLs now
  pki_crl_refresh:
    crl_root: /var/lib/pki-crl
  register: refreshed
"""

RETURN = r"""
trusts:
  description: What came of it, by trust entry, as C(status.json) on the host has it.
  returned: success
  type: dict
listing:
  description: The same for a person, a line a CA.
  returned: success
  type: list
  elements: str
problems:
  description: What is wrong, the most urgent first, and what to do.
  returned: success
  type: list
  elements: str
notices:
  description: What is worth a look, and what to do.
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
from ansible.module_utils.pki_host import crl_refresh, crl_store, crl_told, trail

SPEC = {
    "crl_root": {"type": "path", "required": True},
}


def told(trusts, before, after):
    """What people are shown of the status of each trust entry."""
    lines = [line for name in trusts for line in crl_told.lines(name, trusts[name])]
    return {
        "changed": before != after or any(one.get("switched") for one in trusts.values()),
        "trusts": trusts,
        "listing": crl_told.table(trusts),
        "problems": crl_told.texts(lines, crl_told.ALERT, crl_told.ERROR),
        "notices": crl_told.texts(lines, crl_told.WARNING, crl_told.WARNING),
        "diff": {"before": shown(before), "after": shown(after)},
    }


def shown(links):
    return "".join(f"{name}: {links[name] or 'none'}\n" for name in sorted(links))


def handler(module):
    root = module.params["crl_root"]
    if module.check_mode:
        trusts = crl_refresh.known(root)
        links = crl_store.links(root, trusts)
        result = told(
            {name: {**one, "switched": False} for name, one in trusts.items()}, links, links
        )
        return {**result, "trail": []}
    with telling() as happened:
        before = crl_store.links(root, crl_refresh.known(root))
        outcome = crl_refresh.run(root)
        after = crl_store.links(root, outcome.trusts)
        happened += [
            trail.event("CRL set put into service", artefacts={f"CRLs of {name}": digest})
            for name, digest in crl_store.digests(root, after, before).items()
        ]
        return {**told(dict(outcome.trusts), before, after), "trail": happened}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
