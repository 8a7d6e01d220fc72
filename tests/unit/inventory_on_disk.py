# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's small world as a person commits it: YAML files, one a variable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from unit.controller_world import World


def variables(world: World) -> dict[str, Any]:
    """What the files of the inventory say."""
    params = world.params()
    return {name: params[name] for name in ("organisations", "certificates", "trust")}


def write(world: World, **changes: Any) -> Path:
    """The inventory's files; ``changes`` replace variables. Returns the inventory."""
    folder = world.base / "group_vars" / "all"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {**variables(world), **changes}.items():
        copied = json.loads(json.dumps(value))  # what is the same object would become an alias
        text = yaml.safe_dump({name: copied}, sort_keys=False)
        (folder / f"{name}.yml").write_text(
            f"# SPDX-License-Identifier: GPL-3.0-or-later\n---\n{text}"
        )
    return world.base


def variable_file(world: World, name: str) -> Path:
    return world.base / "group_vars" / "all" / f"{name}.yml"
