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
  - Several keys are made side by side. Each request is written as soon as its key is there, so
    that a run that is killed loses nothing, and the next one goes on.
  - A certificate that fails is returned in RV(refused), and the others go on. The module does
    not fail for it, so that deployment goes on, too; the C(certificates) role's summary fails.
  - Actions for certificates whose key is made on a host or by a device are passed over.
  - The files depend on the key and the inventory entry alone, so that a second run, on any
    machine, writes the same bytes.
extends_documentation_fragment:
  - pki_inventory
  - pki_inventory.vault
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description:
      - Says which keys would be made and changes nothing. Files of keys that are there already are
        signed for, which changes nothing in the store either, and shown.
  diff_mode:
    support: full
    description: Shows the request files; they are public.
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
  concurrency:
    description:
      - How many certificates are worked on at a time, 1 to 64.
      - The server makes a key on one of its cores, in seconds. More than twice its cores only makes
        each call slower, until calls time out.
    type: int
    default: 4
  progress_file:
    description:
      - A file that gets a line for every key as soon as it is made.
      - The action plugin of this module gives one and shows its lines while the module runs.
    type: path
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
  description: The requests that were written or are there, with the directory to commit.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 1
      directory: certificates/dip-nonprod/1
      key: made
      files: [request.csr]
refused:
  description: The certificates that got no request, and why.
  returned: success
  type: list
  elements: dict
refusals:
  description: The same, as text.
  returned: success
  type: list
  elements: str
sentences:
  description: What was done, one sentence a certificate.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki import (
    keystores,
    preflight,
    public_state,
    report,
    request_batch,
    session,
)
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
    "concurrency": {"type": "int", "default": 4},
    "progress_file": {"type": "path"},
}


def teller(params, check_mode):
    """Appends lines to the progress file; whether somebody reads it must not matter."""
    path = params["progress_file"]
    if not path or check_mode:
        return request_batch.silent

    def tell(line):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                stream.write(f"{line}\n".encode())
        except OSError:
            return

    return tell


def foreseen(client, inputs, wanted):
    """Refusals of keys that this login could make, and not sign with or bring to their version.

    Asked once, and only where a key is to be made.
    """
    new = [wish for wish in wanted if wish.new]
    keys = {w.certificate: inputs.declared.certificates[w.certificate] for w in new}
    lacking = preflight.lacking(client, preflight.mounts(keys.values()))
    return [
        request_batch.Refusal(
            wish.certificate, wish.version, lacking[keys[wish.certificate].key_name]
        )
        for wish in new
        if keys[wish.certificate].key_name in lacking
    ]


def carry_out(module, inputs, wanted, threads):
    """All wishes of the plan; nothing is read and nobody is asked when there are none."""
    if not wanted:
        return request_batch.Outcome((), ())
    every = public_state.scan_every(inputs.certificates_dir)
    known = Committed.of(every, inputs.compromised)
    with keystores.vault(module.params["vault"], os.environ) as client:
        denied = foreseen(client, inputs, wanted)
        names = {refusal.certificate for refusal in denied}
        wanted = [wish for wish in wanted if wish.certificate not in names]
        batch = request_batch.Batch(
            inputs,
            keystores.Stores(client, inputs.policies),
            known,
            check=module.check_mode,
            tell=teller(module.params, module.check_mode),
        )
        outcome = batch.run(wanted, threads)
    return request_batch.Outcome(outcome.done, (*denied, *outcome.refused), outcome.trail)


def handler(module):
    inputs = session.load(module.params)
    threads = request_batch.threads_wanted(module.params["concurrency"])
    wanted = request_batch.wishes(inputs, module.params["actions"])
    outcome = carry_out(module, inputs, wanted, threads)
    refused = [refusal.as_result() for refusal in outcome.refused]
    return {
        "changed": any(done.changed for done in outcome.done),
        "requests": [done.as_result() for done in outcome.done],
        "refused": refused,
        "refusals": [report.refusal(one["error"]) for one in refused],
        "sentences": [done.sentence() for done in outcome.done],
        "diff": [done.diff() for done in outcome.done if done.files],
        "trail": list(outcome.trail),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
