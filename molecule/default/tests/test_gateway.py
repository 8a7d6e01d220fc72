# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway host must be after the job: unit, files, and what it answers to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from scenarios.calls import PORT, SERVER_NAME, call

UNIT = "pki-gateway-dip-gateway.service"
RELEASE = "/etc/pki/mtls/dip-nonprod/current"
STRANGERS = ("foreign", "sibling", "wrong-prefix", "expired", "revoked")
On = Callable[[str], Any]


def test_the_gateway_runs_as_a_unit_of_its_own(gateway: Any) -> None:
    assert gateway.check_output(f"systemctl is-active {UNIT}") == "active"
    assert gateway.run("systemctl is-active nginx.service").rc != 0


def test_the_gateway_starts_at_boot(gateway: Any) -> None:
    assert gateway.check_output(f"systemctl is-enabled {UNIT}") == "enabled"
    assert gateway.file(f"/etc/systemd/system/multi-user.target.wants/{UNIT}").is_symlink


def test_no_unit_has_failed(gateway: Any) -> None:
    assert gateway.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_a_private_key_is_roots_alone(gateway: Any) -> None:
    keys = gateway.check_output("grep -rlE 'PRIVATE KEY' /etc/pki").split()
    assert keys
    for key in keys:
        file = gateway.file(key)
        assert (file.user, file.group, oct(file.mode)) == ("root", "root", "0o600"), key


def test_the_worker_is_not_root_and_cannot_read_the_key(gateway: Any) -> None:
    workers = [
        process
        for process in gateway.process.filter(comm="nginx")
        if "worker process" in process.args
    ]
    assert workers
    for worker in workers:
        assert worker.user != "root"
        assert gateway.run(f"su -s /bin/sh {worker.user} -c 'cat {RELEASE}/key.pem'").rc != 0


def test_key_and_certificate_belong_together(gateway: Any) -> None:
    of_key = gateway.check_output(f"openssl pkey -in {RELEASE}/key.pem -pubout")
    of_certificate = gateway.check_output(
        f"openssl x509 -in {RELEASE}/certificate.pem -noout -pubkey"
    )
    assert of_key == of_certificate


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictNamespaces", "yes"),
    ],
)
def test_the_unit_is_hardened(gateway: Any, setting: str, value: str) -> None:
    assert gateway.check_output(f"systemctl show -P {setting} {UNIT}") == value


def test_the_right_client_is_let_in(on: On, address: str) -> None:
    answer = call(on("client"), address)
    assert answer.status == 200
    assert json.loads(answer.body)["x_client_verify"] == "SUCCESS"


def test_no_certificate_is_refused(on: On, address: str) -> None:
    assert call(on("client"), address, None).status == 403


@pytest.mark.parametrize("peer", STRANGERS)
def test_a_client_is_refused(on: On, address: str, peer: str) -> None:
    assert call(on("client"), address, peer).status == 403


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_current_tls_is_spoken(on: On, address: str, version: str) -> None:
    options = (f"--tlsv{version}", f"--tls-max {version}")
    assert call(on("client"), address, "dip-client", *options).status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_tls_is_refused_with_the_protocol_version_alert(
    on: On, address: str, version: str
) -> None:
    flag = "-tls1" if version == "1.0" else "-tls1_1"
    seen = on("client").run(
        f"openssl s_client -connect {address}:{PORT} -servername {SERVER_NAME} {flag}"
        " -cipher DEFAULT@SECLEVEL=0 </dev/null 2>&1"
    )
    assert "alert protocol version" in seen.stdout


@pytest.mark.parametrize(
    "options", ["-tls1_2 -cipher AES128-SHA", "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256"]
)
def test_a_suite_outside_the_policy_is_refused(on: On, address: str, options: str) -> None:
    seen = on("client").run(
        f"openssl s_client -connect {address}:{PORT} -servername {SERVER_NAME} {options}"
        " </dev/null 2>&1"
    )
    assert "alert handshake failure" in seen.stdout


def test_no_session_is_resumed(on: On, address: str) -> None:
    seen = on("client").run(
        f"openssl s_client -connect {address}:{PORT} -servername {SERVER_NAME} -reconnect -tls1_2"
        f" -cert /etc/lab/peers/dip-client/fullchain.pem -key /etc/lab/peers/dip-client/key.pem"
        " </dev/null 2>&1"
    )
    assert "New, TLSv1.2" in seen.stdout
    assert "Reused," not in seen.stdout


def test_the_way_out_shows_our_certificate(gateway: Any) -> None:
    answer = gateway.check_output("curl -sS --max-time 10 http://127.0.0.1:9443/")
    seen = json.loads(answer)
    serial = gateway.check_output(f"openssl x509 -in {RELEASE}/certificate.pem -noout -serial")
    assert seen["client_verify"] == "SUCCESS"
    assert seen["client_serial"].lower() == serial.partition("=")[2].lower()


@pytest.mark.parametrize("port", [9444, 9445, 9446], ids=["wrong-name", "revoked", "expired"])
def test_a_far_end_that_is_not_the_dip_is_refused(gateway: Any, port: int) -> None:
    status = gateway.check_output(
        f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time 10 http://127.0.0.1:{port}/"
    )
    assert status == "502"
