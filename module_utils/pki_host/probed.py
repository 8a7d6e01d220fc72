# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be seen at a gateway's listeners. Values only; :mod:`.probe` looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Own:
    """Our own certificate, shown as a client's: its files and the issuers that are let in."""

    fullchain: str
    key: str
    issuers: tuple[str, ...]


@dataclass(frozen=True)
class Client:
    """Somebody who must be let in: files, what is asked for, and the status of the answer."""

    certificate: str
    key: str
    path: str = "/"
    status: int = 200


@dataclass(frozen=True)
class Probe:
    """One listener and what must be seen there.

    ``kind`` ingress: the leaf of this SHA-256 is served, and 403 is what a client without a
    certificate gets, and one with a stranger's. ``own`` is refused for its subject and nothing
    else, ``client`` is let in. ``kind`` egress: a request for ``path`` is answered by the far end
    if it was before the change.
    """

    name: str
    kind: str
    address: str
    port: int
    server_name: str = ""
    certificate_sha256: str = ""
    path: str = "/"
    own: Own | None = None
    client: Client | None = None

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Probe:
        own, client = raw.get("own"), raw.get("client")
        return Probe(
            str(raw["name"]),
            str(raw["kind"]),
            str(raw["address"]),
            int(raw["port"]),
            str(raw.get("server_name") or ""),
            str(raw.get("certificate_sha256") or ""),
            str(raw.get("path") or "/"),
            Own(str(own["fullchain"]), str(own["key"]), tuple(map(str, own.get("issuers") or ())))
            if own
            else None,
            Client(
                str(client["certificate"]),
                str(client["key"]),
                str(client.get("path") or "/"),
                int(client.get("status") or 200),
            )
            if client
            else None,
        )

    @property
    def is_ingress(self) -> bool:
        return self.kind == "ingress"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


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
        return asdict(self)
