# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for looking at a gateway: one request, and a stranger's certificate to make it with."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from . import files, openssl
from .errors import HostError
from .probed import Probe

_SECONDS = 5.0
# The least that the program wants to know; what the host's own file says does not matter here.
_SETTINGS = b"[req]\ndistinguished_name = name\nx509_extensions = none\n[name]\n[none]\n"


@dataclass(frozen=True)
class Identity:
    """Paths of a client's certificate with its chain, and of its key."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Answer:
    """SHA-256 of the leaf that was served, and the HTTP status; 0 for no answer in HTTP."""

    leaf: str
    status: int


def ask(probe: Probe, identity: Identity | None = None, path: str = "/") -> Answer:
    """One request to an ingress listener. Raises OSError when there is no handshake."""
    # Not verified on purpose: the leaf is compared with the one fingerprint that is
    # right, which is stricter than any chain.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        # An encrypted key must not make the library ask a terminal.
        context.load_cert_chain(identity.certificate, identity.key, password="")
    name = probe.server_name or None
    plain = socket.create_connection((probe.address, probe.port), timeout=_SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=name) as tls:
        leaf = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
        return Answer(leaf, _status(tls, "GET", path, name or probe.address))


def status_through(probe: Probe) -> int:
    """HTTP status that an egress listener brings back; 0 when it does not answer in time.

    Raises OSError when nobody listens.
    """
    with socket.create_connection((probe.address, probe.port), timeout=_SECONDS) as plain:
        try:
            return _status(plain, "HEAD", probe.path, probe.address)
        except OSError:
            return 0


def _status(connection: socket.socket, method: str, path: str, host: str) -> int:
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode("ascii", "replace"))
    response = http.client.HTTPResponse(connection, method=method)
    with contextlib.closing(response):
        try:
            response.begin()
        except http.client.HTTPException:
            return 0
        return response.status


@contextlib.contextmanager
def stranger(root: str) -> Iterator[Identity]:
    """A self-signed certificate that nobody knows, for as long as it is needed.

    Its key is in a directory of its own below ``run/`` that only this user can open.
    """
    parent = os.path.join(root, "run")
    files.make_directory(parent)
    directory = files.new_directory(parent)
    try:
        yield _made(directory)
    finally:
        files.remove_tree(directory)


def sweep(root: str) -> None:
    """Remove what a killed run left of a stranger."""
    files.sweep_directories(os.path.join(root, "run"))


def _made(directory: str) -> Identity:
    made = Identity(os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem"))
    settings = os.path.join(directory, "settings")
    files.write(settings, _SETTINGS)
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"]
    names = ["-subj", "/CN=stranger", "-days", "1", "-config", settings]
    arguments = ["req", "-x509", *kind, *names, "-keyout", made.key, "-out", made.certificate]
    code, _, said = openssl.tell(arguments, b"")
    if code != 0:
        raise HostError(
            "no certificate could be made to knock at the gateway with",
            rule="PROGRAM-FAILED",
            found=said.strip()[-300:] or f"exit code {code}",
            expected="a self-signed certificate",
            where="openssl req -x509",
            next_step="run openssl req -x509 by hand on this host and correct what it says",
        )
    return made
