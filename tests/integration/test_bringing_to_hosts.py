# SPDX-License-Identifier: GPL-3.0-or-later
"""An existing key is brought onto the host that keeps it: the real playbooks on two hosts."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from integration.canary import Scanner, explain
from integration.host_fleet import DAY, NOW, Fleet, Ran
from integration.openbao_server import OpenBao
from pki import csr
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration

PASSPHRASE = b"a-passphrase-that-nobody-should-see"
CN = "energydip-nonprod.example-energy.co.uk"


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


def container(fleet: Fleet, key: rsa.RSAPrivateKey) -> bytes:
    window = {"start": NOW - DAY / 24, "end": NOW + 300 * DAY}
    leaf = fleet.issuing.leaf(CN, public=key.public_key(), **window)
    return pkcs12.serialize_key_and_certificates(
        b"old gateway",
        key,
        x509.load_der_x509_certificate(leaf),
        [fleet.issuing.certificate],
        serialization.BestAvailableEncryption(PASSPHRASE),
    )


def bring(fleet: Fleet, host: str, *arguments: str, code: int = 0) -> Ran:
    folder = fleet.base.parent / "brought"
    values = {
        "certificate": f"{fleet.name}/{host}",
        "key_file": str(folder / "old.p12"),
        "passphrase_file": str(folder / "old.pass"),
    }
    return fleet.play("import", "-e", json.dumps(values), *arguments, code=code)


def put(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o600)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_key_is_brought_to_its_host_and_nobody_else_sees_it(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web, encrypted: bool
) -> None:
    (tmp_path / "inventory").mkdir()
    fleet = Fleet(tmp_path / "inventory", openbao, site, encrypted=encrypted)
    key = pki_factory.key(fleet.name, 4096)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    put(tmp_path / "brought", "old.p12", container(fleet, key))
    put(tmp_path / "brought", "old.pass", PASSPHRASE + b"\n")

    checked = bring(fleet, "gw1", "-vvvv", "--check", "--diff")
    assert f"{fleet.name}/gw1 v1: key would be imported" in checked.output
    assert not fleet.host("gw1").exists()
    assert not (fleet.base / "certificates").exists()

    brought = bring(fleet, "gw1", "-vvvv", "--diff")
    assert (brought.changed("gw1"), brought.changed("localhost")) == (1, 0)
    file = fleet.key("gw1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in file.read_bytes()) is encrypted
    assert fleet.request("gw1").spki_der == csr.spki_der(key.public_key())
    record = yaml.safe_load((fleet.version("gw1") / "request.yml").read_bytes())
    assert record["key"]["store"] == "host"
    assert record["key"]["imported"] is True
    assert not fleet.host("gw2").exists()

    # Again it changes nothing, and a lost file is written again as it was.
    written = {path.name: path.read_bytes() for path in fleet.version("gw1").iterdir()}
    assert bring(fleet, "gw1", "-vvvv").changed("gw1") == 0
    for name in ("request.csr", "request.yml", "submission.txt"):
        (fleet.version("gw1") / name).unlink()
    bring(fleet, "gw1")
    assert {path.name: path.read_bytes() for path in fleet.version("gw1").iterdir()} == written

    # The next run accepts and deploys it, and makes the other host's key on that host.
    fleet.play("site", "-vvvv", "--diff")
    assert (fleet.version("gw1") / "accepted.yml").exists()
    (release,) = (fleet.host("gw1") / "releases").iterdir()
    deployed = serialization.load_pem_private_key((release / "key.pem").read_bytes(), None)
    assert isinstance(deployed, rsa.RSAPrivateKey)
    assert deployed.private_numbers() == key.private_numbers()
    assert fleet.request("gw2").spki_sha256 != fleet.request("gw1").spki_sha256

    # Another key for the same version is refused, whether its request is there or not.
    other = pki_factory.key(f"{fleet.name} other", 4096)
    put(tmp_path / "brought", "old.p12", container(fleet, other))
    refused = bring(fleet, "gw2", "-vvvv", code=2)
    assert "request v1 is open, with another key" in refused.output
    for path in fleet.version("gw2").iterdir():
        path.unlink()
    refused = bring(fleet, "gw2", "-vvvv", code=2)
    assert "version 1 is another key on this host" in refused.output

    # A connection that would copy the key into a file is refused before it is sent.
    put(tmp_path / "brought", "old.pass", b"quite-another-passphrase\n")
    refused = bring(fleet, "gw1", "-vvvv", code=2)
    assert "that its passphrase does not open" in refused.output

    scanner = Scanner()
    scanner.add_key("the key", plain)
    scanner.add_text("the passphrase", PASSPHRASE)
    scanner.add_text("another passphrase", b"quite-another-passphrase")
    found = [one for ran in fleet.runs for one in scanner.scan_text(ran.output.encode(), "output")]
    assert not found, explain(found)
    allowed = [tmp_path / "brought", fleet.host("gw1")]
    found = list(scanner.scan_tree(tmp_path, allowed))
    assert not found, explain(found)


def test_without_pipelining_nothing_is_sent(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    (tmp_path / "inventory").mkdir()
    fleet = Fleet(tmp_path / "inventory", openbao, site, encrypted=False)
    put(tmp_path / "brought", "old.p12", container(fleet, pki_factory.key("held", 4096)))
    put(tmp_path / "brought", "old.pass", PASSPHRASE)
    refused = bring(fleet, "gw1", "-e", "ansible_pipelining=false", code=2)
    assert "no key is delivered without pipelining" in refused.output
    assert not fleet.host("gw1").exists()
    assert not (fleet.base / "certificates").exists()
