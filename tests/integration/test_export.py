# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys are handed to another party: real playbooks and key server, three readers of PKCS #12."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from integration.export_world import ADMIN, HANDED, NOW, ExportWorld
from integration.openbao_server import OpenBao
from unit import controller_world

pytestmark = pytest.mark.integration

PLAIN = {"store": "transit"}


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> ExportWorld:
    """One accepted certificate, of which each test gets a copy."""
    world = ExportWorld(tmp_path_factory.mktemp("kept"), openbao, site)
    world.accepted()
    return world


@pytest.fixture
def world(kept: ExportWorld, tmp_path: Path) -> ExportWorld:
    """The same inventory in a directory of its own; key and Vault are shared."""
    return copy_of(kept, tmp_path)


def copy_of(kept: ExportWorld, home: Path) -> ExportWorld:
    made = object.__new__(ExportWorld)
    made.__dict__.update(kept.__dict__)
    made.home, made.base, made.out = home, home / "inventory", home / "out"
    made.folder = made.base / "group_vars" / "all"
    shutil.copytree(kept.base, made.base)
    return made


# --- the file ---------------------------------------------------------------------------------


def test_a_key_is_handed_out_with_its_certificate_and_whole_chain(world: ExportWorld) -> None:
    ran = world.export("--diff")
    (export,) = world.exports()
    (name,) = world.files()
    path, word = world.out / name, world.passphrase(export)
    assert ran.changed == 1
    assert (export["file"], export["recipient"], export["by"]) == (name, "provider-x", ADMIN)
    assert export["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (path.stat().st_mode & 0o7777, world.out.stat().st_mode & 0o7777) == (0o600, 0o700)
    assert f"passphrase is in Vault, {export['passphrase_in']}" in ran.output
    assert f"+- id: {export['id']}" in ran.output
    assert re.fullmatch(r"[a-z]+-[a-z]+-[a-z]+-[2-9a-z]{6}", word)

    opened = pkcs12.load_pkcs12(path.read_bytes(), word.encode())
    assert opened.cert is not None
    assert isinstance(opened.key, rsa.RSAPrivateKey)
    assert opened.key.public_key() == opened.cert.certificate.public_key()
    accepted = x509.load_pem_x509_certificate((world.version() / "certificate.pem").read_bytes())
    assert opened.cert.certificate == accepted
    above = [one.certificate.public_bytes(Encoding.DER) for one in opened.additional_certs]
    assert above == [world.issuing.der, world.root.der]


def test_openssl_tells_strong_encryption_of_key_certificates_and_integrity(
    world: ExportWorld,
) -> None:
    world.export()
    (export,) = world.exports()
    told = openssl(world, export)
    strong = "PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256"
    assert "MAC: sha256, Iteration 100000" in told
    assert f"PKCS7 Encrypted data: {strong}" in told
    assert f"Shrouded Keybag: {strong}" in told
    assert (told.count("Certificate bag"), told.count("Shrouded Keybag")) == (3, 1)


def test_java_opens_it_and_sees_the_whole_chain(world: ExportWorld) -> None:
    world.export()
    (export,) = world.exports()
    told = keytool(world, export)
    assert "Entry type: PrivateKeyEntry" in told
    assert "Certificate chain length: 3" in told
    assert f"Alias name: {world.name}" in told


def test_what_old_receivers_need_is_made_only_when_asked_for_and_then_reported(
    world: ExportWorld,
) -> None:
    assert "DIP-6.2-P12:" not in world.export().output
    ran = world.export(legacy="true")
    export = world.exports()[-1]
    assert "DIP-6.2-P12: the key does not travel in a PKCS 12 file that resists guessing" in (
        ran.output
    )
    told = openssl(world, export, "-legacy")
    assert "MAC: sha1, Iteration 100000" in told
    assert "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 100000" in told
    assert "Certificate chain length: 3" in keytool(world, export)


def openssl(world: ExportWorld, export: dict[str, Any], *more: str) -> str:
    """``openssl pkcs12 -info``, with the passphrase from a descriptor."""
    file = world.out / export["file"]
    return told(world, export, ["openssl", "pkcs12", "-in", str(file), "-info", "-nokeys", *more])


def keytool(world: ExportWorld, export: dict[str, Any]) -> str:
    program = shutil.which("keytool")
    assert program, (
        "keytool of a Java of 17 or newer is needed: apt-get install default-jre-headless"
    )
    file = world.out / export["file"]
    word = world.home / "word"
    word.write_text(world.passphrase(export))
    command = [program, "-J-Duser.language=en", "-list", "-v", "-storetype", "PKCS12"]
    done = subprocess.run(
        [*command, "-keystore", str(file), "-storepass:file", str(word)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(world: ExportWorld, export: dict[str, Any], command: list[str]) -> str:
    done = subprocess.run(
        [*command, "-passin", "stdin"],
        input=world.passphrase(export) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# --- again, and not ---------------------------------------------------------------------------


def test_each_run_is_another_export_with_another_passphrase(world: ExportWorld) -> None:
    world.export()
    world.export()
    first, second = world.exports()
    assert len(world.files()) == 2
    assert world.passphrase(first) != world.passphrase(second)


def test_the_same_id_is_exported_once(world: ExportWorld) -> None:
    mine = f"{world.name}.once"
    assert world.export(id=mine).changed == 1
    record = world.exports()
    again = world.export(id=mine)
    assert again.changed == 0
    assert "nothing is exported again" in again.output
    assert (world.exports(), world.files()) == (record, [f"{mine}.p12"])


def test_a_check_announces_and_touches_neither_key_nor_vault_nor_file(world: ExportWorld) -> None:
    before, kept = world.in_vault(), world.openbao.audit_log.read_text()
    ran = world.export("--check", "--diff")
    assert f"{world.name} v1: key would be exported to provider-x" in ran.output
    assert ran.changed == 1
    assert (world.exports(), world.files(), world.in_vault()) == ([], [], before)
    asked = world.openbao.audit_log.read_text()[len(kept) :]
    assert "/export/signing-key/" not in asked
    assert "passphrases/used" not in asked


# --- refused ----------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody's word": ({"by": ""}, "DIP-5.4.3-ROLES", "nobody named"),
    "no place": ({"destination": ""}, "EXPORT", "destination=DIRECTORY"),
    "no terminal": ({"show": "true"}, "EXPORT-TERMINAL", "leave show out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_a_key_is_touched(world: ExportWorld, case: str) -> None:
    changes, rule, words = REFUSED[case]
    kept = world.openbao.audit_log.read_text()
    ran = world.export(code=2, **changes)
    assert rule in ran.output
    assert words in ran.output
    assert (world.exports(), world.files()) == ([], [])
    assert "/export/signing-key/" not in world.openbao.audit_log.read_text()[len(kept) :]


def test_a_directory_that_others_may_enter_is_refused(world: ExportWorld) -> None:
    world.out.mkdir(mode=0o750)
    assert "mode 0750" in world.export(code=2).output
    assert world.files() == []


def test_a_key_that_was_made_to_stay_is_refused_with_the_way_to_one_that_can_go(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    world = ExportWorld(tmp_path, openbao, site, changes={"key": PLAIN})
    world.accepted()
    ran = world.export(code=2)
    assert "the key was made never to leave Vault" in ran.output
    assert "handover: true" in ran.output

    # The way that it says: another key and request, and the one in service stays as it is.
    world.changes = {"key": HANDED}
    world.set("certificates", [world.entry()])
    assert "key is not to be handed over -> is" in world.play("site").output
    world.answer(2)
    world.play("site")
    assert world.export().changed == 1
    assert [len(world.exports(number)) for number in (1, 2)] == [0, 1]


def test_a_key_of_one_provider_is_never_anothers_whatever_the_entry_says_then(
    world: ExportWorld,
) -> None:
    world.export()
    world.set("certificates", [world.entry(provider="provider-y")])
    ran = world.export(code=2, recipient="provider-y")
    assert "DIP-4.1.2-UNIQUE-PER-DCP" in ran.output
    assert len(world.files()) == 1


def test_a_revoked_certificate_is_not_handed_out(world: ExportWorld) -> None:
    pem = (world.version() / "certificate.pem").read_bytes()
    try:
        world.publish("issuing", [x509.load_pem_x509_certificate(pem).serial_number])
        shutil.rmtree(world.base / ".crl-cache", ignore_errors=True)
        assert "revoked" in world.export(code=2).output
    finally:
        world.publish("issuing")
    assert world.files() == []


def test_a_compromised_key_is_not_handed_out(world: ExportWorld) -> None:
    record = (world.version() / "request.yml").read_text()
    digest = re.search(r"spki_sha256: ([0-9a-f]{64})", record)
    assert digest
    entry = {
        "spki_sha256": digest[1], "certificate": world.name, "since": f"{NOW:%Y-%m-%d}",
        "reason": "a laptop was stolen",
    }  # fmt: skip
    (world.base / "compromised.yml").write_text(yaml.safe_dump({"compromised": [entry]}))
    ran = world.export(code=2)
    assert "a laptop was stolen" in ran.output
    assert world.files() == []


# --- the receipt ------------------------------------------------------------------------------


def test_a_receipt_is_recorded_once_and_told_by_the_check(world: ExportWorld) -> None:
    world.export(id=f"{world.name}.sent")
    given = {
        "certificate": world.name, "receipt": f"{world.name}.sent", "sent_with": "separate",
        "received_by": "Xena of Provider X",
    }  # fmt: skip
    checked = world.play("export", "--check", **given)
    assert checked.changed == 1
    assert "receipt" not in world.exports()[0]
    assert world.play("export", **given).changed == 1
    assert world.exports()[0]["receipt"]["received_by"] == "Xena of Provider X"
    assert world.play("export", **given).changed == 0
    other = world.play("export", code=2, **{**given, "sent_with": "file"})
    assert "says something else" in other.output
    unknown = world.play("export", code=2, **{**given, "receipt": "nothing"})
    assert "there is no such export" in unknown.output


# --- shown on the terminal --------------------------------------------------------------------


def test_a_passphrase_that_is_shown_is_on_the_terminal_and_nowhere_else(
    world: ExportWorld,
) -> None:
    log = world.home / "ansible.log"
    master, slave = os.openpty()
    # A session of its own with this terminal, and output that goes elsewhere.
    at_terminal = "import fcntl, os, sys, termios; fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY)"
    start = [
        sys.executable,
        "-c",
        f"{at_terminal}; os.execv(sys.argv[2], sys.argv[2:])",
        str(slave),
    ]
    command = world.command(
        "export", "-vvvv", "--diff", certificate=world.name, recipient="provider-x", by=ADMIN,
        destination=world.out, show="true",
    )  # fmt: skip

    printed = world.home / "printed"
    with printed.open("wb") as stream:
        done = subprocess.Popen(
            [*start, *command],
            env={**world.environment, "ANSIBLE_LOG_PATH": str(log)},
            cwd=world.base,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=(slave,),
            start_new_session=True,
        )
        os.close(slave)
        code = done.wait(timeout=300)
    os.set_blocking(master, False)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert code == 0, printed.read_text()
    (export,) = world.exports()
    assert export["passphrase_in"] == "terminal"
    (word,) = re.findall(r"\n    ([a-z]+-[a-z]+-[a-z]+-[2-9a-z]+)\r?\n", shown)
    content = (world.out / export["file"]).read_bytes()
    assert pkcs12.load_pkcs12(content, word.encode()).key is not None
    for place in (printed, log):
        assert word not in place.read_text(), place
    assert export["id"] not in world.in_vault()


# --- a run that is killed ---------------------------------------------------------------------


def test_a_run_that_is_killed_leaves_no_file_without_a_record(world: ExportWorld) -> None:
    command = world.command(
        "export", certificate=world.name, recipient="provider-x", by=ADMIN, destination=world.out
    )
    for seconds in (3.0, 4.5, 5.5, 6.0, 6.5):
        done = subprocess.Popen(
            command,
            env=world.environment,
            cwd=world.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            done.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)
            done.wait()
        recorded = {one["file"] for one in world.exports()}
        assert {name for name in world.files() if not name.startswith(".")} <= recorded
    assert world.export().changed == 1


# --- the whole way ----------------------------------------------------------------------------


def test_a_provider_brings_the_key_into_its_own_vault_and_signs_with_it(
    world: ExportWorld, tmp_path: Path
) -> None:
    world.export()
    (export,) = world.exports()
    provider = copy_of(world, tmp_path / "provider")
    shutil.rmtree(provider.base / "certificates")
    provider.name = f"{world.name}-theirs"
    provider.set("certificates", [provider.entry(key=PLAIN)])
    provider.set("certificates_import_vault", provider.openbao.options("import"))
    brought = tmp_path / "word"
    brought.write_text(world.passphrase(export))
    brought.chmod(0o600)
    given = {
        "certificate": provider.name, "key_file": world.out / export["file"],
        "passphrase_file": brought,
    }  # fmt: skip

    # Of another domain it is not theirs to bring: the import compares organisation and name.
    provider.set("certificates", [provider.entry(key=PLAIN, domain="other.co.uk")])
    assert "KEY-OWNER" in provider.play("import", code=2, **given).output
    provider.set("certificates", [provider.entry(key=PLAIN)])
    assert "key imported" in provider.play("import", **given).output
    provider.play("site")
    assert (provider.version() / "accepted.yml").exists()

    message = b"a message of the participant's"
    mount = "transit-nonprod-signing"
    body = {
        "input": base64.b64encode(message).decode(),
        "signature_algorithm": "pkcs1v15",
        "key_version": 1,
    }
    with provider.openbao.client("pipeline") as client:
        assert (client.read(f"{mount}/keys/{provider.name}") or {})["exportable"] is False
        told = client.write(f"{mount}/sign/{provider.name}/sha2-256", body)
    signature = base64.b64decode(str(told["signature"]).rpartition(":")[2])
    accepted = x509.load_pem_x509_certificate((world.version() / "certificate.pem").read_bytes())
    public = accepted.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
