# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and requests that exist already are brought in: real playbooks, a real key server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from integration.bringing_desk import CN, DAY, NOW, Desk
from integration.openbao_server import OpenBao
from pki import csr
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration

PASSPHRASE = b"correct-horse-battery-staple"
NOTHING = serialization.NoEncryption()
REQUEST = ("request.csr", "request.yml", "submission.txt")


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture
def desk(tmp_path: Path, openbao: OpenBao, site: controller_world.Web) -> Desk:
    return Desk(tmp_path, openbao, site)


@pytest.fixture
def device(tmp_path: Path, openbao: OpenBao, site: controller_world.Web) -> Desk:
    return Desk(tmp_path, openbao, site, store="external")


def key_of(desk: Desk) -> rsa.RSAPrivateKey:
    """A key of its own for each desk: no two entries may have the same one."""
    return pki_factory.key(desk.name, 4096)


def container(key: rsa.RSAPrivateKey, leaf: bytes, *above: bytes) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"old gateway",
        key,
        x509.load_der_x509_certificate(leaf),
        [x509.load_der_x509_certificate(one) for one in above],
        serialization.BestAvailableEncryption(PASSPHRASE),
    )


def pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NOTHING)


def names(desk: Desk) -> set[str]:
    return set(desk.files())


def of_version(desk: Desk, version: int, *files: str) -> set[str]:
    return {f"{desk.name}/{version}/{name}" for name in files}


# --- import ----------------------------------------------------------------------------------


def test_a_key_with_its_certificate_is_one_import_and_one_site(desk: Desk) -> None:
    key = key_of(desk)
    leaf = desk.leaf(key)
    given = {
        "certificate": desk.name,
        "key_file": desk.bring("old.p12", container(key, leaf, desk.issuing.der)),
        "passphrase_file": desk.bring("old.pass", PASSPHRASE + b"\n"),
    }
    whose = f"the key belongs to {pki_factory.SUBJECT['O']}, {CN}"

    checked = desk.play("import", "--check", "--diff", **given)
    assert whose in checked.output
    assert f"{desk.name} v1: key would be imported" in checked.output
    assert "+-----BEGIN CERTIFICATE REQUEST-----" in checked.output
    assert checked.changed == 1
    assert (desk.files(), desk.key()) == ({}, {})

    brought = desk.play("import", "--diff", **given)
    assert whose in brought.output
    assert brought.changed == 1
    assert names(desk) == of_version(desk, 1, *REQUEST, "reply.pem")
    there = desk.key()
    assert (there["type"], there["exportable"], there["imported_key"]) == ("rsa-4096", True, True)
    assert there["latest_version"] == 1
    request = desk.request(1)
    assert request.spki_der == csr.spki_der(key.public_key())
    assert request.signature_valid
    assert desk.record(1)["key"]["imported"] is True
    assert "+  imported: true\n" in brought.output

    files = desk.files()
    assert desk.play("import", **given).changed == 0
    assert desk.files() == files

    accepted = desk.play("site")
    assert f"{desk.name}/1/accepted.yml" in names(desk)
    assert "DIP-7.1.2-OWN" not in accepted.output
    assert (
        x509.load_pem_x509_certificate(desk.read(1, "certificate.pem")).public_bytes(Encoding.DER)
        == leaf
    )
    assert desk.play("site").changed == 0
    assert desk.play("import", **given).changed == 0


def test_what_an_import_left_is_what_any_other_run_would_write(desk: Desk) -> None:
    key = key_of(desk)
    desk.play(
        "import",
        certificate=desk.name,
        key_file=desk.bring("key.pem", pkcs8(key)),
        certificate_file=desk.bring(
            "cert.pem", pki_factory.pem(desk.leaf(key, end=NOW - DAY / 24))
        ),
    )
    # The certificate has ended: it shows whose the key is, and is no reply.
    assert names(desk) == of_version(desk, 1, *REQUEST)
    written = desk.files()
    for name in written:
        (desk.base / "certificates" / name).unlink()
    desk.play("site")
    assert {name: data for name, (data, _, _) in desk.files().items()} == {
        name: data for name, (data, _, _) in written.items()
    }


def test_after_an_import_the_engine_makes_the_next_key_itself_and_takes_no_other(
    desk: Desk,
) -> None:
    key = key_of(desk)
    given = {
        "key_file": desk.bring(
            "key.der", key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NOTHING)
        ),
        "certificate_file": desk.bring("cert.der", desk.leaf(key)),
    }
    desk.play("import", certificate=desk.name, **given)
    desk.play("site")
    desk.play("renew", certificate=desk.name, reason="a test")
    assert desk.key()["latest_version"] == 2
    assert desk.request(2).spki_sha256 != desk.request(1).spki_sha256
    another = pki_factory.key(f"{desk.name} 2", 4096)
    late = {
        "key_file": desk.bring("late.pem", pkcs8(another)),
        "certificate_file": desk.bring("late.crt", desk.leaf(another)),
    }
    files = desk.files()
    refused = desk.play("import", code=2, certificate=desk.name, **late)
    assert "request v2 is open, with another key" in refused.output
    desk.play("outcome", certificate=desk.name, outcome="withdrawn", reason="an import instead")
    refused = desk.play("import", code=2, certificate=desk.name, **late)
    assert "the engine takes no imported version beside one that it made" in refused.output
    assert desk.key()["latest_version"] == 2
    assert names(desk) - set(files) == of_version(desk, 2, "outcome.yml")


def test_a_second_imported_version_follows_the_first(desk: Desk) -> None:
    for version in (1, 2):
        key = pki_factory.key(f"{desk.name} v{version}", 4096)
        file = desk.bring("key.pem", pkcs8(key) + pki_factory.pem(desk.leaf(key)))
        desk.play("import", certificate=desk.name, key_file=file)
        (desk.base / "certificates" / desk.name / str(version) / "reply.pem").unlink()
        said = {"outcome": "withdrawn", "reason": "a test"}
        desk.play("outcome", certificate=desk.name, **said)
        assert desk.key()["latest_version"] == version
    assert desk.key()["imported_key"] is True
    # Neither of them can be brought again: their requests came to nothing.
    refused = desk.play("import", code=2, certificate=desk.name, key_file=file)
    assert "the request with this key was withdrawn" in refused.output


def test_another_participants_key_is_refused_with_the_name_it_belongs_to(desk: Desk) -> None:
    key = pki_factory.key("held", 4096)
    leaf = desk.leaf(key, subject={**pki_factory.SUBJECT, "O": "Somebody Else Ltd"})
    given = {
        "key_file": desk.bring("key.pem", pkcs8(key)),
        "certificate_file": desk.bring("cert.pem", pki_factory.pem(leaf)),
    }
    refused = desk.play("import", code=2, certificate=desk.name, **given)
    assert "the key belongs to another participant" in refused.output
    assert "Somebody Else Ltd" in refused.output
    assert (desk.files(), desk.key()) == ({}, {})


def test_a_name_that_is_taken_is_refused_and_stays_as_it_is(desk: Desk) -> None:
    desk.play("site")
    before, files = desk.key(), desk.files()
    key = pki_factory.key("held", 4096)
    file = desk.bring("key.pem", pkcs8(key) + pki_factory.pem(desk.leaf(key)))
    refused = desk.play("import", code=2, certificate=desk.name, key_file=file)
    assert "request v1 is open, with another key" in refused.output
    for name in files:
        (desk.base / "certificates" / name).unlink()
    refused = desk.play("import", code=2, certificate=desk.name, key_file=file)
    assert "the name is taken by another key" in refused.output
    assert (desk.key(), desk.files()) == (before, {})


def test_the_pipelines_own_login_cannot_import(desk: Desk) -> None:
    vault = desk.base / "group_vars/all/certificates_import_vault.yml"
    vault.write_text(vault.read_text().replace("import.", "pipeline."))
    key = pki_factory.key("held", 4096)
    file = desk.bring("key.pem", pkcs8(key) + pki_factory.pem(desk.leaf(key)))
    refused = desk.play("import", code=2, certificate=desk.name, key_file=file)
    assert "VAULT-DENIED" in refused.output
    assert "wrapping_key" in refused.output
    assert (desk.files(), desk.key()) == ({}, {})


# --- supply ----------------------------------------------------------------------------------


def made_by_a_device(desk: Desk, *arguments: str, name: str = "device") -> bytes:
    """A request as openssl on an appliance makes it, and its key, which stays there."""
    subject = pki_factory.SUBJECT
    parts = "".join(f"/{part}={subject[part]}" for part in ("C", "ST", "L", "O"))
    key = desk.bring(f"{name}.key", pkcs8(pki_factory.key(f"{desk.name} {name}", 4096)))
    command = ["openssl", "req", "-new", "-sha256", "-key", str(key), "-subj", f"{parts}/CN={CN}"]
    done = subprocess.run(
        [*command, "-utf8", *arguments], capture_output=True, check=True, cwd=desk.base
    )
    return done.stdout


def test_a_devices_request_is_taken_in_answered_and_kept(device: Desk) -> None:
    request = made_by_a_device(device, "-text")
    given = {"certificate": device.name, "csr_file": device.bring("f5.csr", request)}
    checked = device.play("supply", "--check", "--diff", **given)
    assert checked.changed == 1
    assert "store: external" in checked.output
    assert device.files() == {}

    assert device.play("supply", **given).changed == 1
    assert names(device) == of_version(device, 1, *REQUEST)
    record = device.record(1)
    assert record["key"]["store"] == "external"
    assert record["key"]["type"] == "rsa-4096"
    assert "mount" not in record["key"]
    assert device.request(1).spki_sha256 == csr.parse(request).spki_sha256
    assert device.read(1, "request.csr").startswith(b"-----BEGIN CERTIFICATE REQUEST-----\n")

    files = device.files()
    again = device.bring("f5.der", x509.load_pem_x509_csr(request).public_bytes(Encoding.DER))
    for csr_file in (given["csr_file"], again):
        assert device.play("supply", certificate=device.name, csr_file=csr_file).changed == 0
    device.play("site")
    assert device.files() == files

    other = device.bring("other.csr", made_by_a_device(device, name="other"))
    refused = device.play("supply", code=2, certificate=device.name, csr_file=other)
    assert "request v1 is open, and is another one" in refused.output
    assert "outcome=withdrawn" in refused.output

    leaf = device.leaf(pki_factory.key(f"{device.name} device", 4096))
    reply = device.base / "certificates" / device.name / "1" / "reply.txt"
    reply.write_bytes(pki_factory.pem(leaf) + device.issuing.pem)
    device.play("site")
    kept = ("reply.txt", "certificate.pem", "chain.pem", "accepted.yml")
    assert names(device) == of_version(device, 1, *REQUEST, *kept)
    assert device.play("site").changed == 0
    assert device.key() == {}

    # For the next one the device has to make another key.
    refused = device.play("supply", code=2, **given)
    assert "was in another request already" in refused.output
    assert device.play("supply", certificate=device.name, csr_file=other).changed == 1
    assert device.request(2).spki_sha256 != device.request(1).spki_sha256


def test_a_request_that_the_policy_refuses_is_not_taken_in(device: Desk) -> None:
    request = made_by_a_device(device, "-addext", "keyUsage=digitalSignature")
    file = device.bring("bad.csr", request)
    refused = device.play("supply", code=2, certificate=device.name, csr_file=file)
    assert "keyUsage" in refused.output
    assert device.files() == {}


def test_a_private_key_beside_a_request_is_refused_and_not_shown(device: Desk) -> None:
    key = pkcs8(pki_factory.key("held", 4096))
    file = device.bring("both.pem", key + made_by_a_device(device))
    refused = device.play("supply", "-vvvv", code=2, certificate=device.name, csr_file=file)
    assert "the file holds a private key" in refused.output
    assert key.splitlines()[3].decode() not in refused.output


def test_a_request_is_taken_in_only_where_a_device_makes_the_key(desk: Desk) -> None:
    file = desk.bring("f5.csr", made_by_a_device(desk))
    refused = desk.play("supply", code=2, certificate=desk.name, csr_file=file)
    assert "the key of this entry is made by us" in refused.output
