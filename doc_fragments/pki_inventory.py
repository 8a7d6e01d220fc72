# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that the controller's modules share: the inventory, and how Vault is reached."""

from __future__ import annotations


class ModuleDocFragment:
    """``extends_documentation_fragment: pki_inventory``."""

    DOCUMENTATION = r"""
options:
  organisations:
    description: The vetted organisations, by key, as in C(group_vars/all/organisations.yml).
    type: dict
    required: true
  certificates:
    description: The declared certificates, as in C(group_vars/all/certificates.yml).
    type: list
    elements: dict
    required: true
  trust:
    description: The pinned CA files, by trust set, as in C(group_vars/all/trust.yml).
    type: dict
    required: true
  groups:
    description: The hosts of each group, as in C(groups); for entries with C(per_host).
    type: dict
    default: {}
  policy_dir:
    description: Directory of the policy files and their schema, on the controller.
    type: path
    required: true
  base_dir:
    description: Directory that relative CA files are looked up in; the inventory's directory.
    type: path
    required: true
  crl_cache_dir:
    description: Directory of the controller's verified CRLs.
    type: path
    required: true
"""

    VAULT = r"""
options:
  vault:
    description:
      - How to reach HashiCorp Vault or OpenBao, as a map of places; no secret is an option.
      - C(address) may list several nodes, separated by commas; C(ca_cert) is the CA file to trust,
        C(namespace) that of login and keys, C(timeout) the seconds one call may take.
      - C(auth_method) is V(approle) with C(role_id_file) and C(secret_id_file), V(jwt) with
        C(jwt_file) or C(jwt_env) (the name of a variable), V(cert) with C(client_cert) and
        C(client_key), or V(token) with C(token_file). C(auth_mount) is where the method is mounted
        below C(auth/), C(auth_role) the role of V(jwt) and V(cert).
      - Address, CA file, namespace, token, client certificate and its key that are not given are
        taken from C(BAO_*), then from C(VAULT_*) in the environment.
    type: dict
    default: {}
"""
