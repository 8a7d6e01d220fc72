# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of a change it made, in the shape that the controller's audit trail takes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from . import files

#: Directory below the release root in which API keys are, which are no certificates.
API_KEYS = "api-keys"
_RELEASE = re.compile(r"releases/v([1-9][0-9]*)-[0-9a-f]+")


def event(
    event: str,
    certificate: str = "",
    version: int = 0,
    artefacts: Mapping[str, str] | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """One change: what happened (past tense), of which entry, with SHA-256 by file or object.

    The controller judges it again, as what a host says is not known to be true.
    """
    return {
        "event": event,
        "certificate": certificate,
        "version": version,
        "artefacts": dict(artefacts or {}),
        "by": "",
        "reason": reason,
        "vault": [],
    }


def of_configuration(gateway: str, config: Mapping[str, bytes], reason: str) -> dict[str, Any]:
    """That a gateway was brought to its model: every file of it by its SHA-256."""
    digests = {path: files.sha256(content) for path, content in config.items()}
    return event(f"gateway {gateway} changed", artefacts=digests, reason=reason)


def targets(links: Mapping[str, str]) -> dict[str, str]:
    """Where the links of a gateway point now."""
    return {path: files.link_target(path) or "" for path in links}


def of_links(
    gateway: str, before: Mapping[str, str], links: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Which releases were put into service, by their entries, with the certificate then served."""
    happened = []
    for path, target in links.items():
        match = _RELEASE.fullmatch(target)
        if match is None or before[path] == target:
            continue
        entry = os.path.basename(os.path.dirname(path))
        if os.path.basename(os.path.dirname(os.path.dirname(path))) == API_KEYS:
            what = f"API key {entry} put into service by gateway {gateway}"
            happened.append(event(what, version=int(match[1])))
            continue
        public = files.read(os.path.join(os.path.dirname(path), target, "certificate.pem"))
        digests = {"certificate.pem": files.sha256(public)} if public is not None else {}
        what = f"release put into service by gateway {gateway}"
        happened.append(event(what, entry, int(match[1]), digests))
    return happened
