# SPDX-License-Identifier: GPL-3.0-or-later
"""What only hosts of their own can prove: who took a key, and what a kill or a power cut leaves.

It goes on from the deployed scenario ``default`` and leaves it with edits of its own, so no file
of tests comes after it. ``FAULTS=long`` kills in every stage, several times; ``FAULTS_SEED``
repeats the moments of an earlier run, which are printed.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from integration.canary import Scanner, explain
from scenarios import world as lab
from scenarios.faults_controller import changed, dying
from scenarios.faults_poller import calling
from scenarios.faults_power import BEFORE_THE_PROBE, BEFORE_THE_RELOAD, Power, until
from scenarios.faults_watch import Watch, memory_needles
from scenarios.faults_world import RELEASES, FaultyWorld
from scenarios.scenario import Done, Scenario
from scenarios.steps import GATEWAYS

LONG = os.environ.get("FAULTS") == "long"
SEED = os.environ.get("FAULTS_SEED") or secrets.token_hex(4)
ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "3")) if LONG else 1
ATTEMPTS = 3
UNIT = "pki-gateway-dip-gateway.service"
DELIVERY = "release : Put the accepted releases of this host in place"


@pytest.fixture(scope="module")
def faulty(deployed: Scenario) -> FaultyWorld:
    print(f"FAULTS_SEED={SEED}")
    return FaultyWorld(deployed, random.Random(SEED))


# -- what Vault's audit log says -------------------------------------------------------


def audit(scenario: Scenario) -> list[lab.AuditEntry]:
    return lab.audit_entries(scenario.host("vault").check_output(f"cat {lab.AUDIT_LOG}"))


def gateway_addresses(scenario: Scenario) -> set[str]:
    return {str(scenario.addresses["hosts"][name]) for name in GATEWAYS}


def test_every_unwrap_came_from_a_gateway(deployed: Scenario) -> None:
    unwraps = lab.unwraps(audit(deployed))
    assert {one.remote_address for one in unwraps} == gateway_addresses(deployed)


def test_every_delivery_was_one_wrap_and_one_unwrap(deployed: Scenario) -> None:
    entries = audit(deployed)
    deliveries = lab.deliveries(entries)
    assert len(deliveries) >= len(GATEWAYS)
    assert [one for one in deliveries if len(one.unwrapped_from) != 1] == []
    assert len(lab.unwraps(entries)) == len(deliveries)


def test_no_export_was_ever_answered_with_the_key_itself(deployed: Scenario) -> None:
    entries = audit(deployed)
    assert lab.exports(entries)
    assert lab.unwrapped_exports(entries) == []


def test_every_export_was_asked_for_wrapped_by_the_release_role_and_by_nobody_else(
    deployed: Scenario,
) -> None:
    asked = [one for one in audit(deployed) if lab.EXPORT in one.path and one.kind == "request"]
    assert asked
    assert {one.role for one in asked} == {"release"}
    assert {one.remote_address for one in asked} == {deployed.addresses["controller"]}
    assert [one.wrap_ttl for one in asked if not 1 <= one.wrap_ttl <= 120] == []


# -- the controller dies in the middle ---------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Where a run is killed: the task, the work it then has, and the most seconds that it is left
    alone. With that work the task takes about twice as long, on a quiet machine."""

    task: str
    work: Callable[[FaultyWorld], None]
    seconds: float


def nothing(faulty: FaultyWorld) -> None:
    """These stages have the same work in every run."""


STAGES = {
    "fetching CRLs": Stage(
        "crl_cache : Fetch and verify the CRL of every pinned CA",
        FaultyWorld.publish_new_crls,
        0.5,
    ),
    "planning": Stage("certificates : Plan every certificate", nothing, 0.5),
    "making key and request": Stage(
        "certificates : Make keys and write requests", FaultyWorld.ask_for_a_new_version, 1.0
    ),
    "accepting": Stage(
        "certificates : Judge replies and the certificates in service",
        FaultyWorld.have_a_new_version_signed,
        0.4,
    ),
    "applying the packet filter": Stage(
        "firewall : Apply the declared rules, to be taken back unless they are confirmed",
        FaultyWorld.open_one_more_port,
        0.5,
    ),
    "confirming the packet filter": Stage(
        "firewall : Log in again, through the new rules", FaultyWorld.open_one_more_port, 0.3
    ),
    "keeping the packet filter": Stage(
        "firewall : Keep the rules", FaultyWorld.open_one_more_port, 0.3
    ),
    "delivering": Stage(DELIVERY, FaultyWorld.have_a_new_version_signed, 1.2),
    "installing CRLs": Stage(
        "crl_cache : Put the verified CRL sets on the host", FaultyWorld.publish_new_crls, 0.4
    ),
    "switching the gateway": Stage(
        "gateway : Bring the gateways of this host to their models, in one transaction",
        FaultyWorld.let_one_more_in,
        0.8,
    ),
    "summing up": Stage("certificates : Look at what the gateways serve", nothing, 0.5),
}
# In the short version one run after the other is killed, each in a later stage.
SHORT = (
    ("making key and request",),
    ("accepting", "confirming the packet filter", "delivering", "switching the gateway"),
)
CHAINS = [(name,) for name in STAGES for _ in range(ROUNDS)] if LONG else list(SHORT)


def killed_in(faulty: FaultyWorld, stage: Stage) -> bool:
    """Kill a run; whether it hit the stage, and not a later one."""
    delay = faulty.dice.uniform(0, stage.seconds)
    note = faulty.scenario.state / "hit"
    run = faulty.start(**dying(stage.task, delay, note))
    assert run.done().returncode == -signal.SIGKILL, run.output[-8000:]
    hit = note.read_text()
    print(f"killed {delay:.2f} s after the beginning of {stage.task!r}, in {hit!r}")
    return hit == stage.task


def kill_in(faulty: FaultyWorld, stage: Stage, has_work: bool) -> None:
    """Give it work and kill it, until the kill has hit the stage."""
    for _ in range(ATTEMPTS):
        if not has_work:
            stage.work(faulty)
        if killed_in(faulty, stage):
            return
        has_work = False
    raise AssertionError(f"{ATTEMPTS} times the stage was over before the kill")


@pytest.mark.parametrize("chain", CHAINS, ids=" and then ".join)
def test_a_run_heals_what_a_controller_left_that_was_killed(
    faulty: FaultyWorld, chain: tuple[str, ...]
) -> None:
    print(f"FAULTS_SEED={SEED}")
    with calling(faulty.scenario) as calls:
        for name in chain:
            # What "accepting" was killed over is still to be delivered.
            kill_in(faulty, STAGES[name], name == "delivering" and "accepting" in chain)
            faulty.require_no_mixed_pair()
        faulty.heal()
        faulty.require_no_mixed_pair()
        faulty.require_one_version_each()
        faulty.require_in_service(faulty.accepted())
    calls.require_all_served()


# -- the key on its way ------------------------------------------------------------------


@dataclass(frozen=True)
class Redelivery:
    """One watched delivery, the key in question, and Vault's audit entries of that time."""

    pem: str
    marker: str
    watch: Watch
    entries: list[lab.AuditEntry]

    @property
    def scanner(self) -> Scanner:
        scanner = Scanner()
        scanner.add_key("the key", self.pem)
        return scanner


@pytest.fixture(scope="module")
def redelivery(faulty: FaultyWorld) -> Redelivery:
    """A gateway has lost its key, which is known to us. It is delivered again, and watched."""
    scenario = faulty.scenario
    home = scenario.state / "watched"
    shutil.rmtree(home, ignore_errors=True)
    for name in ("tmp", "user"):
        (home / name).mkdir(parents=True)
    pem = scenario.host("gateway-old").check_output(f"cat {RELEASES}/current/key.pem")
    faulty.lose_the_key("gateway-old")
    before = len(audit(scenario))
    # In the same places as a leak: in an argument, in the environment, in memory.
    marker = secrets.token_hex(24)
    run = faulty.start(
        "-vvvv",
        "--diff",
        "-e",
        f"faults_marker={marker}",
        FAULTS_MARKER=marker,
        HOME=str(home / "user"),
        TMPDIR=str(home / "tmp"),
        # Otherwise a task is named when it has its first result, not when it begins.
        ANSIBLE_DISPLAY_SKIPPED_HOSTS="true",
        ANSIBLE_LOG_PATH=str(scenario.state / "watched.log"),
    )
    watch = Watch(run, home, DELIVERY, {**memory_needles(pem), marker.encode(): "the marker"})
    watch.follow()
    print(
        f"kept {len(watch.kept)} command lines, environments and files; "
        f"looked {watch.looks} times into the memory of all processes"
    )
    done = run.done().succeeded()
    assert changed(done)["gateway-old"] > 0, done.output[-4000:]
    return Redelivery(pem, marker, watch, audit(scenario)[before:])


def test_a_lost_key_is_delivered_again_by_one_wrap_and_one_unwrap(
    faulty: FaultyWorld, redelivery: Redelivery
) -> None:
    address = str(faulty.scenario.addresses["hosts"]["gateway-old"])
    assert [one.unwrapped_from for one in lab.deliveries(redelivery.entries)] == [(address,)]
    assert faulty.current("gateway-old").whole


def test_what_looks_for_the_key_finds_what_is_there(redelivery: Redelivery) -> None:
    """Otherwise the next tests would pass whatever happens."""
    kept = redelivery.watch.kept
    for kind in ("command line", "environment"):
        assert any(
            redelivery.marker.encode() in data
            for label, data in kept.items()
            if label.startswith(kind)
        ), kind
    assert "the marker" in redelivery.watch.remembered
    assert redelivery.watch.looks > 1
    planted = redelivery.watch.home / "tmp/planted"
    planted.write_text(redelivery.pem.splitlines()[20])
    try:
        assert redelivery.scanner.scan_tree(redelivery.watch.home)
    finally:
        planted.unlink()


def test_the_key_is_in_no_command_line_environment_file_or_output_of_the_controller(
    redelivery: Redelivery,
) -> None:
    scanner = redelivery.scanner
    found = [
        one
        for label, data in redelivery.watch.kept.items()
        for one in scanner.scan_text(data, label)
    ]
    assert found == [], explain(found)


def test_the_key_is_in_no_memory_of_the_controller(redelivery: Redelivery) -> None:
    assert redelivery.watch.remembered == {"the marker"}


def test_the_key_is_in_no_file_of_the_controller(
    faulty: FaultyWorld, redelivery: Redelivery
) -> None:
    found = redelivery.scanner.scan_tree(faulty.scenario.state)
    assert found == (), explain(found)


def test_the_key_is_on_the_gateways_in_one_file_each_and_on_no_other_host(
    faulty: FaultyWorld, redelivery: Redelivery
) -> None:
    for name in faulty.scenario.hosts:
        places = faulty.files_with(name, redelivery.pem.splitlines()[20])
        expected = 1 if name in GATEWAYS else 0
        assert len(places) == expected, (name, places)
        assert all(place.endswith("/key.pem") for place in places), (name, places)


# -- power cuts --------------------------------------------------------------------------

FIREWALL_UNIT = "pki-firewall.service"


@dataclass(frozen=True)
class Cut:
    """What was in service when the power went, and what the run that was cut said."""

    versions: tuple[int, int]
    table: dict[str, str]
    run: Done


@pytest.fixture(scope="module")
def rebooted(faulty: FaultyWorld) -> Cut:
    """Both gateways lose power between the switch of their links and the end of the probe."""
    scenario, power = faulty.scenario, Power(faulty.scenario)
    old = faulty.current("gateway").version
    faulty.have_a_new_version_signed()
    faulty.let_one_more_in()
    table = {name: packet_filter(scenario, name) for name in GATEWAYS}
    holds = {"gateway": BEFORE_THE_RELOAD, "gateway-old": BEFORE_THE_PROBE}
    for name, hold in holds.items():
        power.hold(name, hold)
    # Beside each other: both are to be in the middle of it when the power goes.
    run = faulty.start("-e", "deploy_serial=100%")
    power.cut_when_held(holds, run)
    done = run.done()
    for name in holds:
        power.on(name)
    return Cut((old, faulty.versions), table, done)


def packet_filter(scenario: Scenario, host: str) -> str:
    return str(scenario.host(host).check_output("nft list table inet pki"))


def test_the_run_that_lost_its_gateways_says_so(rebooted: Cut) -> None:
    assert rebooted.run.returncode != 0
    for name in GATEWAYS:
        assert name in rebooted.run.output.partition("PLAY [Verify and sum up]")[2]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_comes_back_by_itself_with_one_whole_release(
    faulty: FaultyWorld, rebooted: Cut, name: str
) -> None:
    host = faulty.scenario.host(name)
    until(lambda: host.run(f"systemctl is-active {UNIT}").rc == 0, f"{UNIT} is active on {name}")
    current = faulty.current(name)
    print(f"{name} came back with {current.release}, out of versions {rebooted.versions}")
    assert current.whole
    assert current.version in rebooted.versions
    assert faulty.served(name) == current.certificate
    faulty.require_no_mixed_pair()


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_packet_filter_is_loaded_before_the_network_is_up(
    faulty: FaultyWorld, rebooted: Cut, name: str
) -> None:
    host = faulty.scenario.host(name)
    assert packet_filter(faulty.scenario, name) == rebooted.table[name]
    loaded = active_since(host, FIREWALL_UNIT)
    assert 0 < loaded <= active_since(host, "network-pre.target")
    assert loaded < active_since(host, UNIT)


def active_since(host: Any, unit: str) -> int:
    """Microseconds of the host's clock since its boot."""
    return int(host.check_output(f"systemctl show -P ActiveEnterTimestampMonotonic {unit}"))


def test_the_next_run_completes_what_the_power_cut_interrupted(
    faulty: FaultyWorld, rebooted: Cut
) -> None:
    healed = faulty.heal()
    assert all(changed(healed)[name] > 0 for name in GATEWAYS)
    faulty.require_in_service(rebooted.versions[1])
    faulty.require_one_version_each()
    for name in GATEWAYS:
        root = faulty.scenario.host(name).file("/etc/pki/gateway/dip-gateway")
        assert "applied.json" in root.listdir()
        assert (
            "transaction.json"
            not in faulty.scenario.host(name).run("ls /etc/pki/gateway/.transaction").stdout
        )


def test_the_audit_log_shows_no_other_taker_after_all_that(faulty: FaultyWorld) -> None:
    """A killed run may leave a token that nobody took; nobody but a gateway ever took one."""
    entries = audit(faulty.scenario)
    assert lab.unwrapped_exports(entries) == []
    assert {one.remote_address for one in lab.unwraps(entries)} == gateway_addresses(
        faulty.scenario
    )
    assert [one for one in lab.deliveries(entries) if len(one.unwrapped_from) > 1] == []
