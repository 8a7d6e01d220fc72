# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of ansible-playbook whose changes a pretended module tells of, for tests of the trail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kept_payloads.session import kept_environment
from pki import trail_file

PROJECT = Path(__file__).resolve().parents[2]
#: Returns what it is given, and fails after that if it is told to.
MODULE = """
from ansible.module_utils.basic import AnsibleModule

def main():
    options = {"trail": {"type": "raw"}, "fails": {"type": "bool", "default": False}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    told = {"changed": True, "trail": module.params["trail"]}
    if module.params["fails"]:
        module.fail_json(msg="after the change", **told)
    module.exit_json(**told)

if __name__ == "__main__":
    main()
"""


@dataclass
class Runs:
    """A directory with an inventory of two hosts, the module, and a trail."""

    base: Path

    def __post_init__(self) -> None:
        (self.base / "library").mkdir()
        (self.base / "library/pki_pretend.py").write_text(MODULE)
        (self.base / "inventory").mkdir()
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {
            "ungrouped": {"hosts": {"localhost": local}},
            "gateways": {"hosts": {"gw1": local, "gw2": local}},
        }
        (self.base / "inventory/hosts.yml").write_text(json.dumps(hosts))

    @property
    def trail(self) -> Path:
        return self.base / "inventory/.trail"

    def lines(self) -> list[dict[str, Any]]:
        """What the trail's lines say; it must be without fault."""
        told = trail_file.read(self.trail)
        if told is None:
            return []
        assert told.faults == ()
        return [dict(one) for one in told.lines]

    def play(
        self, *tasks: dict[str, Any], hosts: str = "gateways", opens: bool = True,
        arguments: tuple[str, ...] = (), expect: int | None = 0, **environment: str,
    ) -> str:  # fmt: skip
        """Run tasks on hosts, after the trail was opened and before it is asked for losses."""
        plays: list[dict[str, Any]] = [
            {"name": "Change", "hosts": hosts, "gather_facts": False, "tasks": list(tasks)}
        ]
        if opens:
            plays.insert(0, {"import_playbook": str(PROJECT / "playbooks/trail.yml")})
            plays.append({"import_playbook": str(PROJECT / "playbooks/trail_written.yml")})
        playbook = self.base / "change.yml"
        playbook.write_text(json.dumps(plays))
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                str(self.base / "inventory"),
                str(playbook),
                *arguments,
            ],
            cwd=PROJECT,
            env={
                **kept,
                **kept_environment(),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LIBRARY": f"{PROJECT / 'library'}:{self.base / 'library'}",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_INJECT_FACT_VARS": "false",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert expect is None or done.returncode == expect, done.stdout[-4000:]
        return done.stdout


def told(trail: Any, **options: Any) -> dict[str, Any]:
    """A task of the pretended module."""
    return {"name": "Pretend", "pki_pretend": {"trail": trail, **options}}
