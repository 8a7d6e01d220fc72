#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what a host has in service: releases, holds, CRL sets and gateways."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_host_status
short_description: Tell what a host has in service
version_added: 0.1.0
description:
  - Tells which release of each certificate is in service, which are kept and which is held, the CRL
    sets and API keys in service, and how each gateway runs. Reads only, and tells nothing secret.
  - Dates and serials are those that the release's own record names.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
  gateway_root:
    description: Directory of the gateways on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Look at what this host has in service
  pki_host_status:
    release_root: /etc/pki/mtls
    crl_root: /var/lib/pki-crl
    gateway_root: /etc/pki/gateway
  register: host_status
"""

RETURN = r"""
certificates:
  description: Each certificate with its release in service, what is held and what is kept.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      current: v2-0123456789abcdef
      held: null
      releases:
        - id: v2-0123456789abcdef
          version: 2
          serial: "4f"
          not_after: "2027-11-22T12:00:00+00:00"
crl_sets:
  description: The CRL set in service of each trust entry, when it was fetched and when it ends.
  returned: success
  type: list
  elements: dict
api_keys:
  description: The API keys in service, by name and release; never a key.
  returned: success
  type: list
  elements: dict
gateways:
  description: Each gateway, whether it runs and as it was recorded, its listeners, what is out.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import in_service, kept

SPEC = {
    "release_root": {"type": "path", "required": True},
    "crl_root": {"type": "path", "required": True},
    "gateway_root": {"type": "path", "required": True},
}


def handler(module):
    params = module.params
    return {
        "changed": False,
        "certificates": [one.as_result() for one in kept.entries(params["release_root"])],
        "crl_sets": in_service.crl_sets(params["crl_root"]),
        "api_keys": in_service.api_keys(params["release_root"]),
        "gateways": in_service.gateways(params["gateway_root"]),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
