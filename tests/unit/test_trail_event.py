# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module may say of a change: the fields agreed on, and nothing that hides a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import trail
from pki.errors import PkiError

DIGEST = "ab" * 32
ID = "3f1c8f9e-6b0a-4f1e-9a51-2c8f6f0b7d11"


def test_an_event_has_all_fields_even_where_nothing_is_told() -> None:
    assert trail.event("CRL installed") == {
        "event": "CRL installed", "certificate": "", "version": 0, "artefacts": {},
        "by": "", "reason": "", "vault": [],
    }  # fmt: skip


def test_an_event_tells_what_it_was_given_in_plain_types() -> None:
    told = trail.event(
        "request written",
        "dip-nonprod",
        2,
        {"request.csr": DIGEST},
        "A. Person",
        "window",
        [ID, ID],
    )
    assert told["artefacts"] == {"request.csr": DIGEST}
    assert (told["certificate"], told["version"], told["vault"]) == ("dip-nonprod", 2, [ID])
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", ""), ("event", "  "), ("event", 3), ("certificate", None), ("version", -1),
        ("version", True), ("version", "2"), ("artefacts", [DIGEST]), ("artefacts", {"a": "x"}),
        ("artefacts", {"a": DIGEST.upper()}), ("artefacts", {"a": DIGEST + "\n"}),
        ("by", 7), ("reason", ["x"]), ("vault", ID), ("vault", [7]), ("vault", ["a b"]),
        ("vault", {ID: 1}), ("vault", ["hvs.-----" + "x" * 80]),
    ],
)  # fmt: skip
def test_a_shape_that_no_event_has_is_a_fault_of_the_caller(field: str, value: Any) -> None:
    with pytest.raises(PkiError) as caught:
        trail.event(**{"event": "x", field: value})
    assert caught.value.rule == "TRAIL-EVENT"


def test_the_text_that_stands_where_a_digest_belongs_is_not_shown() -> None:
    with pytest.raises(PkiError) as caught:
        trail.event("x", artefacts={"key": "-----BEGIN PRIVATE KEY-----"})
    assert "PRIVATE" not in str(caught.value)


@given(st.text(), st.text(), st.text())
def test_what_people_wrote_is_bounded_and_one_line_and_never_refused(
    certificate: str, by: str, reason: str
) -> None:
    told = trail.event("x", certificate, by=by, reason=reason)
    for field in ("certificate", "by", "reason"):
        assert told[field].isprintable()
        assert len(told[field]) <= trail.LONGEST_TEXT


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"event": "x", "key": "y"}, {"by": "x"}])
def test_what_a_host_sent_is_an_event_or_refused(raw: Any) -> None:
    with pytest.raises(PkiError):
        trail.checked(raw)


def test_a_host_may_leave_out_what_it_does_not_know() -> None:
    assert trail.checked({"event": "x"}) == trail.event("x")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_nothing_a_host_sends_does_more_than_be_refused(raw: dict[str, Any]) -> None:
    try:
        told = trail.checked(raw)
    except PkiError:
        return
    assert list(told) == list(trail.FIELDS)
