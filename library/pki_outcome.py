#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what became of requests that no certificate came of."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_outcome
short_description: Record that a request was rejected or withdrawn
version_added: 0.1.0
description:
  - Writes C(outcome.yml) beside a request that the portal or the CA rejected, or that was given up,
    for a person to commit.
  - No run asks again by itself afterwards; see C(pki_renew).
  - The first record stands. Said again it changes nothing, another outcome is refused, and so is an
    outcome for a request whose certificate was accepted.
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
    description: Shows the record; it is public.
options:
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
  outcomes:
    description: What became of which request.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Name of the certificate.
        type: str
        required: true
      version:
        description: Version of the request; 0 for the newest one there is.
        type: int
        default: 0
      outcome:
        description: V(rejected) by the portal or the CA, or V(withdrawn) by us.
        type: str
        required: true
      reason:
        description: Why, in one line, for whoever reads the record in a year.
        type: str
        required: true
      by:
        description: Who says so.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: The portal said no
  pki_outcome:
    outcomes:
      - certificate: dip-nonprod
        outcome: rejected
        reason: the organisation's name was misspelt
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
records:
  description: The records, with the directory to commit when one is new.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 2
      directory: certificates/dip-nonprod/2
      changed: true
sentences:
  description: What was recorded and what there is to commit.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki import outcomes, public_state, session
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import INVENTORY, JUDGED

OUTCOME = {
    "certificate": {"type": "str", "required": True},
    "version": {"type": "int", "default": 0},
    "outcome": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "by": {"type": "str", "default": ""},
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    "outcomes": {"type": "list", "elements": "dict", "required": True, "options": OUTCOME},
}


def handler(module):
    inputs = session.load(module.params)
    given = module.params["outcomes"]
    words = [outcomes.Word(one["certificate"], one["reason"], one["by"]) for one in given]
    outcomes.of_each(words, inputs.declared.certificates, outcomes.RULE_OUTCOME)
    records = [
        outcomes.decide(
            public_state.scan(inputs.certificates_dir, word.certificate),
            word,
            one["outcome"],
            one["version"],
            inputs.now,
        )
        for word, one in zip(words, given, strict=True)
    ]
    # Nothing is written before all of them are right.
    with telling() as happened:
        for record, word in zip(records, words, strict=True) if not module.check_mode else ():
            record.save()
            if record.changed:
                happened.append(record.as_event(word))
    return {
        "changed": any(record.changed for record in records),
        "records": [record.as_result() for record in records],
        "sentences": [record.sentence() for record in records],
        "diff": [record.diff() for record in records if record.changed],
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
