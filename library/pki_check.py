#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge collected facts by the policies, and report."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_check
short_description: Judge collected facts by the policies
description:
  - Judges facts that C(pki_facts) collected by every rule of the policies they name, with the
    organisation's overlays and waivers, and says what was found, grouped by object.
  - Findings do not fail it. RV(status) says how the check ended, so that a playbook can print
    everything first and fail at its end.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Judges as otherwise and writes no reports.
  diff_mode:
    support: none
    description: It changes nothing but its reports.
options:
  facts:
    description: The facts, as C(pki_facts) returns them. Either these or O(facts_file).
    type: dict
  facts_file:
    description: A file with facts, as C(pki_facts) writes it, on the controller.
    type: path
  policy_dir:
    description: Directory of the policy files and their schemas, on the controller.
    type: path
    required: true
  base_dir:
    description: The inventory's directory, where C(policy/) and C(waivers.yml) are looked up.
    type: path
    required: true
  level:
    description: How binding a clause is whose finding makes RV(status) V(findings), or more so.
    type: str
    choices: [must, should, recommendation, procedure, information]
    default: should
  report_dir:
    description:
      - Directory that receives C(result.json), C(facts.json), C(result.sarif),
        C(result.junit.xml) and C(summary.md); after a fault only the first. None when it is left
        out.
      - They are reports with a date, like a line in a log, and do not count as a change.
    type: path
"""

EXAMPLES = r"""
- name: Judge the facts
  pki_check:
    facts: "{{ facts.facts }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    report_dir: reports
  register: check

- name: Say what was found
  ansible.builtin.debug:
    msg: "{{ check.text.splitlines() }}"

- name: Fail when something has to be done
  ansible.builtin.assert:
    that: check.status == 'clean'
"""

RETURN = r"""
status:
  description: How the check ended, V(clean), V(findings) or V(fault).
  returned: success
  type: str
counts:
  description: How many rules ended how, over all objects.
  returned: success
  type: dict
  sample: {"passed": 120, "failed": 1, "waived": 0, "not_applicable": 8, "not_evaluated": 0}
findings:
  description: How many findings are at or above O(level).
  returned: success
  type: int
faults:
  description: What kept something from being judged, each with rule, found, expected and where.
  returned: success
  type: list
  elements: dict
text:
  description: Everything that was found, by object, the worst first, as C(pki.check) prints it.
  returned: success
  type: str
"""

from pathlib import Path

from ansible.module_utils.pki import check_run, documents, policy
from ansible.module_utils.pki.reports import console, files
from ansible.module_utils.pki_ansible import run_module

SPEC = {
    "facts": {"type": "dict"},
    "facts_file": {"type": "path"},
    "policy_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "level": {
        "type": "str",
        "choices": ["must", "should", "recommendation", "procedure", "information"],
        "default": "should",
    },
    "report_dir": {"type": "path"},
}


def handler(module):
    params = module.params
    if params["facts"] is not None:
        collected = documents.from_json(params["facts"], "option facts")
    else:
        collected = check_run.saved(Path(params["facts_file"]))
    result = check_run.judge(
        collected,
        Path(params["policy_dir"]),
        inventory=Path(params["base_dir"]),
        level=params["level"],
    )
    if params["report_dir"] and not module.check_mode:
        files.write(params["report_dir"], result, collected)
    return {
        "changed": False,
        "status": result.status.value,
        "counts": {outcome.value: result.totals[outcome] for outcome in policy.Outcome},
        "findings": len(result.failing),
        "faults": [dict(fault) for fault in result.faults],
        "text": console.render(result),
    }


def main():
    run_module(
        handler,
        SPEC,
        supports_check_mode=True,
        required_one_of=[("facts", "facts_file")],
        mutually_exclusive=[("facts", "facts_file")],
    )


if __name__ == "__main__":
    main()
