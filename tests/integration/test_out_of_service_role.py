# SPDX-License-Identifier: GPL-3.0-or-later
"""The play that every run has on gateway hosts, on a night with a compromised key.

``playbooks/deploy.yml`` as it is, with a plan as ``pki_plan`` would have made it, on a real host
with a real gateway.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import gateway_world as gw
from integration.canary import Scanner
from integration.gateway_world import PROJECT
from integration.test_gateway_out_of_service import (
    OTHER,
    TwoCertificates,
    asking,
    is_open,
    nothing_listens,
)
from kept_payloads.session import kept_environment
from pki_host import openssl

pytestmark = pytest.mark.integration

TOLD = {"crl_cache_fetched": "{{ fetched }}", "certificates_plan": "{{ told }}"}
PLAYS: list[dict[str, Any]] = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.set_fact": TOLD}],
    },
    {"ansible.builtin.import_playbook": str(PROJECT / "playbooks/deploy.yml")},
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.debug": {
                    "msg": "failures: {{ hostvars.values() "
                    "| map(attribute='release_out_of_service_failure', default='') | select "
                    "+ (hostvars.values() | map(attribute='deployment_failure', default='') "
                    "| select) }}"
                }
            }
        ],
    },
]


@dataclass(frozen=True)
class Run:
    """What one run printed, and how it ended."""

    code: int
    output: str

    @property
    def words(self) -> str:
        """The output on one line: Ansible wraps what modules say."""
        return " ".join(self.output.split())

    @property
    def changed(self) -> int:
        return sum(int(found) for found in re.findall(r"changed=(\d+)", self.output))


class Night(TwoCertificates):
    """The host as playbooks see it."""

    def spki(self, certificate: Any) -> str:
        public = openssl.public_key_of_certificate(gw.pem(certificate).encode())
        return openssl.spki_sha256(public)

    def play(self, *arguments: str, hosts: dict[str, Any] | None = None, **plan: Any) -> Run:
        text = self.authorities.crl("issuing") + self.authorities.crl("root")
        digest = hashlib.sha256(text.encode()).hexdigest()
        fetched = {"trust": "dip-nonprod", "complete": True, "pem": text, "sha256": digest}
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
            "gateway_releases": self.releases(),
            "fetched": {"sets": [fetched]},
            "told": {"actions": [], "compromised": {}, **plan},
        }
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"gateways": {"hosts": {"gw1": here, **(hosts or {})}}}
        for name, content in (
            ("hosts.yml", json.dumps(inventory)),
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
        return Run(done.returncode, done.stdout)

    def alarm(self) -> dict[str, Any]:
        """What the plan says once the key is in a ledger."""
        self.with_release = False
        keys = [{"certificate": "dip-nonprod", "spki_sha256": [self.spki(self.certificate)]}]
        return {"compromised_keys": keys, "out_of_service": ["dip-nonprod"]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Night]:
    world = Night(tmp_path)
    try:
        run = world.play()
        assert run.code == 0, run.output
        yield world
    finally:
        world.stop()


def state(world: Night) -> list[tuple[str, int]]:
    found = [p for name in ("tls", "gateway", "crl") for p in (world.base / name).rglob("*")]
    return sorted((str(p), p.lstat().st_mtime_ns) for p in found if "log" not in p.parts)


def test_one_run_takes_the_key_out_of_service_and_the_next_has_nothing_to_do(world: Night) -> None:
    told = world.alarm()
    before = state(world)
    said = world.play("--check", "--diff", **told)
    assert said.code == 0, said.output
    assert said.changed >= 3, said.output
    assert f"key {world.spki(world.certificate)} would be listed" in said.words, said.output
    assert "would be removed" in said.words
    assert state(world) == before

    client = world.client(world.authorities.leaf(gw.PEER, "peer"), "peer")
    with gw.echo_app(world.app), asking(world, client) as answers:
        run = world.play("--diff", **told)
    assert run.code == 0, run.output
    assert set(answers) == {200}
    assert "dip: webhook is out of service" in run.words
    assert "the private key of releases/v1-" in run.words
    assert "failures: []" in run.words
    assert [is_open(port) for port in (world.ingress, world.egress, world.second)] == [
        False,
        False,
        True,
    ]
    assert world.keys() == [OTHER]

    again = world.play("--diff", **told)
    assert (again.code, again.changed) == (0, 0), again.output


def test_the_replacement_brings_the_listeners_back(world: Night) -> None:
    told = world.alarm()
    assert world.play(**told).code == 0
    world.renew()
    run = world.play(**{**told, "out_of_service": []})
    assert run.code == 0, run.output
    assert world.get(None).leaf == world.release["certificate_sha256"]
    assert is_open(world.egress)


def test_a_configuration_that_cannot_be_made_stops_the_gateway_and_the_key_still_goes(
    world: Night,
) -> None:
    told = world.alarm()
    (world.base / "crl/dip-nonprod/current").unlink()
    (world.base / "crl/dip-nonprod/current").mkdir()  # the change fails at this link
    run = world.play(**told)
    assert "the gateway is stopped" in run.words
    assert "failures: [" in run.words
    assert "failures: []" not in run.words
    nothing_listens(world)
    assert world.keys() == [OTHER]


def test_a_host_that_does_not_answer_is_named_and_the_others_are_done(world: Night) -> None:
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F none"}
    run = world.play(hosts={"gw2": gone}, **world.alarm())
    assert "gw2: the host does not answer; a compromised key may still be in service" in run.words
    assert not is_open(world.ingress)
    assert is_open(world.second)
    assert world.keys() == [OTHER]


def test_no_output_of_any_run_shows_a_key(world: Night) -> None:
    scanner = Scanner()
    for label in ("ours", "other"):
        scanner.add_key(label, gw.key_pem(label))
    told = world.alarm()
    for arguments in (("--check", "--diff"), ("--diff",), ("--diff",)):
        run = world.play("-vvvv", *arguments, **told)
        assert run.code == 0, run.output[-3000:]
        assert scanner.scan_text(run.output) == ()
    (world.base / "tls/compromised.json").write_text("damaged")
    world.stage_release(1, world.certificate)
    (world.base / "tls/dip-nonprod").chmod(0o777)
    failing = world.play("-vvvv", "--diff", **told)
    assert "FILE-UNSAFE" in failing.words
    assert scanner.scan_text(failing.output) == ()
