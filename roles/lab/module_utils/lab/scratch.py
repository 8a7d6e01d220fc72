# SPDX-License-Identifier: GPL-3.0-or-later
"""A second instance of the deployed gateway, started, reloaded, stopped and removed.

It lives in one directory of its own and runs by the product's own service code. What it
listens on and trusts has been moved by :mod:`gatewayconf`; what it was copied from is only
ever read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki_host.gateways.base import Adapter
from ansible.module_utils.pki_host.service import Daemon

from . import gatewayconf


@dataclass(frozen=True, slots=True)
class Deployed:
    """The deployed gateway's public files, read once.

    Attributes:
        root: its directory.
        files: configuration and public trust files, relative name -> text.
    """

    root: str
    files: Mapping[str, str] = field(repr=False)

    @property
    def configuration(self) -> dict[str, str]:
        return {name: text for name, text in self.files.items() if name.endswith(".conf")}

    def values(self, name: str) -> list[tuple[str, ...]]:
        """Arguments of every directive of that name, over all configuration files."""
        texts = [text for _, text in sorted(self.configuration.items())]
        return [words for text in texts for words in gatewayconf.values(text, name)]


def read_deployed(root: Path, adapter: Adapter) -> Deployed:
    """Read a gateway's directory. Raises PkiError when no configuration is deployed there."""
    files = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for pattern in ("*.conf", "*/*.conf", "trust/*.pem")
        for path in sorted(root.glob(pattern))
    }
    if adapter.config_file not in files:
        raise PkiError(
            "there is no gateway to prove anything on",
            rule="LAB-NO-GATEWAY",
            found=f"no {adapter.config_file}",
            expected="the deployed gateway's configuration",
            where=str(root),
            next_step="run playbooks/site.yml until the gateway is deployed",
        )
    return Deployed(str(root), files)


def digest(roots: Mapping[str, Path]) -> dict[str, str]:
    """Name -> SHA-256 over names, modes, link targets and contents below each directory.

    Logs and run-time files are left out: a running gateway writes them by itself.
    """
    return {name: _digest(root) for name, root in roots.items()}


def _digest(root: Path) -> str:
    total = sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if {"log", "run"} & {*name.parts}:
            continue
        if path.is_symlink():
            total.update(f"{name} -> {os.readlink(path)}\n".encode())
        elif path.is_file():
            total.update(f"{name} {path.stat().st_mode:o} ".encode())
            total.update(sha256(path.read_bytes()).digest())
    return total.hexdigest()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody holds now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Instance:
    """One running copy. Use it as a context manager: it stops and removes itself."""

    def __init__(
        self, adapter: Adapter, program: str, root: Path, files: Mapping[str, str]
    ) -> None:
        self.root = root
        self._files = files
        self._daemon = Daemon(adapter, program, str(root))
        self._listens = _listens(files)

    def __enter__(self) -> Instance:
        self.root.mkdir(parents=True, mode=0o700)
        try:
            self._daemon.make_directories()
            for name, text in self._files.items():
                self.write(name, text)
            self._daemon.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._daemon.end_orphans(self._listens)
        shutil.rmtree(self.root, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Replace one of the copy's files by rename, as an installer would."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)

    def reload(self) -> None:
        """Load what is on disk; returns when no old worker takes connections any more."""
        self._daemon.reload()


def sweep(adapter: Adapter, program: str, scratch: Path) -> None:
    """End and remove what an interrupted proof has left below ``scratch``."""
    for root in sorted(scratch.iterdir()) if scratch.is_dir() else ():
        files = read_deployed(root, adapter).files if (root / adapter.config_file).exists() else {}
        Instance(adapter, program, root, files).__exit__()
    shutil.rmtree(scratch, ignore_errors=True)


def _listens(files: Mapping[str, str]) -> list[tuple[str, int]]:
    texts = [text for name, text in files.items() if name.endswith(".conf")]
    listeners = [words[0] for text in texts for words in gatewayconf.values(text, "listen")]
    return [(host, int(port)) for host, _, port in (one.rpartition(":") for one in listeners)]
