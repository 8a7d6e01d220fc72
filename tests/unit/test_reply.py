# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reply may look like, what is refused and in which words, and who can make an Accepted."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import json
import pickle
import random
import textwrap
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pki import policy_files, reply, shipped
from pki.documents import Validators
from pki.errors import PkiError
from pki.policy import Finding, Outcome
from unit import pki_factory as factory
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
SIBLING = ROOT.authority("Sibling Issuing", path_length=0)
FOREIGN = factory.authority("Foreign Root")
REQUEST = factory.request()
LEAF = ISSUING.leaf()
PEM = factory.pem(LEAF)
CRLS = (ISSUING.crl(), ROOT.crl(), SIBLING.crl())
EXPECTATION = reply.Expectation(CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod")
TRUST = reply.Trust([ROOT.der], [ISSUING.der], [ISSUING.sha256])


def accept(*files: bytes, **changes: Any) -> reply.Accepted:
    options: dict[str, Any] = {
        "csr": REQUEST,
        "expectation": EXPECTATION,
        "trust": TRUST,
        "revocation": reply.Revocation(CRLS),
        "now": NOW,
    }
    return reply.accept(files, **{**options, **changes})


def refusal(*files: bytes, **changes: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        accept(*files, **changes)
    error = caught.value
    assert error.message
    assert error.found
    assert error.expected
    assert error.next_step
    fields = error.as_result().values()
    assert all(line.isprintable() for text in fields for line in text.splitlines())
    return error


# --- what is accepted ---------------------------------------------------------------------


def test_a_good_reply_is_accepted_with_its_chain_and_the_shipped_policy() -> None:
    accepted = accept(PEM)
    assert accepted.chain == (LEAF, ISSUING.der)
    assert accepted.anchor == ROOT.der
    assert (accepted.not_before, accepted.not_after) == (NOW - DAY, NOW + 397 * DAY)
    assert accepted.serial == f"{factory.serial(LEAF):x}"
    assert accepted.certificate_sha256 == (
        x509.load_der_x509_certificate(LEAF).fingerprint(hashes.SHA256()).hex()
    )
    assert accepted.certificate_pem() == PEM
    assert accepted.chain_pem() == ISSUING.pem
    assert accepted.fullchain_pem() == PEM + ISSUING.pem


def test_findings_that_only_report_are_kept_and_do_not_refuse() -> None:
    findings = accept(PEM).findings
    assert {f.rule for f in findings if not f.passed} == {
        "DIP-3.4.2-COMMITMENT",
        "DIP-7.1.2-RSA4096",
        "DIP-3.6.1-OCSP",
        "DIP-6.2-CA-4096",
        "DIP-3.5.2.5-CDP",
    }
    assert any(f.passed for f in findings)


def lines(pem: bytes) -> list[bytes]:
    return pem.splitlines()


def body(pem: bytes) -> bytes:
    return b"".join(lines(pem)[1:-1])


MAIL = (
    b"From: portal@dip.example\r\nSubject: Your certificate\r\n\r\nDear Admin,\r\n"
    b"keep your private key safe -- never send it.\r\n\r\n%s\r\n-- \r\nThe CA team\r\n"
)
FORMS = {
    "PEM": PEM,
    "CRLF": PEM.replace(b"\n", b"\r\n"),
    "CR only": PEM.replace(b"\n", b"\r"),
    "no line end at the end": PEM.rstrip(),
    "byte-order mark": b"\xef\xbb\xbf" + PEM,
    "UTF-16 from a Windows editor": PEM.decode().encode("utf-16"),
    "a mail": MAIL % PEM.replace(b"\n", b"\r\n"),
    "a quoted mail": b"".join(b"> " + line + b"\n" for line in lines(MAIL % PEM)),
    "a twice quoted mail": b"".join(b">> > " + line + b"\n" for line in lines(MAIL % PEM)),
    "indented": textwrap.indent(PEM.decode(), "    ").encode(),
    "one line": b" ".join(lines(PEM)),
    "one line without blanks": b"".join(lines(PEM)),
    "line ends written out": b"\\n".join(lines(PEM)),
    "line ends written out in JSON": json.dumps({"certificate": PEM.decode()}).encode(),
    "blank lines between": PEM.replace(b"\n", b"\n\n"),
    "spaces at line ends": PEM.replace(b"\n", b"  \n"),
    "the markers of the manual": b"--- BEGIN CERTIFICATE---\n%s\n---END CERTIFICATE---" % body(PEM),
    "the older label": PEM.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "quoted-printable": PEM.replace(b"=", b"=3D"),
    "76 columns": b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n"
    % base64.encodebytes(LEAF),
    "base64 without markers": base64.encodebytes(LEAF),
    "DER": LEAF,
    "DER with a line end behind it": LEAF + b"\r\n",
    "several DER in a row": ISSUING.der + LEAF,
    "PKCS #7 in DER": pkcs7.serialize_certificates(
        [x509.load_der_x509_certificate(LEAF), ISSUING.certificate], Encoding.DER
    ),
    "PKCS #7 in PEM": pkcs7.serialize_certificates(
        [ISSUING.certificate, x509.load_der_x509_certificate(LEAF)], Encoding.PEM
    ),
    "with the request before it": REQUEST + PEM,
    "with bag attributes": b"Bag Attributes\n    friendlyName: x\nsubject=/CN=x\n" + PEM,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_is_read_as(form: str) -> None:
    accepted = accept(FORMS[form])
    assert accepted.fullchain_pem() == PEM + ISSUING.pem, "what is written is always the same"


def test_the_intermediate_may_come_from_the_reply_alone() -> None:
    trust = reply.Trust([ROOT.pem], [], [ISSUING.sha256.upper()])
    assert accept(PEM + ISSUING.pem, trust=trust).chain == (LEAF, ISSUING.der)


@pytest.mark.parametrize("seed", range(5))
def test_order_repeats_strangers_and_files_do_not_matter(seed: int) -> None:
    strangers = [FOREIGN.pem, factory.pem(FOREIGN.leaf()), ROOT.pem, SIBLING.der, ISSUING.pem]
    parts = [PEM, PEM, LEAF, *strangers]
    random.Random(seed).shuffle(parts)
    assert accept(*parts).fullchain_pem() == PEM + ISSUING.pem
    joined = b"".join(part for part in parts if part[:1] == b"-")
    assert accept(joined).fullchain_pem() == PEM + ISSUING.pem


def test_a_self_signed_certificate_of_the_same_key_does_not_hide_the_good_one() -> None:
    own = factory.Authority(x509.load_der_x509_certificate(LEAF), factory.key("leaf")).leaf(
        start=NOW - SECOND
    )
    assert accept(factory.pem(own) + PEM).chain[0] == LEAF


def test_the_newest_of_two_certificates_of_the_key_is_taken() -> None:
    older = ISSUING.leaf(start=NOW - 30 * DAY, end=NOW + 300 * DAY)
    for files in ([PEM, older], [older, PEM]):
        assert accept(*files).chain[0] == LEAF


# --- what is refused, in the order of judgement -------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no certificate"),
        (b"\xff\xfe", "no certificate"),
        (b"see attachment", "no certificate"),
        (REQUEST, "a certificate request, not a certificate"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "block 1"),
        (PEM[: len(PEM) // 2], "block 1"),
        (PEM.replace(b"\nM", b"\n%", 1), "block 1"),
        (PEM + PEM[:200], "block 2"),
        (LEAF[:-10], "cut short"),
        (b"\x30\x80\x00\x00", "PKCS #7"),
        (b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----", "PKCS #7"),
        (b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----", "only X509 CRL"),
        (b"\x30\x00" * 513, "more than 512"),
        (b"x" * (4 * 1024 * 1024 + 1), "bytes"),
    ],
)
def test_what_holds_no_intact_certificate_is_unreadable(data: bytes, said: str) -> None:
    error = refusal(data)
    assert error.rule == "DIP-12.2-16-CER"
    assert said in error.found


def test_no_file_at_all_is_unreadable() -> None:
    assert refusal().rule == "DIP-12.2-16-CER"


def private(
    form: PrivateFormat, encoding: Encoding = Encoding.PEM, password: bytes | None = None
) -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    return factory.key("leaf").private_bytes(encoding, form, protection)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
PKCS8 = private(PrivateFormat.PKCS8)
PKCS8_DER = private(PrivateFormat.PKCS8, Encoding.DER)
PRIVATE_KEYS = {
    "PKCS #8": PKCS8,
    "PKCS #1": private(PrivateFormat.TraditionalOpenSSL),
    "encrypted": private(PrivateFormat.PKCS8, password=b"three random words"),
    "EC": EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    "OpenSSH": private(PrivateFormat.OpenSSH),
    "PKCS #8 DER": PKCS8_DER,
    "PKCS #1 DER": private(PrivateFormat.TraditionalOpenSSL, Encoding.DER),
    "EC DER": EC_KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    "encrypted DER": private(PrivateFormat.PKCS8, Encoding.DER, b"three random words"),
    "PKCS #12": pkcs12.serialize_key_and_certificates(
        b"x", factory.key("leaf"), x509.load_der_x509_certificate(LEAF), None, NoEncryption()
    ),
    "in a quoted mail": b"".join(b"> " + line + b"\r\n" for line in lines(PKCS8)),
    "in UTF-16": PKCS8.decode().encode("utf-16"),
    "in one line": b" ".join(lines(PKCS8)),
    "with line ends written out": b"\\n".join(lines(PKCS8)),
    "without its end": PKCS8[:500],
    "cut short, DER": PKCS8_DER[:400],
    "under the label of a certificate": PKCS8.replace(b"PRIVATE KEY", b"CERTIFICATE"),
    "as base64 without markers": base64.encodebytes(PKCS8_DER),
    "behind a DER certificate": LEAF + PKCS8_DER,
    "as PEM behind a DER certificate": LEAF + PKCS8,
    "damaged": PKCS8.replace(b"\nM", b"\n!"),
}


@pytest.mark.parametrize("form", PRIVATE_KEYS)
@pytest.mark.parametrize("beside", [b"", PEM], ids=["alone", "beside a good certificate"])
def test_a_private_key_is_an_incident_and_never_echoed(form: str, beside: bytes) -> None:
    data = PRIVATE_KEYS[form]
    files = [beside, data] if beside else [data]
    error = refusal(*files)
    assert error.rule == "REPLY-PRIVATE-KEY"
    assert "incident" in error.message
    printed = str(error) + repr(error) + json.dumps(error.as_result())
    secret = base64.b64encode(PKCS8_DER).decode()
    assert not any(secret[at : at + 16] in printed for at in range(0, len(secret) - 16, 8))


def test_a_public_key_is_no_private_key() -> None:
    public = factory.key("leaf").public_key()
    for form in (PublicFormat.PKCS1, PublicFormat.SubjectPublicKeyInfo):
        assert accept(PEM + public.public_bytes(Encoding.PEM, form))


def test_a_certificate_of_another_key_is_refused_with_both_digests_shortened() -> None:
    other = ISSUING.leaf(public=factory.key("other").public_key())
    error = refusal(factory.pem(other))
    assert error.rule == "DIP-6.1.2-SAME-HOST"
    assert error.message == "the reply's certificate belongs to another key"
    wanted = accept(PEM).spki_sha256
    assert f"{wanted[:4]}…{wanted[-2:]}" in error.expected
    assert wanted not in str(error)


def test_the_intermediate_alone_is_refused_as_another_key() -> None:
    assert refusal(ISSUING.pem).rule == "DIP-6.1.2-SAME-HOST"
    assert "none of the reply's certificates" in refusal(ISSUING.pem + ROOT.pem).message


def test_an_ec_certificate_is_another_key() -> None:
    assert refusal(ISSUING.leaf(public=EC_KEY.public_key())).rule == "DIP-6.1.2-SAME-HOST"


def test_a_chain_to_another_root_is_refused_even_if_the_root_comes_along() -> None:
    error = refusal(factory.pem(FOREIGN.leaf()) + FOREIGN.pem)
    assert (error.rule, "Foreign Root" in error.found) == ("DIP-3.5.1-CHAIN", True)


def test_an_expired_certificate_and_one_of_tomorrow_are_refused_by_date() -> None:
    assert "ended on 2026-11-21 11:59:59Z" in refusal(ISSUING.leaf(end=NOW - SECOND)).found
    error = refusal(ISSUING.leaf(start=NOW + SECOND))
    assert (error.rule, "begins on" in error.found) == ("DIP-3.5.1-EXPIRY", True)


def test_a_sibling_ca_under_the_same_root_is_refused() -> None:
    error = refusal(factory.pem(SIBLING.leaf()) + SIBLING.pem)
    assert error.rule == "DIP-4.1-DCA-ONLY"
    assert "Sibling Issuing" in error.found
    assert ISSUING.sha256[:4] in error.expected


def test_without_a_list_of_issuers_any_ca_under_the_anchor_may_issue() -> None:
    trust = reply.Trust([ROOT.der], [SIBLING.der])
    assert accept(SIBLING.leaf(), trust=trust).chain[1] == SIBLING.der


def test_a_revoked_certificate_is_refused_with_its_date() -> None:
    crls = (ISSUING.crl([factory.serial(LEAF)]), ROOT.crl())
    error = refusal(PEM, revocation=reply.Revocation(crls))
    assert (error.rule, "2026-11-19" in error.found) == ("DIP-3.5.2.5-RP-CHECK", True)
    assert refusal(PEM, revocation=reply.Revocation(crls, mode="pending")).rule == error.rule


def test_a_revoked_issuing_ca_is_refused() -> None:
    crls = (ISSUING.crl(), ROOT.crl([factory.serial(ISSUING.der)]))
    assert "Example Issuing is revoked" in refusal(PEM, revocation=reply.Revocation(crls)).message


def test_unknown_revocation_is_refused_and_may_only_be_pending_if_said_so() -> None:
    for crls in ((), (ISSUING.crl(),), (ROOT.crl(),), (ISSUING.crl(end=NOW - SECOND), ROOT.crl())):
        assert refusal(PEM, revocation=reply.Revocation(crls)).rule == "DIP-3.5.2.5-RP-CHECK"
        pending = accept(PEM, revocation=reply.Revocation(crls, mode="pending"))
        verdicts = [c["revocation"]["verdict"] for c in pending.facts["chain"]["certificates"]]
        assert "pending" in verdicts
        assert "unknown" not in verdicts
    assert accept(PEM).facts["certificate"]["revocation"] == {"verdict": "good", "reason": ""}


def test_a_revocation_mode_that_does_not_exist_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="mode"):
        reply.Revocation((), mode="off")  # type: ignore[arg-type]


def name(**change: str) -> x509.Name:
    pairs = {**SUBJECT, "CN": CN, **change}
    return factory.name(pairs.pop("CN"), pairs)


TWO_ORGANISATIONS = x509.Name(
    [*name(), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Second Ltd")]
)
POLICY_REFUSALS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "the production prefix": (
        "DIP-6.1.2-CN",
        {"full_name": name(CN="energydip-prod.example-energy.co.uk")},
    ),
    "a common name in capitals": ("DIP-6.1.2-CN", {"full_name": name(CN=CN.upper())}),
    "a NUL in the common name": ("DIP-6.1.2-CN", {"full_name": name(CN=CN + "\0.evil.example")}),
    "another organisation": ("DIP-6.1.2-ORG", {"full_name": name(O="Example Energy Limited")}),
    "two organisations": ("DIP-6.1.2-ORG", {"full_name": TWO_ORGANISATIONS}),
    "no clientAuth": ("DIP-3.4.2-KU-TLS", {"eku": [ExtendedKeyUsageOID.SERVER_AUTH]}),
    "no extended key usage": ("DIP-3.4.2-KU-TLS", {"eku": []}),
    "no digitalSignature": ("DIP-3.4.2-KU-SIGN", {"key_usage": ["key_encipherment"]}),
    "a CA flag": ("DIP-3.4.2-PURPOSE", {"ca": True, "key_usage": ["key_cert_sign"]}),
    "SHA-512": ("DIP-7.1.2-REJECT", {"hash_algorithm": hashes.SHA512()}),
    "PSS": ("DIP-7.1.2-REJECT", {"rsa_padding": factory.PSS}),
}


@pytest.mark.parametrize("fault", POLICY_REFUSALS)
def test_the_policy_refuses_a_certificate_with(fault: str) -> None:
    rule, change = POLICY_REFUSALS[fault]
    assert refusal(ISSUING.leaf(**change)).rule == rule


def test_structure_is_judged_before_policy() -> None:
    """A certificate with every fault at once is refused by the first in the order."""
    wrong: dict[str, Any] = {"cn": "energydip-prod.x.example", "eku": []}
    other = {**wrong, "public": factory.key("other").public_key()}
    nothing = reply.Revocation(())
    assert refusal(FOREIGN.leaf(**other), revocation=nothing).rule == "DIP-6.1.2-SAME-HOST"
    assert refusal(FOREIGN.leaf(**wrong), revocation=nothing).rule == "DIP-3.5.1-CHAIN"
    expired = SIBLING.leaf(**wrong, end=NOW - SECOND)
    assert refusal(expired, SIBLING.der, revocation=nothing).rule == "DIP-3.5.1-EXPIRY"
    sibling = SIBLING.leaf(**wrong)
    assert refusal(sibling, SIBLING.der, revocation=nothing).rule == "DIP-4.1-DCA-ONLY"
    assert refusal(ISSUING.leaf(**wrong), revocation=nothing).rule == "DIP-3.5.2.5-RP-CHECK"
    assert refusal(ISSUING.leaf(**wrong)).rule == "DIP-6.1.2-CN"


def test_a_bad_request_is_refused_by_its_own_rule() -> None:
    assert refusal(PEM, csr=b"junk").rule == "DIP-6.1.1-PKCS10"


def test_an_unknown_policy_is_refused() -> None:
    expectation = dataclasses.replace(EXPECTATION, policy="../../etc/passwd")
    assert refusal(PEM, expectation=expectation).rule == "POLICY-UNKNOWN"


def test_hostile_names_reach_no_terminal_and_no_template() -> None:
    hostile = "x\x1b[2J\u202e{{ lookup('pipe','id') }}"
    error = refusal(ISSUING.leaf(full_name=name(O=hostile, CN=hostile)))
    assert error.rule == "DIP-6.1.2-CN"
    assert "{{" not in str(error)
    assert "\\u001b" in error.found


# --- the facts ----------------------------------------------------------------------------


class Recorder:
    """A judge that keeps the facts it was shown and returns prepared findings."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        self.seen: list[tuple[str, Mapping[str, Any]]] = []

    def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
        self.seen.append((kind, facts))
        return self.findings if kind == "certificate" else ()

    def parameter(self, name: str) -> Any:
        return shipped.policy("mhhs-dip").parameter(name)


def facts_of(leaf: bytes, **changes: Any) -> dict[str, Any]:
    """The documents that were judged, by kind."""
    judge = Recorder()
    accepted = accept(leaf, policy=judge, **changes)
    assert json.loads(json.dumps(dict(judge.seen))) == accepted.facts, "plain JSON types only"
    return dict(judge.seen)


def test_certificate_and_chain_are_judged_each_by_the_rules_of_its_kind() -> None:
    assert list(facts_of(LEAF)) == ["certificate", "chain"]


def test_what_is_judged_fits_the_schemas_of_its_kinds() -> None:
    validators = Validators(policy_files.load_fact_schemas(shipped.DIRECTORY))
    for kind, facts in facts_of(ISSUING.leaf(san=["hook.example"])).items():
        assert validators.fault(kind, facts) == ""


def test_what_is_judged_is_this_certificate_at_this_moment_for_this_request() -> None:
    facts = facts_of(LEAF)["certificate"]
    assert facts["serial"] == f"{factory.serial(LEAF):x}"
    assert facts["state"] == "presented"
    assert facts["key"]["matches_request"] is True
    assert facts["seconds_since_start"] == DAY.total_seconds()
    assert facts["expected"] == {"common_name": CN, "subject": SUBJECT}


def test_the_path_that_is_judged_is_the_one_that_was_verified() -> None:
    facts = facts_of(LEAF)["chain"]
    found = [(one["role"], one["sha256"]) for one in facts["certificates"]]
    assert found == [
        ("leaf", accept(PEM).certificate_sha256),
        ("intermediate", ISSUING.sha256),
        ("anchor", ROOT.sha256),
    ]
    assert [one["sha256"] for one in facts["allowed_issuers"]] == [ISSUING.sha256]
    assert facts["verified"] is True


def test_a_finding_about_the_path_that_refuses_refuses_the_reply() -> None:
    class OfChains(Recorder):
        def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
            return self.findings if kind == "chain" else ()

    judge = OfChains(finding(rule="DIP-PATH", outcome=Outcome.FAILED))
    assert refusal(PEM, policy=judge).rule == "DIP-PATH"


def finding(**change: Any) -> Finding:
    values: dict[str, Any] = {
        "rule": "DIP-X",
        "clause": "1.1",
        "level": "must",
        "refuses": True,
        "outcome": Outcome.PASSED,
        "message": "the message",
        "found": "this",
        "expected": "that",
        "next_step": "do it",
    }
    return Finding(**{**values, **change})


def test_the_first_failed_finding_that_refuses_decides_and_a_reported_one_does_not() -> None:
    first = finding(rule="DIP-FIRST", outcome=Outcome.FAILED, found="evil\x1b {{ x }}")
    second = finding(rule="DIP-SECOND", outcome=Outcome.FAILED)
    wish = finding(rule="DIP-WISH", outcome=Outcome.FAILED, refuses=False)
    error = refusal(PEM, policy=Recorder(wish, finding(), first, second))
    assert (error.rule, error.message, error.expected) == ("DIP-FIRST", "the message", "that")
    assert (error.found, error.next_step) == ("evil\\u001b { { x }}", "do it")
    assert accept(PEM, policy=Recorder(wish, finding())).findings == (wish, finding())


def test_a_policy_that_forgets_the_rule_lets_no_ca_certificate_in() -> None:
    for change in ({"ca": True}, {"key_usage": ["digital_signature", "key_cert_sign"]}):
        error = refusal(ISSUING.leaf(**change), policy=Recorder())
        assert (error.rule, "CA certificate" in error.message) == ("DIP-3.5.1-CHAIN", True)


def test_what_a_policy_cannot_judge_is_not_approved() -> None:
    class Broken(Recorder):
        def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
            raise OverflowError("a number")

    assert refusal(PEM, policy=Broken()).rule == "POLICY-EVALUATION"


# --- the gate -----------------------------------------------------------------------------


def fields(accepted: reply.Accepted) -> dict[str, Any]:
    return {f.name: getattr(accepted, f.name) for f in dataclasses.fields(accepted)}


def test_an_accepted_cannot_be_made_by_hand() -> None:
    values = fields(accept(PEM))
    with pytest.raises(TypeError):
        reply.Accepted(**values)
    for seal in (None, object(), True, "seal"):
        with pytest.raises(TypeError, match="nowhere else"):
            reply.Accepted(**values, seal=seal)


def test_an_accepted_cannot_be_changed_or_derived() -> None:
    accepted = accept(PEM)
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(accepted, chain=(b"other",))
    with pytest.raises(TypeError, match="nowhere else"):
        dataclasses.replace(accepted, chain=(b"other",), seal=object())
    with pytest.raises(dataclasses.FrozenInstanceError):
        accepted.chain = (b"other",)  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        accepted.anything = 1  # type: ignore[attr-defined]
    assert copy.copy(accepted) is accepted
    assert copy.deepcopy(accepted) is accepted


def test_an_accepted_cannot_be_subclassed_or_pickled() -> None:
    accepted = accept(PEM)
    with pytest.raises(TypeError, match="subclassed"):
        type("Forged", (reply.Accepted,), {})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(accepted, protocol)
    blank = object.__new__(reply.Accepted)
    with pytest.raises(TypeError, match="restored"):
        blank.__setstate__([(b"other",)])


# --- any bytes; the properties are in tests/adversarial/test_properties.py ------------------

JUDGE = shipped.policy("mhhs-dip")


def judged(data: bytes) -> reply.Accepted | None:
    with contextlib.suppress(PkiError):
        return accept(data, policy=JUDGE)
    return None


def test_a_signature_with_unused_bits_is_refused() -> None:
    """The octet before the signature is not signed, and the library does not mind it."""
    at = LEAF.rindex(b"\x03\x82\x01\x01\x00") + 4
    for serial in range(1, 40):
        leaf = bytearray(ISSUING.leaf(serial=serial))
        leaf[at - len(LEAF) + len(leaf)] = 1
        assert judged(bytes(leaf)) is None


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80" * (MEGABYTE // 2),
        b"\x30\x84\x00\x0f\x42\x3a" + b"\x30\x02" * (MEGABYTE // 2),
        b"\x30\x00" * (MEGABYTE // 2),
        b"-----BEGIN CERTIFICATE-----" * (MEGABYTE // 27),
        b"-----BEGIN " * (MEGABYTE // 11),
        b"-" * MEGABYTE,
        b">" * MEGABYTE,
        b"> " * (MEGABYTE // 2),
        b"BEGIN A " * (MEGABYTE // 8),
        b"A" * MEGABYTE,
        b" " * MEGABYTE,
        b"\n" * MEGABYTE,
        b"A:" * (MEGABYTE // 2),
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * MEGABYTE,
        b"\xff\xfe" + b"\x00\xd8" * (MEGABYTE // 2),
        (b"\x30\x03\x02\x01\x00" * (MEGABYTE // 5)),
    ],
    ids=lambda data: repr(data[:14]),
)
def test_a_megabyte_of_nonsense_is_refused_in_time(data: bytes) -> None:
    before = time.process_time()
    assert judged(data) is None
    assert time.process_time() - before < 5


def test_hundreds_of_strangers_cost_little_and_change_nothing() -> None:
    public = factory.key("other").public_key()
    strangers: Sequence[bytes] = [
        factory.pem(FOREIGN.leaf(f"stranger-{n}.example", {}, public=public)) for n in range(300)
    ]
    before = time.process_time()
    assert accept(b"".join([*strangers, PEM])).chain == (LEAF, ISSUING.der)
    assert time.process_time() - before < 5


def test_more_certificates_than_anybody_sends_are_refused() -> None:
    many = [ISSUING.leaf(serial=number + 1) for number in range(513)]
    assert "more than 512" in refusal(*[b"".join(many)]).found


def test_the_accepted_moments_form_one_interval() -> None:
    leaf = ISSUING.leaf(start=NOW - timedelta(minutes=30))
    start, end = NOW - timedelta(minutes=30), NOW + timedelta(hours=23)
    for moment, good in [
        (start - SECOND, False),
        (start, True),
        (NOW, True),
        (end, True),
        (end + SECOND, False),
    ]:
        if good:
            assert accept(leaf, now=moment)
        else:
            refusal(leaf, now=moment)
