#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Play the human at the portal and the CA."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_sign
short_description: Play the human at the portal and the CA
description:
  - Finds the requests that wait for a reply, has the lab's CA sign them, and leaves each reply the
    way a person pastes it out of a portal.
  - The CA refuses a request whose subject it has not vetted.
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
  certificates_dir:
    description: Directory with one directory per certificate and version.
    type: path
    required: true
  mount:
    description: PKI mount of the issuing CA.
    type: str
    required: true
  organisations:
    description: The organisations as the inventory has them. The CA has vetted their C(subject).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Answer what waits
  lab_sign:
    vault:
      address: https://127.0.0.1:8200
      ca_cert: /srv/lab/vault/tls/ca.pem
      role_id_file: /srv/lab/secrets/lab-ca.role_id
      secret_id_file: /srv/lab/secrets/lab-ca.secret_id
    certificates_dir: /srv/lab/certificates
    mount: pki-dca
    organisations:
      example:
        subject: {O: Example Energy Ltd, L: London, ST: London, C: GB}
"""

RETURN = r"""
steps:
  description: What was done, one sentence each. In check mode what would be done.
  returned: success
  type: list
  elements: str
  sample: ["signed /srv/lab/certificates/dip-nonprod/v1/request.csr"]
msg:
  description: The steps in one line.
  returned: success
  type: str
  sample: no request waits for the CA
"""

from pathlib import Path

from ansible.module_utils.lab import signer
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
    "certificates_dir": {"type": "path", "required": True},
    "mount": {"type": "str", "required": True},
    "organisations": {"type": "dict", "required": True},
}


def handle(module):
    """Answer every open request."""
    params = module.params
    known = signer.vetted(params["organisations"])
    waiting = signer.open_requests(Path(str(params["certificates_dir"])))
    steps = []
    if waiting:
        with Client(Settings.resolve(params["vault"], {})) as client:
            for directory in waiting:
                steps.append(
                    signer.sign(client, str(params["mount"]), directory, known, module.check_mode)
                )
    return {
        "changed": bool(steps),
        "steps": steps,
        "msg": "; ".join(steps) or "no request waits for the CA",
    }


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
