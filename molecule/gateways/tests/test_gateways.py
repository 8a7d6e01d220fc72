# SPDX-License-Identifier: GPL-3.0-or-later
"""What every product is after the job: its unit, its files, and what it answers to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scenarios.calls import SERVER_NAME, call

RELEASE = "/etc/pki/mtls/dip-nonprod/current"
STRANGERS = ("foreign", "sibling", "wrong-prefix", "expired", "revoked")
# What systemd-analyze says of a unit; above it a directive of the hardening is missing.
EXPOSURE = 2.5


def test_the_gateway_runs_as_a_unit_of_its_own_and_starts_at_boot(gateway: Any) -> None:
    assert gateway.host.check_output(f"systemctl is-active {gateway.unit}") == "active"
    assert gateway.host.check_output(f"systemctl is-enabled {gateway.unit}") == "enabled"


def test_the_distributions_own_services_do_not_run(gateway: Any) -> None:
    for unit in ("nginx.service", "haproxy.service"):
        assert gateway.host.run(f"systemctl is-active {unit}").rc != 0


def test_no_unit_has_failed(gateway: Any) -> None:
    assert gateway.host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_the_unit_is_no_more_exposed_than_any_other_product_s(gateway: Any) -> None:
    said = gateway.host.check_output(f"systemd-analyze security --no-pager {gateway.unit}")
    overall = said.splitlines()[-1]
    assert "Overall exposure level" in overall
    assert float(overall.partition(": ")[2].split()[0]) <= EXPOSURE, overall


def test_who_speaks_with_peers_is_not_root_and_cannot_read_the_key(gateway: Any) -> None:
    main = int(gateway.host.check_output(f"systemctl show -P MainPID {gateway.unit}"))
    workers = gateway.host.process.filter(comm=gateway.program, ppid=main)
    assert workers
    for user in {worker.user for worker in workers}:
        assert user != "root"
        assert gateway.host.run(f"su -s /bin/sh {user} -c 'cat {RELEASE}/key.pem'").rc != 0


def test_every_private_key_is_roots_alone(gateway: Any) -> None:
    keys = gateway.host.check_output("grep -rlE 'PRIVATE KEY' /etc/pki --exclude-dir=log").split()
    files = [gateway.host.file(key) for key in keys]
    assert files
    for file in files:
        if not file.is_symlink:
            assert (file.user, file.group, oct(file.mode)) == ("root", "root", "0o600"), file.path


def test_the_right_client_is_let_in_and_named_to_the_application(gateway: Any, dip: Any) -> None:
    answer = call(dip, gateway.address, port=gateway.port)
    assert answer.status == 200
    assert json.loads(answer.body)["x_client_verify"] == "SUCCESS"


def test_no_certificate_is_refused(gateway: Any, dip: Any) -> None:
    assert call(dip, gateway.address, None, port=gateway.port).status == 403


@pytest.mark.parametrize("peer", STRANGERS)
def test_a_client_is_refused(gateway: Any, dip: Any, peer: str) -> None:
    assert call(dip, gateway.address, peer, port=gateway.port).status == 403


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_current_tls_is_spoken(gateway: Any, dip: Any, version: str) -> None:
    said = _handshake(gateway, dip, f"-tls{version.replace('.', '_')}")
    assert f"New, TLSv{version}, Cipher is " in said


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_tls_is_refused_with_the_protocol_version_alert(
    gateway: Any, dip: Any, version: str
) -> None:
    said = _handshake(gateway, dip, f"-{version} -cipher DEFAULT@SECLEVEL=0")
    assert "alert protocol version" in said


def test_no_session_is_resumed(gateway: Any, dip: Any) -> None:
    said = _handshake(gateway, dip, "-reconnect -tls1_2")
    assert "New, TLSv1.2" in said
    assert "Reused," not in said


def _handshake(gateway: Any, dip: Any, options: str) -> str:
    done = dip.run(
        f"openssl s_client -connect {gateway.address}:{gateway.port} -servername {SERVER_NAME}"
        f" {options} </dev/null 2>&1"
    )
    return str(done.stdout)


def test_the_way_out_shows_our_certificate(way_out: Any) -> None:
    seen = json.loads(way_out.host.check_output("curl -sS --max-time 10 http://127.0.0.1:9443/"))
    serial = way_out.host.check_output(f"openssl x509 -in {RELEASE}/certificate.pem -noout -serial")
    assert seen["client_verify"] == "SUCCESS"
    assert seen["client_serial"].lower() == serial.partition("=")[2].lower()


def test_a_far_end_whose_certificate_is_revoked_is_refused(way_out: Any) -> None:
    status = way_out.host.check_output(
        "curl -sS -o /dev/null -w '%{http_code}' --max-time 10 http://127.0.0.1:9445/"
    )
    assert status == way_out.unavailable
