#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the replies and keep what is right."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_accept
short_description: Judge certificates and record the accepted ones
version_added: 0.1.0
description:
  - Judges every certificate that the plan wants accepted or deployed, against its own request,
    its key, the pinned CAs, revocation and the policy.
  - A right reply is kept as C(certificate.pem), C(chain.pem) and C(accepted.yml) beside the
    request, for a person to commit.
  - A wrong one changes nothing; it is returned in RV(refused) with rule, found, expected, where
    and next step, and the others go on.
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
    description: Shows the record of an accepted certificate.
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
  actions:
    description: The plan's actions, as C(pki_plan) returned them; other kinds are passed over.
    type: list
    elements: dict
    required: true
  compromised:
    description:
      - Keys that must never be used again, by the SHA-256 of their public key, as C(pki_plan)
        returned them from Vault.
      - The inventory's C(compromised.yml) is read besides.
    type: dict
    default: {}
  key_digests:
    description: The stores' public key digests, as C(pki_plan) returned them.
    type: dict
    required: true
  fetch:
    description:
      - Whether to ask the addresses that a certificate itself names, CRL first and then OCSP, where
        no CRL at hand says whether it is revoked. They are opened only after its path was verified
        up to a pinned anchor.
      - What was found is kept in O(crl_cache_dir), and judged again by every later run.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Judge the replies
  pki_accept:
    actions: "{{ plan.actions }}"
    compromised: "{{ plan.compromised }}"
    key_digests: "{{ plan.key_digests }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
accepted:
  description: The certificates that may be used, with the directory to commit when it is new.
  returned: success
  type: list
  elements: dict
refused:
  description: The certificates that may not be used, each with its error.
  returned: success
  type: list
  elements: dict
refusals:
  description: The same, as text.
  returned: success
  type: list
  elements: str
answers:
  description:
    - CRLs and OCSP responses that were fetched and, in check mode, not kept, for C(pki_release).
  returned: success
  type: dict
reviews:
  description:
    - What was asked for beside what the certificate says, field by field, for newly accepted
      replies and for refused ones in which a certificate could be read.
  returned: success
  type: list
  elements: str
watch:
  description:
    - What our certificates in service add to what hosts watch of CRLs, by trust set, for the filter
      C(pki_crl_watch). All of it is public.
  returned: success
  type: dict
sentences:
  description: What was accepted and what there is to commit.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import functools

from ansible.module_utils.pki import (
    acceptance,
    accepted_record,
    crl_watching,
    report,
    reviewing,
    session,
    trust_decision,
)
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import ACTIONS, COMPROMISED, INVENTORY, JUDGED

SPEC = {
    **INVENTORY,
    **JUDGED,
    **ACTIONS,
    **COMPROMISED,
    # Digests of public keys: no secret, whatever the name suggests.
    "key_digests": {"type": "dict", "required": True, "no_log": False},
    "fetch": {"type": "bool", "default": True},
}


MOST_WARNINGS = 20


def reviews(inputs, outcome, evidence):
    """The comparisons for a person, in the order of the certificates."""
    found = {key: item.review for key, item in outcome.accepted.items() if item.review}
    found |= reviewing.of_refused(inputs.declared, outcome.refused, outcome.files, evidence)
    return [text for _key, text in sorted(found.items())]


def to_watch(inputs, kept, refused):
    """What hosts are to watch of our certificates: no refused one; in check mode ``kept`` ones."""
    fresh = {
        item.certificate: (item.version, item.contents["certificate.pem"])
        for item in kept
        if "certificate.pem" in item.contents
    }
    used = {one.trust for one in inputs.declared.certificates.values()}
    return crl_watching.of_certificates(
        {name: inputs.trust[name] for name in used},
        {
            name: [
                one
                for one in trust_decision.own_after(inputs, name, fresh)
                if (one.certificate, one.version) not in refused
            ]
            for name in used
        },
    )


def handler(module):
    inputs = session.load(module.params)
    evidence = acceptance.evidence(inputs, acceptance.digests(module.params["key_digests"]))
    outcome = acceptance.run(
        inputs.declared,
        acceptance.wanted(module.params["actions"]),
        inputs.certificates_dir,
        evidence,
        functools.partial(accepted_record.of, inputs),
        acceptance.fetching(inputs, keep=not module.check_mode) if module.params["fetch"] else None,
    )
    fetched = outcome.fetched
    for problem in fetched.problems[:MOST_WARNINGS]:
        module.warn(f"{problem.message}: {problem.found} ({problem.where})")
    kept = list(outcome.accepted.values())
    with telling() as happened:
        for item in kept if not module.check_mode else ():
            item.save()
            if item.missing:
                happened.append(item.as_event())
    return {
        "changed": any(item.missing for item in kept),
        "accepted": [item.as_result() for item in kept],
        "refused": [
            {
                "certificate": refusal.certificate,
                "version": refusal.version,
                "error": refusal.error.as_result(),
            }
            for refusal in outcome.refused
        ],
        "refusals": [report.refusal(refusal.error.as_result()) for refusal in outcome.refused],
        "watch": to_watch(
            inputs,
            kept if module.check_mode else (),
            {(one.certificate, one.version) for one in outcome.refused},
        ),
        "sentences": [item.sentence() for item in kept if item.missing],
        "reviews": reviews(inputs, outcome, evidence),
        "diff": [item.diff() for item in kept if item.missing],
        "trail": happened,
        # Handed on inside a run: in check mode the next judgement finds nothing in the cache.
        "answers": fetched.as_result()
        if module.check_mode and (fetched.crls or fetched.ocsp)
        else {},
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
