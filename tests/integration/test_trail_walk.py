# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail of a certificate's life, through playbooks only, beside Vault's own audit log.

The tests share one world and stand in the order of that life.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration.lab_fixture import Lab, Run, running_lab
from pki import trail_file

pytestmark = [pytest.mark.integration, pytest.mark.lab]

NAME = "dip-nonprod"


@dataclass
class World:
    """A lab with its trail, and how far the trail was read."""

    lab: Lab
    read: int = 0

    @property
    def place(self) -> Path:
        return self.lab.home / "trail"

    def play(self, name: str, *arguments: str, expected: int = 0) -> Run:
        environment = {**self.lab.environment(), "LAB_DIR": str(self.lab.home)}
        return self.lab._run(self.lab.playbook(name, *arguments), environment, expected)

    def lines(self) -> list[dict[str, Any]]:
        """All lines; the trail must be without fault."""
        told = trail_file.read(self.place)
        if told is None:
            return []
        assert told.faults == ()
        return [dict(one) for one in told.lines]

    def new(self) -> list[dict[str, Any]]:
        """The lines since the last look."""
        lines = self.lines()
        fresh, self.read = lines[self.read :], len(lines)
        return fresh

    def events(self) -> list[str]:
        return [str(one["event"]) for one in self.new()]

    def audited(self) -> dict[str, str]:
        """The path of every request that Vault's audit log names, by its id."""
        found = {}
        for path in self.lab.home.rglob("audit*.log"):
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                found[str(entry["request"]["id"])] = str(entry["request"]["path"])
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("trail") / "lab"
    with running_lab(home):
        yield World(Lab(home))


def test_check_mode_announces_the_first_night_and_writes_no_line(world: World) -> None:
    world.play("site", "--check", "--diff")
    assert not world.place.exists()


def test_the_first_night_tells_of_crls_key_and_request(world: World) -> None:
    output = world.play("site").output
    lines = world.new()
    events = [str(one["event"]) for one in lines]
    assert events[0] == "CRLs fetched"
    assert [one for one in events if one != "CRLs fetched"][:2] == ["key made", "request written"]
    assert f"audit trail: {len(lines)} lines in {world.place}" in output
    for one in lines:
        assert (one["playbook"], one["inventory"]) == ("site.yml", "lab")
        assert one["classes"] == ["nonprod"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(one["time"]))


def test_vault_knows_the_requests_by_the_ids_of_the_trail(world: World) -> None:
    made, written = (
        next(one for one in world.lines() if one["event"] == what)
        for what in ("key made", "request written")
    )
    paths = world.audited()
    assert made["vault"]
    assert written["vault"]
    assert {paths[one] for one in made["vault"]} == {f"transit-nonprod-tls/keys/{NAME}"}
    assert all(paths[one].startswith("transit-nonprod-tls/sign/") for one in written["vault"])


def test_the_night_after_the_reply_tells_of_each_step_in_order(world: World) -> None:
    world.lab.play("sign")
    world.play("site")
    lines = world.new()
    mine = [(one["event"], one["host"]) for one in lines if one["certificate"]]
    (host,) = {str(one["host"]) for one in lines} - {"localhost"}
    gateway = "release put into service by gateway dip-gateway"
    assert mine == [
        ("certificate accepted", "localhost"),
        ("release staged, with its key", host),
        (gateway, host),
    ]
    changed = next(one for one in lines if one["event"] == "gateway dip-gateway changed")
    assert "nginx.conf" in " ".join(changed["artefacts"])
    accepted = next(one for one in lines if one["event"] == "certificate accepted")
    served = next(one for one in lines if one["event"] == gateway)
    assert accepted["artefacts"]["certificate.pem"] == served["artefacts"]["certificate.pem"]


def test_a_night_without_changes_writes_no_line(world: World) -> None:
    world.play("site")
    assert world.events() == []
    world.play("site", "--check")
    assert world.events() == []


def test_a_persons_word_is_told_with_reason_and_name(world: World) -> None:
    words = {"certificate": NAME, "reason": "a drill", "by": "A. Person"}
    world.play("renew", "-e", json.dumps(words))
    first, *rest = world.new()
    assert (first["event"], first["by"], first["reason"]) == (
        "a new request was asked for", "A. Person", "a drill",
    )  # fmt: skip
    assert first["version"] == 2
    assert [one["event"] for one in rest] == ["key made", "request written"]
    world.play("outcome", "-e", json.dumps({**words, "outcome": "withdrawn"}))
    (told,) = world.new()
    assert told["event"] == "request v2 was recorded as withdrawn"


def test_no_secret_is_in_the_trail(world: World) -> None:
    with world.lab.client("auditor") as client:
        assert client.list("transit-nonprod-tls/keys") == [NAME]
    kept = b"".join(path.read_bytes() for path in world.place.rglob("*") if path.is_file())
    keys = [path.read_bytes() for path in world.lab.home.rglob("key.pem")]
    ids = [path.read_bytes().strip() for path in (world.lab.home / "secrets").glob("*_id")]
    assert keys
    assert ids
    for secret in (*ids, *(line for key in keys for line in key.splitlines()[1:-1])):
        assert secret not in kept
    assert b"PRIVATE KEY" not in kept


def test_the_story_of_the_certificate_is_told_in_order_and_as_json(world: World) -> None:
    file = world.lab.home / "history.json"
    extra = json.dumps({"certificate": NAME, "history_file": str(file)})
    output = world.play("history", "-e", extra).output
    steps = (
        "v1: key made",
        "v1: request written",
        "v1: certificate accepted",
        "v1: release put into service by gateway dip-gateway",
        "v2: a new request was asked for",
        "v2: request v2 was recorded as withdrawn",
    )
    told = [one["what"] for one in json.loads(file.read_text())["told"]]
    places = [
        next(n for n, what in enumerate(told) if what.startswith(step[:30])) for step in steps
    ]
    assert places == sorted(places)
    assert output.index("v1: key made") < output.index("v1: certificate accepted")
    assert "Vault request " in output
    assert world.events() == []


def test_a_trail_that_was_cut_is_said_first_and_fails_and_stops_the_next_night(
    world: World,
) -> None:
    (path,) = world.place.glob("trail-*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(b"\n".join(whole.split(b"\n")[:-2]) + b"\n")
    extra = json.dumps({"certificate": NAME})
    output = world.play("history", "-e", extra, expected=2).output
    assert output.index("the trail ends with line") < output.index("v1: key made")
    assert "TRAIL-BROKEN" in world.play("site", expected=2).output
    path.write_bytes(whole)
    world.play("history", "-e", extra)
