# SPDX-License-Identifier: GPL-3.0-or-later
"""A record of evidence vouches for exactly what it names, or it is refused."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from pki.evidence_records import Record, parse

KNOWN = ("DIP-2.2-RISK", "DIP-2.3-DPIA")
GOOD: dict[str, Any] = {
    "id": "DIP-2.2-RISK",
    "date": "2026-03-01",
    "owner": "Olive Owner",
    "reference": "RISK-2026-03",
}


def test_no_file_is_no_record_and_nothing_wrong() -> None:
    records = parse(None, KNOWN)
    assert (records.by_id, records.problems) == ({}, ())


@pytest.mark.parametrize("day", ["2026-03-01", date(2026, 3, 1)])
def test_a_record_is_kept_by_the_id_of_its_rule(day: object) -> None:
    records = parse({"evidence": [{**GOOD, "date": day, "valid_days": 90}]}, KNOWN)
    wanted = Record("DIP-2.2-RISK", "2026-03-01", "Olive Owner", "RISK-2026-03", 90)
    assert records.by_id == {"DIP-2.2-RISK": wanted}
    assert records.problems == ()


@pytest.mark.parametrize("field", ["date", "owner", "reference"])
def test_a_place_that_is_not_filled_in_is_no_record_and_no_error(field: str) -> None:
    records = parse({"evidence": [{**GOOD, field: "FILL-IN"}]}, KNOWN)
    assert (records.by_id, records.problems) == ({}, ())


# what a person did wrong -> (the entry, words of the error)
BROKEN: dict[str, tuple[Any, str]] = {
    "a typo in the id": ({**GOOD, "id": "DIP-2.2-RIKS"}, "did you mean DIP-2.2-RISK?"),
    "an id nobody vouches for": ({**GOOD, "id": "DIP-7.1.1-CIPHER"}, "DIP-7.1.1-CIPHER"),
    "an unknown key": ({**GOOD, "valid_for": 3}, "valid_for"),
    "no owner": ({k: v for k, v in GOOD.items() if k != "owner"}, "no owner"),
    "an empty reference": ({**GOOD, "reference": " "}, "evidence[0].reference"),
    "a day that does not exist": ({**GOOD, "date": "2026-02-30"}, "2026-02-30"),
    "a moment instead of a day": ({**GOOD, "date": datetime(2026, 3, 1, 12)}, "not a day"),
    "a day in another order": ({**GOOD, "date": "01/03/2026"}, "YYYY-MM-DD"),
    "a validity of nothing": ({**GOOD, "valid_days": 0}, "1 to 36500"),
    "a validity longer than a century": ({**GOOD, "valid_days": 36501}, "36501"),
    "a validity in words": ({**GOOD, "valid_days": "a year"}, "a year"),
    "a validity that is true": ({**GOOD, "valid_days": True}, "True"),
    "no map": ("DIP-2.2-RISK", "not a map"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refused(name: str) -> None:
    entry, words = BROKEN[name]
    records = parse({"evidence": [entry]}, KNOWN)
    assert records.by_id == {}
    (problem,) = records.problems
    assert problem.rule == "EVIDENCE-FILE"
    assert problem.where.startswith("evidence.yml: evidence[0]")
    assert words in str(problem)
    assert problem.next_step


@pytest.mark.parametrize("raw", [[], {}, {"evidence": None}, {"evidence": [], "more": 1}, "text"])
def test_a_file_that_is_no_list_of_records_is_refused(raw: object) -> None:
    (problem,) = parse(raw, KNOWN).problems
    assert problem.where == "evidence.yml"


def test_of_two_records_for_one_rule_the_second_is_refused() -> None:
    records = parse({"evidence": [GOOD, {**GOOD, "reference": "OTHER"}]}, KNOWN)
    assert records.by_id["DIP-2.2-RISK"].reference == "RISK-2026-03"
    (problem,) = records.problems
    assert problem.where == "evidence.yml: evidence[1].id"


def test_a_record_that_is_not_filled_in_is_still_the_only_one_of_its_rule() -> None:
    entries = [{**GOOD, "owner": "FILL-IN"}, GOOD]
    records = parse({"evidence": entries}, KNOWN)
    assert records.by_id == {}
    assert len(records.problems) == 1


def test_a_broken_record_hides_no_other() -> None:
    records = parse({"evidence": [{}, GOOD]}, KNOWN)
    assert list(records.by_id) == ["DIP-2.2-RISK"]
    assert len(records.problems) == 1
