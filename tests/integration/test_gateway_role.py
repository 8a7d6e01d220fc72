# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles that put CRLs on a host and bring its gateway to the model, as a playbook runs them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import gateway_world as gw
from integration.gateway_world import PROJECT, World
from kept_payloads.session import kept_environment

pytestmark = pytest.mark.integration

PLAYS: list[dict[str, Any]] = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.set_fact": {"crl_cache_fetched": "{{ fetched }}"}}],
    },
    {
        "hosts": "gateways",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "crl_cache", "tasks_from": "install"}},
            {"ansible.builtin.import_role": {"name": "gateway"}},
        ],
    },
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.stop()


def play(world: World, *arguments: str, **changes: Any) -> str:
    """One run over the world's host; what it printed."""
    text = world.authorities.crl("issuing") + world.authorities.crl("root")
    digest = hashlib.sha256(text.encode()).hexdigest()
    fetched = {"trust": "dip-nonprod", "complete": True, "pem": text, "sha256": digest}
    places = world.places()
    values = {
        **world.inventory(),
        "gateways": world.gateways(),
        "release_root": places["release_root"],
        "crl_cache_root": places["crl_cache_root"],
        "gateway_root": places["gateway_root"],
        "gateway_base_dir": places["base_dir"],
        "gateway_service": "daemon",
        "gateway_programs": {"nginx": gw.program()},
        "release_result": {"releases": [world.release]},
        "fetched": {"sets": [fetched]},
        **changes,
    }
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"gateways": {"hosts": {"gw1": host}}}
    (world.base / "hosts.yml").write_text(json.dumps(inventory))
    (world.base / "values.json").write_text(json.dumps(values))
    (world.base / "play.yml").write_text(yaml.safe_dump(PLAYS))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(world.base / "hosts.yml"), "-e", f"@{world.base / 'values.json'}"),
            *arguments,
            str(world.base / "play.yml"),
        ],
        env={
            **kept_environment("PATH", "HOME"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_check_mode_tells_the_truth_on_a_virgin_host_and_the_second_run_changes_nothing(
    world: World,
) -> None:
    shutil.rmtree(world.base / "crl")
    said = play(world, "--check", "--diff")
    assert "changed=2" in said, said
    assert "ssl_verify_client on;" in said
    assert not world.root.exists()
    assert not (world.base / "crl").exists()
    assert "changed=2" in play(world)
    assert world.get(None).status == 403
    # The template as Ansible renders it is the template as the other tests render it.
    deployed = (world.root / "nginx.conf").read_text()
    assert deployed == gw.render(world.model())
    assert "changed=0" in play(world, "--diff")


def test_a_gateway_without_its_certificate_is_left_alone_and_says_what_it_waits_for(
    world: World,
) -> None:
    output = play(world, release_result={"releases": []})
    assert "waits for an accepted certificate dip-nonprod" in output
    assert not world.root.exists()
