# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of the two timers: what they may do, when they run, and what a person changed."""

from __future__ import annotations

import configparser
import dataclasses
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pki_host import crl_units
from pki_host.crl_units import GUARD, REFRESH, Places
from pki_host.crl_watch import Timer, Watch
from pki_host.errors import HostError
from unit.test_host_crl_watch import WATCH

NAMES = [f"{name}.{kind}" for name in (REFRESH, GUARD) for kind in ("service", "timer")]
PLACES = Places("/var/lib/pki-crl", python="/usr/bin/python3")


def watch(period: int = 3600, delay: int = 300, accuracy: int = 60, guard: int = 60) -> Watch:
    return dataclasses.replace(
        Watch.of(WATCH), refresh=Timer(period, delay, accuracy), guard_period_seconds=guard
    )


def read(text: str) -> configparser.ConfigParser:
    """A unit's sections; of a setting that stands twice the last one."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def unit(name: str, of: Watch | None = None) -> configparser.ConfigParser:
    return read(crl_units.texts(of or watch(), PLACES)[name])


# -- what they say --------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_reads_every_line_of_them(tmp_path: Path) -> None:
    for name, text in crl_units.texts(watch(), PLACES).items():
        # What starts has to be there for systemd-analyze.
        (tmp_path / name).write_text(text.replace(PLACES.python, "/bin/true"))
    for of in (watch(10, 2, 1, 2), watch(7000, 0, 1, 60)):
        texts = crl_units.texts(of, PLACES)
        timer = f"{REFRESH}.timer"
        (tmp_path / timer).write_text(texts[timer])
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in NAMES)],
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if "pki-crl" in line]
        assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize("name", [f"{REFRESH}.service", f"{GUARD}.service"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("Type", "oneshot"),
        ("Restart", "no"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallFilter", "@system-service"),
    ],
)
def test_a_service_may_do_no_more_than_it_has_to(name: str, setting: str, value: str) -> None:
    assert unit(name)["Service"][setting] == value


def test_the_guard_has_no_network() -> None:
    service = unit(f"{GUARD}.service")["Service"]
    assert service["PrivateNetwork"] == "yes"
    assert service["RestrictAddressFamilies"] == "AF_UNIX"
    assert service["IPAddressDeny"] == "any"


@pytest.mark.parametrize("name", [f"{REFRESH}.service", f"{GUARD}.service"])
def test_a_service_writes_to_crls_records_of_gateways_and_metrics(name: str) -> None:
    writable = "/var/lib/pki-crl -/etc/pki/gateway -/var/lib/pki-crl/metrics"
    assert unit(name)["Service"]["ReadWritePaths"] == writable


def test_the_refresh_has_what_the_masters_need_whose_test_it_runs() -> None:
    granted = set(unit(f"{REFRESH}.service")["Service"]["CapabilityBoundingSet"].split())
    assert {"CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"} <= granted
    assert not granted & {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_MODULE"}


@pytest.mark.parametrize(("one", "other"), [(GUARD, REFRESH), (REFRESH, GUARD)])
def test_neither_unit_knows_of_the_other(one: str, other: str) -> None:
    for kind in ("service", "timer"):
        assert other not in crl_units.texts(watch(), PLACES)[f"{one}.{kind}"]


def test_a_short_period_is_never_held_up_by_a_limit_of_starts() -> None:
    for name in (f"{REFRESH}.service", f"{GUARD}.service"):
        assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"


# -- when they run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "calendar"),
    [
        (10, "*-*-* *:*:00/10"),
        (60, "minutely"),
        (900, "*-*-* *:00/15:00"),
        (3600, "hourly"),
        (14400, "*-*-* 00/4:00:00"),
        (86400, "daily"),
    ],
)
def test_a_period_that_the_calendar_knows_is_made_good_after_a_pause(
    period: int, calendar: str
) -> None:
    timer = unit(f"{REFRESH}.timer", watch(period))["Timer"]
    assert (timer["OnCalendar"], timer["Persistent"]) == (calendar, "true")


@pytest.mark.parametrize("period", [7, 90, 5400, 25200])
def test_any_other_period_counts_from_start_to_start(period: int) -> None:
    timer = unit(f"{REFRESH}.timer", watch(period))["Timer"]
    assert timer["OnUnitActiveSec"] == str(period)
    assert "OnCalendar" not in timer


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("period", [10, 60, 900, 3600, 14400])
def test_systemd_polls_as_often_as_declared(period: int) -> None:
    calendar = unit(f"{REFRESH}.timer", watch(period))["Timer"]["OnCalendar"]
    done = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            "--iterations=3",
            "--base-time=2026-01-02 00:00:00 UTC",
            calendar,
        ],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.findall(r"(?:Next elapse|Iter\. #\d): \w+ \S+ (\d+):(\d+):(\d+)", done.stdout)
    times = [int(hour) * 3600 + int(minute) * 60 + int(second) for hour, minute, second in said]
    assert [after - before for before, after in itertools.pairwise(times)] == [period] * 2


@pytest.mark.parametrize(("delay", "accuracy"), [(300, 60), (2, 1), (30, 60), (1, 1)])
def test_delay_and_accuracy_together_stay_within_the_declared_delay(
    delay: int, accuracy: int
) -> None:
    timer = unit(f"{REFRESH}.timer", watch(3600, delay, accuracy))["Timer"]
    assert int(timer["RandomizedDelaySec"]) + int(timer["AccuracySec"]) <= delay


def test_the_guard_does_not_go_by_a_clock_that_may_jump() -> None:
    timer = unit(f"{GUARD}.timer", watch(guard=60))["Timer"]
    assert (timer["OnActiveSec"], timer["OnUnitActiveSec"]) == ("0", "60")
    assert "OnCalendar" not in timer


@pytest.mark.parametrize("path", ["/tmp/crl", "/home/pki/crl", "/var/lib/pki crl", "/var/%i"])
def test_a_path_that_a_unit_cannot_see_or_say_is_refused(path: str) -> None:
    with pytest.raises(HostError) as caught:
        crl_units.texts(watch(), Places(path))
    assert caught.value.rule == "SERVICE-MANAGER"


# -- what is on the host --------------------------------------------------------------------------


@pytest.fixture
def texts() -> dict[str, str]:
    return crl_units.texts(watch(), PLACES)


@pytest.fixture
def units_dir(tmp_path: Path, texts: dict[str, str]) -> Path:
    crl_units.install(texts, str(tmp_path))
    return tmp_path


def test_a_second_run_finds_nothing_to_do(units_dir: Path, texts: dict[str, str]) -> None:
    assert crl_units.look(texts, str(units_dir)) == crl_units.Found((), ())
    for name in (f"{REFRESH}.timer", f"{GUARD}.timer"):
        link = units_dir / "timers.target.wants" / name
        assert os.readlink(link) == f"../{name}"
        assert link.read_text() == texts[name]


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_unit_is_found_and_put_back(
    units_dir: Path, texts: dict[str, str], name: str
) -> None:
    with (units_dir / name).open("a") as unit_file:
        unit_file.write("User=nobody\n")
    assert crl_units.look(texts, str(units_dir)).changes == (f"{units_dir / name}: changed",)
    crl_units.install(texts, str(units_dir))
    assert (units_dir / name).read_text() == texts[name]


def test_a_disabled_timer_is_found_and_enabled(units_dir: Path, texts: dict[str, str]) -> None:
    (units_dir / "timers.target.wants" / f"{GUARD}.timer").unlink()
    assert crl_units.look(texts, str(units_dir)).changes == (f"{GUARD}.timer: not started at boot",)
    crl_units.install(texts, str(units_dir))
    assert crl_units.look(texts, str(units_dir)).changes == ()


def test_a_drop_in_is_the_administrator_s(units_dir: Path, texts: dict[str, str]) -> None:
    (units_dir / f"{GUARD}.service.d").mkdir()
    (units_dir / f"{GUARD}.service.d" / "mine.conf").write_text("[Service]\nNice=1\n")
    assert crl_units.look(texts, str(units_dir)).changes == ()
    crl_units.install(texts, str(units_dir))
    assert (units_dir / f"{GUARD}.service.d" / "mine.conf").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_told_and_left(units_dir: Path, texts: dict[str, str], name: str) -> None:
    (units_dir / name).unlink()
    (units_dir / name).symlink_to("/dev/null")
    assert crl_units.look(texts, str(units_dir)) == crl_units.Found((), (name,))
    crl_units.install(texts, str(units_dir))
    assert os.readlink(units_dir / name) == "/dev/null"
    assert name in crl_units.masked_sentence(name)


def test_removing_takes_units_and_links_and_leaves_the_rest(
    units_dir: Path, texts: dict[str, str]
) -> None:
    (units_dir / "other.service").write_text("")
    assert crl_units.remove(str(units_dir))
    assert sorted(path.name for path in units_dir.rglob("*")) == [
        "other.service",
        "timers.target.wants",
    ]
    assert not crl_units.remove(str(units_dir))


def test_a_host_without_the_units_says_none(tmp_path: Path) -> None:
    assert crl_units.observed(str(tmp_path)) == {"refresh": "none", "guard": "none"}
