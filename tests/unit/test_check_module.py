# SPDX-License-Identifier: GPL-3.0-or-later
"""The module of the check judges saved facts as the program does, and leaves failing to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki be found
from pki import check, check_run, collecting, documents
from unit import clean_inventory as clean
from unit.controller_world import World, load_file, tree, whole
from unit.pki_factory import NOW

MODULE = load_file("library/pki_check.py")


class Module:
    """What a handler uses of an Ansible module."""

    def __init__(self, params: dict[str, Any], check_mode: bool = False) -> None:
        self.params = params
        self.check_mode = check_mode


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = clean.world(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


def facts_of(world: World) -> dict[str, Any]:
    scene = check_run.scene(Path("inventories/nonprod"), clean.POLICIES, NOW)
    facts: dict[str, Any] = json.loads(json.dumps(documents.to_json(collecting.collect(scene))))
    return facts


def run(check_mode: bool = False, **params: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in MODULE.SPEC.items()}
    given = {
        **defaults,
        "policy_dir": str(clean.POLICIES),
        "base_dir": "inventories/nonprod",
        "report_dir": "reports",
        **params,
    }
    result: dict[str, Any] = MODULE.handler(Module(given, check_mode))
    assert json.loads(json.dumps(result)) == result
    assert result["changed"] is False
    return result


def test_facts_in_order_are_clean_and_reported(world: World) -> None:
    result = run(facts=facts_of(world))
    assert (result["status"], result["findings"], result["faults"]) == ("clean", 0, [])
    assert result["counts"]["passed"] > 40
    assert result["text"].splitlines()[-1].startswith("clean: ")
    assert len(tree(Path("reports"))) == 5


def test_findings_do_not_fail_it(world: World) -> None:
    world.organisation["roster"] = clean.roster()[1:]
    clean.inventory_on_disk.write(world)
    result = run(facts=facts_of(world))
    assert result["status"] == "findings"
    assert result["findings"] >= 1
    assert "failed  DIP-5.2-FIRST-ADMIN" in result["text"]


def test_missing_facts_are_a_fault_that_says_which(world: World) -> None:
    facts = facts_of(world)
    facts["documents"] = facts["documents"][1:]
    result = run(facts=facts)
    assert result["status"] == "fault"
    assert result["faults"][0]["rule"] == "FACTS"
    assert "reports/result.sarif" in {str(path) for path in Path().rglob("result.*")}


def test_a_file_of_facts_is_as_good_and_says_the_same(world: World) -> None:
    Path("facts.json").write_text(json.dumps(facts_of(world)))
    assert run(facts_file="facts.json")["text"] == run(facts=facts_of(world))["text"]
    assert check.main(["--facts", "facts.json", "--inventory", "inventories/nonprod"]) in (0, 1)


def test_check_mode_judges_and_writes_nothing(world: World) -> None:
    result = run(check_mode=True, facts=facts_of(world))
    assert result["status"] == "clean"
    assert not Path("reports").exists()


def test_facts_that_are_none_fail_it(world: World) -> None:
    with pytest.raises(Exception) as caught:
        run(facts={"schema": 1})
    assert whole(caught.value).rule == "FACTS-FILE"
