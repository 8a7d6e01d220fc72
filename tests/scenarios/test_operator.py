# SPDX-License-Identifier: GPL-3.0-or-later
"""The product over ssh, by a user who is not root: what a person or a pipeline does every day.

Only here can packet filter rules cut off the run that sets them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from integration.canary import Scanner, explain
from scenarios.calls import call
from scenarios.faults_power import until
from scenarios.operator_world import FIREWALL, SITE, Operator, changed, variables
from scenarios.scenario import Done, Scenario, difference

KEY = "/etc/pki/mtls/dip-nonprod/current/key.pem"
TIMER = "pki-firewall-rollback.timer"
CONFIRM_SECONDS = 12
NOBODY = "192.0.2.1"
LOCKED_OUT = variables(firewall_operators=[NOBODY], firewall_confirm_seconds=CONFIRM_SECONDS)
EXTRA = "tcp dport 7777"
ONE_MORE = variables(
    firewall_in=[{"name": "extra", "protocol": "tcp", "port": 7777, "from": ["192.0.2.7"]}],
    firewall_confirm_seconds=CONFIRM_SECONDS,
)
# The rules are loaded and the timer runs; the new connection comes next.
NOT_CONFIRMED_YET = "firewall : Log in again, through the new rules"


@pytest.fixture(scope="module")
def virgin() -> Iterator[Operator]:
    """The world is up and the gateway can be logged in to; the product was never run."""
    scenario = Scenario("operator")
    scenario.molecule("destroy").succeeded()
    scenario.molecule("create").succeeded()
    scenario.molecule("prepare").succeeded()
    yield Operator(scenario)
    scenario.molecule("destroy").succeeded()


# -- the first run ------------------------------------------------------------------


@dataclass(frozen=True)
class CutOff:
    """A run whose rules leave out whoever runs it."""

    rules: str
    settings: dict[str, str]
    could_log_in: bool
    done: Done


def cut_off(operator: Operator) -> CutOff:
    rules, settings = operator.rules(), operator.settings()
    run = operator.start(FIREWALL, *LOCKED_OUT)
    until(lambda: NOBODY in operator.rules(), "the wrong rules are in force", 120)
    could_log_in = operator.way.is_open()
    return CutOff(rules, settings, could_log_in, run.done())


def require_rolled_back(operator: Operator, cut: CutOff) -> None:
    assert not cut.could_log_in, "the rules did not cut anybody off"
    assert cut.done.returncode != 0
    assert "FIREWALL-NOT-CONFIRMED" in cut.done.output
    assert "add the network this run comes from to firewall_operators" in cut.done.output
    assert operator.way.is_open()
    assert not operator.is_armed()
    assert operator.rules() == cut.rules
    assert difference(cut.settings, operator.settings()) == {}


@pytest.fixture(scope="module")
def first_cut(virgin: Operator) -> CutOff:
    return cut_off(virgin)


def test_wrong_rules_on_a_virgin_host_leave_no_rules_behind(
    virgin: Operator, first_cut: CutOff
) -> None:
    assert first_cut.rules == ""
    require_rolled_back(virgin, first_cut)


@pytest.fixture(scope="module")
def asked(virgin: Operator, first_cut: CutOff) -> Operator:
    """The first run: a key, a request, and the packet filter."""
    virgin.play(SITE).succeeded()
    return virgin


def test_the_rules_of_the_first_run_were_confirmed_over_a_new_connection(asked: Operator) -> None:
    journal = asked.gateway.check_output("journalctl --no-pager --output cat").splitlines()
    last = len(journal) - 1 - journal[::-1].index(starting(journal, f"Started {TIMER}")[-1])
    stopped = next(at for at in range(last, len(journal)) if f"Stopped {TIMER}" in journal[at])
    between = journal[last:stopped]
    assert starting(between, "Accepted publickey for deploy")
    assert not asked.is_armed()
    assert "policy drop" in asked.rules()


def starting(lines: list[str], words: str) -> list[str]:
    return [line for line in lines if line.startswith(words)]


# -- delivery -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(asked: Operator) -> Operator:
    asked.play("molecule/shared/sign.yml").succeeded()
    return asked


@dataclass(frozen=True)
class Refused:
    done: Done
    moved: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def without_pipelining(signed: Operator) -> Refused:
    before = signed.scenario.snapshot("gateway")
    done = signed.play(SITE, ANSIBLE_PIPELINING="false")
    return Refused(done, difference(before, signed.scenario.snapshot("gateway")))


def test_without_pipelining_the_delivery_is_refused_and_nothing_is_changed(
    without_pipelining: Refused,
) -> None:
    assert without_pipelining.done.returncode != 0
    assert "RELEASE-PIPELINING" in without_pipelining.done.output
    # Where modules are copied to, each removed after its run.
    directories = {"/home/deploy", "/home/deploy/.ansible", "/home/deploy/.ansible/tmp"}
    assert set(without_pipelining.moved) <= directories
    assert changed(without_pipelining.done) == 0


@dataclass(frozen=True)
class Delivery:
    """A run that delivered a key, with everything it and the host said."""

    operator: Operator
    output: str
    journal: str


@pytest.fixture(scope="module")
def delivery(signed: Operator, without_pipelining: Refused) -> Delivery:
    done = signed.play(SITE, "-vvvv", "--diff").succeeded()
    assert changed(done) > 0
    # Fields of several lines come with their length in binary.
    export = "journalctl --no-pager --output export | base64 --wrap=0"
    journal = base64.b64decode(signed.gateway.check_output(export)).decode("utf-8", "replace")
    return Delivery(signed, done.output, journal)


@pytest.fixture(scope="module")
def scanner(delivery: Delivery) -> Scanner:
    scanner = Scanner()
    scanner.add_key("the private key", delivery.operator.gateway.check_output(f"cat {KEY}"))
    return scanner


def test_a_delivery_prints_no_key_at_any_verbosity(delivery: Delivery, scanner: Scanner) -> None:
    key = delivery.operator.gateway.check_output(f"cat {KEY}")
    assert scanner.scan_text(f"{delivery.output[:1000]}\n{key}"), "the scanner finds nothing"
    assert "wrap_tokens" in delivery.output, "this run delivered no key"
    assert not scanner.scan_text(delivery.output), explain(scanner.scan_text(delivery.output))


def test_a_delivery_leaves_no_key_in_the_hosts_journal(
    delivery: Delivery, scanner: Scanner
) -> None:
    assert "wrap_tokens" in delivery.journal, "the journal does not tell of the delivery"
    assert not scanner.scan_text(delivery.journal), explain(scanner.scan_text(delivery.journal))


def test_a_delivery_prints_no_token_and_leaves_none_on_the_host(delivery: Delivery) -> None:
    path = "transit-nonprod-tls/export/signing-key/dip-nonprod/1"
    with delivery.operator.scenario.lab.client("release") as client:
        example = client.wrap(path, 30).token
    kind, _, rest = example.partition(".")
    token = re.compile(rf"\b{re.escape(kind)}\.[A-Za-z0-9_-]{{{len(rest) - 8},}}")
    assert token.search(f"token={example}&"), "the pattern finds nothing"
    files = delivery.operator.gateway.check_output(
        "find /home/deploy /root /tmp /var/tmp -type f -exec cat {} +"
    )
    for place, text in {
        "output": delivery.output,
        "journal": delivery.journal,
        "files of users and programs": files,
    }.items():
        assert not token.search(text), f"a token in the {place}"


@pytest.fixture(scope="module")
def deployed(delivery: Delivery) -> Operator:
    return delivery.operator


def test_a_run_after_the_delivery_changes_nothing(deployed: Operator) -> None:
    again = deployed.play(SITE).succeeded()
    assert changed(again) == 0
    assert re.search(r"^localhost\s+:.*\bchanged=0\b", again.output, re.MULTILINE)


def test_the_host_is_as_promised(deployed: Operator) -> None:
    deployed.scenario.molecule("verify").succeeded()


# -- rules that nobody confirms -------------------------------------------------------


def test_wrong_rules_roll_themselves_back_and_the_next_run_has_nothing_to_do(
    deployed: Operator,
) -> None:
    assert "policy drop" in deployed.rules()
    require_rolled_back(deployed, cut_off(deployed))
    assert changed(deployed.play(FIREWALL).succeeded()) == 0


def test_rules_of_a_run_that_was_killed_before_the_confirmation_go_away_by_themselves(
    deployed: Operator,
) -> None:
    rules, settings = deployed.rules(), deployed.settings()
    deployed.die_at(NOT_CONFIRMED_YET, FIREWALL, *ONE_MORE)
    assert EXTRA in deployed.rules(), "it was killed too late"
    assert deployed.is_armed()

    until(lambda: not deployed.is_armed(), "the timer acted", CONFIRM_SECONDS + 30)

    assert deployed.rules() == rules
    assert difference(settings, deployed.settings()) == {}
    assert changed(deployed.play(FIREWALL).succeeded()) == 0


def test_a_host_that_loses_power_before_the_confirmation_boots_with_the_rules_before(
    deployed: Operator,
) -> None:
    rules, settings = deployed.rules(), deployed.settings()
    deployed.die_at(NOT_CONFIRMED_YET, FIREWALL, *ONE_MORE)
    assert EXTRA in deployed.rules(), "it was killed too late"
    deployed.power_cut()

    deployed.way.wait(60)

    assert deployed.rules() == rules
    assert not deployed.is_armed()
    assert difference(settings, deployed.settings()) == {}
    assert changed(deployed.play(FIREWALL).succeeded()) == 0
    dip = deployed.scenario.host("dip")
    until(lambda: call(dip, deployed.way.address).status == 200, "the gateway answers", 60)
