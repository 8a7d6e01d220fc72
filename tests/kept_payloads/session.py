# SPDX-License-Identifier: GPL-3.0-or-later
"""One place per session of tests where playbook runs keep what Ansible makes of the modules.

A ``conftest.py`` imports ``pytest_configure`` from here; who starts ``ansible-playbook`` with an
environment of its own takes :func:`kept_environment` into it. Without, all works, and takes longer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

PLACE = "KEPT_PAYLOADS"
PLUGINS = "ANSIBLE_VARS_PLUGINS"


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a session makes the place; the processes it starts inherit it."""
    if PLACE in os.environ:
        return
    place = tempfile.mkdtemp(prefix="kept-payloads-")
    os.environ[PLACE] = place
    os.environ[PLUGINS] = str(Path(__file__).with_name("vars_plugins"))
    config.add_cleanup(lambda: forget(place))


def forget(place: str) -> None:
    """Remove the place and its name."""
    os.environ.pop(PLACE)
    os.environ.pop(PLUGINS)
    shutil.rmtree(place, ignore_errors=True)


def kept_environment(*names: str) -> dict[str, str]:
    """These variables of this process, where it has them, and those that say where the place is."""
    wanted = (*names, PLACE, PLUGINS)
    return {name: os.environ[name] for name in wanted if name in os.environ}
