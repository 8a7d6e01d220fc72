# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.policy_test``: run the cases of the policies, or an organisation's own.

Exit 0 when every case ended as it should and every rule has its cases, 1 when one did not,
2 when a file cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from . import policy_cases, policy_files
from .documents import Validators
from .errors import PkiError
from .policy import Policy
from .shipped import DIRECTORY


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pki.policy_test", description=__doc__)
    parser.add_argument("--policies", type=Path, default=DIRECTORY, help="the policies' directory")
    parser.add_argument("--kind", default="", help="only this kind of facts")
    options = parser.parse_args(arguments)
    try:
        return _run(options.policies, options.kind)
    except PkiError as exc:
        print(exc, file=sys.stderr)
        return 2


def _run(directory: Path, kind: str) -> int:
    validators = Validators(policy_files.load_fact_schemas(directory))
    schema = policy_files.load_schema(directory)
    problems: list[str] = []
    count = 0
    for name, policy in policy_files.load_policies(
        directory, policy_files.policy_names(directory)
    ).items():
        cases: list[policy_cases.Case] = []
        for file in sorted((directory / "cases" / name).glob(f"{kind or '*'}.yml")):
            cases += policy_cases.load(str(file), policy_files.read_text(file), schema, policy)
        problems += [str(f) for case in cases if (f := policy_cases.run(case, policy, validators))]
        problems += _uncovered(policy, tuple(cases), kind)
        count += len(cases)
    print("\n".join(problems) or f"{count} cases ended as they should")
    return 1 if problems else 0


def _uncovered(policy: Policy, cases: tuple[policy_cases.Case, ...], kind: str) -> Iterator[str]:
    lacking = policy_cases.uncovered(policy, cases)
    return (line for line in lacking if not kind or f"({kind})" in line)


if __name__ == "__main__":
    sys.exit(main())
