# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that watches the CRLs of two CAs, which a server publishes that breaks on demand."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki_host import crl_refresh, crl_store, crl_watch, files
from pki_host.crl_store import Store
from unit import pki_factory as factory
from unit.broken_crl_server import BrokenCrlServer, Material

TRUST = "dip-nonprod"


@cache
def material() -> Material:
    """The CAs and their CRLs, around the moment at which the tests began."""
    return Material.made()


def pem(der: bytes) -> str:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()


def bundle(*crls: bytes, fetched_at: str = "", trust: str = TRUST) -> dict[str, Any]:
    """A set as the controller hands it to a host."""
    text = "".join(map(pem, crls))
    return {
        "trust": trust,
        "pem": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "fetched_at": fetched_at or crl_store.iso(time.time() - 60),
        "next_update": "",
    }


@dataclass
class RefreshedHost:
    """Its first CA publishes at ``/issuing``, the second one at ``/root``."""

    base: Path
    server: BrokenCrlServer
    addresses: tuple[str, ...] = ("issuing",)
    known: list[dict[str, Any]] = field(default_factory=list)
    watched: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return str(self.base / "crl")

    @property
    def place(self) -> Path:
        return self.base / "crl" / TRUST

    @property
    def store(self) -> Store:
        return Store(self.root, TRUST)

    @property
    def material(self) -> Material:
        return self.server.material

    def watch(self, **changes: Any) -> crl_watch.Watch:
        """Write watch.json."""
        make = self.material
        raw = {
            "version": 1,
            "trusts": {
                TRUST: {
                    "authorities": [
                        _authority("Broken CA", make.authority, self.server, *self.addresses),
                        _authority("Other CA", make.other, self.server, "root"),
                    ],
                    "directions": {"ingress": {"on_stale": "refuse", "max_age_seconds": 80000}},
                    "known": self.known,
                    "longest_validity_days": 398,
                }
            },
            "fetch": {
                "attempts": 1, "first_wait_seconds": 0.01, "wait_factor": 2,
                "longest_wait_seconds": 0.05, "timeout_seconds": 2, "total_seconds": 5,
                "largest_bytes": 4000000, "proxy": "",
            },
            "alarm_percents": [25, 50, 75],
            "clock_tolerance_seconds": 300,
            "refresh": {"period_seconds": 3600, "delay_seconds": 300, "accuracy_seconds": 60},
            "guard": {"period_seconds": 60},
            "ocsp_period_seconds": 86400,
            "grace_longest_seconds": 86400,
            "gateway_root": str(self.base / "gateway"),
            "metrics_dir": str(self.base / "metrics"),
            **changes,
        }  # fmt: skip
        watch = crl_watch.of(raw)
        files.write(os.path.join(self.root, "watch.json"), watch.encode(), files.PUBLIC)
        return watch

    def remember(self, serial: int, what: str = "our certificate dip", **changes: Any) -> None:
        """One more certificate that the host knows; takes effect with :meth:`watch`."""
        self.known.append(
            {
                "what": what,
                "certificate": "dip",
                "kind": "ours",
                "serial": f"{serial:x}",
                "issuer": self.material.authority.sha256,
                "not_after": "2099-01-01T00:00:00Z",
                "ocsp_urls": [],
                "pem": "",
                **changes,
            }
        )

    def refresh(self, now: float | None = None) -> dict[str, Any]:
        """Run once; the status of the trust entry."""
        self.outcome = crl_refresh.run(self.root, now)
        assert self.outcome.trusts[TRUST] == json.loads((self.place / "status.json").read_text())
        return dict(self.outcome.trusts[TRUST])

    def serving(self) -> list[bytes]:
        """The CRLs, as DER, that gateways would read now."""
        text = (self.place / "current" / "crl.pem").read_bytes()
        return [one.public_bytes(Encoding.DER) for one in _crls(text)]

    def lines(self, priority: int) -> list[str]:
        return [one.text for one in self.outcome.lines if one.priority == priority]


def host(base: Path, server: BrokenCrlServer, **options: Any) -> RefreshedHost:
    """A host that begins with the old CRL of one CA, and the only one of the other."""
    server.switch("issuing", "conditional")
    server.switch("root", "wrong_issuer")
    made = RefreshedHost(base, server, **options)
    made.watch()
    return made


def later(hours: float) -> float:
    return datetime.now(UTC).timestamp() + hours * 3600


def _authority(
    name: str, authority: factory.Authority, server: BrokenCrlServer, *addresses: str
) -> dict[str, Any]:
    return {
        "name": name,
        "sha256": authority.sha256,
        "pem": authority.pem.decode(),
        "urls": [server.url(one) for one in addresses],
        "needs": "user",
    }


def _crls(text: bytes) -> list[x509.CertificateRevocationList]:
    mark = b"-----BEGIN X509 CRL-----"
    return [x509.load_pem_x509_crl(mark + part) for part in text.split(mark)[1:]]


# -- death ---------------------------------------------------------------------------------

_STEPS = ("write", "write_new", "put_back", "move_directory", "link", "remove", "remove_tree",
          "new_directory", "set_mode", "make_directory", "discard_directory")  # fmt: skip


def dying(work: Callable[[], object], count: int, *, after: bool) -> bool:
    """Work in a child that is killed at its ``count``-th change of a file; False at the end."""
    child = os.fork()
    if child == 0:
        _die_at(count, after)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _die_at(count: int, after: bool) -> None:
    left = [count]

    def mortal(real: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(*arguments, **options)
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return step

    for name in _STEPS:
        setattr(files, name, mortal(getattr(files, name)))
