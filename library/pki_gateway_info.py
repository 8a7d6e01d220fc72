#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which gateway programs a host has, and what they cannot do."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_gateway_info
short_description: Tell which gateway programs a host has, and what they cannot do
version_added: 0.1.0
description:
  - Asks each gateway program for its version and build; changes nothing.
  - A program that is too old, or built without what a gateway needs, is refused.
  - Of a program that is not there yet, what a current version can do is assumed.
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
  programs:
    description: The program on the host, by the name of the product.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the gateway's program
  pki_gateway_info:
    programs:
      nginx: /usr/sbin/nginx
  register: gateway_info
"""

RETURN = r"""
programs:
  description: One entry for each product.
  returned: success
  type: dict
  contains:
    installed:
      description: Whether the program is there.
      type: bool
    lacks:
      description: What a current version can do and this one cannot, by names the templates know.
      type: list
      elements: str
  sample: {"nginx": {"installed": true, "lacks": ["keepalive_time"]}}
apt:
  description: Whether packages of this host are installed with C(apt).
  returned: success
  type: bool
"""

import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import gateways, service

SPEC = {"programs": {"type": "dict", "required": True}}


def describe(product, program):
    adapter = service.for_host(gateways.adapter(product), program)
    return {"installed": service.is_program(program), "lacks": sorted(adapter.lacks)}


def handler(module):
    programs = {str(name): str(path) for name, path in module.params["programs"].items()}
    return {
        "changed": False,
        "programs": {name: describe(name, path) for name, path in programs.items()},
        "apt": os.path.exists("/usr/bin/apt-get"),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
