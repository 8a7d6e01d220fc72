# SPDX-License-Identifier: GPL-3.0-or-later
"""From a publication to a refusal, and what happens when nothing is published any more.

The timers run by the organisation's own policy, in seconds (molecule/revocation/organisation).
Clocks are moved for single services with libfaketime; gateways, callers and CAs keep the real one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenarios.faults_power import until
from scenarios.revocation_world import CACHE, CALLER, GATEWAYS, GUARD, REFRESH, SITE, TRUST, Hosts
from scenarios.scenario import Done, Scenario

# What the organisation's policy says, in seconds.
PERIOD, DELAY, MARGIN = 10, 2, 5
CONNECTION, DRAIN = 20, 10
HOUR = 3600
AGE = 20 * HOUR
FRESH = PERIOD + DELAY + MARGIN
# What of the document's day is left for a list, once connections had their time.
BUDGET = AGE
# How long the grace of the test lasts: longer than it takes to grant it.
GRACE = 45
# A look of the guard, the reload, and a busy machine.
REFUSED_WITHIN = 20


def changed(done: Done, host: str) -> int:
    recap = re.search(rf"^{host}\s+:.*\bchanged=(\d+)\b", done.output, re.MULTILINE)
    assert recap, done.output[-4000:]
    return int(recap.group(1))


@pytest.fixture(scope="module")
def virgin() -> Iterator[Scenario]:
    scenario = Scenario("revocation")
    scenario.molecule("destroy").succeeded()
    scenario.molecule("create").succeeded()
    scenario.molecule("prepare").succeeded()
    yield scenario
    scenario.molecule("destroy").succeeded()


@pytest.fixture(scope="module")
def deployed(virgin: Scenario) -> Hosts:
    hosts = Hosts(virgin)
    hosts.publish_for_days()
    hosts.play(SITE).succeeded()
    hosts.play("molecule/shared/sign.yml").succeeded()
    hosts.play(SITE).succeeded()
    hosts.put("dip", Path(__file__).with_name("revocation_peer.py"), CALLER)
    hosts.wait(True, 30, "it was deployed")
    return hosts


def test_everything_is_as_promised_on_the_hosts(deployed: Hosts) -> None:
    deployed.scenario.molecule("verify").succeeded()


def test_a_second_run_changes_nothing(deployed: Hosts) -> None:
    again = deployed.play(SITE).succeeded()
    assert [changed(again, host) for host in (*GATEWAYS, "localhost")] == [0, 0, 0]


# -- from publication to refusal --------------------------------------------------------------


@pytest.fixture(scope="module")
def refused(
    deployed: Hosts, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, float]]:
    """Seconds from the publication to the last answer, by host and way of calling."""
    serial = deployed.new_peer("leaver", tmp_path_factory.mktemp("leaver"))
    for host in GATEWAYS:
        assert deployed.accepted(host, "leaver")
        deployed.call_until_refused(host, "leaver", 2 * (FRESH + CONNECTION + DRAIN))
    time.sleep(2)  # until a session is resumed and a connection is in use
    deployed.revoke(serial)
    published = time.time()
    longest = 3 * (FRESH + CONNECTION + DRAIN)
    for host in GATEWAYS:
        until(lambda h=host: bool(deployed.calls(h)), f"{host} refused in all ways", longest)
    told = {host: deployed.calls(host) for host in GATEWAYS}
    assert all(way["ended"] and way["count"] for ways in told.values() for way in ways.values()), (
        told
    )
    return {
        host: {way: max(0.0, said["last"] - published) for way, said in ways.items()}
        for host, ways in told.items()
    }


def test_a_revoked_client_is_refused_soon_after_the_publication(
    deployed: Hosts, refused: dict[str, dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = {"new": FRESH, "resumed": FRESH, "live": FRESH + CONNECTION + DRAIN}
    with capsys.disabled():
        print("\nfrom publication to refusal")
        for host, ways in refused.items():
            words = ", ".join(
                f"{way} {seconds:.1f} s (at most {allowed[way]} s)" for way, seconds in ways.items()
            )
            # A gateway that resumes nothing makes a full handshake of each that was asked for.
            resumed = deployed.calls(host)["resumed"]["resumed"]
            print(f"  {GATEWAYS[host]}: {words}; {resumed} sessions were resumed before")
    late = {
        (host, way): seconds
        for host, ways in refused.items()
        for way, seconds in ways.items()
        if seconds > allowed[way]
    }
    assert late == {}


def test_a_client_that_was_not_revoked_is_let_in_all_the_time(
    deployed: Hosts, refused: dict[str, dict[str, float]]
) -> None:
    assert [deployed.accepted(host) for host in GATEWAYS] == [True, True]
    assert [deployed.accepted(host, "leaver") for host in GATEWAYS] == [False, False]


# -- too old ----------------------------------------------------------------------------------

# How the fetcher is kept from working, and let go again.
FETCHER = {
    "disabled": (
        f"systemctl disable --now {REFRESH}.timer",
        f"systemctl enable --now {REFRESH}.timer",
    ),
    "masked": (
        f"systemctl stop {REFRESH}.timer && systemctl mask --runtime {REFRESH}.service",
        f"systemctl unmask --runtime {REFRESH}.service && systemctl start {REFRESH}.timer",
    ),
    # Started anew, as it may be between two runs; what is stopped there never ends.
    "stopped by a signal": (
        f"systemctl start --no-block {REFRESH}.service; sleep 1;"
        f" systemctl kill --signal=STOP {REFRESH}.service",
        f"systemctl kill --signal=CONT {REFRESH}.service; systemctl start {REFRESH}.timer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", FETCHER)
def test_the_guard_refuses_past_the_age_whatever_became_of_the_fetcher(
    deployed: Hosts, how: str
) -> None:
    keep, let_go = FETCHER[how]
    with deployed.cdp_away():
        for host in GATEWAYS:
            deployed.run(host, keep)
        assert [deployed.accepted(host) for host in GATEWAYS] == [True, True]
        deployed.clocks(25 * HOUR, GUARD)
        deployed.wait(False, REFUSED_WITHIN, f"a day later, the fetcher {how}")
        assert {deployed.in_force(host) for host in GATEWAYS} == {"../refusal"}
        deployed.clocks(0, GUARD)
        for host in GATEWAYS:
            deployed.run(host, let_go)
    deployed.wait(True, FRESH + REFUSED_WITHIN, "the clock is right again")


def test_a_grace_holds_until_it_ends_and_the_age_of_a_list_counts_to_the_minute(
    deployed: Hosts,
) -> None:
    with deployed.cdp_away():
        for host in GATEWAYS:
            deployed.run(host, f"systemctl stop {REFRESH}.timer {REFRESH}.service")
            deployed.confirmed(host, BUDGET - 120)
        time.sleep(6)  # more than one look of the guard
        assert [deployed.accepted(host) for host in GATEWAYS] == [True, True]

        for host in GATEWAYS:
            deployed.confirmed(host, BUDGET + 1)
        deployed.wait(False, REFUSED_WITHIN, "the lists are too old by a second")

        until_when = datetime.fromtimestamp(time.time() + GRACE, UTC)
        deployed.play(
            "playbooks/crl_grace.yml",
            trust=TRUST,
            reason="The CA moves its lists",
            by="A. Admin",
            until=until_when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ).succeeded()
        deployed.wait(True, REFUSED_WITHIN, "a grace was granted")
        deployed.wait(False, GRACE + REFUSED_WITHIN, "the grace has ended")
        assert time.time() >= until_when.timestamp()
        for host in GATEWAYS:
            deployed.run(host, f"systemctl start {REFRESH}.timer")
    deployed.wait(True, FRESH + REFUSED_WITHIN, "the CDP is back")


def test_it_heals_by_itself_when_the_lists_can_be_fetched_again(deployed: Hosts) -> None:
    with deployed.cdp_away():
        deployed.clocks(25 * HOUR, REFRESH, GUARD)
        deployed.wait(False, REFUSED_WITHIN, "a day without the CDP")
    # Nobody touches the hosts: they still live tomorrow.
    deployed.wait(True, FRESH + 2 * REFUSED_WITHIN, "the CDP is back")
    deployed.clocks(0, REFRESH, GUARD)
    deployed.wait(True, FRESH + REFUSED_WITHIN, "the clocks are right again")


# -- our own certificate ----------------------------------------------------------------------


def test_our_own_certificate_being_revoked_is_the_top_alarm_and_no_outage_of_the_list(
    deployed: Hosts,
) -> None:
    """The last test: the certificate stays revoked."""
    said = deployed.run(
        next(iter(GATEWAYS)),
        "openssl x509 -noout -serial -in /etc/pki/mtls/dip-nonprod/current/fullchain.pem",
    )
    deployed.revoke(int(said.strip().partition("=")[2], 16))
    for host in GATEWAYS:
        status = f"{CACHE}/{TRUST}/status.json"
        until(
            lambda h=host, s=status: bool(deployed.read(h, s).get("revoked")),
            f"{host} knows that its certificate is revoked",
            FRESH + REFUSED_WITHIN,
        )
        (entry,) = deployed.read(host, status)["revoked"]
        assert entry["certificate"] == "dip-nonprod"
        until(
            lambda h=host: (
                "renew.yml"
                in deployed.run(h, f"journalctl --no-pager -p alert -u {REFRESH}.service")
            ),
            f"{host} names the play to run",
        )
        # The list that says so stays in force.
        assert deployed.in_force(host) == "current"
