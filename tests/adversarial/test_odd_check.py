# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever somebody commits to an inventory, the check ends with a verdict or with a sentence."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import check_run, collecting, policy_files, policy_lint
from pki.errors import PkiError
from pki.reports import console, junit, markdown, result, sarif
from unit import clean_inventory as clean
from unit.controller_world import NAME, World, policies

INVENTORY = Path("inventories/nonprod")
FILES = (
    "group_vars/all/organisations.yml",
    "group_vars/all/certificates.yml",
    "group_vars/all/trust.yml",
    "evidence.yml",
    "waivers.yml",
    f"certificates/{NAME}/1/request.yml",
)
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 1.5, float("nan"), "", "x" * 3000, [], {}, ["a", 1], {"a": None},
    "\x00", "é\u202e", "../../etc/passwd", "2026-13-99", "{{ x }}", "FILL-IN",
)  # fmt: skip
MOST = 60  # variants of one file


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = clean.world(tmp_path)
    clean.write_reply(made)
    monkeypatch.chdir(tmp_path)

    def loaded(directory: Any, names: Any, *_: Any) -> Any:
        """Policies compiled once; a name there is no policy of is the same error."""
        unknown = sorted(set(names) - set(policies()))
        if unknown:
            raise PkiError(f"there is no policy called {unknown[0]}", rule="POLICY-UNKNOWN")
        return {name: policies()[name] for name in names}

    monkeypatch.setattr(policy_files, "load_policies", loaded)
    monkeypatch.setattr(policy_lint, "lint", lambda *_: ())
    return made


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def variants(value: Any) -> Iterator[Any]:
    odd = itertools.cycle(ODD)
    count = len(list(places(value)))
    for index in [*range(count)] * 2:
        changed = copy.deepcopy(value)
        container, key = list(places(changed))[index]
        container[key] = next(odd)
        yield changed


def checked() -> str:
    """How a check of the inventory ends: a status, or an error's rule."""
    try:
        scene = check_run.scene(INVENTORY, clean.POLICIES, clean.NOW)
        found = check_run.judge(
            collecting.collect(scene),
            clean.POLICIES,
            policies=scene.inputs.policies,
            inventory=INVENTORY,
            now=clean.NOW,
        )
    except PkiError as exc:
        return exc.rule
    for report in (console, junit, markdown, result, sarif):
        assert report.render(found)
    broken = [fault for fault in found.faults if fault["rule"] == "FACTS-COLLECTOR"]
    assert not broken
    return found.status.value


@pytest.mark.parametrize("name", FILES)
def test_no_odd_value_makes_the_check_fall_over(world: World, name: str) -> None:
    assert checked() == "clean"
    file = INVENTORY / name
    ended: Counter[str] = Counter()
    for value in itertools.islice(variants(yaml.safe_load(file.read_text())), MOST):
        file.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
        ended[checked()] += 1
    assert sum(count for status, count in ended.items() if status != "clean") > len(ODD) / 2
