#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put releases (key, certificate, chain) of accepted certificates on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_release
short_description: Put releases of accepted certificates on a host
version_added: 0.1.0
description:
  - Works as an action on the controller and a module on the host, in one task. The action judges
    every certificate again and sends only what it has just accepted itself.
  - The host compares its release directories with what was accepted. Only for a key that is missing
    there, or is not the certificate's, the action logs in as the release role and has the export
    wrapped for this host; the host checks what the token was made for, and unwraps.
  - Of a certificate with C(delivery=pull) the action makes no token; the host logs in with its own
    identity and reads the one version of the one key.
  - The host refuses a release whose key is on its own list of compromised keys (rule
    C(HOST-COMPROMISED)), whatever the controller says of it.
  - It does not put a release into service; the C(pki_gateway) module does.
  - It refuses to work while Ansible's debugging is on, because that prints or keeps what only the
    host may see.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Compares everything, logs in nowhere and changes nothing.
  diff_mode:
    support: full
    description: Names what is wrong in each release directory; never the content of a key.
options:
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  actions:
    description:
      - The plan's actions. Those of kind V(deploy) for this host are carried out, no others.
      - One with C(held_why) waits on a host where an older certificate is in service that is good
        and named by another V(deploy) or by V(keep). Everywhere else it is carried out at once.
      - Read by the action.
    type: list
    elements: dict
    default: []
  organisations:
    description: The vetted organisations. Read by the action.
    type: dict
    default: {}
  certificates:
    description: The declared certificates. Read by the action.
    type: list
    elements: dict
    default: []
  trust:
    description: The pinned CA files. Read by the action.
    type: dict
    default: {}
  groups:
    description: The hosts of each group, as in C(groups); for entries with C(per_host).
    type: dict
    default: {}
  policy_dir:
    description: Directory of the policies, on the controller. Read by the action.
    type: str
  base_dir:
    description: Directory of relative CA files, on the controller. Read by the action.
    type: str
  certificates_dir:
    description: Directory of the certificates' public files, on the controller. Read by the action.
    type: str
  crl_cache_dir:
    description: Directory of the verified CRLs, on the controller. Read by the action.
    type: str
  crl_sets:
    description:
      - CRLs that C(pki_crl_fetch) returned and did not keep, because it ran in check mode. Read by
        the action.
    type: list
    elements: dict
    default: []
  answers:
    description:
      - CRLs and OCSP responses that C(pki_accept) fetched and did not keep, because it ran in check
        mode. Read by the action.
    type: dict
    default: {}
  compromised:
    description:
      - Keys that must never be used again, by the SHA-256 of their public key, as C(pki_plan)
        returned them from Vault. Read by the action.
    type: dict
    default: {}
  vault:
    description:
      - How the controller reaches the key server as the release role, as a map of places; no
        secret is an option. Read by the action.
    type: dict
    default: {}
  wrap_ttl:
    description: Seconds that a delivery may take. Read by the action.
    type: int
    default: 60
  host_vault:
    description: How the host reaches the key server; several addresses are separated by commas.
    type: dict
    suboptions:
      address:
        description: Address beginning with C(https://).
        type: str
        required: true
      ca_pem:
        description: PEM of the CA that issued the server's certificate.
        type: str
        default: ''
      namespace:
        description: Namespace of the key server.
        type: str
        default: ''
      timeout:
        description: Seconds to wait for an answer.
        type: int
        default: 30
      auth:
        description:
          - How the host logs in as itself, for certificates with C(delivery=pull). Places on the
            host; no secret is an option.
        type: dict
        suboptions:
          method:
            description: By AppRole, or by the host's own TLS certificate.
            type: str
            choices: [approle, cert]
            required: true
          mount:
            description: Where the method is mounted; its name if empty.
            type: str
            default: ''
          role:
            description: The certificate role to log in with; any that fits if empty.
            type: str
            default: ''
          role_id_file:
            description: File of the role id, mode 0600.
            type: path
          secret_id_file:
            description: File of the secret id, mode 0600.
            type: path
          client_cert:
            description: File of the host's certificate, PEM.
            type: path
          client_key:
            description: File of its private key, PEM without encryption, mode 0600.
            type: path
  state:
    description: What the host does; set by the action.
    type: str
    choices: [inspect, present]
    default: inspect
  releases:
    description: The accepted releases; set by the action and refused from a task.
    type: list
    elements: dict
    default: []
  wrap_tokens:
    description: One single-use token a release that needs its key; set by the action.
    type: dict
    default: {}
  void_holds:
    description:
      - Entries whose held release is not good any more, and why; the hold is removed. Set by the
        action.
    type: list
    elements: dict
    default: []
    suboptions:
      entry:
        description: Name of the certificate's entry.
        type: str
        required: true
      why:
        description: Why the hold does not count any more.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Put the accepted releases on the host
  pki_release:
    release_root: /etc/pki/mtls
    actions: "{{ plan.actions }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
    host_vault:
      address: https://vault.example.net:8200
      ca_pem: "{{ lookup('ansible.builtin.file', 'vault-ca.pem') }}"
"""

RETURN = r"""
releases:
  description: One entry a release of this host.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 1
      id: v1-0123456789abcdef
      certificate_sha256: "…"
      problems: []
      changed: false
      needs_key: false
      link: {path: /etc/pki/mtls/dip-nonprod/current, target: releases/v1-0123456789abcdef}
      current: releases/v1-0123456789abcdef
holds:
  description:
    - What a person holds on this host with C(playbooks/rollback.yml), by the name of the entry.
    - The held release is the one listed in RV(releases), as long as it is good.
  returned: success
  type: dict
  sample:
    dip-nonprod:
      release: v1-0123456789abcdef
      by: Ada Admin
      reason: the DIP refuses the new one
      since: "2026-11-22T02:10:00Z"
in_service:
  description: Where the link of each entry points before the change; empty without a link.
  returned: success
  type: dict
void:
  description: Holds that do not count any more as their release is not good, and why.
  returned: success
  type: list
  elements: dict
held:
  description:
    - Certificates that wait, for a deployment window or for the release of a hold, while an older
      one, which is listed in RV(releases), stays in service on this host.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 2
      in_service: 1
      why: it is outside its deployment windows
      until: "2026-11-10T22:00:00Z"
      text: "…"
early:
  description:
    - Certificates that take the place of one in service although their windows are closed, and
      why. C(deployed_early.yml) in the version's directory keeps it, for a person to commit.
  returned: success
  type: list
  elements: dict
  sample:
    - certificate: dip-nonprod
      version: 2
      why: "…"
      directory: certificates/dip-nonprod/2
      text: "…"
refused:
  description: Certificates that are not delivered, or that the host refuses, and the whole reason.
  returned: success
  type: list
  elements: dict
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import os

from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_host import files, hold, pull, release, trail, vault_http

HOST_AUTH = {
    "method": {"type": "str", "choices": ["approle", "cert"], "required": True},
    "mount": {"type": "str", "default": ""},
    "role": {"type": "str", "default": ""},
    **{name: {"type": "path"} for names in pull.NEEDS.values() for name in names},
}
HOST_VAULT = {
    "address": {"type": "str", "required": True},
    "ca_pem": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
    "auth": {"type": "dict", "options": HOST_AUTH},
}
VOID = {name: {"type": "str", "required": True} for name in ("entry", "why")}
SPEC = {
    "release_root": {"type": "path", "required": True},
    "actions": {"type": "list", "elements": "dict", "default": []},
    "organisations": {"type": "dict", "default": {}},
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "trust": {"type": "dict", "default": {}},
    "groups": {"type": "dict", "default": {}},
    "policy_dir": {"type": "str"},
    "base_dir": {"type": "str"},
    "certificates_dir": {"type": "str"},
    "crl_cache_dir": {"type": "str"},
    "crl_sets": {"type": "list", "elements": "dict", "default": []},
    "answers": {"type": "dict", "default": {}},
    "compromised": {"type": "dict", "default": {}},
    "vault": {"type": "dict", "default": {}},
    "wrap_ttl": {"type": "int", "default": 60},
    "host_vault": {"type": "dict", "options": HOST_VAULT},
    "state": {"type": "str", "choices": ["inspect", "present"], "default": "inspect"},
    "releases": {"type": "list", "elements": "dict", "default": []},
    "wrap_tokens": {"type": "dict", "default": {}, "no_log": True},
    "void_holds": {"type": "list", "elements": "dict", "default": [], "options": VOID},
}


def present(module, releases, happened):
    """The states before, after putting every release right under the root's lock."""
    raw = module.params["host_vault"] or {}
    vault = None
    if raw:
        where = (raw["address"], raw["ca_pem"], raw["namespace"], raw["timeout"])
        vault = vault_http.VaultAddress(*where)
    root, tokens = module.params["release_root"], module.params["wrap_tokens"]
    lock = files.HostLock(os.path.join(root, ".lock"))
    with lock, pull.session(vault, raw.get("auth")) as login:
        states = []
        for item in releases:
            state = release.present(root, item, vault, tokens.get(item.key_path), login)
            states.append(state)
            if state.problems:
                happened.append(staged(state))
        for void in module.params["void_holds"]:
            happened += release_hold(root, void["entry"], void["why"])
        return states


def release_hold(root, entry, why):
    """Take a hold away whose release is not good any more; what happened, for the audit trail."""
    held = hold.read(root, entry)
    if held is None:
        return []
    hold.remove(root, entry)
    return [trail.event("hold void", entry, held.version, reason=why)]


def staged(state):
    """That a release directory was put right, for the audit trail."""
    item = state.release
    digests = {name: files.sha256(text.encode()) for name, text in item.contents.items()}
    what = "release staged, with its key" if state.needs_key else "release staged"
    reason = "; ".join(state.problems)
    return trail.event(what, item.certificate, item.version, digests, reason)


def in_service(root, entry):
    """Where the link of an entry points; empty without one."""
    return files.link_target(os.path.join(root, entry, "current")) or ""


def handler(module):
    root = module.params["release_root"]
    releases = [release.Release.of(raw) for raw in module.params["releases"]]
    entries = [item.certificate for item in releases]
    holds, current = (
        hold.read_all(root, entries),
        {name: in_service(root, name) for name in entries},
    )
    with telling() as happened:
        if module.params["state"] == "present" and not module.check_mode:
            states = present(module, releases, happened)
        else:
            states = [release.inspect(root, item) for item in releases]
    for warning in (warning for state in states for warning in state.warnings):
        module.warn(warning)
    wrong = [f"{s.release.directory(root)}: {p}\n" for s in states for p in s.problems]
    wrong += [f"{hold.path(root, one['entry'])}\n" for one in module.params["void_holds"]]
    return {
        "changed": bool(wrong),
        "releases": [state.as_result(root) for state in states if state.refused is None],
        "refused": [state.as_refused() for state in states if state.refused is not None],
        "holds": {name: one.as_json() for name, one in holds.items()},
        "in_service": current,
        "diff": {"before": "".join(wrong), "after": ""},
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
