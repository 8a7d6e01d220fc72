#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the state and the next actions of every declared certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_plan
short_description: Plan every declared certificate
version_added: 0.1.0
description:
  - Reads the inventory, the public files beside it, the keys in their stores and the cached
    CRLs, and decides by an ordered chain of checks what every certificate's state is and what
    happens next.
  - Judges parties, people and quotas of the whole inventory first, with its waivers. What refuses
    ends the run before Vault is asked; what holds takes away new keys and requests of the
    certificates it is about, and nothing else.
  - Changes nothing. What it returns in RV(actions) is what the other modules carry out.
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
    support: none
    description: It changes nothing.
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
  endpoints:
    description:
      - Live listeners to look at, so that the plan knows which certificate each host serves.
      - Nobody is asked when it is empty.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: Name of the certificate the listener is to serve.
        type: str
        required: true
      host:
        description: Name of the host, for the report.
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
  status_file:
    description:
      - File that receives the status document as JSON, on the controller; none when empty.
      - It is a report with a date, like a line in a log, and does not count as a change.
    type: path
  gateways:
    description:
      - The declared gateways, as in C(group_vars/all/gateways.yml), to be checked with the rest
        of the inventory before anything is changed, and to say how old the CRLs of each listener
        may get.
    type: raw
  gateway_products:
    description:
      - What each gateway product cannot do, as the filter C(pki_gateway_products) tells. A listener
        that needs what its product cannot do is an error. Empty when nobody asked the adapters.
    type: dict
    default: {}
  hosts:
    description:
      - What each gateway host has in service, as C(pki_host_status) told it, by host. It is shown,
        and nothing is planned from it.
    type: dict
    default: {}
  known_hosts:
    description:
      - Every group and host of the inventory. When given, a certificate or gateway whose
        C(hosts) is none of them is an error, since it would never reach anybody.
    type: list
    elements: str
    default: []
  asked:
    description:
      - People's words for new requests, as C(pki_renew) returned them; in check mode it does not
        write the records that the plan reads otherwise.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: Name of the certificate.
        type: str
        required: true
      reason:
        description: Why it is wanted anew.
        type: str
        required: true
  deploy_now:
    description:
      - Why new certificates are not to wait for their deployment windows. What is deployed early
        is recorded with this reason.
    type: str
    default: ""
  only:
    description: Certificates that something is to be done for; all of them when empty.
    type: list
    elements: str
    default: []
  refused:
    description: Certificates that were refused in this run, for the table.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Plan every certificate
  pki_plan:
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
  register: plan
"""

RETURN = r"""
actions:
  description:
    - What is to be done, in order; the only thing roles act on.
    - A C(deploy) that waits for a deployment window has C(held_why) and, where that is known,
      C(held_until); the certificate before it is then there as C(keep). One that should wait and
      does not has C(early_why).
  returned: success
  type: list
  elements: dict
  sample:
    - kind: create_key
      certificate: dip-nonprod
      version: 1
      reason: never_requested
      hosts: gateways
kept:
  description:
    - What keeps the certificates in service that O(only) leaves out of RV(actions), for a run that
      changes a gateway they share with the others.
  returned: success
  type: list
  elements: dict
sentences:
  description: What was found and what happens next, one sentence a certificate.
  returned: success
  type: list
  elements: str
findings:
  description:
    - What was found of parties, people and quotas, a sentence each, the decisive first.
    - Then what gateways wait for because their TLS library could not use the CRLs at hand, and
      which CAs end soon or are retired.
  returned: success
  type: list
  elements: str
quotas:
  description:
    - How much of its quota each organisation's certificates take. C(quota) and C(left) are null
      where the inventory records no quota; C(left) is below zero where it is exceeded.
  returned: success
  type: list
  elements: dict
  sample:
    - organisation: example-energy
      quota: 8
      issued: 2
      revoked: 1
      pending: 1
      left: 4
quota_table:
  description: The same as a table, aligned; empty when no organisation is judged.
  returned: success
  type: str
table:
  description: The table of all certificates, aligned.
  returned: success
  type: str
gateways:
  description:
    - For each listener how old a CRL may get before somebody whose certificate was revoked could
      stay connected for longer than the policy's C(revocation_delay_seconds) in all. C(bounds) are
      what takes up the rest, C(notes) what the product does in another way than others.
  returned: success
  type: list
  elements: dict
  sample:
    - gateway: dip
      listener: dip-webhook
      direction: ingress
      product: nginx
      crl_age_seconds: 82740
      bounds:
        - {bound: session, seconds: 0}
        - {bound: connection, seconds: 3600}
        - {bound: drain, seconds: 60}
      notes: []
gateway_table:
  description: The same as a table, aligned; empty without gateways.
  returned: success
  type: str
release_table:
  description: What each host of O(hosts) has in service, keeps and holds; empty without hosts.
  returned: success
  type: str
host_table:
  description: How each gateway of those hosts runs; empty without gateways.
  returned: success
  type: str
status:
  description:
    - The same for machines, with a schema version. C(hosts) is there where O(hosts) was given.
  returned: success
  type: dict
attention:
  description: Certificates that cannot go on without a person's decision.
  returned: success
  type: list
  elements: str
key_digests:
  description: SHA-256 of the public key of every key version, by certificate and version.
  returned: success
  type: dict
compromised:
  description: What Vault's ledger says of compromised keys, by the SHA-256 of the public key.
  returned: success
  type: dict
compromised_keys:
  description:
    - Every key that a ledger names, for the hosts' own list. The entry is V(ledger) for a key of no
      certificate of the inventory.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      spki_sha256: ["…"]
out_of_service:
  description:
    - Entries whose newest accepted certificate has a compromised key. Gateways leave their
      listeners out wherever no version with another key is deployed.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.pki import (
    declarations,
    gateway,
    gather,
    host_keys,
    host_status,
    inventory,
    keystores,
    ledger,
    out_of_service,
    outcomes,
    parties,
    probe,
    report,
    session,
    trust_decision,
)
from ansible.module_utils.pki.lifecycle import Kind
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import (
    ENDPOINTS,
    HOST_KEYS,
    INVENTORY,
    JUDGED,
    VAULT,
)

KEEPING = (Kind.ACCEPT, Kind.DEPLOY, Kind.KEEP)
ASKED = {
    "certificate": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
}
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **HOST_KEYS,
    **ENDPOINTS,
    "gateways": {"type": "raw"},
    "gateway_products": {"type": "dict", "default": {}},
    "hosts": {"type": "dict", "default": {}},
    "known_hosts": {"type": "list", "elements": "str", "default": []},
    "asked": {"type": "list", "elements": "dict", "default": [], "options": ASKED},
    "deploy_now": {"type": "str", "default": ""},
    "only": {"type": "list", "elements": "str", "default": []},
    "refused": {"type": "list", "elements": "str", "default": []},
    "status_file": {"type": "path"},
}


def check(params, inputs):
    """Refuse what only a later play would stumble over; the models of the gateways."""
    if params["deploy_now"]:
        word = outcomes.Word("deploy_now", params["deploy_now"])
        outcomes.must_say_something("DEPLOY-NOW", word)
    wanted = [
        (f"certificates.yml: certificates ({name}).hosts", entry[0].group or entry[0].hosts)
        for name, entry in inputs.declared.entries.items()
    ]
    models = []
    if params["gateways"] is not None:
        models = gateway.check(
            params["gateways"],
            inputs.declared,
            inputs.trust,
            inputs.policies,
            now=inputs.now,
            products=params["gateway_products"] or None,
        )
    wanted += [
        (f"gateways.yml: gateways ({model['name']}).hosts", model["hosts"]) for model in models
    ]
    if params["known_hosts"]:
        inventory.require_hosts(wanted, params["known_hosts"])
    return models


def handler(module):
    inputs = session.load(module.params)
    budget = [entry for model in check(module.params, inputs) for entry in model["budget"]]
    review = parties.review(inputs)
    inventory.raise_all(review.refusals)
    on_hosts = host_keys.read(inputs.declared, module.params["host_keys"])
    with keystores.vault(module.params["vault"], os.environ) as client:
        keys = gather.keys(inputs, keystores.Stores(client, inputs.policies, on_hosts))
        compromised = ledger.stored(client, inputs.environment_classes)
    inputs = session.knowing(inputs, compromised)
    asked = {str(one["certificate"]): str(one["reason"]) for one in module.params["asked"]}
    seen, deploy_now = probe.serials(module.params["endpoints"]), module.params["deploy_now"]
    plans = gather.plans(inputs, keys, seen, asked, deploy_now.strip(), review.holds)
    quotas = parties.as_rows(review.quotas)
    told = [plan for plan in plans if plan.name in (module.params["only"] or [plan.name])]
    entry_of = {name: one.entry for name, one in inputs.declared.certificates.items()}
    document = report.status(plans, inputs.now, module.params["refused"], budget)
    hosts = host_status.document(module.params["hosts"], inputs.now)
    if hosts:
        document = {**document, "hosts": hosts}
    if module.params["status_file"] and not module.check_mode:
        report.write(module.params["status_file"], document)
    return {
        "changed": False,
        "actions": [report.action(action) for plan in told for action in plan.actions],
        "kept": [
            report.action(action)
            for plan in plans
            for action in plan.actions
            if plan not in told and action.kind in KEEPING and action.version != plan.pending
        ],
        "sentences": [*report.sentences(told), *declarations.quotas(inputs.declared)],
        "findings": [
            *review.findings,
            *trust_decision.sentences(inputs, module.params["gateways"]),
        ],
        "quotas": quotas,
        "quota_table": report.quota_table(quotas),
        "table": report.table(document),
        "gateways": budget,
        "gateway_table": report.gateway_table(budget),
        "release_table": host_status.release_table(hosts),
        "host_table": host_status.gateway_table(hosts),
        "status": document,
        "compromised": compromised,
        "compromised_keys": out_of_service.keys(plans, entry_of, inputs.compromised),
        "out_of_service": out_of_service.entries(plans, entry_of),
        "attention": [plan.name for plan in plans if plan.needs_person],
        "key_digests": {
            name: {str(number): version.spki_sha256 for number, version in versions.items()}
            for name, versions in keys.versions.items()
        },
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
