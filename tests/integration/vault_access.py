# SPDX-License-Identifier: GPL-3.0-or-later
"""Identities on a real OpenBao with exactly the rights and limits a test wants."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from integration.openbao_server import OpenBao, write_secret
from pki.vault import Client


def write_policy(operator: Client, rules: str) -> str:
    """A policy of its own name with these rules."""
    name = f"test-{secrets.token_hex(4)}"
    operator.write(f"sys/policies/acl/{name}", {"policy": rules})
    return name


def approle(
    openbao: OpenBao,
    folder: Path,
    rules: str,
    *,
    secret: dict[str, Any] | None = None,
    **limits: Any,
) -> dict[str, str]:
    """Client options of a new AppRole that may do what ``rules`` say.

    ``limits`` are the role's (token_ttl, token_type, ...), ``secret`` those of its secret id.
    """
    with openbao.client("operator") as operator:
        name = write_policy(operator, rules)
        path = f"auth/approle/role/{name}"
        operator.write(path, {"token_policies": [name], "token_ttl": "20m", **limits})
        role_id = (operator.read(f"{path}/role-id") or {})["role_id"]
        secret_id = operator.write(f"{path}/secret-id", secret or {})["secret_id"]
    write_secret(folder / f"{name}.role_id", role_id.encode())
    write_secret(folder / f"{name}.secret_id", secret_id.encode())
    return {
        "address": openbao.address,
        "ca_cert": str(openbao.ca_cert),
        "auth_method": "approle",
        "role_id_file": str(folder / f"{name}.role_id"),
        "secret_id_file": str(folder / f"{name}.secret_id"),
    }
