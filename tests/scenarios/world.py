# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in world as its hosts hold it: where things are, and what Vault's audit log says.

The audit log is the only witness of who took a key: a wrapped export and the one unwrapping of
it carry the same keyed hash of the wrapping token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

VAULT_UNIT, FAREND_UNIT = "openbao.service", "lab-farend.service"
AUDIT_LOG = PurePosixPath("/var/log/openbao/audit.log")
FAREND_LOG = PurePosixPath("/var/log/lab-farend/farend-access.log")
CA_DIRECTORY = PurePosixPath("/etc/lab/ca")
PEERS_DIRECTORY = PurePosixPath("/etc/lab/peers")

EXPORT = "/export/"
UNWRAP = "sys/wrapping/unwrap"


@dataclass(frozen=True)
class Peer:
    """The files of another party on ``dip`` and ``client``; readable for root only."""

    name: str

    @property
    def key(self) -> PurePosixPath:
        return PEERS_DIRECTORY / self.name / "key.pem"

    @property
    def chain(self) -> PurePosixPath:
        return PEERS_DIRECTORY / self.name / "fullchain.pem"


def ca(name: str) -> PurePosixPath:
    """The certificate of a CA of the lab (root, dca, sibling, foreign, proof)."""
    return CA_DIRECTORY / f"{name}.pem"


@dataclass(frozen=True)
class Wrap:
    """What an answer says of the token it was wrapped into. ``token`` is a keyed hash."""

    token: str
    creation_path: str
    ttl: int


@dataclass(frozen=True)
class AuditEntry:
    """One line: a request when it came in, or the response to it. ``token`` is a keyed hash."""

    kind: str
    time: str
    request_id: str
    operation: str
    path: str
    remote_address: str
    role: str
    token: str
    wrap_ttl: int
    wrap: Wrap | None
    error: str


def audit_entries(text: str) -> list[AuditEntry]:
    """All entries in order. A line that is no entry raises: a proof must not overlook one."""
    return [_entry(json.loads(line)) for line in text.splitlines() if line.strip()]


def _entry(line: dict[str, Any]) -> AuditEntry:
    request, response = line["request"], line.get("response") or {}
    wrapped = response.get("wrap_info")
    return AuditEntry(
        kind=line["type"],
        time=line["time"],
        request_id=request["id"],
        operation=request.get("operation", ""),
        path=request["path"],
        remote_address=request.get("remote_address", ""),
        role=((line.get("auth") or {}).get("metadata") or {}).get("role_name", ""),
        token=request.get("client_token", ""),
        wrap_ttl=int(request.get("wrap_ttl", 0)),
        wrap=Wrap(wrapped["token"], wrapped["creation_path"], int(wrapped["ttl"]))
        if wrapped
        else None,
        error=line.get("error", ""),
    )


def answered(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Responses that gave what was asked for."""
    return [one for one in entries if one.kind == "response" and not one.error]


def exports(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Answered exports of keys, wrapped or not."""
    return [one for one in answered(entries) if EXPORT in one.path]


def unwrapped_exports(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Exports that handed out the key itself. There must be none."""
    return [one for one in exports(entries) if one.wrap is None]


def unwraps(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Every attempt to unwrap, also a refused one: the request, once each."""
    return [one for one in entries if one.kind == "request" and one.path == UNWRAP]


@dataclass(frozen=True)
class Delivery:
    """One wrapped export: who asked for it, and from where its token was then used."""

    path: str
    asked_from: str
    unwrapped_from: tuple[str, ...]


def deliveries(entries: Sequence[AuditEntry]) -> list[Delivery]:
    """Every wrapped export with the unwrapping of its token; none if it was never taken."""
    taken = [one for one in answered(entries) if one.path == UNWRAP]
    return [
        Delivery(
            path=one.wrap.creation_path,
            asked_from=one.remote_address,
            unwrapped_from=tuple(
                taker.remote_address for taker in taken if taker.token == one.wrap.token
            ),
        )
        for one in exports(entries)
        if one.wrap is not None
    ]
