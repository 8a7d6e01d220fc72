#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Vault whether the project's logins may do what their jobs need."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_preflight
short_description: Ask Vault whether the logins may do what their jobs need
version_added: 0.1.0
description:
  - Logs in as each of O(logins) and asks, in one call each, which capabilities the token has on the
    paths that its jobs need for the declared certificates. Nothing is made, read or changed.
  - Capabilities are all that can be asked. Whether a policy allows a parameter, how long a wrapping
    token may live, and whether a mount exists, is told by the first real call only.
  - Of the API keys that gateways send, a login with job V(release) is also asked whether they are
    there, and in which version; their values are not read.
  - What is missing does not fail it. RV(ready) says whether everything is there, so that a playbook
    can print the table first and fail at its end.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
options:
  logins:
    description: Who logs in, and for what.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A name for the table.
        type: str
        required: true
      jobs:
        description:
          - What this login is for. V(plan) looks at keys and at the ledger of compromised keys,
            V(request) makes keys and signs with them, V(release) hands keys to hosts, V(retire)
            ends old versions, V(import) brings existing keys in, V(export) hands a key to another
            party, V(ledger) marks a key as compromised, V(backup) takes snapshots.
        type: list
        elements: str
        choices: [plan, request, release, retire, import, export, ledger, backup]
        required: true
      vault:
        description:
          - How to reach HashiCorp Vault or OpenBao, as a map of places; no secret is an option.
            The same as C(vault) of the other modules.
        type: dict
        default: {}
  api_keys:
    description: The API keys of every host's gateways, as the filter C(pki_api_keys) names them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Ask what the logins may do
  pki_preflight:
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    crl_cache_dir: .cache/crl
    logins:
      - name: pipeline
        jobs: [plan, request, ledger]
        vault: "{{ certificates_vault }}"
      - name: release
        jobs: [release]
        vault: "{{ release_vault }}"
"""

RETURN = r"""
ready:
  description: Whether every login has what its jobs need.
  returned: success
  type: bool
rows:
  description: Every need beside what the token has.
  returned: success
  type: list
  elements: dict
  sample:
    - login: pipeline
      job: request
      doing: rotate
      path: transit-nonprod-tls/keys/+/rotate
      keys: [dip-nonprod]
      needed: [update]
      has: [deny]
      ready: false
api_keys:
  description: The API keys that were found, by name. No entry holds anything of the key.
  returned: success
  type: list
  elements: dict
  sample:
    - name: dip-nonprod
      path: kv-nonprod/data/api-keys/dip-nonprod
      version: 1
      created: "2026-11-01T09:00:00.123456789Z"
      text: "…"
problems:
  description: What is missing and what to do, one text each; a login that failed is one, too.
  returned: success
  type: list
  elements: str
table:
  description: The rows as a table.
  returned: success
  type: str
"""

import os

from ansible.module_utils.pki import api_keys, keystores, ledger, preflight, session
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY

SPEC = {
    **INVENTORY,
    "logins": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "jobs": {
                "type": "list",
                "elements": "str",
                "choices": list(preflight.JOBS),
                "required": True,
            },
            "vault": {"type": "dict", "default": {}},
        },
    },
    "api_keys": {"type": "list", "elements": "dict", "default": [], "no_log": False},
}


def needs(inputs, jobs, keys):
    """What these jobs need for everything that is declared."""
    certificates = inputs.declared.certificates.values()
    ledgers = [ledger.mount_of(one) for one in sorted(inputs.environment_classes)]
    found = [
        need
        for job in jobs
        for need in preflight.needs(job, preflight.mounts(certificates, job), ledgers)
    ]
    return [*found, *preflight.of_api_keys(keys if "release" in jobs else ())]


def ask(inputs, login, keys):
    """One login's rows and API keys, and what is wrong with them or with the login itself.

    Who needs nothing does not log in: where hosts make their own keys nobody releases one.
    """
    needed = needs(inputs, login["jobs"], keys)
    if not needed:
        return (), [], []
    there, absent = [], []
    try:
        with keystores.vault(login["vault"], os.environ) as client:
            rows = preflight.check(client, needed)
            lacking = [preflight.refusal(row) for row in rows if row.lacks]
            if "release" in login["jobs"] and not lacking:
                there, absent = look(client, keys)
    except PkiError as error:
        return (), [], [error]
    return rows, there, [*lacking, *absent]


def look(client, keys):
    """Which API keys are there, in which version, and why others are not."""
    there, absent = [], []
    for key in keys:
        try:
            version = api_keys.newest(client, key)
        except PkiError as error:
            absent.append(error)
            continue
        text = f"API key {key.name} is there: version {version.number}, of {version.created}"
        found = {"name": key.name, "path": key.path, "text": text}
        there.append({**found, "version": version.number, "created": version.created})
    return there, absent


def as_result(login, row):
    return {
        "login": login["name"],
        "job": row.job,
        "doing": row.doing,
        "path": row.path,
        "keys": list(row.names),
        "needed": list(row.needed),
        "has": list(row.has),
        "ready": not row.lacks,
    }


def handler(module):
    inputs = session.load(module.params, judged=False)
    keys = [api_keys.ApiKey.of(raw) for raw in module.params["api_keys"]]
    rows, there, problems = [], [], []
    for login in module.params["logins"]:
        found, seen, errors = ask(inputs, login, keys)
        rows += [as_result(login, row) for row in found]
        there += seen
        problems += [f"{login['name']}: {error}" for error in errors]
    return {
        "changed": False,
        "ready": not problems,
        "rows": rows,
        "api_keys": there,
        "problems": problems,
        "table": preflight.table(rows),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
