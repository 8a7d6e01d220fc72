# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate for each host, with keys in transit: the real playbooks, a real key server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.test_renew import DAY, NOW, PROJECT, Desk
from pki import csr
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration

REQUEST = ("request.csr", "request.yml", "submission.txt")
HOOK = "hook.example-energy.co.uk"


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


class Fleet(Desk):
    """A desk whose certificate is one for each host of a group; only the controller is asked."""

    issuing: pki_factory.Authority

    def _write(self, root: pki_factory.Authority, issuing: pki_factory.Authority, web: Any) -> None:
        self.issuing = issuing
        super()._write(root, issuing, web)

    def declare(self, hosts: tuple[str, ...]) -> None:
        """Write the group's hosts, the names to ask for, and the quota."""
        folder = self.base / "group_vars" / "all"
        entries = yaml.safe_load((folder / "certificates.yml").read_text())
        entries["certificates"][0] |= {"per_host": True, "san": ["cn-less.example", HOOK]}
        (folder / "certificates.yml").write_text(yaml.safe_dump(entries))
        holders = yaml.safe_load((folder / "organisations.yml").read_text())
        holders["organisations"]["example-energy"]["quota"] = 7
        (folder / "organisations.yml").write_text(yaml.safe_dump(holders))
        inventory = yaml.safe_load((self.base / "hosts.yml").read_text())
        inventory["all"]["children"]["gateways"]["hosts"] = dict.fromkeys(hosts)
        (self.base / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def nightly(self, *arguments: str) -> tuple[str, int]:
        ran = self.play("site", "--limit", "localhost", *arguments)
        return " ".join(ran.output.split()), ran.changed

    def of(self, host: str) -> csr.Request:
        file = self.base / "certificates" / self.name / host / "1" / "request.csr"
        return csr.parse(file.read_bytes())

    def keys(self) -> set[str]:
        with self.openbao.client("pipeline") as client:
            found = client.list(f"{TLS_MOUNT}/keys") or ()
        return {name for name in found if name.startswith(self.name)}


@pytest.fixture
def fleet(tmp_path: Path, openbao: OpenBao, site: controller_world.Web) -> Fleet:
    made = Fleet(tmp_path, openbao, site)
    made.declare(("gw1", "gw2"))
    return made


def wanted(fleet: Fleet, *hosts: str) -> set[str]:
    return {f"{fleet.name}/{host}/1/{file}" for host in hosts for file in REQUEST}


def test_each_host_has_a_key_a_request_and_an_end_of_its_own(fleet: Fleet) -> None:
    quota = f"{fleet.name}: one certificate for each of 2 hosts of gateways, of the 7 that"
    told, _ = fleet.nightly("--check")
    assert quota in told
    assert (fleet.files(), fleet.keys()) == ({}, set())

    told, changed = fleet.nightly()
    assert quota in told
    assert changed == 2  # the CRLs and the requests
    first = fleet.files()
    assert set(first) == wanted(fleet, "gw1", "gw2")
    assert fleet.keys() == {f"{fleet.name}_gw1", f"{fleet.name}_gw2"}
    requests = [fleet.of(host) for host in ("gw1", "gw2")]
    assert len({request.spki_sha256 for request in requests}) == 2
    assert {request.san for request in requests} == {("cn-less.example", HOOK)}
    for host in ("gw1", "gw2"):
        file = fleet.base / "certificates" / fleet.name / host / "1" / "request.csr"
        shown = subprocess.run(
            ["openssl", "req", "-in", str(file), "-noout", "-verify", "-text"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "verify OK" in shown.stdout + shown.stderr
        assert f"DNS:cn-less.example, DNS:{HOOK}" in shown.stdout

    # Another night changes nothing, and a check without Ansible reads the same hosts.
    assert fleet.nightly()[1] == 0
    assert fleet.files() == first
    checked = subprocess.run(
        [sys.executable, "-m", "pki.check", "--inventory", str(fleet.base)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "module_utils")},
    )  # fmt: skip
    assert checked.stderr == ""
    for host in ("gw1", "gw2"):
        assert f"clean  request {fleet.name}/{host} v1" in checked.stdout, checked.stdout

    # The reply to one request is nothing to the other host.
    leaf = issue(fleet, "gw1")
    for host in ("gw1", "gw2"):
        place = fleet.base / "certificates" / fleet.name / host / "1" / "reply.txt"
        place.write_bytes(pki_factory.pem(leaf))
    refused = fleet.play("site", "--limit", "localhost", code=2).output
    assert "DIP-6.1.2-SAME-HOST" in refused
    kept = set(fleet.files())
    assert f"{fleet.name}/gw1/1/accepted.yml" in kept
    assert f"{fleet.name}/gw2/1/accepted.yml" not in kept
    (fleet.base / "certificates" / fleet.name / "gw2" / "1" / "reply.txt").unlink()

    # A host more is a request more, and touches nothing else.
    before = fleet.files()
    fleet.declare(("gw1", "gw2", "gw3"))
    told, changed = fleet.nightly()
    assert "each of 3 hosts" in told
    assert changed == 1
    after = fleet.files()
    assert set(after) - set(before) == wanted(fleet, "gw3")
    assert after.items() >= before.items()
    assert fleet.keys() == {f"{fleet.name}_gw{number}" for number in (1, 2, 3)}


def issue(fleet: Fleet, host: str) -> bytes:
    """The certificate that the CA makes of a host's request."""
    return fleet.issuing.leaf(
        fleet.of(host).common_name,
        start=NOW - DAY,
        end=NOW + 390 * DAY,
        public=load_der_public_key(fleet.of(host).spki_der),
        san=["cn-less.example", HOOK],
    )
