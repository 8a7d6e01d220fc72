#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the ACL policies of this product, and the mounts they speak of, on a key server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_vault_policies
short_description: Keep ACL policies and mounts on a key server
version_added: 0.1.0
description:
  - Compares policies with what HashiCorp Vault or OpenBao has, and writes those that differ.
  - Deletes nothing. A policy of the same name that somebody else wrote is refused, and so is a
    mount of another kind; either ends the run before anything is written.
  - With O(directory) the policies are written as files instead, for an operator who applies them
    with C(bao policy write). Then no server is asked.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing. It reads from the server.
  diff_mode:
    support: full
    description: Shows the policies' text; it is public.
options:
  policies:
    description: The policies' text, by name.
    type: dict
    required: true
  mounts:
    description: Secrets engines to mount where there is none.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: str
        required: true
      type:
        description: What.
        type: str
        choices: [transit, kv]
        required: true
      version:
        description: Version of the KV engine; empty for others.
        type: str
        default: ''
  adopt:
    description: Replace policies of these names that somebody else wrote.
    type: bool
    default: false
  vault:
    description:
      - How to reach the key server, as an identity that may write policies. A map of places; no
        secret is an option.
    type: dict
    default: {}
  directory:
    description: Directory, on the controller, for files of the policies; C(<name>.hcl) each.
    type: path
"""

EXAMPLES = r"""
- name: Keep the pipeline's policy
  pki_vault_policies:
    policies:
      pipeline: "{{ lookup('ansible.builtin.template', 'pipeline.hcl.j2') }}"
    vault:
      address: https://vault.example.net:8200
      ca_cert: /etc/pki/vault-ca.pem
      token_file: /run/secrets/vault-operator
"""

RETURN = r"""
steps:
  description: What was written, or would be in check mode, one sentence each.
  returned: success
  type: list
  elements: str
  sample: [make sys/policies/acl/pipeline]
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os
from pathlib import Path

from ansible.module_utils.pki import keystores, public_state, vault_policies
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import VAULT

MOUNT = {
    "path": {"type": "str", "required": True},
    "type": {"type": "str", "choices": ["transit", "kv"], "required": True},
    "version": {"type": "str", "default": ""},
}
SPEC = {
    "policies": {"type": "dict", "required": True},
    "mounts": {"type": "list", "elements": "dict", "default": [], "options": MOUNT},
    "adopt": {"type": "bool", "default": False},
    "directory": {"type": "path"},
    **VAULT,
}


def on_server(params, policies, check_mode, happened):
    mounts = [vault_policies.Mount(**mount) for mount in params["mounts"]]
    with keystores.vault(params["vault"], os.environ) as client:
        steps = vault_policies.steps(client, policies, mounts, adopt=params["adopt"])
        if not check_mode:
            vault_policies.carry_out(client, steps, happened)
    return steps


def in_files(directory, policies, check_mode, happened):
    steps = vault_policies.files(directory, policies)
    if not check_mode:
        contents = {Path(step.path).name: step.after.encode() for step in steps}
        public_state.write(directory, contents)
        happened += [step.as_event() for step in steps]
    return steps


def handler(module):
    params = module.params
    policies = {str(name): str(text) for name, text in params["policies"].items()}
    with telling() as happened:
        if params["directory"]:
            steps = in_files(Path(params["directory"]), policies, module.check_mode, happened)
        else:
            steps = on_server(params, policies, module.check_mode, happened)
    return {
        "changed": bool(steps),
        "steps": [step.sentence for step in steps],
        "diff": [step.diff() for step in steps],
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
