# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped policies with their cases, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pki import policy_cases
from pki.policy import Policy
from pki.policy_cases import Case
from pki.policy_files import load_policies, load_schema, policy_names, read_text
from pki.shipped import DIRECTORY

Kind = tuple[str, str]


@cache
def policies() -> Mapping[str, Policy]:
    """Every shipped policy by name."""
    return load_policies(DIRECTORY, policy_names(DIRECTORY))


def kinds() -> list[Kind]:
    """Every policy and kind there is a file of rules for."""
    names = policy_names(DIRECTORY)
    return [
        (name, path.stem) for name in names for path in sorted((DIRECTORY / name).glob("*.yml"))
    ]


@cache
def cases(name: str, kind: str) -> tuple[Case, ...]:
    """The cases of a policy's kind; none where it has no file of them."""
    file = DIRECTORY / "cases" / name / f"{kind}.yml"
    if not file.is_file():
        return ()
    shown = str(file.relative_to(DIRECTORY.parent))
    return policy_cases.load(shown, read_text(file), load_schema(DIRECTORY), policies()[name])
