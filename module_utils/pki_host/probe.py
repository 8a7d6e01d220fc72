# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway on this host really serves, seen as a stranger would see it.

Native configuration tests miss an expired certificate, an incomplete chain and a gateway
that kept the old files; a handshake does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import HostError

_SECONDS = 10.0
_FORBIDDEN = 403


@dataclass(frozen=True)
class Probe:
    """One listener and what must be seen there.

    ``kind`` ingress: the leaf of this SHA-256 is served, and a client without a
    certificate gets 403. ``kind`` egress: somebody listens (a request would leave
    the house, so none is made).
    """

    name: str
    kind: str
    address: str
    port: int
    server_name: str = ""
    certificate_sha256: str = ""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Probe:
        return Probe(
            str(raw["name"]),
            str(raw["kind"]),
            str(raw["address"]),
            int(raw["port"]),
            str(raw.get("server_name") or ""),
            str(raw.get("certificate_sha256") or ""),
        )

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Closed:
    """A listener that is out of service: this gateway must not listen there."""

    name: str
    address: str
    port: int

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Closed:
        return Closed(str(raw["name"]), str(raw["address"]), int(raw["port"]))

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def require_closed(
    closed: Sequence[Closed], listens: Callable[[str, int], bool], seconds: float = _SECONDS
) -> None:
    """``listens`` tells of none of these within ``seconds``, or HostError GATEWAY-STILL-OPEN."""
    deadline = time.monotonic() + seconds
    for entry in closed:
        still = listens(entry.address, entry.port)
        while still and time.monotonic() < deadline:
            time.sleep(0.1)
            still = listens(entry.address, entry.port)
        if still:
            raise HostError(
                f"{entry.name}: the listener was taken out of service and still listens",
                rule="GATEWAY-STILL-OPEN",
                found="a listening socket",
                expected="nobody of this gateway there",
                where=f"{entry.address}:{entry.port}",
                next_step="end the process that holds it; read the gateway's error log",
            )


def require(probes: Sequence[Probe], seconds: float = _SECONDS) -> None:
    """Every probe sees what it must within ``seconds``, or HostError GATEWAY-PROBE."""
    deadline = time.monotonic() + seconds
    for probe in probes:
        problem = observe(probe)
        while problem and time.monotonic() < deadline:
            time.sleep(0.1)
            problem = observe(probe)
        if problem:
            raise HostError(
                f"{probe.name}: the gateway does not serve what was installed",
                rule="GATEWAY-PROBE",
                found=problem,
                expected=_expected(probe),
                where=f"{probe.address}:{probe.port}",
                next_step="read the gateway's error log",
            )


def observe(probe: Probe) -> str:
    """What is wrong at this listener; empty when nothing is."""
    try:
        with socket.create_connection((probe.address, probe.port), timeout=3.0) as plain:
            return _ingress(probe, plain) if probe.kind == "ingress" else ""
    except OSError as exc:
        return f"{exc.strerror or type(exc).__name__}"


def _ingress(probe: Probe, plain: socket.socket) -> str:
    # Not verified on purpose: the leaf is compared with the one fingerprint that is
    # right, which is stricter than any chain.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(plain, server_hostname=probe.server_name or None) as tls:
        leaf = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
        if leaf != probe.certificate_sha256:
            return f"leaf {leaf}"
        status = _status(tls, probe.server_name or probe.address)
        return "" if status == _FORBIDDEN else f"status {status} without a client certificate"


def _status(tls: ssl.SSLSocket, host: str) -> int:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    tls.sendall(request.encode("ascii"))
    response = http.client.HTTPResponse(tls)
    with contextlib.closing(response):
        try:
            response.begin()
        except http.client.HTTPException:
            return 0
        return response.status


def _expected(probe: Probe) -> str:
    if probe.kind != "ingress":
        return "a listener"
    return f"leaf {probe.certificate_sha256}, and 403 without a client certificate"
