#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one gateway to its model in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_gateway
short_description: Bring one gateway to its model in one transaction
version_added: 0.1.0
description:
  - Writes the gateway's configuration, switches the links to releases and CRL sets, runs the
    product's own configuration test, reloads or starts the gateway and looks at what is served.
  - When any step fails, the previous files and links are put back byte for byte and into service.
  - A run that was killed leaves a record of the previous state; the next run does the change again.
  - A change that the running process cannot take over by a reload restarts it.
  - A release whose key is on the host's list of compromised keys is never switched to, and never
    gone back to. A change that fails where the state before had such a key stops the gateway.
  - A configuration that was edited, a gateway that is not running, and one that was reloaded by
    somebody else are found and put right.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Compares everything and changes nothing.
  diff_mode:
    support: full
    description: Shows configuration files and link targets; all of it is public text.
options:
  name:
    description: Name of the gateway, for messages.
    type: str
    required: true
  product:
    description: Which adapter drives it.
    type: str
    required: true
  program:
    description: The gateway's program on the host.
    type: path
    required: true
  root:
    description:
      - Directory of this gateway; its configuration, trust, logs and process files are below it.
      - The lock that keeps two runs apart is in the directory above.
    type: path
    required: true
  service:
    description:
      - Who runs the process. V(daemon) means that this module starts it and needs no privilege.
      - V(systemd) means a service C(pki-gateway-NAME.service) of its own, which is written,
        enabled, changed and taken back in the same transaction, and comes up by itself when the
        host boots. It needs root.
    type: str
    choices: [daemon, systemd]
    default: daemon
  files:
    description: Public text files of the configuration.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path below O(root).
        type: str
        required: true
      content:
        description: The whole text.
        type: str
        required: true
  links:
    description: Symbolic links that are switched together with the configuration.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the link.
        type: path
        required: true
      target:
        description: Where it points, relative to its directory.
        type: str
        required: true
  probes:
    description: Listeners and what must be seen there after the change.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the listener, for messages.
        type: str
        required: true
      kind:
        description:
          - V(ingress) must serve the certificate and answer 403 without a client certificate.
          - V(egress) must listen.
        type: str
        choices: [ingress, egress]
        required: true
      address:
        description: Address to connect to.
        type: str
        required: true
      port:
        description: Port to connect to.
        type: int
        required: true
      server_name:
        description: Name sent as SNI.
        type: str
        default: ''
      certificate_sha256:
        description: SHA-256 of the leaf certificate that must be served, in hexadecimal.
        type: str
        default: ''
  closed:
    description:
      - Listeners that are out of service. After the change nobody of this gateway may listen there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the listener, for messages.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        required: true
  state:
    description:
      - V(stopped) is for a gateway whose listeners are all out of service. It is ended with every
        session, nothing of its configuration or service stays, and C(applied.json) tells what is
        out.
    type: str
    choices: [started, stopped]
    default: started
  drain_seconds:
    description: How long sessions may outlive a reload that takes a compromised key out of service.
    type: int
    default: 60
  keep_releases:
    description: How many releases and CRL sets stay on the host, the one in service included.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: Bring the gateway to its model
  pki_gateway:
    name: dip
    product: nginx
    program: /usr/sbin/nginx
    root: /etc/pki/gateway/dip
    service: systemd
    files:
      - path: nginx.conf
        content: "{{ lookup('ansible.builtin.template', 'nginx/gateway.conf.j2') }}"
    links:
      - path: /etc/pki/mtls/dip-nonprod/current
        target: releases/v1-0123456789abcdef
    probes:
      - name: dip-webhook
        kind: ingress
        address: 127.0.0.1
        port: 8443
        server_name: energydip-nonprod.example-energy.co.uk
        certificate_sha256: "{{ release.releases[0].certificate_sha256 }}"
"""

RETURN = r"""
name:
  description: Name of the gateway.
  returned: success
  type: str
reasons:
  description: Why the gateway was, or in check mode would be, changed.
  returned: success
  type: list
  elements: str
  sample: ["nginx.conf is not as modelled"]
steps:
  description: The steps of the transaction that were taken.
  returned: success
  type: list
  elements: str
  sample: ["register undo", "write files", "switch links", "test", "reload", "probe", "record"]
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import trail, transaction

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
}
LINK = {
    "path": {"type": "path", "required": True},
    "target": {"type": "str", "required": True},
}
PROBE = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["ingress", "egress"], "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "default": ""},
    "certificate_sha256": {"type": "str", "default": ""},
}
CLOSED = {name: PROBE[name] for name in ("name", "address", "port")}
SPEC = {
    "name": {"type": "str", "required": True},
    "product": {"type": "str", "required": True},
    "program": {"type": "path", "required": True},
    "root": {"type": "path", "required": True},
    "service": {"type": "str", "choices": ["daemon", "systemd"], "default": "daemon"},
    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
    "links": {"type": "list", "elements": "dict", "default": [], "options": LINK},
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE},
    "closed": {"type": "list", "elements": "dict", "default": [], "options": CLOSED},
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
    "drain_seconds": {"type": "int", "default": 60},
    "keep_releases": {"type": "int", "default": 3},
}


def handler(module):
    desired = transaction.Desired.of(module.params)
    before = trail.targets(desired.links)
    result = transaction.run(desired, check=module.check_mode)
    happened = []
    if result["changed"] and not module.check_mode:
        reason = "; ".join(result["reasons"])
        happened = [
            trail.of_configuration(desired.name, desired.config, reason),
            *trail.of_links(desired.name, before, desired.links),
        ]
    return {**result, "trail": happened}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
