#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take in a certificate request that a device made with a key of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_supply
short_description: Take in the certificate request of a device
version_added: 0.1.0
description:
  - For entries whose key is C(external), made and kept by a load balancer, a firewall or a cloud
    service that hands out nothing but a request.
  - The request is judged by the same rules as every other one and then written, with its record
    and what a person needs to submit it, into the directory of the entry's next version.
  - The same request again changes nothing. While it is open, another one is refused.
extends_documentation_fragment:
  - pki_inventory
  - pki_inventory.vault
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Judges the request, says what would be written and changes nothing.
  diff_mode:
    support: full
    description: Shows the files beside the inventory; they are public.
options:
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  compromised:
    description:
      - Keys that must never be used again, by the SHA-256 of their public key.
      - Vault's ledger and the inventory's C(compromised.yml) are read besides.
    type: dict
    default: {}
  certificate:
    description: Name of the declared certificate that the request is for.
    type: str
    required: true
  csr_file:
    description: File of the request on the controller, PEM or DER.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Take in the load balancer's request
  pki_supply:
    certificate: dip-prod
    csr_file: /home/ada/dip-prod.csr
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
request:
  description: The request's version, its key and the directory to commit.
  returned: success
  type: dict
  sample:
    certificate: dip-prod
    version: 1
    directory: certificates/dip-prod/1
    spki_sha256: 2f1d0f
    files: [request.csr, submission.txt, request.yml]
sentences:
  description: What was done and what there is to do.
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
    brought_files,
    csr,
    desk,
    keystores,
    ledger,
    public_state,
    session,
    supply_stage,
)
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import COMPROMISED, INVENTORY, VAULT

SPEC = {
    **INVENTORY,
    **VAULT,
    **COMPROMISED,
    "certificates_dir": {"type": "path", "required": True},
    "certificate": {"type": "str", "required": True},
    "csr_file": {"type": "path", "required": True},
}


def sentence(written):
    """What was done, for a person."""
    text = f"{written.certificate} v{written.version}: request"
    if written.missing:
        return f"{text} taken in; commit {written.directory} and submit the request"
    return f"{text} unchanged"


def difference(written, name):
    """A public file as a diff; what was there before is not shown."""
    header = str(written.directory / name)
    after = written.contents[name].decode()
    return {"before_header": header, "after_header": header, "before": "", "after": after}


def handler(module):
    params = module.params
    inputs = session.load(params)
    data = brought_files.read(params["csr_file"], csr.MAX_REQUEST_BYTES, "the request's file")
    with keystores.vault(params["vault"], os.environ) as client:
        compromised = ledger.stored(client, inputs.environment_classes)
    known = session.knowing(inputs, compromised)
    place = desk.of(known, params["certificate"], supply_stage.RULE)
    written = supply_stage.take_in(place, data)
    happened = []
    if written.missing and not module.check_mode:
        public_state.write(written.directory, written.contents)
        happened = [written.as_event("request of a device taken in")]
    return {
        "changed": bool(written.missing),
        "request": {
            "certificate": written.certificate,
            "version": written.version,
            "directory": str(written.directory),
            "spki_sha256": csr.key_digest(written.contents["request.csr"]),
            "files": list(written.missing),
        },
        "sentences": [sentence(written)],
        "diff": [difference(written, name) for name in written.missing],
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
