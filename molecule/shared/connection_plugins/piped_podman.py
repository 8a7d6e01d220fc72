# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's podman connection, able to hand a program its standard input.

The collection runs ``podman exec`` without ``--interactive``: what is to be piped into a module
never arrives, so it switches pipelining off. The product delivers no key without pipelining.
"""

from __future__ import annotations

import shlex

from ansible.plugins.connection import ConnectionBase, ensure_connect
from ansible_collections.containers.podman.plugins.connection.podman import (
    Connection as Podman,
)

DOCUMENTATION = r"""
name: piped_podman
short_description: Run tasks in a podman container, with pipelining
description:
  - As C(containers.podman.podman), and modules are piped into the container instead of copied.
options:
  remote_addr:
    description: Name of the container.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
  podman_executable:
    description: The program.
    type: str
    default: podman
  podman_extra_args:
    description: Further options of the program.
    type: str
    default: ''
  pipelining:
    description: Pipe modules into the container instead of copying them.
    type: bool
    default: false
    ini:
      - section: connection
        key: pipelining
    env:
      - name: ANSIBLE_PIPELINING
    vars:
      - name: ansible_pipelining
"""


class Connection(Podman):
    transport = "piped_podman"
    has_pipelining = True

    def _connect(self):
        # The collection mounts the container's files here; below its tmpfs that is the wrong place.
        ConnectionBase._connect(self)
        self._connected = True

    @ensure_connect
    def exec_command(self, cmd, in_data=None, sudoable=False):
        ConnectionBase.exec_command(self, cmd, in_data=in_data, sudoable=sudoable)
        arguments = ["exec"] if in_data is None else ["exec", "--interactive"]
        return self._podman(arguments, shlex.split(cmd), in_data)

    def reset(self):
        """Nothing stays open between two tasks, so there is nothing to close."""
        self.close()
