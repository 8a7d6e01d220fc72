# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.policy_test``: run the cases of the policies, or an organisation's own.

Exit 0 when every case ended as it should and every rule has its cases, 1 when one did not,
2 when a file cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import policy_cases, policy_files
from .documents import Validators
from .errors import PkiError
from .policy import Policy, Rule
from .policy_files import OVERLAYS
from .shipped import DIRECTORY

CASES = "cases"


@dataclass(frozen=True, slots=True)
class _Suite:
    """Policies, where their cases are, and the rules that must have some."""

    policies: Mapping[str, Policy]
    cases: Path
    owed: Callable[[Rule], bool]


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pki.policy_test", description=__doc__)
    parser.add_argument("--policies", type=Path, default=DIRECTORY, help="the policies' directory")
    parser.add_argument("--kind", default="", help="only this kind of facts")
    parser.add_argument(
        "--inventory", type=Path, help="run the cases below its policy/cases on its overlay"
    )
    options = parser.parse_args(arguments)
    try:
        own = options.inventory
        suite = _own(options.policies, own) if own else _shipped(options.policies)
        return _run(suite, options.policies, options.kind)
    except PkiError as exc:
        print(exc, file=sys.stderr)
        return 2


def _shipped(directory: Path) -> _Suite:
    policies = policy_files.load_policies(directory, policy_files.policy_names(directory))
    return _Suite(policies, directory / CASES, lambda rule: True)


def _own(directory: Path, inventory: Path) -> _Suite:
    """An organisation's cases. Ours stay out: its values may rightly differ from what they pin."""
    overlays = inventory / OVERLAYS
    names = policy_files.policy_names(directory)
    policies = policy_files.load_policies(directory, names, overlays)
    cases = overlays / CASES
    for entry in sorted(cases.iterdir()) if cases.is_dir() else ():
        if entry.name not in names:
            raise _unusable("there are cases of an unknown policy", entry, ", ".join(names))
    files = [str(overlays / f"{name}.yml") for name in names]
    if not list(cases.glob("*/*.yml")):
        raise _unusable("there are no cases to run", cases, "<policy>/<kind>.yml")
    return _Suite(policies, cases, lambda rule: rule.place.file in files)


def _unusable(message: str, where: Path, expected: str) -> PkiError:
    return PkiError(
        message,
        rule="POLICY-CASES",
        found=where.name if where.exists() else "nothing",
        expected=expected,
        where=str(where),
        next_step="put an organisation's cases below policy/cases of its inventory",
    )


def _run(suite: _Suite, directory: Path, kind: str) -> int:
    validators = Validators(policy_files.load_fact_schemas(directory))
    schema = policy_files.load_schema(directory)
    problems: list[str] = []
    count = 0
    for name, policy in suite.policies.items():
        cases: list[policy_cases.Case] = []
        for file in sorted((suite.cases / name).glob(f"{kind or '*'}.yml")):
            cases += policy_cases.load(str(file), policy_files.read_text(file), schema, policy)
        problems += [str(f) for case in cases if (f := policy_cases.run(case, policy, validators))]
        owing = replace(policy, rules=tuple(rule for rule in policy.rules if suite.owed(rule)))
        problems += _uncovered(owing, tuple(cases), kind)
        count += len(cases)
    print("\n".join(problems) or f"{count} cases ended as they should")
    return 1 if problems else 0


def _uncovered(policy: Policy, cases: tuple[policy_cases.Case, ...], kind: str) -> Iterator[str]:
    lacking = policy_cases.uncovered(policy, cases)
    return (line for line in lacking if not kind or f"({kind})" in line)


if __name__ == "__main__":
    sys.exit(main())
