# SPDX-License-Identifier: GPL-3.0-or-later
"""The API key of an egress listener: on the wire to the far end, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gateways import asking
from gateways.asking import Answer
from gateways.products import Product
from gateways.servers import Server
from gateways.stand import authorities, far_certificate, far_context
from integration import gateway_world as gw
from integration.canary import Scanner, explain
from integration.gateway_world import World
from pki_host import api_key, gateway_facts, probe, transaction
from pki_host.errors import HostError

NAME = "dip-nonprod-key"
HEADER = "X-API-KEY"
# The marks that a value may hold, so that each product's file is seen to take them as they are.
MARKS = "!#%&()*+,-./:;<=>?@[]^_`{|}~"


@dataclass
class Sender:
    """A gateway that sends an API key, and every value that it has ever had."""

    world: World
    far_end: Server
    values: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def stage(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """A new version, as the module puts it there from what Vault's token opens."""
        value = f"{secrets.token_hex(16)}{MARKS}"
        self.values.append(value)
        version, created = len(self.values), f"2026-11-01T09:00:0{len(self.values)}.123456789Z"
        path = f"kv-nonprod/data/api-keys/{NAME}"
        written = f"{path}\n{version}\n{created}".encode()
        wanted = api_key.Wanted.of(
            {
                "name": NAME,
                "header": HEADER,
                "products": [self.world.product.product],
                "path": path,
                "version": version,
                "created": created,
                "id": f"v{version}-{hashlib.sha256(written).hexdigest()[:16]}",
            }
        )
        opened = ({"key": value}, f"{version} {created}")
        monkeypatch.setattr(api_key, "unwrap_entry", lambda *_: opened)
        root = str(self.world.base / "tls")
        vault = api_key.VaultAddress("https://vault.example", "")
        state = api_key.present(root, wanted, vault, "a token")
        self.world.api_keys = [state.as_result(root)]
        return value

    def apply(self, **changes: Any) -> dict[str, Any]:
        desired = transaction.Desired.of({**self.world.arguments(), **changes})
        result = transaction.run(desired, check=False)
        self.told.append(result)
        return result

    def call(self, *headers: str, method: str = "GET") -> Answer:
        lines = [f"{method} / HTTP/1.1", "Host: caller.example", "Connection: close", *headers]
        if method == "POST":
            lines.append("Content-Length: 0")
        return asking.ask(self.world.egress, None, "\r\n".join([*lines, "", ""]).encode())


class KeyWorld(World):
    """The same inventory with an API key for the egress."""

    def gateways(self) -> list[dict[str, Any]]:
        (entry,) = super().gateways()
        entry["egress"] = [{**one, "dip_id": "1000", "api_key": NAME} for one in entry["egress"]]
        return [entry]


@pytest.fixture(scope="module")
def sender(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    world = KeyWorld(tmp_path_factory.mktemp("sender"), product)
    world.authorities = authorities()
    world.certificate = authorities().leaf(gw.OURS, "ours")
    world.release = world.stage_release(1, world.certificate)
    world.crl_set = world.stage_crls()
    context = far_context(world, far_certificate())
    far_end = Server(world.dip, context)
    made = Sender(world, far_end)
    with pytest.MonkeyPatch.context() as monkeypatch:
        made.stage(monkeypatch)
    try:
        made.apply()
        yield made
    finally:
        world.stop()
        far_end.close()


# The tests of one product share its gateway and stand in the order of its life.


def test_a_gateway_waits_for_an_api_key_that_is_not_on_the_host(sender: Sender) -> None:
    keys, sender.world.api_keys = sender.world.api_keys, []
    assert sender.world.model()["waits_for"] == [f"an API key {NAME}"]
    sender.world.api_keys = keys
    assert sender.world.model()["waits_for"] == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_far_end_gets_the_key_exactly_once(sender: Sender, method: str) -> None:
    answer = sender.call(method=method)
    assert answer.status == 200
    assert answer.header(HEADER) == [sender.values[0]]


@pytest.mark.parametrize("spelling", [HEADER, HEADER.lower(), "X-Api-Key"])
def test_what_a_caller_sends_under_its_name_is_gone(sender: Sender, spelling: str) -> None:
    answer = sender.call(f"{spelling}: of the caller", f"{spelling}: once more")
    assert answer.header(HEADER) == [sender.values[0]]


def test_a_changed_key_is_a_transaction_of_its_own(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = sender.stage(monkeypatch)
    assert sender.call().header(HEADER) == [sender.values[0]], "staging puts nothing into service"
    result = sender.apply()
    assert result["changed"]
    assert sender.call().header(HEADER) == [value]
    assert not sender.apply()["changed"]


def test_a_change_that_fails_goes_back_to_the_key_before(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.stage(monkeypatch)
    monkeypatch.setattr(probe, "PATIENCE", 1.0)
    before = Path(sender.world.base, "tls/api-keys", NAME, "current").readlink()
    probes = [
        {**one, "certificate_sha256": "00" * 32} if one["kind"] == "ingress" else one
        for one in sender.world.arguments()["probes"]
    ]
    with pytest.raises(HostError) as caught:
        sender.apply(probes=probes)
    sender.told.append(caught.value.as_result())
    assert Path(sender.world.base, "tls/api-keys", NAME, "current").readlink() == before
    assert sender.call().header(HEADER) == [sender.values[1]]


def test_old_keys_are_removed_like_other_releases(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        sender.stage(monkeypatch)
        sender.apply()
    kept = Path(sender.world.base, "tls/api-keys", NAME, "releases").iterdir()
    assert sorted(path.name.split("-")[0] for path in kept) == ["v4", "v5"]
    assert sender.call().header(HEADER) == [sender.values[-1]]


def test_a_far_end_that_is_away_brings_the_key_into_no_log(sender: Sender) -> None:
    """Its errors are what a gateway says most about a request."""
    sender.far_end.close()
    try:
        assert sender.call().status == sender.world.product.unavailable
    finally:
        context = far_context(sender.world, far_certificate())
        sender.far_end = Server(sender.world.dip, context)


def known(sender: Sender) -> Scanner:
    scanner = Scanner()
    for number, value in enumerate(sender.values):
        scanner.add_text(f"API key {number + 1}", value)
        scanner.add_text(f"start of API key {number + 1}", value[: -len(MARKS)])
    return scanner


def test_it_is_in_no_log_configuration_or_record_of_the_gateway(sender: Sender) -> None:
    scanner = known(sender)
    assert Path(sender.world.product.adapter.access_log(str(sender.world.root))).stat().st_size
    found = scanner.scan_tree(sender.world.base, [sender.world.base / "tls/api-keys"])
    assert not found, explain(found)
    assert scanner.scan_tree(sender.world.base), "the search does not know the key where it is"


def test_no_result_of_a_transaction_holds_it(sender: Sender) -> None:
    found = known(sender).scan_text(repr(sender.told))
    assert not found, explain(found)


def test_what_a_host_tells_of_its_gateways_is_where_the_key_is_and_not_the_key(
    sender: Sender,
) -> None:
    world = sender.world
    told = gateway_facts.observe(world.product.product, world.product.program, str(world.root))
    assert told["readable"], told["problem"]
    assert f"api-keys/{NAME}/current/{world.product.adapter.secret_file}" in repr(told)
    found = known(sender).scan_text(repr(told))
    assert not found, explain(found)


def test_it_is_in_no_command_line_or_environment(sender: Sender) -> None:
    """Of any process: the gateway's own, and whatever else runs here."""
    scanner = known(sender)
    seen = 0
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                data = (process / name).read_bytes()
            except OSError:
                continue
            seen += 1
            found = scanner.scan_text(data, f"{process.name}/{name}")
            assert not found, explain(found)
    assert seen > 4


def test_printing_the_configuration_shows_the_key_to_those_alone_who_may_read_the_file(
    sender: Sender,
) -> None:
    """nginx -T prints included files, too. It reads them as whoever runs it."""
    if sender.world.product.product != "nginx":
        return
    command = [sender.world.product.program, "-T", *_configured(sender.world)]
    owner = subprocess.run(command, capture_output=True, check=False)
    assert known(sender).scan_text(owner.stdout), owner.stderr
    if os.geteuid() != 0:
        return
    os.chmod(sender.world.base, 0o755)
    other = subprocess.run(command, capture_output=True, check=False, user=65534, group=65534)
    assert not known(sender).scan_text(other.stdout + other.stderr)
    assert other.returncode != 0


def _configured(world: World) -> list[str]:
    program, root = world.product.program, str(world.root)
    return [word for word in world.product.adapter.test_command(program, root)[1:] if word != "-t"]
