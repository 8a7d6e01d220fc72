# SPDX-License-Identifier: GPL-3.0-or-later
"""NIST PKITS without the policy sections: no false accept, and a reason for each refusal."""

from __future__ import annotations

from collections import Counter
from email import message_from_bytes

import pytest
from interop.pkits import CASES, DATA, REFUSALS, Case, Refusals, refusal

SECTIONS = {
    "4.1": 6,
    "4.2": 8,
    "4.3": 11,
    "4.4": 21,
    "4.5": 8,
    "4.6": 17,
    "4.7": 5,
    "4.13": 38,
    "4.14": 35,
    "4.15": 10,
    "4.16": 2,
}
LISTED = {number: entry for entry in REFUSALS for number in entry.cases}
AT_LEAST_RIGHT = 120
RULES = {"DIP-3.5.1-CHAIN", "DIP-3.5.1-EXPIRY", "DIP-3.5.2.5-RP-CHECK"}


def test_the_table_has_every_case_of_every_section_once() -> None:
    numbers = [case.number for case in CASES]
    counted = Counter(number.rpartition(".")[0] for number in numbers)
    assert dict(counted) == SECTIONS
    assert numbers == [
        f"{section}.{n + 1}" for section in SECTIONS for n in range(SECTIONS[section])
    ]


def test_the_table_agrees_with_the_names_nist_gave_its_files() -> None:
    for case in CASES:
        assert case.leaf.startswith("Valid" if case.good else "Invalid"), case
        assert case.leaf.endswith(f"Test{case.number.rpartition('.')[2]}EE"), case


def test_the_files_of_a_case_are_those_in_the_mail_nist_signed_for_it() -> None:
    """Each mail carries the certificates and CRLs of its case: a second source for the table."""
    files = {
        (file.stem, file.read_bytes())
        for pattern in ("certs/*.crt", "crls/*.crl")
        for file in DATA.glob(pattern)
    }
    by_leaf: dict[str, set[str]] = {}
    for mail in (DATA / "smime").glob("*.eml"):
        signature = signature_of(mail.read_bytes())
        there = {name for name, data in files if data in signature}
        by_leaf |= {name: there for name in there if name.endswith("EE")}
    # The wrong CRL of 4.4.6 is that of the anchor, which is in every mail.
    common = {"TrustAnchorRootCertificate", "TrustAnchorRootCRL", "WrongCRLCACRL"}
    differing = {
        case.number
        for case in CASES
        if by_leaf.get(case.leaf, set()) - common
        != {case.leaf, *case.authorities, *case.lists} - common
    }
    # NIST signed no mail for this one.
    assert differing == {"4.14.18"}


def signature_of(mail: bytes) -> bytes:
    for part in message_from_bytes(mail).walk():
        if part.get_content_type() == "application/pkcs7-signature":
            signature = part.get_payload(decode=True)
            assert isinstance(signature, bytes)
            return signature
    raise AssertionError("a mail without a signature")


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("case", [case for case in CASES if not case.good], ids=str)
def test_what_nist_refuses_is_refused(case: Case) -> None:
    error = refusal(case)
    assert error is not None, "a false accept"
    assert error.rule in RULES
    assert error.found


@pytest.mark.parametrize("case", [case for case in CASES if case.good], ids=str)
def test_what_nist_accepts_is_accepted_or_on_the_list(case: Case) -> None:
    error, listed = refusal(case), LISTED.get(case.number)
    if listed is None:
        assert error is None, f"a refusal that is not on the list: {error}"
        return
    assert error is not None, "a refusal on the list has started to pass: take it off"
    assert listed.words in error.found


@pytest.mark.parametrize("entry", REFUSALS, ids=lambda entry: entry.reason[:40])
def test_every_entry_of_the_list_has_a_reason_and_cases_that_nist_accepts(entry: Refusals) -> None:
    good = {case.number for case in CASES if case.good}
    assert len(entry.reason) > 20
    assert entry.words
    assert entry.cases
    assert set(entry.cases) <= good


def test_no_case_is_on_the_list_twice_and_enough_of_all_are_right() -> None:
    numbers = [number for entry in REFUSALS for number in entry.cases]
    assert len(numbers) == len(set(numbers))
    assert len(CASES) - len(numbers) >= AT_LEAST_RIGHT
