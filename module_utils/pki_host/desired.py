# SPDX-License-Identifier: GPL-3.0-or-later
"""What one gateway must be on this host, and the record of what was applied last. Values only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import files
from .errors import HostError
from .probed import Closed, Probe
from .service import Daemon, Generation

STOPPED = "stopped"
#: The record of the last good change, in each gateway's directory.
APPLIED = "applied.json"


@dataclass(frozen=True)
class Desired:
    """What one gateway must be on this host.

    ``config``: public text by path below ``root``. ``links``: absolute link -> relative
    target. ``keep_releases``: how many directories stay beside each link's target.
    ``service``: who runs the process, ``daemon`` or ``systemd``. ``closed``: listeners that are
    out of service. ``stopped``: none is left, so nothing runs and no boot starts anything.
    ``drain_seconds``: how long sessions made with a withdrawn key may last after a reload.
    ``tls_protocols``: the only TLS versions that may be configured; empty when nobody said.
    ``log_days``: for how long a service's logs stay; 0 where somebody else rotates them.
    """

    name: str
    product: str
    program: str
    root: str
    config: Mapping[str, bytes]
    links: Mapping[str, str]
    probes: tuple[Probe, ...]
    keep_releases: int = 3
    service: str = Daemon.kind
    closed: tuple[Closed, ...] = ()
    stopped: bool = False
    drain_seconds: int = 60
    tls_protocols: tuple[str, ...] = ()
    log_days: int = 0

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Desired:
        """From module parameters; refuses paths that leave the root."""
        root = str(raw["root"]).rstrip("/")
        config = {str(f["path"]): str(f["content"]).encode() for f in raw["files"]}
        for path in config:
            if os.path.isabs(path) or os.path.normpath(path) != path or path.startswith(".."):
                raise _outside(path, f"a plain path below {root}")
        if not os.path.isabs(root) or re.search(r"\s", root):
            raise _outside(root, "an absolute path without white space")
        return Desired(
            str(raw["name"]),
            str(raw["product"]),
            str(raw["program"]),
            root,
            config,
            {str(entry["path"]): str(entry["target"]) for entry in raw["links"]},
            tuple(Probe.of(entry) for entry in raw["probes"]),
            int(raw["keep_releases"]),
            str(raw.get("service") or Daemon.kind),
            tuple(Closed.of(entry) for entry in raw.get("closed") or ()),
            raw.get("state") == STOPPED,
            int(raw.get("drain_seconds", 60)),
            tuple(str(name) for name in raw.get("tls_protocols") or ()),
            int(raw.get("log_days") or 0),
        )

    @staticmethod
    def all_of(raw: Mapping[str, Any]) -> list[Desired]:
        """Every gateway of a host, from the options of one module run."""
        common = {"service": raw["service"], "keep_releases": raw["keep_releases"]}
        return [Desired.of({**entry, **common}) for entry in raw["gateways"]]

    def as_stopped(self) -> Desired:
        """The same gateway with nothing left of it: every listener is out of service."""
        ends = [Closed(one.name, one.address, one.port) for one in self.probes]
        closed = tuple(dict.fromkeys((*self.closed, *ends)))
        return replace(self, config={}, links={}, probes=(), closed=closed, stopped=True)

    @property
    def digest(self) -> str:
        """SHA-256 over all that the running process must have loaded, but for where links lead.

        That changes between two runs, too: see :attr:`Applied.loaded`.
        """
        content = {path: files.sha256(data) for path, data in self.config.items()}
        whole: dict[str, Any] = {"product": self.product, "files": content}
        if self.closed:
            whole["closed"] = [entry.as_json() for entry in self.closed]
        return files.sha256(json.dumps(whole, sort_keys=True).encode())

    @property
    def identity(self) -> dict[str, str]:
        """What it takes to stop this gateway without its model."""
        return {
            "name": self.name,
            "product": self.product,
            "program": self.program,
            "service": self.service,
        }

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        return tuple((entry.address, entry.port) for entry in self.probes)


@dataclass(frozen=True)
class Applied:
    """What the last successful transaction left, and who served it then.

    ``start`` says what the process was started from; ``links`` are those of the service, ``uses``
    those the configuration needs, ``loaded`` where each of these led when the process loaded it.
    ``closed`` are the listeners that were out of service, and ``gateway`` what it takes to stop it
    without a model: name, product, program, service.
    """

    digest: str
    paths: tuple[str, ...]
    probes: tuple[Probe, ...]
    generation: Generation
    start: str = ""
    links: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    closed: tuple[Closed, ...] = ()
    gateway: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(data: bytes | None) -> Applied | None:
        """From the record's bytes; a missing or unreadable record means "not known"."""
        try:
            raw = json.loads(data or b"")
            return Applied(
                raw["digest"],
                tuple(raw["paths"]),
                tuple(Probe.of(entry) for entry in raw["probes"]),
                Generation(raw["master"], tuple(raw["workers"])),
                str(raw.get("start") or ""),
                tuple(raw.get("links") or ()),
                tuple(raw.get("uses") or ()),
                tuple(Closed.of(entry) for entry in raw.get("out_of_service") or ()),
                _words(raw.get("gateway")),
                _words(raw.get("loaded")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def encode(self) -> bytes:
        record = {
            "digest": self.digest,
            "paths": list(self.paths),
            "probes": [entry.as_json() for entry in self.probes],
            "master": self.generation.master,
            "workers": list(self.generation.workers),
            "start": self.start,
            "links": list(self.links),
            "uses": list(self.uses),
            "out_of_service": [entry.as_json() for entry in self.closed],
            "gateway": dict(self.gateway),
            "loaded": dict(self.loaded),
        }
        return json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"


def _words(raw: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (raw or {}).items()}


def _outside(path: str, expected: str) -> HostError:
    return HostError(
        "a path of the gateway model is not acceptable",
        rule="GATEWAY-PATH",
        found=path,
        expected=expected,
        where="gateway root and files",
        next_step="correct gateway_root or the model",
    )
