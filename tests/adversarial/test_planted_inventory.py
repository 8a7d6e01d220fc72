# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may commit a reply may not speak for the inventory.

Ansible reads an inventory directory to its last leaf: a file that looks like an inventory sets
variables for every host, and one that can be executed is executed, on the controller, with
the pipeline's credentials at hand.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.lab_imports import REPOSITORY


def variables(inventory: Path) -> tuple[dict[str, Any], str]:
    """What ansible-inventory says of the gateway host, and all it wrote to standard error."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-inventory", "-i", inventory, "--host", "gw1"],
        env={**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


@pytest.mark.parametrize(
    "folder", ["certificates/dip-nonprod/1", "trust", "policy", "policy/cases/mhhs-dip"]
)
def test_a_file_beside_the_inventory_is_neither_run_nor_read_as_inventory(
    tmp_path: Path, folder: str
) -> None:
    inventory, witness = tmp_path / "inventory", tmp_path / "was-run"
    shutil.copytree(REPOSITORY / "inventories/lab", inventory)
    planted = inventory / folder
    planted.mkdir(parents=True)
    program = planted / "reply.cer"
    program.write_text(f"#!/bin/sh\ntouch '{witness}'\necho '{{}}'\n")
    program.chmod(0o755)
    (planted / "reply.yml").write_text("all: {vars: {ansible_connection: local, planted: true}}\n")
    (planted / "reply.ini").write_text("[gateways:vars]\nplanted=true\n")
    found, said = variables(inventory)
    assert "planted" not in found
    assert not witness.exists()
    assert not said, "and nobody is told of files that are none of the inventory's business"


@pytest.mark.parametrize("name", ["evidence.yml", "evidence.yaml", "waivers.yml", "waivers.yaml"])
def test_what_people_vouch_for_or_waive_cannot_set_a_variable(tmp_path: Path, name: str) -> None:
    inventory, witness = tmp_path / "inventory", tmp_path / "was-run"
    shutil.copytree(REPOSITORY / "inventories/lab", inventory)
    planted = inventory / name
    planted.write_text("all: {vars: {ansible_connection: local, planted: true}}\n")
    assert "planted" not in variables(inventory)[0]
    planted.write_text(f"#!/bin/sh\ntouch '{witness}'\necho '{{}}'\n")
    planted.chmod(0o755)
    _, said = variables(inventory)
    assert not witness.exists()
    assert not said


def test_a_name_that_only_looks_like_one_of_those_is_still_read(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    shutil.copytree(REPOSITORY / "inventories/lab", inventory)
    (inventory / "evidence-yml").write_text("[gateways:vars]\nadded=yes\n")
    assert "added" in variables(inventory)[0]


def test_what_belongs_to_the_inventory_is_still_read(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    shutil.copytree(REPOSITORY / "inventories/lab", inventory)
    (inventory / "more.yml").write_text("gateways: {vars: {added: true}}\n")
    assert variables(inventory)[0]["added"] is True
