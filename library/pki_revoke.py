#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare that certificates are revoked, and end keys that others may have."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_revoke
short_description: Prepare the revocation of certificates
version_added: 0.1.0
description:
  - Writes C(revocation.yml) beside each certificate, the record of why it is to be revoked and on
    whose word, and the texts for the portal and, where a key is in other hands, for the DIP Manager
    and the certificate authority. Nothing is revoked by this module; only people can.
  - A key that was lost, or that others may have, is named in both ledgers, in Vault and in
    C(compromised.yml) beside the inventory. Either one refuses it from then on, and nothing here
    takes that back. An open request of it is recorded as withdrawn, and another key is asked for
    with C(asked.yml).
  - Said again it changes nothing; said differently it is refused. What people did afterwards is
    added by the same module, each step once.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the files; they are public.
options:
  groups:
    description: The hosts of each group, as in C(groups).
    type: dict
    default: {}
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_sets:
    description:
      - CRLs that C(pki_crl_fetch) returned and did not keep, because it ran in check mode.
      - What is not given is read from O(crl_cache_dir).
    type: list
    elements: dict
    default: []
  vault:
    description:
      - How to reach HashiCorp Vault or OpenBao, as a map of places; no secret is an option.
      - V(prepare) logs in as the pipeline, V(finish) as the role that may retire keys. An empty map
        means in V(finish) that there is no such login.
      - Its keys are those of the option of the same name of C(pki_plan).
    type: dict
    default: {}
  step:
    description:
      - V(prepare) writes texts, ledgers and records; V(finish) withdraws keys in their stores once
        a replacement is there, and records when nothing used them any more.
    type: str
    choices: [prepare, finish]
    required: true
  hosts:
    description:
      - What hosts told of taking keys out of service, as the filter C(pki_told) collects it;
        V(finish) wants it of each.
    type: dict
    default: {}
  revocation:
    description: What a person says.
    type: dict
    required: true
    suboptions:
      certificate:
        description: Name of the certificate, or of an entry with C(per_host) for all of its own.
        type: str
        default: ""
      version:
        description: Version of its key; 0 for the one that the cause is about.
        type: int
        default: 0
      organisation:
        description: Key of an organisation, all of whose certificates in force are meant.
        type: str
        default: ""
      leaver:
        description: Somebody of a roster who has left, and whose certificates are meant.
        type: str
        default: ""
      host:
        description: A host; the certificates are meant whose keys it holds.
        type: str
        default: ""
      cause:
        description:
          - What happened; left out, steps are added to what was said before.
          - V(key_compromise), V(key_lost), V(media_compromise), V(inaccurate), V(leaver),
            V(superseded), V(ineligible) or V(cessation); C(docs/revocation.md) has the portal's
            reason for each.
        type: str
        default: ""
      reason:
        description: What happened, in one line.
        type: str
        default: ""
      by:
        description:
          - The Certificate Admin who asks for it; several, one for each organisation, with
            semicolons between them.
        type: str
        default: ""
      by_role:
        description: Whether O(revocation.by) is a Certificate Admin or somebody at the DIP Manager.
        type: str
        choices: [certificate_admin, dip_manager]
        default: certificate_admin
      noticed:
        description:
          - When somebody became aware of it, with its zone (2026-11-22T02:10:00Z); now by default.
        type: str
        default: ""
      submitted:
        description: When it was asked for in the portal; V(now), or a time with its zone.
        type: str
        default: ""
      incident:
        description: Number of the major security incident that was raised.
        type: str
        default: ""
      raised:
        description: When O(revocation.incident) was raised; now by default.
        type: str
        default: ""
      authority:
        description: When the certificate authority was told; V(now), or a time with its zone.
        type: str
        default: ""
      out_of_service:
        description:
          - When nothing used the key any more; V(finish) records that by itself where hosts and
            store could be asked.
        type: str
        default: ""
      revoked:
        description:
          - When the portal or a CRL said that it is revoked; V(now), or a time with its zone.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: A laptop with the key was stolen
  pki_revoke:
    step: prepare
    revocation:
      certificate: dip-nonprod
      cause: key_compromise
      reason: a laptop with the key was stolen
      by: Ada Admin
      noticed: "2026-11-22T02:10:00Z"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
sentences:
  description: What was done, one sentence each.
  returned: success
  type: list
  elements: str
next_steps:
  description: What a person does now, one sentence each, the most urgent first.
  returned: success
  type: list
  elements: str
by_hand:
  description: What no run can do, one sentence each.
  returned: success
  type: list
  elements: str
problem:
  description: What could not be done, in words; empty when everything was. The rest was done.
  returned: success
  type: str
asked:
  description: The wishes for C(pki_plan), which cannot read what check mode does not write.
  returned: success
  type: list
  elements: dict
out_of_service:
  description: The keys that hosts may not use any more, as the role C(release) takes them.
  returned: success
  type: list
  elements: dict
  sample: [{"certificate": "dip-nonprod", "spki_sha256": ["3f9a..."]}]
revocations:
  description: The records as they are now, one map a certificate with its serial number.
  returned: success
  type: list
  elements: dict
trail:
  description: What was changed, for the audit trail.
  returned: success
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki import keystores, revoke_stage, revoking, session
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY, JUDGED, VAULT

TEXT = {"type": "str", "default": ""}
REVOCATION = {
    "certificate": TEXT,
    "version": {"type": "int", "default": 0},
    "organisation": TEXT,
    "leaver": TEXT,
    "host": TEXT,
    "cause": TEXT,
    "reason": TEXT,
    "by": TEXT,
    "by_role": {
        "type": "str",
        "choices": ["certificate_admin", "dip_manager"],
        "default": "certificate_admin",
    },
    "noticed": TEXT,
    "submitted": TEXT,
    "incident": TEXT,
    "raised": TEXT,
    "authority": TEXT,
    "out_of_service": TEXT,
    "revoked": TEXT,
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    "hosts": {"type": "dict", "default": {}},
    "step": {"type": "str", "choices": ["prepare", "finish"], "required": True},
    "revocation": {"type": "dict", "required": True, "options": REVOCATION},
}


def handler(module):
    params, check = module.params, module.check_mode
    wish = revoke_stage.wish(params["revocation"])
    # What else the policy may refuse of the inventory must not keep a key in service.
    inputs = session.load(params, judged=False)
    found = revoking.decide_all(
        revoke_stage.world(inputs, wish, params["groups"]), wish, inputs.policies
    )

    def open_vault():
        return keystores.vault(params["vault"], os.environ)

    if params["step"] == "prepare":
        done = revoke_stage.prepare(inputs, found, open_vault, check=check)
    else:
        hosts = {name: str(told.get("problem", "")) for name, told in params["hosts"].items()}
        may = open_vault if params["vault"] else None
        done = revoke_stage.finish(inputs, found, hosts, params["groups"], may, check=check)
    return {
        "changed": done.changed,
        "sentences": done.sentences,
        "next_steps": [line for one in found for line in one.next_steps()],
        "by_hand": done.by_hand,
        "problem": done.problem,
        "asked": revoke_stage.asked(found),
        "out_of_service": revoke_stage.out_of_service(found),
        "revocations": [one.record.as_result() for one in found if one.record is not None],
        "trail": done.trail,
        "diff": done.diffs,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
