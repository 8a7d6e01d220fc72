# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/crl_grace.yml on a host: a grace takes effect at once and has its line in the trail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pki import trail_file
from unit.guarded_host import DAY, HOUR, TRUST, fresh

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]


def test_a_grace_takes_effect_at_once_and_has_its_line_in_the_trail(tmp_path: Path) -> None:
    host = fresh(tmp_path / "host")
    host.confirm(ago=DAY + HOUR)
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    of_host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "crl_cache_root": host.root,
    }
    (inventory / "hosts.yml").write_text(json.dumps({"gateways": {"hosts": {"gw1": of_host}}}))
    words = {"trust": TRUST, "hours": 4, "by": "Ada Admin", "reason": "the CA moves its CRLs"}
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "--diff"),
            *("-i", str(inventory / "hosts.yml"), "-l", "gw1", "-e", json.dumps(words)),
            str(PROJECT / "playbooks/crl_grace.yml"),
        ],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{TRUST}: a grace until " in done.stdout
    assert "changed=1" in done.stdout
    assert host.in_force() == {"ingress": "current", "egress": "current"}
    told = trail_file.read(inventory / ".trail")
    assert told is not None
    (line,) = told.lines
    assert {name: line[name] for name in ("event", "by", "reason", "host")} == {
        "event": "CRL grace granted",
        "by": "Ada Admin",
        "reason": "the CA moves its CRLs",
        "host": "gw1",
    }
    assert [*line["artefacts"]] == [f"grace of {TRUST}"]
