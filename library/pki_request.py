#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make missing keys where they belong and write the requests a human submits."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_request
short_description: Make keys and write certificate requests
version_added: 0.1.0
description:
  - Carries out the plan's actions V(create_key) and V(write_request), for all certificates in
    one call.
  - The key is made inside its store and never leaves it; the request is signed there.
  - The files depend on the key and the inventory entry alone, so that a second run, on any
    machine, writes the same bytes.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the request files; they are public.
options:
  organisations:
    description: The vetted organisations, by key, as in C(group_vars/all/organisations.yml).
    type: dict
    required: true
  certificates:
    description: The declared certificates, as in C(group_vars/all/certificates.yml).
    type: list
    elements: dict
    required: true
  trust:
    description: The pinned CA files, by trust set, as in C(group_vars/all/trust.yml).
    type: dict
    required: true
  groups:
    description: The hosts of each group, as in C(groups); for entries with C(per_host).
    type: dict
    default: {}
  policy_dir:
    description: Directory of the policy files and their schema, on the controller.
    type: path
    required: true
  base_dir:
    description: Directory that relative CA files are looked up in; the inventory's directory.
    type: path
    required: true
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_cache_dir:
    description: Directory of the controller's verified CRLs.
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
      - Known keys are C(address), C(ca_cert), C(namespace), C(auth_method) (V(approle) or
        V(token)),
        C(role_id_file), C(secret_id_file), C(token_file) and C(timeout) in seconds.
      - What is not given is taken from C(BAO_*), then from C(VAULT_*) in the environment.
    type: dict
    default: {}
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
"""

EXAMPLES = r"""
- name: Make keys and write requests
  pki_request:
    actions: "{{ plan.actions }}"
    compromised: "{{ plan.compromised }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
requests:
  description: The requests, with the directory to commit.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 1
      directory: certificates/dip-nonprod/1
      key: made
      files: [request.csr]
sentences:
  description: What was done, one sentence a certificate.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.pki import keystores, public_state, request_stage, session
from ansible.module_utils.pki.history import Committed
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import (
    ACTIONS,
    COMPROMISED,
    INVENTORY,
    JUDGED,
    VAULT,
)

SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    **ACTIONS,
    **COMPROMISED,
}
KINDS = ("create_key", "write_request")


def wanted(actions):
    """Certificate and version of every action of ours, once each, in order."""
    pairs = [(str(a["certificate"]), int(a["version"])) for a in actions if a["kind"] in KINDS]
    return list(dict.fromkeys(pairs))


def carry_out(inputs, stores, known, name, version, check_mode):
    """One certificate's request; in check mode nothing is made, and a new key is only announced."""
    certificate = inputs.declared.certificates[name]
    store = stores.of(certificate)
    before = store.describe(name)
    made = before is None or version not in before.versions
    if made and check_mode:
        return {
            "certificate": name,
            "version": version,
            "directory": str(inputs.certificates_dir / name / str(version)),
            "key": "would be made",
            "files": ["request.csr", "submission.txt", "request.yml"],
        }, None
    record = store.ensure(name, version) if made else before
    written = request_stage.build(
        certificate,
        inputs.policy_of(name),
        store,
        record,
        version,
        inputs.certificates_dir,
        known.before(name, version),
    )
    if written.missing and not check_mode:
        public_state.write(written.directory, written.contents)
    return {
        "certificate": name,
        "version": version,
        "directory": str(written.directory),
        "key": "made" if made else "present",
        "files": list(written.missing),
    }, written


def difference(result, written):
    """The public files as a diff; a key that is not made yet has no request to show."""
    header = f"{result['certificate']} v{result['version']}"
    if written is None:
        names = "\n".join(result["files"])
        after = f"a new key, and for {header}:\n{names}\n"
    else:
        after = "".join(written.contents[name].decode() for name in written.missing)
    return {"before_header": header, "after_header": header, "before": "", "after": after}


def sentence(result):
    text = f"{result['certificate']} v{result['version']}: key {result['key']}"
    if result["files"]:
        return f"{text}; commit {result['directory']} and submit the request"
    return f"{text}; request unchanged"


def handler(module):
    inputs = session.load(module.params)
    pairs = wanted(module.params["actions"])
    results, diffs = [], []
    if pairs:
        every = public_state.scan_every(inputs.certificates_dir)
        known = Committed.of(every, inputs.compromised)
        with keystores.vault(module.params["vault"], os.environ) as client:
            stores = keystores.Stores(client, inputs.policies)
            for name, version in pairs:
                result, written = carry_out(inputs, stores, known, name, version, module.check_mode)
                results.append(result)
                if result["files"]:
                    diffs.append(difference(result, written))
    return {
        "changed": any(result["files"] or result["key"] != "present" for result in results),
        "requests": results,
        "sentences": [sentence(result) for result in results],
        "diff": diffs,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
