# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of CRLs: lines for the journal, series for Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_host import crl_told
from pki_host.crl_told import COUNTER, GAUGE, Metric
from pki_host.crl_watch import Authority, Direction, Limits, Timer, TrustWatch, Watch

CA = Authority("Issuing CA", "a" * 64, "", (), "user")
NOW = 1_800_000_000.0
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\n"])*)"(?:,|$)')

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Series:
    """The text format, read strictly: HELP and TYPE once before the samples of each family."""
    found: Series = {}
    family, typed = "", set()
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert _NAME.fullmatch(family)
            assert family not in typed
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family
            assert kind in (GAUGE, COUNTER)
            assert (kind == COUNTER) == name.endswith("_total")
            typed.add(name)
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == family
            assert family in typed
            key = (family, labels(match[2] or ""))
            assert key not in found
            found[key] = float(match[3])
    return found


def labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs, at = [], 0
    while at < len(text):
        match = _LABEL.match(text, at)
        assert match, text
        value = re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), match[2])
        pairs.append((match[1], value))
        at = match.end()
    return tuple(pairs)


def watch(*names: str) -> Watch:
    trusts = {
        name: TrustWatch(name, (CA,), {"ingress": Direction("refuse", 80000)}, (), 398)
        for name in names
    }
    limits = Limits(1, 0, 1, 0, 1, 1, 1, "")
    timer = Timer(3600, 300, 60)
    return Watch(trusts, limits, (25,), 300, timer, 60, 86400, 86400, "/gateway", "/metrics")


def series(told: dict[str, Any], *names: str) -> Series:
    metrics = crl_told.refresh_metrics(watch(*names), told, NOW)
    return parsed(crl_told.encode(metrics).decode())


STATUS: dict[str, Any] = {
    "outcome": "changed",
    "why": "",
    "polls": 7,
    "failures": 2,
    "last_success_at": "2027-01-15T08:00:00Z",
    "revoked": [{"what": "ours"}],
    "vanished": [],
    "ocsp": [{"status": "good"}, {"status": "none"}],
    "authorities": [
        {
            "sha256": CA.sha256,
            "number": "11",
            "entries": 3,
            "this_update": "2027-01-15T07:00:00Z",
            "next_update": "2027-01-16T07:00:00Z",
            "fetched_at": "2027-01-15T08:00:00Z",
            "added_total": 5,
            "removed_total": 1,
            "polls": {"304": 4, "new": 1, "failed": 2},
        }
    ],
}


def test_every_series_is_there_before_anything_has_happened() -> None:
    assert series({}, "dip", "mesh").keys() == series({"dip": STATUS}, "dip", "mesh").keys()


def test_what_happened_stands_in_the_series() -> None:
    found = series({"dip": STATUS}, "dip")
    values = {
        (name, *(value for label, value in pairs if label in ("outcome", "status"))): number
        for (name, pairs), number in found.items()
    }
    assert values["pki_crl_refresh_last_run_timestamp_seconds",] == NOW
    assert values["pki_crl_refresh_runs_total",] == 7
    assert values["pki_crl_refresh_failures_total",] == 2
    assert values["pki_crl_refresh_outcome", "changed"] == 1
    assert values["pki_crl_refresh_outcome", "failed"] == 0
    assert values["pki_crl_polls_total", "304"] == 4
    assert values["pki_crl_polls_total", "same"] == 0
    assert values["x509_crl_number",] == 11
    assert values["x509_crl_revoked_certificates",] == 3
    assert values["x509_crl_stale",] == 0
    assert values["x509_crl_next_update",] - values["x509_crl_this_update",] == 86400
    assert values["pki_crl_own_revoked",] == 1
    assert values["pki_crl_ocsp_answers", "none"] == 1


@pytest.mark.parametrize(
    ("next_update", "stale"), [("", 1), ("2027-01-15T07:59:00Z", 1), ("2027-01-15T09:00:00Z", 0)]
)
def test_a_crl_is_stale_from_its_next_update_on_and_without_one(
    next_update: str, stale: int
) -> None:
    authority = {**STATUS["authorities"][0], "next_update": next_update}
    found = series({"dip": {**STATUS, "authorities": [authority]}}, "dip")
    assert [value for (name, _), value in found.items() if name == "x509_crl_stale"] == [stale]


def test_a_number_beyond_all_measure_is_still_a_number() -> None:
    authority = {**STATUS["authorities"][0], "number": str(10**400)}
    found = series({"dip": {**STATUS, "authorities": [authority]}}, "dip")
    assert [v for (name, _), v in found.items() if name == "x509_crl_number"] == [float("inf")]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r")), st.floats())
def test_whatever_a_label_holds_can_be_read_again(text: str, value: float) -> None:
    metric = Metric("some_name", GAUGE, f"help {text}").put(value, label=text, other="x")
    (((_, pairs), _),) = parsed(metric.encode()).items()
    assert dict(pairs) == {"label": text, "other": "x"}


def test_the_file_is_replaced_for_everybody_to_read(tmp_path: Path) -> None:
    for _ in range(2):
        crl_told.write(str(tmp_path / "metrics"), "a.prom", [Metric("a", GAUGE, "b").put(1)])
    (path,) = (tmp_path / "metrics").iterdir()
    assert path.read_text() == "# HELP a b\n# TYPE a gauge\na 1\n"
    assert path.stat().st_mode & 0o777 == 0o644


# -- lines ---------------------------------------------------------------------------------


def entry(**changes: Any) -> dict[str, Any]:
    plain = {
        "name": "Issuing CA", "outcome": "304", "url": "http://crl.example/a", "tries": [],
        "number": "11", "entries": 3, "added": 0, "removed": 0, "removed_uncertain": 0,
        "fetched_at": "", "next_update": "",
    }  # fmt: skip
    return {**plain, **changes}


def status(**changes: Any) -> dict[str, Any]:
    return {"outcome": "unchanged", "why": "", "authorities": [entry()], **changes}


REVOKED = {
    "what": "ours", "serial": "4f", "since": "", "reason": "", "source": "CRL",
    "next_step": "ansible-playbook playbooks/renew.yml",
}  # fmt: skip
GONE = {"what": "theirs", "serial": "4f", "not_after": "2099", "since": "2026"}
TRIED = [{"url": "http://crl.example/0", "outcome": "failed", "why": "HTTP 404"}]

CASES = [
    (status(), [], "unchanged"),
    (status(revoked=[REVOKED]), [1], "REVOKED"),
    (status(vanished=[GONE]), [3], "not in its CA's CRL any more"),
    (status(outcome="failed", why="no answer"), [3], "no answer"),
    (status(outcome="held", why="another run; the next poll tries again"), [4], "another run"),
    (status(authorities=[entry(tries=TRIED)]), [4], "HTTP 404"),
    (status(authorities=[entry(removed_uncertain=2)]), [4], "2 serials"),
    (status(ocsp=[{"what": "ours", "status": "none", "why": "down"}]), [4], "no OCSP answer"),
    (status(notes=["dip: it does not run"]), [4], "does not run"),
]


@pytest.mark.parametrize(("told", "priorities", "word"), CASES, ids=[case[2] for case in CASES])
def test_each_state_has_its_priority_and_its_sentence(
    told: dict[str, Any], priorities: list[int], word: str
) -> None:
    lines = crl_told.lines("dip", told)
    assert [one.priority for one in lines] == [*priorities, 6]
    assert word in lines[0].text
    assert all(one.text.startswith("dip: ") for one in lines)
    assert all("; " in one.text for one in lines[:-1]), "what to do"


@given(st.text())
def test_no_text_of_others_breaks_a_line_or_steers_a_terminal(text: str) -> None:
    told = status(outcome="failed", why=text, notes=[text])
    for line in crl_told.lines("dip", told):
        assert str(line).isprintable()


def test_the_table_has_a_line_a_ca_and_one_for_an_entry_that_was_never_polled() -> None:
    assert crl_told.table({"dip": status(), "mesh": {}}) == [
        "TRUST  CA          POLL     NUMBER  ENTRIES  CONFIRMED  NEXT UPDATE  SET",
        "dip    Issuing CA  304      11      3        never      -            unchanged",
        "mesh   -           not yet  -       -        never      -            -",
    ]
