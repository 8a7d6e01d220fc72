# SPDX-License-Identifier: GPL-3.0-or-later
"""Let tests import what Ansible ships to a host: ``ansible.module_utils.{pki,pki_host,lab}``."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]

for folder in (REPOSITORY / "module_utils", REPOSITORY / "roles/lab/module_utils"):
    if str(folder) not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(str(folder))

from ansible.module_utils.lab import (  # noqa: E402
    gatewayconf,
    matrix,
    ports,
    proof,
    rehearsal,
    scratch,
)
from ansible.module_utils.pki import probe  # noqa: E402
from ansible.module_utils.pki.errors import PkiError  # noqa: E402
from ansible.module_utils.pki_host import gateways  # noqa: E402

__all__ = [
    "REPOSITORY",
    "PkiError",
    "gatewayconf",
    "gateways",
    "matrix",
    "ports",
    "probe",
    "proof",
    "rehearsal",
    "scratch",
]
