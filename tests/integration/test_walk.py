# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate's whole life, through playbooks only, with a real key server and a real gateway.

Requested on three nights by three runners that know nothing of each other; rejected; asked for
anew; answered and deployed; the inventory edited; renewed beside the live one; the old versions
retired. The tests share one world and stand in the order of that life.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from integration.lab_fixture import running_lab
from integration.test_make_lab import Clone, Run, copy_of_the_repository
from pki import csr
from pki.errors import PkiError

pytestmark = [pytest.mark.integration, pytest.mark.lab]

NAME = "dip-nonprod"
KEY = f"transit-nonprod-tls/keys/{NAME}"
REQUEST = {"request.csr", "request.yml", "submission.txt"}


@dataclass
class World:
    """One checkout with its stand-in world; ``kept`` is what somebody merged."""

    clone: Clone
    nights: list[Path] = field(default_factory=list)

    @property
    def kept(self) -> Path:
        return self.clone.home / "certificates"

    def version(self, number: int) -> Path:
        return self.kept / NAME / str(number)

    def key(self) -> dict[str, Any]:
        with self.clone.lab.client("auditor") as client:
            return client.read(KEY) or {}

    def status(self) -> dict[str, Any]:
        (entry,) = json.loads((self.clone.home / "status.json").read_text())["certificates"]
        return dict(entry)

    def site(self, *arguments: str) -> Run:
        return self.clone.play("site", *arguments)

    def command(self, playbook: str, **values: str) -> Run:
        extra = json.dumps({"certificate": NAME, **values})
        return self.clone.play(playbook, "-e", extra)

    def sign(self) -> Run:
        """The human and the CA."""
        return self.clone.play("lab", "--tags", "sign")

    def served(self) -> str:
        """What the gateway's only release in service is made of."""
        return self.clone.release().name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("walk")
    clone = Clone(copy_of_the_repository(base / "desk"))
    (clone.root / ".venv").symlink_to(sys.prefix)
    with running_lab(clone.home):
        yield World(clone, [base / night for night in ("monday", "tuesday", "wednesday")])


def contents(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def serial(path: Path) -> str:
    certificate = x509.load_pem_x509_certificate((path / "certificate.pem").read_bytes())
    return f"{certificate.serial_number:x}"


def digest(path: Path) -> str:
    return csr.key_digest((path / "request.csr").read_bytes())


def test_three_nights_on_three_fresh_runners_write_one_request_for_one_key(world: World) -> None:
    written = []
    for place in world.nights:
        runner = Clone(copy_of_the_repository(place))
        (runner.root / ".venv").symlink_to(sys.prefix)
        mine = str(runner.root / "certificates")
        values = {
            "lab_dir": str(world.clone.home),
            "certificates_dir": mine,
            "release_certificates_dir": mine,
        }
        run = runner.play("site", "-e", json.dumps(values))
        assert re.search(rf"{NAME}\s+requested", run.output)
        written.append(contents(Path(mine)))
    assert set(written[0]) == {f"{NAME}/1/{name}" for name in REQUEST}
    assert written[0] == written[1] == written[2]
    assert world.key()["latest_version"] == 1
    shutil.copytree(world.nights[0] / "certificates", world.kept, dirs_exist_ok=True)


def test_the_merged_request_is_pending_and_left_alone(world: World) -> None:
    before = contents(world.kept)
    assert world.site().changed == 0
    assert contents(world.kept) == before
    assert world.status()["state"] == "requested"


def test_a_rejected_request_is_not_offered_again_by_itself(world: World) -> None:
    world.command("outcome", outcome="rejected", reason="The organisation was not vetted yet")
    run = world.site()
    assert world.status()["state"] == "rejected"
    assert run.changed == 0
    assert world.key()["latest_version"] == 1


def test_a_persons_word_brings_a_new_request_with_a_new_key(world: World) -> None:
    world.command("renew", reason="The organisation is vetted now")
    assert set(contents(world.version(2))) >= REQUEST
    assert digest(world.version(2)) != digest(world.version(1))
    assert world.key()["latest_version"] == 2
    assert world.site().changed == 0


def test_the_reply_is_accepted_and_deployed(world: World) -> None:
    world.sign()
    world.site()
    status = world.status()
    assert (status["state"], status["serial"]) == ("deployed", serial(world.version(2)))
    assert status["served"] == {"gw1": serial(world.version(2))}
    assert world.site().changed == 0


def test_an_edit_of_the_vetted_subject_plans_a_new_version_beside_the_live_one(
    world: World,
) -> None:
    live = world.served(), contents(world.version(2))
    edited = world.clone.root / "inventories/lab/group_vars/all/organisations.yml"
    edited.write_text(edited.read_text().replace("L: London", "L: Leeds", 1))
    run = world.site()
    assert "L London -> Leeds" in run.output
    assert digest(world.version(3)) not in (digest(world.version(1)), digest(world.version(2)))
    assert (world.served(), contents(world.version(2))) == live
    assert world.status()["served"] == {"gw1": serial(world.version(2))}
    assert world.site().changed == 0


def test_an_edit_while_that_request_is_open_keeps_it_and_says_what_to_do(world: World) -> None:
    before = contents(world.kept)
    edited = world.clone.root / "inventories/lab/group_vars/all/organisations.yml"
    right = edited.read_text()
    edited.write_text(right.replace("L: Leeds", "L: York", 1))
    try:
        run = world.site()
    finally:
        edited.write_text(right)
    assert "L Leeds -> York" in run.output
    assert "outcome=withdrawn" in run.output
    assert contents(world.kept) == before
    assert world.key()["latest_version"] == 3


def test_the_edited_certificate_takes_over_once_it_is_accepted(world: World) -> None:
    world.clone.play("lab", "--tags", "up")  # the CA vets the organisation's new place
    world.sign()
    world.site()
    assert world.status()["served"] == {"gw1": serial(world.version(3))}
    assert world.site().changed == 0


def test_a_renewal_stands_beside_the_live_one_until_it_is_accepted(world: World) -> None:
    live = world.served(), contents(world.version(3))
    world.command("renew", reason="The yearly exchange, before the freeze")
    assert set(contents(world.version(4))) >= REQUEST
    assert world.site().changed == 0
    assert (world.served(), contents(world.version(3))) == live
    world.sign()
    world.site()
    assert world.status()["served"] == {"gw1": serial(world.version(4))}


def test_the_old_versions_are_retired_and_listed_for_revocation(world: World) -> None:
    keys = sorted((world.clone.release().parent).glob("*/key.pem"))
    assert len(keys) > 1
    announced = world.clone.play("retire", "-e", f"certificate={NAME}", "--check", "--diff")
    assert announced.changed > 0
    assert not (world.version(3) / "retired.yml").exists()
    run = world.command("retire", reason="Replaced")
    for number in (2, 3):
        assert serial(world.version(number)) in run.output
        assert (world.version(number) / "retired.yml").exists()
    assert world.key()["min_decryption_version"] == 4
    assert list(world.clone.release().parent.glob("*/key.pem")) == [
        world.clone.release() / "key.pem"
    ]
    with world.clone.lab.client("release") as client, pytest.raises(PkiError):
        client.wrap(f"transit-nonprod-tls/export/signing-key/{NAME}/3", 60)
    assert world.command("retire", reason="Replaced").changed == 0
    assert world.site().changed == 0
    assert world.status()["served"] == {"gw1": serial(world.version(4))}


def test_retired_keys_are_destroyed_when_that_is_asked_for(world: World) -> None:
    word = {"reason": "Past the overlap", "destroy": "true", "early": "Nobody can wait for it"}
    world.command("retire", **word)
    assert world.key()["min_available_version"] == 4
    assert sorted(world.key()["keys"]) == ["4"]
    assert world.command("retire", **word).changed == 0
    assert world.site().changed == 0


def test_the_audit_log_tells_that_every_key_went_to_its_host_and_to_nobody_else(
    world: World,
) -> None:
    log = world.clone.home / "vault/log/audit.log"
    assert log.exists()
    values = {"verify_audit_log": [str(log)], "verify_vault_addresses": {"gw1": ["127.0.0.1"]}}
    reports = world.clone.home / "reports"
    world.clone.play("verify", "-e", json.dumps({**values, "verify_report_dir": str(reports)}))
    result = json.loads((reports / "result.json").read_text())
    judged = [one for one in result["verdicts"] if one["kind"] == "delivery"]
    delivered = {one["object"] for one in judged}
    assert len(delivered) == 3, delivered
    assert {one["outcome"] for one in judged} <= {"passed", "not_applicable"}, judged
