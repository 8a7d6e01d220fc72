# SPDX-License-Identifier: GPL-3.0-or-later
"""The undo record of a transaction: registered before anything is changed.

``<directory of gateways>/.transaction/transaction.json`` names, for each gateway, every file and
link that will change and what was there; previous bytes lie beside it under their SHA-256. It is
one file for all gateways of the host, so that they begin and end a change together. A gateway is
named in it exactly while its transaction is open: finding one means that a run was interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from . import files
from .errors import HostError

#: Below the directory of gateways; previous bytes of files lie in it beside the record.
DIRECTORY = ".transaction"
RECORD = "transaction.json"
# Bytes that nobody needs until a change is taken back because the disk is full.
_SPARE, _SPARE_BYTES = "spare", 1 << 15


@dataclass
class Part:
    """Previous state of one gateway: file (below its root) or link (absolute) -> what was there.

    A file's value is the SHA-256 of its bytes, a link's its target, None means absent. ``gateway``
    is what it takes to find and signal its process, ``uses`` the links that the new state loads
    through: while the change is open its own record is away.
    """

    files: dict[str, str | None] = field(default_factory=dict)
    links: dict[str, str | None] = field(default_factory=dict)
    gateway: dict[str, str] = field(default_factory=dict)
    uses: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What a change of one gateway is about to touch, and whose it is; see :class:`Part`."""

    files: Iterable[str]
    links: Iterable[str]
    gateway: Mapping[str, str] = field(default_factory=dict)
    uses: Iterable[str] = ()


class Undo:
    """What it takes to put gateways back, by the names of their directories below ``home``."""

    def __init__(self, home: str, parts: Mapping[str, Part] | None = None) -> None:
        self._home = home
        self._parts = dict(parts or {})

    @property
    def _directory(self) -> str:
        return os.path.join(self._home, DIRECTORY)

    @property
    def _record(self) -> str:
        return os.path.join(self._directory, RECORD)

    @staticmethod
    def load(home: str) -> Undo:
        """The record of interrupted transactions; empty where there is none.

        Raises HostError GATEWAY-UNDO for one that somebody damaged.
        """
        undo = Undo(home)
        data = files.read(undo._record)
        if data is None:
            return undo
        try:
            raw = json.loads(data)["gateways"]
            for name, said in raw.items():
                undo._parts[name] = Part(
                    dict(said["files"]),
                    dict(said["links"]),
                    dict(said.get("gateway") or {}),
                    list(said.get("uses") or ()),
                )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _damaged(undo._record, "text that is not an undo record") from None
        return undo

    @staticmethod
    def kept(home: str) -> list[bytes]:
        """The previous bytes that lie beside a record, whatever it says."""
        directory = os.path.join(home, DIRECTORY)
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        copies = (files.read(os.path.join(directory, name)) for name in names if name != RECORD)
        return [copy for copy in copies if copy is not None]

    def part(self, root: str) -> Part | None:
        """What is recorded of the gateway at ``root``; None when nothing is open there."""
        return self._parts.get(os.path.basename(root))

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the gateways whose change was broken off, or is under way."""
        return tuple(sorted(self._parts))

    def register(self, wanted: Mapping[str, Wanted]) -> None:
        """Record the present state of these files and links of each root, durably.

        What is recorded already stays: it is the last good state, while the disk may hold half
        of the change that failed.
        """
        files.make_directory(self._directory, 0o700)
        for root, change in wanted.items():
            part = self._parts.setdefault(os.path.basename(root), Part())
            part.gateway = dict(change.gateway)
            part.uses = sorted({*part.uses, *change.uses})
            for path in change.files:
                if path not in part.files:
                    data = files.read(os.path.join(root, path))
                    part.files[path] = None if data is None else self._keep(data)
            for path in change.links:
                if path not in part.links:
                    part.links[path] = self._target_before(path)
        files.write(os.path.join(self._directory, _SPARE), bytes(_SPARE_BYTES), files.PRIVATE)
        self._write()

    def _target_before(self, path: str) -> str | None:
        """Where a link led before it was changed, for whichever gateway that was recorded."""
        for part in self._parts.values():
            if path in part.links:
                return part.links[path]
        return files.link_target(path)

    def previous(self, root: str, path: str) -> bytes | None:
        """The recorded bytes of a file, or None when there was none."""
        part = self.part(root)
        digest = part.files.get(path) if part else None
        if digest is None:
            return None
        data = files.read(os.path.join(self._directory, digest))
        if data is None or files.sha256(data) != digest:
            raise _damaged(self._directory, f"no intact copy of {path}")
        return data

    def restore(self, roots: Iterable[str]) -> None:
        """Put every recorded file and link of these gateways back, byte for byte."""
        files.remove(os.path.join(self._directory, _SPARE))
        links: dict[str, str | None] = {}
        for root in roots:
            part = self.part(root) or Part()
            for path in part.files:
                self._restore_file(root, path)
            links.update(part.links)
        for link, target in sorted(links.items()):
            if target is not None:
                files.link(link, target)
            elif os.path.islink(link):
                files.remove(link)

    def _restore_file(self, root: str, path: str) -> None:
        data = self.previous(root, path)
        absolute = os.path.join(root, path)
        if data is None:
            files.remove(absolute)
        elif files.read(absolute) == data and files.mode_of(absolute) == files.PUBLIC:
            return
        elif os.path.isabs(path):
            # Of the service manager: such files have labels of their directory's (SELinux).
            files.write(absolute, data, files.PUBLIC)
        else:
            copy = os.path.join(self._directory, files.sha256(data))
            files.put_back(copy, absolute, files.PUBLIC)

    def close(self, roots: Iterable[str], links: Iterable[str] = ()) -> None:
        """End the transactions of these gateways; the last one removes the record.

        ``links`` are those that they now serve through. For a gateway whose own transaction stays
        open they lead where they do now: it cannot take a neighbour's release away.
        """
        closed = {os.path.basename(root) for root in roots}
        self._parts = {name: part for name, part in self._parts.items() if name not in closed}
        if not self._parts:
            # The record goes first: copies without it mean nothing.
            files.remove(self._record)
            files.remove_tree(self._directory)
            return
        for path in links:
            for part in self._parts.values():
                if path in part.links:
                    part.links[path] = files.link_target(path)
        self._write()

    def _write(self) -> None:
        record = {"gateways": {name: asdict(part) for name, part in self._parts.items()}}
        data = json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"
        files.write(self._record, data, files.PRIVATE)

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
        next_step=f"move the directory `{DIRECTORY}` away and run again: the change is then "
        "made from what is on disk now",
    )
