# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirm or roll back, on a host that is reached over ssh like any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenarios.firewall_pair import (
    EGRESS,
    SECONDS,
    SOON,
    UNDECLARED,
    UPSTREAM,
    WEBHOOK,
    Pair,
    changed,
    wait,
)

NOBODY = ["192.0.2.1"]
EXTRA = '\t\ttcp dport 7777 accept comment "extra"\n'
PORT = "tcp dport 7777"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = Pair()
    pair.create()
    yield pair
    pair.destroy()


@pytest.fixture
def virgin(pair: Pair) -> Pair:
    pair.make_virgin()
    return pair


@pytest.fixture
def guarded(pair: Pair) -> Pair:
    pair.play().succeeded()
    return pair


def with_more(rules: str) -> str:
    head, separator, tail = rules.partition("policy drop;\n")
    return f"{head}{separator}{EXTRA}{tail}"


def test_a_check_on_a_virgin_host_changes_nothing_and_announces_what_the_run_does(
    virgin: Pair,
) -> None:
    before = virgin.files()
    announced = virgin.play("--check", "--diff").succeeded()
    assert virgin.files() == before
    assert virgin.table() == ""
    assert "policy drop" in announced.output
    real = virgin.play().succeeded()
    assert changed(announced) == changed(real) == 2


def test_a_second_run_changes_nothing_and_arms_nothing(guarded: Pair) -> None:
    before = guarded.files()
    second = guarded.play().succeeded()
    assert changed(second) == 0
    assert second.output.count("pki-firewall-rollback") == 0
    assert guarded.files() == before
    assert not guarded.is_armed()


def test_only_what_is_declared_passes_in_both_directions(guarded: Pair) -> None:
    for port in (WEBHOOK, UNDECLARED):
        guarded.listen("gateway", port)
    for port in (UPSTREAM, UNDECLARED):
        guarded.listen("client", port)
    assert guarded.reaches("client", guarded.gateway, WEBHOOK)
    assert not guarded.reaches("client", guarded.gateway, UNDECLARED)
    assert not guarded.reaches("client", guarded.gateway, 22)
    assert guarded.reaches("gateway", guarded.client, UPSTREAM)
    assert not guarded.reaches("gateway", guarded.client, UNDECLARED)
    guarded.on("gateway", "nft delete table inet pki").succeeded()
    assert guarded.reaches("client", guarded.gateway, UNDECLARED), "it was not the rules"
    assert guarded.reaches("gateway", guarded.client, UNDECLARED), "it was not the rules"


def test_only_the_named_user_and_root_use_an_egress_listener(guarded: Pair) -> None:
    guarded.listen("gateway", EGRESS)
    assert guarded.reaches("gateway", "127.0.0.1", EGRESS, "www-data")
    assert guarded.reaches("gateway", "127.0.0.1", EGRESS, "root")
    assert not guarded.reaches("gateway", "127.0.0.1", EGRESS, "nobody")


def test_rules_that_cut_the_operator_off_roll_themselves_back(guarded: Pair) -> None:
    before = guarded.table()
    files = guarded.files()
    done = guarded.play(firewall_operators=NOBODY, firewall_confirm_seconds=SOON)
    assert done.returncode != 0
    assert "FIREWALL-NOT-CONFIRMED" in done.output
    assert guarded.table() == before
    assert not guarded.is_armed()
    assert "/etc/pki" in files
    assert [line for line in guarded.files().splitlines() if "/etc/" in line] == [
        line for line in files.splitlines() if "/etc/" in line
    ]
    assert changed(guarded.play().succeeded()) == 0


def test_the_very_first_rules_roll_back_to_no_table_at_all(virgin: Pair) -> None:
    done = virgin.play(firewall_operators=NOBODY, firewall_confirm_seconds=SOON)
    assert done.returncode != 0
    assert "FIREWALL-NOT-CONFIRMED" in done.output
    assert virgin.table() == ""
    assert "pki-firewall.service" not in virgin.files()
    virgin.play().succeeded()


def test_rules_of_a_killed_run_go_away_by_themselves(guarded: Pair) -> None:
    before = guarded.table()
    guarded.apply_and_die(with_more(guarded.declared()))
    assert PORT in guarded.table()
    wait(lambda: not guarded.is_armed())
    assert guarded.table() == before


def test_the_run_after_a_killed_one_waits_for_that_and_starts_clean(guarded: Pair) -> None:
    before = guarded.table()
    guarded.apply_and_die(with_more(guarded.declared()))
    guarded.play().succeeded()
    assert guarded.table() == before
    assert not guarded.is_armed()
    assert changed(guarded.play().succeeded()) == 0


def test_a_power_cut_before_the_confirmation_leads_back_to_the_confirmed_rules(
    guarded: Pair,
) -> None:
    before = guarded.table()
    guarded.apply_and_die(with_more(guarded.declared()), SECONDS)
    guarded.cut_power()
    assert guarded.table() == before
    assert not guarded.is_armed()
    assert changed(guarded.play().succeeded()) == 0


def test_a_timer_that_was_lost_is_made_up_for(guarded: Pair) -> None:
    before = guarded.table()
    guarded.apply_and_die(with_more(guarded.declared()), SECONDS)
    guarded.on("gateway", "systemctl stop pki-firewall-rollback.timer").succeeded()
    guarded.play().succeeded()
    assert guarded.table() == before


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft add rule inet pki input tcp dport 1 accept",
        "nft 'chain inet pki output { policy accept; }'",
    ],
)
def test_a_table_that_was_changed_by_hand_is_put_right(guarded: Pair, damage: str) -> None:
    before = guarded.table()
    guarded.on("gateway", damage).succeeded()
    assert guarded.table() != before
    assert changed(guarded.play("--check").succeeded()) == 1
    assert changed(guarded.play().succeeded()) == 1
    assert guarded.table() == before


@pytest.mark.parametrize(
    "file",
    [
        "/etc/pki/firewall/rules.nft",
        "/etc/systemd/system/pki-firewall.service",
        "/etc/systemd/system/sysinit.target.wants/pki-firewall.service",
    ],
)
def test_a_damaged_way_to_the_next_boot_is_put_right_without_a_timer(
    guarded: Pair, file: str
) -> None:
    before = guarded.files()
    guarded.on("gateway", f"rm {file}").succeeded()
    done = guarded.play().succeeded()
    assert changed(done) == 1
    assert "Log in again" not in done.output
    assert guarded.files() == before


@pytest.mark.parametrize("order", ["restart", "reload"])
def test_the_distribution_s_service_does_not_open_the_host(guarded: Pair, order: str) -> None:
    before = guarded.table()
    guarded.on("gateway", "systemctl start nftables").succeeded()
    guarded.on("gateway", f"systemctl {order} nftables").succeeded()
    wait(lambda: guarded.table() == before)
    guarded.cut_power()
    guarded.play().succeeded()


def test_a_user_who_does_not_exist_is_refused_and_nothing_is_armed(guarded: Pair) -> None:
    before = guarded.table()
    done = guarded.play(firewall_egress_users=["no-such-user"])
    assert done.returncode != 0
    assert "FIREWALL-REFUSED" in done.output
    assert guarded.table() == before
    assert not guarded.is_armed()
