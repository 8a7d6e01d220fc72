# SPDX-License-Identifier: GPL-3.0-or-later
"""The worked inventories through the real playbook, with a real key server, as a check."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.openbao_server import OpenBao
from kept_payloads.session import kept_environment
from unit import controller_world, pki_factory, twin

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
#: A certificate for which nothing can go on without a person does not fail the run.
HELD = 0
LOGINS = {"certificates_vault": "pipeline", "release_vault": "release"}


@pytest.fixture(scope="module")
def web() -> Iterator[controller_world.Web]:
    with controller_world.web() as site:
        yield site


class Office:
    """A copy of an example with a CA that publishes CRLs, and with a key server that answers.

    Certificates get names of their own, because worlds of other tests share the key server.
    """

    def __init__(
        self, folder: Path, broken: Mapping[str, Any], openbao: OpenBao, web: controller_world.Web
    ) -> None:
        self.base = twin.make(broken, folder)
        self._openbao = openbao
        self._own_names()
        self._own_trust(web)
        self.logins = folder / "logins.json"
        options = {name: openbao.options(login) for name, login in LOGINS.items()}
        self.logins.write_text(json.dumps(options))

    def _file(self, variable: str) -> Path:
        return self.base / "group_vars" / "all" / f"{variable}.yml"

    def _own_names(self) -> None:
        mark = secrets.token_hex(4)
        declared = yaml.safe_load(self._file("certificates").read_text())["certificates"]
        self.names = []
        for old in (entry["name"] for entry in declared):
            new = f"{old}-{mark}"
            self.names.append(new)
            for file in filter(Path.exists, map(self._file, ("certificates", "gateways"))):
                named = re.compile(rf"((?:name|certificate): ){old}$", re.M)
                file.write_text(named.sub(rf"\1{new}", file.read_text()))

    def _own_trust(self, web: controller_world.Web) -> None:
        root = pki_factory.authority("Examples Root", start=NOW - DAY, end=NOW + 900 * DAY)
        issuing = root.authority("Examples Issuing", start=NOW - DAY, end=NOW + 800 * DAY)
        trust = yaml.safe_load(self._file("trust").read_text())
        for kind, ca in (("anchors", root), ("issuers", issuing)):
            (pin,) = trust["trust"]["dip-nonprod"][kind]
            (self.base / pin["file"]).write_bytes(ca.pem)
            crl = controller_world.content(ca.crl(start=NOW - timedelta(hours=1), end=NOW + DAY))
            pin |= {"sha256": ca.sha256, "crl_urls": [web.serve(f"/{self.names[0]}/{kind}", crl)]}
        self._file("trust").write_text(yaml.safe_dump(trust))

    def keys(self) -> set[str]:
        """Those of its certificates that have a key."""
        with self._openbao.client("operator") as client:
            mounts = ("transit-nonprod-tls", "transit-nonprod-signing")
            found = {name for mount in mounts for name in client.list(f"{mount}/keys")}
        return found & set(self.names)

    def play(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                # Nobody answers at the addresses of an example's hosts.
                *("-i", str(self.base), "--limit", "localhost", "-e", f"@{self.logins}"),
                *arguments,
                str(twin.REPOSITORY / "playbooks" / "site.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(twin.REPOSITORY / "ansible.cfg"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                "no_proxy": "127.0.0.1",
            },
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.mark.parametrize("example", twin.examples())
def test_each_example_is_planned_by_the_playbook_without_a_finding_and_nothing_is_changed(
    example: str, tmp_path: Path, openbao: OpenBao, web: controller_world.Web
) -> None:
    office = Office(tmp_path, {"example": example}, openbao, web)
    before = controller_world.tree(office.base)
    output = office.play("--check", "--diff")
    for name in office.names:
        assert f"{name} v1: key would be made" in output
    assert "held: " not in output
    assert "DIP-" not in output
    assert controller_world.tree(office.base) == before


def broken(rule: str, example: str) -> dict[str, Any]:
    (found,) = [one for one in twin.table() if (one["rule"], one["example"]) == (rule, example)]
    return found


def test_the_playbook_makes_nothing_for_a_twin_that_is_refused(
    tmp_path: Path, openbao: OpenBao, web: controller_world.Web
) -> None:
    office = Office(tmp_path, broken("DIP-4.1.2-PROVIDER", "one-provider"), openbao, web)
    output = office.play(code=2)
    assert "DIP-4.1.2-PROVIDER" in output
    assert "the provider may not use this certificate for its holder" in output
    assert not (office.base / "certificates").exists()
    assert not office.keys()


def test_the_playbook_makes_no_key_for_who_is_held_in_a_twin_and_one_for_everybody_else(
    tmp_path: Path, openbao: OpenBao, web: controller_world.Web
) -> None:
    office = Office(tmp_path, broken("DIP-5.2-VETTED", "connection-provider"), openbao, web)
    held = next(name for name in office.names if name.startswith("birch"))
    output = " ".join(office.play("--check", "--diff", code=HELD).split())
    for name in office.names:
        assert (f"{name} v1: key would be made" in output) == (name != held)
    assert f"{held}: " in output
    assert "DIP-5.2-VETTED" in output
    assert "the organisation passed the DCA" in output
