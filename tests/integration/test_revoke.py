# SPDX-License-Identifier: GPL-3.0-or-later
"""Revocations prepared and recorded: the real playbook, a real key server, a host's directories."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.canary import Scanner, explain
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.test_renew import DAY, NOW, Ran
from integration.test_retire import HostDesk, flat
from pki import ledger
from unit import controller_world

pytestmark = pytest.mark.integration

WORDS = {
    "cause": "key_compromise",
    "reason": "a laptop with the key was stolen",
    "by": "Ada",
}


class RevokeDesk(HostDesk):
    """A desk whose person has certificates revoked."""

    def _write(self, root: Any, issuing: Any, web: Any) -> None:
        super()._write(root, issuing, web)
        places = self.base / "group_vars" / "all" / "places.yml"
        values = yaml.safe_load(places.read_text())
        values |= {
            "gateway_root": str(self.root / "gateways"),
            "trail_dir": str(self.root / "trail"),
        }
        places.write_text(yaml.safe_dump(values))
        # Complete, so that nothing holds the request for another key.
        file = self.base / "group_vars" / "all" / "organisations.yml"
        organisations = yaml.safe_load(file.read_text())
        (organisation,) = organisations["organisations"].values()
        today = f"{NOW:%Y-%m-%d}"
        organisation |= {
            "vetted": today,
            "registered": today,
            "domain_verified": today,
            "owner": {"name": "Olive", "accepted": today},
        }
        organisation["roster"][0]["permanent"] = True
        organisation["roster"].append(
            {
                "name": "Uma",
                "email": "uma@a.example",
                "role": "user_administrator",
                "left": f"{NOW - 2 * DAY:%Y-%m-%d}",
            }
        )
        file.write_text(yaml.safe_dump(organisations))

    def revoke(self, *arguments: str, code: int = 0, **extra: str) -> Ran:
        return self.play("revoke", *arguments, code=code, **{"certificate": self.name, **extra})

    def digests(self) -> dict[str, str]:
        with self.openbao.client("pipeline") as client:
            return ledger.stored(client, ["nonprod"])

    def keys_on_host(self) -> list[str]:
        return [name for name in self.releases() if name.endswith("key.pem")]


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def leaked(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> RevokeDesk:
    """One version, accepted and in service. The tests stand in the order of its night."""
    made = RevokeDesk(tmp_path_factory.mktemp("leaked"), openbao, site)
    made.two_versions(1)
    return made


def test_a_check_names_what_would_be_marked_written_and_made_and_does_nothing(
    leaked: RevokeDesk,
) -> None:
    before, held = leaked.files(), leaked.releases()
    spki = leaked.request(1).spki_sha256
    told = leaked.revoke("--check", "--diff", **WORDS)
    assert told.changed >= 3  # texts and ledgers, the host, the request
    assert spki in told.output
    assert "would be made" in flat(told), told.output
    assert "Major security incident" in told.output
    assert (leaked.files(), leaked.releases()) == (before, held)
    assert not (leaked.base / "compromised.yml").exists()
    assert spki not in leaked.digests()
    assert leaked.key()["latest_version"] == 1


def test_nobody_but_a_certificate_admin_of_the_organisation_may_ask(leaked: RevokeDesk) -> None:
    before = leaked.files()
    refused = leaked.revoke(code=2, **{**WORDS, "by": "Mallory"})
    assert "DIP-5.4.3-ROLES" in refused.output
    assert "Mallory as other" in flat(refused)
    assert leaked.files() == before
    assert leaked.request(1).spki_sha256 not in leaked.digests()


def test_one_command_ends_the_key_everywhere_and_makes_another_with_its_request(
    leaked: RevokeDesk,
) -> None:
    spki, serial = leaked.request(1).spki_sha256, leaked.serial(1)
    noticed = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    done = leaked.revoke(**WORDS, noticed=noticed.isoformat())
    printed = flat(done)
    # Both ledgers.
    assert spki in leaked.digests()
    (entry,) = yaml.safe_load((leaked.base / "compromised.yml").read_text())["compromised"]
    assert entry == {
        "spki_sha256": spki,
        "certificate": leaked.name,
        "since": entry["since"],
        "reason": WORDS["reason"],
    }
    # The host has no such key any more, and the store does not use it.
    assert leaked.keys_on_host() == []
    assert spki in (leaked.root / "compromised.json").read_text()
    assert leaked.key()["min_decryption_version"] == 2, done.output
    # The texts, and what a person is told.
    for name, words in {
        "revocation.txt": "key compromise (CRL reason code 1)",
        "incident.txt": "Major security incident",
        "authority.txt": "Notice of a compromised private key",
    }.items():
        text = leaked.read(1, name).decode()
        assert words in text, name
        assert serial in text, name
        assert str(leaked.base / "certificates" / leaked.name / "1" / name) in printed, name
    assert f"naming serial {serial} within 240 minutes" in printed
    assert f"have serial {serial} revoked for key compromise within 60 minutes" in printed
    # The record.
    record = leaked.record(1, "revocation.yml")
    assert (record["cause"], record["reason"], record["code"]) == (
        "key_compromise",
        "key_compromise",
        1,
    )
    assert (record["by"], record["role"], record["serial"]) == ("Ada", "certificate_admin", serial)
    assert record["text"] == WORDS["reason"]
    assert "out_of_service" in record
    assert "submitted" not in record
    # Another key with its request.
    assert leaked.request(2).spki_sha256 != spki
    assert f"{leaked.name} requested" in printed


def test_said_again_it_is_still_about_the_same_key(leaked: RevokeDesk) -> None:
    before = leaked.files()
    assert leaked.revoke(**WORDS).changed == 0
    assert leaked.files() == before
    # Also once the replacement is in service: a repeated command must not end a good key.
    leaked.answer(2)
    leaked.play("site")
    before, held, key = leaked.files(), leaked.releases(), leaked.key()
    assert any(name.startswith("v2-") for name in leaked.keys_on_host())
    assert leaked.revoke(**WORDS).changed == 0
    assert (leaked.files(), leaked.releases(), leaked.key()) == (before, held, key)
    assert leaked.request(2).spki_sha256 not in leaked.digests()


def test_said_differently_it_is_refused(leaked: RevokeDesk) -> None:
    before = leaked.files()
    refused = leaked.revoke(code=2, version="1", **{**WORDS, "reason": "it was lent"})
    assert "prepared differently before" in flat(refused), refused.output
    assert leaked.files() == before


def test_each_step_is_recorded_once(leaked: RevokeDesk) -> None:
    texts = {n: leaked.read(1, n) for n in ("revocation.txt", "incident.txt", "authority.txt")}
    assert leaked.revoke(submitted="now", incident="INC123", authority="now").changed == 1
    record = leaked.record(1, "revocation.yml")
    assert record["incident"]["reference"] == "INC123"
    assert {"submitted", "authority", "out_of_service"} < set(record)
    before = leaked.files()
    assert leaked.revoke(submitted="now", incident="INC123", authority="now").changed == 0
    other = leaked.revoke(code=2, incident="INC9")
    assert "recorded already" in flat(other)
    early = leaked.revoke(code=2, revoked="2020-01-01T00:00:00Z")
    assert "before anybody noticed" in flat(early)
    assert leaked.files() == before
    assert leaked.revoke(revoked="now").changed == 1
    assert "revoked" in leaked.record(1, "revocation.yml")
    assert {name: leaked.read(1, name) for name in texts} == texts


@pytest.mark.parametrize("left", [("ledger", "texts"), ("ledger", "record", "bounds")])
def test_a_run_that_was_killed_anywhere_is_finished_by_the_next(
    leaked: RevokeDesk, left: tuple[str, ...]
) -> None:
    """States as they are left between two steps."""
    version = leaked.base / "certificates" / leaked.name / "1"
    whole = {name: leaked.read(1, name) for name in ("revocation.txt", "incident.txt")}
    if "ledger" in left:
        (leaked.base / "compromised.yml").unlink()
    if "record" in left:
        record = leaked.record(1, "revocation.yml")
        (version / "revocation.yml").unlink()
    if "texts" in left:
        (version / "revocation.txt").unlink()
    if "bounds" in left:
        leaked.bring_back()
    words = {**WORDS, "version": "1"}
    if "record" in left:
        words["noticed"] = record["noticed"]
    assert leaked.revoke(**words).changed > 0
    assert leaked.request(1).spki_sha256 in (leaked.base / "compromised.yml").read_text()
    assert leaked.key()["min_decryption_version"] == 2
    assert {name: leaked.read(1, name) for name in whole} == whole
    assert "out_of_service" in leaked.record(1, "revocation.yml")
    assert leaked.revoke(**words).changed == 0


def test_the_key_of_an_open_request_is_marked_and_the_request_withdrawn(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = RevokeDesk(tmp_path, openbao, site)
    desk.play("site")
    words = {name: WORDS[name] for name in ("cause", "reason")}
    done = desk.revoke(**words)
    assert "there is no certificate to revoke" not in flat(done)
    assert desk.record(1, "outcome.yml")["outcome"] == "withdrawn"
    assert desk.request(1).spki_sha256 in desk.digests()
    assert desk.request(2).spki_sha256 != desk.request(1).spki_sha256
    assert desk.key()["min_decryption_version"] == 2
    assert not (desk.base / "certificates" / desk.name / "1" / "revocation.yml").exists()
    assert desk.revoke(**words).changed == 0


def test_without_vault_the_host_lets_go_of_the_key_and_the_texts_are_there(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = RevokeDesk(tmp_path, openbao, site)
    desk.two_versions(1)
    away = desk.base / "away.yml"
    places = {**openbao.options("pipeline"), "address": "https://127.0.0.1:9"}
    away.write_text(yaml.safe_dump({"certificates_vault": places, "retire_vault": places}))
    failed = desk.revoke("-e", f"@{away}", code=2, **WORDS)
    assert "the key is not marked in Vault" in flat(failed), failed.output
    assert desk.keys_on_host() == []
    assert desk.serial(1) in desk.read(1, "incident.txt").decode()
    assert desk.request(1).spki_sha256 in (desk.base / "compromised.yml").read_text()
    assert desk.request(1).spki_sha256 not in desk.digests()
    assert "out_of_service" not in desk.record(1, "revocation.yml")
    # The same command once it is back goes on from there.
    desk.revoke(**WORDS)
    assert desk.request(1).spki_sha256 in desk.digests()
    assert "out_of_service" in desk.record(1, "revocation.yml")
    assert desk.request(2)


def test_a_host_that_does_not_answer_is_named_and_keeps_nothing_else_from_being_done(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = RevokeDesk(tmp_path, openbao, site)
    desk.two_versions(1)
    hosts = yaml.safe_load((desk.base / "hosts.yml").read_text())
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    hosts["all"]["children"]["gateways"]["hosts"]["gw2"] = gone
    (desk.base / "hosts.yml").write_text(yaml.safe_dump(hosts))
    failed = desk.revoke(code=2, **WORDS)
    printed = flat(failed)
    assert "gw2: the host does not answer" in printed, failed.output
    assert "its key may still be in use at gw2" in printed
    assert desk.keys_on_host() == []
    assert desk.request(2)
    assert "out_of_service" not in desk.record(1, "revocation.yml")


def test_other_causes_leave_the_key_in_service_until_it_is_replaced(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = RevokeDesk(tmp_path, openbao, site)
    desk.two_versions(2)
    held = desk.releases()
    words = {"reason": "v2 is in service", "by": "Ada"}
    done = desk.revoke(cause="superseded", **words)
    assert desk.record(1, "revocation.yml")["code"] == 4
    assert "certificate superseded (CRL reason code 4)" in desk.read(1, "revocation.txt").decode()
    assert desk.revoke(cause="superseded", **words).changed == 0
    assert "revoked for certificate superseded" in flat(done)
    # Only the DIP Manager may, and what to write is there.
    refused = desk.revoke(code=2, cause="ineligible", reason="we leave the market", by="Ada")
    assert "DIP-6.1.3-CESSATION" in refused.output
    assert desk.serial(2) in refused.output
    assert "bsc.change@elexon.co.uk" in refused.output
    removal = desk.revoke(code=2, cause="removal_from_crl", **words)
    assert "cannot be reclaimed" in flat(removal)
    leaver = desk.revoke(cause="leaver", reason="Olive left", by="Ada")
    assert desk.record(2, "revocation.yml")["reason"] == "affiliation_changes"
    assert f"{desk.name} due" in flat(leaver) or f"{desk.name} requested" in flat(leaver)
    assert desk.request(3)
    assert desk.releases() == held
    assert desk.digests().keys().isdisjoint(desk.request(n).spki_sha256 for n in (1, 2, 3))


def test_nothing_secret_is_printed_however_loud_a_run_is_and_however_it_ends(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = RevokeDesk(tmp_path, openbao, site)
    desk.two_versions(1)
    scanner = Scanner()
    for role in ("pipeline", "release", "retire"):
        for part in ("role_id", "secret_id"):
            secret = (openbao.directory / f"{role}.{part}").read_text().strip()
            scanner.add_text(f"{role} {part}", secret)
    (release,) = (desk.root / desk.name / "releases").glob("v1-*")
    scanner.add_key("live key", (release / "key.pem").read_bytes())
    login = desk.base / "another_login.yml"
    login.write_text(yaml.safe_dump({"retire_vault": openbao.options("release")}))
    loud = ("-vvvv", "--diff")
    runs = [
        desk.revoke(*loud, code=2, **{**WORDS, "reason": "two" + chr(10) + "lines"}),
        desk.revoke("--check", *loud, **WORDS),
        desk.revoke(*loud, "-e", f"@{login}", code=2, **WORDS),
        desk.revoke(*loud, **WORDS),
    ]
    assert "is not one line of text" in flat(runs[0])
    assert "VAULT-DENIED" in flat(runs[2])
    found = scanner.scan_text("".join(run.output for run in runs))
    assert not found, explain(found)
    assert not scanner.scan_tree(desk.base)


def test_the_record_says_which_files_it_is_about(leaked: RevokeDesk) -> None:
    record = leaked.record(1, "revocation.yml")
    assert record["spki_sha256"] == leaked.request(1).spki_sha256
    assert len(record["certificate_sha256"]) == len(hashlib.sha256(b"").hexdigest())
    assert leaked.key()["name"] == leaked.name, TLS_MOUNT
