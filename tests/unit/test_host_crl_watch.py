# SPDX-License-Identifier: GPL-3.0-or-later
"""watch.json: judged when read, the same bytes when written, and free of network code."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pki_host import crl_watch, files
from pki_host.errors import HostError

SHA = "ab" * 32
WATCH: dict[str, Any] = {
    "version": 1,
    "trusts": {
        "dip-nonprod": {
            "authorities": [
                {
                    "name": "Issuing",
                    "sha256": SHA,
                    "pem": "PEM",
                    "urls": ["http://crl.example.org/i.crl"],
                    "needs": "user",
                },
                {"name": "Root", "sha256": "cd" * 32, "pem": "PEM", "urls": [], "needs": "ca"},
            ],
            "directions": {
                "ingress": {"on_stale": "refuse", "max_age_seconds": 82740},
                "egress": {"on_stale": "alarm", "max_age_seconds": 86400},
            },
            "known": [
                {
                    "what": "our certificate dip-nonprod",
                    "certificate": "dip-nonprod",
                    "kind": "ours",
                    "serial": "0a1b",
                    "issuer": SHA,
                    "not_after": "2027-01-02T00:00:00Z",
                    "ocsp_urls": [],
                    "pem": "PEM",
                }
            ],
            "longest_validity_days": 398,
        }
    },
    "fetch": {
        "attempts": 3,
        "first_wait_seconds": 0.5,
        "wait_factor": 2,
        "longest_wait_seconds": 30,
        "timeout_seconds": 20,
        "total_seconds": 120,
        "largest_bytes": 134217728,
        "proxy": "",
    },
    "alarm_percents": [75, 25, 50],
    "clock_tolerance_seconds": 300,
    "refresh": {"period_seconds": 3600, "delay_seconds": 300, "accuracy_seconds": 60},
    "guard": {"period_seconds": 60},
    "ocsp_period_seconds": 86400,
    "grace_longest_seconds": 86400,
    "gateway_root": "/etc/pki/gateway",
    "metrics_dir": "/var/lib/pki-crl/metrics",
}
TRUST = ("trusts", "dip-nonprod")


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    raw = copy.deepcopy(WATCH)
    place: Any = raw
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return raw


def test_a_watch_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    watch = crl_watch.Watch.of(WATCH)
    files.write(str(tmp_path / "watch.json"), watch.encode())
    assert crl_watch.Watch.load(str(tmp_path)) == watch
    assert crl_watch.Watch.of(json.loads(watch.encode())).encode() == watch.encode()


def test_the_order_of_the_cas_is_kept_as_it_is_the_order_of_the_set() -> None:
    trust = crl_watch.Watch.of(WATCH).trusts["dip-nonprod"]
    assert [authority.name for authority in trust.authorities] == ["Issuing", "Root"]
    assert trust.known[0].serial == 0x0A1B
    assert crl_watch.Watch.of(WATCH).alarm_percents == (25, 50, 75)


def test_nothing_is_watched_where_no_run_has_said_so(tmp_path: Path) -> None:
    assert crl_watch.Watch.load(str(tmp_path)) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100000, b"\xff", b"[]", b"{}"])
def test_a_broken_file_is_a_sentence_and_no_traceback(tmp_path: Path, data: bytes) -> None:
    files.write(str(tmp_path / "watch.json"), data)
    with pytest.raises(HostError) as caught:
        crl_watch.Watch.load(str(tmp_path))
    assert caught.value.rule == "CRL-WATCH"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("trusts",), []),
        (("trusts", "../up"), WATCH["trusts"]["dip-nonprod"]),
        (("trusts", "refusal"), WATCH["trusts"]["dip-nonprod"]),
        (("trusts", "guard.json"), WATCH["trusts"]["dip-nonprod"]),
        ((*TRUST, "authorities"), []),
        ((*TRUST, "authorities", 1, "sha256"), SHA),
        ((*TRUST, "authorities", 0, "sha256"), "AB" * 32),
        ((*TRUST, "authorities", 0, "needs"), "all"),
        ((*TRUST, "authorities", 0, "urls"), "http://crl.example.org"),
        ((*TRUST, "directions", "sideways"), {"on_stale": "refuse", "max_age_seconds": 1}),
        ((*TRUST, "directions", "ingress", "on_stale"), "accept"),
        ((*TRUST, "directions", "ingress", "max_age_seconds"), 0),
        ((*TRUST, "directions", "ingress", "max_age_seconds"), float("inf")),
        ((*TRUST, "directions", "ingress", "max_age_seconds"), float("nan")),
        ((*TRUST, "directions", "ingress", "max_age_seconds"), True),
        ((*TRUST, "directions", "ingress", "max_age_seconds"), "82740"),
        ((*TRUST, "known", 0, "serial"), "-1"),
        ((*TRUST, "known", 0, "kind"), "theirs"),
        (("fetch", "attempts"), 0),
        (("fetch", "largest_bytes"), 1.5),
        (("fetch", "wait_factor"), 0.5),
        (("alarm_percents",), [0]),
        (("alarm_percents",), [101]),
        (("guard", "period_seconds"), 0),
        (("refresh", "period_seconds"), 0),
        (("gateway_root",), "gateway"),
        (("metrics_dir",), ""),
    ],
    ids=repr,
)
def test_a_value_that_would_decide_wrongly_is_refused(path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(HostError) as caught:
        crl_watch.Watch.of(changed(path, value))
    assert caught.value.rule == "CRL-WATCH"


@pytest.mark.parametrize("name", [name for name in WATCH if name != "version"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(HostError) as caught:
        crl_watch.Watch.of({key: value for key, value in WATCH.items() if key != name})
    assert name in caught.value.where


def test_the_guard_can_read_it_without_network_code() -> None:
    code = (
        "import sys, pki_host.crl_watch;"
        "print([n for n in ('socket', 'ssl', 'http', 'urllib.request') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(crl_watch.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
