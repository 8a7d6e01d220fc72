#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put verified CRL sets on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_crl_install
short_description: Put verified CRL sets on a host
version_added: 0.1.0
description:
  - Writes each set into a directory named by its content. The gateway's transaction switches the
    C(current) link to it, so a set that the gateway cannot load is never in service.
  - A set that is empty, or whose digest is not the stated one, is refused.
  - When the set was fetched is recorded beside it in C(poll.json). Nothing a gateway reads depends
    on that file, so writing it is not reported as a change.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Names the sets that are written; CRLs themselves are too large to show.
options:
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
  sets:
    description: The sets as the C(pki_crl_fetch) module returns them; other keys are ignored.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Put the CRL sets on the host
  pki_crl_install:
    crl_root: /var/lib/pki-crl
    sets: "{{ crls.sets }}"
"""

RETURN = r"""
sets:
  description: One entry a set.
  returned: success
  type: list
  elements: dict
  sample:
    - trust: dip-nonprod
      id: 0123456789abcdef
      problem: ""
      changed: false
      next_update: "2026-01-02T00:00:00Z"
      link: {path: /var/lib/pki-crl/dip-nonprod/current, target: sets/0123456789abcdef}
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import crl_install, files, trail

SPEC = {
    "crl_root": {"type": "path", "required": True},
    "sets": {"type": "list", "elements": "dict", "required": True},
}


def install(root, sets):
    """Each set with what was wrong with it, after putting it right under the root's lock."""
    with files.HostLock(os.path.join(root, ".lock")):
        judged = [(entry, entry.problem(root)) for entry in sets]
        for entry, problem in judged:
            if problem:
                entry.install(root)
            entry.record_poll(root)
    return judged


def handler(module):
    root = module.params["crl_root"]
    sets = [crl_install.CrlSet.of(raw) for raw in module.params["sets"]]
    if module.check_mode or not sets:
        judged = [(entry, entry.problem(root)) for entry in sets]
    else:
        judged = install(root, sets)
    wrong = [f"{entry.path(root)}: {problem}\n" for entry, problem in judged if problem]
    installed = [] if module.check_mode else [entry for entry, problem in judged if problem]
    return {
        "changed": bool(wrong),
        "sets": [entry.as_result(root, problem) for entry, problem in judged],
        "diff": {"before": "".join(wrong), "after": ""},
        "trail": [
            trail.event(
                "CRL set installed",
                artefacts={f"CRLs of {entry.trust}": files.sha256(entry.pem.encode())},
            )
            for entry in installed
        ],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
