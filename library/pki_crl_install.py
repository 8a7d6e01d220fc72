#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put verified CRL sets on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_crl_install
short_description: Put verified CRL sets on a host, and have it keep them fresh
version_added: 0.1.0
description:
  - Writes each set into a directory named by its content. The gateway's transaction switches the
    C(current) link to it, so a set that the gateway cannot load is never in service.
  - What the controller brings is judged again on the host, and of every CA the newest CRL of
    controller and host is in the set. A trust entry for which the controller brings nothing keeps
    what it has.
  - A set that is empty, or whose digest is not the stated one, is refused.
  - When each CRL was last confirmed by its source is recorded beside the sets. Nothing a gateway
    reads depends on that file, so writing it is not reported as a change.
  - With O(watch) the host goes on by itself. It gets the program that polls the CAs and the one
    that refuses what is too old, made of the code that this module runs, and two timers of systemd
    that start them. An edit of program or units is put back. A unit that a person masked is left,
    and is a problem.
  - With O(service=daemon) there are no timers. Then this module looks at the age once in every run.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Names the sets that are written; CRLs themselves are too large to show.
options:
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
  sets:
    description: The sets as the C(pki_crl_fetch) module returns them; other keys are ignored.
    type: list
    elements: dict
    required: true
  watch:
    description:
      - What the host is to watch, as the filter C(pki_crl_watch) makes it.
      - Left out, the host goes on as it does. Empty, it watches nothing from now on - timers,
        program and what they recorded are removed, and what is in force is the CRL set again.
    type: dict
  service:
    description: Who starts the two programs. C(daemon) is nobody, for hosts without systemd.
    type: str
    choices: [daemon, systemd]
    default: daemon
  program_dir:
    description: Directory of the two programs on the host.
    type: path
    default: /usr/local/lib/pki-crl
  units_dir:
    description: Directory of the units. Any other than the default is read by no systemd.
    type: path
    default: /etc/systemd/system
"""

EXAMPLES = r"""
- name: Put the CRL sets on the host
  pki_crl_install:
    crl_root: /var/lib/pki-crl
    sets: "{{ crls.sets }}"

- name: Put the CRL sets on the host and have it keep them fresh
  pki_crl_install:
    crl_root: /var/lib/pki-crl
    sets: "{{ crls.sets }}"
    watch: >-
      {{ crls.watch | pki_crl_watch(host={'name': inventory_hostname, 'groups': group_names},
         gateway_root='/etc/pki/gateway', metrics_dir='/var/lib/pki-crl/metrics') }}
    service: systemd
"""

RETURN = r"""
sets:
  description: One entry a set.
  returned: success
  type: list
  elements: dict
  sample:
    - trust: dip-nonprod
      id: 0123456789abcdef
      problem: ""
      changed: false
      next_update: "2026-01-02T00:00:00Z"
      link: {path: /var/lib/pki-crl/dip-nonprod/current, target: sets/0123456789abcdef}
remarks:
  description: What was brought and not taken, as text; also shown as warnings.
  returned: success
  type: list
  elements: str
alarms:
  description: What is wrong with the CRLs of this host, the most urgent first, and what to do.
  returned: success
  type: list
  elements: str
problems:
  description: What keeps the host from watching its CRLs and is left to a person.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module

# crl_guard and crl_refresh: so that Ansible brings them; the timers' programs are made of them.
from ansible.module_utils.pki_host import (
    crl_alarms,
    crl_guard,  # noqa: F401
    crl_merge,
    crl_program,
    crl_refresh,  # noqa: F401
    crl_setup,
    crl_units,
    crl_watch,
    files,
    trail,
)

SPEC = {
    "crl_root": {"type": "path", "required": True},
    "sets": {"type": "list", "elements": "dict", "required": True},
    "watch": {"type": "dict"},
    "service": {"type": "str", "choices": list(crl_setup.SERVICES), "default": "daemon"},
    "program_dir": {"type": "path", "default": crl_program.PROGRAM_DIR},
    "units_dir": {"type": "path", "default": crl_units.UNITS_DIR},
}


def staged(module, watch):
    """Of every trust entry the set it is to have, after putting it there."""
    params = module.params
    found = crl_merge.merge(params["crl_root"], watch, params["sets"], check=module.check_mode)
    wrong = [one for one in found if one.problem]
    return {
        "changed": bool(wrong),
        "sets": [one.as_result() for one in found],
        "remarks": [f"{one.trust}: {remark}" for one in found for remark in one.remarks],
        "diff": {"before": "".join(f"{one.file}: {one.problem}\n" for one in wrong), "after": ""},
        "trail": [
            trail.event("CRL set installed", artefacts={f"CRLs of {one.trust}": one.sha256})
            for one in ([] if module.check_mode else wrong)
        ],
    }


def wanted(params):
    """How this host is to watch its CRLs, or None where nobody says."""
    if params["watch"] is None:
        return None
    return crl_setup.of(
        crl_watch.of(params["watch"]) if params["watch"] else None,
        crl_root=params["crl_root"],
        service=params["service"],
        program_dir=params["program_dir"],
        units_dir=params["units_dir"],
    )


def waits(result):
    """Whether a set is there that the gateways' transaction has not switched to."""
    links = [entry["link"] for entry in result["sets"]]
    return any(files.link_target(link["path"]) != link["target"] for link in links)


def handler(module):
    root, check = module.params["crl_root"], module.check_mode
    setup = wanted(module.params)
    done = [setup.keep_watch(check=check)] if setup else []
    watch = setup.watch if setup else crl_watch.load(root)
    result = staged(module, watch)
    if setup:
        done.append(setup.arrange(check=check))
        if not waits(result):
            done.append(setup.look(check=check))
    for remark in result["remarks"]:
        module.warn(remark)
    settled = not any(one.changes for one in done)
    ticking = bool(setup) and setup.runs_timers and settled
    changes = crl_setup.diff(done)
    result["changed"] = result["changed"] or bool(changes)
    result["diff"]["before"] += changes
    result["alarms"] = crl_alarms.alarms(root, watch, ticking=ticking)
    result["problems"] = [problem for one in done for problem in one.problems]
    if changes and not check:
        digests = {"watch.json": files.sha256(watch.encode())} if watch else {}
        result["trail"].append(trail.event("watch over CRLs changed", artefacts=digests))
    return result


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
