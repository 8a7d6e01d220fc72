#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find in Vault's audit log which keys left, and who took them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_audit_log
short_description: Find in Vault's audit log which keys left, and who took them
version_added: 0.1.0
description:
  - Reads JSON audit logs of HashiCorp Vault or OpenBao where they are, the key server or wherever
    they are collected, and returns only what is about keys that left, wrapped or not, and about
    the tokens they were wrapped in.
  - Needs Python and nothing else there. Tokens come back as the log has them, hashed, and
    shortened.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  paths:
    description:
      - The log's files; those ending in C(.gz) are unpacked. The last line of one that is being
        written may be incomplete.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Look at today's log and yesterday's
  pki_audit_log:
    paths:
      - /var/log/openbao/audit.log.1.gz
      - /var/log/openbao/audit.log
  register: audit
"""

RETURN = r"""
events:
  description: Wraps, uses of wraps, and reads in the clear, in the order of the lines.
  returned: success
  type: list
  elements: dict
lines:
  description: How many lines were read.
  returned: success
  type: int
foreign:
  description: How many of them are no lines of an audit log.
  returned: success
  type: int
partial:
  description: How many files end within a line.
  returned: success
  type: int
first:
  description: When the first line was written.
  returned: success
  type: str
last:
  description: When the last line that was looked at was written.
  returned: success
  type: str
"""

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import audit_log

SPEC = {"paths": {"type": "list", "elements": "path", "required": True}}


def handler(module):
    return {"changed": False, **audit_log.look(module.params["paths"]).as_result()}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
