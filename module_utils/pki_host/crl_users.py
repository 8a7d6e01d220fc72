# SPDX-License-Identifier: GPL-3.0-or-later
"""Which gateways of this host use a CRL set, and who runs them. No network code.

Known from the record of each one's last change, and while a change is open, or was broken off, from
what stood there before: whoever has to refuse cannot wait for the end of a transaction.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import crl_links, files
from .desired import APPLIED, Applied
from .errors import HostError
from .gateways import adapter
from .gateways.base import Adapter
from .service import Daemon, Generation, for_host
from .systemd import Unit
from .undo import Part, Undo

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY = ("product", "program", "service")


@dataclass(frozen=True)
class User:
    """A gateway that loads a CRL set. ``links``: absolute paths of all links that it loads through.

    ``applied`` is the record of its last change; None while a first one is under way.
    """

    name: str
    root: str
    product: str
    program: str
    service: str
    links: tuple[str, ...]
    applied: Applied | None = None

    def loaded(self, link: str) -> str:
        """What the record says that the running process has loaded through a link."""
        return self.applied.loaded.get(link, "") if self.applied else ""


def users(gateway_root: str, crl_root: str, trust: str) -> list[User]:
    """The gateways that use the sets of this trust entry, by name.

    A gateway that is out of service uses none. A record that cannot be read names nobody.
    """
    link = crl_links.Place(crl_root.rstrip("/"), trust).link
    return [user for user in _all(gateway_root.rstrip("/")) if link in user.links]


def daemon(user: User) -> Daemon:
    """Who runs it. HostError when its program is too old, or its product is not known."""
    build = build_of(user)
    if user.service == Unit.kind:
        return Unit(build, user.program, user.root, user.name)
    return Daemon(build, user.program, user.root)


def build_of(user: User) -> Adapter:
    """The adapter for the build on this host."""
    return for_host(adapter(user.product), user.program)


def record_reload(user: User, daemon: Daemon) -> None:
    """Note where the links of a gateway lead, and who has loaded them. Under the gateways' lock.

    Nothing where its record is away, or where a master serves that the record does not name: from
    what that one was started nobody knows, and the next run sees to it.
    """
    path = os.path.join(user.root, APPLIED)
    applied, serving = Applied.parse(files.read(path)), daemon.generation()
    if applied is None or serving is None or serving.master != applied.generation.master:
        return
    loaded = {link: files.link_target(link) or "" for link in applied.uses}
    files.write(path, replace(applied, loaded=loaded, generation=serving).encode(), files.PUBLIC)


def note_reload(user: User, daemon: Daemon, before: Generation | None) -> None:
    """The same after a reload by whoever waits for no lock: only if it is free, and never an error.

    ``before``: who served until then. Where somebody else had reloaded that, nothing is noted.
    Without this note the next run reloads once more, and nothing else comes of it.
    """
    if user.applied is None or before is None or not before.still_serves(user.applied.generation):
        return
    lock = files.HostLock(os.path.join(os.path.dirname(user.root), ".lock"), wait_seconds=0)
    with contextlib.suppress(HostError, OSError), lock:
        now = Applied.parse(files.read(os.path.join(user.root, APPLIED)))
        if now is not None and now.generation == user.applied.generation:
            record_reload(user, daemon)


def _all(gateway_root: str) -> Iterator[User]:
    undo = _undo(gateway_root)
    for name in _names(gateway_root):
        user = _user(os.path.join(gateway_root, name), name, undo)
        if user is not None:
            yield user


def _user(root: str, name: str, undo: Undo) -> User | None:
    part = undo.part(root) or Part()
    applied = Applied.parse(files.read(os.path.join(root, APPLIED))) or _before(undo, root)
    identity = dict(part.gateway) or (dict(applied.gateway) if applied else {})
    if not {*_IDENTITY} <= {*identity}:
        return None
    links = {*part.uses, *(applied.uses if applied else ())}
    told = {key: identity[key] for key in _IDENTITY}
    return User(name, root, links=tuple(sorted(links)), applied=applied, **told)


def _before(undo: Undo, root: str) -> Applied | None:
    """The record that an open change took away and would put back."""
    try:
        return Applied.parse(undo.previous(root, APPLIED))
    except HostError:
        return None


def _undo(gateway_root: str) -> Undo:
    try:
        return Undo.load(gateway_root)
    except HostError:  # damaged: the records that are there must do
        return Undo(gateway_root)


def _names(directory: str) -> list[str]:
    try:
        found = [entry for entry in os.scandir(directory) if _NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))


# -- what their configurations say of CRLs -----------------------------------------------------


@dataclass(frozen=True)
class FarEnd:
    """Where a listener calls, and the files by which it judges who answers."""

    address: str
    name: str
    ca_file: str
    crl_file: str


@dataclass(frozen=True)
class Configured:
    """What one gateway's listeners, by port, do with CRLs.

    ``refusing``: those through which everybody is refused until the CRLs are fresh.
    """

    refusing: frozenset[int] = frozenset()
    far_ends: Mapping[int, tuple[FarEnd, ...]] = field(default_factory=dict)


def configured(root: str, build: Adapter) -> Configured:
    """As the files on disk have it; nothing where they cannot be read."""
    try:
        listeners = build.read(_texts(root, build))["listeners"]
    except HostError:
        return Configured()
    refusing = {one["port"] for one in listeners if any(map(crl_links.refuses, _crls(root, one)))}
    far_ends = {one["port"]: tuple(_far_ends(root, one)) for one in listeners}
    return Configured(frozenset(refusing), far_ends)


def _texts(root: str, build: Adapter) -> dict[str, str]:
    names = (build.config_file, *build.start_files)
    found = ((name, files.read(os.path.join(root, name))) for name in names)
    texts = {name: data.decode("utf-8", "replace") for name, data in found if data is not None}
    return {build.config_file: "", **texts}


def _crls(root: str, listener: Mapping[str, Any]) -> Iterator[str]:
    for tls in (listener["tls"], *(route["tls"] for route in listener["routes"])):
        if tls["enabled"] and tls["crl_file"]:
            yield os.path.join(root, tls["crl_file"])


def _far_ends(root: str, listener: Mapping[str, Any]) -> Iterator[FarEnd]:
    for route in listener["routes"]:
        tls = route["tls"]
        if tls["enabled"] and tls["crl_file"]:
            paths = (os.path.join(root, tls[name]) for name in ("ca_file", "crl_file"))
            yield FarEnd(str(route["upstream"]), str(tls["name"]), *paths)
