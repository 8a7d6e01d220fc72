# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a watched CRL set, as files: for whoever judges or enforces its age."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pki_host import crl_age, processes

TRUST = "dip-nonprod"
HOUR, DAY = 3600, 86400
ISSUING, ROOT = "issuing", "root"
SHA = {ISSUING: "a" * 64, ROOT: "b" * 64}


@dataclass
class GuardedHost:
    """A CRL root with one trust entry of two CAs; times are seconds relative to now."""

    base: Path
    now: float = field(default_factory=time.time)
    budget: int = DAY
    on_stale: Mapping[str, str] = field(
        default_factory=lambda: {"ingress": "refuse", "egress": "refuse"}
    )

    @property
    def root(self) -> str:
        return str(self.base / "crl")

    @property
    def place(self) -> Path:
        return self.base / "crl" / TRUST

    @property
    def gateway_root(self) -> Path:
        return self.base / "gateway"

    @property
    def metrics(self) -> Path:
        return self.base / "metrics"

    def watch(self) -> dict[str, Any]:
        """Write watch.json; returns what it says."""
        authorities = [
            {"name": name, "sha256": SHA[name], "pem": "PEM", "urls": [], "needs": "user"}
            for name in SHA
        ]
        raw = {
            "version": 1,
            "trusts": {
                TRUST: {
                    "authorities": authorities,
                    "directions": {
                        name: {"on_stale": word, "max_age_seconds": self.budget}
                        for name, word in self.on_stale.items()
                    },
                    "known": [],
                    "longest_validity_days": 365,
                }
            },
            "fetch": {
                "attempts": 1,
                "first_wait_seconds": 0.1,
                "wait_factor": 2,
                "longest_wait_seconds": 1,
                "timeout_seconds": 1,
                "total_seconds": 2,
                "largest_bytes": 1000000,
                "proxy": "",
            },
            "alarm_percents": [25, 50, 75],
            "clock_tolerance_seconds": 300,
            "refresh": {"period_seconds": 3600, "delay_seconds": 300, "accuracy_seconds": 60},
            "guard": {"period_seconds": 60},
            "ocsp_period_seconds": DAY,
            "grace_longest_seconds": DAY,
            "gateway_root": str(self.gateway_root),
            "metrics_dir": str(self.metrics),
        }
        self._write(self.base / "crl/watch.json", raw)
        return raw

    def stage(self, target: str = "sets/0123456789abcdef", *, left: float = 7 * DAY) -> None:
        """A set in service whose CRLs end in ``left`` seconds; what it holds is not looked at."""
        crls = [
            {
                "authority": sha,
                "name": name,
                "sha256": sha,
                "number": "1",
                "entries": 0,
                "this_update": crl_age.iso(self.now - DAY),
                "next_update": crl_age.iso(self.now + left + (name == ROOT) * DAY),
            }
            for name, sha in SHA.items()
        ]
        self._write(self.place / target / "set.json", {"crls": crls})
        (self.place / "current").unlink(missing_ok=True)
        (self.place / "current").symlink_to(target)

    def confirm(self, *, ago: float = 0, root_ago: float | None = None, boot: str = "") -> None:
        """Both CRLs were confirmed so long ago, the root's at another time if so said."""
        ages = {ISSUING: ago, ROOT: ago if root_ago is None else root_ago}
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME) - (time.time() - self.now)
        stamps = {
            SHA[name]: {
                "fetched_at": crl_age.iso(self.now - seconds),
                "boot": boot or processes.boot_id(),
                "monotonic": boottime - seconds,
                "source": "controller",
            }
            for name, seconds in ages.items()
        }
        self._write(self.place / "fetched.json", stamps)

    def grace(self, seconds: float, *, granted: float = 0) -> None:
        """A grace that was granted ``granted`` seconds from now and lasts so many seconds."""
        raw = {
            "by": "Ada Admin",
            "reason": "the CA moves its CRLs",
            "granted_at": crl_age.iso(self.now + granted),
            "until": crl_age.iso(self.now + granted + seconds),
        }
        self._write(self.place / "grace.json", raw)

    def in_force(self) -> dict[str, str]:
        return {name: str((self.place / name).readlink()) for name in ("ingress", "egress")}

    @staticmethod
    def _write(path: Path, raw: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(raw))


def fresh(base: Path) -> GuardedHost:
    """A host that watches a fresh set."""
    host = GuardedHost(base)
    host.watch()
    host.stage()
    host.confirm()
    return host
