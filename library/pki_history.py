#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the story of one certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_history
short_description: Tell the story of one certificate
version_added: 0.1.0
description:
  - Tells, in order, what the audit trail, the git history of the certificate's directory, its
    records and the ledger of compromised keys say of it. Reads only, and asks no server.
  - A trail that was changed does not fail it. RV(faults) says so, so that a playbook can say it
    first, tell the story and fail at its end.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Tells the same and writes no file.
  diff_mode:
    support: none
    description: It changes nothing but O(file).
options:
  certificate:
    description: Name of the entry, or ENTRY/HOST. It need not be declared any more.
    type: str
    required: true
  directory:
    description: Directory of the audit trail.
    type: path
    required: true
  certificates_dir:
    description: Directory of the requests, replies and certificates.
    type: path
    required: true
  base_dir:
    description: The inventory's directory.
    type: path
    required: true
  since:
    description: Tell nothing older than this day, or moment, in UTC.
    type: str
    default: ""
  head:
    description:
      - SHA-256 of a line of the trail, as the end of an earlier run printed it. Without a line of
        that digest the trail was written anew since.
    type: str
    default: ""
  file:
    description: A file that gets the story as JSON, nothing shortened.
    type: path
"""

EXAMPLES = r"""
- name: Tell what became of it
  pki_history:
    certificate: dip-nonprod
    directory: "{{ inventory_dir }}/.trail"
    certificates_dir: "{{ inventory_dir }}/certificates"
    base_dir: "{{ inventory_dir }}"
"""

RETURN = r"""
story:
  description: Time, who tells it, what, who; the evidence below each.
  returned: success
  type: list
  elements: str
told:
  description: The same as values.
  returned: success
  type: list
  elements: dict
  sample:
    - at: "2026-11-22T12:00:00.123456+00:00"
      what: "v1: certificate accepted"
      who: run by pipeline, site.yml
      evidence: ["accepted.yml 2f1d…"]
      source: trail
faults:
  description: What shows that the trail was changed, one sentence each.
  returned: success
  type: list
  elements: str
notes:
  description: What could not be read, and which witness there is not.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.pki import report, story, story_files
from ansible.module_utils.pki_ansible import run_module

SPEC = {
    "certificate": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "certificates_dir": {"type": "path", "required": True},
    "base_dir": {"type": "path", "required": True},
    "since": {"type": "str", "default": ""},
    "head": {"type": "str", "default": ""},
    "file": {"type": "path"},
}


def handler(module):
    params = module.params
    found = story_files.tell(
        params["certificate"],
        trail_dir=Path(params["directory"]),
        certificates_dir=Path(params["certificates_dir"]),
        base_dir=Path(params["base_dir"]),
        since=story.since(params["since"]),
        head=params["head"].lower(),
    )
    document = {
        "certificate": params["certificate"],
        "told": [one.as_result() for one in found.told],
        "faults": list(found.faults),
        "notes": found.notes,
    }
    if params["file"] and not module.check_mode:
        report.write(params["file"], document)
    return {"changed": False, "story": story.lines(found.told), **document}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
