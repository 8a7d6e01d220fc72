#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Try a deployed gateway with live handshakes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_prove
short_description: Try a deployed gateway with live handshakes
description:
  - Connects to the lab's gateway as friend and as stranger, lets the gateway call friendly and
    hostile far ends, and writes what was seen, row by row, to C(matrix.json) in O(lab_dir).
  - The proof that a revoked client cannot resume its session runs on a second instance of the
    deployed configuration with a CA of its own, which is stopped and removed at the end.
  - Nothing that is deployed is changed; the module compares O(watched) before and after.
author:
  - The project's maintainers (@project)
attributes:
  check_mode:
    description: Tries nothing, because trying revokes a certificate at the proof's own CA.
    support: full
  diff_mode:
    description: Nothing that is deployed changes.
    support: none
options:
  lab_dir:
    description: The running lab's directory.
    type: path
    required: true
  gateway:
    description: Name under which the gateway stands in the matrix.
    type: str
    required: true
  product:
    description: The gateway's product.
    type: str
    required: true
  gateway_root:
    description: Directory of the deployed gateway.
    type: path
    required: true
  certificate_file:
    description: The certificate that is meant to be served and shown, PEM.
    type: path
    required: true
  watched:
    description: Directories by name whose files must be the same before and after.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Prove the gateway
  lab_prove:
    lab_dir: "{{ lab_dir }}"
    gateway: gw1
    product: nginx
    gateway_root: "{{ gateway_root }}"
    certificate_file: "{{ release_root }}/dip-nonprod/current/certificate.pem"
    watched:
      gateway: "{{ gateway_root }}"
      releases: "{{ release_root }}"
"""

RETURN = r"""
table:
  description: The matrix as aligned lines for a person.
  returned: when it was tried
  type: list
  elements: str
matrix_file:
  description: Where the matrix was written as JSON.
  returned: when it was tried
  type: str
msg:
  description: One sentence about the outcome.
  returned: always
  type: str
"""

from pathlib import Path

from ansible.module_utils.lab import matrix, proof
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import gateways


def prove(module):
    options = module.params
    if module.check_mode:
        # Trying means revoking a certificate at the proof's CA, which is a change.
        return {"changed": False, "msg": "nothing is tried in check mode"}
    home = Path(str(options["lab_dir"])).resolve()
    gateway, rows = matrix.run(
        matrix.load(home),
        gateways.adapter(str(options["product"])),
        str(options["gateway"]),
        Path(str(options["gateway_root"])),
        Path(str(options["certificate_file"])),
        {str(name): Path(str(path)) for name, path in options["watched"].items()},
    )
    written = matrix.record(home, gateway, rows)
    proof.require_green(rows, str(written))
    return {
        "changed": False,
        "table": proof.table(rows),
        "matrix_file": str(written),
        "msg": f"all {len(rows)} rows of the matrix are as they must be",
    }


def main():
    run_module(
        prove,
        {
            "lab_dir": {"type": "path", "required": True},
            "gateway": {"type": "str", "required": True},
            "product": {"type": "str", "required": True},
            "gateway_root": {"type": "path", "required": True},
            "certificate_file": {"type": "path", "required": True},
            "watched": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
