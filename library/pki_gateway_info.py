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
  watched:
    description:
      - What depends on CAs that are to be retired, as the filter C(pki_trust_watched) asks it.
      - The access logs of the gateways are read from their end, up to a limit, and each far end
        that it names is asked for its certificates.
    type: dict
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
watched:
  description: What depends on CAs that are to be retired; empty when nobody asked.
  returned: success
  type: dict
  contains:
    peers:
      description: The newest verified request of each CA and gateway, and how old it is.
      type: list
      elements: dict
    far_ends:
      description: What each far end presents, or why that is not known.
      type: list
      elements: dict
    unread:
      description: A sentence for each gateway whose logs were not read far enough back.
      type: list
      elements: str
apt:
  description: Whether packages of this host are installed with C(apt).
  returned: success
  type: bool
"""

import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import dependents, gateways, service

SPEC = {
    "programs": {"type": "dict", "required": True},
    "watched": {"type": "dict"},
}


def describe(product, program):
    adapter = service.for_host(gateways.adapter(product), program)
    return {"installed": service.is_program(program), "lacks": sorted(adapter.lacks)}


def handler(module):
    watched = module.params["watched"]
    programs = {str(name): str(path) for name, path in module.params["programs"].items()}
    return {
        "changed": False,
        "programs": {name: describe(name, path) for name, path in programs.items()},
        "watched": dependents.observe(watched) if watched else {},
        "apt": os.path.exists("/usr/bin/apt-get"),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
