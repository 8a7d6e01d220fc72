#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one gateway to its model in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_gateway
short_description: Bring all gateways of a host to their models in one transaction
version_added: 0.1.0
description:
  - Writes the gateways' configurations, switches the links to releases and CRL sets, runs each
    product's own configuration test, reloads or starts the gateways and looks at what is served.
  - All gateways named are one change. A link that several share is switched once. When any step
    fails for any of them, the previous files and links of all are put back byte for byte and into
    service.
  - What would make a gateway useless is refused before anything is written, be it a key of another
    certificate, a chain in the wrong order or not whole, an expired certificate, one for
    another purpose, a CRL that is missing, damaged, expired or of another CA, or a TLS version that
    is not allowed.
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
  service:
    description:
      - Who runs the processes. V(daemon) means that this module starts them and needs no privilege.
      - V(systemd) means a service C(pki-gateway-NAME.service) for each, which is written,
        enabled, changed and taken back in the same transaction, and comes up by itself when the
        host boots. It needs root.
    type: str
    choices: [daemon, systemd]
    default: daemon
  keep_releases:
    description: How many releases and CRL sets stay on the host, the one in service included.
    type: int
    default: 3
  gateways:
    description:
      - The gateways of this host that are to be as they are described here. One that is not named
        is left as it is.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the gateway, for messages and its service.
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
          - Directory of this gateway, with its configuration, trust, logs and process files.
          - All gateways of a host are in one directory, which also holds the lock that keeps two
            runs apart, and the record of a change that is under way.
        type: path
        required: true
      state:
        description:
          - V(stopped) is for a gateway whose listeners are all out of service. It is ended with
            every session, nothing of its configuration or service stays, and C(applied.json) tells
            what is out.
        type: str
        choices: [started, stopped]
        default: started
      files:
        description: Public text files of the configuration.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Path below O(gateways[].root).
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
              - V(ingress) must serve the certificate, and answer 403 without a client certificate
                and to a stranger's.
              - V(egress) must listen. Where the far end answered before the change, it must answer
                after it.
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
          path:
            description: What is asked for through an egress listener.
            type: str
            default: /
          own:
            description:
              - Our own certificate, shown as a client's. Where its issuer is one of the listener's
                and it may be used by clients, its chain and CRLs must be found good and its subject
                must be refused.
            type: dict
            suboptions:
              fullchain:
                description: File on the host with the certificate and its chain.
                type: path
                required: true
              key:
                description: File on the host with its private key.
                type: path
                required: true
              issuers:
                description: Issuers that the listener lets in, in the form of RFC 2253.
                type: list
                elements: str
                default: []
          client:
            description: A client that must be let in, where a stand-in of the far end is at hand.
            type: dict
            suboptions:
              certificate:
                description: File on the host with the certificate and its chain.
                type: path
                required: true
              key:
                description: File on the host with its private key.
                type: path
                required: true
              path:
                description: What it asks for.
                type: str
                default: /
              status:
                description: HTTP status that it must get.
                type: int
                default: 200
      closed:
        description:
          - Listeners that are out of service. After the change nobody of this gateway may listen
            there.
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
      drain_seconds:
        description:
          - How long sessions may outlive a reload that takes a compromised key out of service.
        type: int
        default: 60
      tls_protocols:
        description: The only TLS versions that may be configured; empty allows any.
        type: list
        elements: str
        default: []
      log_days:
        description:
          - For how many days logrotate keeps the logs of this gateway on the host, where O(service)
            is V(systemd). C(/etc/logrotate.d/pki-gateway-NAME), and what lets logrotate's own
            service write there, are files of the same transaction.
          - V(0) leaves the logs to somebody else.
        type: int
        default: 0
"""

EXAMPLES = r"""
- name: Bring the gateways of this host to their models
  pki_gateway:
    service: systemd
    gateways:
      - name: dip
        product: nginx
        program: /usr/sbin/nginx
        root: /etc/pki/gateway/dip
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
        tls_protocols: [TLSv1.2, TLSv1.3]
        log_days: 92
"""

RETURN = r"""
gateways:
  description: One entry for each gateway, in the order they were named.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the gateway.
      type: str
    changed:
      description: Whether it was, or in check mode would be, changed.
      type: bool
    reasons:
      description: Why.
      type: list
      elements: str
      sample: ["nginx.conf is not as modelled"]
    steps:
      description: The steps of the transaction that were taken.
      type: list
      elements: str
      sample: ["check", "register undo", "write files", "switch links", "test", "reload", "probe"]
    notes:
      description: What could not be seen, or was as bad before the change.
      type: list
      elements: str
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
OWN = {
    "fullchain": {"type": "path", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "issuers": {"type": "list", "elements": "str", "default": []},
}
CLIENT = {
    "certificate": {"type": "path", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "path": {"type": "str", "default": "/"},
    "status": {"type": "int", "default": 200},
}
PROBE = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["ingress", "egress"], "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "default": ""},
    "certificate_sha256": {"type": "str", "default": ""},
    "path": {"type": "str", "default": "/"},
    "own": {"type": "dict", "options": OWN},
    "client": {"type": "dict", "options": CLIENT},
}
CLOSED = {name: PROBE[name] for name in ("name", "address", "port")}
GATEWAY = {
    "name": {"type": "str", "required": True},
    "product": {"type": "str", "required": True},
    "program": {"type": "path", "required": True},
    "root": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
    "links": {"type": "list", "elements": "dict", "default": [], "options": LINK},
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE},
    "closed": {"type": "list", "elements": "dict", "default": [], "options": CLOSED},
    "drain_seconds": {"type": "int", "default": 60},
    "tls_protocols": {"type": "list", "elements": "str", "default": []},
    "log_days": {"type": "int", "default": 0},
}
SPEC = {
    "service": {"type": "str", "choices": ["daemon", "systemd"], "default": "daemon"},
    "keep_releases": {"type": "int", "default": 3},
    "gateways": {"type": "list", "elements": "dict", "required": True, "options": GATEWAY},
}


def handler(module):
    wanted = transaction.Desired.all_of(module.params)
    before = {desired.name: trail.targets(desired.links) for desired in wanted}
    result = transaction.run_all(wanted, check=module.check_mode)
    happened = []
    for desired, told in zip(wanted, result["gateways"]):  # noqa: B905, Python 3.9 has no strict
        if told["changed"] and not module.check_mode:
            reason = "; ".join(told["reasons"])
            happened.append(trail.of_configuration(desired.name, desired.config, reason))
            happened += trail.of_links(desired.name, before[desired.name], desired.links)
    return {**result, "trail": happened}


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
