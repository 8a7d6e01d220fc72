# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that hosts make and keep: from the key to the release, through the playbooks."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.openbao_server import KV_MOUNT, OpenBao
from pki import csr
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOSTS = ("gw1", "gw2")
REQUEST = {"request.csr", "request.yml", "submission.txt"}


@dataclass
class Ran:
    """One run of ansible-playbook: exit code and everything it printed."""

    code: int
    output: str

    def changed(self, host: str) -> int:
        (number,) = re.findall(rf"^{host} .*\bchanged=(\d+)", self.output, re.MULTILINE)
        return int(number)


class Fleet:
    """Two hosts on this machine, each with a certificate whose key it keeps."""

    def __init__(self, base: Path, openbao: OpenBao, web: Any, *, encrypted: bool) -> None:
        self.base = base
        self.openbao = openbao
        self.encrypted = encrypted
        self.name = f"dip-{secrets.token_hex(4)}"
        self.root = pki_factory.authority("Fleet Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority("Fleet CA", start=NOW - DAY, end=NOW + 800 * DAY)
        self.runs: list[Ran] = []
        self._write(web)

    def _write(self, web: Any) -> None:
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            file = self.base / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            crl = ca.crl(start=NOW - timedelta(hours=1), end=NOW + DAY)
            url = web.serve(f"/{self.name}/{label}", controller_world.content(crl))
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        person = {"name": "Ada", "email": "ada@a.example", "role": "certificate_admin"}
        values: dict[str, Any] = {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [person],
                }
            },
            "certificates": [
                {
                    "name": self.name,
                    "policy": "mhhs-dip",
                    "environment": "nonprod",
                    "domain": "example-energy.co.uk",
                    "purposes": ["mtls", "signing"],
                    "key": {"store": "host", "encrypted": self.encrypted},
                    "per_host": True,
                    "hosts": "gateways",
                }
            ],
            "trust": {
                "dip-nonprod": {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned["root"],
                    "issuers": pinned["issuing"],
                }
            },
            "gateways": [],
            "firewall_manage": False,
            "certificates_vault": self.openbao.options("pipeline"),
            "release_vault": self.openbao.options("release"),
            "release_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/tls",
            "crl_cache_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/crl",
            "gateway_root": str(self.base / "hosts") + "/{{ inventory_hostname }}/gateway",
        }
        folder = self.base / "group_vars" / "all"
        folder.mkdir(parents=True)
        for variable, value in values.items():
            (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        gateways = {"hosts": dict.fromkeys(HOSTS, here)}
        hosts = {"all": {"hosts": {"localhost": here}, "children": {"gateways": gateways}}}
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def play(self, playbook: str, *arguments: str, code: int = 0, **environment: str) -> Ran:
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.base), *arguments),
                str(PROJECT / "playbooks" / f"{playbook}.yml"),
            ],
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                "no_proxy": "127.0.0.1",
                **environment,
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
        ran = Ran(done.returncode, done.stdout)
        self.runs.append(ran)
        return ran

    def host(self, name: str) -> Path:
        return self.base / "hosts" / name / "tls" / self.name

    def key(self, name: str, version: int = 1) -> Path:
        return self.host(name) / "keys" / str(version) / "key.pem"

    def keys(self) -> dict[str, dict[str, tuple[bytes, int, int]]]:
        return {host: everything(self.host(host) / "keys") for host in HOSTS}

    def version(self, host: str, number: int = 1) -> Path:
        return self.base / "certificates" / self.name / host / str(number)

    def request(self, host: str, number: int = 1) -> csr.Request:
        return csr.parse((self.version(host, number) / "request.csr").read_bytes())

    def answer(self, host: str, number: int = 1) -> None:
        """The CA says yes."""
        request = self.request(host, number)
        public = serialization.load_der_public_key(request.spki_der)
        window = {"start": NOW - timedelta(hours=1), "end": NOW + 397 * DAY}
        leaf = self.issuing.leaf(request.common_name, public=public, **window)
        reply = pki_factory.pem(leaf) + self.issuing.pem
        (self.version(host, number) / "reply.pem").write_bytes(reply)

    def private(self, host: str, version: int = 1) -> rsa.RSAPrivateKey:
        """The key as only its host can have it."""
        passphrase = self.passphrase(host).encode() if self.encrypted else None
        data = self.key(host, version).read_bytes()
        loaded = serialization.load_pem_private_key(data, passphrase)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        return loaded

    def passphrase(self, host: str) -> str:
        with self.openbao.client("operator") as client:
            path = f"{KV_MOUNT}/data/passphrases/{self.name}_{host}"
            return str((client.read(path) or {})["data"]["passphrase"])


def everything(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file with bytes, mode and time: equal before and after means untouched."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "encrypted"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    openbao: OpenBao,
    site: controller_world.Web,
) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"), openbao, site, encrypted=request.param)


# The tests of a fleet share it and stand in the order of its life.


def test_a_check_on_virgin_hosts_says_what_would_be_made_and_makes_nothing(fleet: Fleet) -> None:
    ran = fleet.play("site", "--check", "--diff")
    assert "key would be made" in ran.output
    assert not (fleet.base / "certificates").exists()
    assert not (fleet.base / "hosts").exists()


def test_each_host_makes_its_own_key_and_gets_its_own_request(fleet: Fleet) -> None:
    ran = fleet.play("site")
    assert all(ran.changed(host) for host in HOSTS)
    digests = set()
    for host in HOSTS:
        folder = fleet.version(host)
        assert {path.name for path in folder.iterdir()} == REQUEST
        record = yaml.safe_load((folder / "request.yml").read_text())
        assert record["key"]["store"] == "host"
        assert record["key"]["spki_sha256"] == fleet.request(host).spki_sha256
        assert fleet.request(host).signature_valid
        assert stat.S_IMODE(fleet.key(host).stat().st_mode) == 0o600
        assert (b"ENCRYPTED" in fleet.key(host).read_bytes()) == fleet.encrypted
        public = csr.spki_der(fleet.private(host).public_key())
        assert public == fleet.request(host).spki_der
        digests.add(record["key"]["spki_sha256"])
        assert f"commit {folder}" in ran.output
    assert len(digests) == len(HOSTS)


def test_the_second_night_changes_nothing(fleet: Fleet) -> None:
    before = fleet.keys(), everything(fleet.base / "certificates")
    ran = fleet.play("site")
    assert [ran.changed(host) for host in ("localhost", *HOSTS)] == [0, 0, 0]
    assert (fleet.keys(), everything(fleet.base / "certificates")) == before


def test_a_fresh_clone_writes_the_same_request_for_the_same_key(fleet: Fleet) -> None:
    before = {path: path.read_bytes() for path in fleet.version("gw1").iterdir()}
    keys = fleet.keys()
    shutil.rmtree(fleet.base / "certificates")
    fleet.play("site")
    assert {path: path.read_bytes() for path in fleet.version("gw1").iterdir()} == before
    assert fleet.keys() == keys


def test_the_host_that_has_a_reply_gets_its_release_and_the_other_waits(fleet: Fleet) -> None:
    fleet.answer("gw1")
    fleet.play("site")
    (release,) = (fleet.host("gw1") / "releases").iterdir()
    pem = (release / "key.pem").read_bytes()
    assert stat.S_IMODE((release / "key.pem").stat().st_mode) == 0o600
    released = serialization.load_pem_private_key(pem, None)
    assert isinstance(released, rsa.RSAPrivateKey)
    assert released.private_numbers() == fleet.private("gw1").private_numbers()
    assert not (fleet.host("gw2") / "releases").exists()
    assert fleet.play("site").changed("gw1") == 0


def test_a_release_that_lost_its_key_gets_it_again_from_the_host(fleet: Fleet) -> None:
    (lost,) = fleet.host("gw1").glob("releases/*/key.pem")
    before = lost.read_bytes()
    lost.unlink()
    fleet.play("site")
    assert lost.read_bytes() == before
