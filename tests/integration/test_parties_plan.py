# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs over an inventory that lacks what must be there first: the real playbook and keys."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from integration.bringing_desk import CN, DAY, NOW, Desk
from integration.openbao_server import OpenBao
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture
def desk(tmp_path: Path, openbao: OpenBao, site: controller_world.Web) -> Desk:
    return Desk(tmp_path, openbao, site)


def organisation(desk: Desk, **changes: Any) -> None:
    """Fields of the organisation; ``...`` takes one out."""
    file = desk.base / "group_vars" / "all" / "organisations.yml"
    values = yaml.safe_load(file.read_text())
    holder = {**values["organisations"]["example-energy"], **changes}
    values["organisations"]["example-energy"] = {k: v for k, v in holder.items() if v is not ...}
    file.write_text(yaml.safe_dump(values))


def status(desk: Desk) -> dict[str, Any]:
    """What the run's status document says of the certificate."""
    document = json.loads((desk.home / "status.json").read_text())
    (entry,) = document["certificates"]
    return dict(entry)


def site_run(desk: Desk, *arguments: str, code: int = 0) -> Any:
    file = desk.home / "status.json"
    return desk.play("site", *arguments, code=code, certificates_status_file=file)


def test_nothing_is_asked_for_before_the_vetting_and_all_of_it_afterwards(desk: Desk) -> None:
    organisation(desk, vetted=..., quota=3)
    site_run(desk)  # fetches the CRLs
    held = site_run(desk)
    assert held.changed == 0
    assert "held: DIP-5.2-VETTED, declaration" in held.output
    assert status(desk)["reason"] == "held_by_rule"
    assert status(desk)["needs_person"] is True
    assert (desk.key(), desk.files()) == ({}, {})
    assert re.search(r"example-energy +3 +0 +0 +0 +3\b", held.output)

    organisation(desk, vetted="2026-01-02")
    assert "would be made" in site_run(desk, "--check").output
    assert (desk.key(), desk.files()) == ({}, {})
    assert site_run(desk).changed > 0
    assert desk.key()["latest_version"] == 1
    assert set(desk.files()) == {
        f"{desk.name}/1/{name}" for name in ("request.csr", "request.yml", "submission.txt")
    }
    again = site_run(desk)
    assert again.changed == 0
    assert re.search(r"example-energy +3 +0 +0 +1 +2\b", again.output)

    # What is in service goes on, although another one is asked for and held.
    public = x509.load_pem_x509_csr(desk.read(1, "request.csr")).public_key()
    leaf = desk.issuing.leaf(
        CN, public=public, start=NOW - timedelta(hours=2), end=NOW + 300 * DAY, cdp=None
    )
    (desk.base / "certificates" / desk.name / "1" / "reply.txt").write_bytes(
        pki_factory.pem(leaf) + desk.issuing.pem
    )
    organisation(desk, vetted=...)
    site_run(desk)
    assert (desk.base / "certificates" / desk.name / "1" / "accepted.yml").is_file()
    asked = desk.play("renew", certificate=desk.name, reason="a laptop was lost")
    assert "DIP-5.2-VETTED" in asked.output
    later = site_run(desk)
    assert later.changed == 0
    assert status(desk)["reason"] == "held_by_rule"
    assert [(one["kind"], one["version"]) for one in status(desk)["actions"]] == [
        ("accept", 1),
        ("deploy", 1),
    ]
    assert desk.key()["latest_version"] == 1

    # A waiver is a person's word for going on.
    waiver = {
        "rule": "DIP-5.2-VETTED", "object": desk.name, "reason": "confirmed by telephone",
        "approver": "Olive Owner", "expires": "2999-01-01",
    }  # fmt: skip
    (desk.base / "waivers.yml").write_text(yaml.safe_dump({"waivers": [waiver]}))
    assert site_run(desk).changed > 0
    assert desk.key()["latest_version"] == 2


def test_a_key_of_production_ends_the_run_before_the_key_server_is_asked(desk: Desk) -> None:
    site_run(desk)
    beside = desk.base.parent / "prod"
    shutil.copytree(desk.base, beside)
    record = beside / "certificates" / desk.name / "1" / "request.yml"
    record.write_text(record.read_text().replace("environment: nonprod", "environment: prod"))
    before = desk.files()
    vault = desk.base / "group_vars" / "all" / "certificates_vault.yml"
    vault.write_text("certificates_vault: {address: 'https://127.0.0.1:9', token_file: /nowhere}\n")
    refused = site_run(desk, code=2)
    assert "DIP-5.5-NO-ENV-REUSE" in refused.output
    assert f"prod/{desk.name} v1" in refused.output.replace("\\n", " ")
    assert "127.0.0.1:9" not in refused.output
    assert desk.files() == before
