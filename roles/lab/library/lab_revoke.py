#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revoke a certificate for a reason, as the CA."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_revoke
short_description: Revoke a certificate for a reason, as the CA
description:
  - Writes the revocation down with its reason, which the engine does not keep; has the engine
    revoke the certificate; and publishes the lists that say so.
  - The first reason stands. The same word again changes nothing.
author:
  - The project's maintainers (@project)
attributes:
  check_mode:
    description: Reports what it would do and changes nothing.
    support: full
  diff_mode:
    description: Returns the steps as text, never a secret.
    support: none
options:
  vault:
    description: How to reach the lab's OpenBao.
    type: dict
    required: true
    suboptions:
      address:
        description: Its address.
        type: str
        required: true
      ca_cert:
        description: File with the CA certificate it is pinned to.
        type: path
        required: true
      auth_method:
        description: How to log in.
        type: str
        choices: [approle]
        default: approle
      role_id_file:
        description: File with the role id, mode 0600.
        type: path
        required: true
      secret_id_file:
        description: File with the secret id, mode 0600.
        type: path
        required: true
  mount:
    description: PKI mount of the CA that issued the certificate.
    type: str
    required: true
  serial:
    description: Serial number of the certificate, hexadecimal, with or without colons.
    type: str
    required: true
  reason:
    description: Why, by a name that O(reasons) has.
    type: str
    required: true
  reasons:
    description: The reasons that may be given, each with its CRL reason code (RFC 5280, 5.3.1).
    type: dict
    required: true
  ledger:
    description: File in which revocations with their reasons are kept.
    type: path
    required: true
  published:
    description: Lists to publish, as C(lab_ca) has them. Those of other CAs are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      mount:
        description: PKI mount of the CA.
        type: str
        required: true
      path:
        description: File to write.
        type: path
        required: true
      uri:
        description:
          - Address in the issuingDistributionPoint.
          - Empty for the list at the CA's own place.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: A key became known
  lab_revoke:
    vault:
      address: https://127.0.0.1:8200
      ca_cert: /srv/lab/vault/tls/ca.pem
      role_id_file: /srv/lab/secrets/lab-ca.role_id
      secret_id_file: /srv/lab/secrets/lab-ca.secret_id
    mount: pki-dca
    serial: 3f5a0c
    reason: key_compromise
    reasons: {key_compromise: 1, certificate_superseded: 4}
    ledger: /srv/lab/revocations.json
    published:
      - mount: pki-dca
        path: /srv/lab/farend/published/pki-dca.crl
"""

RETURN = r"""
steps:
  description: What was done, one sentence each. In check mode what would be done.
  returned: success
  type: list
  elements: str
  sample: ["revoked 3f:5a:0c of pki-dca, reason code 1"]
msg:
  description: The steps in one line.
  returned: success
  type: str
  sample: nothing to do
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.lab import published, revocations
from ansible.module_utils.pki.vault import Client, Settings
from ansible.module_utils.pki_ansible import run_module

VAULT = {
    "type": "dict",
    "required": True,
    "options": {
        "address": {"type": "str", "required": True},
        "ca_cert": {"type": "path", "required": True},
        "auth_method": {"type": "str", "choices": ["approle"], "default": "approle"},
        "role_id_file": {"type": "path", "required": True},
        # A place, not the secret itself.
        "secret_id_file": {"type": "path", "required": True, "no_log": False},
    },
}
SPEC = {
    "vault": VAULT,
    "mount": {"type": "str", "required": True},
    "serial": {"type": "str", "required": True},
    "reason": {"type": "str", "required": True},
    "reasons": {"type": "dict", "required": True},
    "ledger": {"type": "path", "required": True},
    "published": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "mount": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "uri": {"type": "str", "default": ""},
        },
    },
}


def handle(module):
    """Ledger first, then the engine, then the lists: each heals what a killed run left."""
    params, check, now = module.params, module.check_mode, datetime.now(UTC)
    mount = str(params["mount"])
    serial = revocations.serial_number(str(params["serial"]))
    code = revocations.reason_code(
        str(params["reason"]), {str(name): int(code) for name, code in params["reasons"].items()}
    )
    ledger = revocations.load(Path(str(params["ledger"])))
    with Client(Settings.resolve(params["vault"], {})) as client:
        ledger, steps = revocations.revoke(client, ledger, mount, serial, code, now, check)
        steps += revocations.keep(client, ledger, check)
        for entry in params["published"]:
            publication = published.Publication(
                str(entry["mount"]), Path(str(entry["path"])), str(entry["uri"])
            )
            if publication.mount == mount:
                steps += published.ensure(client, publication, ledger, now, check)
    return {
        "changed": bool(steps),
        "steps": steps,
        "msg": "; ".join(steps) or "nothing to do",
    }


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
