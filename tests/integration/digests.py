# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab's product state is, as digests: files with their modes, and Vault's contents.

Outside the digest, by name: poll records (when a CRL was fetched), what the guard of their age
saw, its metrics, logs, locks and process ids, and the serials that the PKI engine keeps.
``applied.json`` also names the processes that loaded the configuration; ``without_processes``
leaves those two fields out.
"""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from integration.lab_fixture import Lab

PRODUCT = ("hosts", "certificates", "cache")
OUTSIDE = ("poll.json", "fetched.json", "guard.json", ".lock", "nginx.pid")
OUTSIDE_FOLDERS = ("log", "temp", "metrics")
KEY_FIELDS = ("type", "exportable", "latest_version", "min_decryption_version", "keys")


def files(home: Path, *, without_processes: bool = False) -> dict[str, str]:
    """Mode and SHA-256 (or link target) of every product file, by path below the lab."""
    found = {}
    for top in PRODUCT:
        for path in sorted((home / top).rglob("*")):
            inside = path.relative_to(home)
            if path.name in OUTSIDE or set(OUTSIDE_FOLDERS) & set(inside.parts):
                continue
            if path.is_symlink():
                found[str(inside)] = f"-> {path.readlink()}"
            elif path.is_file():
                mode = stat.S_IMODE(path.stat().st_mode)
                found[str(inside)] = f"{mode:04o} {_digest(path, without_processes)}"
    return found


def _digest(path: Path, without_processes: bool) -> str:
    content = path.read_bytes()
    if without_processes and path.name == "applied.json":
        record = json.loads(content)
        for field in ("master", "workers"):
            record.pop(field)
        content = json.dumps(record, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def vault(lab: Lab) -> dict[str, Any]:
    """Mounts, policies, transit keys and KV entries, as an auditor reads them."""
    with lab.client("auditor") as client:
        mounts = client.read("sys/mounts") or {}
        found: dict[str, Any] = {
            "mounts": {
                path: {field: entry[field] for field in ("type", "accessor", "config")}
                for path, entry in sorted(mounts.items())
            },
            "policies": {
                name: client.read(f"sys/policies/acl/{name}")
                for name in client.list("sys/policies/acl")
            },
            "keys": {},
            "kv": {},
        }
        for path, entry in sorted(mounts.items()):
            if entry["type"] == "transit":
                found["keys"].update(_keys(client, path))
            if entry["type"] == "kv":
                for folder in ("metadata", "metadata/compromised"):
                    found["kv"][f"{path}{folder}"] = client.list(f"{path}{folder}")
        return found


def _keys(client: Any, mount: str) -> dict[str, Any]:
    result = {}
    for name in client.list(f"{mount}keys"):
        record = client.read(f"{mount}keys/{name}")
        result[f"{mount}{name}"] = {field: record[field] for field in KEY_FIELDS}
    return result
