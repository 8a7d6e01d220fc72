#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record a person's word for requests that no run makes by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_renew
short_description: Ask for a new certificate
version_added: 0.1.0
description:
  - Writes C(asked.yml) into the directory of the next version, for a person to commit. The plan
    honours it with a new key and a new request, C(pki_plan) and C(pki_request).
  - For asking again after a request was rejected or withdrawn, and for renewing early.
  - There is one open request at a time; while there is one, another is refused.
extends_documentation_fragment:
  - pki_inventory
  - pki_inventory.vault
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
  host_keys:
    description:
      - What hosts told of the keys they keep, as the filter C(pki_host_keys) puts it.
      - Nothing is planned for the keys of a host that is not there.
    type: dict
    default: {}
  asks:
    description: Which certificates are wanted anew, and why.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Name of the certificate.
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
- name: Ask again after the portal's outage
  pki_renew:
    asks:
      - certificate: dip-nonprod
        reason: the portal lost the first request
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
asked:
  description: The same for C(pki_plan), which cannot read what check mode does not write.
  returned: success
  type: list
  elements: dict
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki import (
    gather,
    host_keys,
    keystores,
    outcomes,
    public_state,
    session,
)
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import HOST_KEYS, INVENTORY, JUDGED, VAULT

ASK = {
    "certificate": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "by": {"type": "str", "default": ""},
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **HOST_KEYS,
    "asks": {"type": "list", "elements": "dict", "required": True, "options": ASK},
}


def planned(inputs, options, told):
    """Every certificate's plan, by name: an open request may be no more than a key."""
    on_hosts = host_keys.read(inputs.declared, told)
    with keystores.vault(options, os.environ) as client:
        keys = gather.keys(inputs, keystores.Stores(client, inputs.policies, on_hosts))
    return {plan.name: plan for plan in gather.plans(inputs, keys, {})}


def handler(module):
    inputs = session.load(module.params)
    given = module.params["asks"]
    words = [outcomes.Word(one["certificate"], one["reason"], one["by"]) for one in given]
    outcomes.of_each(words, inputs.declared.certificates, outcomes.RULE_RENEW)
    params = module.params
    plans = planned(inputs, params["vault"], params["host_keys"]) if words else {}
    records = [
        outcomes.ask(
            plans[word.certificate],
            public_state.scan(inputs.certificates_dir, word.certificate),
            word,
            inputs.certificates_dir / word.certificate,
            inputs.now,
        )
        for word in words
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
        "asked": [{"certificate": word.certificate, "reason": word.reason} for word in words],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
