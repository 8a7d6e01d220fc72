# SPDX-License-Identifier: GPL-3.0-or-later
"""No key of a host and no passphrase is printed, logged or left lying about, failures included.

One host with an encrypted key goes from nothing to its release at the loudest verbosity, and on
its way through everything that can go wrong; a tap in front of its OpenBao learns the tokens.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.canary import Scanner, explain
from integration.host_fleet import PROJECT, Fleet, Ran, everything
from integration.openbao_server import KV_MOUNT, OpenBao
from integration.vault_tap import Alter, Exchange, Tap
from unit import controller_world

pytestmark = pytest.mark.integration

LOUD = ("-vvvv", "--diff")
PLANTED = secrets.token_hex(32)
LOG = "ansible.log"


def on_unwrap(answer: Callable[[Exchange], tuple[int, bytes]]) -> Alter:
    return lambda exchange: answer(exchange) if "wrapping/unwrap" in exchange.path else None


def data(passphrase: object) -> bytes:
    return json.dumps({"data": {"data": {"passphrase": passphrase}}}).encode()


def errors(text: str) -> bytes:
    return json.dumps({"errors": [text]}).encode()


#: What a token's answer may be in place of the passphrase, and how that is called.
ANSWERS: dict[str, tuple[Alter, str]] = {
    "somebody was faster": (
        on_unwrap(lambda _: (400, errors("wrapping token is not valid or does not exist"))),
        "VAULT-WRAP-USED",
    ),
    "an error that quotes it": (on_unwrap(lambda _: (500, errors(PLANTED))), "VAULT-ANSWER"),
    "something else": (on_unwrap(lambda _: (200, data([PLANTED]))), "VAULT-ANSWER"),
    "another secret's token": (
        lambda exchange: (
            (200, json.dumps({"data": {"creation_path": "kv-nonprod/data/other"}}).encode())
            if "wrapping/lookup" in exchange.path
            else None
        ),
        "VAULT-WRAP-PATH",
    ),
}


@pytest.fixture(scope="module")
def tap(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    folder = tmp_path_factory.mktemp("tap") / "tls"
    made = Tap(folder, (openbao.port, openbao.ca_cert)).start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, tap: Tap) -> Iterator[Fleet]:
    with controller_world.web() as web:
        base = tmp_path_factory.mktemp("loud")
        yield Fleet(base, openbao, web, encrypted=True, hosts=("gw1",), tap=tap)


def loud(fleet: Fleet, playbook: str = "site", code: int = 0) -> Ran:
    log = {"ANSIBLE_LOG_PATH": str(fleet.base / LOG), "ANSIBLE_DISPLAY_TRACEBACK": "always"}
    return fleet.play(playbook, *LOUD, code=code, **log)


COPIED = "modules are copied as files"


def attempts(fleet: Fleet, taps: dict[str, Tap]) -> list[dict[str, Any]]:
    """A playbook that tries to make the same key again and again, and is let down each time."""
    role = {"name": "certificates", "tasks_from": "host_requests"}
    tasks: list[dict[str, Any]] = []
    for name, tap in taps.items():
        reached = {"address": tap.address, "ca_pem": tap.ca_cert.read_text()}
        variables = {"certificates_host_vault": reached}
        tasks += [
            {"name": "Try", "ansible.builtin.include_role": role, "vars": variables},
            result_of(name),
        ]
    plain = {"name": "Try", "ansible.builtin.include_role": role}
    tasks += [{**plain, "vars": {"ansible_pipelining": False}}, result_of(COPIED)]
    plan = {"import_role": {"name": "certificates", "tasks_from": "request"}}
    return [
        {"import_playbook": str(PROJECT / "playbooks/host_keys.yml")},
        {"hosts": "localhost", "gather_facts": False, "tasks": [plan]},
        {"hosts": "gateways", "gather_facts": False, "tasks": tasks},
    ]


def result_of(name: str) -> dict[str, Any]:
    return {"name": name, "debug": {"var": "certificates_host_requests.refusals"}}


@pytest.fixture(scope="module")
def let_down(
    fleet: Fleet, openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("taps")
    upstream = (openbao.port, openbao.ca_cert)
    taps = {
        name: Tap(folder / str(number), upstream, alter).start()
        for number, (name, (alter, _)) in enumerate(ANSWERS.items())
    }
    try:
        (fleet.base / "attempts.yml").write_text(yaml.safe_dump(attempts(fleet, taps)))
        yield loud(fleet, "attempts.yml")
    finally:
        for one in taps.values():
            one.stop()
            assert fleet.tap
            fleet.tap.tokens |= one.tokens


# The tests share one host and stand in the order of its life.


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, rule) for name, (_, rule) in ANSWERS.items()), (COPIED, "RELEASE-PIPELINING")],
)
def test_no_key_is_made_with_a_passphrase_that_did_not_come(
    let_down: Ran, fleet: Fleet, name: str, rule: str
) -> None:
    assert rule in let_down.section(name)
    assert not list((fleet.base / "hosts").rglob("key.pem"))
    assert not (fleet.inventory / "certificates").exists()


def test_the_pipeline_makes_the_passphrase_and_cannot_read_it(fleet: Fleet) -> None:
    path = f"{KV_MOUNT}/data/passphrases/{fleet.name}_gw1"
    with fleet.openbao.client("pipeline") as client:
        assert client.capabilities([path])[path] == ("create",)
    assert len(fleet.passphrase("gw1")) == 64


def test_a_key_is_made_and_its_request_signed(fleet: Fleet, tap: Tap) -> None:
    before = fleet.passphrase("gw1")
    loud(fleet)
    assert fleet.passphrase("gw1") == before, "a passphrase was made twice"
    assert fleet.request("gw1").signature_valid
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in fleet.key("gw1").read_bytes()
    assert fleet.private("gw1").key_size == fleet.request("gw1").bits


def test_on_a_fresh_clone_the_locked_key_signs_the_same_request(fleet: Fleet) -> None:
    before = fleet.keys(), {one: one.read_bytes() for one in fleet.version("gw1").iterdir()}
    shutil.rmtree(fleet.inventory / "certificates")
    loud(fleet)
    after = {one: one.read_bytes() for one in fleet.version("gw1").iterdir()}
    assert (fleet.keys(), after) == before


def test_a_locked_key_is_not_released_with_another_passphrase(fleet: Fleet, tap: Tap) -> None:
    fleet.answer("gw1")
    kept = everything(fleet.host("gw1") / "keys")
    tap.alter = on_unwrap(lambda _: (200, data(PLANTED)))
    try:
        assert "KEY-LOCKED" in loud(fleet, code=2).output
    finally:
        tap.alter = lambda _: None
    assert not list(fleet.host("gw1").glob("releases/*/key.pem"))
    assert everything(fleet.host("gw1") / "keys") == kept


def test_a_release_gets_the_key_by_one_wrapped_passphrase(fleet: Fleet, tap: Tap) -> None:
    before = [one.path for one in tap.seen].count("/v1/sys/wrapping/unwrap")
    loud(fleet)
    assert [one.path for one in tap.seen].count("/v1/sys/wrapping/unwrap") == before + 1
    (released,) = fleet.host("gw1").glob("releases/*/key.pem")
    assert b"ENCRYPTED" not in released.read_bytes()


def test_a_damaged_key_stops_the_run_and_is_left_as_it_is(fleet: Fleet) -> None:
    record = fleet.key("gw1").with_name("key.json")
    whole = record.read_bytes()
    record.write_bytes(b"{")
    try:
        assert "KEY-DAMAGED" in loud(fleet, code=2).output
        assert record.read_bytes() == b"{"
    finally:
        record.write_bytes(whole)


@pytest.fixture(scope="module")
def scanner(fleet: Fleet, tap: Tap) -> Scanner:
    known = Scanner()
    known.add_text("passphrase", fleet.passphrase("gw1"))
    known.add_text("planted passphrase", PLANTED)
    (released,) = fleet.host("gw1").glob("releases/*/key.pem")
    known.add_key("key", released.read_bytes())
    assert len(tap.tokens) > 20, "the tap saw too little to search for"
    for number, token in enumerate(sorted(tap.tokens)):
        known.add_text(f"token {number}", token)
    return known


def test_nothing_secret_was_printed_or_logged(fleet: Fleet, scanner: Scanner) -> None:
    assert len(fleet.runs) >= 5
    found = [one for ran in fleet.runs for one in scanner.scan_text(ran.output, "a run")]
    assert not found, explain(found)
    logged = scanner.scan_file(fleet.base / LOG)
    assert not logged, explain(logged)


def test_secrets_lie_only_in_files_of_their_owner(fleet: Fleet, scanner: Scanner) -> None:
    places: list[Path] = [fleet.host("gw1") / "releases"]
    assert scanner.scan_tree(fleet.base), "the scanner does not know what is there"
    found = scanner.scan_tree(fleet.base, places)
    assert not found, explain(found)
