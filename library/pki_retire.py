#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the old versions of certificates that a newer one has replaced."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_retire
short_description: Retire the old versions of a certificate
version_added: 0.1.0
description:
  - Ends every version below the one in service, in steps between which the hosts do theirs with
    C(pki_release_retire). The key's old versions are withdrawn in their store or, when that is
    asked for, destroyed; C(retired.yml) and C(revocation.txt) are written beside each, for a person
    to commit and to act on.
  - Refuses while the newer certificate is not accepted and seen in service on every host, and to
    destroy before the policy's overlap is over.
  - Each step looks at everything again and does only what is left to do, so that a run that was
    interrupted anywhere is finished by the next one.
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
    description: Shows the records, which are public, and what changes in the store, in words.
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
      - How to reach HashiCorp Vault or OpenBao as the role that may retire, as a map of places; no
        secret is an option. That role reads keys, and sets and trims their oldest versions.
      - Its keys are those of the option of the same name of C(pki_plan).
    type: dict
    default: {}
  endpoints:
    description:
      - Listeners that present a certificate, as the filter C(pki_endpoints) names them; each is
        asked which one.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: Name of the certificate's entry.
        type: str
        required: true
      host:
        description: Name of the host.
        type: str
        required: true
      address:
        description: Address to connect to.
        type: str
        required: true
      port:
        description: Port to connect to.
        type: int
        required: true
      server_name:
        description: Name sent as SNI.
        type: str
        required: true
  hosts:
    description:
      - What hosts told of their releases, as the filter C(pki_told) collects it. A host that is
        not there was not asked, and then nothing is retired.
    type: dict
    default: {}
  retired_keys:
    description:
      - What hosts that make their own keys told of those they destroyed, as the filter C(pki_told)
        collects what C(pki_host_key) returned; V(record) wants it of each.
    type: dict
    default: {}
  step:
    description:
      - V(announce) only says what will be done; V(withdraw) works on the stores; V(record) writes
        the records once nothing is left on hosts.
    type: str
    choices: [announce, withdraw, record]
    required: true
  retirements:
    description: Whose old versions end, and why.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Name of the certificate, or of an entry with C(per_host) for all of its own.
        type: str
        required: true
      reason:
        description: Why, in one line; that another version is in service when it is left out.
        type: str
        default: ""
      by:
        description: Who says so.
        type: str
        default: ""
      destroy:
        description: Whether the keys are destroyed, which nobody can take back.
        type: bool
        default: false
      early:
        description:
          - Why not to wait for a host that does not answer, or before destroying for the end of the
            overlap. It does not help against a host that presents another certificate.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Say what will be done
  pki_retire:
    step: announce
    retirements:
      - certificate: dip-nonprod
        reason: version 2 is in service
    hosts: "{{ groups['gateways'] | pki_told(hostvars, 'release_seen') }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    groups: "{{ groups }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
sentences:
  description: What was done in this step, or will be, one sentence each.
  returned: success
  type: list
  elements: str
by_hand:
  description: What no run can do, one sentence each.
  returned: success
  type: list
  elements: str
revoke:
  description: Certificates that a person has revoked now, one sentence each.
  returned: success
  type: list
  elements: str
keys:
  description: Keys that hosts destroy themselves, as C(pki_host_key) takes them, by host.
  returned: success
  type: dict
  sample: {"gw1": [{"entry": "dip-nonprod", "keep": 2}]}
keep:
  description: What stays on each host, as C(pki_release_retire) takes it.
  returned: success
  type: dict
  sample: {"gw1": [{"certificate": "dip-nonprod", "version": 2}]}
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import hashlib
import os
from dataclasses import replace

from ansible.module_utils.pki import (
    gather,
    keystores,
    outcomes,
    probe,
    public_state,
    retirement,
    session,
    trail,
    vault_ids,
)
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import ENDPOINTS, INVENTORY, JUDGED, VAULT

RETIREMENT = {
    "certificate": {"type": "str", "required": True},
    "reason": {"type": "str", "default": ""},
    "by": {"type": "str", "default": ""},
    "destroy": {"type": "bool", "default": False},
    "early": {"type": "str", "default": ""},
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **ENDPOINTS,
    "hosts": {"type": "dict", "default": {}},
    "retired_keys": {"type": "dict", "default": {}, "no_log": False},
    "step": {"type": "str", "choices": ["announce", "withdraw", "record"], "required": True},
    "retirements": {"type": "list", "elements": "dict", "required": True, "options": RETIREMENT},
}


def wished(inputs, given):
    """What people want retired, one wish a certificate."""
    wishes = [
        retirement.Wish(
            outcomes.Word(one["certificate"], one["reason"], one["by"]),
            one["destroy"],
            one["early"].strip(),
        )
        for one in given
    ]
    every = retirement.expanded(wishes, inputs.declared.entries)
    words = [wish.word for wish in every]
    outcomes.of_each(words, inputs.declared.certificates, retirement.RULE)
    return every


def decided(module, inputs):
    """Every retirement with its preconditions met; the first that is not ends the run."""
    wishes = wished(inputs, module.params["retirements"])
    names = {wish.word.certificate for wish in wishes}
    declared = {n: c for n, c in inputs.declared.certificates.items() if n in names}
    inputs = replace(inputs, declared=replace(inputs.declared, certificates=declared))
    # Which version is in service does not depend on keys, so none is asked for.
    plans = {
        plan.name: plan
        for plan in gather.plans(inputs, gather.Keys(), probe.serials(module.params["endpoints"]))
    }
    return [
        retirement.decide(
            retirement.Case(
                certificate=declared[wish.word.certificate],
                policy=inputs.policy_of(wish.word.certificate),
                plan=plans[wish.word.certificate],
                versions=public_state.scan(inputs.certificates_dir, wish.word.certificate),
                hosts=hosts_of(module.params, declared[wish.word.certificate]),
                now=inputs.now,
            ),
            wish,
        )
        for wish in wishes
    ]


def hosts_of(params, certificate):
    """What each host that uses the certificate told; those of a device or a signer are none."""
    if "mtls" not in certificate.purposes or certificate.store == "external":
        return {}
    group = params["groups"].get(certificate.hosts, [certificate.hosts])
    names = [certificate.host] if certificate.host else [str(name) for name in group]
    unasked = {"problem": "it was not asked in this run"}
    return {
        name: retirement.told(params["hosts"].get(name, unasked), certificate.entry)
        for name in names
    }


def withdrawn(module, inputs, retirements, check, happened):
    """What is done in the stores, or with ``check`` would be, one sentence a step."""
    done = []
    with keystores.vault(module.params["vault"], os.environ) as client:
        stores = keystores.Stores(client, inputs.policies)
        for one in retirements:
            if one.place.store != "transit" or not one.withdraws:
                continue
            store = stores.at(one.case.certificate, one.place)
            destroy = one.wish.destroy
            with vault_ids.noted() as ids:
                steps = store.retire(one.place.name, one.keep, destroy=destroy, check=check)
            if steps and not check:
                happened.append(key_event(one, ids))
            done += steps
    return done


def key_event(one, ids):
    """That the store gives old versions of a key out no more, for the audit trail."""
    done = "destroyed" if one.wish.destroy else "withdrawn"
    word = one.wish.word
    return trail.event(
        f"key versions below {one.keep} {done}",
        word.certificate,
        by=word.by,
        reason=word.reason,
        vault=ids,
    )


def record_event(one, number, contents):
    """That the record of a version's end was written."""
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in contents.items()}
    word = one.wish.word
    return trail.event("version retired", word.certificate, number, digests, word.by, word.reason)


def recorded(module, retirements, happened):
    """The records that are new: sentences and diffs; written unless this is a check."""
    sentences, diffs = [], []
    for one in retirements:
        if not module.check_mode:
            retirement.gone(one, module.params["retired_keys"])
        paths = {files.number: files.path for files in one.case.versions}
        for number, contents in one.records().items():
            path = paths[number]
            sentences.append(f"{one.case.certificate.name} v{number}: retired; commit {path}")
            diffs += [outcomes.shown_diff(path / name, text) for name, text in contents.items()]
            if not module.check_mode:
                # The record last: where it is, the text for the portal is, too.
                public_state.write(path, contents)
                happened.append(record_event(one, number, contents))
    return sentences, diffs


def handler(module):
    inputs = session.load(module.params)
    retirements = decided(module, inputs)
    step, diffs = module.params["step"], []
    with telling() as happened:
        if step == "record":
            sentences, diffs = recorded(module, retirements, happened)
        else:
            check = module.check_mode or step == "announce"
            sentences = withdrawn(module, inputs, retirements, check, happened)
            diffs = [{"before": "", "after": f"{line}\n"} for line in sentences]
    changed = bool(sentences) and step != "announce"
    if step == "announce":
        sentences += [line for one in retirements for line in one.of_hosts()]
        sentences += [line for one in retirements for line in one.announced()]
    keep, keys = {}, {}
    for one in retirements:
        if one.on_host:
            mine = {"entry": one.case.certificate.entry, "keep": one.keep}
            keys.setdefault(one.case.certificate.host, []).append(mine)
        for host in one.case.hosts:
            stays = {"certificate": one.case.certificate.entry, "version": one.keep}
            keep.setdefault(host, []).append(stays)
    return {
        "changed": changed,
        "sentences": sentences,
        "by_hand": [line for one in retirements for line in one.by_hand()],
        "revoke": [line for one in retirements for line in one.to_revoke()],
        "keep": keep,
        "keys": keys,
        "diff": diffs if changed else [],
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
