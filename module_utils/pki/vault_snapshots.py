# SPDX-License-Identifier: GPL-3.0-or-later
"""What only backups and drills ask of Vault: snapshots of its storage in both directions, and the
first minutes of a server. Login, TLS and the meaning of refusals are the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import requests

from . import vault_connection
from . import vault_faults as faults
from .errors import PkiError
from .vault import Client, _Call

SNAPSHOT = "sys/storage/raft/snapshot"
RULE_SIZE = "BACKUP-SIZE"
# A whole storage is read or written, and the server answers when it is through.
SECONDS = 600.0
_CHUNK = 1 << 16


class SnapshotClient(Client):
    """A session that can also move what does not fit into memory, and set up a new server."""

    def download(self, sink: BinaryIO, limit: int) -> int:
        """Write a snapshot of the server's storage to ``sink``; how many bytes it has.

        Raises:
            PkiError: what every call raises, VAULT-UNREACHABLE among it for an answer that is cut
                off, and BACKUP-SIZE beyond ``limit`` bytes. What ``sink`` has then is of no use.
        """
        received = _Received(sink, limit)
        self._send(_Call("get", SNAPSHOT, True, receive=received.take, seconds=SECONDS))
        return received.size

    def upload(self, source: BinaryIO) -> None:
        """Replace the server's whole storage by a snapshot, whatever server it was taken of."""
        call = _Call("post", f"{SNAPSHOT}-force", False, source=source, seconds=SECONDS)
        self._send(call)

    def initialise(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise a new server; the answer holds its keys and its first token."""
        call = _Call("post", "sys/init", False, dict(body), authenticated=False)
        return self._send(call) or {}

    def unseal(self, key: str) -> dict[str, Any]:
        """Hand one share of the unseal key over; the answer says how far that goes."""
        secrets, body = (key,), {"key": key}
        call = _Call("post", "sys/unseal", True, body, authenticated=False, secrets=secrets)
        return self._send(call) or {}


class _Received:
    """The body of an answer on its way into a file."""

    def __init__(self, sink: BinaryIO, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self.size = 0

    def take(self, response: requests.Response) -> None:
        where = str(response.url)
        try:
            for part in response.iter_content(_CHUNK):
                self.size += len(part)
                if self.size > self._limit:
                    raise _too_large(self._limit, where)
                self._sink.write(part)
        except requests.exceptions.RequestException as exc:
            kind, found = vault_connection.fault_of(exc)
        else:
            return
        # Outside the except block: the library's exception holds the request with its token.
        raise faults.fault(kind, f"{found}, after {self.size} bytes", where).error


def _too_large(limit: int, where: str) -> PkiError:
    return PkiError(
        "the snapshot is larger than allowed",
        rule=RULE_SIZE,
        found=f"more than {limit} bytes",
        expected=f"at most {limit} bytes",
        where=where,
        next_step="find out what fills the storage, or raise backup_largest; nothing was kept",
    )
