# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of compromised keys in a real OpenBao: made once, never changed or taken back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from integration.openbao_server import KV_MOUNT, OpenBao
from pki import ledger
from pki.errors import PkiError
from pki.vault import Client

pytestmark = pytest.mark.integration
ENTRY = {"certificate": "dip-nonprod", "since": "2026-11-20", "reason": "a laptop was stolen"}


@pytest.fixture
def pipeline(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("pipeline") as client:
        yield client


@pytest.fixture
def operator(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("operator") as client:
        yield client


def digest() -> str:
    return secrets.token_hex(32)


def refused(call: Callable[[], object], rule: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    assert caught.value.rule == rule, str(caught.value)
    assert caught.value.next_step
    return caught.value


def engine(operator: Client, version: str) -> str:
    """A fresh KV mount, by the environment class it would be the ledger of."""
    name = f"class-{secrets.token_hex(4)}"
    parameters = {"type": "kv", "options": {"version": version}}
    operator.write(f"sys/mounts/{ledger.mount_of(name)}", parameters)
    return name


def test_a_marked_key_is_named_by_the_ledger_and_by_one_listing(
    openbao: OpenBao, pipeline: Client
) -> None:
    one = digest()
    assert ledger.mark(pipeline, "nonprod", one, ENTRY) is True
    before = openbao.audit_log.read_text()
    found = ledger.stored(pipeline, ["nonprod"])
    asked = openbao.audit_log.read_text()[len(before) :].count(f'"path":"{KV_MOUNT}/')
    assert found[one] == f"Vault {KV_MOUNT}/compromised"
    # One call: the audit log has a line for the request and one for the answer.
    assert asked == 2


def test_a_key_is_marked_once_and_the_first_word_stands(pipeline: Client) -> None:
    one = digest()
    assert ledger.mark(pipeline, "nonprod", one, ENTRY) is True
    assert ledger.mark(pipeline, "nonprod", one, {**ENTRY, "reason": "a mistake"}) is False
    kept = ledger.Folder(pipeline, KV_MOUNT, ledger.FOLDER).read(one)
    assert kept == ENTRY


def test_who_may_update_does_not_overwrite_either(operator: Client) -> None:
    one = digest()
    assert ledger.mark(operator, "nonprod", one, ENTRY) is True
    assert ledger.mark(operator, "nonprod", one, {**ENTRY, "reason": "a mistake"}) is False
    kept = ledger.Folder(operator, KV_MOUNT, ledger.FOLDER).read(one)
    assert kept == ENTRY


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("data/compromised/{}", {"data": {}}),
        ("data/compromised/{}", {"data": {}, "options": {"cas": 1}}),
        ("delete/compromised/{}", {"versions": [1]}),
        ("destroy/compromised/{}", {"versions": [1]}),
        ("undelete/compromised/{}", {"versions": [1]}),
        ("metadata/compromised/{}", {"max_versions": 1}),
        ("metadata/compromised/{}", {"custom_metadata": {"note": "never mind"}}),
        ("config", {"max_versions": 1}),
    ],
)
def test_the_pipeline_cannot_change_an_entry(
    pipeline: Client, path: str, body: dict[str, object]
) -> None:
    one = digest()
    ledger.mark(pipeline, "nonprod", one, ENTRY)
    refused(lambda: pipeline.write(f"{KV_MOUNT}/{path.format(one)}", body), "VAULT-DENIED")
    assert one in ledger.stored(pipeline, ["nonprod"])


def test_the_pipeline_may_create_read_and_list_and_nothing_else(pipeline: Client) -> None:
    paths = [f"{KV_MOUNT}/data/compromised/{digest()}", f"{KV_MOUNT}/metadata/compromised"]
    entry = f"{KV_MOUNT}/metadata/compromised/{digest()}"
    held = pipeline.capabilities([*paths, entry])
    assert set(held[paths[0]]) == {"create", "read", "list"}
    assert set(held[paths[1]]) == {"list"}
    assert held[entry] == ("deny",)


def test_an_entry_whose_content_an_operator_deleted_still_refuses(
    pipeline: Client, operator: Client
) -> None:
    one = digest()
    ledger.mark(pipeline, "nonprod", one, ENTRY)
    operator.write(f"{KV_MOUNT}/delete/compromised/{one}", {"versions": [1]})
    assert one in ledger.stored(pipeline, ["nonprod"])


def test_an_empty_ledger_is_empty(operator: Client) -> None:
    assert ledger.stored(operator, [engine(operator, "2")]) == {}


def test_no_ledger_at_all_is_no_empty_ledger(operator: Client) -> None:
    error = refused(lambda: ledger.stored(operator, ["nowhere"]), "LEDGER-VAULT")
    assert "no secrets engine is mounted there" in error.found
    assert "bao secrets enable -path=kv-nowhere -version=2 kv" in error.next_step


def test_a_ledger_that_may_not_be_looked_at_is_no_empty_ledger(openbao: OpenBao) -> None:
    with openbao.client("release") as client:
        error = refused(lambda: ledger.stored(client, ["nonprod"]), "LEDGER-VAULT")
    assert "docs/vault.md" in error.next_step


def test_an_engine_of_version_1_is_no_empty_ledger(operator: Client) -> None:
    """It answers a listing of version 2's path with nothing, and would go on doing so."""
    old = engine(operator, "1")
    error = refused(lambda: ledger.stored(operator, [old]), "LEDGER-VAULT")
    assert "version 1" in error.found


def test_another_kind_of_engine_is_no_empty_ledger(operator: Client) -> None:
    name = f"class-{secrets.token_hex(4)}"
    operator.write(f"sys/mounts/{ledger.mount_of(name)}", {"type": "transit"})
    refused(lambda: ledger.stored(operator, [name]), "LEDGER-VAULT")


def test_an_entry_that_names_no_key_stops_the_run(operator: Client) -> None:
    name = engine(operator, "2")
    entry = {"data": ENTRY, "options": {"cas": 0}}
    operator.write(f"{ledger.mount_of(name)}/data/compromised/AB:CD", entry)
    error = refused(lambda: ledger.stored(operator, [name]), "LEDGER-VAULT")
    assert error.found == "AB:CD"


def test_only_a_digest_can_be_marked(pipeline: Client) -> None:
    error = refused(lambda: ledger.mark(pipeline, "nonprod", "../keys", ENTRY), "LEDGER-VAULT")
    assert "../keys" in error.found
