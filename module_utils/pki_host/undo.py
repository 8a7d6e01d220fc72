# SPDX-License-Identifier: GPL-3.0-or-later
"""The undo record of a transaction: registered before anything is changed.

``<root>/transaction/transaction.json`` names every file and link that will change and
what was there; previous bytes lie beside it under their SHA-256. The record exists
exactly while a transaction is open, so finding one means that a run was interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import files
from .errors import HostError

#: Below the gateway's root; previous bytes of files lie in it beside the record.
DIRECTORY = "transaction"


@dataclass
class Undo:
    """Previous state: file path (below root) or link path (absolute) -> what was there.

    A file's value is the SHA-256 of its bytes, a link's its target, None means absent.
    """

    root: str
    files: dict[str, str | None] = field(default_factory=dict)
    links: dict[str, str | None] = field(default_factory=dict)

    @property
    def _directory(self) -> str:
        return os.path.join(self.root, DIRECTORY)

    @property
    def _record(self) -> str:
        return os.path.join(self._directory, "transaction.json")

    @staticmethod
    def load(root: str) -> Undo | None:
        """The record of an interrupted transaction, or None."""
        undo = Undo(root)
        data = files.read(undo._record)
        if data is None:
            return None
        try:
            raw = json.loads(data)
            undo.files, undo.links = dict(raw["files"]), dict(raw["links"])
        except (ValueError, KeyError, TypeError):
            raise _damaged(undo._record, "text that is not an undo record") from None
        return undo

    def register(self, file_paths: Iterable[str], link_paths: Iterable[str]) -> None:
        """Record the present state of these paths, durably, unless already recorded.

        What an interrupted transaction recorded stays: it is the last good state, while
        the disk may hold half of the change that failed.
        """
        files.make_directory(self._directory, 0o700)
        for path in file_paths:
            if path not in self.files:
                data = files.read(os.path.join(self.root, path))
                self.files[path] = None if data is None else self._keep(data)
        for path in link_paths:
            if path not in self.links:
                self.links[path] = files.link_target(path)
        record: dict[str, Any] = {"files": self.files, "links": self.links}
        data = json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"
        files.write(self._record, data, files.PRIVATE)

    def previous(self, path: str) -> bytes | None:
        """The recorded bytes of a file, or None when there was none."""
        digest = self.files.get(path)
        if digest is None:
            return None
        data = files.read(os.path.join(self._directory, digest))
        if data is None or files.sha256(data) != digest:
            raise _damaged(self._directory, f"no intact copy of {path}")
        return data

    def restore(self) -> None:
        """Put every recorded file and link back, byte for byte."""
        for path in self.files:
            data = self.previous(path)
            absolute = os.path.join(self.root, path)
            if data is None:
                files.remove(absolute)
            else:
                files.write(absolute, data, files.PUBLIC)
        for path, target in self.links.items():
            if target is None:
                if os.path.islink(path):
                    files.remove(path)
            else:
                files.link(path, target)

    def discard(self) -> None:
        """Close the transaction. The record goes first: copies without it mean nothing."""
        files.remove(self._record)
        files.remove_tree(self._directory)

    def _keep(self, data: bytes) -> str:
        digest = files.sha256(data)
        files.write(os.path.join(self._directory, digest), data, files.PRIVATE)
        return digest


def _damaged(where: str, found: str) -> HostError:
    # Only a hand can do this: every file of the record is written whole or not at all.
    return HostError(
        "the undo record of an interrupted change is damaged",
        rule="GATEWAY-UNDO",
        found=found,
        expected="the record as it was written",
        where=where,
        next_step="move the directory `transaction` away and run again: the change is then "
        "made from what is on disk now",
    )
