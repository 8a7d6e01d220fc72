#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the certificate authorities of the lab and what they issue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_ca
short_description: Make the certificate authorities of the lab and what they issue
description:
  - Each CA lives in a PKI mount of its own. Its key is born there and stays there.
  - Each peer has a key and a certificate from one of them in a directory of its own. An expired
    peer's certificate has really ended, a revoked peer's is really in the CRL.
  - Publishes revocations a second time with a critical issuingDistributionPoint, as public CAs do,
    and with their reasons, where C(lab_revoke) was told some.
  - Keeps what still is what it is meant to be. A CRL is signed anew only after a revocation, or
    when it is about to end.
  - All of it in one call, because a module run costs more than everything it does here.
author:
  - The project's maintainers (@project)
attributes:
  check_mode:
    description: Reports what it would do and changes nothing.
    support: full
  diff_mode:
    description: Returns the steps as text, never a secret.
    support: none
options:
  vault:
    description: How to reach the lab's OpenBao.
    type: dict
    required: true
    suboptions:
      address:
        description: Its address.
        type: str
        required: true
      ca_cert:
        description: File with the CA certificate it is pinned to.
        type: path
        required: true
      auth_method:
        description: How to log in.
        type: str
        choices: [approle]
        default: approle
      role_id_file:
        description: File with the role id, mode 0600.
        type: path
        required: true
      secret_id_file:
        description: File with the secret id, mode 0600.
        type: path
        required: true
  directory:
    description: Directory for the public CA files.
    type: path
    required: true
  base_url:
    description: Address in front of CRLs, issuer certificates and OCSP.
    type: str
    required: true
  authorities:
    description: The CAs, parents before children.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name, and base name of its file.
        type: str
        required: true
      mount:
        description: Its PKI mount.
        type: str
        required: true
      parent:
        description: Name of the CA that signs it. Empty for a root.
        type: str
        default: ""
      common_name:
        description: CN of its certificate.
        type: str
        required: true
      bits:
        description: Size of its RSA key.
        type: int
        default: 2048
      ttl:
        description: Validity of its certificate.
        type: str
        required: true
  roles:
    description: Signing roles.
    type: list
    elements: dict
    default: []
    suboptions:
      mount:
        description: PKI mount.
        type: str
        required: true
      name:
        description: Name of the role.
        type: str
        required: true
      parameters:
        description: Its parameters, as the engine returns them.
        type: dict
        required: true
  vetting:
    description: One more signing role per organisation, with the subject that the CA has vetted.
    type: dict
    required: true
    suboptions:
      mount:
        description: PKI mount.
        type: str
        required: true
      parameters:
        description: What these roles have in common.
        type: dict
        required: true
      organisations:
        description: The organisations as the inventory has them. Their C(subject) is used.
        type: dict
        required: true
  peers_directory:
    description: Directory above the peers' directories.
    type: path
    required: true
  peers:
    description: The peers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name, and name of its directory.
        type: str
        required: true
      mount:
        description: PKI mount of the CA that signs it.
        type: str
        required: true
      common_name:
        description: CN of its certificate.
        type: str
        required: true
      dns:
        description: DNS names of its certificate.
        type: list
        elements: str
        default: []
      state:
        description: What became of its certificate.
        type: str
        choices: [good, expired, revoked]
        default: good
  ledger:
    description: File in which C(lab_revoke) keeps revocations with their reasons.
    type: path
    required: true
  published:
    description: Lists to publish.
    type: list
    elements: dict
    default: []
    suboptions:
      mount:
        description: PKI mount of the CA.
        type: str
        required: true
      path:
        description: File to write.
        type: path
        required: true
      uri:
        description:
          - Address in the issuingDistributionPoint, as public CAs have it.
          - Empty for the list at the CA's own place, without this extension, which is published
            once a revocation has a reason.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: A root
  lab_ca:
    vault:
      address: https://127.0.0.1:8200
      ca_cert: /srv/lab/vault/tls/ca.pem
      role_id_file: /srv/lab/secrets/lab-ca.role_id
      secret_id_file: /srv/lab/secrets/lab-ca.secret_id
    directory: /srv/lab/ca
    base_url: http://127.0.0.1:8080
    authorities:
      - name: root
        mount: pki-root
        common_name: Lab Root
        ttl: 87600h
    vetting:
      mount: pki-root
      parameters: {key_type: rsa, key_bits: 4096}
      organisations: {}
    peers_directory: /srv/lab/peers
    peers:
      - name: revoked
        mount: pki-root
        common_name: energydip-nonprod.dip.example
        state: revoked
    ledger: /srv/lab/revocations.json
    published:
      - mount: pki-root
        path: /srv/lab/farend/published/root.crl
        uri: http://127.0.0.1:8080/published/root.crl
"""

RETURN = r"""
authorities:
  description: Per CA its file, the SHA-256 of its DER and the addresses of its CRL.
  returned: success
  type: dict
  sample: {root: {file: /srv/lab/ca/root.pem, sha256: 0f3a, crl_urls: ["http://127.0.0.1:8080/v1/pki-root/crl"]}}
steps:
  description: What was done, one sentence each. In check mode what would be done.
  returned: success
  type: list
  elements: str
  sample: ["made the CA Lab Root, RSA-4096"]
msg:
  description: The steps in one line.
  returned: success
  type: str
  sample: nothing to do
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.lab import authority, peers, published, revocations, signer
from ansible.module_utils.pki.vault import Client, Settings
from ansible.module_utils.pki_ansible import run_module

VAULT = {
    "type": "dict",
    "required": True,
    "options": {
        "address": {"type": "str", "required": True},
        "ca_cert": {"type": "path", "required": True},
        "auth_method": {"type": "str", "choices": ["approle"], "default": "approle"},
        "role_id_file": {"type": "path", "required": True},
        # A place, not the secret itself.
        "secret_id_file": {"type": "path", "required": True, "no_log": False},
    },
}
SPEC = {
    "vault": VAULT,
    "directory": {"type": "path", "required": True},
    "base_url": {"type": "str", "required": True},
    "authorities": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "mount": {"type": "str", "required": True},
            "parent": {"type": "str", "default": ""},
            "common_name": {"type": "str", "required": True},
            "bits": {"type": "int", "default": 2048},
            "ttl": {"type": "str", "required": True},
        },
    },
    "roles": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "mount": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "parameters": {"type": "dict", "required": True},
        },
    },
    "vetting": {
        "type": "dict",
        "required": True,
        "options": {
            "mount": {"type": "str", "required": True},
            "parameters": {"type": "dict", "required": True},
            "organisations": {"type": "dict", "required": True},
        },
    },
    "peers_directory": {"type": "path", "required": True},
    "peers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "mount": {"type": "str", "required": True},
            "common_name": {"type": "str", "required": True},
            "dns": {"type": "list", "elements": "str", "default": []},
            "state": {
                "type": "str",
                "choices": ["good", "expired", "revoked"],
                "default": "good",
            },
        },
    },
    "ledger": {"type": "path", "required": True},
    "published": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "mount": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "uri": {"type": "str", "default": ""},
        },
    },
}


def peer_of(entry):
    """One peer out of the option."""
    return peers.Peer(**{**entry, "dns": tuple(str(name) for name in entry["dns"])})


def roles_of(params):
    """All signing roles: those given, and one per vetted organisation."""
    found = [authority.Issuing(**entry) for entry in params["roles"]]
    vetting = params["vetting"]
    for one in signer.vetted(vetting["organisations"]):
        parameters = {**vetting["parameters"], **signer.engine_subject(one)}
        found.append(authority.Issuing(str(vetting["mount"]), one.role, parameters))
    return found


def issued(client, params, now, check):
    """Peers, revocations and published lists; they need CAs that are there."""
    steps = peers.ensure_all(
        client,
        [peer_of(entry) for entry in params["peers"]],
        Path(str(params["peers_directory"])),
        now,
        check,
    )
    # What a run of lab_revoke wrote down and could not finish is finished here.
    ledger = revocations.load(Path(str(params["ledger"])))
    steps += revocations.keep(client, ledger, check)
    for entry in params["published"]:
        publication = published.Publication(
            str(entry["mount"]), Path(str(entry["path"])), str(entry["uri"])
        )
        steps += published.ensure(client, publication, ledger, now, check)
    return steps


def handle(module):
    """Make or keep every CA, then what the CAs issue; return what inventories pin."""
    params, check, now = module.params, module.check_mode, datetime.now(UTC)
    authorities = [authority.Authority(**entry) for entry in params["authorities"]]
    # An empty environment: what the operator's shell exports is about another Vault.
    with Client(Settings.resolve(params["vault"], {})) as client:
        pinned, steps = authority.ensure_all(
            client,
            authorities,
            roles_of(params),
            Path(str(params["directory"])),
            str(params["base_url"]),
            now,
            check,
        )
        if len(pinned) == len(authorities):
            steps += issued(client, params, now, check)
    return {
        "changed": bool(steps),
        "authorities": pinned,
        "steps": steps,
        "msg": "; ".join(steps) or "nothing to do",
    }


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
