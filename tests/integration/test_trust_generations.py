# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA is retired under a running gateway: not while a peer of it is live, and then for good."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import gateway_world as gw
from integration.gateway_world import PROJECT, World
from kept_payloads.session import kept_environment
from pki_host import transaction

pytestmark = pytest.mark.integration

YESTERDAY = (gw.NOW - timedelta(days=1)).date().isoformat()
PLAYS: list[dict[str, Any]] = [
    {"ansible.builtin.import_playbook": str(PROJECT / "playbooks/generations.yml")},
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "crl_cache", "tasks_from": "fetch"}},
            {"ansible.builtin.debug": {"msg": "{{ crl_cache_fetched.notices }}"}},
        ],
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


class TwoGenerations(World):
    """The issuing CA and its successor under one root; we have a certificate of the successor."""

    retire_after = ""

    def inventory(self) -> dict[str, Any]:
        known = super().inventory()
        issuers = known["trust"]["dip-nonprod"]["issuers"]
        (self.base / "ca/next.pem").write_text(gw.pem(self.authorities.sibling))
        digest = gw._sha256(self.authorities.sibling)
        issuers.append({"file": "ca/next.pem", "sha256": digest, "crl_urls": []})
        if self.retire_after:
            issuers[0]["retire_after"] = self.retire_after
        return known

    def gateways(self) -> list[dict[str, Any]]:
        return [{**entry, "egress": []} for entry in super().gateways()]

    def put_crls(self) -> None:
        """Every CA's CRL, as a person puts them beside the inventory."""
        (self.base / "crls").mkdir()
        texts = {one: self.authorities.crl(one) for one in ("root", "issuing", "sibling")}
        for issuer, text in texts.items():
            (self.base / f"crls/{issuer}.pem").write_text(text)
        self.crl_set = self.stage_crl_text("".join(texts.values()))

    @property
    def log(self) -> Path:
        return self.root / "log/access.log"

    def answer(self, by: str) -> int:
        leaf = self.authorities.leaf(gw.PEER, "peer", by=by)
        return self.get(self.client(leaf, "peer", by=by)).status


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TwoGenerations]:
    world = TwoGenerations(tmp_path)
    ours = world.authorities.leaf(gw.OURS, "ours", by="sibling")
    world.release = world.stage_release(1, ours)
    fullchain = Path(world.release["link"]["path"]).parent / world.release["link"]["target"]
    (fullchain / "fullchain.pem").write_text(gw.pem(ours) + gw.pem(world.authorities.sibling))
    world.put_crls()
    try:
        yield world
    finally:
        world.stop()


def play(world: World, *arguments: str) -> str:
    """What a run does about trust, CRLs and gateways; what it printed."""
    places = world.places()
    values = {
        **world.inventory(),
        "gateways": world.gateways(),
        **{name: places[name] for name in ("release_root", "crl_cache_root", "gateway_root")},
        "gateway_base_dir": places["base_dir"],
        "gateway_service": "daemon",
        "gateway_programs": {"nginx": gw.program()},
        "release_result": {"releases": [world.release]},
    }
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"gateways": {"hosts": {"gw1": host}}, "here": {"hosts": {"localhost": host}}}
    for name, text in {
        "hosts.yml": json.dumps(hosts),
        "values.json": json.dumps(values),
        "play.yml": yaml.safe_dump(PLAYS),
    }.items():
        (world.base / name).write_text(text)
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
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_live_peer_keeps_its_ca_and_a_silent_one_is_refused_from_then_on(
    world: TwoGenerations,
) -> None:
    with gw.echo_app(world.app):
        transaction.run(world.desired(), check=False)
        assert (world.answer("issuing"), world.answer("sibling")) == (200, 200)

        world.retire_after = YESTERDAY
        said = play(world)
        assert "issuing stays trusted after" in said
        assert f"CN={gw.PEER}" in said
        assert "move retire_after behind it" in said
        assert (world.answer("issuing"), world.answer("sibling")) == (200, 200)

        # Two months without it: what is left in the log is of the successor.
        lines = [one for one in world.log.read_text().splitlines() if "CN=issuing" not in one]
        world.log.write_text("".join(f"{one}\n" for one in lines))
        said = play(world)
        assert "stays trusted" not in said
        assert (world.answer("issuing"), world.answer("sibling")) == (403, 200)
        (bundle,) = (world.root / "trust").glob("*.pem")
        assert bundle.read_text().count("BEGIN CERTIFICATE") == 2
        crls = (world.base / "crl/dip-nonprod/current/crl.pem").read_text()
        assert crls.count("BEGIN X509 CRL") == 2
        assert "changed=0" in play(world).partition("gw1")[2]
