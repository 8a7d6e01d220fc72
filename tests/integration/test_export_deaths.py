# SPDX-License-Identifier: GPL-3.0-or-later
"""An export that dies anywhere between the passphrase and its end tells nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from integration.canary import Scanner, explain
from integration.export_world import ADMIN, ExportWorld
from integration.openbao_server import OpenBao
from integration.test_modules_crash import DEATHS, Outcome, crash, load, reached, run
from unit import controller_world
from unit.lab_imports import REPOSITORY

pytestmark = pytest.mark.integration

PLACES = 24


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> ExportWorld:
    made = ExportWorld(tmp_path_factory.mktemp("canary"), openbao, site)
    made.accepted()
    return made


def arguments(world: ExportWorld, count: Iterator[int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in world.folder.glob("*.yml"):
        values |= yaml.safe_load(path.read_text())
    return {
        **{name: values[name] for name in ("organisations", "certificates", "trust")},
        "policy_dir": str(REPOSITORY / "policies"),
        "base_dir": str(world.base),
        "certificates_dir": str(world.base / "certificates"),
        "crl_cache_dir": str(world.base / ".crl-cache"),
        "vault": world.openbao.options("export"),
        "certificate": world.name,
        "recipient": "provider-x",
        "by": ADMIN,
        "directory": str(world.home / f"run-{next(count)}"),
    }


def test_wherever_it_dies_the_module_tells_no_secret_and_leaves_no_file_without_a_record(
    world: ExportWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, count = load(REPOSITORY / "library/pki_export.py"), itertools.count()
    scanner = Scanner()
    scanner.add_key("key", world.key())
    words: list[str] = []
    from ansible.module_utils.pki import export_passphrase

    make = export_passphrase.make

    def noted(*given: Any, **more: Any) -> Any:
        made = make(*given, **more)
        words.append(made.text)
        return made

    # The first export of a server finds a ledger without its salt, which no other does.
    assert run(module, arguments(world, count)).result["changed"]
    places = reached(module, arguments(world, count))
    # What is noted, once the places are known: of every passphrase that any of the runs made.
    monkeypatch.setattr(export_passphrase, "make", noted)
    after = next(n for n, place in enumerate(places) if "export_passphrase" in place)
    told: list[Outcome] = []
    kinds = itertools.cycle(DEATHS.items())
    mine = [place for place in places[after:] if not place.endswith(":make")]
    for place in mine[:: -(-len(mine) // PLACES)]:
        kind, death = next(kinds)
        outcome = crash(module, arguments(world, count), place, death)
        assert outcome.result.get("failed") is True, f"{kind} in {place}: {outcome.text[-500:]}"
        told.append(outcome)
    told.append(run(module, arguments(world, count)))
    assert told[-1].result["changed"], told[-1].text
    assert words
    for word in words:
        scanner.add_text("passphrase", word)
    found = [one for outcome in told for one in scanner.scan_text(outcome.text)]
    found += scanner.scan_tree(world.home)
    assert not found, explain(found)
    recorded = {one["file"] for one in world.exports()}
    left = {path.name for path in world.home.glob("run-*/*")}
    assert left <= recorded
