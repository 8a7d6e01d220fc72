# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must be after a run over ssh by a user who is not root."""

from __future__ import annotations

from typing import Any

import pytest
from scenarios.calls import call
from scenarios.operator_way import Way

RELEASE = "/etc/pki/mtls/dip-nonprod/current"


def test_the_operator_is_not_root(way: Way) -> None:
    assert way.run("id -u").succeeded().output.strip() != "0"


def test_root_cannot_log_in(way: Way) -> None:
    assert "Permission denied" in way.run("true", user="root").output


def test_no_password_is_asked_for(way: Way) -> None:
    seen = way.run("true", "-o", "PubkeyAuthentication=no").output
    assert "Permission denied (publickey)" in seen


def test_the_private_key_is_roots_alone(gateway: Any) -> None:
    key = gateway.file(f"{RELEASE}/key.pem")
    assert (key.user, key.group, oct(key.mode)) == ("root", "root", "0o600")


def test_the_private_key_is_out_of_the_operators_reach(way: Way, gateway: Any) -> None:
    releases = gateway.check_output("find /etc/pki/mtls -name key.pem").split()
    assert releases
    for key in [f"{RELEASE}/key.pem", *releases]:
        seen = way.run(f"cat {key}")
        assert seen.returncode != 0
        assert "Permission denied" in seen.output, key


def test_nothing_of_a_run_stays_in_the_operators_home(gateway: Any) -> None:
    assert gateway.check_output("find /home/deploy/.ansible -type f 2>/dev/null || true") == ""


def test_the_right_client_is_let_in(dip: Any, way: Way) -> None:
    assert call(dip, way.address).status == 200


@pytest.mark.parametrize("peer", [None, "foreign", "sibling", "wrong-prefix", "expired", "revoked"])
def test_a_client_is_refused(dip: Any, way: Way, peer: str | None) -> None:
    assert call(dip, way.address, peer).status == 403


def test_the_rules_are_confirmed_and_loaded_at_boot(gateway: Any) -> None:
    assert gateway.check_output("systemctl is-enabled pki-firewall.service") == "enabled"
    assert gateway.run("systemctl is-active pki-firewall-rollback.timer").stdout.strip() != "active"
    assert not gateway.file("/run/pki-firewall/armed.json").exists
    assert "policy drop" in gateway.check_output("nft list table inet pki")
