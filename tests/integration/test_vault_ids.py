# SPDX-License-Identifier: GPL-3.0-or-later
"""The request ids that the trail keeps are those of Vault's own audit log."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from integration.openbao_server import KV_MOUNT, TLS_MOUNT, OpenBao
from pki import vault_ids
from pki.vault_kv import Folder

pytestmark = pytest.mark.integration


def audited(openbao: OpenBao) -> dict[str, str]:
    """The path of every request in the audit log, by its id."""
    lines = openbao.audit_log.read_text(encoding="utf-8").splitlines()
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    return {one["request"]["id"]: one["request"]["path"] for one in entries}


def test_writes_are_found_in_the_audit_log_by_their_ids(openbao: OpenBao) -> None:
    name = f"ids-{secrets.token_hex(4)}"
    key, digest = f"{TLS_MOUNT}/keys/{name}", secrets.token_hex(32)
    with openbao.client("pipeline") as client, vault_ids.noted() as ids:
        client.write(key, {"type": "rsa-2048", "exportable": True})
        client.read(key)
        client.capabilities([key])
        client.write(f"{key}/rotate")
        Folder(client, KV_MOUNT, "compromised").create(digest, {"certificate": name})
    paths = audited(openbao)
    assert [paths[one] for one in ids] == [
        key, f"{key}/rotate", f"{KV_MOUNT}/data/compromised/{digest}",
    ]  # fmt: skip


def test_a_wrapped_answer_carries_no_id(openbao: OpenBao) -> None:
    """The audit log has one; the server does not tell it. The host's unwrap has one to tell."""
    name = f"ids-{secrets.token_hex(4)}"
    with openbao.client("pipeline") as client:
        client.write(f"{TLS_MOUNT}/keys/{name}", {"type": "rsa-2048", "exportable": True})
    with openbao.client("release") as client, vault_ids.noted() as ids:
        client.wrap(f"{TLS_MOUNT}/export/signing-key/{name}/1", 60)
    assert ids == []


def test_work_side_by_side_keeps_its_requests_apart(openbao: OpenBao) -> None:
    names = [f"ids-{secrets.token_hex(4)}" for _ in range(4)]
    with openbao.client("pipeline") as client:

        def make(name: str) -> list[str]:
            with vault_ids.noted() as ids:
                client.write(f"{TLS_MOUNT}/keys/{name}", {"type": "rsa-2048", "exportable": True})
            return ids

        with ThreadPoolExecutor(max_workers=4) as pool:
            found = list(pool.map(make, names))
    paths = audited(openbao)
    assert [[paths[one] for one in ids] for ids in found] == [
        [f"{TLS_MOUNT}/keys/{name}"] for name in names
    ]


def test_an_outer_block_gets_the_ids_of_the_inner_ones() -> None:
    with vault_ids.noted() as outer:
        vault_ids.note({"request_id": "a"})
        with vault_ids.noted() as inner:
            vault_ids.note({"request_id": "b"})
        vault_ids.note({"request_id": ""})
        vault_ids.note({})
        vault_ids.note(None)
    vault_ids.note({"request_id": "c"})
    assert (outer, inner) == (["a", "b"], ["b"])
