#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a gateway host: gateways, releases, CRL sets, listeners, clock and logs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_host_facts
short_description: Look at a gateway host without changing anything
version_added: 0.1.0
description:
  - Tells what is there, so that the controller can judge it. Nothing is judged on the host.
  - Reads each gateway's configuration back, looks at releases and CRL sets, and tries every
    listener in real handshakes from the host itself, since an egress listens on its loopback.
  - An egress is called only when its far end is one that the gateway has to refuse, judged by the
    gateway's own CA and CRL files. The real far end sees a handshake, and no request.
  - Of a private key it tells mode, owner and the digest of the public key, nothing else.
  - What cannot be read is told as such and does not hide the rest.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: There is nothing to show.
options:
  gateways:
    description: This host's gateways as models, as the filter C(pki_gateway_models) makes them.
    type: list
    elements: dict
    required: true
  programs:
    description: Gateway programs on the host by product, where they are not in their usual place.
    type: dict
    default: {}
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
    required: true
  gateway_root:
    description: Directory on the host below which each gateway has a directory of its name.
    type: path
    required: true
  log_archive:
    description:
      - The archive that the gateways' logs go to, C(days) and C(place), as somebody declares it.
      - Handed on with the other facts; the host knows nothing of it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at this host
  pki_host_facts:
    gateways: "{{ verify_models }}"
    release_root: /etc/pki/mtls
    crl_root: /var/lib/pki-crl
    gateway_root: /etc/pki/gateway
  register: host_facts
"""

RETURN = r"""
host:
  description: What was seen.
  returned: success
  type: dict
  contains:
    gateways:
      description: Each gateway's configuration as it was read back.
      type: list
      elements: dict
    releases:
      description: Release directories, and what protects their keys.
      type: list
      elements: dict
    crls:
      description: The CRL sets in service, in PEM up to a bound.
      type: list
      elements: dict
    crl_timers:
      description: The timers C(refresh) and C(guard), each C(active), C(inactive) or C(none).
      type: dict
    endpoints:
      description: What every listener did in handshakes.
      type: list
      elements: dict
    clock:
      description: The kernel's clock discipline, in seconds.
      type: dict
    logs:
      description: The gateways' logs and for how many days their entries stay.
      type: list
      elements: dict
    log_archive:
      description: The archive as it was declared.
      type: dict
    roots:
      description: The directories that were looked at, C(release), C(crl) and C(gateway).
      type: dict
  sample:
    releases:
      - certificate: dip-nonprod
        release: v1-0123456789abcdef
        in_service: true
        key: {mode: "0600", owner: root, group: root, directory_mode: "0755", links: 1}
        spki_sha256: "…"
"""

import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import (
    crl_units,
    gateway_facts,
    gateways,
    observe_endpoints,
    observe_files,
    observe_host,
)

SPEC = {
    "gateways": {"type": "list", "elements": "dict", "required": True},
    "programs": {"type": "dict", "default": {}},
    "release_root": {"type": "path", "required": True},
    "crl_root": {"type": "path", "required": True},
    "gateway_root": {"type": "path", "required": True},
    "log_archive": {"type": "dict", "default": {}},
}


ROOTS = ("release", "crl", "gateway")


def gateway_of(model, programs):
    """One gateway's configuration, with its name in the inventory."""
    product, root = str(model["product"]), str(model["root"])
    seen = gateway_facts.observe(product, str(programs.get(product, "")), root)
    return {**seen, "gateway": str(model["name"])}


def log_directory(model):
    """Where the gateway writes its logs."""
    adapter = gateways.adapter(str(model["product"]))
    return os.path.dirname(adapter.error_log(str(model["root"])))


def named(models, field):
    """What the models name, each once."""
    return sorted({str(name) for model in models for name in model[field]})


def handler(module):
    models = module.params["gateways"]
    return {
        "changed": False,
        "host": {
            "gateways": [gateway_of(model, module.params["programs"]) for model in models],
            "releases": observe_files.releases(
                module.params["release_root"], named(models, "certificates")
            ),
            "crls": observe_files.crl_sets(module.params["crl_root"], named(models, "trusts")),
            "crl_timers": crl_units.observed(),
            "endpoints": [seen for model in models for seen in observe_endpoints.observe(model)],
            "clock": observe_host.clock(),
            "logs": observe_host.logs(sorted({log_directory(model) for model in models})),
            "log_archive": module.params["log_archive"],
            "roots": {kind: module.params[f"{kind}_root"] for kind in ROOTS},
        },
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
