# SPDX-License-Identifier: GPL-3.0-or-later
"""``path.validate`` on the odd files of others: a path, or a PkiError, and nothing else ever."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import path
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.pki_factory import NOW

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's, about what we feed it
VECTORS = Path(cryptography_vectors.__file__).parent
ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing")
LEAF = ISSUING.leaf()
GOOD: dict[str, Any] = {
    "leaf": LEAF,
    "intermediates": [ISSUING.der],
    "anchors": [ROOT.der],
    "crls": [ISSUING.crl(), ROOT.crl()],
    "ocsp": [ISSUING.ocsp(LEAF)],
}
RULES = {"DIP-3.5.1-CHAIN", "DIP-3.5.1-EXPIRY", "DIP-3.5.2.5-RP-CHECK"}
SECONDS = 5.0


def ask(**changed: Any) -> list[bytes] | None:
    """The path, or None for a refusal; anything else fails the test."""
    asked = {**GOOD, **changed}
    started = time.process_time()
    try:
        return path.validate(asked.pop("leaf"), **asked, now=NOW)
    except PkiError as error:
        told = error.as_result()
    finally:
        assert time.process_time() - started < SECONDS
    assert told["rule"] in RULES
    assert told["message"]
    assert all(text.isprintable() for field, text in told.items() if field != "also")
    return None


def files(folder: str) -> list[Path]:
    """Certificates, requests, CRLs, OCSP responses, keys and rubbish, none of them PKITS."""
    return [
        file
        for file in sorted((VECTORS / folder).rglob("*"))
        if file.is_file() and "PKITS_data" not in file.parts
    ]


@pytest.mark.parametrize("folder", ["x509", "pkcs7", "pkcs12"])
@pytest.mark.parametrize("role", list(GOOD))
def test_an_odd_file_in_any_role_is_refused_or_does_no_harm(folder: str, role: str) -> None:
    found = files(folder)
    assert len(found) >= 10
    for file in found:
        data = file.read_bytes()
        changed = ask(**{role: data if role == "leaf" else [data]})
        # What is neither CA nor CRL of the chain can at most be left out of the judgement.
        assert changed in (None, [LEAF, ISSUING.der, ROOT.der]), file.name
        if role == "anchors":
            assert changed is None, file.name


def test_an_odd_file_beside_the_right_ones_changes_nothing() -> None:
    for file in files("x509"):
        data = file.read_bytes()
        for role in ("crls", "ocsp"):
            assert ask(**{role: [data, *GOOD[role]]}) == [LEAF, ISSUING.der, ROOT.der], file.name


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_file_in_any_role_is_refused_or_does_no_harm(data: st.DataObject) -> None:
    role = data.draw(st.sampled_from(sorted(GOOD)))
    good = GOOD[role]
    changed = bytearray(good if role == "leaf" else data.draw(st.sampled_from(good)))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if kind == "set":
            changed[place] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            changed[place:place] = data.draw(st.binary(max_size=4))
        elif len(changed) > 8:
            del changed[place : place + 4]
    odd = bytes(changed)
    # Nobody signed an anchor but itself: whoever pins a changed one has pinned it.
    anchor = odd if role == "anchors" else ROOT.der
    found = ask(**{role: odd if role == "leaf" else [odd]})
    assert found in (None, [LEAF, ISSUING.der, anchor])


@settings(max_examples=200, deadline=None)
@given(role=st.sampled_from(sorted(GOOD)), data=st.binary(max_size=200))
def test_any_bytes_in_any_role_are_refused_or_do_no_harm(role: str, data: bytes) -> None:
    for odd in (data, b"\x30" + data, b"-----BEGIN CERTIFICATE-----\n" + data):
        found = ask(**{role: odd if role == "leaf" else [odd]})
        assert found in (None, [LEAF, ISSUING.der, ROOT.der])


@pytest.mark.parametrize("purpose", ["", "server auth", "1.3.6.1.5.5.7.3.2 ", "not an OID"])
def test_a_purpose_that_is_none_is_a_fault_of_the_caller(purpose: str) -> None:
    with pytest.raises(ValueError):
        path.validate(LEAF, [ISSUING.der], [ROOT.der], purpose=purpose, now=NOW)
