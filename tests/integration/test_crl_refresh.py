# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that polls a real CA: OpenBao issues, revokes, publishes and answers OCSP."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from gateways.servers import serving
from integration import gateway_world as gw
from integration.gateway_world import World
from integration.openbao_server import OpenBao
from kept_payloads.session import kept_environment
from pki.vault import Client
from pki_host import crl_refresh, crl_watch, files, transaction

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
TRUST = "dip-nonprod"
ROOT, ISSUING = "pki-refresh-root", "pki-refresh"


class RealCa:
    """A root and an issuing CA in OpenBao, with the addresses that they name."""

    def __init__(self, openbao: OpenBao, client: Client) -> None:
        self.openbao, self._client = openbao, client
        for mount in (ROOT, ISSUING):
            client.write(
                f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": "8760h"}}
            )
        key = {"key_type": "ec", "key_bits": 256, "ttl": "8000h"}
        self.root = self._made(f"{ROOT}/root/generate/internal", common_name="Refresh Root", **key)
        request = client.write(
            f"{ISSUING}/intermediate/generate/internal",
            {"common_name": "Refresh Issuing", "key_type": "rsa", "key_bits": 2048},
        )["csr"]
        self.issuing = self._made(f"{ROOT}/root/sign-intermediate", csr=request, ttl="7000h")
        both = self.issuing + "\n" + self.root
        client.write(f"{ISSUING}/intermediate/set-signed", {"certificate": both})
        client.write(
            f"{ISSUING}/roles/any", {"allow_any_name": True, "key_type": "ec", "key_bits": 256}
        )
        client.read(f"{ROOT}/crl/rotate")
        client.read(f"{ISSUING}/crl/rotate")

    def _made(self, path: str, **data: Any) -> str:
        return str(self._client.write(path, data)["certificate"]).strip()

    def issue(self, name: str) -> str:
        return self._made(f"{ISSUING}/issue/any", common_name=name, ttl="720h")

    def revoke(self, certificate: str) -> None:
        self._client.write(f"{ISSUING}/revoke", {"certificate": certificate})
        self._client.read(f"{ISSUING}/crl/rotate")

    def url(self, mount: str, what: str) -> str:
        return f"{self.openbao.address}/v1/{mount}/{what}"


@dataclass
class Host:
    """A host that watches both CAs, below a directory; ``leaf`` is a certificate of ours."""

    base: Path
    ca: RealCa
    leaf: str

    @property
    def root(self) -> Path:
        return self.base / "crl"

    def watch(self) -> None:
        pinned = [
            self._authority("Refresh Issuing", self.ca.issuing, ISSUING, "user"),
            self._authority("Refresh Root", self.ca.root, ROOT, "ca"),
        ]
        raw = watching(self.base, pinned, [self._known()])
        files.write(str(self.root / "watch.json"), crl_watch.of(raw).encode(), files.PUBLIC)

    def _authority(self, name: str, pem: str, mount: str, needs: str) -> dict[str, Any]:
        urls = [self.ca.url(mount, "nothing"), self.ca.url(mount, "crl")]
        return {"name": name, "sha256": digest(pem), "pem": pem, "urls": urls, "needs": needs}

    def _known(self) -> dict[str, Any]:
        certificate = x509.load_pem_x509_certificate(self.leaf.encode())
        return {
            "what": "our certificate dip-nonprod",
            "certificate": "dip-nonprod",
            "kind": "ours",
            "serial": f"{certificate.serial_number:x}",
            "issuer": digest(self.ca.issuing),
            "not_after": certificate.not_valid_after_utc.isoformat(),
            "ocsp_urls": [self.ca.url(ISSUING, "ocsp")],
            "pem": self.leaf,
        }

    def refresh(self, code: int = 0) -> str:
        """Run the timer's program; what it told the journal."""
        done = subprocess.run(
            [sys.executable, "-m", "pki_host.crl_refresh", "--root", str(self.root)],
            env={**os.environ, "PYTHONPATH": str(PROJECT / "module_utils"), **self.trusting()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    def trusting(self) -> dict[str, str]:
        """The host's store of CAs for HTTPS knows the server's."""
        return {"SSL_CERT_FILE": str(self.ca.openbao.ca_cert)}

    def play(self, *arguments: str) -> str:
        """Run playbooks/crl_refresh.yml for this host; what it printed."""
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(self.inventory()), *arguments),
                str(PROJECT / "playbooks/crl_refresh.yml"),
            ],
            env={
                **kept_environment("PATH", "HOME"),
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
                **self.trusting(),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.code = done.returncode
        return done.stdout

    def inventory(self) -> Path:
        folder = self.base / "inventory"
        folder.mkdir(exist_ok=True)
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "crl_cache_root": str(self.root),
        }
        hosts = {"all": {"children": {"gateways": {"hosts": {"gw1": host}}}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
        return folder

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.root / TRUST / "status.json").read_text()))

    def age_answers(self) -> None:
        """The responder was last asked long ago."""
        path = self.root / TRUST / "polls.json"
        noted = json.loads(path.read_text())
        for one in noted["ocsp"].values():
            one["asked_at"] = "2020-01-01T00:00:00Z"
        path.write_text(json.dumps(noted))

    def verifies(self) -> bool:
        """Whether OpenSSL lets our certificate in with the CRLs in service, chain and all."""
        (self.base / "leaf.pem").write_text(self.leaf)
        (self.base / "cas.pem").write_text(f"{self.ca.issuing}\n{self.ca.root}\n")
        crls = self.root / TRUST / "ingress/crl.pem"
        command = ["openssl", "verify", "-crl_check_all", "-CAfile", str(self.base / "cas.pem")]
        command += ["-CRLfile", str(crls), str(self.base / "leaf.pem")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def watching(
    base: Path, authorities: list[dict[str, Any]], known: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a host below ``base`` watches."""
    return {
        "version": 1,
        "trusts": {
            TRUST: {
                "authorities": authorities,
                "directions": {"ingress": {"on_stale": "refuse", "max_age_seconds": 80000}},
                "known": known,
                "longest_validity_days": 398,
            }
        },
        "fetch": {
            "attempts": 2, "first_wait_seconds": 0.1, "wait_factor": 2,
            "longest_wait_seconds": 1, "timeout_seconds": 10, "total_seconds": 20,
            "largest_bytes": 1000000, "proxy": "",
        },
        "alarm_percents": [25, 50, 75],
        "clock_tolerance_seconds": 300,
        "refresh": {"period_seconds": 3600, "delay_seconds": 300, "accuracy_seconds": 60},
        "guard": {"period_seconds": 60},
        "ocsp_period_seconds": 86400,
        "grace_longest_seconds": 86400,
        "gateway_root": str(base / "gateway"),
        "metrics_dir": str(base / "metrics"),
    }  # fmt: skip


def digest(pem: str) -> str:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.public_bytes(Encoding.DER)
    return certificate.fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="module")
def host(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with openbao.client("operator") as client:
        ca = RealCa(openbao, client)
        made = Host(tmp_path_factory.mktemp("refresh"), ca, ca.issue("ours.example"))
        made.watch()
        yield made


def test_a_revocation_at_the_ca_reaches_the_gateways_file_with_the_next_refresh(host: Host) -> None:
    host.refresh()
    status = host.status()
    assert [one["outcome"] for one in status["authorities"]] == ["new", "new"]
    tried = status["authorities"][0]["tries"]
    assert [one["outcome"] for one in tried] == ["failed", "new"]
    assert [one["status"] for one in status["ocsp"]] == ["good"]
    assert host.verifies()
    assert "<6>dip-nonprod: unchanged" in host.refresh()

    host.ca.revoke(host.leaf)
    host.age_answers()
    told = host.refresh()
    assert not host.verifies()
    assert told.startswith("<1>dip-nonprod: our certificate dip-nonprod, serial ")
    assert "playbooks/renew.yml -e certificate=dip-nonprod" in told
    status = host.status()
    assert (status["outcome"], status["authorities"][0]["added"]) == ("changed", 1)
    assert [one["source"] for one in status["revoked"]] == ["CRL"]
    assert [one["status"] for one in status["ocsp"]] == ["revoked"]
    metrics = (host.base / "metrics/pki_crl_refresh.prom").read_text()
    assert 'pki_crl_own_revoked{trust="dip-nonprod"} 1' in metrics


def test_the_playbook_fetches_now_and_fails_where_a_certificate_of_ours_is_revoked(
    host: Host,
) -> None:
    before = host.status()
    said = host.play("--check")
    assert (host.code, host.status()) == (2, before)
    assert "Refresh Issuing" in said
    another = host.ca.issue("another.example")
    host.ca.revoke(another)
    said = host.play()
    assert host.code == 2
    assert "is REVOKED since" in said
    assert "changed=1" in said
    status = host.status()
    assert (status["outcome"], status["authorities"][0]["entries"]) == ("changed", 2)
    (line,) = [
        json.loads(line)
        for path in (host.base / "inventory/.trail").rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines()
        if "CRL set put into service" in line
    ]
    (artefact,) = line["artefacts"].items()
    text = (host.root / TRUST / "current/crl.pem").read_bytes()
    assert artefact == (f"CRLs of {TRUST}", files.sha256(text))


# -- a gateway -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway whose host fetched its first CRLs by itself."""
    world = World(tmp_path_factory.mktemp("gateway"))
    web = world.base / "web"
    publish(world)
    with site(web) as address, serving(world.app):
        watch(world, address)
        assert crl_refresh.run(str(world.base / "crl")).fresh
        link = world.base / "crl" / TRUST / "current"
        world.crl_set["link"]["target"] = os.readlink(link)
        try:
            transaction.run(world.desired(), check=False)
            yield world
        finally:
            world.stop()


def publish(world: World, *revoked: x509.Certificate, number: int = 1) -> None:
    """Put the CAs' CRLs where the host polls them."""
    (world.base / "web").mkdir(exist_ok=True)
    for name, listed in (("issuing", revoked), ("root", ())):
        (world.base / "web" / f"{name}.crl").write_bytes(crl(name, number, listed))


def crl(issuer: str, number: int, revoked: Iterable[x509.Certificate]) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(gw.name(issuer))
        .last_update(gw.NOW - timedelta(minutes=60 - number))
        .next_update(gw.NOW + timedelta(days=1))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(gw.NOW).build())
    return builder.sign(gw.key(issuer), hashes.SHA256()).public_bytes(Encoding.DER)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def watch(world: World, address: str) -> None:
    pinned = [
        {
            "name": name,
            "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
            "pem": gw.pem(certificate),
            "urls": [f"{address}/{name}.crl"],
            "needs": needs,
        }
        for name, certificate, needs in (
            ("issuing", world.authorities.issuing, "user"),
            ("root", world.authorities.root, "ca"),
        )
    ]
    raw = watching(world.base, pinned, [])
    path = world.base / "crl/watch.json"
    files.write(str(path), crl_watch.of(raw).encode(), files.PUBLIC)


def test_a_published_revocation_reloads_the_gateway_once_and_nothing_else_does(
    gateway: World,
) -> None:
    root = str(gateway.base / "crl")
    certificate = gateway.authorities.leaf(gw.PEER, "peer")
    client = gateway.client(certificate, "peer")
    served = gateway.daemon().generation()
    assert gateway.get(client).status == 200
    assert crl_refresh.run(root).trusts[TRUST]["outcome"] == "unchanged"
    assert gateway.daemon().generation() == served

    publish(gateway, certificate, number=2)
    status = crl_refresh.run(root).trusts[TRUST]
    assert (status["outcome"], status["why"]) == ("changed", "")
    assert [(one["name"], one["outcome"]) for one in status["gateways"]] == [("dip", "reloaded")]
    assert gateway.get(client).status == 403
    served = gateway.daemon().generation()
    assert crl_refresh.run(root).trusts[TRUST]["outcome"] == "unchanged"
    assert gateway.daemon().generation() == served


def test_a_run_with_an_older_set_does_not_take_the_newer_one_back(gateway: World) -> None:
    """The run staged its set before the timer of the host switched to a newer one."""
    newer = os.readlink(gateway.base / "crl" / TRUST / "current")
    assert gateway.crl_set["link"]["target"] != newer
    assert transaction.run(gateway.desired(), check=False)["changed"] is False
    assert os.readlink(gateway.base / "crl" / TRUST / "current") == newer
