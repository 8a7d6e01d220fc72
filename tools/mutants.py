#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaks the judges of certificates one operator at a time and counts who notices.

    mutants.py [--commit REV]      all of it, from nothing; exit 1 below the mark
    mutants.py --again [NAME...]   these mutants (wildcards), or the survivors of the last run, by
                                   today's tests; the code and the other results stay
    mutants.py --report            the figures of the last run
    mutants.py --record            the figures, and the list of survivors written anew

mutmut wants the code in ``src`` and tests beside it, and names mutants by their path: so a copy
is laid out in .cache/mutants, from the working tree or from a commit. What to break and which tests
to ask stands in pyproject.toml. Each survivor needs a reason in tests/adversarial/survivors.yml.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKPLACE = ROOT / ".cache/mutants"
SURVIVORS = ROOT / "tests/adversarial/survivors.yml"
#: What the copy holds: where it lies here, and where mutmut looks for it.
PARTS = {"module_utils/pki": "src/pki", "policies": "policies", "tests/unit": "tests/unit"}
MARK = 90  # per cent of the mutants that some test runs through
NOTICED = ("killed", "timeout")
WORDS = "words of a message: what they tell is tested, not each letter"
HEAD = """\
# SPDX-License-Identifier: GPL-3.0-or-later
# Mutants nobody notices, and why that is right. Written by `tools/mutants.py --record`, which
# keeps the reasons; a new survivor has none, and fails `make mutants` until it gets one.
"""


@dataclass(frozen=True)
class Mutant:
    """One mutant of the last run: ``change`` is the line as it was and as it is."""

    module: str
    function: str
    status: str
    change: tuple[str, str]
    name: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (f"{self.module}.{self.function}", *self.change)

    @property
    def of_words(self) -> bool:
        """Whether only the letters of prose were changed: a string with a blank in it."""
        was, now = self.change
        if _STRING.sub("", was) != _STRING.sub("", now):
            return False
        pairs = zip(_STRING.findall(was), _STRING.findall(now), strict=False)
        changed = [(before, after) for before, after in pairs if before != after]
        return len(changed) == 1 and _is_prose(*changed[0])


_STRING = re.compile(r'"[^"]*"')


def _is_prose(was: str, now: str) -> bool:
    same_letters = was.casefold() == now.casefold() or now == f'"XX{was[1:-1]}XX"'
    return " " in was and same_letters


def lay_out(commit: str) -> None:
    """A fresh copy of the parts, of ``commit`` or as they are."""
    shutil.rmtree(WORKPLACE, ignore_errors=True)
    WORKPLACE.mkdir(parents=True)
    if commit:
        source = WORKPLACE / "commit"
        source.mkdir()
        files = subprocess.run(
            ["git", "archive", commit, *PARTS, "pyproject.toml"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "x", "-C", source], input=files.stdout, check=True)
    else:
        source = ROOT
    for here, there in PARTS.items():
        shutil.copytree(source / here, WORKPLACE / there, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy2(source / "pyproject.toml", WORKPLACE)


def refresh_tests() -> None:
    """The tests as they are now, also where mutmut has its own copy of them."""
    for base in (WORKPLACE, WORKPLACE / "mutants"):
        shutil.copytree(
            ROOT / "tests/unit",
            base / "tests/unit",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("*.pyc"),
        )


def run(names: list[str], processes: int) -> None:
    """mutmut in the workplace; its own exit code says nothing about survivors."""
    # Hypothesis draws the same examples each time when it is told that this is a pipeline.
    settings = {**os.environ, "CI": "true"}
    words = [Path(sys.executable).parent / "mutmut", "run", "--max-children", str(processes)]
    done = subprocess.run(
        [str(word) for word in (*words, *names)],
        cwd=WORKPLACE,
        env=settings,
        preexec_fn=lambda: os.nice(10),  # a person works on this machine
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # It writes its progress over and over on one line: the end tells, or what went wrong.
    print("\n".join(done.stdout.splitlines()[-30 if done.returncode else -3 :]))
    if done.returncode:
        sys.exit(f"mutmut ended with {done.returncode}: no figures")


def mutants() -> Iterator[Mutant]:
    """Every mutant of the last run."""
    os.chdir(WORKPLACE)  # mutmut reads its settings and results from where it stands
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            function, owner = orig_function_and_class_names_from_key(name)
            change = ("", "")
            if status == "survived":
                change = _change(get_diff_for_mutant(name, path=path))
            called = f"{owner}.{function}" if owner else function
            yield Mutant(path.stem, called, status, change, name)


def _change(diff: str) -> tuple[str, str]:
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    now = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return was, now


def report(found: list[Mutant]) -> float:
    """Print the figures by module; returns how many per cent of all that is covered is noticed."""
    print(f"{'module':<16}{'mutants':>8}{'covered':>9}{'noticed':>9}{'per cent':>10}{'words':>8}")
    for module in [*dict.fromkeys(one.module for one in found), "all"]:
        own = [one for one in found if module in (one.module, "all")]
        covered = [one for one in own if one.status != "no tests"]
        noticed = [one for one in covered if one.status in NOTICED]
        words = [one for one in covered if one.status == "survived" and one.of_words]
        share = 100 * len(noticed) / max(1, len(covered))
        print(
            f"{module:<16}{len(own):>8}{len(covered):>9}{len(noticed):>9}{share:>10.1f}{len(words):>8}"
        )
    print(
        ", ".join(f"{count} {status}" for status, count in Counter(m.status for m in found).items())
    )
    print("words: survivors that are in the letters of a message; they count as not noticed")
    return share


def known_reasons() -> dict[tuple[str, str, str], str]:
    """The recorded reason of each survivor."""
    if not SURVIVORS.exists():
        return {}
    entries = yaml.safe_load(SURVIVORS.read_text()) or []
    return {(e["function"], e["was"], e["now"]): e["reason"] for e in entries}


def record(found: list[Mutant]) -> None:
    """Write the list anew; reasons stay with their mutants."""
    reasons = known_reasons()
    entries = []
    for one in sorted({one for one in found if one.status == "survived"}, key=lambda m: m.key):
        reason = reasons.get(one.key) or (WORDS if one.of_words else "")
        function, was, now = one.key
        entries.append({"function": function, "was": was, "now": now, "reason": reason})
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=98)
    SURVIVORS.write_text(f"{HEAD}---\n{text}")


def unexplained(found: list[Mutant]) -> list[Mutant]:
    """Survivors for which nobody has given a reason."""
    reasons = known_reasons()
    survivors = [one for one in found if one.status == "survived"]
    return [one for one in survivors if not reasons.get(one.key)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="only these mutants, as `mutmut results` names them"
    )
    parser.add_argument("--commit", default="", help="of this commit instead of the working tree")
    parser.add_argument("--again", action="store_true", help="keep the copy, take today's tests")
    parser.add_argument("--report", action="store_true", help="only the figures of the last run")
    parser.add_argument(
        "--record", action="store_true", help="the figures, and write survivors.yml"
    )
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    names = options.names
    if options.again:
        refresh_tests()
        names = names or [one.name for one in mutants() if one.status == "survived"]
    elif not (options.report or options.record):
        lay_out(options.commit)
    if not (options.report or options.record):
        run(names, options.processes)
    found = list(mutants())
    if options.record:
        record(found)
    share = report(found)
    left = unexplained(found)
    for one in left:
        print(f"no reason: {one.module}.{one.function}\n  - {one.change[0]}\n  + {one.change[1]}")
    return 1 if share < MARK or left else 0


if __name__ == "__main__":
    sys.exit(main())
