# SPDX-License-Identifier: GPL-3.0-or-later
"""CRL sets on a host: one immutable directory per content, switched by a link.

Layout below the CRL root::

    <trust>/sets/<16 hex of the SHA-256 of crl.pem>/crl.pem
    <trust>/current -> sets/<id>        (switched by the gateway's transaction)
    <trust>/poll.json                   when it was last fetched; changes on every fetch
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import files
from .errors import HostError

CRL = "crl.pem"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BEGIN = "-----BEGIN X509 CRL-----"


@dataclass(frozen=True)
class CrlSet:
    """CRLs of every CA of one trust entry, concatenated PEM, verified by the controller."""

    trust: str
    pem: str
    next_update: str
    fetched_at: str

    @staticmethod
    def of(raw: Mapping[str, Any]) -> CrlSet:
        """A set from module parameters; what is not a whole CRL set is refused here.

        An empty file would switch revocation off on gateways that fail open.
        """
        crl_set = CrlSet(
            str(raw["trust"]),
            str(raw["pem"]),
            str(raw.get("next_update") or ""),
            str(raw.get("fetched_at") or ""),
        )
        if not _SAFE_NAME.fullmatch(crl_set.trust):
            raise _refused(crl_set, "a trust name with other characters", "a plain name")
        if _BEGIN not in crl_set.pem:
            raise _refused(crl_set, "no CRL in the set", "at least one PEM CRL")
        digest = files.sha256(crl_set.pem.encode())
        if digest != str(raw["sha256"]):
            raise _refused(crl_set, f"sha256 {digest}", f"sha256 {raw['sha256']}")
        return crl_set

    @property
    def id(self) -> str:
        return files.sha256(self.pem.encode())[:16]

    def path(self, root: str) -> str:
        return os.path.join(root, self.trust, "sets", self.id, CRL)

    def problem(self, root: str) -> str:
        """Why the file on this host is not this set; empty when it is."""
        files.require_own(root, self.trust, "sets", self.id)
        data, mode = files.read(self.path(root)), files.mode_of(self.path(root))
        if data is None:
            return "not on this host"
        if data != self.pem.encode():
            return "changed on this host"
        return "" if mode == files.PUBLIC else f"mode {mode:04o}, not {files.PUBLIC:04o}"

    def install(self, root: str) -> None:
        files.sweep(os.path.dirname(self.path(root)))
        files.write(self.path(root), self.pem.encode(), files.PUBLIC)

    def record_poll(self, root: str) -> None:
        """Note when the set was fetched, also when its content is the old one.

        Not a change of the host: nothing that a gateway reads depends on it.
        """
        record = {"fetched_at": self.fetched_at, "next_update": self.next_update, "set": self.id}
        data = (json.dumps(record, sort_keys=True) + "\n").encode()
        path = os.path.join(root, self.trust, "poll.json")
        if files.read(path) != data:
            files.write(path, data, files.PUBLIC)

    def as_result(self, root: str, problem: str) -> dict[str, Any]:
        return {
            "trust": self.trust,
            "id": self.id,
            "problem": problem,
            "changed": bool(problem),
            "next_update": self.next_update,
            "link": {
                "path": os.path.join(root, self.trust, "current"),
                "target": f"sets/{self.id}",
            },
        }


def _refused(crl_set: CrlSet, found: str, expected: str) -> HostError:
    return HostError(
        f"{crl_set.trust}: the CRL set handed to this host is not usable",
        rule="CRL-SET",
        found=found,
        expected=expected,
        where=f"trust {crl_set.trust}",
        next_step="fetch the CRLs again; the set in use stays",
    )
