#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make keys on a host and write the requests that it signs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_host_request
short_description: Make keys on a host and write the requests that it signs
version_added: 0.1.0
description:
  - Carries out the plan's actions V(create_key) and V(write_request) for certificates whose key is
    made and kept on this host, all of them in one task.
  - Works as an action. The controller builds and judges each request and writes its files; the
    host, by C(pki_host_key), makes the key and signs a digest. The key never leaves the host.
  - With C(encrypted) the key is locked with a passphrase that is made once in the key server. It
    reaches the host in a single-use token, for the making and for each signature.
  - A certificate that is refused does not stop the others.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Looks at the host, says what would be made and changes nothing.
  diff_mode:
    support: full
    description: Shows the request files; they are public.
options:
  actions:
    description: The plan's actions, as C(pki_plan) returned them. Other hosts' are passed over.
    type: list
    elements: dict
    required: true
  release_root:
    description: Directory of the releases, and of the keys, on the host.
    type: path
    required: true
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
    description: The hosts of each group, as in C(groups).
    type: dict
    default: {}
  policy_dir:
    description: Directory of the policy files and their schema, on the controller.
    type: path
    required: true
  base_dir:
    description: Directory that relative CA files are looked up in, on the controller.
    type: path
    required: true
  certificates_dir:
    description: Directory of the requests, one directory per version, on the controller.
    type: path
    required: true
  crl_cache_dir:
    description: Directory of the controller's verified CRLs.
    type: path
    required: true
  compromised:
    description:
      - Keys that must never be used again, by the SHA-256 of their public key, as C(pki_plan)
        returned them from Vault.
    type: dict
    default: {}
  vault:
    description:
      - How the controller reaches the key server as the pipeline, as a map of places. Used to make
        the passphrases of encrypted keys.
    type: dict
    default: {}
  release_vault:
    description: The same for the release role, which may have a passphrase wrapped for a host.
    type: dict
    default: {}
  wrap_ttl:
    description: Seconds that the delivery of a passphrase may take.
    type: int
    default: 60
  host_vault:
    description:
      - How the host reaches the key server (C(address), C(ca_pem), C(namespace), C(timeout)).
        Needed for encrypted keys only.
    type: dict
"""

EXAMPLES = r"""
- name: Make keys and requests of this host
  pki_host_request:
    actions: "{{ plan.actions }}"
    release_root: /etc/pki/mtls
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
requests:
  description: The requests that were written or are there, with the directory to commit.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod/gw1
      version: 1
      directory: certificates/dip-nonprod/gw1/1
      key: made
      files: [request.csr, submission.txt, request.yml]
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
keys:
  description: What the host tells of its keys now, as C(pki_host_key) returns it.
  returned: success
  type: list
  elements: dict
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host.errors import HostError

SPEC = {
    "actions": {"type": "list", "elements": "dict", "required": True},
    "release_root": {"type": "path", "required": True},
    "organisations": {"type": "dict", "required": True},
    "certificates": {"type": "list", "elements": "dict", "required": True},
    "trust": {"type": "dict", "required": True},
    "groups": {"type": "dict", "default": {}},
    "policy_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "certificates_dir": {"type": "path", "required": True},
    "crl_cache_dir": {"type": "path", "required": True},
    "compromised": {"type": "dict", "default": {}},
    "vault": {"type": "dict", "default": {}},
    "release_vault": {"type": "dict", "default": {}},
    "wrap_ttl": {"type": "int", "default": 60},
    "host_vault": {"type": "dict"},
}


def handler(_module):
    raise HostError(
        "this module works as an action on the controller only",
        rule="OPTION",
        found="a run without its action plugin",
        expected="action_plugins of this project in Ansible's configuration",
        where="ansible.cfg or ANSIBLE_CONFIG",
        next_step="run the playbooks with the project's ansible.cfg",
    )


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
