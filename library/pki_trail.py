#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make sure that the audit trail can be written before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_trail
short_description: Open the audit trail of a run
version_added: 0.1.0
description:
  - The first task of every play that changes something. It refuses while the trail cannot be
    written, was cut or changed at its end, or while the callback plugin C(pki_trail), which writes
    the lines, is not loaded. So nothing is changed that has no line.
  - Packs months whose time as live logs is over, and removes those whose time in the archive is
    over, as the policies of the declared certificates say.
  - With O(state=written), the last task, it fails if a change of this run has no line.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what it would refuse, pack and remove; makes nothing.
  diff_mode:
    support: none
    description: The trail is not shown.
options:
  state:
    description: Whether the trail is opened, or whether everything is asked to be in it.
    type: str
    choices: [opened, written]
    default: opened
  directory:
    description: Directory of the trail; made with mode 0700 when it is missing.
    type: path
    required: true
  base_dir:
    description: The inventory's directory.
    type: path
    required: true
  policy_dir:
    description: Directory of the policy files.
    type: path
    required: true
  certificates:
    description: The declared certificates, for the policies and environments they name.
    type: list
    elements: dict
    default: []
  run:
    description: What names this run; set by the action.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Open the audit trail
  pki_trail:
    directory: /var/lib/certificates/trail
    base_dir: "{{ inventory_dir }}"
    policy_dir: policies
    certificates: "{{ certificates }}"
"""

RETURN = r"""
opened:
  description: The trail, and what this run's lines say besides.
  returned: with O(state=opened)
  type: dict
  sample:
    directory: /var/lib/certificates/trail
    inventory: nonprod
    classes: [nonprod]
    commit: 8ee2a48f00d5c94c1d6a1f3b8a9a1b6c2b8e4f10
sentences:
  description: What was packed and removed.
  returned: with O(state=opened)
  type: list
  elements: str
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.pki import git_log, inventory, policy_files, trail_file
from ansible.module_utils.pki_ansible import run_module

SPEC = {
    "state": {"type": "str", "choices": ["opened", "written"], "default": "opened"},
    "directory": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "policy_dir": {"type": "path", "required": True},
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "run": {"type": "dict", "default": {}},
}


def policies(params, now):
    base = Path(params["base_dir"])
    wanted = inventory.policy_names(params["certificates"])
    folder = Path(params["policy_dir"])
    return policy_files.load_policies(folder, wanted, base / policy_files.OVERLAYS, now)


def kept(rules):
    """Days that logs are kept live and in the archive: the longest that any policy asks for.

    None where no policy says both: then nothing is ever packed or removed.
    """
    told = [one for one in rules.values() if "log_archive_days" in one.parameters]
    if not told:
        return None
    return (
        max(one.number("log_live_days") for one in told),
        max(one.number("log_archive_days") for one in told),
    )


def classes(rules, certificates):
    """The environment classes that are declared; what is declared wrongly is said elsewhere."""
    found = set()
    for entry in certificates:
        policy = rules.get(str(entry.get("policy")))
        known = policy.environments if policy else {}
        environment = known.get(str(entry.get("environment")))
        if environment is not None:
            found.add(environment.environment_class)
    return sorted(found)


def handler(module):
    params = module.params
    now = datetime.now(UTC)
    directory = Path(params["directory"]).absolute()
    rules = policies(params, now)
    opened = {
        "directory": str(directory),
        "inventory": Path(params["base_dir"]).name,
        "classes": classes(rules, params["certificates"]),
        "commit": git_log.clean_commit(Path(params["base_dir"])),
    }
    days = kept(rules)
    if module.check_mode:
        trail_file.look(directory)
        done = trail_file.outdated(directory, now, *days) if days else ()
    else:
        trail_file.prepare(directory)
        ours = {**params["run"], **opened, "host": "localhost"}
        run = {name: value for name, value in ours.items() if name != "directory"}
        done = trail_file.rotate(directory, now, *days, run) if days else ()
    return {"changed": bool(done), "opened": opened, "sentences": list(done)}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
