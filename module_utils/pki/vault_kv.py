# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries in a KV engine, version 2, that are made once and never changed.

Only the paths of the engine and the meaning of its answers are here; HTTP is the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import PkiError

#: What a second writer of an entry is told: by the engine, or by a policy without `update`.
_THERE_ALREADY = ("VAULT-CAS", "VAULT-DENIED")
RULE_ENGINE = "VAULT-KV-VERSION"


class VaultClient(Protocol):
    """What is needed of :class:`pki.vault.Client`."""

    def read(self, path: str) -> dict[str, Any] | None: ...
    def list(self, path: str) -> list[str]: ...
    def write(
        self, path: str, data: Mapping[str, Any] | None = None, idempotent: bool = False
    ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Folder:
    """The entries below one folder of a mount."""

    client: VaultClient
    mount: str
    folder: str

    def names(self) -> list[str]:
        """Every entry's name, those whose content was deleted included; one call, two when empty.

        Raises:
            PkiError: VAULT-NO-MOUNT without the mount; VAULT-KV-VERSION when it is something else
                than KV version 2, which would answer with nothing, too.
        """
        found = self.client.list(f"{self.mount}/metadata/{self.folder}")
        if not found:
            self._must_be_version_2()
        return found

    def read(self, name: str) -> dict[str, Any] | None:
        """An entry's content; None when there is none, or it was deleted."""
        answer = self.client.read(f"{self.mount}/data/{self.folder}/{name}")
        content = answer.get("data") if answer else None
        return dict(content) if isinstance(content, Mapping) else None

    def create(self, name: str, content: Mapping[str, Any]) -> bool:
        """Make an entry that does not exist; False when it does, and it stays as it is."""
        path = f"{self.mount}/data/{self.folder}/{name}"
        # Check-and-set with 0 makes a repeated call harmless: it only ever creates.
        body = {"data": dict(content), "options": {"cas": 0}}
        try:
            self.client.write(path, body, idempotent=True)
        except PkiError as exc:
            if exc.rule not in _THERE_ALREADY or name not in self.names():
                raise
            return False
        return True

    def _must_be_version_2(self) -> None:
        found = self.client.read(f"sys/internal/ui/mounts/{self.mount}") or {}
        options = found.get("options")
        version = str(options.get("version")) if isinstance(options, Mapping) else "1"
        if (found.get("type"), version) == ("kv", "2"):
            return
        raise PkiError(
            f"the mount {self.mount} is not a KV engine of version 2",
            rule=RULE_ENGINE,
            found=f"type {found.get('type') or 'unknown'}, version {version}",
            expected="type kv, version 2",
            where=self.mount,
            next_step=f"move what is there elsewhere and make the mount: "
            f"bao secrets enable -path={self.mount} -version=2 kv",
        )
