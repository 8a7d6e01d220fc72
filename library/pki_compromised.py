#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mark keys as compromised, and ask for others."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_compromised
short_description: Mark a key as compromised and ask for another
version_added: 0.1.0
description:
  - Names the key in both ledgers, in Vault and in C(compromised.yml) beside the inventory. Either
    one refuses it from then on, in a request, in a reply and in service, and nothing here takes
    that back.
  - Records an open request of the key as withdrawn, and writes C(asked.yml) for a new key and
    request, unless another key is in service or asked for already.
  - Writes C(revocation.txt) beside a certificate that is still valid, and says what a person does
    now.
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
    description: Shows the files; they are public.
options:
  base_dir:
    description: The inventory's directory; C(compromised.yml) is there.
    type: path
    required: true
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
  marks:
    description: Whose key is compromised, and what happened.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Name of the certificate.
        type: str
        required: true
      version:
        description: Version of the key; 0 for the one in service.
        type: int
        default: 0
      reason:
        description: What happened, in one line.
        type: str
        required: true
      by:
        description: Who says so.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: A laptop with the key was stolen
  pki_compromised:
    marks:
      - certificate: dip-nonprod
        reason: a laptop with the key was stolen
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
  description: What was recorded and what there is to commit.
  returned: success
  type: list
  elements: str
next_steps:
  description: What a person does now.
  returned: success
  type: list
  elements: str
asked:
  description: The wishes for C(pki_plan), which cannot read what check mode does not write.
  returned: success
  type: list
  elements: dict
"""

import os
from pathlib import Path

from ansible.module_utils.pki import (
    compromise,
    gather,
    host_keys,
    keystores,
    ledger,
    outcomes,
    plain_files,
    public_state,
    revocation_text,
    session,
)
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import HOST_KEYS, INVENTORY, JUDGED, VAULT

MARK = {
    "certificate": {"type": "str", "required": True},
    "version": {"type": "int", "default": 0},
    "reason": {"type": "str", "required": True},
    "by": {"type": "str", "default": ""},
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **HOST_KEYS,
    "marks": {"type": "list", "elements": "dict", "required": True, "options": MARK},
}


def decided(module, inputs, client):
    """What each word means; nothing is written before all of them are right."""
    given = module.params["marks"]
    words = [outcomes.Word(one["certificate"], one["reason"], one["by"]) for one in given]
    outcomes.of_each(words, inputs.declared.certificates, compromise.RULE)
    on_hosts = host_keys.read(inputs.declared, module.params["host_keys"])
    keys = gather.keys(inputs, keystores.Stores(client, inputs.policies, on_hosts))
    plans = {plan.name: plan for plan in gather.plans(inputs, keys, {})}
    return [
        compromise.decide(
            compromise.Case(
                certificate=inputs.declared.certificates[word.certificate],
                policy=inputs.policy_of(word.certificate),
                plan=plans[word.certificate],
                versions=public_state.scan(inputs.certificates_dir, word.certificate),
                committed=inputs.compromised,
                directory=inputs.certificates_dir / word.certificate,
                now=inputs.now,
            ),
            word,
            one["version"],
        )
        for word, one in zip(words, given, strict=True)
    ]


def marked_in_vault(inputs, client, found, check):
    """Sentences of the entries that are new in Vault's ledger."""
    classes = {one.case.certificate.environment_class for one in found}
    there = ledger.stored(client, classes)
    lines = []
    for one in found:
        if one.spki_sha256 in there:
            continue
        environment_class = one.case.certificate.environment_class
        if not check:
            ledger.mark(client, environment_class, one.spki_sha256, one.entry)
        place = f"{ledger.mount_of(environment_class)}/{ledger.FOLDER}"
        label = f"{one.case.certificate.name} v{one.version}"
        lines.append(f"{label}: the key is marked as compromised in {place}")
    return lines


def marked_in_file(inputs, found):
    """The ledger beside the inventory, as text before and after."""
    path = Path(inputs.base_dir) / ledger.FILE
    try:
        before = plain_files.read(path, ledger.MAXIMUM_BYTES).decode("utf-8")
    except FileNotFoundError:
        before = ""
    after = before
    for one in found:
        if not one.known:
            after = compromise.extended(after, one.spki_sha256, one.entry)
    return path, before, after


def revocations(found):
    """The texts for the portal that are new, by path; an earlier word's text stands."""
    texts = {}
    for one in found:
        path = one.case.directory / str(one.version) / revocation_text.FILE
        text = None if one.known and path.exists() else one.revocation()
        if text is not None:
            texts[path] = text
    return texts


def handler(module):
    inputs = session.load(module.params)
    check = module.check_mode
    with keystores.vault(module.params["vault"], os.environ) as client:
        found = decided(module, inputs, client)
        # First what nobody can take back, then what a person commits.
        sentences = marked_in_vault(inputs, client, found, check)
    path, before, after = marked_in_file(inputs, found)
    texts = revocations(found)
    records = [record for one in found for record in one.records]
    new = [record for record in records if record.changed]
    diffs = [outcomes.shown_diff(place, text) for place, text in texts.items()]
    diffs += [record.diff() for record in new]
    if after != before:
        sentences.append(f"the key is named in {path}; commit it")
        header = str(path)
        diffs.insert(
            0,
            {"before_header": header, "after_header": header, "before": before, "after": after},
        )
    if not check:
        # The ledger last: while it does not name the key, the next run writes the text again.
        for place, text in texts.items():
            public_state.write(place.parent, {place.name: text})
        for record in new:
            record.save()
        if after != before:
            public_state.write(path.parent, {path.name: after.encode()})
    return {
        "changed": bool(sentences or texts or new),
        "sentences": [
            *sentences,
            *(f"commit {place}" for place in texts),
            *(record.sentence() for record in records),
        ],
        "next_steps": [line for one in found for line in one.next_steps()],
        "diff": diffs,
        "asked": [
            {"certificate": one.case.certificate.name, "reason": "its key is compromised"}
            for one in found
            if one.asked is not None
        ],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
