# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose gateway is deployed: the one that LAB_DIR names, or one made for the tests."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from integration.lab_fixture import running_lab
from unit.lab_imports import PkiError, matrix

USED = ("vault", "pki_http", "control", "ingress", "egress", "dip")


@contextlib.contextmanager
def deployed_lab(home: Path) -> Iterator[Path]:
    """Home of a running lab with a deployed gateway.

    A running lab that LAB_DIR names is used as it is and left running: what the tests do in
    it happens in copies. Otherwise one is made at ``home`` and taken down again.
    """
    given = os.environ.get("LAB_DIR")
    if given and runs(Path(given)):
        yield Path(given).resolve()
        return
    with running_lab(home) as lab:
        lab.site()
        lab.play("sign")
        lab.site()
        yield home


def runs(home: Path) -> bool:
    """Whether a whole lab, its gateway included, answers at ``home``."""
    try:
        ports = matrix.load(home.resolve()).ports
        for name in USED:
            socket.create_connection(("127.0.0.1", ports[name]), timeout=2).close()
    except (PkiError, OSError):
        return False
    return True
