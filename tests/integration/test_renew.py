# SPDX-License-Identifier: GPL-3.0-or-later
"""A request comes to nothing and is asked for anew: the real playbooks, a real key server."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.openbao_server import TLS_MOUNT, OpenBao
from kept_payloads.session import kept_environment
from pki import csr, ledger
from unit import controller_world, pki_factory, ready

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@dataclass
class Ran:
    """One run of ansible-playbook: exit code and everything it printed."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", self.output))


class Desk:
    """An inventory with one certificate, and whoever types commands for it."""

    def __init__(self, base: Path, openbao: OpenBao, web: controller_world.Web) -> None:
        self.base = base
        self.openbao = openbao
        self.name = f"dip-{secrets.token_hex(4)}"
        root = pki_factory.authority("Renew Root", start=NOW - DAY, end=NOW + 900 * DAY)
        issuing = root.authority("Renew Issuing", start=NOW - DAY, end=NOW + 800 * DAY)
        self._write(root, issuing, web)

    def _write(self, root: pki_factory.Authority, issuing: pki_factory.Authority, web: Any) -> None:
        pinned = {}
        for label, ca in (("root", root), ("issuing", issuing)):
            file = self.base / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            crl = ca.crl(start=NOW - timedelta(hours=1), end=NOW + DAY)
            url = web.serve(f"/{self.name}/{label}", controller_world.content(crl))
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        values: dict[str, Any] = {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [ready.admin()],
                    **ready.organisation(),
                }
            },
            "certificates": [
                {
                    "name": self.name,
                    "policy": "mhhs-dip",
                    "environment": "nonprod",
                    "domain": "example-energy.co.uk",
                    "purposes": ["mtls", "signing"],
                    "key": {"store": "transit", "delivery": "wrapped"},
                    "hosts": "gateways",
                }
            ],
            "trust": {
                "dip-nonprod": {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned["root"],
                    "issuers": pinned["issuing"],
                }
            },
            "certificates_vault": self.openbao.options("pipeline"),
        }
        folder = self.base / "group_vars" / "all"
        folder.mkdir(parents=True)
        for variable, value in values.items():
            (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {
            "all": {"hosts": {"localhost": here}, "children": {"gateways": {"hosts": {}}}},
        }
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def play(self, playbook: str, *arguments: str, code: int = 0, **extra: str) -> Ran:
        given = [part for name, value in extra.items() for part in ("-e", f"{name}='{value}'")]
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base), *given, *arguments),
                str(PROJECT / "playbooks" / f"{playbook}.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                "no_proxy": "127.0.0.1",
            },
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return Ran(done.returncode, done.stdout)

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Everything beside the inventory: bytes, mode and time of each file."""
        folder = self.base / "certificates"
        return {
            str(path.relative_to(folder)): (
                path.read_bytes(),
                path.stat().st_mode,
                path.stat().st_mtime_ns,
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def read(self, version: int, name: str) -> bytes:
        return (self.base / "certificates" / self.name / str(version) / name).read_bytes()

    def request(self, version: int) -> csr.Request:
        return csr.parse(self.read(version, "request.csr"))

    def key_versions(self) -> int:
        with self.openbao.client("pipeline") as client:
            key = client.read(f"{TLS_MOUNT}/keys/{self.name}")
        return 0 if key is None else int(key["latest_version"])


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture
def desk(tmp_path: Path, openbao: OpenBao, site: controller_world.Web) -> Desk:
    return Desk(tmp_path, openbao, site)


def test_a_rejected_request_is_asked_for_anew_on_a_persons_word_and_never_twice(
    desk: Desk,
) -> None:
    assert "requested" in desk.play("site").output
    first = desk.files()
    assert set(first) == {
        f"{desk.name}/1/{name}" for name in ("request.csr", "request.yml", "submission.txt")
    }

    # The portal says no.
    said = {"certificate": desk.name, "outcome": "rejected", "reason": "the portal lost it"}
    told = desk.play("outcome", **said)
    assert told.changed == 1
    assert re.search(rf"{desk.name} +rejected", told.output)
    assert f"playbooks/renew.yml -e certificate={desk.name}" in told.output.replace("\\", "")
    rejected = desk.files()
    assert rejected.items() >= first.items()
    record = yaml.safe_load(desk.read(1, "outcome.yml"))
    assert (record["outcome"], record["reason"]) == ("rejected", "the portal lost it")
    # Said again it changes nothing; said differently it is refused.
    assert desk.play("outcome", **{**said, "reason": "again"}).changed == 0
    other = desk.play("outcome", code=2, **{**said, "outcome": "withdrawn"})
    assert "has another outcome already" in other.output
    assert desk.files() == rejected

    # No run asks again by itself.
    assert desk.play("site").changed == 0
    assert desk.files() == rejected
    assert desk.key_versions() == 1

    # A person does.
    wish = {"certificate": desk.name, "reason": "the portal is up again"}
    checked = desk.play("renew", "--check", **wish)
    assert checked.changed == 2
    assert "would be made" in checked.output
    assert desk.files() == rejected
    assert desk.key_versions() == 1
    assert desk.play("renew", **wish).changed == 2
    renewed = desk.files()
    assert renewed.items() >= rejected.items()
    assert set(renewed) - set(rejected) == {
        f"{desk.name}/2/{name}"
        for name in ("asked.yml", "request.csr", "request.yml", "submission.txt")
    }
    assert desk.key_versions() == 2
    before, after = desk.request(1), desk.request(2)
    assert before.spki_sha256 != after.spki_sha256
    assert (before.common_name, before.subject) == (after.common_name, after.subject)

    # One word is one request.
    assert desk.play("renew", **wish).changed == 0
    refused = desk.play("renew", code=2, **{**wish, "reason": "I am impatient"})
    assert "request v2 is open" in refused.output
    assert desk.play("site").changed == 0
    assert desk.files() == renewed
    assert desk.key_versions() == 2


def test_a_compromised_key_in_either_ledger_gets_no_request(desk: Desk) -> None:
    desk.play("site")
    spki = desk.request(1).spki_sha256
    (desk.base / "certificates" / desk.name / "1" / "request.csr").unlink()
    (desk.base / "certificates" / desk.name / "1" / "request.yml").unlink()
    entry = {"certificate": desk.name, "since": "2026-11-20", "reason": "it leaked"}
    with desk.openbao.client("pipeline") as client:
        assert ledger.mark(client, "nonprod", spki, entry)
    refused = desk.play("site", code=2)
    assert "Vault kv-nonprod/compromised" in refused.output
    assert not (desk.base / "certificates" / desk.name / "1" / "request.csr").exists()


def test_a_damaged_ledger_stops_the_run_before_a_key_is_made(desk: Desk) -> None:
    (desk.base / "compromised.yml").write_text("compromised: {}\n")
    refused = desk.play("site", code=2)
    assert "LEDGER-FILE" in refused.output
    assert desk.key_versions() == 0
    assert not (desk.base / "certificates").exists()
