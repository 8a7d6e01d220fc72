# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that polls a real CA: OpenBao issues, revokes, publishes and answers OCSP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from integration.openbao_server import OpenBao
from kept_payloads.session import kept_environment
from pki.vault import Client
from pki_host import crl_watch, files

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
        raw = {
            "version": 1,
            "trusts": {
                TRUST: {
                    "authorities": [
                        self._authority("Refresh Issuing", self.ca.issuing, ISSUING, "user"),
                        self._authority("Refresh Root", self.ca.root, ROOT, "ca"),
                    ],
                    "directions": {"ingress": {"on_stale": "refuse", "max_age_seconds": 80000}},
                    "known": [self._known()],
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
            "ocsp_period_seconds": 1,
            "grace_longest_seconds": 86400,
            "gateway_root": str(self.base / "gateway"),
            "metrics_dir": str(self.base / "metrics"),
        }  # fmt: skip
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

    def verifies(self) -> bool:
        """Whether OpenSSL lets our certificate in with the CRLs in service, chain and all."""
        (self.base / "leaf.pem").write_text(self.leaf)
        (self.base / "cas.pem").write_text(f"{self.ca.issuing}\n{self.ca.root}\n")
        crls = self.root / TRUST / "ingress/crl.pem"
        command = ["openssl", "verify", "-crl_check_all", "-CAfile", str(self.base / "cas.pem")]
        command += ["-CRLfile", str(crls), str(self.base / "leaf.pem")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


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
