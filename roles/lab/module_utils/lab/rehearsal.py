# SPDX-License-Identifier: GPL-3.0-or-later
"""Revoke a client that holds a session, on a second instance with a CA of its own.

Revoking a client of the real issuing CA would change the real CRL, and with it what the
product has deployed. So the deployed configuration is copied, its trust replaced by a CA
that exists for this proof, and a client made, revoked and tried there.
"""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible.module_utils.pki import names, probe
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.vault import Client
from ansible.module_utils.pki_host.gateways.base import Adapter
from cryptography import x509

from . import authority, material, peers
from .gatewayconf import Relocation, relocate
from .proof import Endpoint, Rehearsal
from .scratch import Deployed, Instance, free_ports

MOUNT = "pki-proof"
ROOT_MOUNT = "pki-root"
VERSIONS = ("TLSv1.2", "TLSv1.3")
TRUST, CRL, CLIENT = "trust/proof.pem", "proof-crl.pem", "client"

Files = Mapping[str, str]
Edit = Callable[[Files], Files]


def unchanged(files: Files) -> Files:
    """The copy as it is deployed: nothing is broken on purpose."""
    return files


@dataclass(frozen=True, slots=True)
class Stage:
    """What a rehearsal needs.

    Attributes:
        adapter, program: how to run the gateway.
        deployed: the configuration to copy.
        directory: a directory that does not exist yet; it is removed at the end.
        anchors_pem: the lab's root, in PEM.
        issuers: names (RFC 2253) of the issuing CAs that the deployed gateway allows.
        common_name: of the client to make; one that the gateway lets in.
        ingress_port: port of the deployed gateway's TLS listener.
        server_name: what the gateway is called.
        distribution: base URL under which the CAs publish their certificates and CRLs.
        vault: a client that may sign and revoke at the proof's CA.
        edit: what a test breaks in the copy.
    """

    adapter: Adapter
    program: str
    deployed: Deployed
    directory: Path
    anchors_pem: str
    issuers: tuple[str, ...]
    common_name: str
    ingress_port: int
    server_name: str
    distribution: str
    vault: Client
    edit: Edit = field(default=unchanged)


def rehearse(stage: Stage) -> tuple[Rehearsal, ...]:
    """Make a client, let it in, revoke it, and try it again with its session and without."""
    issuer = authority.require(authority.default_issuer(stage.vault, MOUNT), MOUNT)
    ports, files = second_gateway(stage, issuer)
    gateway = Endpoint("127.0.0.1", ports[stage.ingress_port], stage.server_name)
    instance = Instance(stage.adapter, stage.program, stage.directory, files)
    with instance, _client(stage, issuer) as certificate:
        before = {version: _try(gateway, stage, version) for version in VERSIONS}
        _revoke(stage.vault, certificate)
        instance.write(CRL, _crls(stage))
        instance.reload()
        return tuple(
            Rehearsal(
                version,
                seen,
                _try(gateway, stage, version, seen.session),
                _try(gateway, stage, version),
            )
            for version, seen in before.items()
        )


def second_gateway(stage: Stage, issuer: x509.Certificate) -> tuple[dict[int, int], Files]:
    """New port of every listener, and the files of the copy with the proof's own trust."""
    deployed = stage.deployed
    exact = stage.adapter.text["exact"]
    trust, crl = str(stage.directory / TRUST), str(stage.directory / CRL)
    ports = move_ports(deployed)
    moved = relocate(
        deployed.configuration,
        Relocation(
            root=(deployed.root, str(stage.directory)),
            ports=ports,
            files={
                **dict.fromkeys(named_files(deployed, TRUST_DIRECTIVES), trust),
                **dict.fromkeys(named_files(deployed, CRL_DIRECTIVES), crl),
            },
            issuers={exact(name): exact(dn(issuer)) for name in stage.issuers},
        ),
    )
    anchors = stage.anchors_pem + material.certificate_pem(issuer).decode()
    return ports, stage.edit({**moved, TRUST: anchors, CRL: _crls(stage)})


TRUST_DIRECTIVES = ("ssl_client_certificate", "proxy_ssl_trusted_certificate")
CRL_DIRECTIVES = ("ssl_crl", "proxy_ssl_crl")


def named_files(deployed: Deployed, directives: tuple[str, ...]) -> list[str]:
    """Every file that one of these directives names, once."""
    found = {words[0] for name in directives for words in deployed.values(name)}
    return sorted(found)


def copy(deployed: Deployed, directory: Path) -> tuple[dict[int, int], Files]:
    """New port of every listener, and the files of a copy that trusts what the original does."""
    crls = {old: f"crl-{at}.pem" for at, old in enumerate(named_files(deployed, CRL_DIRECTIVES))}
    ports = move_ports(deployed)
    moved = relocate(
        deployed.configuration,
        Relocation(
            root=(deployed.root, str(directory)),
            ports=ports,
            files={old: str(directory / new) for old, new in crls.items()},
        ),
    )
    trust = {name: text for name, text in deployed.files.items() if name not in moved}
    held = {new: Path(old).read_text(encoding="ascii") for old, new in crls.items()}
    return ports, {**trust, **moved, **held}


def move_ports(deployed: Deployed) -> dict[int, int]:
    """A free port for every port that the deployed gateway listens on."""
    old = sorted({int(words[0].rpartition(":")[2]) for words in deployed.values("listen")})
    return dict(zip(old, free_ports(len(old)), strict=True))


def _try(
    gateway: Endpoint, stage: Stage, version: str, session: probe.Session | None = None
) -> probe.Observation:
    folder = stage.directory / CLIENT
    return probe.connect(
        gateway.address,
        gateway.port,
        server_name=gateway.server_name,
        anchors_pem=stage.anchors_pem,
        client=probe.ClientIdentity(str(folder / "fullchain.pem"), str(folder / "key.pem")),
        minimum=version,
        maximum=version,
        session=session,
    )


@contextlib.contextmanager
def _client(stage: Stage, issuer: x509.Certificate) -> Iterator[x509.Certificate]:
    """A new client of the proof's CA, in the copy's directory; its key goes at the end."""
    peer = peers.Peer(CLIENT, MOUNT, stage.common_name, (), peers.GOOD)
    key = material.new_key()
    certificate = peers.sign(stage.vault, peer, key)
    try:
        peers.write(stage.directory / CLIENT, peers.Identity(key, certificate), issuer, False)
        yield certificate
    finally:
        (stage.directory / CLIENT / "key.pem").unlink(missing_ok=True)


def _revoke(vault: Client, certificate: x509.Certificate) -> None:
    vault.write(f"{MOUNT}/revoke", {"serial_number": material.serial(certificate)})
    # A CA that rebuilds its CRL on a schedule would publish the revocation hours later.
    authority.rotate_crl(vault, MOUNT)


def _crls(stage: Stage) -> str:
    """CRLs of every CA above the client, as they are published now."""
    mounts = (MOUNT, ROOT_MOUNT)
    return "".join(fetch(f"{stage.distribution}/{mount}/crl/pem") for mount in mounts)


def fetch(url: str) -> str:
    """PEM text from a distribution point. Raises PkiError (LAB-DISTRIBUTION)."""
    # The lab is on loopback; a proxy of the environment knows nothing about it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return str(answer.read(4 * 1024 * 1024).decode("ascii")).strip() + "\n"
    except (urllib.error.URLError, OSError, ValueError) as exc:
        raise PkiError(
            "the lab's CA does not publish what the proof needs",
            rule="LAB-DISTRIBUTION",
            found=type(exc).__name__,
            expected="a CA certificate or CRL in PEM",
            where=url,
            next_step="run playbooks/lab.yml -t up; it starts what is not running",
        ) from None


def dn(certificate: x509.Certificate) -> str:
    """A certificate's subject as gateways compare it."""
    return str(names.rfc2253(certificate.subject))
