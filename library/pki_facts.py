#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the facts of everything the inventory declares, live."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_facts
short_description: Collect the facts of everything the inventory declares
version_added: 0.1.0
description:
  - Puts together what the committed files, the key stores, the CRL cache, the DNS and the gateway
    hosts show, as documents that the policies can judge. Judges nothing.
  - What cannot be read is a fact or a problem, and does not hide the rest. A declared object
    without facts fails the check that follows.
extends_documentation_fragment:
  - pki_inventory
  - pki_inventory.vault
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Facts have dates; two runs always differ.
options:
  gateways:
    description: The declared gateways, as in C(group_vars/all/gateways.yml).
    type: raw
  evidence:
    description: The inventory's evidence file, as it is written; none when it is left out.
    type: raw
  base_dir:
    description: The inventory's directory; relative CA files are looked up in it.
    type: path
    required: true
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_sets:
    description: CRLs that were fetched in this run and not kept; else they are read from the cache.
    type: list
    elements: dict
    default: []
  host_keys:
    description:
      - What hosts told of the keys they keep, as the filter C(pki_host_keys) puts it.
      - Nothing is planned for the keys of a host that is not there.
    type: dict
    default: {}
  hosts:
    description:
      - What each gateway host told of itself, as the filter C(pki_seen_hosts) puts it.
      - A host that could not be asked has a C(problem) and nothing else but its C(groups).
    type: dict
    default: {}
  audit:
    description:
      - What the key server's audit log tells; nothing is said of deliveries when it is left out.
      - C(look) is what C(pki_audit_log) returned, C(roles) the logins that may have keys wrapped,
        C(addresses) by host those that it reaches the key server from, C(problem) what kept the log
        from being read.
    type: dict
  watched:
    description:
      - By gateway host, what C(pki_gateway_info) told of what depends on retired CAs. When it is
        not given, every retired CA counts as one that something depends on.
    type: dict
  working_dir:
    description: Directory that file names in the facts are relative to; where the run was started.
    type: path
  stand_ins:
    description:
      - Facts that stand in for real ones, by kind. What they are used for is marked with their
        C(reason) wherever it is shown.
      - C(host) takes C(reason) and C(clock); C(dns) takes C(reason) and C(records), TXT values by
        name; C(evidence) is the reason itself.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Collect the facts
  pki_facts:
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    gateways: "{{ gateways }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
    hosts: "{{ groups['gateways'] | pki_seen_hosts(hostvars) }}"
  register: facts
"""

RETURN = r"""
facts:
  description: The facts, as C(pki_check) takes and keeps them.
  returned: success
  type: dict
documents:
  description: How many objects there are facts of, by kind.
  returned: success
  type: dict
  sample: {"certificate": 2, "endpoint": 5}
"""

import os
from collections import Counter
from pathlib import Path

from ansible.module_utils.pki import (
    collecting,
    documents,
    gather,
    host_keys,
    inventory_files,
    keystores,
    ledger,
    session,
    trust_decision,
)
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.facts.scene import Scene
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import HOST_KEYS, INVENTORY, JUDGED, VAULT

SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **HOST_KEYS,
    "gateways": {"type": "raw"},
    "evidence": {"type": "raw"},
    "hosts": {"type": "dict", "default": {}},
    "audit": {"type": "dict"},
    "watched": {"type": "dict"},
    "working_dir": {"type": "path"},
    "stand_ins": {"type": "dict", "default": {}},
}


def stored_keys(inputs, options, told):
    """What the stores tell of the keys, and what kept them from telling it."""
    on_hosts = host_keys.read(inputs.declared, told)
    try:
        with keystores.vault(options, os.environ) as client:
            stores = keystores.Stores(client, inputs.policies, on_hosts)
            return gather.key_facts(inputs, stores), ()
    except PkiError as exc:
        return {}, (exc.as_result(),)


def stored_ledger(inputs, options):
    """What Vault says of compromised keys, and what kept it from saying it."""
    try:
        with keystores.vault(options, os.environ) as client:
            return ledger.stored(client, inputs.environment_classes), ()
    except PkiError as exc:
        return {}, (exc.as_result(),)


def scene_of(params):
    """The inventory, and everything that was observed of it."""
    inputs = trust_decision.deciding(session.load(params, judged=False), params["watched"])
    keys, problems = stored_keys(inputs, params["vault"], params["host_keys"])
    if not problems:
        compromised, problems = stored_ledger(inputs, params["vault"])
        inputs = session.knowing(inputs, compromised)
    scene = Scene(
        inputs=inputs,
        scope="live",
        name=Path(params["base_dir"]).name,
        gateways=params["gateways"],
        evidence=params["evidence"],
        places=inventory_files.places(params["base_dir"]),
        hosts=params["hosts"],
        keys=keys,
        stand_ins=params["stand_ins"],
        audit=params["audit"],
    )
    return scene, problems


def handler(module):
    if module.params["working_dir"]:
        os.chdir(module.params["working_dir"])
    scene, problems = scene_of(module.params)
    collected = documents.merged(collecting.collect(scene), scene.collected((), (), problems))
    return {
        "changed": False,
        "facts": documents.to_json(collected),
        "documents": dict(Counter(one.kind for one in collected.documents)),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
