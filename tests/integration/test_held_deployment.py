# SPDX-License-Identifier: GPL-3.0-or-later
"""A renewal that waits for its window: plan, acceptance, release and summary on a real OpenBao.

The hosts have no gateway here; what its transaction does, switching the link to the release in
service, is done by hand.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.openbao_server import OpenBao
from integration.release_world import DAY, NOW, PROJECT, Ran, ReleaseWorld
from kept_payloads.session import kept_environment
from pki import keystores, public_state, request_stage
from unit import pki_factory
from unit.controller_world import tree

pytestmark = pytest.mark.integration

HOSTS = ("gw1", "gw2")
REASON = "incident 42, agreed by the duty manager"
FROZEN = {"freeze": [{"from": f"{NOW - DAY:%Y-%m-%d}", "to": f"{NOW + 20 * DAY:%Y-%m-%d}"}]}
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: certificates}
- hosts: gateways
  gather_facts: false
  roles: [release]
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: certificates, tasks_from: summary}
"""


class HeldWorld(ReleaseWorld):
    """Two hosts, and an entry whose renewal may be restricted."""

    renewal: dict[str, Any]

    def __init__(self, base: Path, openbao: OpenBao) -> None:
        self.renewal = {}
        super().__init__(base, openbao)

    def parameters(self) -> dict[str, Any]:
        found = super().parameters()
        found["certificates"][0]["renewal"] = self.renewal
        return found

    def version(self, number: int) -> Path:
        return self.base / "certificates" / self.name / str(number)

    def renew(self) -> None:
        """The second request, and its reply."""
        rules = self.inputs.policies["mhhs-dip"]
        with self.openbao.client("pipeline") as client:
            store = keystores.Stores(client, self.inputs.policies).of(self.certificate)
            record = store.ensure(self.name, 2)
            written = request_stage.build(
                self.certificate, rules, store, record, 2, self.base / "certificates"
            )
        public_state.write(written.directory, written.contents)
        leaf = self.issuing.leaf(
            self.certificate.common_name,
            public=load_der_public_key(record.versions[2].spki_der),
            start=NOW - timedelta(hours=1),
            end=NOW + 398 * DAY,
        )
        reply = pki_factory.pem(leaf) + self.issuing.pem
        public_state.write(self.version(2), {"reply.pem": reply})

    def root_of(self, host: str) -> Path:
        return self.base / f"host-{host}" / self.name

    def releases(self, host: str) -> list[str]:
        """The versions whose releases are on a host."""
        directory = self.root_of(host) / "releases"
        found = sorted(directory.iterdir()) if directory.exists() else []
        return [path.name.split("-")[0] for path in found]

    def switch(self, host: str, version: str) -> None:
        """What the gateway's transaction does once it has tested and reloaded."""
        link = self.root_of(host) / "current"
        link.unlink(missing_ok=True)
        (release,) = (self.root_of(host) / "releases").glob(f"{version}-*")
        link.symlink_to(f"releases/{release.name}")

    def run(self, *arguments: str) -> Ran:
        """Request, accept, release, sum up, as site.yml does."""
        hosts = {
            host: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "release_root": str(self.root_of(host).parent),
            }
            for host in HOSTS
        }
        places = self.parameters()
        values = {
            **{name: value for name, value in places.items() if not name.endswith("_dir")},
            "certificates_dir": places["certificates_dir"],
            "certificates_base_dir": places["base_dir"],
            "certificates_crl_cache_dir": places["crl_cache_dir"],
            "certificates_vault": self.openbao.options("pipeline"),
            "certificates_fetch": False,
            "certificates_status_file": str(self.base / "status.json"),
            "release_base_dir": places["base_dir"],
            "release_crl_cache_dir": places["crl_cache_dir"],
            "release_vault": self.openbao.options("release"),
        }
        (self.base / "hosts.yml").write_text(json.dumps({"gateways": {"hosts": hosts}}))
        (self.base / "values.json").write_text(json.dumps(values))
        (self.base / "play.yml").write_text(PLAY)
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
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            cwd=self.base,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    @property
    def status(self) -> dict[str, Any]:
        (entry,) = json.loads((self.base / "status.json").read_text())["certificates"]
        found: dict[str, Any] = entry
        return found

    @property
    def early(self) -> dict[str, Any] | None:
        path = self.version(2) / "deployed_early.yml"
        return yaml.safe_load(path.read_text()) if path.exists() else None


def of_host(ran: Ran, host: str) -> str:
    """The line of the recap."""
    (line,) = re.findall(rf"^{host} +: .*$", ran.output, re.MULTILINE)
    return str(line)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> HeldWorld:
    """The first version accepted and in service on the first host; the second one's reply here."""
    world = HeldWorld(tmp_path_factory.mktemp("held"), openbao)
    first = world.run()
    assert first.code == 0, first.output
    assert world.releases("gw1") == world.releases("gw2") == ["v1"]
    world.renew()
    return world


@pytest.fixture
def world(shared: HeldWorld) -> HeldWorld:
    """The first version in service on gw1 and nothing on gw2; the second version's reply here."""
    for host in HOSTS:
        (shared.root_of(host) / "current").unlink(missing_ok=True)
        releases = shared.root_of(host) / "releases"
        for path in releases.glob("*" if host == "gw2" else "v2-*"):
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    for name in ("certificate.pem", "chain.pem", "accepted.yml", "deployed_early.yml"):
        (shared.version(2) / name).unlink(missing_ok=True)
    shared.switch("gw1", "v1")
    shared.renewal = FROZEN
    return shared


def test_a_renewal_waits_where_another_is_in_service_and_goes_at_once_where_nothing_is(
    world: HeldWorld,
) -> None:
    before = tree(world.version(1))
    ran = world.run()
    assert ran.code == 0, ran.output
    # Accepted and kept for commit; only the deployment waits.
    assert (world.version(2) / "accepted.yml").exists()
    assert world.releases("gw1") == ["v1"]
    assert "changed=0" in of_host(ran, "gw1")
    assert world.releases("gw2") == ["v2"]
    assert f"{world.name} v2 waits until" in ran.output
    status = world.status
    assert (status["state"], status["reason"]) == ("accepted", "waits_for_window")
    opens = f"{NOW + 21 * DAY:%Y-%m-%d}"
    assert status["waits_for"].startswith(f"the window from {opens} 00:00")
    assert status["held_why"] == "deployments are frozen"
    assert "wait for the window from" in ran.output
    assert world.early is None
    # Nothing of the live version was touched.
    assert tree(world.version(1)) == before

    # What stays in service is healed like any other release, and keeps waiting.
    chain = next((world.root_of("gw1") / "releases").glob("v1-*")) / "chain.pem"
    whole = chain.read_bytes()
    chain.unlink()
    ran = world.run()
    assert ran.code == 0, ran.output
    assert chain.read_bytes() == whole
    assert world.releases("gw1") == ["v1"]

    # On gw2 the new one came into service: there it is healed as ever.
    world.switch("gw2", "v2")
    key = next((world.root_of("gw2") / "releases").glob("v2-*")) / "key.pem"
    key.chmod(0o644)
    ran = world.run()
    assert ran.code == 0, ran.output
    assert key.stat().st_mode & 0o777 == 0o600
    assert "changed=0" in of_host(ran, "gw1")


def test_with_a_persons_reason_it_does_not_wait_and_the_reason_is_kept(world: HeldWorld) -> None:
    asked = ("-e", json.dumps({"deploy_now": REASON}))
    checked = world.run("--check", *asked)
    assert checked.code == 0, checked.output
    assert world.early is None
    assert world.releases("gw1") == ["v1"]

    ran = world.run(*asked)
    assert ran.code == 0, ran.output
    assert world.releases("gw1") == ["v1", "v2"]
    assert f"{world.name} v2 does not wait: deployments are frozen" in ran.output
    record = world.early
    assert record is not None
    assert (record["certificate"], record["version"]) == (world.name, 2)
    assert record["reason"].endswith(REASON)
    assert REASON in world.status["early_why"]

    # In service now, it is nothing special any more; the record stands as it was first written.
    world.switch("gw1", "v2")
    world.switch("gw2", "v2")
    written = (world.version(2) / "deployed_early.yml").stat().st_mtime_ns
    again = world.run(*asked)
    assert again.code == 0, again.output
    assert "changed=0" in of_host(again, "gw1")
    assert "changed=0" in of_host(again, "gw2")
    assert "does not wait" not in again.output
    assert (world.version(2) / "deployed_early.yml").stat().st_mtime_ns == written


def test_a_reason_that_says_nothing_is_refused_before_anything_is_done(world: HeldWorld) -> None:
    ran = world.run("-e", json.dumps({"deploy_now": " "}))
    assert ran.code != 0
    assert "DEPLOY-NOW" in ran.output
    assert not (world.version(2) / "accepted.yml").exists()


def test_it_never_waits_into_the_end_of_the_certificate_in_service(world: HeldWorld) -> None:
    world.renewal = {"freeze": [{"to": f"{NOW + 500 * DAY:%Y-%m-%d}", "why": "moving house"}]}
    ran = world.run()
    assert ran.code == 0, ran.output
    assert world.releases("gw1") == ["v1", "v2"]
    record = world.early
    assert record is not None
    assert "the certificate in service ends on" in record["reason"]
    assert "moving house" in record["reason"]


def test_it_does_not_wait_beside_a_certificate_that_is_not_good_any_more(world: HeldWorld) -> None:
    first = world.run()
    assert first.code == 0, first.output
    assert world.releases("gw1") == ["v1"]
    kept = world.version(1) / "certificate.pem"
    whole = kept.read_bytes()
    stranger = world.issuing.leaf(world.certificate.common_name)
    try:
        kept.write_bytes(pki_factory.pem(stranger))
        ran = world.run()
    finally:
        kept.write_bytes(whole)
    assert ran.code == 0, ran.output
    assert world.releases("gw1") == ["v1", "v2"]
    record = world.early
    assert record is not None
    assert "what is in service is not good" in record["reason"]
