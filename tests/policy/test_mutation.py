# SPDX-License-Identifier: GPL-3.0-or-later
"""Every condition of every rule matters: whoever breaks one makes a case fail.

For a look at one kind: ``python tests/policy/test_mutation.py --kind endpoint``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    for folder in ("tests", "module_utils"):
        sys.path.insert(0, str(Path(__file__).parents[2] / folder))

import pytest
from policy.case_files import cases, kinds, policies
from policy.mutants import of_expression, survivors


def unnoticed(name: str, kind: str) -> list[str]:
    """The mutants of a kind's rules that its cases let pass; all of them where it has none."""
    return survivors(policies()[name], kind, cases(name, kind))


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_every_mutant_of_a_rule_is_noticed_by_a_case_of_it(name: str, kind: str) -> None:
    lines = unnoticed(name, kind)
    assert not lines, "\n" + "\n".join(lines)


def changes(source: str) -> set[str]:
    return {mutant.expression for mutant in of_expression("require", source)}


def test_a_comparison_is_swapped_for_each_it_could_be_mistaken_for() -> None:
    assert changes("f.a <= 1") == {"f.a < 1", "f.a > 1", "f.a >= 1"}
    assert changes("f.a == 1") == {"f.a != 1"}


def test_each_operand_of_a_junction_is_dropped_and_the_junction_swapped_wherever_it_stands() -> (
    None
):
    assert changes("f.a && f.b && f.c") == {
        "f.a && f.b",
        "f.c",
        "f.a && f.c",
        "f.b && f.c",
        "f.a && f.b || f.c",
        "(f.a || f.b) && f.c",
    }
    assert changes("f.x.all(v, v || f.b)") == {
        "f.x.all(v, v)",
        "f.x.all(v, f.b)",
        "f.x.all(v, v && f.b)",
    }


def test_a_negation_is_dropped() -> None:
    assert changes("!(f.a in f.b)") == {"f.a in f.b"}


def main() -> int:
    """Print the survivors of some kinds; exit 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="", help="only this policy")
    parser.add_argument("--kind", default="", help="only this kind of facts")
    options = parser.parse_args()
    lines = [
        line
        for name, kind in kinds()
        if options.policy in ("", name) and options.kind in ("", kind)
        for line in unnoticed(name, kind)
    ]
    print("\n".join(lines) or "every mutant was noticed")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
