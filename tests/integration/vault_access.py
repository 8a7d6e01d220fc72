# SPDX-License-Identifier: GPL-3.0-or-later
"""Identities on a real OpenBao with exactly the rights and limits a test wants."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from integration.openbao_server import OpenBao, write_secret
from pki.vault import Client


def write_policy(operator: Client, rules: str) -> str:
    """A policy of its own name with these rules."""
    name = f"test-{secrets.token_hex(4)}"
    operator.write(f"sys/policies/acl/{name}", {"policy": rules})
    return name


def approle(
    openbao: OpenBao,
    folder: Path,
    rules: str,
    *,
    secret: dict[str, Any] | None = None,
    **limits: Any,
) -> dict[str, str]:
    """Client options of a new AppRole that may do what ``rules`` say.

    ``limits`` are the role's (token_ttl, token_type, ...), ``secret`` those of its secret id.
    """
    with openbao.client("operator") as operator:
        name = write_policy(operator, rules)
        path = f"auth/approle/role/{name}"
        operator.write(path, {"token_policies": [name], "token_ttl": "20m", **limits})
        role_id = (operator.read(f"{path}/role-id") or {})["role_id"]
        secret_id = operator.write(f"{path}/secret-id", secret or {})["secret_id"]
    write_secret(folder / f"{name}.role_id", role_id.encode())
    write_secret(folder / f"{name}.secret_id", secret_id.encode())
    return {
        "address": openbao.address,
        "ca_cert": str(openbao.ca_cert),
        "auth_method": "approle",
        "role_id_file": str(folder / f"{name}.role_id"),
        "secret_id_file": str(folder / f"{name}.secret_id"),
    }


# -- id tokens, as a forge hands them to a pipeline -------------------------------------------

ISSUER = "https://forge.example"
AUDIENCE = "https://vault.example"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Forge:
    """Signs id tokens (RS256) and is trusted by a login mount of its own."""

    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False
    )
    mount: str = field(default_factory=lambda: f"jwt-{secrets.token_hex(4)}")

    def id_token(self, claims: dict[str, Any]) -> str:
        head = _encoded(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
        signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"

    def trust(self, operator: Client, role: str, **settings: Any) -> None:
        """Mount the method, trust this forge's key, and make one role."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        operator.write(f"sys/auth/{self.mount}", {"type": "jwt"})
        trusted = {"jwt_validation_pubkeys": [public.decode()], "bound_issuer": ISSUER}
        operator.write(f"auth/{self.mount}/config", trusted)
        self.role(operator, role, **settings)

    def role(self, operator: Client, role: str, **settings: Any) -> None:
        body = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [AUDIENCE],
            "token_ttl": "20m",
            **settings,
        }
        operator.write(f"auth/{self.mount}/role/{role}", body)


def claims(moment: float, **changes: Any) -> dict[str, Any]:
    """What a forge says of a run; None takes a claim out."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(moment) - 5,
        "nbf": int(moment) - 5,
        "exp": int(moment) + 300,
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


# -- client certificates ----------------------------------------------------------------------


@dataclass
class ClientCa:
    """A CA whose certificates identify pipelines to Vault."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )
    name: str = "Test Pipelines CA"

    def _named(self, name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])

    def _signed(
        self, subject: str, key: ec.EllipticCurvePublicKey, days: tuple[float, float], ca: bool
    ) -> bytes:
        now = datetime.now(UTC)
        begin, end = (now + timedelta(days=number) for number in days)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._named(subject))
            .issuer_name(self._named(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
            certificate = certificate.add_extension(usage, critical=False)
        return certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        return self._signed(self.name, self.key.public_key(), (-1, 1), ca=True)

    def issue(self, subject: str, days: tuple[float, float] = (-1, 1)) -> dict[str, str]:
        """A certificate and its key on disk, as client options; valid between days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        stem = self.folder / f"client-{secrets.token_hex(4)}"
        stem.with_suffix(".pem").write_bytes(
            self._signed(subject, key.public_key(), days, ca=False)
        )
        pkcs8 = serialization.PrivateFormat.PKCS8
        plain = serialization.NoEncryption()
        encoded = key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)
        write_secret(stem.with_suffix(".key"), encoded)
        return {
            "client_cert": str(stem.with_suffix(".pem")),
            "client_key": str(stem.with_suffix(".key")),
        }

    def trust(self, operator: Client, mount: str, role: str, **settings: Any) -> None:
        """Mount the method and make one role that trusts this CA."""
        operator.write(f"sys/auth/{mount}", {"type": "cert"})
        body = {"certificate": self.pem.decode(), "token_ttl": "20m", **settings}
        operator.write(f"auth/{mount}/certs/{role}", body)
