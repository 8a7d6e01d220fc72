# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets playbook runs of the tests share what Ansible makes of the same modules again and again.

Before a module runs, Ansible follows its imports, packs what it finds and sends the archive;
the module's Python then compiles all of it. Ansible keeps the archives for one run. The tests
run some hundred playbooks over the same few modules, so this keeps archives and byte code for a
whole session: a third of what a run costs. Every byte that is sent and run is what Ansible
packed and Python compiled; a change of any file below a module's path makes another archive.

It is a plugin for variables because Ansible imports every one of those before its first task. It
has none to give.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible import constants as settings
from ansible.plugins.vars import BaseVarsPlugin
from ansible.release import __version__

# Python imports sitecustomize, when it starts, from where PYTHONPATH says.
MODULES = Path(__file__).resolve().parents[1] / "modules"


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]  # Ansible has no types
    """Without variables."""

    def get_vars(self, loader: Any, path: str, entities: Any) -> dict[str, Any]:
        return {}


def folders() -> Iterator[Path]:
    """Where Ansible finds modules of this run, and what they import."""
    for place in (*settings.DEFAULT_MODULE_PATH, *settings.DEFAULT_MODULE_UTILS_PATH):
        yield Path(place)
    for roles in settings.DEFAULT_ROLES_PATH:
        for name in ("library", "module_utils"):
            yield from sorted(Path(roles).glob(f"*/{name}"))


def digest() -> str:
    """Changes with each byte of a module, and with Ansible or Python."""
    found = hashlib.sha256(f"{__version__} {sys.version}".encode())
    for folder in folders():
        for file in sorted(folder.rglob("*.py")):
            content = file.read_bytes()
            found.update(f"\0{file.relative_to(folder)}\0{len(content)}\0".encode())
            found.update(content)
        found.update(b"\0\0")
    return found.hexdigest()[:16]


def keep(directory: Path) -> None:
    """Have this run use, and add to, what is kept in ``directory``."""
    archives, byte_code = directory / digest(), directory / "byte_code"
    for made in (archives, byte_code):
        made.mkdir(parents=True, exist_ok=True)
    Path(settings.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(archives)
    os.environ["KEPT_BYTE_CODE"] = str(byte_code)
    found = [str(MODULES), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(found)


if place := os.environ.get("KEPT_PAYLOADS"):
    keep(Path(place))
