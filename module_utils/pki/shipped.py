# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies that come with this project, by name: for callers who bring none.

Ansible modules and plugins pass the policies of their own ``policy_dir``; this is the
door for programs that import ``pki.reply`` straight from a checkout.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .policy import Policy
from .policy_files import load_policies

DIRECTORY = Path(__file__).resolve().parents[2] / "policies"


@lru_cache(maxsize=8)
def policy(name: str) -> Policy:
    """The shipped policy called ``name``, loaded once; PkiError if there is none."""
    return load_policies(DIRECTORY, [name])[name]
