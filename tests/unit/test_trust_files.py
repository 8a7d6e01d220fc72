# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA is trusted because its fingerprint is pinned, and for nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from pki import trust_files
from pki.errors import PkiError
from pki.inventory import CaFile, Declared, TrustSet
from unit import pki_factory as factory
from unit.controller_world import ISSUING, ROOT, TRUST, World, whole

URLS = ("http://crl.example/issuing", "http://mirror.example/issuing")


def load(base: Path, *issuers: CaFile) -> trust_files.LoadedTrust:
    (base / "root.pem").write_bytes(ROOT.pem)
    anchors = (CaFile("root.pem", ROOT.sha256, ("http://crl.example/root",)),)
    trust = TrustSet(TRUST, "mhhs-dip", "nonprod", anchors, issuers)
    return trust_files.load_all(Declared({}, {}, {TRUST: trust}), base)[TRUST]


def load_one(base: Path, content: bytes, pin: str = ISSUING.sha256) -> trust_files.Ca:
    (base / "issuing.pem").write_bytes(content)
    (ca,) = load(base, CaFile("issuing.pem", pin, URLS)).issuers
    return ca


def refusal(base: Path, content: bytes | None, pin: str = ISSUING.sha256) -> PkiError:
    if content is not None:
        (base / "issuing.pem").write_bytes(content)
    with pytest.raises(PkiError) as caught:
        load(base, CaFile("issuing.pem", pin, URLS))
    error = whole(caught.value)
    place = "group_vars/all/trust.yml: trust.dca.issuers[0]"
    assert error.where == f"{place} ({base}/issuing.pem)"
    assert error.message.count("issuing.pem") == 1
    return error


FORMS = {
    "PEM": ISSUING.pem,
    "DER": ISSUING.der,
    "PEM with text around": b"subject=CN = Example Issuing\n" + ISSUING.pem + b"\n-- \nThe CA\n",
    "PEM with carriage returns": ISSUING.pem.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pinned_ca_is_read_in_every_usual_form(tmp_path: Path, form: str) -> None:
    assert load_one(tmp_path, FORMS[form]) == trust_files.Ca(
        der=ISSUING.der,
        pem=ISSUING.pem,
        sha256=ISSUING.sha256,
        common_name="Example Issuing",
        crl_urls=URLS,
    )


def test_a_certificate_other_than_the_pinned_one_is_refused_with_both_digests(
    tmp_path: Path,
) -> None:
    error = refusal(tmp_path, factory.authority("Example Issuing", key_name="impostor").pem)
    assert error.rule == "TRUST-PIN"
    assert error.expected == f"SHA-256 {ISSUING.sha256}"
    assert error.found.startswith("SHA-256 ")
    assert ISSUING.sha256 not in error.found


def test_the_same_name_and_key_in_another_certificate_is_another_certificate(
    tmp_path: Path,
) -> None:
    again = ROOT.authority("Example Issuing", path_length=0)
    assert again.certificate.public_key() == ISSUING.certificate.public_key()
    assert refusal(tmp_path, again.pem).rule == "TRUST-PIN"


def test_a_missing_file_is_named_and_nothing_is_downloaded(tmp_path: Path) -> None:
    error = refusal(tmp_path, None)
    assert error.rule == "TRUST-FILE"
    assert error.found == "No such file or directory"
    assert "never downloaded" in error.next_step


def test_a_directory_is_no_ca_file(tmp_path: Path) -> None:
    (tmp_path / "issuing.pem").mkdir()
    assert refusal(tmp_path, None).found == "Is a directory"


def version_4() -> bytes:
    """The issuing CA's certificate saying that it is of a version that does not exist."""
    marker = bytes.fromhex("a003020102")
    assert ISSUING.der.count(marker) == 1
    return ISSUING.der.replace(marker, bytes.fromhex("a003020105"))


NOT_ONE = {
    "two certificates": ISSUING.pem + ROOT.pem,
    "the same certificate twice": ISSUING.pem + ISSUING.pem,
    "nothing": b"",
    "text": b"-- Example Issuing --\n",
    "an empty PEM block": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "a CRL": x509.load_der_x509_crl(ISSUING.crl()).public_bytes(Encoding.PEM),
    "a private key": ISSUING.private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ),
    "a cut DER": ISSUING.der[:-1],
    "DER with more behind it": ISSUING.der + b"\n",
    "a version that does not exist": version_4(),
}


@pytest.mark.parametrize("kind", NOT_ONE)
def test_a_file_holds_exactly_one_certificate(tmp_path: Path, kind: str) -> None:
    error = refusal(tmp_path, NOT_ONE[kind])
    assert error.rule == "TRUST-FILE"
    assert error.expected == "exactly one certificate in PEM or DER"


def test_files_are_relative_to_the_inventory_or_absolute(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ca.der").write_bytes(ISSUING.der)
    relative = load(tmp_path, CaFile("elsewhere/ca.der", ISSUING.sha256, ()))
    absolute = load(tmp_path, CaFile(str(elsewhere / "ca.der"), ISSUING.sha256, ()))
    assert relative == absolute


def test_crls_are_needed_of_issuing_cas_first_and_then_of_anchors(tmp_path: Path) -> None:
    trust = World(tmp_path).inputs().trust[TRUST]
    assert [ca.common_name for ca in trust.authorities] == ["Example Issuing", "Example Root"]


def test_a_ca_without_common_name_is_called_by_its_whole_subject(tmp_path: Path) -> None:
    organisation = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Old CA")])
    der = ROOT.leaf(full_name=organisation, ca=True)
    pin = hashlib.sha256(der).hexdigest()
    assert load_one(tmp_path, der, pin).common_name == "O=Old CA"
