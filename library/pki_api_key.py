#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the API keys that a host's gateways send on that host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_api_key
short_description: Put the API keys that a host's gateways send on that host
version_added: 0.1.0
description:
  - Works as an action on the controller and a module on the host, in one task. The action logs in
    as the release role and asks Vault which version of each key is the newest; the value is not
    read here.
  - Only for a version that is not on the host yet, the action has the entry wrapped for this host;
    the host checks what the token was made for, unwraps, checks the value and the version, and
    writes the file of each product with mode 0600.
  - It does not put a key into service; the C(pki_gateway) module does, in its transaction.
  - A key that cannot be had is in RV(refused), and stops nothing else. Where an earlier version is
    in service on the host, that one is in RV(api_keys), and stays.
  - It refuses to work while Ansible's debugging is on, because that prints or keeps what only the
    host may see.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Asks Vault for versions, compares, and changes nothing. No token is made.
  diff_mode:
    support: full
    description: Names what is wrong in each directory; never the content of a file.
options:
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  api_keys:
    description: The keys that this host's gateways send, as the filter C(pki_api_keys) names them.
    type: list
    elements: dict
    default: []
  vault:
    description:
      - How the controller reaches the key server as the release role, as a map of places; no
        secret is an option. Read by the action.
    type: dict
    default: {}
  wrap_ttl:
    description: Seconds that a delivery may take. Read by the action.
    type: int
    default: 60
  host_vault:
    description: How the host reaches the key server; several addresses are separated by commas.
    type: dict
    suboptions:
      address:
        description: Address beginning with C(https://).
        type: str
        required: true
      ca_pem:
        description: PEM of the CA that issued the server's certificate.
        type: str
        default: ''
      namespace:
        description: Namespace of the key server.
        type: str
        default: ''
      timeout:
        description: Seconds to wait for an answer.
        type: int
        default: 30
  state:
    description: What the host does; set by the action.
    type: str
    choices: [inspect, present]
    default: inspect
  releases:
    description: The keys and their wanted versions; set by the action and refused from a task.
    type: list
    elements: dict
    default: []
  wrap_tokens:
    description: One single-use token a key that needs its value; set by the action.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Put the API keys of this host's gateways in place
  pki_api_key:
    release_root: /etc/pki/mtls
    api_keys:
      - name: dip-nonprod
        mount: kv-nonprod
        header: X-API-KEY
        products: [nginx]
        listeners: [dip/api]
    vault: "{{ release_vault }}"
    host_vault:
      address: https://vault.example.net:8200
      ca_pem: "{{ lookup('ansible.builtin.file', 'vault-ca.pem') }}"
"""

RETURN = r"""
api_keys:
  description: One entry a key that is, or in check mode would be, on this host.
  returned: success
  type: list
  elements: dict
  sample:
    - name: dip-nonprod
      version: 1
      id: v1-0123456789abcdef
      problems: []
      changed: false
      needs_value: false
      link: {path: /etc/pki/mtls/api-keys/dip-nonprod/current, target: releases/v1-0123456789abcdef}
      current: releases/v1-0123456789abcdef
refused:
  description: Keys whose newest version is not to be had, and the whole reason.
  returned: success
  type: list
  elements: dict
  sample:
    - name: dip-nonprod
      error: {rule: API-KEY-MISSING}
      text: "…"
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_host import api_key, files, trail, vault_http
from ansible.module_utils.pki_host.errors import HostError

HOST_VAULT = {
    "address": {"type": "str", "required": True},
    "ca_pem": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
}
SPEC = {
    "release_root": {"type": "path", "required": True},
    "api_keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
    "vault": {"type": "dict", "default": {}},
    "wrap_ttl": {"type": "int", "default": 60},
    "host_vault": {"type": "dict", "options": HOST_VAULT},
    "state": {"type": "str", "choices": ["inspect", "present"], "default": "inspect"},
    "releases": {"type": "list", "elements": "dict", "default": []},
    "wrap_tokens": {"type": "dict", "default": {}, "no_log": True},
}


def present(module, releases, happened):
    """The states before, with what was refused, after putting each right under the root's lock."""
    raw = module.params["host_vault"] or {}
    vault = None
    if raw:
        where = (raw["address"], raw["ca_pem"], raw["namespace"], raw["timeout"])
        vault = vault_http.VaultAddress(*where)
    root, tokens = module.params["release_root"], module.params["wrap_tokens"]
    states, refused = [], []
    with files.HostLock(os.path.join(root, ".lock")):
        for wanted in releases:
            try:
                state = api_key.present(root, wanted, vault, tokens.get(wanted.path))
            except HostError as exc:
                refused.append(refusal(wanted, exc))
                state = api_key.kept(root, wanted)
            else:
                happened.extend(staged(state))
            states.append(state)
    return states, refused


def staged(state):
    """That a directory was put right, for the audit trail: its name and version, and no more."""
    if not state.problems:
        return []
    version = state.as_result("")["version"]
    return [trail.event(f"API key {state.wanted.name} staged", version=version)]


def refusal(wanted, error):
    return {"name": wanted.name, "error": error.as_result(), "text": str(error)}


def handler(module):
    root = module.params["release_root"]
    releases = [api_key.Wanted.of(raw) for raw in module.params["releases"]]
    refused = []
    with telling() as happened:
        if module.params["state"] == "present" and not module.check_mode:
            states, refused = present(module, releases, happened)
        else:
            states = [api_key.inspect(root, wanted) for wanted in releases]
    for warning in (warning for state in states for warning in state.warnings):
        module.warn(warning)
    failed = {entry["name"] for entry in refused}
    wrong = [
        f"{state.wanted.current(root)} -> {state.target}: {problem}\n"
        for state in states
        if state.wanted.name not in failed
        for problem in state.problems
    ]
    return {
        "changed": bool(wrong),
        "api_keys": [state.as_result(root) for state in states if state.target],
        "refused": refused,
        "diff": {"before": "".join(wrong), "after": ""},
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
