# SPDX-License-Identifier: GPL-3.0-or-later
"""A key that is imported, its passphrase, and everything printed and kept on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12
from integration.bringing_desk import Desk
from integration.canary import Scanner, explain
from integration.openbao_server import OpenBao
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration

PASSPHRASE = b"the-word-that-opens-it"
WRONG = b"a-word-that-opens-nothing"
LOUD = ("-vvvv", "--diff")


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


def test_neither_key_nor_passphrase_is_told_whatever_goes_wrong(
    tmp_path: Path, openbao: OpenBao, site: controller_world.Web
) -> None:
    desk = Desk(tmp_path, openbao, site)
    key, other = (pki_factory.key(f"{desk.name} {which}", 4096) for which in ("own", "other"))
    plain = [
        one.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
        for one in (key, other)
    ]
    leaf = desk.leaf(key)
    sealed = pkcs12.serialize_key_and_certificates(
        b"x",
        key,
        x509.load_der_x509_certificate(leaf),
        None,
        serialization.BestAvailableEncryption(PASSPHRASE),
    )
    p12, word = desk.bring("key.p12", sealed), desk.bring("word", PASSPHRASE)
    wrong = desk.bring("wrong", WRONG)
    good = {"certificate": desk.name, "key_file": p12, "passphrase_file": word}
    foreign = desk.bring("foreign.pem", pki_factory.pem(desk.leaf(other)))
    taken = desk.bring("taken.pem", plain[1] + pki_factory.pem(desk.leaf(other)))
    loose = desk.bring("loose.pem", plain[0], 0o640)
    cut = desk.bring("cut.pem", plain[0][:1500] + b"\n-----END PRIVATE KEY-----\n")
    settings = desk.base / "group_vars/all/certificates_import_vault.yml"
    right = settings.read_text()

    printed = {}
    failures = {
        "wrong passphrase": ("does not open", {**good, "passphrase_file": wrong}),
        "a key for a passphrase": ("more than 1024 bytes", {**good, "passphrase_file": taken}),
        "wrong certificate": (
            "does not belong to the key",
            {"certificate": desk.name, "key_file": desk.bring("k", plain[0])}
            | {"certificate_file": foreign},
        ),
        "a key for a certificate": ("private key", {**good, "certificate_file": taken}),
        "nobody's": (
            "nothing shows whose key this is",
            {"certificate": desk.name, "key_file": desk.bring("k", plain[0])},
        ),
        "loose": ("mode 0640", {"certificate": desk.name, "key_file": loose}),
        "cut": ("cannot be opened", {"certificate": desk.name, "key_file": cut}),
        "a key for a request": ("the file holds a private key", None),
    }
    for name, (words, given) in failures.items():
        if given is None:
            extra = {"certificate": desk.name, "csr_file": taken}
            entry = desk.base / "group_vars/all/certificates.yml"
            before = entry.read_text()
            entry.write_text(before.replace("store: transit", "store: external"))
            printed[name] = desk.play("supply", *LOUD, code=2, **extra).output
            entry.write_text(before)
        else:
            printed[name] = desk.play("import", *LOUD, code=2, **given).output
        assert words in printed[name], name
    settings.write_text(right.replace("import.", "pipeline."))
    printed["denied"] = desk.play("import", *LOUD, code=2, **good).output
    assert "VAULT-DENIED" in printed["denied"]
    settings.write_text(right)
    assert (desk.files(), desk.key()) == ({}, {})
    printed["checked"] = desk.play("import", *LOUD, "--check", **good).output
    printed["imported"] = desk.play("import", *LOUD, **good).output
    printed["again"] = desk.play("import", *LOUD, **good).output
    for path in (desk.base / "certificates").rglob("*.*"):
        path.unlink()
    late = {"certificate": desk.name, "key_file": taken}
    printed["taken"] = desk.play("import", *LOUD, code=2, **late).output
    assert "the name is taken by another key" in printed["taken"]

    loose.unlink()
    scanner = Scanner()
    for name, pem in zip(("own key", "other key"), plain, strict=True):
        scanner.add_key(name, pem)
    scanner.add_text("passphrase", PASSPHRASE)
    scanner.add_text("wrong passphrase", WRONG)
    # The scanner does find what it looks for.
    assert scanner.scan_text(plain[0], "a test")
    assert scanner.scan_text(b"x" + PASSPHRASE, "a test")
    found = [
        one for name, text in printed.items() for one in scanner.scan_text(text.encode(), name)
    ]
    found += scanner.scan_tree(desk.home, [desk.home / "brought"])
    found += scanner.scan_file(openbao.audit_log)
    assert not found, explain(found)
