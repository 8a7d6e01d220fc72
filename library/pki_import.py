#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an existing private key into its store, and write its request."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_import
short_description: Bring an existing key into the key store
version_added: 0.1.0
description:
  - Reads a private RSA key, as PEM or DER, PKCS1, PKCS8 or PKCS12, encrypted or not, finds
    out whose it is, has the policy judge it, and imports it into transit, encrypted for the engine
    on the way.
  - A key of which no certificate or request shows that it belongs to the entry is refused, and so
    is one that was asked for before or is known to be compromised.
  - Writes the request of the new version, and the certificate that came along as its reply, which
    the next run judges, accepts and deploys.
  - Neither key nor passphrase is an option, a result or a part of any message.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would be brought, whose it is and what is wrong with it; changes nothing.
  diff_mode:
    support: full
    description: Shows the files beside the inventory; they are public.
options:
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  vault:
    description:
      - How to reach HashiCorp Vault or OpenBao with the login for imports, as a map of places.
      - Its keys are those of the option of the same name of C(pki_plan).
    type: dict
    default: {}
  certificate:
    description: Name of the declared certificate that the key is for.
    type: str
    required: true
  key_file:
    description: File of the key on the controller, of mode 0600, yours or root's.
    type: path
    required: true
  passphrase_file:
    description:
      - File with the key's passphrase, on one line, of mode 0600.
      - Only needed for a key that is encrypted.
    type: path
    default: ""
  certificate_file:
    description:
      - File with the key's certificate, with or without its CAs, in any form a reply may have.
      - Not needed for a key that came with its certificate, or whose request is committed.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Bring the key that served so far
  pki_import:
    certificate: mesh-prod
    key_file: /root/epr/mesh.p12
    passphrase_file: /root/epr/mesh.pass
    vault: "{{ certificates_import_vault }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
imported:
  description: The key's version and the directory to commit; nothing of the key but its digest.
  returned: success
  type: dict
  sample:
    certificate: mesh-prod
    version: 1
    directory: certificates/mesh-prod/1
    key: imported
    spki_sha256: 2f1d0f
    files: [request.csr, submission.txt, request.yml, reply.pem]
sentences:
  description: Whose the key is, what was done and what there is to do.
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
    desk,
    import_files,
    import_stage,
    key_import,
    key_place,
    keystores,
    ledger,
    public_state,
    session,
    vault_ids,
)
from ansible.module_utils.pki.stores.transit import mount_for
from ansible.module_utils.pki.stores.transit_import import TransitImport
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import INVENTORY, VAULT

SPEC = {
    **INVENTORY,
    **VAULT,
    "certificates_dir": {"type": "path", "required": True},
    "certificate": {"type": "str", "required": True},
    "key_file": {"type": "path", "required": True},
    "passphrase_file": {"type": "path", "default": "", "no_log": False},
    "certificate_file": {"type": "path", "default": ""},
}


def into_transit(client, arrival, check_mode):
    """Whether it is (or would be) brought now, and since when the store has it."""
    certificate, key = arrival.desk.certificate, arrival.key
    place = key_place.of_version(certificate, arrival.files)
    door = TransitImport(
        client,
        place.mount,
        keystores.key_type(arrival.desk.rules),
        exportable=place.mount == mount_for(certificate.environment_class, ("mtls",)),
    )
    lacking = door.lacks(place.name, arrival.version, key.spki_der)
    if check_mode and lacking:
        return True, arrival.desk.now
    record = door.bring(place.name, arrival.version, key.spki_der, key.pkcs8_der())
    return lacking, record.versions[arrival.version].created


def handler(module):
    params = module.params
    inputs = session.load(params)
    brought = import_files.read(
        params["key_file"], params["passphrase_file"], params["certificate_file"]
    )
    with keystores.vault(params["vault"], os.environ) as client:
        compromised = ledger.stored(client, inputs.environment_classes)
        known = session.knowing(inputs, compromised)
        place = desk.of(known, params["certificate"], key_import.RULE)
        import_stage.must_be_kept_in(key_place.TRANSIT, place)
        arrival = import_stage.receive(place, *brought)
        with vault_ids.noted() as ids:
            moved, created = into_transit(client, arrival, module.check_mode)
    with telling() as happened:
        if moved and not module.check_mode:
            happened.append(arrival.key_event(ids))
        contents = arrival.contents(created)
        if contents and not module.check_mode:
            public_state.write(arrival.directory, contents)
            happened.append(arrival.files_event(contents))
    return {**arrival.result(contents, moved, module.check_mode), "trail": happened}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
