# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenBao as an ordinary process in a directory of its own, for tests.

Raft storage, static seal, self-initialisation, TLS and an audit device: the features a
production server has, because policies, wrapping and audit cannot be imitated. Nothing
is done with a root token; the configuration below makes mounts, policies and AppRoles.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import secrets
import signal
import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from integration import shipped_policies
from integration.own_ports import free_port
from pki.errors import PkiError
from pki.vault import Client, Settings

TLS_MOUNT = "transit-nonprod-tls"
SIGNING_MOUNT = "transit-nonprod-signing"
KV_MOUNT = "kv-nonprod"
START_SECONDS = 60.0


#: What each AppRole may do: the policies that the product ships, for one environment class.
POLICIES = {
    role: shipped_policies.rendered(role, ("nonprod",))
    for role in ("pipeline", "release", "retire", "import", "auditor", "backup", "export")
} | {
    # The tests' own hand: it prepares states that no role of the product may make.
    "operator": 'path "*" { capabilities = '
    '["create", "read", "update", "patch", "delete", "list", "sudo"] }',
}
#: For hosts that fetch their keys themselves; each test makes its own identities.
PULL = "pull"


def write_secret(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def make_tls(directory: Path) -> Path:
    """A CA and a server certificate for 127.0.0.1; returns the CA file to pin."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test Vault CA")])
    server_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test Vault")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
        )

    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(**{**usage, "key_cert_sign": True, "crl_sign": True}), critical=True
        )
        .sign(ca_key, hashes.SHA256())
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    server = (
        builder(server_name, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.KeyUsage(**{**usage, "digital_signature": True}), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "server.pem").write_bytes(server.public_bytes(pem))
    write_secret(
        directory / "server.key",
        server_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    return directory / "ca.pem"


def request(name: str, path: str, **data: object) -> str:
    """One self-initialisation request. A value may be an ``env(NAME)`` marker."""
    fields = " ".join(
        f'{key} = {{ eval_type = "string" eval_source = "env" env_var = "{value.name}" }}'
        if isinstance(value, Env)
        else f"{key} = {_hcl(value)}"
        for key, value in data.items()
    )
    return f'  request "{name}" {{ operation = "update" path = "{path}" data = {{ {fields} }} }}\n'


def _hcl(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + " ".join(f"{key} = {_hcl(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


@dataclass(frozen=True)
class Env:
    """A value that the server takes from its environment, so that no file holds it."""

    name: str


def self_initialisation() -> str:
    lines = [
        request("approle", "sys/auth/approle", type="approle"),
        request("tls-keys", f"sys/mounts/{TLS_MOUNT}", type="transit"),
        request("signing-keys", f"sys/mounts/{SIGNING_MOUNT}", type="transit"),
        request("ledger", f"sys/mounts/{KV_MOUNT}", type="kv", options={"version": "2"}),
    ]
    pull = shipped_policies.rendered(PULL, ("nonprod",))
    lines.append(request("pull-policy", f"sys/policies/acl/{PULL}", policy=pull))
    for role, policy in POLICIES.items():
        base = f"auth/approle/role/{role}"
        lines += [
            request(f"{role}-policy", f"sys/policies/acl/{role}", policy=policy),
            request(f"{role}-role", base, token_policies=[role], token_ttl="20m"),
            request(f"{role}-role-id", f"{base}/role-id", role_id=Env(f"ROLE_ID_{role}")),
            request(
                f"{role}-secret-id",
                f"{base}/custom-secret-id",
                secret_id=Env(f"SECRET_ID_{role}"),
            ),
        ]
    return 'initialize "tests" {\n' + "".join(lines) + "}\n"


@dataclass
class OpenBao:
    """One server. ``options(role)`` are the client options of an AppRole."""

    directory: Path
    port: int = field(default_factory=free_port)
    cluster_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_cert(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"

    def options(self, role: str) -> dict[str, str]:
        return {
            "address": self.address,
            "ca_cert": str(self.ca_cert),
            "auth_method": "approle",
            "role_id_file": str(self.directory / f"{role}.role_id"),
            "secret_id_file": str(self.directory / f"{role}.secret_id"),
        }

    def client(self, role: str, **options: object) -> Client:
        return Client(Settings.resolve({**self.options(role), **options}, {}))

    def prepare(self) -> None:
        """Certificates, seal key, credentials and configuration; nothing is started."""
        make_tls(self.directory)
        (self.directory / "data").mkdir()
        write_secret(self.directory / "unseal.key", secrets.token_bytes(32))
        for role in POLICIES:
            for part in ("role_id", "secret_id"):
                value = secrets.token_hex(24).encode()
                write_secret(self.directory / f"{role}.{part}", value + b"\n")
        (self.directory / "openbao.hcl").write_text(self.configuration(), encoding="utf-8")

    def configuration(self) -> str:
        root = self.directory
        return f"""
api_addr = "{self.address}"
cluster_addr = "https://127.0.0.1:{self.cluster_port}"
storage "raft" {{
  path = "{root}/data"
  node_id = "tests"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{self.port}"
  cluster_address = "127.0.0.1:{self.cluster_port}"
  tls_cert_file = "{root}/server.pem"
  tls_key_file = "{root}/server.key"
}}
seal "static" {{
  current_key_id = "tests-1"
  current_key = "file://{root}/unseal.key"
}}
audit "file" "tests" {{
  options {{ file_path = "{self.audit_log}" }}
}}
{self_initialisation()}"""

    def environment(self) -> dict[str, str]:
        values = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for role in POLICIES:
            for part in ("role_id", "secret_id"):
                secret = (self.directory / f"{role}.{part}").read_text(encoding="ascii").strip()
                values[f"{part.upper()}_{role}"] = secret
        return values

    def start(self, *, wait: bool = True) -> None:
        # The wheel's program replaces itself with the server: its pid is the server's.
        program = Path(sysconfig.get_path("scripts")) / "bao"
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", f"-config={self.directory / 'openbao.hcl'}"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.wait_until_usable()

    def wait_until_usable(self) -> None:
        """Health says active before self-initialisation is over: wait for a login."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.client("release") as client:
                    client.read("auth/token/lookup-self")
                return
            except PkiError as fault:
                if self.process is None or self.process.poll() is not None:
                    raise RuntimeError(self.last_log_lines()) from fault
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def last_log_lines(self) -> str:
        text = (self.directory / "server.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-20:])

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait(timeout=30)
            self.process = None

    def stop(self) -> None:
        self.kill(signal.SIGTERM)
