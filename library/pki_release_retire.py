#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the releases of replaced versions, with their keys, from a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_release_retire
short_description: Remove the releases of replaced certificates from a host
version_added: 0.1.0
description:
  - Looks at the release directories of the named certificates, and removes those of versions below
    the one that stays, the private key of each first.
  - A release that is in service is never removed; while an old one is, nothing is removed.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would be removed and removes nothing.
  diff_mode:
    support: full
    description: Names the directories; never the content of a key.
options:
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  retire:
    description: What stays, one entry a certificate.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: The entry's name, as in C(certificates.yml).
        type: str
        required: true
      version:
        description: The oldest version that stays.
        type: int
        required: true
  state:
    description: V(inspect) only tells what is there, V(absent) removes what is older.
    type: str
    choices: [inspect, absent]
    default: inspect
"""

EXAMPLES = r"""
- name: Remove what version 2 replaced
  pki_release_retire:
    release_root: /etc/pki/mtls
    retire:
      - certificate: dip-nonprod
        version: 2
    state: absent
"""

RETURN = r"""
releases:
  description: Every release directory of the named certificates that is there, or stays there.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      release: v2-0123456789abcdef
      version: 2
      in_service: true
      key: true
removed:
  description: The directories that were removed, or would be.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import files, old_releases, trail

KEEP = {
    "certificate": {"type": "str", "required": True},
    "version": {"type": "int", "required": True},
}
SPEC = {
    "release_root": {"type": "path", "required": True},
    "retire": {"type": "list", "elements": "dict", "required": True, "options": KEEP},
    "state": {"type": "str", "choices": ["inspect", "absent"], "default": "inspect"},
}


def removed(module, root, keeps):
    """What is removed, or in check mode would be."""
    if module.params["state"] == "inspect":
        return []
    if module.check_mode:
        return [one for keep in keeps for one in old_releases.older(root, keep)]
    with files.HostLock(os.path.join(root, ".lock")):
        return old_releases.remove(root, keeps)


def handler(module):
    root = module.params["release_root"]
    keeps = [old_releases.Keep.of(raw) for raw in module.params["retire"]]
    gone = removed(module, root, keeps)
    left = [one for keep in keeps for one in old_releases.found(root, keep.certificate)]
    paths = [os.path.join(root, one.certificate, "releases", one.name) for one in gone]
    return {
        "changed": bool(gone),
        "releases": [one.as_result() for one in left if one not in gone],
        "removed": paths,
        "diff": {"before": "".join(f"{path}\n" for path in paths), "after": ""},
        "trail": []
        if module.check_mode
        else [
            trail.event(f"release {one.name} removed", one.certificate, one.version) for one in gone
        ],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
