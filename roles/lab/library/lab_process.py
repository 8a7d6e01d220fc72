#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep servers of the lab running, or stop them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_process
short_description: Keep servers of the lab running, or stop them
description:
  - Starts each process detached from the run, in a session of its own, with its own log. The pid
    file holds the pid and the start time that the kernel gives it.
  - Heals what was killed, workers without a master included.
  - O(state=stopped) ends what the pid files name, and processes of the same user that run one of
    the programs of O(sweep) and hold a file below O(home) open. Nothing else.
  - Needs /proc.
author:
  - The project's maintainers (@project)
attributes:
  check_mode:
    description: Reports what it would do and changes nothing.
    support: full
  diff_mode:
    description: Returns the steps as text, never a secret.
    support: full
options:
  home:
    description: The lab's directory.
    type: path
    required: true
  state:
    description: Whether the processes shall run.
    type: str
    choices: [started, stopped]
    default: started
  sweep:
    description: Names of programs that belong to the lab even without a pid file.
    type: list
    elements: str
    default: []
  files:
    description: Public files to write before the processes are started.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      mode:
        description: Permission bits in octal.
        type: str
        default: "0644"
  processes:
    description: The processes, in the order in which they are started.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: For messages.
        type: str
        required: true
      argv:
        description: Command line. Never a secret.
        type: list
        elements: str
        required: true
      log:
        description: File for its output.
        type: path
        required: true
      pid_file:
        description: File for pid and start time.
        type: path
        required: true
      ports:
        description: Ports that accept connections when it is up.
        type: list
        elements: int
        required: true
      watch:
        description: Files that it reads. A change makes it reload or restart.
        type: list
        elements: path
        default: []
      on_change:
        description: What a change of its files needs. Reload is SIGHUP.
        type: str
        choices: [restart, reload]
        default: restart
      check:
        description: Command line of its configuration test.
        type: list
        elements: str
        default: []
      ready:
        description: An address that answers 200 when it is up.
        type: dict
        suboptions:
          url:
            description: The address.
            type: str
          ca_cert:
            description: File with the CA certificate it is pinned to.
            type: path
      first_start:
        description: For a server that initialises itself once.
        type: dict
        suboptions:
          marker:
            description: File that exists when the first start went through.
            type: path
            required: true
          directory:
            description: Data directory, emptied if a first start was cut short.
            type: path
            required: true
          login:
            description: A login to Vault that works as soon as the first start is complete. Holds
              the places of credentials, never credentials.
            type: dict
      timeout:
        description: Seconds until it must be up.
        type: int
        default: 60
"""

EXAMPLES = r"""
- name: A server runs
  lab_process:
    home: /srv/lab
    processes:
      - name: web
        argv: [/usr/sbin/nginx, -c, /srv/lab/nginx.conf]
        log: /srv/lab/log/web.log
        pid_file: /srv/lab/run/web.json
        ports: [8000]
"""

RETURN = r"""
steps:
  description: What was done, one sentence each. In check mode what would be done.
  returned: success
  type: list
  elements: str
  sample: ["started web, pid 4711 (nginx)"]
msg:
  description: The steps in one line.
  returned: success
  type: str
  sample: nothing to do
"""

from pathlib import Path

from ansible.module_utils.lab import files, processes
from ansible.module_utils.pki_ansible import run_module

PROCESS = {
    "name": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "required": True},
    "log": {"type": "path", "required": True},
    "pid_file": {"type": "path", "required": True},
    "ports": {"type": "list", "elements": "int", "required": True},
    "watch": {"type": "list", "elements": "path", "default": []},
    "on_change": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
    "check": {"type": "list", "elements": "str", "default": []},
    "ready": {
        "type": "dict",
        "options": {"url": {"type": "str"}, "ca_cert": {"type": "path"}},
    },
    "first_start": {
        "type": "dict",
        "options": {
            "marker": {"type": "path", "required": True},
            "directory": {"type": "path", "required": True},
            "login": {"type": "dict"},
        },
    },
    "timeout": {"type": "int", "default": 60},
}
FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0644"},
}
SPEC = {
    "home": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
    "processes": {"type": "list", "elements": "dict", "required": True, "options": PROCESS},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
    "sweep": {"type": "list", "elements": "str", "default": []},
}


def login_proof(entry):
    """A call that logs in once, or None if the process has no first start of that kind."""
    options = (entry["first_start"] or {}).get("login")
    if not options:
        return None

    def log_in():
        # Imported here: it is needed once in a lab's life and costs half a second.
        from ansible.module_utils.pki.vault import Client, Settings

        # An empty environment: what the operator's shell exports is about another Vault.
        with Client(Settings.resolve(options, {})) as client:
            client.read("auth/token/lookup-self")

    return log_in


def started(module, home):
    """Bring every process up, in the order given."""
    steps = []
    for entry in module.params["processes"]:
        steps += processes.ensure(
            processes.service_of(entry),
            home,
            check=module.check_mode,
            logged_in=login_proof(entry),
        )
    return steps


def stopped(module, home):
    """Stop what the lab started, and only that."""
    services = [processes.service_of(entry) for entry in module.params["processes"]]
    programs = [str(name) for name in module.params["sweep"]]
    if module.check_mode:
        known = [processes.recorded(service)[0] for service in services]
        found = {one.pid for one in [*known, *processes.ours(home, programs)] if one}
        return [f"would stop {processes.describe(pid)}" for pid in sorted(found)]
    return processes.stop_all(services, home, programs)


def handle(module):
    """Write the files, then start and heal; or stop."""
    home = Path(str(module.params["home"]))
    steps, diff = files.ensure_all(module.params["files"], module.check_mode)
    steps += (started if module.params["state"] == "started" else stopped)(module, home)
    result = {"changed": bool(steps), "steps": steps, "msg": "; ".join(steps) or "nothing to do"}
    if module._diff:
        result["diff"] = diff
    return result


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
