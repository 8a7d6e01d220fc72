# SPDX-License-Identifier: GPL-3.0-or-later
"""How the other parties call a gateway: with curl and openssl of their own host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PEERS = "/etc/lab/peers"
ROOT_CA = "/etc/lab/ca/root.pem"
SERVER_NAME = "energydip-nonprod.example-energy.co.uk"
PORT = 8443


@dataclass(frozen=True)
class Answer:
    """What curl saw; status 0 means that no http answer came at all."""

    status: int
    curl: int
    body: str


def call(
    client: Any, address: str, peer: str | None = "dip-client", *options: str, port: int = PORT
) -> Answer:
    """An https request of the client host to a gateway, with a peer's certificate or none."""
    command = [
        "curl -sS --max-time 10",
        f"--cacert {ROOT_CA}",
        f"--resolve {SERVER_NAME}:{port}:{address}",
        *options,
        "-w '\\n%{http_code}'",
        f"https://{SERVER_NAME}:{port}/",
    ]
    if peer is not None:
        command.insert(1, f"--cert {PEERS}/{peer}/fullchain.pem --key {PEERS}/{peer}/key.pem")
    done = client.run(" ".join(command))
    body, _, status = done.stdout.rpartition("\n")
    return Answer(int(status or 0), done.rc, body)


def listens(host: Any, address: str, port: int, seconds: int = 3) -> bool:
    """True when a TCP connection from this host is taken."""
    code = f"import socket; socket.create_connection(('{address}', {port}), {seconds})"
    return bool(host.run(f'python3 -c "{code}"').rc == 0)


def served_serial(client: Any, address: str, port: int = PORT) -> str:
    """Serial number of the certificate that a gateway shows, in hexadecimal; empty for none."""
    done = client.run(
        f"openssl s_client -connect {address}:{port} -servername {SERVER_NAME}"
        " </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    return str(done.stdout.strip().partition("=")[2])
