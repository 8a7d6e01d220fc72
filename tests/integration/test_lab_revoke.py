# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in CA revokes for a reason, and its list says so at the address it always had."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from integration.lab_fixture import Lab, Run, running_lab
from pki.crl import Crl, reason_of

pytestmark = [pytest.mark.integration, pytest.mark.lab]

OWN, PUBLISHED = "/v1/pki-dca/crl", "/published/dca.crl"
LIST = "farend/published/pki-dca.crl"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this file's own: what is revoked in it stays revoked."""
    with running_lab(tmp_path_factory.mktemp("revoking") / "home") as own:
        yield own


def serial_of(lab: Lab, peer: str) -> int:
    pem = (lab.home / "peers" / peer / "certificate.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).serial_number


def revoke(lab: Lab, serial: str, reason: str, *arguments: str, expected: int = 0) -> Run:
    values = json.dumps({"lab_revoke_serial": serial, "lab_revoke_reason": reason})
    return lab.play("revoke", "-e", values, *arguments, expected=expected)


def crl(lab: Lab, path: str = OWN) -> Crl:
    return Crl.parse(lab.http(path).body)


def reason(lab: Lab, peer: str, path: str = OWN) -> str:
    """What our own reader makes of a peer's entry; empty without one."""
    entry = crl(lab, path).entry(serial_of(lab, peer))
    return reason_of(entry) if entry else ""


def snapshot(lab: Lab) -> tuple[bytes, ...]:
    files = (lab.home / "revocations.json", lab.home / LIST)
    return (
        *(path.read_bytes() if path.exists() else b"" for path in files),
        lab.http(OWN).body,
        lab.http(PUBLISHED).body,
    )


def number(lab: Lab, path: str = OWN) -> int:
    found = crl(lab, path).number
    assert found is not None
    return found


def test_a_check_says_what_would_be_revoked_and_changes_nothing(lab: Lab) -> None:
    before = snapshot(lab)
    run = revoke(lab, f"{serial_of(lab, 'sibling'):x}", "key_compromise", "--check", expected=2)
    assert "has not issued such a certificate" in run.output
    run = revoke(lab, f"{serial_of(lab, 'dip-client'):x}", "key_compromise", "--check", "--diff")
    assert run.changed == 1
    assert "reason code 1" in run.output
    assert snapshot(lab) == before
    assert not (lab.home / "revocations.json").exists()


def test_a_revocation_with_a_reason_is_listed_with_it_where_the_list_always_was(lab: Lab) -> None:
    before = {path: number(lab, path) for path in (OWN, PUBLISHED)}
    started = datetime.now(UTC).replace(microsecond=0)
    assert revoke(lab, f"{serial_of(lab, 'dip-client'):x}", "key_compromise").changed == 1
    for path, earlier in before.items():
        assert reason(lab, "dip-client", path) == "keyCompromise"
        found = crl(lab, path)
        assert number(lab, path) > earlier
        assert found.signed_by(ca_der(lab))
        assert started <= found.this_update <= datetime.now(UTC)
        assert found.next_update == found.this_update + timedelta(hours=24)
        entry = found.entry(serial_of(lab, "dip-client"))
        assert entry is not None
        assert started <= entry.revocation_date_utc <= found.this_update


def ca_der(lab: Lab) -> bytes:
    pem = (lab.home / "ca/dca.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_openssl_reads_the_reason_and_those_without_one_are_listed_still(
    lab: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "dca.crl"
    file.write_bytes(lab.http(OWN).body)
    command = ["openssl", "crl", "-inform", "DER", "-in", str(file), "-noout", "-text"]
    command += ["-CAfile", str(lab.home / "ca/dca.pem")]
    read = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "verify OK" in read.stderr
    assert read.stdout.count("Key Compromise") == 1
    assert f"{serial_of(lab, 'dip-client'):X}" in read.stdout
    assert reason(lab, "revoked") == reason(lab, "dip-revoked") == "no reason given"
    assert reason(lab, "dip-server") == ""


def test_its_ocsp_says_revoked_from_the_same_moment(lab: Lab) -> None:
    command = ["openssl", "ocsp", "-issuer", str(lab.home / "ca/dca.pem"), "-no_nonce", "-noverify"]
    command += ["-cert", str(lab.home / "peers/dip-client/certificate.pem")]
    command += ["-url", f"http://127.0.0.1:{lab.port('pki_http')}/v1/pki-dca/ocsp"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "certificate.pem: revoked" in said.stdout, said.stderr


def test_the_same_word_again_changes_nothing_however_the_serial_is_written(lab: Lab) -> None:
    before = snapshot(lab)
    text = f"{serial_of(lab, 'dip-client'):040X}"
    colons = ":".join(text[at : at + 2] for at in range(0, len(text), 2))
    assert revoke(lab, colons, "key_compromise").changed == 0
    assert lab.play("up").changed == 0
    assert snapshot(lab) == before


@pytest.mark.parametrize(
    ("serial", "why", "sentence"),
    [
        ("", "certificate_superseded", "revoked for another reason already"),
        ("", "removal_from_crl", "never taken off the list again"),
        ("", "cA_compromise", "does not revoke for this reason"),
        ("12345", "key_compromise", "has not issued such a certificate"),
        ("dip-client", "key_compromise", "is no serial number"),
        ("f" * 42, "key_compromise", "is no serial number"),
    ],
)
def test_what_a_ca_would_not_do_is_refused_in_words_and_changes_nothing(
    lab: Lab, serial: str, why: str, sentence: str
) -> None:
    before = snapshot(lab)
    refused = revoke(lab, serial or f"{serial_of(lab, 'dip-client'):x}", why, expected=2)
    assert "LAB-REVOKE" in refused.output
    assert sentence in " ".join(refused.output.split())
    assert snapshot(lab) == before


def test_a_list_that_is_about_to_end_is_signed_anew_with_every_reason(lab: Lab) -> None:
    before = number(lab)
    with lab.client("lab-ca") as client:
        answer = client.write(
            "pki-dca/issuer/default/sign-revocation-list",
            {"crl_number": before + 7, "next_update": "1h", "format": "pem", "revoked_certs": []},
        )
    ending = x509.load_pem_x509_crl(str(answer["crl"]).encode()).public_bytes(Encoding.DER)
    (lab.home / LIST).write_bytes(ending)
    assert reason(lab, "dip-client") == ""
    assert lab.play("up").changed == 1
    assert reason(lab, "dip-client") == "keyCompromise"
    assert number(lab) > before + 7
    end = crl(lab).next_update
    assert end is not None
    assert end > datetime.now(UTC) + timedelta(hours=23)
    assert lab.play("up").changed == 0


def test_a_revocation_that_was_only_written_down_is_finished_by_the_next_up(lab: Lab) -> None:
    """What a run that was killed after its first step leaves."""
    path = lab.home / "revocations.json"
    told = json.loads(path.read_text())
    text = f"{serial_of(lab, 'wrong-prefix'):x}"
    text = text.zfill(len(text) + len(text) % 2)
    colons = ":".join(text[at : at + 2] for at in range(0, len(text), 2))
    told["pki-dca"].append({"serial": colons, "revoked": "2026-01-02T03:04:05Z", "code": 4})
    path.write_text(json.dumps(told))
    assert reason(lab, "wrong-prefix") == ""
    assert lab.play("up").changed == 1
    assert reason(lab, "wrong-prefix") == reason(lab, "wrong-prefix", PUBLISHED) == "superseded"
    assert reason(lab, "dip-client") == "keyCompromise"
    with lab.client("lab-ca") as client:
        known = client.read(f"pki-dca/cert/{colons}") or {}
    assert known["revocation_time"]
    assert lab.play("up").changed == 0


def test_a_damaged_ledger_is_not_taken_for_an_empty_one(lab: Lab) -> None:
    path = lab.home / "revocations.json"
    right, before = path.read_bytes(), lab.http(OWN).body
    try:
        path.write_bytes(right[:-20])
        refused = lab.play("up", expected=2)
    finally:
        path.write_bytes(right)
    assert "the ledger of revocations cannot be read" in refused.output
    assert lab.http(OWN).body == before
