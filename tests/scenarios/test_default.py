# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole product on hosts of their own: Vault, two gateways, a far end, a client.

The steps are molecule's; the fixtures of conftest.py take them one after the other.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import pytest
from scenarios.scenario import Change, Scenario, difference
from scenarios.steps import GATEWAYS, Checked


@pytest.mark.parametrize("name", ["vault", "dip", *GATEWAYS, "client"])
def test_no_host_has_python3_cryptography(hosts: Scenario, name: str) -> None:
    host = hosts.host(name)
    assert not host.package("python3-cryptography").is_installed
    assert host.run("/usr/bin/python3 -c 'import cryptography'").rc != 0


def test_the_old_gateway_is_as_old_as_we_say(hosts: Scenario) -> None:
    old = hosts.host("gateway-old")
    assert old.check_output("python3 -c 'import sys; print(sys.version_info[:2])'") == "(3, 9)"
    assert old.check_output("openssl version").startswith("OpenSSL 1.1.1")


def test_a_look_at_a_host_sees_a_change(world: Scenario) -> None:
    """Otherwise "nothing changed" would mean nothing."""
    before = world.snapshot("gateway")
    world.host("gateway").run_expect([0], "touch /etc/pki-look && chmod 600 /etc/debian_version")
    after = world.snapshot("gateway")
    world.host("gateway").run_expect([0], "rm /etc/pki-look && chmod 644 /etc/debian_version")
    seen = difference(before, after)
    assert {"/etc/pki-look", "/etc/debian_version"} == set(seen)
    assert difference(before, world.snapshot("gateway")) == {}


def test_check_mode_on_virgin_hosts_changes_nothing(virgin_check: Checked) -> None:
    assert virgin_check.moved == {}


def test_check_mode_on_virgin_hosts_announces_what_the_first_run_does(
    virgin_check: Checked, first_run: frozenset[Change]
) -> None:
    assert first_run
    assert virgin_check.announced == first_run


def test_check_mode_before_the_first_deployment_changes_nothing(signed_check: Checked) -> None:
    assert signed_check.moved == {}


def test_check_mode_announces_what_the_first_deployment_does(
    signed_check: Checked, deployment: frozenset[Change]
) -> None:
    assert {change.host for change in deployment} >= set(GATEWAYS)
    assert places_of_runs(signed_check.announced) == places_of_runs(deployment)


def places_of_runs(changes: frozenset[Change]) -> frozenset[Change]:
    """Without the CRL sets that the host's own timer may have put into service meanwhile."""
    return frozenset(
        replace(
            change,
            places=tuple(one for one in change.places if not one.startswith("/var/lib/pki-crl/")),
        )
        for change in changes
    )


def test_a_second_run_changes_nothing(deployed: Scenario) -> None:
    deployed.molecule("idempotence").succeeded()


def test_the_hosts_are_as_promised(deployed: Scenario) -> None:
    deployed.molecule("verify").succeeded()


def test_every_clause_is_judged_by_what_both_gateways_show(deployed: Scenario) -> None:
    """Two generations of product, Python and OpenSSL tell the same facts of themselves."""
    deployed.playbook("playbooks/verify.yml", "-e", "verify_level=must").succeeded()
    result = json.loads((deployed.lab.home / "verify/result.json").read_text())
    assert result["status"] == "clean"
    outcomes = {one["outcome"] for one in result["verdicts"]}
    assert "not_evaluated" not in outcomes
    judged = {(one["kind"], one["object"]) for one in result["verdicts"]}
    for name in GATEWAYS:
        assert {
            ("host", name),
            ("crl", f"{name}/dip-nonprod"),
            ("gateway", f"{name}/dip-gateway"),
            ("endpoint", f"{name}/dip-gateway/dip-webhook"),
            ("endpoint", f"{name}/dip-gateway/dip-api"),
        } <= judged
    # One environment class is all that is played here.
    unmet = {one["rule"] for one in result["verdicts"] if one["outcome"] == "failed"}
    assert unmet <= {"DIP-5.5-TWO-SETS"}


# -- the scenario fails when it must: each break is seen by the named test, and repaired ------

CONF = "/etc/pki/gateway/dip-gateway/nginx.conf"


@dataclass(frozen=True)
class Break:
    """A wrong host: what is done to it, and the test of molecule/default/tests that sees it."""

    command: str
    seen_by: str


BREAKS = {
    "a key is world-readable": Break(
        "chmod 0644 /etc/pki/mtls/dip-nonprod/current/key.pem", "test_a_private_key_is_roots_alone"
    ),
    "ssl_crl is missing": Break(
        f"sed -i '/ ssl_crl /d' {CONF} && systemctl reload pki-gateway-dip-gateway && sleep 1",
        "test_a_client_is_refused[gateway-revoked]",
    ),
    "the nftables policy is accept": Break(
        "nft list table inet pki | sed 's/policy drop/policy accept/; 1i flush table inet pki'"
        " | sed '/\\bdrop\\b/d; /reject/d' | nft -f -",
        "test_an_undeclared_port_is_closed",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_verification_fails_when(deployed: Scenario, name: str) -> None:
    broken = BREAKS[name]
    deployed.host("gateway").run_expect([0], broken.command)

    failed = failing_tests(deployed)

    assert any(test.startswith(broken.seen_by) for test in failed), failed
    repair = deployed.molecule("idempotence")
    assert repair.returncode != 0, "a second run that changes something must fail"
    assert "Idempotence test failed" in repair.output, repair.output[-5000:]


def test_the_repaired_hosts_are_as_promised(deployed: Scenario) -> None:
    deployed.molecule("idempotence").succeeded()
    assert failing_tests(deployed) == []


def failing_tests(scenario: Scenario) -> list[str]:
    """Failing tests of molecule/default/tests, run against the gateway that was broken."""
    report = scenario.state / "verify.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-k", "not old", f"--junitxml={report}"]
    scenario.inside(*command, "molecule/default/tests")
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert len(cases) > 20, "the tests did not run"
    return [
        case.get("name", "")
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
