#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain one certificate: everything known of it, and what happens next and why."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_explain
short_description: Explain one certificate
version_added: 0.1.0
description:
  - Tells what is declared of a certificate, its versions with their keys, requests and ends, what
    the plan says of it, what hosts have in service, which listeners use it, how old the CRLs are,
    what happened lately, and what happens next and why.
  - Reads only, and asks no server. What the plan and the hosts could not tell is named instead.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: It changes nothing.
options:
  certificate:
    description: Name of the entry, or ENTRY/HOST.
    type: str
    required: true
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_sets:
    description: CRLs that were fetched in this run and not kept.
    type: list
    elements: dict
    default: []
  directory:
    description: Directory of the audit trail.
    type: path
    required: true
  status:
    description: The status document that C(pki_plan) returned; empty when no plan could be made.
    type: dict
    default: {}
  no_plan:
    description: Why no plan could be made.
    type: str
    default: ''
  hosts:
    description: What each gateway host has in service, as C(pki_host_status) told it, by host.
    type: dict
    default: {}
  gateways:
    description: The declared gateways.
    type: list
    elements: dict
    default: []
  budget:
    description: What C(pki_plan) returned of the gateways' listeners.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Explain a certificate
  pki_explain:
    certificate: dip-nonprod
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
    directory: "{{ inventory_dir }}/.trail"
"""

RETURN = r"""
explanation:
  description: The whole, line by line. It ends in lines that begin with C(next:).
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.pki import explain_stage, session
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY, JUDGED

SPEC = {
    **INVENTORY,
    **JUDGED,
    "certificate": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "status": {"type": "dict", "default": {}},
    "no_plan": {"type": "str", "default": ""},
    "hosts": {"type": "dict", "default": {}},
    "gateways": {"type": "list", "elements": "dict", "default": []},
    "budget": {"type": "list", "elements": "dict", "default": []},
}


def handler(module):
    params = module.params
    # What is refused of the inventory is told by every other run; here somebody wants to know.
    inputs = session.load(params, judged=False)
    names = ("status", "no_plan", "hosts", "gateways", "budget", "groups")
    told = explain_stage.Told(**{name: params[name] for name in names})
    lines = explain_stage.explain(inputs, params["certificate"], told, Path(params["directory"]))
    return {"changed": False, "explanation": lines}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
