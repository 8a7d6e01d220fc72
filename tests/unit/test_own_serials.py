# SPDX-License-Identifier: GPL-3.0-or-later
"""A revoked certificate of ours is found in the CRL or by its OCSP responder, with the play to run.

The responder is openssl's own, so its clock is today's.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki_host import own_serials
from pki_host.crl_watch import Authority, Known, Limits, TrustWatch
from pki_host.own_serials import Asked
from unit import pki_factory as factory

TODAY = datetime.now(UTC).replace(microsecond=0)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SPAN: dict[str, Any] = {"start": TODAY - 9 * DAY, "end": TODAY + 90 * DAY}
ROOT = factory.authority("Example Root", **SPAN)
CA = ROOT.authority("Example Issuing", **SPAN)
TWIN = ROOT.authority("Example Issuing", key_name="Twin", **SPAN)
STRANGER = factory.authority("Stranger", **SPAN)
GOOD, BAD, ODD = 5, 6, 0x7F00000000000000000007
LIMITS = Limits(1, 0.1, 2, 1, 5, 10, 1 << 20, "")
SINCE = "2025-11-01T10:20:30Z"


def leaf(serial: int) -> bytes:
    return CA.leaf(serial=serial, **SPAN)


def known(serial: int, *urls: str, kind: str = "ours", **other: Any) -> Known:
    pem = factory.pem(leaf(serial)).decode()
    what = f"{kind} {serial}"
    fields = Known(what, "dip-nonprod", kind, serial, CA.sha256, "", urls, pem)
    return replace(fields, **other)


def authority(ca: factory.Authority) -> Authority:
    return Authority("CA", ca.sha256, ca.pem.decode(), (), "user")


def trust(*of: Known, authorities: tuple[factory.Authority, ...] = (CA, ROOT)) -> TrustWatch:
    return TrustWatch("dip", tuple(map(authority, authorities)), {}, of, 398)


# --- by the CRL ----------------------------------------------------------------------------------


def test_a_serial_of_ours_on_the_list_of_its_ca_is_told(tmp_path: Path) -> None:
    reason = x509.ReasonFlags.superseded
    when = datetime(2025, 11, 1, 10, 20, 30, tzinfo=UTC)
    lists = {
        CA: CA.crl([BAD, ODD], reason=reason, revoked_at=when),
        ROOT: ROOT.crl([GOOD]),  # the same number under another CA is another certificate
    }
    paths = {}
    for ca, data in lists.items():
        paths[ca.sha256] = str(tmp_path / ca.sha256)
        (tmp_path / ca.sha256).write_bytes(data)
    found = own_serials.revoked(trust(known(GOOD), known(BAD), known(ODD)), paths)
    assert [(one.what, one.serial) for one in found] == [
        ("ours 6", "6"),
        (f"ours {ODD}", "7f00000000000000000007"),
    ]
    first = found[0]
    assert (first.certificate, first.source, first.since, first.reason) == (
        "dip-nonprod",
        "CRL",
        SINCE,
        "superseded",
    )


NEXT_STEPS = {
    ("ours", "superseded"): "playbooks/renew.yml -e certificate=dip-nonprod",
    ("ours", "key_compromise"): "playbooks/revoke.yml -e certificate=dip-nonprod",
    ("ca", "ca_compromise"): "pin that one",
    ("peer", "superseded"): "tell the far end",
}


@pytest.mark.parametrize(("kind", "reason"), NEXT_STEPS)
def test_the_alarm_says_what_to_run(kind: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "crl"
    path.write_bytes(CA.crl([BAD], reason=x509.ReasonFlags[reason]))
    (found,) = own_serials.revoked(trust(known(BAD, kind=kind)), {CA.sha256: str(path)})
    assert NEXT_STEPS[kind, reason] in found.next_step


# --- by a responder ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Responder:
    """A running one; it knows one good and one revoked serial."""

    url: str


@pytest.fixture(scope="module")
def responder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Responder]:
    folder = tmp_path_factory.mktemp("responder")
    key = CA.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "ca.pem").write_bytes(CA.pem)
    (folder / "ca.key").write_bytes(key)
    lines = [
        f"V\t401231000000Z\t\t{GOOD:02X}\tunknown\t/CN=a",
        f"R\t401231000000Z\t251101102030Z,superseded\t{BAD:02X}\tunknown\t/CN=b",
    ]
    (folder / "index.txt").write_text("\n".join(lines) + "\n")
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    signer = ["-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key"]
    with subprocess.Popen(
        ["openssl", "ocsp", "-index", "index.txt", *signer, "-port", str(port), "-nmin", "60"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            # Not found out by connecting: it waits for ever for the request of whoever hung up.
            assert process.stdout is not None
            assert any("waiting for ocsp" in line.lower() for line in process.stdout)
            yield Responder(f"http://127.0.0.1:{port}/ocsp")
        finally:
            process.kill()


def test_a_responder_is_asked_for_each_certificate_that_names_one(responder: Responder) -> None:
    url = responder.url
    mine = [known(GOOD, url), known(BAD, url), known(ODD, url), known(GOOD)]
    good, bad, odd = own_serials.ask_ocsp(trust(*mine), mine, LIMITS)
    assert (good.status, good.source, good.revoked) == ("good", url, None)
    assert (bad.status, bad.since, bad.reason) == ("revoked", SINCE, "superseded")
    assert odd.status == "unknown"
    alarm = bad.revoked
    assert alarm is not None
    assert (alarm.what, alarm.serial, alarm.source) == ("ours 6", "6", url)
    assert "playbooks/renew.yml" in alarm.next_step


def test_the_next_responder_is_asked_when_one_does_not_answer(responder: Responder) -> None:
    mine = [known(BAD, "http://127.0.0.1:9/", responder.url)]
    (answer,) = own_serials.ask_ocsp(trust(*mine), mine, LIMITS)
    assert (answer.status, answer.source) == ("revoked", responder.url)


SILENT = {
    "nobody listens": (known(GOOD, "http://127.0.0.1:9/"), "127.0.0.1"),
    "a CA that is not pinned": (
        known(GOOD, "http://127.0.0.1:9/", issuer="0" * 64),
        "not among those",
    ),
    "a certificate that is none": (known(GOOD, "http://127.0.0.1:9/", pem="x"), "no question"),
}


@pytest.mark.parametrize("name", SILENT)
def test_no_answer_is_no_alarm_and_says_why(name: str) -> None:
    mine, why = SILENT[name]
    (answer,) = own_serials.ask_ocsp(trust(mine), [mine], LIMITS)
    assert (answer.status, answer.revoked) == ("none", None)
    assert answer.why
    assert why in f"{answer.why} {answer.source}"


# --- what an answer is worth ---------------------------------------------------------------------

OK = {"start": TODAY - HOUR, "end": TODAY + HOUR}
DELEGATE = x509.load_der_x509_certificate(
    CA.leaf(
        "responder",
        public=factory.key("responder").public_key(),
        eku=[ExtendedKeyUsageOID.OCSP_SIGNING],
        key_usage=("digital_signature",),
        **SPAN,
    )
)
PRETENDER = x509.load_der_x509_certificate(
    CA.leaf("pretender", public=factory.key("responder").public_key(), **SPAN)
)
UNSIGNED = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
ANSWERS: dict[str, tuple[bytes, str, str]] = {
    "of the CA": (CA.ocsp(leaf(GOOD), **OK), "good", ""),
    "of a responder that the CA appointed": (
        CA.ocsp(leaf(GOOD), responder=DELEGATE, signer=factory.key("responder"), **OK),
        "good",
        "",
    ),
    "of a certificate of the CA that is no responder": (
        CA.ocsp(leaf(GOOD), responder=PRETENDER, signer=factory.key("responder"), **OK),
        "none",
        "signed",
    ),
    "of another CA": (STRANGER.ocsp(leaf(GOOD), about=CA.certificate, **OK), "none", "signed"),
    "of the same name and another key": (
        TWIN.ocsp(leaf(GOOD), about=CA.certificate, **OK),
        "none",
        "signed",
    ),
    "about another certificate": (CA.ocsp(leaf(BAD), **OK), "none", "nothing about"),
    "of yesterday": (
        CA.ocsp(leaf(GOOD), start=TODAY - 2 * DAY, end=TODAY - DAY),
        "none",
        "not valid now",
    ),
    "of tomorrow": (
        CA.ocsp(leaf(GOOD), start=TODAY + DAY, end=TODAY + 2 * DAY),
        "none",
        "not valid now",
    ),
    "without an end": (CA.ocsp(leaf(GOOD), start=TODAY - HOUR, end=None), "none", "no end"),
    "that it cannot say now": (
        UNSIGNED.public_bytes(serialization.Encoding.DER),
        "none",
        "trylater",
    ),
    "that is a page": (b"<html></html>", "none", "no OCSP response"),
    "that is nothing": (b"", "none", "no OCSP response"),
}


def judged(folder: Path, response: bytes, authorities: tuple[factory.Authority, ...]) -> Asked:
    path = folder / "response"
    path.write_bytes(response)
    pinned = tuple(map(authority, authorities))
    return own_serials.judge_response(pinned, pinned[0], known(GOOD), "http://o/", str(path))


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_is_worth(name: str, tmp_path: Path) -> None:
    response, status, why = ANSWERS[name]
    answer = judged(tmp_path, response, (CA, ROOT))
    assert answer.status == status
    assert why in answer.why


def test_an_issuing_ca_may_be_pinned_without_its_root(tmp_path: Path) -> None:
    assert judged(tmp_path, ANSWERS["of the CA"][0], (CA,)).status == "good"
