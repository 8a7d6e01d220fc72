# SPDX-License-Identifier: GPL-3.0-or-later
"""How an API key gets from Vault to the host that sends it, and that nobody else learns it.

The role's own task against a real OpenBao, at the loudest verbosity. The tests of one host stand in
the order of its life; at the end everything that was printed, logged and written is searched.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import ssl
import subprocess
import sysconfig
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways.asking import ask
from gateways.servers import Server
from gateways.stand import authorities, far_certificate, far_context
from integration import vault_access
from integration.api_key_world import ApiKeyWorld, Ran
from integration.canary import Scanner, explain
from integration.gateway_world import OURS, PROJECT
from integration.openbao_server import KV_MOUNT, OpenBao
from integration.vault_tap import Alter, Exchange, Tap

pytestmark = pytest.mark.integration

VALUES = [secrets.token_hex(24) for _ in range(4)]
#: Values that no header can carry, or that are none. Each is a secret all the same.
BAD: dict[str, Any] = {
    "a blank inside": f"{secrets.token_hex(12)} {secrets.token_hex(12)}",
    "the end of a line": f"{secrets.token_hex(24)}\n",
    "a quote": f'{secrets.token_hex(12)}"{secrets.token_hex(12)}',
    "a variable": f"{secrets.token_hex(12)}${secrets.token_hex(12)}",
    "a backslash": f"{secrets.token_hex(12)}\\{secrets.token_hex(12)}",
    "a letter beyond ASCII": f"{secrets.token_hex(12)}é{secrets.token_hex(12)}",
    "too long a text": secrets.token_hex(300),
    "a list": [secrets.token_hex(24)],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path_factory.mktemp("api-key"), openbao)


@pytest.fixture(scope="module")
def tap(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    """Learns the tokens that pass, for the search at the end."""
    made = Tap(tmp_path_factory.mktemp("tap") / "tls", (openbao.port, openbao.ca_cert)).start()
    try:
        yield made
    finally:
        made.stop()


def in_files(world: ApiKeyWorld, release: str) -> str:
    """Everything in the files of a release, whichever product's they are."""
    files = (world.directory / "releases" / release).iterdir()
    return "".join(path.read_text() for path in sorted(files))


# -- one host's life -------------------------------------------------------------------------


def test_check_mode_says_what_would_come_and_brings_nothing(world: ApiKeyWorld, tap: Tap) -> None:
    world.put(VALUES[0])
    ran = world.deliver("--check", tap=tap)
    (one,) = ran.result["api_keys"]
    assert ran.result["changed"]
    assert one["needs_value"]
    assert not world.directory.exists()
    assert "read data" not in world.calls(), "no token may be made for a look"


def test_a_new_key_comes_wrapped_into_files_of_the_owner_alone(
    world: ApiKeyWorld, tap: Tap
) -> None:
    ran = world.deliver(tap=tap)
    assert ran.result["changed"]
    assert ran.result["refused"] == []
    (one,) = ran.result["api_keys"]
    assert one["version"] == 1
    assert one["link"] == {
        "path": str(world.directory / "current"),
        "target": f"releases/{world.releases_of_key()[0]}",
    }
    files = {p.name: p for p in (world.directory / "releases" / one["id"]).iterdir()}
    assert {*files} == {"api-key.conf", "delivered.json"}
    assert {oct(path.stat().st_mode & 0o777) for path in files.values()} == {"0o600"}
    assert oct(world.directory.parent.stat().st_mode & 0o777) == "0o700"
    assert VALUES[0] in files["api-key.conf"].read_text()
    assert world.calls().count("read data") == 1
    assert not (world.directory / "current").is_symlink(), "the gateway's transaction does that"
    # The audit trail gets the name and the version, and no more.
    (event,) = ran.result["trail"]
    told = {"event": f"API key {world.name} staged", "version": 1}
    assert {field: value for field, value in event.items() if value} == told


def test_a_second_run_asks_for_the_version_alone_and_where_no_key_is_sent_nobody_is_asked(
    world: ApiKeyWorld, tap: Tap
) -> None:
    (gateway,) = world.gateways()
    del gateway["egress"][0]["api_key"]
    nowhere = {"address": "https://127.0.0.1:1", "auth_method": "token"}
    ran = world.attempt(
        {
            "again": {"release_vault": world.login(tap)},
            "none": {"gateways": [gateway], "release_vault": nowhere},
        }
    )
    assert not ran["again"].result["changed"]
    assert ran["again"].result["trail"] == []
    assert ran["none"].result["api_keys"] == ran["none"].result["refused"] == []
    assert ran["none"].module_runs == 1, "of both together"
    assert world.calls().count("read data") == 1


def test_a_changed_key_is_a_directory_of_its_own_beside_the_one_in_service(
    world: ApiKeyWorld, tap: Tap
) -> None:
    before = world.releases_of_key()
    (world.directory / "current").symlink_to(f"releases/{before[0]}")
    world.put(VALUES[1])
    ran = world.deliver(tap=tap)
    (one,) = ran.result["api_keys"]
    assert (one["version"], one["current"]) == (2, f"releases/{before[0]}")
    assert len(world.releases_of_key()) == 2
    assert VALUES[1] in in_files(world, one["id"])
    assert VALUES[0] in in_files(world, before[0]), "the one in service is not touched"
    (world.directory / "current").unlink()
    (world.directory / "current").symlink_to(one["link"]["target"])


def test_a_file_that_somebody_changed_or_opened_is_put_right(world: ApiKeyWorld, tap: Tap) -> None:
    file = world.directory / "current/api-key.conf"
    file.write_text("proxy_set_header X-API-KEY other;\n")
    file.chmod(0o644)
    ran = world.deliver(tap=tap)
    (one,) = ran.result["api_keys"]
    assert one["needs_value"]
    assert len(one["problems"]) == 2
    assert "others on this host could read the API key" in ran.output
    assert VALUES[1] in file.read_text()
    assert oct(file.stat().st_mode & 0o777) == "0o600"


# -- what cannot be had leaves what is in service ----------------------------------------------


@pytest.fixture(scope="module")
def spoiled(world: ApiKeyWorld, tap: Tap) -> dict[str, dict[str, Any]]:
    """One run with a key for each fault an entry can have; refusals by what is wrong."""
    names = {what: f"{world.name}-{number}" for number, what in enumerate(SPOILED)}
    for what, name in names.items():
        if what == SPOILED[-1]:
            continue
        world.put(BAD.get(what, VALUES[2]), "password" if what == "another field" else "key", name)
    world.take_away("delete", 1, names["deleted"])
    world.take_away("destroy", 1, names["destroyed"])
    variables = {"gateways": world.gateways(world.name, *names.values())}
    ran = world.attempt({"all": {**variables, "release_vault": world.login(tap)}})["all"]
    assert [one["name"] for one in ran.result["api_keys"]] == [world.name], "the good one goes on"
    by_name = {one["name"]: one for one in ran.result["refused"]}
    assert not (world.directory.parent / names["a quote"]).exists()
    return {what: by_name[name] for what, name in names.items()}


SPOILED = (*BAD, "another field", "deleted", "destroyed", "nobody put it there")


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_no_key_is_refused_without_being_shown(
    spoiled: dict[str, dict[str, Any]], what: str
) -> None:
    error = spoiled[what]["error"]
    if what in ("deleted", "destroyed"):
        assert what in error["found"]
        assert error["rule"] == "API-KEY-DELETED"
    elif what == SPOILED[-1]:
        assert "docs/api_keys.md" in spoiled[what]["text"]
        assert error["rule"] == "API-KEY-MISSING"
    else:
        assert error["rule"] == "API-KEY-VALUE"


def errors(text: str) -> bytes:
    return json.dumps({"errors": [text]}).encode()


def on(part: str, answer: Callable[[Exchange], tuple[int, bytes]]) -> Alter:
    return lambda exchange: answer(exchange) if part in exchange.path else None


def answered(fields: dict[str, Any], **about: Any) -> bytes:
    return json.dumps({"data": {"data": fields, "metadata": about}}).encode()


PLANTED = secrets.token_hex(24)
ELSEWHERE = json.dumps({"data": {"creation_path": "kv-nonprod/data/api-keys/other"}}).encode()
#: What the server, or somebody between, may say in place of the key, and how that is called.
ANSWERS: dict[str, tuple[Alter, str]] = {
    "the token was used before": (
        on("wrapping/unwrap", lambda _: (400, errors("wrapping token is not valid"))),
        "VAULT-WRAP-USED",
    ),
    "an error that quotes the key": (
        on("wrapping/unwrap", lambda _: (500, errors(PLANTED))),
        "VAULT-ANSWER",
    ),
    "no entry": (
        on("wrapping/unwrap", lambda _: (200, json.dumps({"data": PLANTED}).encode())),
        "VAULT-ANSWER",
    ),
    "another version": (
        on("wrapping/unwrap", lambda _: (200, answered({"key": PLANTED}, version=9,
                                                      created_time="2026-01-01T00:00:00Z"))),
        "API-KEY-VERSION",
    ),
    "another secret's token": (
        on("wrapping/lookup", lambda _: (200, ELSEWHERE)),
        "VAULT-WRAP-PATH",
    ),
    "an unwrapped answer": (
        on("/data/api-keys/", lambda _: (200, answered({"key": PLANTED}, version=1))),
        "VAULT-NOT-WRAPPED",
    ),
    "no word on versions": (
        on("/metadata/api-keys/", lambda _: (200, json.dumps({"data": {"key": PLANTED}}).encode())),
        "API-KEY",
    ),
    "a refusal": (
        on("/metadata/api-keys/", lambda _: (403, errors(f"permission denied {PLANTED}"))),
        "VAULT-DENIED",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def let_down(
    world: ApiKeyWorld, tap: Tap, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Ran]]:
    """One run that tries to deliver a new version again and again, and is let down each time."""
    world.put(VALUES[3])
    folder = tmp_path_factory.mktemp("taps")
    taps = {
        name: Tap(folder / str(number), tap.upstream, alter).start()
        for number, (name, (alter, _)) in enumerate(ANSWERS.items())
    }
    dead = {**world.login(), "address": "https://127.0.0.1:1", "timeout": 2}
    attempts: dict[str, dict[str, Any]] = {
        **{name: {"release_vault": world.login(one)} for name, one in taps.items()},
        DEAD: {"release_vault": dead},
        COPIED: {"release_vault": world.login(tap), "ansible_pipelining": False},
    }
    try:
        yield world.attempt(attempts)
    finally:
        for one in taps.values():
            one.stop()
            tap.tokens |= one.tokens


DEAD, COPIED = "a dead Vault", "modules that are copied as files"


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, rule) for name, (_, rule) in ANSWERS.items()), (DEAD, "VAULT-UNREACHABLE")],
)
def test_whatever_the_server_says_instead_what_is_in_service_stays(
    world: ApiKeyWorld, let_down: dict[str, Ran], name: str, rule: str
) -> None:
    ran = let_down[name]
    refused = ran.refusal()
    assert refused["error"]["rule"] == rule, refused["text"]
    assert refused["text"] in " ".join(ran.result["warnings"])
    (one,) = ran.result["api_keys"]
    assert one["link"]["target"] == (world.directory / "current").readlink().as_posix()
    assert one["version"] == 2
    assert not ran.result["changed"]
    assert ran.result["trail"] == []


def test_no_token_is_made_where_modules_are_copied_as_files(let_down: dict[str, Ran]) -> None:
    assert let_down[COPIED].result["error"]["rule"] == "RELEASE-PIPELINING"


def test_nothing_is_delivered_while_debugging_is_on(world: ApiKeyWorld, tap: Tap) -> None:
    ran = world.deliver(tap=tap, ANSIBLE_KEEP_REMOTE_FILES="1")
    assert ran.result["error"]["rule"] == "RELEASE-DEBUGGING"
    assert len(world.releases_of_key()) == 2


def test_the_right_one_comes_when_all_is_well_again(
    world: ApiKeyWorld, tap: Tap, let_down: dict[str, Ran]
) -> None:
    assert let_down
    ran = world.deliver(tap=tap)
    assert ran.result["refused"] == []
    (one,) = ran.result["api_keys"]
    assert VALUES[3] in in_files(world, one["id"])


# -- and nobody has seen anything --------------------------------------------------------------


def scanner(world: ApiKeyWorld, tap: Tap) -> Scanner:
    known = Scanner()
    for number, value in enumerate([*VALUES, *BAD.values(), PLANTED]):
        text = value[0] if isinstance(value, list) else value
        known.add_text(f"API key {number}", text)
        for number_of_part, part in enumerate(p for p in text.split() if len(p) >= 16):
            known.add_text(f"API key {number}, part {number_of_part}", part)
    for number, token in enumerate(sorted(tap.tokens)):
        known.add_text(f"token {number}", token)
    secret_id = (world.openbao.directory / "release.secret_id").read_text().strip()
    known.add_text("secret_id", secret_id)
    return known


def test_no_run_printed_logged_or_returned_a_key_or_a_token(world: ApiKeyWorld, tap: Tap) -> None:
    known = scanner(world, tap)
    assert len(tap.tokens) > 10, "the tap saw too little to search for"
    assert len(world.outputs) >= 9, "the runs of this host's life"
    found = [one for text in world.outputs for one in known.scan_text(text, "a run")]
    found += known.scan_file(world.log)
    assert not found, explain(found)


def test_a_key_stands_only_in_private_files_of_its_own_directory(
    world: ApiKeyWorld, tap: Tap
) -> None:
    known = scanner(world, tap)
    assert known.scan_tree(world.directory), "the search does not know the key where it is"
    found = known.scan_tree(world.base, [world.directory])
    assert not found, explain(found)


def test_the_servers_audit_log_has_the_key_only_as_a_digest(world: ApiKeyWorld, tap: Tap) -> None:
    found = scanner(world, tap).scan_file(world.openbao.audit_log)
    assert not found, explain(found)


# -- together with the gateway -----------------------------------------------------------------


def test_a_gateway_waits_for_its_key_and_sends_it_once_it_is_there(
    tmp_path: Path, openbao: OpenBao
) -> None:
    world, value = ApiKeyWorld(tmp_path, openbao), secrets.token_hex(24)
    known = Scanner()
    known.add_text("API key", value)
    context = far_context(world, far_certificate())
    world.authorities = authorities()
    world.certificate = authorities().leaf(OURS, "ours")
    world.release = world.stage_release(1, world.certificate)
    world.crl_set = world.stage_crls()
    far_end = Server(world.dip, context)
    try:
        waits = world.deploy()
        assert f"it waits for an API key {world.name}" in " ".join(waits.split())
        assert not world.root.exists()
        world.put(value)
        announced = world.deploy("--check")
        assert str(world.directory / "current") in announced
        assert not world.directory.exists()
        world.deploy()
        assert ask(world.egress, None).header("X-API-KEY") == [value]
        assert "changed=0" in world.deploy()
    finally:
        world.stop()
        far_end.close()
    found = [one for text in world.outputs for one in known.scan_text(text, "a run")]
    found += known.scan_file(world.log)
    found += known.scan_tree(world.base, [world.directory])
    assert not found, explain(found)


# -- the page that people read -----------------------------------------------------------------

PAGE = PROJECT / "docs/api_keys.md"


def test_the_documented_login_puts_a_key_there_by_the_documented_command_and_cannot_read_it(
    tmp_path: Path, openbao: OpenBao
) -> None:
    text = PAGE.read_text()
    (rules,) = re.findall(r"```hcl\n(.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"^ *(tr -d .*)$", text, re.MULTILINE)
    name, value = f"dip-{secrets.token_hex(4)}", secrets.token_hex(24)
    command = command.replace("dip-nonprod-1000000001", name)
    options = vault_access.approle(openbao, tmp_path, rules)
    login = {
        part: Path(options[f"{part}_file"]).read_text().strip() for part in ("role_id", "secret_id")
    }
    token = _token(openbao, login)
    environment = {
        "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "BAO_ADDR": openbao.address,
        "BAO_CACERT": str(openbao.ca_cert),
        "BAO_TOKEN": token,
    }
    typed = f"{value}\r\n"
    done = subprocess.run(
        ["sh", "-c", command],
        input=typed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr
    with openbao.client("operator") as operator:
        stored = operator.read(f"{KV_MOUNT}/data/api-keys/{name}") or {}
    assert stored["data"] == {"key": value}
    again = subprocess.run(
        ["sh", "-c", f"bao kv get -mount={KV_MOUNT} api-keys/{name}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode != 0
    assert "permission denied" in again.stderr


def _token(openbao: OpenBao, login: dict[str, str]) -> str:
    context = ssl.create_default_context(cafile=str(openbao.ca_cert))
    request = urllib.request.Request(
        f"{openbao.address}/v1/auth/approle/login", json.dumps(login).encode()
    )
    with urllib.request.urlopen(request, context=context) as answer:
        return str(json.load(answer)["auth"]["client_token"])
