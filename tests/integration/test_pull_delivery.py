# SPDX-License-Identifier: GPL-3.0-or-later
"""``delivery: pull`` through the release role: each host fetches its own keys, nobody helps."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.canary import Finding, Scanner
from integration.openbao_server import TLS_MOUNT, OpenBao, write_secret
from integration.pull_world import HOSTS, OWN, SHARED, PullWorld
from integration.release_world import Ran
from integration.vault_tap import Alter, Exchange, Tap
from pki_host import openssl

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> PullWorld:
    return PullWorld(tmp_path_factory.mktemp("pull"), openbao)


@pytest.fixture
def world(shared: PullWorld) -> Iterator[PullWorld]:
    """The world with two virgin hosts."""
    shutil.rmtree(shared.base / "roots", ignore_errors=True)
    yield shared
    shutil.rmtree(shared.base / "roots", ignore_errors=True)


def answers(world: PullWorld, since: int, path: str) -> list[dict[str, Any]]:
    """The audit log's answers for a path, from its line ``since`` on."""
    lines = world.openbao.audit_log.read_text().splitlines()[since:]
    entries = [json.loads(line) for line in lines]
    return [e for e in entries if e["type"] == "response" and e["request"]["path"].startswith(path)]


def lines(world: PullWorld) -> int:
    return len(world.openbao.audit_log.read_text().splitlines())


def refusals(ran: Ran) -> str:
    return " ".join(ran.output.split())


def test_each_host_fetches_its_keys_by_its_own_login_and_a_second_run_asks_nobody(
    world: PullWorld,
) -> None:
    before = lines(world)
    ran = world.run()
    assert ran.code == 0, ran.output
    for host in HOSTS:
        files = world.key_files(host)
        assert set(files) == {OWN, SHARED}
        for entry, path in files.items():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            leaf = world.leaves[f"{OWN}/{host}" if entry == OWN else SHARED]
            assert openssl.belongs_together(path.read_bytes(), leaf)
    reads = answers(world, before, f"{TLS_MOUNT}/export/")
    assert len(reads) == 4
    assert len({read["auth"]["entity_id"] for read in reads}) == 2
    assert {tuple(read["auth"]["policies"]) for read in reads} == {("default", "pull")}
    # One login and one farewell a host; the release role was nowhere.
    assert len(answers(world, before, "auth/approle/login")) == 2
    assert len(answers(world, before, "auth/token/revoke-self")) == 2
    # What the log has of the keys is digests.
    assert all(
        str(value).startswith("hmac-sha256:")
        for read in reads
        for value in read["response"]["data"]["keys"].values()
    )

    after = lines(world)
    again = world.run()
    assert again.code == 0, again.output
    assert "changed=0" in again.output
    assert "changed=1" not in again.output
    assert lines(world) == after


def test_check_mode_says_what_is_missing_and_logs_in_nowhere(world: PullWorld) -> None:
    before = lines(world)
    ran = world.run("--check", "--diff")
    assert (ran.code, ran.changed) == (0, True), ran.output
    assert "key.pem is missing" in ran.output
    assert lines(world) == before
    assert not (world.base / "roots").exists()


def test_no_pipelining_is_needed_as_nothing_secret_travels_to_the_host(world: PullWorld) -> None:
    ran = world.run(pipelining=False)
    assert ran.code == 0, ran.output
    assert all(len(world.key_files(host)) == 2 for host in HOSTS)


def test_a_host_with_the_identity_of_another_gets_nothing_and_the_other_goes_on(
    world: PullWorld,
) -> None:
    ran = world.run(auth={"gw1": world.auth["gw2"], "gw2": world.auth["gw2"]})
    assert ran.code != 0
    assert "VAULT-DENIED" in ran.output
    assert f"mtls_key_nonprod_<n>={OWN}_gw1" in refusals(ran)
    assert not list(world.root_of("gw1").rglob("*.pem"))
    assert set(world.key_files("gw2")) == {OWN, SHARED}


def test_a_host_without_a_login_is_told_which_option_it_lacks(world: PullWorld) -> None:
    before = lines(world)
    ran = world.run(auth={})
    assert ran.code != 0
    assert "RELEASE-NO-LOGIN" in ran.output
    assert "release_host_auth" in ran.output
    assert lines(world) == before


def test_a_certificate_of_the_host_is_as_good_a_login(world: PullWorld) -> None:
    auth = {host: world.hosts.certificate(host, world.mapping(host)) for host in HOSTS}
    ran = world.run(auth=auth)
    assert ran.code == 0, ran.output
    assert all(len(world.key_files(host)) == 2 for host in HOSTS)


# -- secrets -----------------------------------------------------------------------------------


def on(part: str, status: int, answer: Callable[[Exchange], bytes]) -> Alter:
    """Another answer to requests whose path holds ``part``."""
    return lambda exchange: (status, answer(exchange)) if part in exchange.path else None


def as_error(exchange: Exchange) -> bytes:
    """Everything the server knows, as the words of a refusal."""
    said = exchange.body.decode() + exchange.token
    return json.dumps({"errors": [said]}).encode()


def twice(exchange: Exchange) -> bytes:
    document = json.loads(exchange.body)
    keys = document["data"]["keys"]
    document["data"]["keys"] = {version: pem + pem for version, pem in keys.items()}
    return json.dumps(document).encode()


HOSTILE = {
    "the key in the words of a refusal": (on("/export/", 400, as_error), "VAULT-ANSWER"),
    "the key in the words of a denial": (on("/export/", 403, as_error), "VAULT-DENIED"),
    "half of the key": (on("/export/", 200, lambda e: e.body[:-9]), "VAULT-UNREACHABLE"),
    "the key twice": (on("/export/", 200, twice), "VAULT-ANSWER"),
    "the token in the words of a refused login": (on("/login", 400, as_error), "VAULT-LOGIN"),
    "a login without a token": (on("/login", 200, lambda _: b"{}"), "VAULT-ANSWER"),
    "its token among its policies": (
        on(
            "/lookup-self",
            200,
            lambda e: json.dumps({"data": {"policies": [e.token], "entity_id": e.token}}).encode(),
        ),
        "VAULT-DENIED",
    ),
}


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> Iterator[Tap]:
    directory = tmp_path_factory.mktemp("tap") / "tap"
    started = Tap(directory, (openbao.port, openbao.ca_cert)).start()
    yield started
    started.stop()


def through(tap: Tap, auth: dict[str, str]) -> dict[str, Any]:
    """The host's way to the key server leads through the tap, which learns every secret."""
    address = {"address": tap.address, "ca_pem": tap.ca_cert.read_text()}
    return {"release_host_vault": {**address, "auth": auth}}


def found(world: PullWorld, tap: Tap, output: str, left: bool) -> list[Finding]:
    """Where a secret that passed, or lies in a credential file, was printed or left behind."""
    scanner = Scanner()
    for number, token in enumerate(sorted(tap.tokens)):
        scanner.add_text(f"token {number}", token)
    for number, key in enumerate(sorted(tap.keys)):
        scanner.add_key(f"key {number}", key)
    for name, secret in world.hosts.made.items():
        scanner.add_text(name, secret)
    assert tap.tokens
    # The scanner finds what it looks for.
    assert all(scanner.scan_text(f"x {token} y") for token in tap.tokens)
    findings = list(scanner.scan_text(output, "output"))
    allowed = [world.base / "identities"]
    if left:
        allowed += [path for host in HOSTS for path in world.key_files(host).values()]
    findings += scanner.scan_tree(world.base, allowed)
    return findings


def test_no_secret_is_printed_or_left_behind_at_any_verbosity(world: PullWorld, tap: Tap) -> None:
    ran = world.run("-vvvv", "--diff", "--limit", "gw1", changes=through(tap, world.auth["gw1"]))
    assert ran.code == 0, ran.output
    assert len(tap.keys) >= 2
    assert found(world, tap, ran.output, left=True) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_no_secret_is_printed_or_left_behind_when_the_server_answers(
    world: PullWorld, tap: Tap, name: str
) -> None:
    alter, rule = HOSTILE[name]
    # A host that is denied looks at itself: let it ask for another's key.
    login = world.auth["gw2" if "policies" in name else "gw1"]
    tap.alter = alter
    try:
        ran = world.run("-vvvv", "--diff", "--limit", "gw1", changes=through(tap, login))
    finally:
        tap.alter = lambda _exchange: None
    assert ran.code != 0
    assert rule in ran.output, ran.output[-3000:]
    assert found(world, tap, ran.output, left=False) == []
    assert not list(world.root_of("gw1").rglob("key.pem"))


@pytest.mark.parametrize("mode", [0o644, 0o640], ids=oct)
def test_a_secret_id_that_others_could_read_is_not_used(
    world: PullWorld, tap: Tap, tmp_path: Path, mode: int
) -> None:
    loose = tmp_path / "loose"
    write_secret(loose, Path(world.auth["gw1"]["secret_id_file"]).read_bytes())
    loose.chmod(mode)
    before = lines(world)
    auth = {**world.auth["gw1"], "secret_id_file": str(loose)}
    ran = world.run("-vvvv", "--diff", "--limit", "gw1", changes=through(tap, auth))
    assert "VAULT-CREDENTIALS" in ran.output
    assert f"mode {mode:04o}" in ran.output
    assert lines(world) == before
    assert found(world, tap, ran.output, left=False) == []


# -- the same hosts, with tokens ---------------------------------------------------------------


def test_tokens_are_made_one_host_after_the_other_so_that_none_waits_for_its_turn(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao
) -> None:
    """With ``serial`` over many hosts a token made at the beginning would expire on its way."""
    world = PullWorld(tmp_path_factory.mktemp("wrapped"), openbao, "wrapped")
    before = lines(world)
    ran = world.run(auth={}, serial=1)
    assert ran.code == 0, ran.output
    paths = [
        entry["request"]["path"]
        for entry in map(json.loads, openbao.audit_log.read_text().splitlines()[before:])
        if entry["type"] == "response"
    ]
    order = ["wrap" if "/export/" in path else path.rsplit("/", 1)[-1] for path in paths]
    wanted = ["wrap", "wrap", "lookup", "unwrap", "lookup", "unwrap"]
    assert [step for step in order if step in wanted] == wanted * len(HOSTS)
    assert f"{OWN}_gw2" not in " ".join(paths[: len(paths) // 2])
