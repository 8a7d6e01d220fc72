#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take compromised keys out of service on a host, for good."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_out_of_service
short_description: Take compromised keys out of service on a host
version_added: 0.1.0
description:
  - Puts the keys on the host's list of compromised keys, which only ever grows. Every staging,
    every switch and every rollback of a gateway reads it and refuses such a key.
  - With O(state=absent), stops every gateway that still serves one, and then removes the private
    keys from all releases and from the keys that the host keeps itself, and C(current) links that
    lead to such a release. Blocks are not overwritten, which journals, snapshots and flash would
    not honour.
  - Keys that earlier runs listed are looked for, too. A run that was killed is finished by the
    next.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would be listed, stopped and removed, and changes nothing.
  diff_mode:
    support: full
    description: Shows the list and names the files; never the content of a key.
options:
  release_root:
    description: Directory of the releases on the host. The list is C(compromised.json) in it.
    type: path
    required: true
  gateway_root:
    description: Directory of the gateways on the host; none is looked at when it is empty.
    type: str
    default: ''
  keys:
    description: The compromised keys, one entry a certificate.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: The entry's name, for messages.
        type: str
        required: true
      spki_sha256:
        description: SHA-256 of each public key (SubjectPublicKeyInfo), in lower-case hexadecimal.
        type: list
        elements: str
        required: true
  state:
    description:
      - V(listed) only puts the keys on the list, so that a gateway can be brought to a
        configuration without them before they are gone. V(absent) does everything.
    type: str
    choices: [listed, absent]
    default: absent
"""

EXAMPLES = r"""
- name: Take a compromised key out of service
  pki_out_of_service:
    release_root: /etc/pki/mtls
    gateway_root: /etc/pki/gateway
    keys:
      - certificate: dip-nonprod
        spki_sha256: ["{{ spki_sha256 }}"]
"""

RETURN = r"""
listed:
  description: Digests of the keys that are new on the host's list, or would be.
  returned: success
  type: list
  elements: str
removed:
  description:
    - The releases and host-kept keys whose private key was removed, or would be. C(in_service) says
      that C(current) led there.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      place: releases/v1-0123456789abcdef
      version: 1
      spki_sha256: "…"
      key: true
      in_service: true
stopped:
  description: Gateways that still served such a key and were stopped, or would be.
  returned: success
  type: list
  elements: str
sentences:
  description: The same for a person.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: success
  type: list
  elements: dict
"""

import time

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import compromised, files, out_of_service

KEY = {
    "certificate": {"type": "str", "required": True},
    "spki_sha256": {"type": "list", "elements": "str", "required": True, "no_log": False},
}
SPEC = {
    "release_root": {"type": "path", "required": True},
    "gateway_root": {"type": "str", "default": ""},
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": KEY,
        "no_log": False,
    },
    "state": {"type": "str", "choices": ["listed", "absent"], "default": "absent"},
}


def diff(root, before, outcome):
    """The list, and what was removed, as diffs."""
    path = compromised.path(root)
    after = compromised.text(outcome.listed.values())
    found = []
    if outcome.added:
        text = before.decode("utf-8", "replace")
        header = {"before_header": path, "after_header": path}
        found.append({**header, "before": text, "after": after})
    gone = [f"{path}\n" for one in outcome.removed for path in one.paths(root)]
    gone += [f"{one.root} is in service\n" for one in outcome.stopped]
    if gone:
        found.append({"before": "".join(gone), "after": ""})
    return found


def sentences(outcome, check):
    """What was done, one sentence each."""
    would = "would be " if check else ""
    lines = [
        f"{one.certificate}: key {one.spki_sha256} {would}listed as compromised"
        for one in outcome.added
    ]
    lines += [
        f"{one.name}: stopped, as it served the compromised key of {one.listed.certificate}"
        if not check
        else f"{one.name}: would be stopped, unless the gateway role takes the listeners out"
        for one in outcome.stopped
    ]
    lines += [
        f"{one.certificate}: the private key of {one.place} {would}removed; its blocks are not "
        "overwritten"
        for one in outcome.removed
    ]
    return lines


def trail(outcome):
    """The changes as the audit trail wants them."""
    events = [("key listed as compromised", one.certificate, 0, one) for one in outcome.added]
    events += [
        ("compromised key removed from a host", one.certificate, one.version, one)
        for one in outcome.removed
    ]
    events += [
        ("gateway stopped for a compromised key", one.listed.certificate, 0, one.listed)
        for one in outcome.stopped
    ]
    return [
        {
            "event": event,
            "certificate": certificate,
            "version": version,
            "artefacts": {"public key": about.spki_sha256},
            "by": "",
            "reason": "",
            "vault": [],
        }
        for event, certificate, version, about in events
    ]


def handler(module):
    root, check = module.params["release_root"], module.check_mode
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    keys = compromised.wanted(module.params["keys"], now)
    before = files.read(compromised.path(root)) or b""
    if module.params["state"] == "listed":
        added = out_of_service.listing(root, keys, check=check)
        listed = {**out_of_service.known(root), **{one.spki_sha256: one for one in added}}
        outcome = out_of_service.Outcome(added, [], [], listed, [])
    else:
        outcome = out_of_service.run(root, module.params["gateway_root"], keys, check=check)
    if outcome.failures:
        raise outcome.failures[0]
    return {
        "changed": outcome.changed,
        "listed": [one.spki_sha256 for one in outcome.added],
        "removed": [one.as_result() for one in outcome.removed],
        "stopped": [one.name for one in outcome.stopped],
        "sentences": sentences(outcome, check),
        "diff": diff(root, before, outcome),
        "trail": [] if check else trail(outcome),
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
