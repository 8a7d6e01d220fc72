# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with releases and CRL sets, and the rendered gateway, for the transaction's tests.

Everything is real: certificates and CRLs are made here, the template is the role's, and the
gateway is the nginx from its wheel unless a test names another product.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import ssl
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gateways.products import NGINX, Product
from integration.own_ports import free_ports
from pki.gateway import products as renderer
from pki_host import crl_refusal, files
from pki_host.service import Daemon
from pki_host.transaction import Desired
from unit import ready

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "filter_plugins"))

import pki_gateway  # noqa: E402

OURS, PEER = "energydip-nonprod.example-energy.co.uk", "energydip-nonprod.dip.example"
NOW = datetime.now(UTC).replace(microsecond=0)
Name = x509.NameOID


def program() -> str:
    return NGINX.program


@cache
def key(label: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def name(common_name: str, organisation: str = "Lab, Test & Co") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(Name.COUNTRY_NAME, "GB"),
            x509.NameAttribute(Name.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(Name.COMMON_NAME, common_name),
        ]
    )


def issue(
    subject: x509.Name,
    subject_key: str,
    issuer: x509.Name,
    issuer_key: str,
    *,
    ca: bool = False,
    days: tuple[int, int] = (-1, 30),
    use: x509.ObjectIdentifier | None = None,
    host: str = "",
) -> x509.Certificate:
    """A certificate; ``use`` is its only extended key usage, ``host`` its only name of a host."""
    first, last = (NOW + timedelta(days=number) for number in days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key(subject_key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if use is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if host:
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key(issuer_key), hashes.SHA256())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(label: str) -> str:
    return (
        key(label)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _sha256(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


@dataclass
class Authorities:
    """Root, the allowed issuing CA, and a sibling under the same root."""

    root: x509.Certificate = field(
        default_factory=lambda: issue(name("root"), "root", name("root"), "root", ca=True)
    )
    issuing: x509.Certificate = field(init=False)
    sibling: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.issuing = issue(name("issuing"), "issuing", self.root.subject, "root", ca=True)
        self.sibling = issue(name("sibling"), "sibling", self.root.subject, "root", ca=True)

    def leaf(self, common_name: str, label: str, *, by: str = "issuing") -> x509.Certificate:
        return issue(name(common_name), label, name(by), by)

    def crl(self, issuer: str, *revoked: x509.Certificate) -> str:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name(issuer))
            .last_update(NOW - timedelta(hours=1))
            .next_update(NOW + timedelta(days=1))
        )
        for certificate in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(NOW - timedelta(hours=2))
                .build()
            )
        signed = builder.sign(key(issuer), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


class World:
    """One host below ``base``: release and CRL directories, ports, and the inventory."""

    def __init__(self, base: Path, product: Product = NGINX) -> None:
        self.base = base
        self.product = product
        self.authorities = Authorities()
        self.ingress, self.egress, self.app, self.dip = free_ports(4)
        self.peers = [PEER]
        self.out_of_service: list[str] = []
        self.api_keys: list[dict[str, Any]] = []
        self.certificate = self.authorities.leaf(OURS, "ours")
        self.release = self.stage_release(1, self.certificate)
        self.crl_set = self.stage_crls()

    # -- what the install steps leave on the host --------------------------------------

    def stage_release(
        self,
        version: int,
        certificate: x509.Certificate,
        label: str = "ours",
        entry: str = "dip-nonprod",
    ) -> dict[str, Any]:
        """A release directory and what pki_release says about it."""
        digest = _sha256(certificate)
        target = f"releases/v{version}-{digest[:16]}"
        directory = self.base / "tls" / entry / target
        fullchain = pem(certificate) + pem(self.authorities.issuing)
        files.write(str(directory / "key.pem"), key_pem(label).encode(), files.PRIVATE)
        files.write(str(directory / "fullchain.pem"), fullchain.encode(), files.PUBLIC)
        with contextlib.suppress(FileExistsError):
            (directory / "fullchain.pem.key").symlink_to("key.pem")
        link = {"path": str(self.base / "tls" / entry / "current"), "target": target}
        return {"certificate": entry, "certificate_sha256": digest, "link": link}

    def stage_crls(self, *revoked: x509.Certificate) -> dict[str, Any]:
        return self.stage_crl_text(
            self.authorities.crl("issuing", *revoked) + self.authorities.crl("root")
        )

    def stage_crl_text(self, text: str) -> dict[str, Any]:
        identity = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self.base / "crl/dip-nonprod/sets" / identity / "crl.pem"
        files.write(str(path), text.encode(), files.PUBLIC)
        crl_refusal.ensure(str(self.base / "crl"))
        link = {"path": str(self.base / "crl/dip-nonprod/current"), "target": f"sets/{identity}"}
        return {"trust": "dip-nonprod", "link": link}

    # -- the inventory -----------------------------------------------------------------

    def inventory(self) -> dict[str, Any]:
        (self.base / "ca").mkdir(exist_ok=True)
        pinned = {}
        for label in ("root", "issuing"):
            certificate = getattr(self.authorities, label)
            (self.base / "ca" / f"{label}.pem").write_text(pem(certificate))
            entry = {"file": f"ca/{label}.pem", "sha256": _sha256(certificate), "crl_urls": []}
            pinned[label] = [entry]
        return {
            "organisations": {
                "example-energy": {
                    "party": "market_participant_active",
                    "subject": {"O": "Example Energy Ltd", "L": "London", "ST": "L", "C": "GB"},
                    "roster": [ready.admin("A", "a@a.example")],
                    **ready.organisation(),
                }
            },
            "certificates": [
                {
                    "name": "dip-nonprod",
                    "policy": "mhhs-dip",
                    "environment": "nonprod",
                    "domain": "example-energy.co.uk",
                    "purposes": ["mtls", "signing"],
                    "key": {"store": "transit", "delivery": "wrapped"},
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
        }

    def gateways(self) -> list[dict[str, Any]]:
        common = {"certificate": "dip-nonprod", "trust": "dip-nonprod"}
        return [
            {
                "name": "dip",
                "product": self.product.product,
                "hosts": "gateways",
                "ingress": [
                    {
                        **common,
                        "name": "webhook",
                        "listen": f"127.0.0.1:{self.ingress}",
                        "server_name": OURS,
                        "peers": [{"CN": peer} for peer in self.peers],
                        "upstream": f"http://127.0.0.1:{self.app}",
                    }
                ],
                "egress": [
                    {
                        **common,
                        "name": "api",
                        "listen": f"127.0.0.1:{self.egress}",
                        "upstream": {
                            "host": "api.dip.example",
                            "address": "127.0.0.1",
                            "port": self.dip,
                        },
                    }
                ],
            }
        ]

    def places(self) -> dict[str, str]:
        return {
            "policy_dir": str(PROJECT / "policies"),
            "base_dir": str(self.base),
            "release_root": str(self.base / "tls"),
            "crl_cache_root": str(self.base / "crl"),
            "gateway_root": str(self.base / "gateway"),
        }

    @property
    def root(self) -> Path:
        return self.base / "gateway/dip"

    def releases(self) -> list[dict[str, Any]]:
        """What pki_release would have returned."""
        return [self.release]

    # -- what the role hands to the module ---------------------------------------------

    def model(self) -> dict[str, Any]:
        filters = pki_gateway.FilterModule().filters()
        (model,) = filters["pki_gateway_models"](
            self.gateways(),
            declared=self.inventory(),
            host={"name": "gw1", "groups": ["gateways"]},
            places=self.places(),
            releases=self.releases(),
            crl_sets=[self.crl_set],
            out_of_service=self.out_of_service,
            api_keys=self.api_keys,
        )
        return dict(model)

    def arguments(self) -> dict[str, Any]:
        model = self.model()
        rendered = [
            {"path": self.product.config_file, "content": self.text(model)},
            *self._substitutes(model),
        ]
        entries = [] if model["stopped"] else [*model["files"], *rendered]
        return {
            "name": model["name"],
            "product": model["product"],
            "program": self.product.program,
            "root": model["root"],
            "files": entries,
            "links": model["links"],
            "probes": model["probes"],
            "closed": model["closed"],
            "state": "stopped" if model["stopped"] else "started",
            "drain_seconds": 2,
            "keep_releases": 2,
        }

    def text(self, model: Mapping[str, Any]) -> str:
        """The configuration of this product for a model, as the role renders it."""
        user = self.product.user if os.geteuid() == 0 else ""
        template = Path(self.product.template)
        lacks = self.product.adapter.lacks
        return render(model, template.name, lacks=lacks, user=user, product=template.parent.name)

    def _substitutes(self, model: Mapping[str, Any]) -> list[dict[str, str]]:
        """Further files for what this build has no directive for."""
        files = renderer.rendered(model, self.product.adapter.lacks)
        return [one for one in files if one["path"] != self.product.config_file]

    def desired(self) -> Desired:
        return Desired.of(self.arguments())

    def daemon(self) -> Daemon:
        return Daemon(self.product.adapter, self.product.program, str(self.root))

    def stop(self) -> None:
        """End what the test started, also workers without a master."""
        daemon = self.daemon()
        daemon.stop()
        daemon.end_orphans([("127.0.0.1", self.ingress), ("127.0.0.1", self.egress)])

    # -- a peer's view -----------------------------------------------------------------

    def client(self, certificate: x509.Certificate, label: str, *, by: str = "issuing") -> Path:
        """Certificate, its issuer and key in one file, as a TLS client loads it."""
        path = self.base / f"client-{certificate.serial_number}.pem"
        chain = pem(certificate) + pem(getattr(self.authorities, by))
        files.write(str(path), (chain + key_pem(label)).encode(), files.PRIVATE)
        return path

    def get(
        self, client: Path | None, headers: Mapping[str, str] | None = None, port: int = 0
    ) -> Answer:
        """One request through the ingress; verifies the gateway's own chain and name off."""
        context = ssl.create_default_context(cadata=pem(self.authorities.root))
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if client is not None:
            context.load_cert_chain(client)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port or self.ingress, context=context, timeout=5
        )
        with contextlib.closing(connection):
            connection.connect()
            leaf = connection.sock.getpeercert(binary_form=True)
            connection.request("GET", "/", headers=dict(headers or {}))
            response = connection.getresponse()
            body = response.read().decode()
            return Answer(response.status, body, hashlib.sha256(leaf or b"").hexdigest())


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    leaf: str


def render(
    model: Mapping[str, Any],
    template: str = "gateway.conf.j2",
    *,
    lacks: Collection[str] = (),
    user: str = "",
    product: str = "nginx",
) -> str:
    """A template of the role, with the settings Ansible renders templates with."""
    directory = PROJECT / "roles/gateway/templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(pki_gateway.FilterModule().filters())
    chosen = environment.get_template(f"{product}/{template}")
    return chosen.render(gateway=model, lacks=lacks, user=user)


@contextlib.contextmanager
def echo_app(port: int) -> Iterator[None]:
    """The application behind the ingress: answers with the headers it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "".join(f"{k}: {v}\n" for k, v in sorted(self.headers.items())).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
