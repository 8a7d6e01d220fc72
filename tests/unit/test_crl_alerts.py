# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules: each is about series that hosts write, and says what to do; one is about silence."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki_host import crl_guard_told, crl_told
from pki_host.crl_watch import Watch
from unit.test_host_crl_watch import WATCH

ROOT = Path(__file__).parents[2]
RULES = ROOT / "roles" / "crl_cache" / "files" / "pki-crl.rules.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
#: Written by the node exporter itself.
OF_OTHERS = {"node_textfile_mtime_seconds"}
_SERIES = re.compile(r"\b(?:pki|x509|node)_[a-z0-9_]+")


def written() -> dict[str, set[str]]:
    """Every family that a host writes, with the labels of its series."""
    watch = Watch.of(WATCH)
    families = [
        *crl_told.refresh_metrics(watch, {}, 0),
        *crl_guard_told.metrics(watch, {}, {"gw": False}, 0),
    ]
    return {one.name: {name for labels in one.samples for name, _ in labels} for one in families}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Pki[A-Za-z0-9]+", alert["alert"])
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert all(len(text) > 20 for text in alert["annotations"].values())


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_about_series_that_hosts_write(alert: dict[str, Any]) -> None:
    named = set(_SERIES.findall(re.sub(r'"[^"]*"', "", alert["expr"])))
    assert named
    assert named - OF_OTHERS <= set(written())


def test_names_of_alerts_and_groups_are_unique() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(names) == len(set(names))
    assert len({group["name"] for group in GROUPS}) == len(GROUPS)


def test_an_outcome_in_an_expression_is_one_that_is_written() -> None:
    known = {*crl_told.OUTCOMES, *crl_told.OCSP_STATUSES, *crl_told.POLL_OUTCOMES}
    said = re.findall(r'(?:outcome|status)="(\w+)"', RULES.read_text())
    assert said
    assert set(said) <= known


@pytest.mark.parametrize(
    "what",
    [
        r"absent\(pki_crl_guard_last_tick_timestamp_seconds\)",
        r"node_textfile_mtime_seconds",
        r"pki_crl_age_used_percent >= 25",
        r"pki_crl_age_used_percent >= 50",
        r"pki_crl_age_used_percent >= 75",
        r"pki_crl_age_used_percent >= 100",
        r"pki_crl_refusing == 1",
        r"pki_crl_clock_jumped == 1",
        r"pki_crl_own_revoked > 0",
        r"pki_crl_removed_unexpired > 0",
        r"pki_crl_refresh_failures_total",
    ],
)
def test_nothing_that_matters_is_left_without_an_alert(what: str) -> None:
    assert any(re.search(what, alert["expr"]) for alert in ALERTS)


def test_prometheus_takes_the_file_where_it_is_installed() -> None:
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)


def test_the_page_names_every_alert() -> None:
    page = (ROOT / "docs" / "crl.md").read_text()
    assert [alert["alert"] for alert in ALERTS if alert["alert"] not in page] == []
