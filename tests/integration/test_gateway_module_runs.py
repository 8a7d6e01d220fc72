# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs on a host: as many modules for twenty certificates as for one.

``playbooks/deploy.yml`` as it is, with releases that are on the host already. Every run of a module
is one more connection to the host, and up to a second.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import gateway_world as gw
from integration.gateway_world import PROJECT, World
from integration.own_ports import free_ports
from kept_payloads.session import kept_environment

pytestmark = pytest.mark.integration

#: On each host and in this order. One more each where there is something accepted to look for
#: (pki_release) and an API key to send (pki_api_key).
MODULES = ["pki_crl_install", "pki_gateway_info", "pki_gateway"]
PLAYS: list[dict[str, Any]] = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.set_fact": {
                    "crl_cache_fetched": "{{ fetched }}",
                    "certificates_plan": {"actions": [], "compromised": {}},
                }
            }
        ],
    },
    {"ansible.builtin.import_playbook": str(PROJECT / "playbooks/deploy.yml")},
]


class Many(World):
    """A host whose gateways have so many listeners in all, each with a certificate of its own."""

    def __init__(self, base: Path, listeners: int, gateways: int) -> None:
        super().__init__(base)
        self.names = [f"dip-{at}" for at in range(listeners)]
        self.ports = free_ports(listeners)
        self.split = gateways
        self.staged = [
            self.stage_release(1, self.authorities.leaf(gw.OURS, "ours"), entry=name)
            for name in self.names
        ]

    def inventory(self) -> dict[str, Any]:
        values = super().inventory()
        (one,) = values["certificates"]
        values["certificates"] = [
            {**one, "name": name, "domain": f"{name}.example"} for name in self.names
        ]
        return values

    def gateways(self) -> list[dict[str, Any]]:
        (one,) = super().gateways()
        ((ingress,), (egress,)) = one["ingress"], one["egress"]
        made = [
            {**one, "name": f"gw-{at}", "ingress": [], "egress": []} for at in range(self.split)
        ]
        for at, (name, port) in enumerate(zip(self.names, self.ports, strict=True)):
            gateway = made[at % self.split]
            side, listener = ("egress", egress) if at % 3 else ("ingress", ingress)
            gateway[side].append(
                {**listener, "name": name, "certificate": name, "listen": f"127.0.0.1:{port}"}
            )
        return made

    def play(self, *arguments: str) -> tuple[str, list[str]]:
        """One run: what it printed, and the modules that it ran on the host."""
        text = self.authorities.crl("issuing") + self.authorities.crl("root")
        digest = hashlib.sha256(text.encode()).hexdigest()
        places = self.places()
        values = {
            **self.inventory(),
            "gateways": self.gateways(),
            **{name: places[name] for name in ("release_root", "crl_cache_root", "gateway_root")},
            "gateway_base_dir": places["base_dir"],
            "release_base_dir": places["base_dir"],
            "certificates_dir": str(self.base / "certificates"),
            "gateway_service": "daemon",
            "gateway_programs": {"nginx": gw.program()},
            "gateway_releases": self.staged,
            "fetched": {
                "sets": [{"trust": "dip-nonprod", "complete": True, "pem": text, "sha256": digest}]
            },
        }
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        runs = self.base / "runs"
        runs.write_text("")
        for name, content in (
            ("hosts.yml", json.dumps({"gateways": {"hosts": {"gw1": here}}})),
            ("values.json", json.dumps(values)),
            ("play.yml", yaml.safe_dump(PLAYS)),
        ):
            (self.base / name).write_text(content)
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base / "hosts.yml"), "-e", f"@{self.base / 'values.json'}"),
                *arguments,
                str(self.base / "play.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "module_runs",
                "MODULE_RUNS": str(runs),
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        lines = [line.split() for line in runs.read_text().splitlines()]
        return done.stdout, [module for host, module in lines if host == "gw1"]

    def stop(self) -> None:
        for at in range(self.split):
            daemon = gw.Daemon(
                self.product.adapter, self.product.program, f"{self.base}/gateway/gw-{at}"
            )
            daemon.stop()


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[tuple[Many, Many]]:
    """One certificate in one gateway; and twenty in two."""
    made = []
    for listeners, gateways in ((1, 1), (20, 2)):
        base = tmp_path / str(listeners)
        base.mkdir()
        made.append(Many(base, listeners, gateways))
    try:
        yield made[0], made[1]
    finally:
        for world in made:
            world.stop()


def test_a_host_runs_as_many_modules_for_twenty_certificates_as_for_one(
    worlds: tuple[Many, Many],
) -> None:
    for world in worlds:
        said, modules = world.play()
        # The gateways, and the facts of their CRL set, which lay there without any.
        assert re.search(r"gw1 +: .*changed=2 .*rescued=0 ", said), said
        assert modules == MODULES
        for name in world.names:
            assert (world.base / "tls" / name / "current").is_symlink()
    again, modules = worlds[1].play()
    assert re.search(r"gw1 +: .*changed=0 .*rescued=0 ", again), again
    assert modules == MODULES
