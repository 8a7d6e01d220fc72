# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ``crl_cache`` on a host: what one run leaves there for the time until the next.

Without a service manager, as an ordinary user has it; units of systemd are the scenarios' business.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import gateway_world as gw
from pki_host import crl_watch
from unit.test_host_crl_watch import WATCH

pytestmark = pytest.mark.integration

TRUST = "dip-nonprod"
STEPS = ("first", "again", "unsaid", "edited", "off", "off again")


def told(authorities: gw.Authorities) -> dict[str, Any]:
    """What the controller says to hosts in the group of the gateways; addresses it knows none."""
    watched = WATCH["trusts"][TRUST]
    limits = {
        name: WATCH[name]
        for name in (
            "fetch",
            "alarm_percents",
            "clock_tolerance_seconds",
            "refresh",
            "guard",
            "ocsp_period_seconds",
            "grace_longest_seconds",
        )
    }
    cas = ((authorities.issuing, "issuing", "user"), (authorities.root, "root", "ca"))
    trust = {
        "authorities": [
            {
                "name": name,
                "sha256": gw._sha256(certificate),
                "pem": gw.pem(certificate),
                "urls": [],
                "needs": needs,
            }
            for certificate, name, needs in cas
        ],
        "known": [],
        "longest_validity_days": watched["longest_validity_days"],
        "max_age_seconds": 86400,
        "on_stale": {"ingress": "refuse", "egress": "refuse"},
        "limits": limits,
    }
    use = {"hosts": "gateways", "trust": TRUST, "direction": "ingress", "max_age_seconds": 82740}
    return {"problem": {}, "trusts": {TRUST: trust}, "uses": [use]}


def plays(base: Path, fetched: dict[str, Any]) -> list[dict[str, Any]]:
    """The role several times in one run, as starting Ansible is what takes long."""
    watch = str(base / "crl" / "watch.json")
    edit = {"ansible.builtin.copy": {"dest": watch, "content": "{}", "mode": "0644"}}
    variables: dict[str, dict[str, Any]] = {
        "off": {"crl_cache_watch": False},
        "off again": {"crl_cache_watch": False},
    }
    tasks: list[dict[str, Any]] = []
    for step in STEPS:
        said = {**fetched, "watch": {}} if step == "unsaid" else fetched
        if step == "edited":
            tasks.append(edit)
        tasks += [
            {
                "ansible.builtin.set_fact": {"crl_cache_fetched": said},
                "delegate_to": "localhost",
                "delegate_facts": True,
            },
            {
                "ansible.builtin.include_role": {"name": "crl_cache", "tasks_from": "install"},
                "vars": variables.get(step, {}),
            },
            {"ansible.builtin.set_fact": {_fact(step): "{{ crl_cache_install_result }}"}},
        ]
        copy = {"src": watch, "dest": f"{base}/{step}.json", "mode": "0644"}
        if not step.startswith("off"):
            tasks.append({"ansible.builtin.copy": {**copy, "remote_src": True}})
    results = {step: f"{{{{ {_fact(step)} }}}}" for step in STEPS}
    tasks.append(
        {
            "ansible.builtin.copy": {
                "dest": f"{base}/results.json",
                "content": "{{ results | to_json }}",
                "mode": "0644",
            },
            "vars": {"results": results},
        }
    )
    return [{"hosts": "gateways", "gather_facts": False, "tasks": tasks}]


def _fact(step: str) -> str:
    return f"said_{step.replace(' ', '_')}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host after the whole run: what each step said is in ``results.json``."""
    base = tmp_path_factory.mktemp("crl-role")
    authorities = gw.Authorities()
    text = authorities.crl("issuing") + authorities.crl("root")
    at = datetime.now(UTC) - timedelta(minutes=1)
    fetched = {
        "sets": [
            {
                "trust": TRUST,
                "complete": True,
                "pem": text,
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "fetched_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            }
        ],
        "watch": told(authorities),
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    values = {
        "crl_cache_root": str(base / "crl"),
        "crl_cache_gateway_root": str(base / "gateway"),
        "gateway_service": "daemon",
    }
    (base / "runs").write_text("")
    for name, content in (
        ("hosts.yml", json.dumps({"gateways": {"hosts": {"gw1": here}}})),
        ("values.json", json.dumps(values)),
        ("play.yml", yaml.safe_dump(plays(base, fetched), sort_keys=False)),
    ):
        (base / name).write_text(content)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(base / "hosts.yml"), "-e", f"@{base / 'values.json'}"),
            str(base / "play.yml"),
        ],
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "ANSIBLE_CONFIG": str(gw.PROJECT / "ansible.cfg"),
            # Not the audit trail's: nothing here opens one.
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "module_runs",
            "MODULE_RUNS": str(base / "runs"),
            "LC_ALL": "C.UTF-8",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert (base / "results.json").exists(), done.stdout
    return base


def said(world: Path, step: str) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = json.loads((world / "results.json").read_text())
    return results[step]


def test_the_first_run_says_what_to_watch_and_brings_a_set(world: Path) -> None:
    assert said(world, "first")["changed"] is True
    watch = crl_watch.of(json.loads((world / "first.json").read_text()))
    assert list(watch.trusts[TRUST].directions) == ["ingress"]
    assert watch.gateway_root == str(world / "gateway")
    assert watch.metrics_dir == str(world / "crl" / "metrics")
    (one,) = said(world, "first")["sets"]
    assert (world / "crl" / TRUST / one["link"]["target"] / "crl.pem").is_file()


def test_a_second_run_finds_nothing_to_do(world: Path) -> None:
    assert said(world, "again")["changed"] is False
    assert (world / "again.json").read_bytes() == (world / "first.json").read_bytes()


def test_a_run_that_could_not_say_leaves_the_host_as_it_is(world: Path) -> None:
    assert said(world, "unsaid")["changed"] is False
    assert (world / "unsaid.json").read_bytes() == (world / "first.json").read_bytes()


def test_an_edit_is_put_back(world: Path) -> None:
    assert said(world, "edited")["changed"] is True
    assert (world / "edited.json").read_bytes() == (world / "first.json").read_bytes()


def test_who_wants_no_watch_has_none_and_keeps_the_sets(world: Path) -> None:
    assert said(world, "off")["changed"] is True
    assert said(world, "off again")["changed"] is False
    assert not (world / "crl" / "watch.json").exists()
    assert list((world / "crl" / TRUST / "sets").iterdir())
