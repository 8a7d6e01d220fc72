# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway's listeners do, seen from their own host: raw observations, no judgement.

An ingress is tried like a stranger would: every version and suite by hand, then whole handshakes
without a certificate and with the gateway's own, which its peers' list must not know. An egress is
looked at from both ends: the far end shows its certificate in a handshake; a call goes
through the listener only when the far end is one that the gateway has to refuse, so a
verification never sends a request to the real one.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from . import handshake, hello
from .handshake import Identity, Seen

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def observe(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every listener of one gateway model, as :mod:`pki.gateway` builds it."""
    found = [_ingress(model, entry) for entry in model["ingress"]]
    return found + [_egress(model, entry) for entry in model["egress"]]


def _ingress(model: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    address = _WILDCARDS.get(str(entry["address"]), str(entry["address"]))
    port, name = int(entry["port"]), str(entry["server_name"])
    raw = _blank(model, entry, "ingress", name)
    raw["problem"] = _unreachable(address, port)
    if raw["problem"]:
        return raw
    raw["reached"] = True
    try:
        _versions_and_suites(raw, address, port, name)
    except OSError as exc:
        raw["problem"] = exc.strerror or type(exc).__name__
    seen = handshake.connect(handshake.context_of(), address, port, name)
    raw.update(_presented(seen), requested=seen.requested, anonymous=_caller(seen))
    identity = _own(entry)
    for version in raw["protocols"]:
        first = _resumption(raw, address, port, name, version, identity)
        if identity is not None and (first.completed or first.alert >= 0):
            raw["stranger"] = _caller(first)
    return raw


def _versions_and_suites(raw: dict[str, Any], address: str, port: int, name: str) -> None:
    for version, number in hello.VERSIONS.items():
        modern = number == hello.NEWEST
        answer = hello.offer(address, port, name, number, hello.MODERN if modern else hello.CLASSIC)
        if answer.outcome == "silent":
            raw["protocols_unknown"].append(version)
        if answer.outcome == "accepted":
            raw["protocols"].append(version)
            suites = hello.suite_names(hello.suites_of(address, port, name, number))
            kind = "ciphersuites" if modern else "ciphers"
            raw[kind] += [suite for suite in suites if suite not in raw[kind]]


def _resumption(
    raw: dict[str, Any], address: str, port: int, name: str, version: str, identity: Identity | None
) -> Seen:
    """Connect twice, the second time with the first one's session; the first connection."""
    try:
        context = handshake.context_of(hello.VERSIONS[version], identity)
    except (OSError, ValueError):
        # A version that this host's own library does not speak.
        return Seen()
    first = handshake.connect(context, address, port, name)
    if first.session is not None:
        again = handshake.connect(context, address, port, name, session=first.session)
        if again.resumed:
            raw["resumed"].append(version)
    return first


def _egress(model: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    address, port = str(entry["upstream_address"]), int(entry["upstream_port"])
    name = str(entry["host"])
    raw = _blank(model, entry, "egress", name)
    raw["problem"] = _unreachable(address, port)
    if raw["problem"]:
        return raw
    raw["reached"] = True
    seen = handshake.connect(handshake.context_of(), address, port, name, ask=False)
    raw.update(_presented(seen), requested=seen.requested)
    raw["protocols"] = [seen.protocol] if seen.protocol else []
    files = (str(entry["ca_file"]), str(entry["crl_file"]))
    raw["refused_here"] = refused_here(*files, f"{address}:{port}", name)
    if raw["refused_here"]:
        raw["call_status"] = handshake.call(str(entry["address"]), int(entry["port"]), name)
    return raw


def refused_here(ca_file: str, crl_file: str, far_end: str, name: str) -> str:
    """Why this host would not talk to the far end at ``address:port``, by these files of a gateway.

    Empty where that cannot be said, too: nothing is ever sent on the strength of a broken file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    try:
        context.load_verify_locations(ca_file)
        context.load_verify_locations(crl_file)
    except OSError:  # ssl.SSLError is one
        return ""
    try:
        with socket.create_connection(_end(far_end), timeout=handshake.SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=name).close()
    except ssl.SSLCertVerificationError as exc:
        return str(exc.verify_message)
    except ssl.SSLError as exc:
        # It wants our certificate and did not get one: by then it had been verified.
        return "" if exc.reason and "ALERT" in exc.reason else str(exc.reason or "TLS failed")
    except OSError:
        return ""
    return ""


def _end(authority: str) -> tuple[str, int]:
    address, _, port = authority.rpartition(":")
    return address.strip("[]"), int(port) if port.isdecimal() else 0


def _own(entry: Mapping[str, Any]) -> Identity | None:
    """The gateway's own identity, when this user may read it."""
    identity = Identity(str(entry["fullchain"]), str(entry["key"]))
    try:
        handshake.context_of(identity=identity)
    except (OSError, ValueError):
        return None
    return identity


def _unreachable(address: str, port: int) -> str:
    try:
        socket.create_connection((address, port), timeout=handshake.SECONDS).close()
    except OSError as exc:
        return f"nobody answers at {address}:{port}: {exc.strerror or type(exc).__name__}"
    return ""


def _presented(seen: Seen) -> dict[str, Any]:
    chain = [base64.b64encode(der).decode("ascii") for der in seen.chain]
    return {"chain": chain, "problem": "" if chain else seen.problem or "no certificate was sent"}


def _caller(seen: Seen) -> dict[str, Any]:
    return {"tried": True, "status": seen.status, "alert": seen.alert}


def _blank(
    model: Mapping[str, Any], entry: Mapping[str, Any], direction: str, name: str
) -> dict[str, Any]:
    untried = {"tried": False, "status": 0, "alert": -1}
    return {
        "gateway": str(model["name"]),
        "listener": str(entry["name"]),
        "direction": direction,
        "server_name": name,
        "reached": False,
        "problem": "",
        "protocols": [],
        "protocols_unknown": [],
        "ciphers": [],
        "ciphersuites": [],
        "requested": False,
        "chain": [],
        "resumed": [],
        "anonymous": dict(untried),
        "stranger": dict(untried),
        "refused_here": "",
        "call_status": -1,
    }
