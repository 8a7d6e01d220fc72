# SPDX-License-Identifier: GPL-3.0-or-later
"""The ACL policies of the role vault_policies, filled in as the role does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from pki import policy_files, vault_policies

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATES = PROJECT / "roles" / "vault_policies" / "templates"
ROLES = tuple(sorted(path.name.removesuffix(".hcl.j2") for path in TEMPLATES.glob("*.hcl.j2")))
#: As in the role's defaults.
PULL_KEYS = 4


def rendered(role: str, classes: Sequence[str] = ("nonprod", "prod")) -> str:
    """One policy's text, with the environment that Ansible renders templates in."""
    environment = jinja2.Environment(
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    template = environment.from_string((TEMPLATES / f"{role}.hcl.j2").read_text(encoding="utf-8"))
    return template.render(vault_policies.variables(classes, kinds(), PULL_KEYS))


def kinds() -> list[str]:
    """The kinds of keys that the project's own policies want."""
    directory = PROJECT / "policies"
    loaded = policy_files.load_policies(directory, policy_files.policy_names(directory))
    return vault_policies.key_types(loaded)
