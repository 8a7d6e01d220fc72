#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an existing private key onto the host that keeps it, and write its request."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_host_import
short_description: Bring an existing key onto the host that keeps it
version_added: 0.1.0
description:
  - The same as C(pki_import), for certificates whose key is kept on this host.
  - Works as an action. The controller reads and judges the key and writes the request; the host, by
    C(pki_host_key), keeps the key. It travels over the connection alone, so pipelining must be on.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Looks at the host, says what would be brought and whose it is; changes nothing.
  diff_mode:
    support: full
    description: Shows the files beside the inventory; they are public.
options:
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
  release_root:
    description: Directory of the releases, and of the keys, on the host.
    type: path
    required: true
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  vault:
    description:
      - How the controller reaches the key server as the pipeline, as a map of places. It reads the
        ledger of compromised keys and makes the passphrases of encrypted ones.
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
- name: Bring the key that served so far
  pki_host_import:
    certificate: "dip-prod/{{ inventory_hostname }}"
    key_file: /root/old/gateway.pem
    certificate_file: /root/old/gateway.crt
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
imported:
  description: The key's version and the directory to commit; nothing of the key but its digest.
  returned: success
  type: dict
  sample:
    certificate: dip-prod/gw1
    version: 1
    directory: certificates/dip-prod/gw1/1
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

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host.errors import HostError

SPEC = {
    "certificate": {"type": "str", "required": True},
    "key_file": {"type": "path", "required": True},
    "passphrase_file": {"type": "path", "default": "", "no_log": False},
    "certificate_file": {"type": "path", "default": ""},
    "release_root": {"type": "path", "required": True},
    "organisations": {"type": "dict", "required": True},
    "certificates": {"type": "list", "elements": "dict", "required": True},
    "trust": {"type": "dict", "required": True},
    "groups": {"type": "dict", "default": {}},
    "policy_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "certificates_dir": {"type": "path", "required": True},
    "crl_cache_dir": {"type": "path", "required": True},
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
