# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit of a gateway under systemd: its text, its links, and who may not have one."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from pki_host import systemd
from pki_host.errors import HostError
from pki_host.gateways import adapter
from pki_host.service import Daemon
from pki_host.systemd import State, Unit

ROOT = "/etc/pki/gateway/dip"
PROGRAM = "/usr/sbin/nginx"
OLD = (
    "nginx version: nginx/1.18.0\nbuilt with OpenSSL 1.1.1w  11 Sep 2023\n"
    "configure arguments: --with-http_ssl_module\n"
)


def unit(*, old: bool = False, name: str = "dip", root: str = ROOT, program: str = PROGRAM) -> Unit:
    chosen = adapter("nginx")
    return Unit(chosen.of_build(program, OLD) if old else chosen, program, root, name)


def sections(of: Unit) -> configparser.ConfigParser:
    (text,) = of.own_files.values()
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text.decode())
    return parser


def test_a_gateway_has_a_unit_of_its_own_name_wanted_at_boot() -> None:
    assert list(unit().own_files) == ["/etc/systemd/system/pki-gateway-dip.service"]
    assert unit().own_links == {
        "/etc/systemd/system/multi-user.target.wants/pki-gateway-dip.service": (
            "../pki-gateway-dip.service"
        )
    }


def test_the_rotation_of_its_logs_belongs_to_it_and_is_no_reason_to_restart_it() -> None:
    rotated = Unit(adapter("nginx"), PROGRAM, ROOT, "dip", 92)
    assert set(rotated.own_files) - set(unit().own_files) == {
        "/etc/logrotate.d/pki-gateway-dip",
        "/etc/systemd/system/logrotate.service.d/pki-gateway-dip.conf",
    }
    assert rotated.start_paths == unit().start_paths
    assert rotated.start_digest({}) == unit().start_digest({})


def test_the_service_is_started_as_the_adapter_says_and_never_trusts_an_old_pid() -> None:
    service = sections(unit())["Service"]
    assert service["ExecStart"] == " ".join(adapter("nginx").start_command(PROGRAM, ROOT))
    assert service["PIDFile"] == f"{ROOT}/run/nginx.pid"
    assert service["ExecStartPre"].endswith(service["PIDFile"])
    assert f"test -s {service['PIDFile']};" in service["ExecStartPost"]
    assert (service["KillSignal"], service["Restart"]) == ("SIGQUIT", "on-failure")
    assert "Environment" not in service


def test_what_a_program_in_the_foreground_says_is_appended_whatever_it_does_to_its_output() -> None:
    """HAProxy takes O_APPEND away from its standard output; the other end of a pipe keeps it."""
    service = sections(Unit(adapter("haproxy"), "/usr/sbin/haproxy", ROOT, "dip"))["Service"]
    pipe = f"{ROOT}/run/access.pipe"
    command = " ".join(adapter("haproxy").start_command("/usr/sbin/haproxy", ROOT))
    assert service["ExecStart"] == f"/bin/sh -c 'cat {pipe} & exec {command} >{pipe}'"
    assert service["StandardOutput"] == f"append:{ROOT}/log/access.log"
    assert f"{ROOT}/run" in service["ReadWritePaths"].split()


def test_a_build_that_needs_an_environment_gets_it() -> None:
    service = sections(unit(old=True))["Service"]
    assert service["Environment"] == f"OPENSSL_CONF={ROOT}/openssl.cnf"
    assert " -e " not in service["ExecStart"]


def test_the_service_may_write_its_log_and_run_directories_only() -> None:
    service = sections(unit())["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"].split() == [f"{ROOT}/log", f"{ROOT}/run"]


def test_a_change_of_what_only_a_start_reads_changes_the_start_digest() -> None:
    config = {"nginx.conf": b"a", "openssl.cnf": b"b"}
    digest = unit(old=True).start_digest(config)
    assert unit(old=True).start_digest({**config, "nginx.conf": b"other"}) == digest
    others = [
        unit(old=True).start_digest({**config, "openssl.cnf": b"other"}),
        unit().start_digest(config),
        unit(old=True, name="dip2").start_digest(config),
        Daemon(adapter("nginx").of_build(PROGRAM, OLD), PROGRAM, ROOT).start_digest(config),
    ]
    assert len({digest, *others}) == 5


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "LoadState=loaded\nActiveState=active\nMainPID=411\nNeedDaemonReload=no\n",
            State("active", 411, unread=False),
        ),
        (
            "LoadState=loaded\nActiveState=failed\nMainPID=0\nNeedDaemonReload=yes\n",
            State("failed", 0, unread=True),
        ),
        (
            "LoadState=not-found\nActiveState=inactive\nMainPID=0\nNeedDaemonReload=no\n",
            State("inactive", 0, unread=True),
        ),
    ],
)
def test_what_systemd_says_is_read(output: str, expected: State) -> None:
    assert State.parse(output) == expected


@pytest.mark.parametrize(
    ("active", "settled"),
    [("inactive", True), ("failed", True), ("active", False), ("activating", False)],
)
def test_a_unit_that_waits_to_be_started_again_is_not_settled(active: str, settled: bool) -> None:
    assert State(active, 0, unread=False).settled is settled


@pytest.mark.parametrize("name", ["", "a b", "../x", "x%n", "-x", "x\n"])
def test_a_name_that_fits_no_unit_is_refused(name: str) -> None:
    with pytest.raises(HostError, match="fits no unit"):
        unit(name=name)


@pytest.fixture
def host_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose init is systemd, seen by root."""
    monkeypatch.setattr(systemd, "_RUNNING", str(tmp_path))
    monkeypatch.setattr(systemd.os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("host_of_systemd")
@pytest.mark.parametrize("place", ["/home/x/gw", "/root/gw", "/tmp/gw", "/var/tmp/gw", "/etc/100%"])
def test_a_place_that_the_service_could_not_see_is_refused(place: str) -> None:
    unit().require_usable()
    with pytest.raises(HostError) as caught:
        unit(root=place).require_usable()
    assert (caught.value.rule, caught.value.found) == ("SERVICE-MANAGER", place)
    with pytest.raises(HostError):
        unit(program=place).require_usable()


@pytest.mark.usefixtures("host_of_systemd")
def test_a_service_of_the_system_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd.os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="needs root"):
        unit().require_usable()


def test_a_host_without_systemd_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_RUNNING", str(tmp_path / "absent"))
    with pytest.raises(HostError, match="not run by systemd") as caught:
        unit().require_usable()
    assert "gateway_service to daemon" in caught.value.next_step
