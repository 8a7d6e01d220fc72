# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tired reader sees: one aligned table, whole refusals, exit codes that mean something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import errors, report
from pki.errors import PkiError
from pki.lifecycle import (
    Accepted,
    Intent,
    KeyVersion,
    Limits,
    Observed,
    Requested,
    Version,
    Wanted,
)
from pki.plan import CertificatePlan, plan
from unit.controller_world import NAME, REPOSITORY
from unit.pki_factory import CN, DAY, NOW, SUBJECT

SERIAL = "5f0123456789abcdef0123456789abcdef012345"
INTENT = Intent(CN, SUBJECT, frozenset({"mtls"}), "mhhs-dip")


def planned(
    versions: tuple[Version, ...] = (), *, served: dict[str, str | None] | None = None
) -> CertificatePlan:
    keys = {version.number: KeyVersion(NOW - 20 * DAY, "aa") for version in versions}
    return plan(
        Wanted(NAME, INTENT, "gateways"),
        Observed(keys, versions, served or {}),
        Limits(timedelta(days=45)),
        NOW,
    )


def version(number: int = 1, days: int = 100, *, accepted: bool = True) -> Version:
    requested = Requested(INTENT, "aa", NOW - 20 * DAY)
    certificate = Accepted(SERIAL, NOW - DAY, NOW + days * DAY, NOW - DAY)
    return Version(number, requested, accepted=certificate if accepted else None)


def deployed() -> CertificatePlan:
    return planned((version(),), served={"gw1": SERIAL})


def entry(**changes: Any) -> dict[str, Any]:
    row = {
        "name": NAME,
        "state": "deployed",
        "common_name": CN,
        "serial": "0a",
        "days_left": 100,
        "next_action": "nothing to do",
        "waits_for": "",
        "refused": False,
    }
    return {**row, **changes}


def document(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1, "certificates": list(entries)}


# --- the table ------------------------------------------------------------------------------


def test_the_table_has_one_line_a_certificate_under_its_titles() -> None:
    lines = report.table(
        document(
            entry(),
            entry(
                name="dip-other-and-longer",
                state="requested",
                serial="",
                days_left=None,
                next_action="submit the request",
                waits_for="a Certificate Admin",
            ),
        )
    ).splitlines()
    assert lines == [
        "certificate           state      common name                             "
        "serial  days left  next action",
        "dip-nonprod           deployed   energydip-nonprod.example-energy.co.uk  "
        "0a      100        nothing to do",
        "dip-other-and-longer  requested  energydip-nonprod.example-energy.co.uk  "
        "-       -          wait for a Certificate Admin: submit the request",
    ]


def test_an_empty_inventory_is_a_line_of_titles() -> None:
    assert report.table(document()).split() == " ".join(report.COLUMNS).split()


WIDTHS = {"a": 1, "é": 1, "-": 1, "日": 2, "本": 2, "Ａ": 2, "ｱ": 1, "\u0301": 0, "…": 1}
CELL = st.text(list(WIDTHS), min_size=1, max_size=12)


@given(st.lists(st.fixed_dictionaries({"name": CELL, "state": CELL, "common_name": CELL})))
def test_every_column_begins_at_one_place_of_the_terminal(cells: list[dict[str, str]]) -> None:
    rows = [entry(**cell) for cell in cells]
    lines = report.table(document(*rows)).splitlines()
    places = set()
    for line, cell in zip(lines[1:], rows, strict=True):
        begin = line.index("  0a") + 2  # the serial's column
        assert line.startswith(cell["name"] + " ")
        places.add(sum(WIDTHS.get(character, 1) for character in line[:begin]))
    assert len(places) <= 1


def test_days_left_may_be_none_zero_or_gone() -> None:
    rows = [entry(days_left=days) for days in (0, -3, None)]
    shown = [line.split()[4] for line in report.table(document(*rows)).splitlines()[1:]]
    assert shown == ["0", "-3", "-"]


def test_a_refused_certificate_says_so_in_the_place_of_its_state() -> None:
    line = report.table(document(entry(refused=True, waits_for="somebody"))).splitlines()[1]
    assert line.split()[1] == "refused"
    assert line.endswith("  see the refusal")


@pytest.mark.parametrize("length", [1, 15, 16])
def test_a_short_serial_is_shown_whole(length: int) -> None:
    assert report.short(SERIAL[:length]) == SERIAL[:length]


def test_a_long_serial_is_shown_by_both_its_ends() -> None:
    assert report.short(SERIAL[:17]) == "5f012345…9abcde"
    assert report.short(SERIAL) == "5f012345…012345"


# --- the status document --------------------------------------------------------------------


def test_the_status_document_is_json_that_a_table_can_be_printed_from_again() -> None:
    status = report.status([deployed(), planned()], NOW)
    again = json.loads(json.dumps(status))
    assert again == status
    assert report.table(again) == report.table(status)
    assert (status["schema"], status["generated_at"]) == (1, "2026-11-21T12:00:00Z")


def test_a_certificate_in_service_is_described_in_full() -> None:
    (found,) = report.status([deployed()], NOW)["certificates"]
    assert found["name"] == NAME
    assert (found["state"], found["reason"]) == ("deployed", "in_service")
    assert (found["serial"], found["days_left"]) == (SERIAL, 100)
    assert found["not_after"] == "2027-03-01T12:00:00Z"
    assert (found["live_version"], found["pending_version"]) == (1, None)
    assert found["served"] == {"gw1": SERIAL}
    assert found["versions"] == {"1": "accepted"}
    assert found["refused"] is False
    assert [action["kind"] for action in found["actions"]] == ["accept", "deploy"]


def test_what_is_not_there_is_null_and_not_an_empty_text() -> None:
    (found,) = report.status([planned()], NOW)["certificates"]
    assert found["not_after"] is found["days_left"] is found["since"] is None
    assert found["live_version"] is None


def test_only_the_certificates_that_were_refused_are_marked() -> None:
    status = report.status([deployed(), deployed()], NOW, iter(["another", NAME]))
    assert [found["refused"] for found in status["certificates"]] == [True, True]
    assert not report.status([deployed()], NOW, ["another"])["certificates"][0]["refused"]


def test_an_action_is_plain_words_and_numbers() -> None:
    kept = deployed().actions[0]
    assert report.action(kept) == {
        "kind": "accept",
        "certificate": NAME,
        "version": 1,
        "reason": "in_service",
        "hosts": "gateways",
    }
    assert type(report.action(kept)["kind"]) is str


def test_each_plan_has_a_sentence_and_one_for_each_difference() -> None:
    changed = plan(
        Wanted(NAME, Intent("renamed", SUBJECT, frozenset(), "mhhs-dip"), "gateways"),
        Observed({1: KeyVersion(NOW, "aa")}, (version(accepted=False),)),
        Limits(timedelta(days=45)),
        NOW,
    )
    lines = report.sentences([deployed(), changed])
    assert len(lines) == 4
    assert all(line.startswith(f"{NAME}: ") for line in lines)
    assert lines[2] == f"{NAME}: differs in common name {CN} -> renamed"
    assert lines[3] == f"{NAME}: differs in purposes mtls -> "


def test_the_status_file_is_readable_text_in_its_own_letters(tmp_path: Path) -> None:
    path = tmp_path / "new" / "status.json"
    report.write(str(path), document(entry(next_action="warten auf die Behörde")))
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["schema"] == 1
    assert "Behörde" in text
    assert text.endswith("}\n")
    assert path.stat().st_mode & 0o777 == 0o644


# --- errors ---------------------------------------------------------------------------------

ERROR = PkiError(
    f"{NAME}: the reply's certificate belongs to another key",
    rule="DIP-6.1.2-SAME-HOST",
    found="public key 3f9a…c1",
    expected="public key 77b0…2e",
    where="certificates/dip-nonprod/1/reply.txt",
    next_step="ask the portal for the certificate of this request",
)


def test_a_refusal_is_printed_as_aligned_lines_of_what_a_reader_needs() -> None:
    assert report.refusal(ERROR.as_result()).splitlines() == [
        "refused  dip-nonprod: the reply's certificate belongs to another key",
        "  rule      DIP-6.1.2-SAME-HOST",
        "  found     public key 3f9a…c1",
        "  expected  public key 77b0…2e",
        "  where     certificates/dip-nonprod/1/reply.txt",
        "  next      ask the portal for the certificate of this request",
    ]


def test_an_error_is_its_own_text_and_six_plain_fields() -> None:
    assert str(ERROR) == errors.render(ERROR.as_result())
    assert str(ERROR).splitlines()[0] == ERROR.message
    assert set(ERROR.as_result()) == {
        "message", "rule", "found", "expected", "where", "next_step",
    }  # fmt: skip
    assert isinstance(ERROR, Exception)


def test_a_field_with_nothing_to_say_is_not_printed() -> None:
    assert str(PkiError("it is so", rule="SOME-RULE")) == "it is so\n  rule      SOME-RULE"


# --- the program ----------------------------------------------------------------------------


def show(path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pki.show", str(path), *options],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "module_utils"),
            "PYTHONIOENCODING": "utf-8",
            **environment,
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


WAITING: dict[str, tuple[int, list[dict[str, Any]]]] = {
    "all in service": (0, [entry(), entry(name="second")]),
    "nothing declared": (0, []),
    "one waits": (1, [entry(), entry(state="requested")]),
    "one is refused": (1, [entry(), entry(refused=True)]),
}


@pytest.mark.parametrize("case", WAITING)
def test_the_exit_code_says_whether_anything_waits(tmp_path: Path, case: str) -> None:
    code, rows = WAITING[case]
    path = tmp_path / "status.json"
    report.write(str(path), document(*rows))
    done = show(path)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == report.table(document(*rows)) + "\n"


def test_asked_only_whether_anything_waits_it_prints_nothing(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    report.write(str(path), document(entry(state="requested")))
    done = show(path, "--waiting")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


UNUSABLE = {
    "missing": None,
    "not JSON": "{",
    "a list": "[]",
    "another schema": '{"schema": 2, "certificates": []}',
    "no schema": "{}",
    "no certificates": '{"schema": 1}',
    "certificates of text": '{"schema": 1, "certificates": "none"}',
    "an entry without state": '{"schema": 1, "certificates": [{"name": "x"}]}',
    "an entry of nothing": '{"schema": 1, "certificates": [null]}',
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_document_that_cannot_be_used_is_neither_calm_nor_waiting(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pki import show as program

    path = tmp_path / "status.json"
    content = UNUSABLE[kind]
    if content is not None:
        path.write_text(content)
    for options in ([], ["--waiting"]):
        assert program.main([str(path), *options]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert str(path) in printed.err


def test_the_program_ends_with_2_for_what_it_cannot_use(tmp_path: Path) -> None:
    done = show(tmp_path / "status.json")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_terminal_without_our_letters_changes_no_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    report.write(str(path), document(entry(serial=SERIAL)))
    done = show(path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "5f012345?012345" in done.stdout


LISTENER = {
    "gateway": "dip",
    "listener": "webhook",
    "direction": "ingress",
    "product": "some",
    "crl_age_seconds": 82_740,
    "bounds": [
        {"bound": "session", "seconds": 0},
        {"bound": "connection", "seconds": 3600},
        {"bound": "drain", "seconds": 60},
    ],
    "notes": ["a limit holds in another way"],
}


def test_the_table_of_listeners_says_how_old_crls_may_get_and_each_note_once() -> None:
    listeners = [LISTENER, {**LISTENER, "listener": "api", "direction": "egress"}]
    head, webhook, api, *notes = report.gateway_table(listeners).splitlines()
    assert " ".join(head.split()) == " ".join(report.GATEWAY_COLUMNS)
    assert webhook.split()[:4] == ["dip", "webhook", "ingress", "some"]
    assert "22 h 59 min old" in webhook
    assert webhook.endswith("connection 1 h, drain 1 min")
    assert api.split()[1:3] == ["api", "egress"]
    assert notes == ["a limit holds in another way"]
    assert report.gateway_table([]) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (86_399, "23 h 59 min"), (90_061, "1 d 1 h")],
)
def test_a_duration_is_two_units_at_most_and_never_rounded_up(seconds: int, words: str) -> None:
    assert report.duration(seconds) == words
