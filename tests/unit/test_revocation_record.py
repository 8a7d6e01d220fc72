# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a revocation: read strictly, the same after a round trip, times in minutes."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pki import records, revocation_letters, revocation_record
from pki.errors import PkiError
from pki.revocation_cause import CAUSES
from pki.revocation_record import ROLES, STEPS, Recorded
from unit.controller_world import whole

PATH = Path("certificates/dip-nonprod/1/revocation.yml")
AWARE = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)


def record(**changes: Any) -> Recorded:
    cause = CAUSES[changes.get("cause", "key_compromise")]
    made = Recorded(
        certificate="dip-nonprod",
        version=1,
        organisation="Example Energy Ltd",
        common_name="energydip-nonprod.example-energy.co.uk",
        subject="energydip-nonprod.example-energy.co.uk",
        serial="1a4",
        issuer="Example Issuing",
        valid_until="2027-11-22 12:00:00Z",
        certificate_sha256="ab" * 32,
        spki_sha256="cd" * 32,
        cause=cause.name,
        reason=cause.reason,
        code=1,
        text="a laptop was stolen",
        noticed=AWARE,
        by="Ada Admin",
        role="certificate_admin",
        contact="pki@example.com",
        prepared=AWARE + timedelta(minutes=7),
    )
    return replace(made, **changes)


def read(content: bytes) -> Recorded:
    return revocation_record.read(records.load(content), PATH, 1)


def later(minutes: float) -> datetime:
    return AWARE + timedelta(minutes=minutes)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=60)
MOMENTS = st.none() | st.integers(0, 10**6).map(lambda seconds: AWARE + timedelta(seconds=seconds))


@given(
    text=WORDS,
    by=WORDS,
    cause=st.sampled_from(sorted(CAUSES)),
    role=st.sampled_from(ROLES),
    steps=st.fixed_dictionaries(dict.fromkeys(STEPS, MOMENTS)),
    reference=st.text("ABC123-", max_size=12),
)
def test_what_is_written_is_what_is_read(
    text: str, by: str, cause: str, role: str, steps: dict[str, datetime | None], reference: str
) -> None:
    one = record(cause=cause, reason=CAUSES[cause].reason, text=text, by=by, role=role, **steps)
    if one.incident is not None:
        one = replace(one, reference=reference)
    assert read(one.content()) == one
    assert read(one.content()).content() == one.content()


@given(text=WORDS, subject=WORDS, by=WORDS)
def test_no_text_of_anybodys_steers_a_terminal(text: str, subject: str, by: str) -> None:
    one = record(text=text, subject=subject + "\x1b[2J", organisation=by + "\u202e", by=by)
    for content in revocation_letters.texts(one).values():
        categories = {unicodedata.category(char) for char in content.decode() if char != "\n"}
        assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surprise": 1}, "surprise"),
        ({"serial": ...}, "no serial"),
        ({"serial": 164}, "serial: 164"),
        ({"version": 2}, "version 2"),
        ({"cause": "other"}, "cause: other"),
        ({"reason": "superseded"}, "reason: superseded"),
        ({"role": "king"}, "role: king"),
        ({"code": "1"}, "code: 1"),
        ({"noticed": "yesterday"}, "noticed: yesterday"),
        ({"submitted": "2020-01-01T00:00:00Z"}, "submitted: 2020-01-01T00:00:00Z"),
        ({"incident": "INC1"}, "no raised"),
        ({"incident": {"raised": "2026-11-22T03:00:00Z"}}, "no reference"),
        ({"authority": {}}, "no told"),
        ({"beside": "all"}, "beside: 'all'"),
    ],
)
def test_a_record_that_says_something_else_is_refused(change: dict[str, Any], says: str) -> None:
    raw = {**yaml.safe_load(record().content()), **change}
    raw = {name: value for name, value in raw.items() if value is not ...}
    with pytest.raises(PkiError) as caught:
        revocation_record.read(raw, PATH, 1)
    assert whole(caught.value).found.startswith(says)
    assert caught.value.rule == "STATE-FILE"


@pytest.mark.parametrize(
    ("after", "minutes"), [(0, 0), (0.5, 1), (1, 1), (60, 60), (60.1, 61), (None, -1)]
)
def test_a_begun_minute_counts(after: float | None, minutes: int) -> None:
    when = None if after is None else later(after)
    assert record(submitted=when).minutes("submitted") == minutes


def test_the_texts_are_determined_by_what_was_said_first() -> None:
    first = revocation_letters.texts(record())
    assert list(first) == ["revocation.txt", "incident.txt", "authority.txt"]
    done = record(
        submitted=later(9), incident=later(10), reference="INC1", authority=later(11),
        out_of_service=later(12), revoked=later(90),
    )  # fmt: skip
    assert revocation_letters.texts(done) == first


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_only_a_key_in_other_hands_is_an_incident(cause: str) -> None:
    one = record(cause=cause, reason=CAUSES[cause].reason)
    letters = set(revocation_letters.texts(one)) - {"revocation.txt"}
    told = {"incident.txt", "authority.txt"} if CAUSES[cause].incident else set()
    assert letters == told
    assert not set(revocation_letters.texts(replace(one, contact=""))) - {"revocation.txt"}


def test_every_text_names_what_its_reader_needs() -> None:
    one = record()
    for name, text in revocation_letters.texts(one).items():
        shown = text.decode()
        for value in (one.serial, one.issuer, one.common_name, one.certificate_sha256, one.by):
            assert value in shown, name
        assert "a laptop was stolen" in shown, name
        assert "key compromise (CRL reason code 1)" in shown, name
        assert "playbooks/revoke.yml -e certificate=dip-nonprod -e version=1" in shown, name
    letters = revocation_letters.texts(one)
    assert b"incident=NUMBER" in letters["incident.txt"]
    assert b"2026-11-22T02:10:00Z" in letters["incident.txt"]
    assert b"pki@example.com" in letters["incident.txt"]
    assert b"GlobalSign" in letters["authority.txt"]


def test_for_a_reason_of_the_dip_managers_there_is_a_letter_instead_of_the_portal() -> None:
    one = record(cause="cessation", reason="cessation_of_operation", code=5, role="dip_manager")
    (text,) = revocation_letters.texts(one).values()
    assert b"Write to pki@example.com" in text
    assert b"Sign in as" not in text
